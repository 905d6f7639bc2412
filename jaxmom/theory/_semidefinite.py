"""Semidefinite programs for certificates, in units in which they are well posed.

A program is solved in coordinates of the state in which P is near the identity, and in units in
which the decrease over one step, 1 - rate^2, is 1. Without them a condition number of 10^4 drowns
in the solver's tolerance. The coordinates are those of a solution of the Riccati equation.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from jaxmom.theory._constraints import Forms, Problem, combine_forms
from jaxmom.theory._riccati import Solution
from jaxmom.theory._solver import load_solver, run_solver


class Scale(NamedTuple):
    """Units of a semidefinite program.

    Attributes:
      factor: [n + 1, n + 1], of (x, e) to the coordinates of the program.
      gradient: The unit of the gradient.
      multipliers: [2], units of the multipliers.
    """

    factor: np.ndarray
    gradient: float
    multipliers: np.ndarray


class Program:
    """The inequality in units in which L is 1, and the gradient as large as params."""

    def __init__(self, problem: Problem, start: np.ndarray):
        self.cvxpy = load_solver("certified_rate needs")
        self.problem, self.forms = problem, problem.forms()
        read = np.asarray(problem.system.C)
        self.start, self.read = np.append(start, 0.0), np.append(read, 0.0)

    def solve(self, rate: float, scale: Scale) -> Solution | None:
        """Maximize the margin of the inequality at a rate."""
        cvxpy, variables = self.cvxpy, _Variables(self, rate, scale)
        margin = cvxpy.Variable()
        constraints = [*variables.hold(margin), variables.size == len(scale.factor) + 2]
        return variables.solve(cvxpy.Maximize(margin), constraints, margin)

    def tighten(self, rate: float, scale: Scale, margin: float) -> Solution | None:
        """Minimize the bound of a certificate with a margin."""
        cvxpy, variables = self.cvxpy, _Variables(self, rate, scale)
        start = scale.factor @ self.start
        read = np.linalg.solve(scale.factor.T, self.read)
        share = margin / (len(start) + 2) * variables.size
        constraints = [*variables.hold(share), variables.P >> np.outer(read, read)]
        return variables.solve(cvxpy.Minimize(start @ variables.P @ start), constraints, share)


class _Variables:
    """The variables of a semidefinite program in the units of a scale."""

    def __init__(self, program: Program, rate: float, scale: Scale):
        self.cvxpy, self.scale = program.cvxpy, scale
        n = len(scale.factor)
        self.P = self.cvxpy.Variable((n, n), symmetric=True)
        self.multipliers = self.cvxpy.Variable(2, nonneg=True)
        self.size = self.cvxpy.trace(self.P) + self.cvxpy.sum(self.multipliers)
        scaled = self.cvxpy.multiply(scale.multipliers, self.multipliers)
        left = combine_forms(_rescale(program.forms, scale), rate**2, self.P, scaled)
        self.left = (left + left.T) / (2 - 2 * rate**2)

    def hold(self, margin: Any) -> list[Any]:
        """Return the inequality with a margin, and that P is positive with the same margin."""
        n = len(self.scale.factor)
        return [self.left << -margin * np.eye(n + 1), self.P >> margin * np.eye(n)]

    def solve(self, objective: Any, constraints: list[Any], margin: Any) -> Solution | None:
        """Solve the program; None if the solver fails, or P is not positive."""
        if run_solver(self.cvxpy.Problem(objective, constraints)) is not None:
            return None
        P, multipliers = self.P.value, self.multipliers.value
        if P is None or multipliers is None:
            return None
        try:
            root = np.linalg.cholesky((P + P.T) / 2)
        except np.linalg.LinAlgError:
            return None
        positive = np.maximum(multipliers, 0.0) * self.scale.multipliers
        return Solution(root.T @ self.scale.factor, positive, float(margin.value))


def _rescale(forms: Forms, scale: Scale) -> Forms:
    """The forms in the units of a scale; the multipliers' units go into the products."""
    units = scipy.linalg.block_diag(np.linalg.inv(scale.factor), [[scale.gradient]])
    sector, delayed = (units.T @ form @ units for form in (forms.sector, forms.delayed))
    return Forms(scale.factor @ forms.step @ units, forms.stay, sector, delayed)
