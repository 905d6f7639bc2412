"""Integral quadratic constraints on the gradients of smooth strongly convex functions, as matrices.

The vector that they act on is (x, e, g): the state of the system, what the gradient at the previous
step exceeded L times params by, and the gradient now.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxmom.theory._dyadic import Dyadic, magnitude
from jaxmom.theory.linear_system import LinearSystem


class Forms(NamedTuple):
    """The maps and quadratic forms of the inequality, of floats or of fractions.

    Attributes:
      step: [n + 1, n + 2], (x, e, g) to the next (x, e).
      stay: [n + 1, n + 2], (x, e, g) to (x, e).
      sector: [n + 2, n + 2], the product of L params - g and g - mu params.
      delayed: [n + 2, n + 2], the product of e and g - mu params.
    """

    step: np.ndarray
    stay: np.ndarray
    sector: np.ndarray
    delayed: np.ndarray


class Problem(NamedTuple):
    """A minimal system and the curvatures, of which L is the unit.

    Attributes:
      system: Balanced, with gradients in units of L.
      ratio: mu / L.
      L: The unit.
    """

    system: LinearSystem
    ratio: float
    L: float

    def forms(self) -> Forms:
        """Return the forms on (x, e, g - mu params), in these units.

        With the loop closed at mu the state decays, and no large numbers cancel where P is near the
        identity.
        """
        a, b, c = (np.asarray(x, float) for x in (self.system.A, self.system.B, self.system.C))
        return quadratic_forms(a + self.ratio * np.outer(b, c), b, c, 0.0, 1 - self.ratio)


def pose(system: LinearSystem, mu: float, L: float) -> Problem:
    """Return a problem in units of L."""
    scaled = dataclasses.replace(system, B=system.B * L)
    return Problem(scaled, mu / L, L)


def quadratic_forms(a: np.ndarray, b: np.ndarray, c: np.ndarray, mu: Any, L: Any) -> Forms:
    """Return the forms of a system for curvatures in [mu, L], in the arithmetic of its numbers."""
    n = len(b)
    unit = np.eye(n + 2, dtype=int)
    params, gradient, excess = np.append(c, [0, 0]), unit[n + 1], unit[n]
    step = np.vstack([np.column_stack([a, np.zeros(n, int), b]), gradient - L * params])
    below = gradient - mu * params
    sector, delayed = (symmetric_product(z, below) for z in (L * params - gradient, excess))
    return Forms(step, unit[: n + 1], sector, delayed)


def symmetric_product(z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return ``z w' + w z'``."""
    return np.outer(z, w) + np.outer(w, z)


def combine_forms(forms: Forms, square: Any, P: Any, multipliers: Any) -> Any:
    """Return the matrix of the inequality; P and the multipliers may be variables of cvxpy."""
    return (
        forms.step.T @ P @ forms.step
        - square * (forms.stay.T @ P @ forms.stay)
        + multipliers[0] * forms.sector
        + multipliers[1] * (forms.sector + square * forms.delayed)
    )


def inequality(
    system: LinearSystem, mu: float, L: float, rate: float, P: Any, multipliers: Any
) -> Any:
    """Return the matrix [n + 2, n + 2] that a certificate makes negative definite.

    ``[A B]' P [A B] - rate^2 [I 0]' P [I 0] + sum_i multiplier_i (z_i w' + w z_i')`` on (x, e, g),
    with ``w = g - mu params``, ``z_1 = L params - g`` and ``z_2 = z_1 + rate^2 e``, ``e <- g - L
    params``.

    Args:
      system: A minimal `LinearSystem` with n states.
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      rate: The contraction per step.
      P: [n + 1, n + 1], an array or a variable of cvxpy.
      multipliers: [2], an array or a variable of cvxpy.
    """
    a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
    return combine_forms(quadratic_forms(a, b, c, mu, L), rate**2, P, multipliers)


class Change(NamedTuple):
    """What the matrix of the inequality changes by, if the entries of A, B and C do.

    Attributes:
      form: [n + 2, n + 2], positive semidefinite.
      error: [n + 2, n + 2], entry by entry, and not negative.
    """

    form: np.ndarray
    error: np.ndarray


def bound_change(
    forms: Forms,
    square: Dyadic,
    P: np.ndarray,
    multipliers: np.ndarray,
    share: Dyadic,
    weights: tuple[int, int],
) -> Change:
    """Bound the change if every entry of A, B and C changes by at most a share of it.

    A product of u and v changes by at most ``p u^2 + dv^2 / p + q v^2 + du^2 / q + du^2 + dv^2``
    for any positive p and q, by the inequality of Young. The squares of u and v make the form, the
    others the error. What p and q are for P and for the sector follows from the two weights, which
    are exponents of two: small ones spare a form that is close to singular, large ones an error
    that is large because entries of A, or of C, cancel. All numbers are `Dyadic`.
    """
    step = np.abs(forms.step)
    # The last row of `step` is g - L params, and the row of e in `delayed` is g - mu params.
    above, below, excess = forms.step[-1], forms.delayed[len(forms.stay) - 1], forms.stay[-1]
    read_above, read_below = (np.append(np.abs(row[:-1]), 0) for row in (above, below))
    ratio = magnitude(np.max(read_below)) - magnitude(np.max(read_above))  # of mu to L
    powers = magnitude(1 - square) + weights[0], weights[1] + ratio, weights[1]
    decrease, on_above, on_below = (Dyadic(1, k) for k in powers)
    per_decrease, per_above, per_below = (Dyadic(1, -k) for k in powers)
    first, second = multipliers[0] + multipliers[1], multipliers[1] * square
    form = decrease * (forms.step.T @ P @ forms.step)
    form = form + (first * on_above) * np.outer(above, above)
    form = form + (first * on_below) * np.outer(below, below)
    form = form + (second * on_above) * np.outer(excess, excess)
    error = (1 + per_decrease) * (step.T @ np.abs(P) @ step)
    error = error + first * (1 + per_below) * np.outer(read_above, read_above)
    error = error + (first + second) * (1 + per_above) * np.outer(read_below, read_below)
    return Change(form, share * share * error)
