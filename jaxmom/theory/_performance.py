"""Performance estimation: the worst case of N steps as a semidefinite program, and its proof.

With x* = 0, every point is x_i = x_0 - sum_j H_ij g_j. The program is over the Gram matrix of
(x_0, g_0, ..., g_N) and the values f_i. Its dual is a sum of interpolation inequalities with
multipliers, which proves a bound; its primal is the worst function. Units are those with L = 1.
Where the bound is small, the solver's errors are not: then the program is solved once more, in
units in which the bound, the gradients and the values of the first solution are about 1.
"""

import dataclasses
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from jaxmom.theory import _rational
from jaxmom.theory._solver import load_solver, run_solver

# A proof needs room for the solver's errors. In units in which L and the start are 1, it raises the
# bound by so much of the squares of the start and of all gradients, which add up to a few.
_ROOMS = (1e-8, 1e-7, 1e-6)
_SMALL = 1e-2  # a bound below which the room is more than about 1e-6 of it
_LEAST = 1e-12  # what the first solution has below this is rounding
_TOLERANCES = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


class Quadratic(NamedTuple):
    """A quadratic form of the Gram matrix plus a linear form of the values."""

    form: Any  # [n, n]
    values: Any  # [N + 1]


@dataclasses.dataclass(frozen=True)
class Estimation:
    """The program for one optimizer, class of functions, measure and start.

    Attributes:
      steps: [N + 1, N], the step matrix H in units with L = 1.
      ratio: mu / L.
      measure: "value", "gradient_norm" or "distance", of the last point.
      start: "distance" or "value".
      units: [n], of the basis (x_0, g_0 ... g_N), in which floats are computed; 1 by default.
    """

    steps: np.ndarray
    ratio: float
    measure: str
    start: str
    units: np.ndarray | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing ties the start to the minimizer, which may be arbitrarily far away."""
        return self.start == "value" and self.ratio == 0

    def rows(self, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the points and gradients [N + 2, n] in the basis (x_0, g_0 ... g_N), x* last.

        If the start is free, x_0 is the origin and not in the basis. Exact rows have no units: a
        form is positive in all units or in none.
        """
        count = len(self.steps)
        points = np.zeros((count + 1, count + 1))
        points[:-1, 0] = 1
        points[:-1, 1:count] = -self.steps
        gradients = np.eye(count + 1, k=1)
        if self.is_free:
            points, gradients = points[:, 1:], gradients[:, 1:]
        if exact:
            return _rational.to_fractions(points), _rational.to_fractions(gradients)
        units = 1.0 if self.units is None else self.units
        return points * units, gradients * units

    def target(self, points: np.ndarray, gradients: np.ndarray) -> Quadratic:
        """Return the measure."""
        last = np.eye(len(self.steps), dtype=int)[-1]
        row = {"value": 0 * points[-1], "gradient_norm": gradients[-2], "distance": points[-2]}
        return Quadratic(_square(row[self.measure]), last * (self.measure == "value"))

    def limit(self, points: np.ndarray) -> Quadratic:
        """Return what is at most 1 at the start."""
        first = np.eye(len(self.steps), dtype=int)[0]
        near = self.start == "distance"
        return Quadratic(_square(points[0]) * int(near), first * (not near))

    def allowed(self) -> np.ndarray:
        """Return [N + 2, N + 2], 1 where an inequality between two points is used."""
        count = len(self.steps) + 1
        pairs = np.ones((count, count)) - np.eye(count)
        if self.is_free:
            pairs[-1] = 0  # x* is at no known place: only f_i - f* >= |g_i|^2 / 2 speaks of it
        return pairs


def _square(row: np.ndarray) -> np.ndarray:
    return np.outer(row, row)


