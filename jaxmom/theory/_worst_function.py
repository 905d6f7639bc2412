"""The worst function of N steps: its points, gradients and values, from the solver's Gram matrix.

A solver's Gram matrix is full of small eigenvalues, and misses its inequalities by its tolerance.
The function through such points has other gradients by the square root of that. So small
directions are dropped, and Newton's method makes the inequalities that the proof uses equalities.
By complementarity, the measure then misses the bound only by the square of the solver's error.
"""

from typing import NamedTuple

import numpy as np

from jaxmom.theory import _performance
from jaxmom.theory._performance import Estimation, Found

_DIRECTIONS = 1e-6  # of the largest eigenvalue of the Gram matrix: smaller ones are rounding
# Shares of the bound: inequalities that contribute more are in use. Less may be the solver's error.
_USED = (1e-4, 1e-6, 1e-2)
_ROUNDS = 12  # Newton converges in three; then come the inequalities that it broke
_ROUNDING = 1e-12  # of the largest value
_GAP = 1e-4  # of the bound: by how much the measure of its function may miss it


class Realization(NamedTuple):
    """Points, gradients [N + 2, d] and values [N + 2] of a function, x* last."""

    points: np.ndarray
    gradients: np.ndarray
    values: np.ndarray


def realize(found: Found) -> Realization:
    """Return a function of the class that attains a bound, as its data at the points of a run.

    Raises:
      RuntimeError: The best that is found is more than 1e-4 below the bound.
    """
    weights, directions = np.linalg.eigh(found.gram)
    reached = float("nan")
    kept = weights > _DIRECTIONS * weights[-1]
    start = directions[:, kept] * np.sqrt(weights[kept])
    for share in _USED:
        factor, values = _polish(found, start, share)
        if not _holds(found.estimation, factor, values):
            continue
        reached = _measure(found.estimation, factor, values)
        if abs(reached / found.bound - 1) <= _GAP:
            points, gradients = found.estimation.rows()
            return Realization(points @ factor, gradients @ factor, np.append(values, 0.0))
    raise RuntimeError(
        f"in units with L = 1 the worst case is proved to be at most {found.bound:.3g}, but the "
        f"worst function that is found has {reached:.3g}: the bound is too small, or the numbers "
        "of this optimizer too far apart, for float64. Take fewer steps."
    )


def _polish(found: Found, factor: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Make the inequalities in use and the one at the start equalities, by the shortest steps."""
    allowed, values = found.estimation.allowed().astype(bool), found.values
    sizes = np.maximum(_performance.slack_sizes(found), np.finfo(float).tiny)
    active = allowed & (found.weights * sizes > share * found.bound)
    units = np.maximum(np.linalg.norm(factor, axis=1, keepdims=True), 1e-12)
    columns = np.append((units + 0 * factor).ravel(), np.full(len(values), np.max(values)))
    for round_ in range(_ROUNDS):
        if round_ % 4 == 3:  # those in use are met by now; others may have been broken on the way
            broken = _slacks(found.estimation, factor, values) < -_ROUNDING * np.max(values)
            active |= allowed & broken
            if not np.any(broken):
                break
        jacobian, missing = _equations(found.estimation, active, factor, values)
        jacobian *= columns
        lengths = np.linalg.norm(jacobian, axis=1)
        lengths = np.where(lengths > 0, lengths, 1.0)
        step = np.linalg.lstsq(jacobian / lengths[:, None], missing / lengths, rcond=1e-9)[0]
        change = columns * step
        factor = factor + change[: factor.size].reshape(factor.shape)
        values = values + change[factor.size :]
    return factor, values


def _equations(
    estimation: Estimation, active: np.ndarray, factor: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives [m, n r + N + 1] of active slacks and the start, and their errors."""
    points, gradients = estimation.rows()
    limit, rows = estimation.limit(points), []
    i, j = np.nonzero(active)
    signs = np.eye(len(points))[:, :-1]  # the value at x* is 0
    for one, other in zip(i, j, strict=True):
        dx, dg = points[one] - points[other], gradients[one] - gradients[other]
        form = _slack_form(estimation.ratio, dx, dg, gradients[other])
        by_factor = -2 * form @ factor
        rows.append(np.append(by_factor.ravel(), signs[one] - signs[other]))
    rows.append(np.append(2 * (limit.form @ factor).ravel(), limit.values))
    start = np.sum(limit.form @ factor * factor) + limit.values @ values
    slacks = _slacks(estimation, factor, values)[i, j]
    return np.array(rows), np.append(-slacks, 1 - start)


def _slack_form(q: float, dx: np.ndarray, dg: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return what an inequality subtracts from the difference of values, as a form of the Gram."""
    inner = np.outer(dx, slope)
    cross = np.outer(dg, dx)
    squares = np.outer(dg, dg) + q * np.outer(dx, dx) - q * (cross + cross.T)
    return (inner + inner.T) / 2 + squares / (2 * (1 - q))


def _slacks(estimation: Estimation, factor: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return by how much each inequality holds [N + 2, N + 2]."""
    points, gradients = (rows @ factor for rows in estimation.rows())
    dx, dg = points[:, None] - points, gradients[:, None] - gradients
    q, f = estimation.ratio, np.append(values, 0.0)
    squares = np.sum(dg**2 + q * dx**2 - 2 * q * dx * dg, axis=2)
    return f[:, None] - f - np.sum(gradients * dx, axis=2) - squares / (2 * (1 - q))


def _holds(estimation: Estimation, factor: np.ndarray, values: np.ndarray) -> bool:
    """Whether every inequality holds, but for rounding."""
    slacks = _slacks(estimation, factor, values)[estimation.allowed().astype(bool)]
    return bool(np.min(slacks) > -_ROUNDING * np.max(values))


def _measure(estimation: Estimation, factor: np.ndarray, values: np.ndarray) -> float:
    target = estimation.target(*estimation.rows())
    return float(np.sum(target.form @ factor * factor) + target.values @ values)
