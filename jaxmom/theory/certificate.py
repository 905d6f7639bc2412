"""The worst-case rate over all smooth strongly convex functions, with a certificate of it.

A quadratic's eigenvalues say nothing about other functions. Here the gradient is any map that
integral quadratic constraints allow the gradients of mu-strongly convex L-smooth functions, and a
quadratic function of the state that shrinks by rate^2 per step, however they behave, is the proof.
It is found by a small semidefinite program, and checked without one, by eigenvalues.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np

from jaxmom.theory._minimal import minimal
from jaxmom.theory._systems import Linear, as_system
from jaxmom.theory.linear_system import LinearSystem


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A proof that ``|params_t - optimum| <= bound * rate^t`` for every function of the class.

    The augmented state is (x, e): the state of `system`, and what the gradient at the previous step
    exceeded L times params by. Its matrices, and the inequality, are in `inequality`.

    Attributes:
      rate: The contraction per step; infinite if no certificate was found.
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      system: The optimizer, minimal, as (A, B, C).
      P: [n + 1, n + 1] positive definite, or None.
      multipliers: [2] not negative: of the sector and of the weighted off-by-one constraint.
    """

    rate: float
    mu: float
    L: float
    system: LinearSystem
    P: np.ndarray | None
    multipliers: np.ndarray | None

    def verify(self) -> bool:
        """Whether it is a proof, by eigenvalues alone: no solver, no tolerance."""
        if self.P is None or self.multipliers is None:
            return False
        left = inequality(self.system, self.mu, self.L, self.rate, self.P, self.multipliers)
        negative = np.linalg.eigvalsh(left).max() <= 0
        positive = np.linalg.eigvalsh(self.P).min() > 0
        return bool(negative and positive and (self.multipliers >= 0).all())

    def bound(self) -> float:
        """The constant before rate^t, for params that start at distance 1 with empty buffers."""
        if self.P is None:
            return float("inf")
        c = np.append(self.system.C, 0.0)
        start = np.append(_start(self.system), 0.0)
        return float(np.sqrt(c @ np.linalg.solve(self.P, c) * (start @ self.P @ start)))


def certified_rate(
    optimizer: Linear, mu: float, L: float, *, tolerance: float = 1e-5
) -> Certificate:
    """The best rate that integral quadratic constraints prove for an optimizer, by bisection.

    It holds for every mu-strongly convex L-smooth function in any number of dimensions, at constant
    hyperparameters. An upper bound: the true rate may be better. That none is found (``rate`` is
    inf) does not prove divergence; the quadratic-optimal heavy ball has none, and does cycle.

    Only linear rates, mu > 0: a certificate for the convex case proves 1/t or 1/t^2 with matrices
    that change from step to step, which does not fit this frame.

    Source: Lessard, Recht and Packard 2016 (arXiv 1408.3595), theorem 4 with the pointwise sector
    (lemma 6) and the weighted off-by-one (lemma 10) constraints.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only.
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.
      tolerance: Of the bisection on the rate.

    Returns:
      A `Certificate`, which `verify`s.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: The curvatures are not 0 < mu < L.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> proof = theory.certified_rate(jm.gradient_descent(0.2), mu=1.0, L=9.0)
      >>> print(f"{proof.rate:.4f} {proof.verify()}")  # (kappa - 1) / (kappa + 1)
      0.8000 True
    """
    if not 0 < mu < L:
        raise ValueError(
            f"a linear rate is certified for 0 < mu < L, got mu={mu} and L={L}; "
            "without strong convexity there is none."
        )
    system = _in_positions(minimal(as_system(optimizer)))
    search = _Search(system, mu, L)
    best = Certificate(float("inf"), mu, L, system, None, None)
    low, high = 0.0, 1.0
    while high - low > tolerance:
        middle = (low + high) / 2 if np.isfinite(best.rate) else 1 - tolerance
        candidate = search(middle)
        if candidate.verify():
            best, high = candidate, middle
        elif not np.isfinite(best.rate):
            return best
        else:
            low = middle
    return best


def inequality(
    system: LinearSystem, mu: float, L: float, rate: float, P: Any, multipliers: Any
) -> Any:
    """The matrix [n + 2, n + 2] that a certificate makes negative semidefinite.

    ``[A B]' P [A B] - rate^2 [I 0]' P [I 0] + sum_i multiplier_i (z_i w' + w z_i')`` on (x, e, g),
    with ``w = g - mu params``, ``z_1 = L params - g`` and ``z_2 = z_1 + rate^2 e``, ``e <- g - L
    params``.
    """
    forms = _forms(system, mu, L)
    sector, delayed = forms.products
    return (
        forms.step.T @ P @ forms.step
        - rate**2 * (forms.stay.T @ P @ forms.stay)
        + multipliers[0] * sector
        + multipliers[1] * (sector + rate**2 * delayed)
    )


