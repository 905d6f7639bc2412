"""Semidefinite programs for Lyapunov functions with function values."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxmom.theory._performance import Quadratic
from jaxmom.theory._solver import load_solver, run_solver
from jaxmom.theory._value_forms import Potential, Setting, claim

_PURPOSE = "certified_value_rate needs"
# How far inside of the solver's cone a proof is, so that it holds in exact arithmetic as well.
_ROOMS = (1e-8, 1e-7, 1e-6)
_TOLERANCES = (1e-10, 1e-9, 1e-8)
# A normalized solution with a smaller margin is the solver's error.
_LEAST_MARGIN = 1e-8


class Solution(NamedTuple):
    """What the solver returns; its entries are not exact."""

    potential: Potential
    multipliers: dict[str, np.ndarray]
    constant: float
    offset: float


class _Variables:
    """The unknowns of a proof, and its inequalities as constraints."""

    def __init__(self, setting: Setting, square: Any):
        cvxpy = load_solver(_PURPOSE)
        self.cvxpy, self.square, convex = cvxpy, square, setting.ratio == 0
        size = len(setting.system.state) + setting.window
        parts = [
            Quadratic(cvxpy.Variable((size, size), symmetric=True), cvxpy.Variable(setting.window))
            for _ in range(1 + convex)
        ]
        self.potential = Potential(parts[0], parts[1] if convex else None)
        self.constant: Any = cvxpy.Variable()
        self.offset: Any = cvxpy.Variable(nonneg=True)
        offset = self.offset if convex else 1.0
        self.claims = claim(setting, self.potential, square, self.constant, offset)
        self.multipliers = {
            name: cvxpy.Variable(one.allowed.shape, nonneg=True)
            for name, one in self.claims.items()
        }
        self.left = {
            name: one.subtract(self.multipliers[name], setting.ratio)
            for name, one in self.claims.items()
        }
        self.plain = [
            cvxpy.multiply(1 - one.allowed, self.multipliers[name]) == 0
            for name, one in self.claims.items()
        ]
        if convex:
            self.plain.append(parts[1].form[0] == 0)

    def hold(self, name: str, room: Any) -> list[Any]:
        """Return that a claim holds with so much room."""
        one, left = self.claims[name], self.left[name]
        form = (left.form + left.form.T) / 2
        skip = int(one.is_flat)
        unit = np.eye(form.shape[0] - skip)
        held = [form[skip:, skip:] >> room * unit]
        held += [form[0] == 0] if skip else []
        return [*held, left.values == 0 if one.is_balanced else left.values >= room]

    def pose(self, objective: Any, constraints: list[Any]) -> Any:
        """Return a program."""
        return self.cvxpy.Problem(objective, [*self.plain, *constraints])

    def solve(self, problem: Any) -> bool:
        """Solve as exactly as the solver can; return whether it found something."""
        for tolerance in _TOLERANCES:
            options = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
            if run_solver(problem, **options) is None:
                return self.potential.base.form.value is not None
        return False

    def solution(self) -> Solution:
        """Return the values of the unknowns, symmetric and not negative."""
        parts = [
            Quadratic((part.form.value + part.form.value.T) / 2, part.values.value)
            for part in self.potential
            if part is not None
        ]
        multipliers = {
            name: np.maximum(one.value, 0.0) * self.claims[name].allowed
            for name, one in self.multipliers.items()
        }
        offset = 1.0 if self.offset.value is None else max(float(self.offset.value), 0.0)
        potential = Potential(parts[0], parts[1] if len(parts) > 1 else None)
        return Solution(potential, multipliers, float(self.constant.value), offset)


class Search:
    """The question whether some positive V falls by rate^2; asked again, it compiles nothing."""

    def __init__(self, setting: Setting):
        cvxpy = load_solver(_PURPOSE)
        self.square, self.fall = cvxpy.Parameter(nonneg=True), cvxpy.Parameter(nonneg=True)
        self.variables = variables = _Variables(setting, self.square)
        self.margin: Any = cvxpy.Variable()
        # Only that V is positive is asked: with the measure times 0 the unknowns have no scale.
        above = variables.left["measure"]
        positive, values = above.form, above.values + np.eye(setting.window)[0]
        size = cvxpy.trace(positive) + cvxpy.sum(values)
        for name in ("measure", "decrease"):
            size = size + cvxpy.sum(variables.multipliers[name])
        constraints = [
            (positive + positive.T) / 2 >> self.margin * np.eye(positive.shape[0]),
            values >= self.margin,
            *variables.hold("decrease", self.margin * self.fall),
            size == 1,
        ]
        self.problem = variables.pose(cvxpy.Maximize(self.margin), constraints)

    def is_feasible(self, rate: float) -> bool:
        """Whether there is such a V on every strongly convex function."""
        self.square.value, self.fall.value = rate**2, 1 - rate**2
        found = self.variables.solve(self.problem)
        return found and float(self.margin.value) > _LEAST_MARGIN


def find_bounds(setting: Setting, rate: float, tolerance: float) -> Iterator[Solution]:
    """Yield solutions with nearly the smallest constant, those with less room first."""
    for room in _ROOMS:
        variables = _Variables(setting, rate**2)
        cvxpy = variables.cvxpy
        # V itself falls by little where the rate is near 1.
        fall = 1 - rate**2 if rate < 1 else 1.0
        held = [
            one
            for name in variables.claims
            for one in variables.hold(name, room * (fall if name == "decrease" else 1.0))
        ]
        if not variables.solve(variables.pose(cvxpy.Minimize(variables.constant), held)):
            continue
        if setting.ratio == 0:
            least = float(variables.constant.value)
            limit = variables.constant <= (1 + tolerance) * least
            if not variables.solve(
                variables.pose(cvxpy.Maximize(variables.offset), [*held, limit])
            ):
                continue
        yield variables.solution()
