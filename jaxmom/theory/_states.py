"""The minimal system of an optimizer in exact arithmetic, in states that suit a certificate."""

from typing import NamedTuple, cast

import jax
import numpy as np
import optax

from jaxmom.theory import _constraints, _proof, _rational
from jaxmom.theory._dyadic import to_dyadics
from jaxmom.theory._linearize import linearize, start_state
from jaxmom.theory._minimal import balance
from jaxmom.theory.linear_system import LinearSystem


def minimal_system(system: LinearSystem) -> LinearSystem:
    """Drop hidden states exactly, so that nothing but the entries left is rounded, once.

    It has to come to rest at the optimum, or ValueError is raised.
    """
    a, b, c = (x.astype(float) for x in _rational.drop_hidden(*exact(system)))
    small = as_linear_system(*balance(a, b, c))
    if small.names and rest_state(small) is None:
        raise ValueError(
            "with weight decay, or another pull on params, they do not come to rest at the optimum "
            "and no rate of |params - optimum| is certified. Leave it out; coupled weight decay is "
            "part of the function f + weight_decay |x|^2 / 2, with mu + weight_decay and "
            "L + weight_decay."
        )
    return small


def as_linear_system(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> LinearSystem:
    # NumPy arrays are float64, whatever JAX is set to.
    parts = cast("list[jax.Array]", [a, b, c, np.zeros([])])
    return LinearSystem(*parts, names=tuple(f"x{i}" for i in range(len(b))))


def exact(system: LinearSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = (_rational.to_fractions(x) for x in (system.A, system.B, system.C))
    return a, b, c


def square(factor: np.ndarray) -> np.ndarray:
    """Return ``factor' factor``, exactly."""
    exact = to_dyadics(factor)
    return exact.T @ exact


def rest_state(system: LinearSystem) -> np.ndarray | None:
    """The state of params at distance 1 with empty buffers, which stays; None if there is none."""
    state = _rational.rest_state(*exact(system))
    return None if state is None else state.astype(float)


class Early(NamedTuple):
    """How a run begins.

    Attributes:
      first: The system of the first update.
      second: That of the second.
      start: [n], the state before them if params are at zero.
    """

    first: LinearSystem
    second: LinearSystem
    start: jax.Array


def early_systems(optimizer: optax.GradientTransformation) -> Early:
    """Read the beginning of a run off the code; it may be traced."""
    first, second = (linearize(optimizer, count=count) for count in (0, 1))
    return Early(first, second, start_state(optimizer))


def first_step(early: Early | None, whole: LinearSystem, system: LinearSystem) -> np.ndarray | None:
    """What the first update makes of the start, in the states of the minimal system.

    None if it is an update as all others, of params that stay where they are without gradients. It
    is infinite if that is not known: a buffer that is not at rest at first moves params away even
    from the optimum, so that no multiple of their first distance bounds the later ones.
    """
    if early is None:
        return None
    first, second, start = early
    if np.any(np.asarray(start) != 0) or not _stays(whole):
        return np.full((2, len(system.names)), np.inf)
    if _is_same(first, whole):
        return None
    # The same params in all the future make the same state of both systems.
    steps = len(whole.names)
    ours, theirs = observe(system, steps), observe(whole, steps)
    after = np.array([first.A[:, 0], first.B])  # of `linearize`: params first, buffers empty
    found = np.linalg.lstsq(ours, theirs @ after.T, rcond=None)[0]
    error, size = np.abs(ours @ found - theirs @ after.T), np.abs(ours) @ np.abs(found)
    known = _is_same(second, whole) and np.all(error <= 1e-9 * size)
    return found.T if known else np.full(found.T.shape, np.inf)


def _is_same(one: LinearSystem, other: LinearSystem) -> bool:
    return one.names == other.names and all(
        np.allclose(x, y, rtol=1e-12, atol=0.0) for x, y in ((one.A, other.A), (one.B, other.B))
    )


def _stays(system: LinearSystem) -> bool:
    """Whether params alone, with the buffers as they are at first, stay without gradients."""
    after = np.asarray(system.A)[:, 0]
    return np.allclose(after, np.eye(len(after))[0], rtol=0.0, atol=1e-12)


def observe(system: LinearSystem, steps: int) -> np.ndarray:
    """The rows C, C A, C A^2 ...: params in the steps to come, without gradients."""
    rows = [np.asarray(system.C, float)]
    for _ in range(steps - 1):
        rows.append(rows[-1] @ np.asarray(system.A, float))
    return np.array(rows)


def well_scaled(system: LinearSystem, mu: float, L: float, best: _proof.Best) -> LinearSystem:
    """Change to states in which a proof is near the identity; each entry is rounded once more."""
    factor = _proof.find_basis(_constraints.pose(system, mu, L), best) if best.slow > 0 else None
    if factor is None:
        return system
    a, b, c = _rational.change_basis(*exact(system), _rational.to_fractions(factor))
    return as_linear_system(a.astype(float), b.astype(float), c.astype(float))
