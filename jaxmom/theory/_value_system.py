"""An optimizer as a system whose first state no gradient-free update moves, and its own start."""

from typing import NamedTuple

import numpy as np
import optax

from jaxmom.theory import _rational, _states
from jaxmom.theory._linearize import linearize_to_rest
from jaxmom.theory._minimal import balance
from jaxmom.theory._systems import Linear
from jaxmom.theory.linear_system import LinearSystem


class ValueSystem(NamedTuple):
    """A minimal system whose A is 1 and F on the diagonal; params are the first state plus others.

    The first state is where params would come to rest if there were no more gradients. Gradients
    are in units of L. Only this system is meant by a proof; it is rounded once.

    Attributes:
      system: A [n, n], B [n] and C [n] with C_1 = 1.
      points: [m, m + 1], where the gradients of the first m updates are taken, if they differ from
        the later ones; in the basis (x_0, g_0 ... g_{m-1}).
      state: [n, m + 1], the state after them.
    """

    system: LinearSystem
    points: np.ndarray
    state: np.ndarray


def read_system(optimizer: Linear, whole: LinearSystem, L: float) -> ValueSystem | str:
    """Return the system of an optimizer, or a sentence that says why there is none."""
    small = _states.minimal_system(whole)
    if not small.names:
        return "no gradient moves params: the learning rate is 0."
    system = _split_rest(small, L)
    if system is None:
        return "a steady gradient makes steps that grow: there is no point where params would rest."
    early = [] if isinstance(optimizer, LinearSystem) else _read_early(optimizer)
    first = np.eye(len(system.names), 1)
    if not early:
        return ValueSystem(system, np.zeros((0, 1)), first)
    count = len(early)
    state, points = np.zeros((len(whole.names), count + 1)), []
    state[0, 0] = 1  # of `linearize`: params first, buffers empty
    for i, one in enumerate(early):
        points.append(np.asarray(one.C, float) @ state)
        gradient = np.eye(count + 1)[1 + i]
        state = np.asarray(one.A, float) @ state + np.outer(one.B, L * gradient)
    # The same params in all the future make the same state of both systems.
    ours, theirs = (_states.observe(x, len(whole.names)) for x in (system, whole))
    found = np.linalg.lstsq(ours, theirs @ state, rcond=None)[0]
    error, size = np.abs(ours @ found - theirs @ state), np.abs(ours) @ np.abs(found)
    if not np.all(error <= 1e-9 * size):
        return (
            "after the first updates, which differ, buffers hold what the later ones never reach."
        )
    return ValueSystem(system, np.array(points), found)


def _read_early(optimizer: optax.GradientTransformation) -> list[LinearSystem]:
    """Return the systems of the first updates that differ; refuse a start that is not at rest."""
    systems = linearize_to_rest(optimizer)
    afters = (np.asarray(system.A)[:, 0] for system in systems)  # of params, buffers empty
    if not all(np.allclose(x, np.eye(len(x))[0], rtol=0.0, atol=1e-12) for x in afters):
        raise ValueError(
            "from its own start this optimizer moves params without gradients, also from the "
            "minimizer, so that no multiple of the first distance bounds the later values. A "
            "buffer that params are pulled to has to start as a copy of params."
        )
    return systems[:-1]


def _split_rest(small: LinearSystem, L: float) -> LinearSystem | None:
    """Change to the states of a `ValueSystem`, exactly but for the rounding of the result."""
    a, b, c = _states.exact(small)
    rest = _rational.rest_state(a, b, c)
    left = None if rest is None else _rational.rest_state(a.T, c, rest)
    if rest is None or left is None:
        return None
    largest = int(np.argmax(np.abs((left * rest).astype(float))))
    kept = np.arange(len(b)) != largest
    others = (np.eye(len(b), dtype=int) - np.outer(rest, left))[kept]
    a, b, c = _rational.change_basis(a, b, c, np.vstack([left, others]))
    inner, gain, read = (x.astype(float) for x in (a[1:, 1:], b[1:], c[1:]))
    inner, gain, read = balance(inner, L * gain, read)
    # Powers of two round nothing; a gradient of 1 then moves the other states by about 1.
    unit = 2.0 ** np.round(np.log2(np.max(np.abs(gain), initial=0.0) or 1.0))
    gain, read = gain / unit, read * unit
    A = np.eye(len(b))
    A[1:, 1:] = inner
    B, C = np.append(L * float(b[0]), gain), np.append(1.0, read)
    return _states.as_linear_system(A, B, C)