def combine(estimation: Estimation, bound: Any, weights: Any, points: Any, gradients: Any) -> Any:
    """Return the form S of the proof: bound x limit - measure - sum of inequalities; its Gram part.

    The numbers may be floats, fractions or variables of cvxpy.
    """
    q = Fraction(estimation.ratio) if points.dtype == object else estimation.ratio
    target, limit = estimation.target(points, gradients), estimation.limit(points)
    return bound * limit.form - target.form - sum_inequalities(q, weights, points, gradients)


def sum_inequalities(q: Any, weights: Any, points: Any, gradients: Any) -> Any:
    """Return the Gram part [n, n] of a sum of interpolation inequalities with multipliers.

    The inequality of (i, j) is ``f_i - f_j - g_j (x_i - x_j) - (|g_i - g_j|^2 + q |x_i - x_j|^2 -
    2 q (g_i - g_j) (x_i - x_j)) / (2 (1 - q)) >= 0`` with q = mu / L, in units with L = 1.
    """
    ones = np.ones(len(points), int)
    sums, columns = weights @ ones, weights.T @ ones
    diagonal = _diagonal(columns)
    laplacian = _diagonal(sums) + diagonal - weights - weights.T
    slope = points.T @ (weights - diagonal) @ gradients
    cross = points.T @ laplacian @ gradients
    squares = gradients.T @ laplacian @ gradients + q * (points.T @ laplacian @ points)
    room = 2 * (1 - q)
    return -((slope + slope.T) / 2 + (squares - q * (cross + cross.T)) / room)


def _diagonal(vector: Any) -> Any:
    if isinstance(vector, np.ndarray):
        return np.diag(vector)
    import cvxpy

    return cvxpy.diag(vector)


class Found(NamedTuple):
    """What the solver returns.

    Attributes:
      estimation: The program, in the units of `gram`.
      bound: Of the measure.
      weights: [N + 2, N + 2] multipliers of the inequalities.
      gram: [n, n].
      values: [N + 1].
    """

    estimation: Estimation
    bound: float
    weights: np.ndarray
    gram: np.ndarray
    values: np.ndarray


class _Scale(NamedTuple):
    """Units of the unknowns, in which they are about 1."""

    bound: float
    values: np.ndarray  # [N + 1]
    weights: np.ndarray  # [N + 2, N + 2]


def solve(estimation: Estimation) -> Found:
    """Minimize the bound over proofs of it that hold without the solver.

    Raises:
      ImportError: cvxpy or clarabel is missing.
      RuntimeError: The solver finds no proof.
    """
    count = len(estimation.steps)
    plain = _Scale(1.0, np.ones(count), np.ones((count + 1, count + 1)))
    for room in _ROOMS:
        found = _solve_with_room(estimation, plain, room)
        finer = _solve_again(found, room) if found.bound < _SMALL else None
        for one in (finer, found):
            if one and is_proof(one.estimation, one.bound, one.weights, exact=False):
                return one
    raise RuntimeError(
        "the solver's multipliers prove no bound: the numbers of this optimizer are too far apart "
        "for float64. Take fewer or shorter steps."
    )


def _solve_again(found: Found, room: float) -> Found | None:
    """Solve in the units of a first solution; None if the solver fails."""
    units = np.sqrt(np.maximum(np.diag(found.gram), _LEAST))
    weights = found.bound / np.maximum(slack_sizes(found), _LEAST)
    scale = _Scale(found.bound, np.maximum(found.values, _LEAST), weights)
    try:
        return _solve_with_room(dataclasses.replace(found.estimation, units=units), scale, room)
    except RuntimeError:
        return None


def slack_sizes(found: Found) -> np.ndarray:
    """Return the sizes of the terms in each inequality [N + 2, N + 2] at a solution."""
    points, gradients = found.estimation.rows()
    values, apart = np.append(found.values, 0.0), points[:, None] - points
    squares = np.einsum("ijk,kl,ijl->ij", apart, found.gram, apart)
    slopes = np.einsum("jk,kl,jl->j", gradients, found.gram, gradients)
    squares, slopes = np.maximum(squares, 0), np.maximum(slopes, 0)
    sizes = np.abs(values[:, None]) + np.abs(values) + np.sqrt(squares * slopes)
    return sizes + found.estimation.ratio * squares


