"""Solutions of the inequality of a certificate by a Riccati equation, at given multipliers.

The solution makes the inequality an equality in all directions but one. What it proves at one rate
holds strictly at every larger one.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from jaxmom.theory._constraints import Forms

# Steps of the doubled recursion; 2^k is more than the steps of the slowest method.
_DOUBLINGS = 40


class Solution(NamedTuple):
    """A quadratic function of the state, and multipliers.

    Attributes:
      factor: [n, n], ``P = factor' factor``.
      multipliers: Of the constraints.
      margin: Of the inequality, in the units of the program that found it.
    """

    factor: np.ndarray
    multipliers: np.ndarray
    margin: float


def solve_riccati(forms: Forms, rate: float, share: float, target: float) -> Solution | None:
    """Solve at a rate, for a proof at a target that is a little larger; None if there is none.

    Args:
      forms: In units in which L is 1.
      rate: Above the best rate.
      share: Of the off-by-one constraint in the multipliers.
      target: Not below the rate. The same constraint at this rate is a weaker one, of which less is
        needed.
    """
    n = len(forms.stay)
    a, b = np.split(forms.step / rate, [n], axis=1)
    form = forms.sector / rate**2 + share * forms.delayed
    P = _double(a, b, form)
    if P is None:
        try:
            P = scipy.linalg.solve_discrete_are(a, b, form[:n, :n], form[n:, n:], s=form[:n, n:])
        except (np.linalg.LinAlgError, ValueError):  # there is none, or none that is found
            return None
    weights, directions = np.linalg.eigh((P + P.T) / 2)
    if not weights[0] > 0:
        return None
    share = share * (rate / target) ** 2
    return Solution(np.sqrt(weights)[:, None] * directions.T, np.array([1 - share, share]), 0.0)


def _double(a: np.ndarray, b: np.ndarray, form: np.ndarray) -> np.ndarray | None:
    """Return what the Riccati recursion from zero tends to, by doubling its steps.

    It takes a tenth of the time of a Schur decomposition, but loses digits where `a` alone grows;
    None if the solution is not one to 1e-12.

    Source: Anderson 1978 (Int. J. Control 28), the doubling algorithm.
    """
    n = len(a)
    gradient, crossed = form[n, n], form[:n, n:]
    unit, step = np.eye(n), a - b @ crossed.T / gradient
    gain, P = b @ b.T / gradient, form[:n, :n] - crossed @ crossed.T / gradient
    for _ in range(_DOUBLINGS):
        try:
            both = np.linalg.solve(unit + gain @ P, np.hstack([step, gain]))
        except np.linalg.LinAlgError:
            return None
        more = step.T @ P @ both[:, :n]
        P, gain = P + (more + more.T) / 2, gain + step @ both[:, n:] @ step.T
        step = step @ both[:, :n]
        if not np.all(np.isfinite(P)):
            return None
        if np.abs(more).max() <= 1e-17 * np.abs(P).max():
            break
    row = a.T @ P @ b + crossed
    rest = a.T @ P @ a - P + form[:n, :n] - row @ row.T / (b.T @ P @ b + gradient)
    return P if np.abs(rest).max() <= 1e-12 * np.abs(P).max() else None