@dataclasses.dataclass(frozen=True)
class _Forms:
    step: np.ndarray  # (x, e, g) -> the next (x, e)
    stay: np.ndarray  # (x, e, g) -> (x, e)
    products: tuple[np.ndarray, np.ndarray]  # of w with L params - g, and of w with e


def _forms(system: LinearSystem, mu: float, L: float) -> _Forms:
    a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
    n = len(b)
    unit = np.eye(n + 2)
    params, gradient = np.append(c, [0.0, 0.0]), unit[n + 1]
    step = np.vstack([np.column_stack([a, np.zeros(n), b]), gradient - L * params])
    above, below = L * params - gradient, gradient - mu * params
    products = [np.outer(z, below) + np.outer(below, z) for z in (above, unit[n])]
    return _Forms(step, unit[: n + 1], (products[0], products[1]))


class _Search:
    """The semidefinite program for one optimizer, compiled once; the rate is its parameter."""

    def __init__(self, system: LinearSystem, mu: float, L: float):
        try:
            import clarabel  # noqa: F401  # the solver, which cvxpy loads by name
            import cvxpy
        except ImportError as error:
            raise ImportError(
                "certified_rate needs cvxpy and clarabel: pip install jaxmom[certify]."
            ) from error
        self.system, self.mu, self.L, self.cvxpy = system, mu, L, cvxpy
        # In units in which L is 1, and the gradient as large as params.
        forms = _forms(_scaled(system, L), mu / L, 1.0)
        n = forms.stay.shape[0]
        self.P = cvxpy.Variable((n, n), symmetric=True)
        self.multipliers = cvxpy.Variable(2, nonneg=True)
        self.square = cvxpy.Parameter(nonneg=True)
        margin = cvxpy.Variable()
        sector, delayed = forms.products
        left = (
            forms.step.T @ self.P @ forms.step
            - self.square * (forms.stay.T @ self.P @ forms.stay)
            + cvxpy.sum(self.multipliers) * sector
            + self.multipliers[1] * self.square * delayed
        )
        constraints: list[Any] = [
            (left + left.T) / 2 << -margin * np.eye(n + 1),
            self.P >> margin * np.eye(n),
            cvxpy.trace(self.P) + cvxpy.sum(self.multipliers) == 1,
        ]
        self.problem = cvxpy.Problem(cvxpy.Maximize(margin), constraints)

    def __call__(self, rate: float) -> Certificate:
        """The best candidate at a rate; it may not be a proof."""
        self.square.value = rate**2
        none = Certificate(float("inf"), self.mu, self.L, self.system, None, None)
        try:
            with warnings.catch_warnings():  # an inaccurate solution is judged by its eigenvalues
                warnings.simplefilter("ignore")
                self.problem.solve(solver=self.cvxpy.CLARABEL)
        except self.cvxpy.error.SolverError:
            return none
        if self.P.value is None or self.multipliers.value is None:
            return none
        # Back to units of L: e was the gradient's excess over params.
        units = np.append(np.ones(len(self.system.C)), 1 / self.L)
        P = (self.P.value + self.P.value.T) / 2 * np.outer(units, units)
        multipliers = np.maximum(self.multipliers.value, 0.0) / self.L**2
        return Certificate(rate, self.mu, self.L, self.system, P, multipliers)


def _scaled(system: LinearSystem, L: float) -> LinearSystem:
    return dataclasses.replace(system, B=np.asarray(system.B) * L)


def _in_positions(system: LinearSystem) -> LinearSystem:
    """The same system in the coordinates (params_t, params_{t+1} without gradients ...).

    All of them have the units of params, which keeps the semidefinite program well scaled.
    """
    a, b, c = system.A, system.B, system.C
    rows = [c]
    for _ in range(len(c) - 1):
        rows.append(rows[-1] @ a)
    to = np.array(rows)
    back = np.linalg.inv(to)
    names = tuple(f"x{i}" for i in range(len(c)))
    return LinearSystem(to @ a @ back, to @ b, c @ back, system.D, names)


def _start(system: LinearSystem) -> np.ndarray:
    """The state of params at distance 1 with empty buffers, in positions: they stay there."""
    return np.ones(len(system.C))
