"""What an optimizer makes of gradients and of params, as plain numbers that can be compared."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import numpy as np
from jax.core import Tracer

from jaxmom.theory._kernel import held_state
from jaxmom.theory._linearize import TimeVaryingError, linearize_steps, linearize_to_rest
from jaxmom.theory._minimal import minimal
from jaxmom.theory._systems import Linear
from jaxmom.theory.linear_system import LinearSystem, check_system

# Where transfer functions are compared: waves from a period of 6e8 steps to one of two.
_POINTS = np.exp(1j * np.geomspace(1e-8, 3.1, 64))


@dataclasses.dataclass(frozen=True)
class Filter:
    """``b <- M b + G g; step = c b + D g``, and what weight decay adds to the steps.

    Attributes:
      matrix: M [n, n]; no gradient is out of reach of a buffer, and no buffer is unread.
      gains: G [n], of gradients.
      read: c [n].
      direct: D [], of gradients.
      decay: [points] what steps take of params that are a wave; zero without weight decay.
      start: The first steps, the last of which is repeated from then on.
    """

    matrix: np.ndarray
    gains: np.ndarray
    read: np.ndarray
    direct: np.ndarray
    decay: np.ndarray
    start: tuple["_OpenLoop", ...]

    @property
    def modes(self) -> int:
        """How many buffers the filter needs."""
        return len(self.gains)

    @functools.cached_property
    def poles(self) -> np.ndarray:
        """The decays of the modes [n], in ascending order."""
        return np.sort_complex(np.linalg.eigvals(self.matrix))

    @property
    def moves(self) -> bool:
        """Whether any gradient makes a step."""
        return bool(self.modes) or self.direct != 0

    def weights(self, lags: int) -> np.ndarray:
        """The weights of the last gradients in a step [lags]."""
        row, weights = self.read, [self.direct]
        for _ in range(lags - 1):
            weights.append(row @ self.gains)
            row = row @ self.matrix
        return np.array(weights)

    @functools.cached_property
    def response(self) -> np.ndarray:
        """The steps per gradient at every point."""
        return self.direct + _respond(self.matrix, self.gains, self.read)

    @functools.cached_property
    def rounding(self) -> np.ndarray:
        """What rounding of the coefficients can change in `response`, to first order."""
        inverse = np.abs(_inverses(self.matrix))
        after, before = inverse @ np.abs(self.gains), np.abs(self.read) @ inverse
        changes = before @ np.abs(self.gains) + np.einsum(
            "pi,ij,pj->p", before, np.abs(self.matrix), after
        )
        return 64 * np.finfo(self.matrix.dtype).eps * (changes + abs(self.direct))


def filter_at_rest(optimizer: Linear) -> Filter | None:
    """Return the filter that an optimizer comes to, or None if it varies with time."""
    try:
        is_system = isinstance(optimizer, LinearSystem)
        systems = [check_system(optimizer)] if is_system else linearize_to_rest(optimizer)
    except TimeVaryingError:
        return None
    loops = tuple(map(_open_loop, systems))
    last = loops[-1]
    tolerance = 1e4 * float(np.finfo(last.matrix.dtype).eps)
    parts = [last.matrix, last.inputs[:, 0], last.read, np.zeros([])]
    small = minimal(
        LinearSystem(*cast("list[jax.Array]", parts), names=systems[-1].names), tolerance
    )
    matrix, gains, read = (np.asarray(x, last.matrix.dtype) for x in (small.A, small.B, small.C))
    decay = last.direct[1] + _respond(last.matrix, last.inputs[:, 1], last.read)
    return Filter(matrix, gains, read, last.direct[0], decay, loops)


def steps_that_vary(optimizer: Linear, steps: int) -> np.ndarray:
    """Return the weights [steps, steps, 2] of each gradient, and of params, in the first steps."""
    if isinstance(optimizer, LinearSystem):
        return _weigh([_open_loop(check_system(optimizer))] * steps)
    systems = _to_numpy(linearize_steps(optimizer, steps, steps - 1))
    first = np.eye(systems.A.shape[-1], dtype=systems.A.dtype)[
        0
    ]  # params in the basis of `linearize`
    rows = [jax.tree.map(lambda x, t=t: x[t], systems) for t in range(steps)]
    return _weigh([_hold_params(row, first) for row in rows])


def steps_to_rest(filter_: Filter, steps: int) -> np.ndarray:
    """Return the weights [steps, steps, 2] of the first steps of what comes to rest."""
    return _weigh([filter_.start[min(t, len(filter_.start) - 1)] for t in range(steps)])


def _weigh(loops: Sequence["_OpenLoop"]) -> np.ndarray:
    steps = len(loops)
    states = np.zeros((len(loops[0].read), steps, 2), loops[0].matrix.dtype)
    weights = np.zeros((steps, steps, 2), states.dtype)
    for t, loop in enumerate(loops):
        weights[t] = np.tensordot(loop.read, states, 1)
        weights[t, t] += loop.direct
        states = np.tensordot(loop.matrix, states, 1)
        states[:, t] += loop.inputs
    return weights


class _OpenLoop(NamedTuple):
    """``x <- matrix x + inputs (g, p); step = read x + direct (g, p)``, with params as an input."""

    matrix: np.ndarray  # [n, n]
    inputs: np.ndarray  # [n, 2]
    read: np.ndarray  # [n]
    direct: np.ndarray  # [2]


def _open_loop(system: LinearSystem) -> _OpenLoop:
    if not system.names:  # nothing moves
        return _OpenLoop(np.zeros((0, 0)), np.zeros((0, 2)), np.zeros(0), np.zeros(2))
    numbers = _to_numpy(system)
    held = np.asarray(held_state(system))
    if np.any(np.isnan(held)):
        raise ValueError(
            "this LinearSystem has weight decay in a basis that does not tell params from buffers; "
            "give the optimizer, or its system as linearize returns it."
        )
    return _hold_params(numbers, held)


def _hold_params(system: LinearSystem, held: np.ndarray) -> _OpenLoop:
    a, b, c = (np.asarray(x) for x in (system.A, system.B, system.C))
    moved = a @ held - held  # zero without weight decay, up to rounding
    noise = 64 * np.finfo(a.dtype).eps * (np.abs(a) @ np.abs(held) + np.abs(held))
    matrix = a - np.outer(a @ held, c)
    inputs = np.stack([b, np.where(np.abs(moved) <= noise, 0, moved)], axis=1)
    return _OpenLoop(matrix, inputs, c @ matrix, c @ inputs)


def _to_numpy(system: LinearSystem) -> LinearSystem:
    if isinstance(system.A, Tracer):
        raise ValueError(_TRACED)
    numbers = jax.tree.map(np.asarray, system)
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(numbers)):
        raise ValueError(
            "equivalent compares finite numbers, and a coefficient of one of these optimizers is "
            "not finite; look at the hyperparameters."
        )
    return numbers


_TRACED = "equivalent compares plain numbers; call it outside of jit, vmap and grad."


def _respond(matrix: np.ndarray, gains: np.ndarray, read: np.ndarray) -> np.ndarray:
    return (_inverses(matrix) @ gains) @ read


def _inverses(matrix: np.ndarray) -> np.ndarray:
    """Return (z I - M)^-1 at every point, [points, n, n]."""
    unit = np.eye(len(matrix), dtype=matrix.dtype)
    return np.linalg.inv(_POINTS[:, None, None] * unit - matrix)