def _solve_with_room(estimation: Estimation, scale: _Scale, room: float) -> Found:
    cvxpy = load_solver("worst_case needs")
    points, gradients = estimation.rows()
    places, count = np.flatnonzero(estimation.allowed()), len(points)
    unknown = cvxpy.Variable(nonneg=True)
    multipliers = cvxpy.Variable(len(places), nonneg=True)
    scatter = scipy.sparse.csc_array(
        (scale.weights.flat[places], (places, np.arange(len(places)))), (count**2, len(places))
    )
    weights = cvxpy.reshape(scatter @ multipliers, (count, count), order="C")
    bound = scale.bound * unknown
    form = combine(estimation, bound, weights, points, gradients) / scale.bound
    proof = (form + form.T) / 2 >> room * np.eye(points.shape[1])
    rest = _imbalance(estimation, bound, weights, points, gradients)
    balance = cvxpy.multiply(scale.values / scale.bound, rest) == 0
    problem = cvxpy.Problem(cvxpy.Minimize(unknown), [proof, balance])
    error = run_solver(problem, **_TOLERANCES)
    if error is not None:
        raise RuntimeError(f"the solver failed on the worst case: {error}") from error
    if multipliers.value is None or bound.value is None:
        raise RuntimeError(
            f"the solver found no bound ({problem.status}): the measure may grow beyond all bounds."
        )
    dense = np.zeros((count, count))
    dense.flat[places] = scale.weights.flat[places] * np.maximum(multipliers.value, 0.0)
    raised, dense = restore_balance(estimation, float(bound.value), dense)
    gram = np.asarray(proof.dual_value, float)
    values = -scale.values * np.asarray(balance.dual_value, float)
    return Found(estimation, float(raised) * (1 + 1e-12), dense, (gram + gram.T) / 2, values)


def _imbalance(estimation: Estimation, bound: Any, weights: Any, points: Any, g: Any) -> Any:
    """Return the factors of the values f_0 ... f_N that are left over: a proof has none."""
    ones = np.ones(len(points), int)
    flow = (weights @ ones - weights.T @ ones)[:-1]
    return bound * estimation.limit(points).values - estimation.target(points, g).values - flow


def restore_balance(estimation: Estimation, bound: Any, weights: np.ndarray) -> tuple[Any, Any]:
    """Add to multipliers what makes the factors of all values vanish, exactly in fractions."""
    points, gradients = estimation.rows()
    weights = weights.copy()
    for i, rest in enumerate(_imbalance(estimation, bound, weights, points, gradients)):
        hub = 0 if estimation.is_free else -1
        if i == hub:
            continue
        if rest > 0:
            weights[i, -1] += rest
        else:
            weights[hub, i] -= rest
    if estimation.is_free:  # what was taken from f_0 above
        rest = _imbalance(estimation, bound, weights, points, gradients)[0]
        bound = max(bound, bound - rest)
        weights[0, -1] += max(rest, 0)
    return bound, weights


def is_proof(estimation: Estimation, bound: float, weights: np.ndarray, exact: bool) -> bool:
    """Whether multipliers prove the bound: by eigenvalues in float64, or in exact arithmetic."""
    if not np.all(np.isfinite(weights)) or np.any(weights * (1 - estimation.allowed()) != 0):
        return False
    points, gradients = estimation.rows(exact)
    multipliers = _rational.to_fractions(weights) if exact else np.asarray(weights, float)
    limit = Fraction(bound) if exact else bound
    raised, multipliers = restore_balance(estimation, limit, multipliers)
    if raised > limit or np.any(multipliers < 0):
        return False
    form = combine(estimation, raised, multipliers, points, gradients)
    form = (form + form.T) / 2
    if exact:
        return _rational.is_positive_definite(form)
    return bool(np.linalg.eigvalsh(form)[0] > 0)
