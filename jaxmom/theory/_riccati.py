"""Solutions of the inequality of a certificate by a Riccati equation, at given multipliers.

The solution makes the inequality an equality in all directions but one. What it proves at one rate
holds strictly at every larger one.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from jaxmom.theory._constraints import Forms


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
    try:
        P = scipy.linalg.solve_discrete_are(a, b, form[:n, :n], form[n:, n:], s=form[:n, n:])
    except (np.linalg.LinAlgError, ValueError):  # there is none, or none that is found
        return None
    weights, directions = np.linalg.eigh((P + P.T) / 2)
    if not weights[0] > 0:
        return None
    share = share * (rate / target) ** 2
    return Solution(np.sqrt(weights)[:, None] * directions.T, np.array([1 - share, share]), 0.0)
