"""The search for certificates with noisy gradients: small semidefinite programs in good units.

As in `_semidefinite`, a program is well posed in coordinates of the state in which P is near the
identity, with the decrease over a step as the unit of the inequality. Each solution gives the
units of the next program.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.linalg
import scipy.optimize

from jaxmom.theory import _riccati
from jaxmom.theory._constraints import Forms, Problem, combine_forms
from jaxmom.theory._noisy_forms import Noise, combine_noisy, noisy_forms
from jaxmom.theory._proof import Best
from jaxmom.theory._solver import load_solver, run_solver

# From a rate, a factor of P and multipliers to a certificate, or None if they do not prove it.
ProposeFn: TypeAlias = Callable[[float, np.ndarray, np.ndarray], Any]

# The room of the inequality, as a share of what is possible, or of the decrease over a step.
_SHARES = (0.3, 0.03, 0.003, 0.0003)
_ROOMS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
# Above every price that is found; the worst that a search has to compare.
_NO_PRICE = 1e200
# A margin closer to zero than this may have either sign, for the solver's errors: in the units of
# a proof with errors, and in those of a proof without.
_UNCLEAR, _MORE_UNCLEAR = 1e-6, 1e-3
# Halvings of 1 - rate before the search gives up.
_HALVINGS = 12


class Solution(NamedTuple):
    """What a program finds, and the units for the next one.

    Attributes:
      factor: [n + 1, n + 1], ``P = factor' factor``.
      multipliers: Of the constraints, and of the noise if it is not random.
      inputs: The units of d, if there is one, and of g.
      margin: Of the inequality; its unit is the decrease over a step.
      basis: [n + 1, n + 1], the factor for the coordinates of the next program.
    """

    factor: np.ndarray
    multipliers: np.ndarray
    inputs: np.ndarray
    margin: float
    basis: np.ndarray


class Program:
    """The inequality of one system and one kind of noise, in units in which L is 1."""

    def __init__(self, problem: Problem, noise: Noise, relative: float = 0.0):
        self.cvxpy = load_solver("certificates with noise need")
        system = problem.system
        a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
        self.problem = problem
        self.forms = noisy_forms(a, b, c, problem.ratio, 1.0, noise, relative)
        self.gradient, self.read = np.append(b, 0.0), np.append(c, 0.0)

    def starts(self, best: Best) -> list[Solution]:
        """Return units for a first program, each of a proof without noise at a slower rate."""
        rates = [1 - best.slow * share for share in (0.5, 0.9, 0.1)]
        forms = self.problem.forms()
        found = [(rate, _riccati.solve_riccati(forms, rate, best.share, rate)) for rate in rates]
        return [self._units(rate, proof) for rate, proof in found if proof is not None]

    def _units(self, rate: float, found: _riccati.Solution) -> Solution:
        # V is |params|^2 at least; and if errors are random, it has to fall by |params|^2.
        read = np.linalg.solve(found.factor.T, self.read)
        size = read @ read if self.forms.noise else 0.5 / self.problem.ratio
        factor, given = np.sqrt(size) * found.factor, size * found.multipliers
        P = factor.T @ factor
        left = combine_forms(self.problem.forms(), rate**2, P, given)
        added = self.gradient @ P @ self.gradient
        more = len(self.forms.noise)
        sizes = np.append([added] * more, max(-left[-1, -1], added)) / (1 - rate**2)
        multipliers = np.append(given, [2 * added] * more)
        return units_of(Solution(factor, multipliers, sizes**-0.5, 0.0, factor))

    def widen(self, rate: float, units: Solution) -> Solution | None:
        """Maximize the margin of the inequality at a rate."""
        variables, margin = _Variables(self, rate, units), self.cvxpy.Variable()
        constraints = [*variables.hold(margin), variables.size == variables.count]
        return variables.solve(self.cvxpy.Maximize(margin), constraints, margin)

    def tighten(self, rate: float, units: Solution, room: float, start: Any) -> Solution | None:
        """Minimize the bound on params of runs from a start, with some room."""
        variables = _Variables(self, rate, units)
        share = room / variables.count * variables.size
        read, begun = variables.read, units.factor @ np.append(start, 0.0)
        constraints = [*variables.hold(share), variables.P >> np.outer(read, read)]
        return variables.solve(self.cvxpy.Minimize(begun @ variables.P @ begun), constraints, share)

    def least_variance(self, units: Solution, room: float, unit: float) -> Solution | None:
        """Minimize what random errors add to V in a step."""
        variables = _Variables(self, 1.0, units, unit)
        share, kick = room / variables.count * variables.size, units.factor @ self.gradient
        added = kick @ variables.P @ kick
        return variables.solve(self.cvxpy.Minimize(added), variables.hold(share), share)

    def least_price(self, rate: float, units: Solution, room: float) -> Solution | None:
        """Minimize what bounded errors add to V in a step, if params are within V."""
        variables = _Variables(self, rate, units)
        share, read = room / variables.count * variables.size, variables.read
        constraints = [*variables.hold(share), variables.P >> np.outer(read, read)]
        return variables.solve(self.cvxpy.Minimize(variables.multipliers[2]), constraints, share)


class _Variables:
    """The variables of a program in the units of a solution."""

    def __init__(self, program: Program, rate: float, units: Solution, unit: float | None = None):
        self.cvxpy, self.program, self.units = program.cvxpy, program, units
        self.unit = 1 - rate**2 if unit is None else unit
        n = len(units.factor)
        self.P = self.cvxpy.Variable((n, n), symmetric=True)
        self.multipliers = self.cvxpy.Variable(len(units.multipliers), nonneg=True)
        self.size = self.cvxpy.trace(self.P) + self.cvxpy.sum(self.multipliers)
        self.count = n + len(units.multipliers)
        self.rate, self.back = rate, np.linalg.inv(units.factor)
        self.read = program.read @ self.back
        forms, change = program.forms, self._change()
        step, stay = units.factor @ forms.forms.step @ change, forms.forms.stay.astype(float)
        sector, delayed, output = (
            change.T @ form @ change
            for form in (forms.forms.sector, forms.forms.delayed, forms.output)
        )
        noise = tuple(change.T @ form @ change for form in forms.noise)
        self.forms = forms._replace(
            forms=Forms(step, stay, sector, delayed), noise=noise, output=output
        )
        scaled = self.cvxpy.multiply(units.multipliers, self.multipliers)
        left = combine_noisy(self.forms, rate**2, self.P, scaled)
        self.left = (left + left.T) / (2 * self.unit)

    def _change(self) -> np.ndarray:
        """From coordinates to (x, e, d, g), where the last one is g - mu params."""
        n, problem = len(self.units.factor), self.program.problem
        change = np.asarray(scipy.linalg.block_diag(self.back, np.diag(self.units.inputs)))
        change[-1, :n] += problem.ratio * self.read
        return change

    def hold(self, margin: Any) -> list[Any]:
        """Return the inequality with a margin, and that P is positive with the same margin."""
        n, all_ = len(self.back), len(self.forms.output)
        return [self.left << -margin * np.eye(all_), self.P >> margin * np.eye(n)]

    def solve(self, objective: Any, constraints: list[Any], margin: Any) -> Solution | None:
        """Solve the program; None if the solver fails, or P is not positive."""
        if run_solver(self.cvxpy.Problem(objective, constraints)) is not None:
            return None
        P, multipliers, left = self.P.value, self.multipliers.value, self.left.value
        if P is None or multipliers is None or left is None:
            return None
        try:
            root = np.linalg.cholesky((P + P.T) / 2)
            # A direction that matters little stays one in the next units.
            even = np.linalg.cholesky((P + P.T) / 2 + 1e-4 * np.trace(P) * np.eye(len(P)))
        except np.linalg.LinAlgError:
            return None
        room = -np.diagonal(left)[len(root) :]
        inputs = self.units.inputs / np.sqrt(np.where(room > 1e-12, room, 1.0))
        positive = np.maximum(multipliers, 0.0) * self.units.multipliers
        basis = even.T @ self.units.factor
        return Solution(root.T @ self.units.factor, positive, inputs, float(margin.value), basis)


def units_of(found: Solution) -> Solution:
    """The units in which a solution has P = I and equal multipliers, where they are not tiny."""
    least = 1e-3 * found.multipliers.max()
    return found._replace(factor=found.basis, multipliers=np.maximum(found.multipliers, least))


def prove_rates(
    program: Program, best: Best, tolerance: float, start: np.ndarray, propose: ProposeFn
) -> list[Any]:
    """Return proofs of a rate near the best one with these errors; none if float64 finds none.

    It bisects on 1 - rate, of which the best rate without errors is the upper end.
    """
    starts = program.starts(best)
    slow, fast, found = 0.0, best.slow, None
    for _ in range(_HALVINGS):
        trial = fast * (1 - tolerance) if fast == best.slow else fast / 2
        tried = (
            _prove_at(program, 1 - trial, units, propose, 4, _MORE_UNCLEAR) for units in starts
        )
        found = next((proof for proof in tried if proof is not None), None)
        if found is not None:
            slow = trial
            break
        fast = trial
    while found is not None and fast - slow > tolerance * slow:
        middle = (slow + fast) / 2
        closer = _prove_at(program, 1 - middle, units_of(found), propose)
        slow, fast = (slow, middle) if closer is None else (middle, fast)
        found = found if closer is None else closer
    if found is None:
        return []
    # At the very best rate P is nearly singular, and the bound large.
    trials = [(1 - slow, found), (1 - slow * (1 - tolerance), found)]
    return [p for rate, near in trials for p in _tighten(program, rate, near, start, propose)]


def _prove_at(
    program: Program,
    rate: float,
    units: Solution,
    propose: ProposeFn,
    rounds: int = 2,
    unclear: float = _UNCLEAR,
) -> Solution | None:
    """Return a solution that is a proof of a rate, in these units or in those of the last one."""
    for _ in range(rounds):
        found = program.widen(rate, units)
        if found is None or found.margin <= -unclear:
            return None
        if found.margin > 0 and _propose(program, rate, found, propose) is not None:
            return found
        units = units_of(found)
    return None


def _tighten(
    program: Program, rate: float, near: Solution, start: np.ndarray, propose: ProposeFn
) -> Iterator[Any]:
    """Yield proofs of a rate with small bounds, and the one with the widest margin."""
    widest = program.widen(rate, units_of(near))
    if widest is None:
        widest = near
    rooms = [share * widest.margin for share in _SHARES]
    tight = [program.tighten(rate, units_of(near), room, start) for room in rooms]
    for found in [*tight, widest, near]:
        proof = None if found is None else _propose(program, rate, found, propose)
        if proof is not None:
            yield proof


def prove_variances(program: Program, best: Best, propose: ProposeFn) -> list[Any]:
    """Return proofs of what random errors do in the long run; none if float64 finds none."""
    unit = 1 - (1 - best.slow) ** 2
    solve = functools.partial(program.least_variance, unit=unit)
    return _refine(program, program.starts(best), 1.0, solve, propose)


def prove_radii(program: Program, best: Best, propose: ProposeFn) -> list[Any]:
    """Return proofs of what bounded errors do in the long run; none if float64 finds none.

    Every rate above the best one gives a bound, and the least of them is searched for.
    """
    starts = program.starts(best)
    units = next(iter(starts), None)

    def price(share: float) -> float:
        rate = 1 - best.slow * share
        found = None if units is None else program.least_price(rate, units, _ROOMS[0])
        if found is not None:
            found = program.least_price(rate, units_of(found), _ROOMS[0]) or found
        size = _NO_PRICE if found is None else found.multipliers[2] / (1 - rate**2)
        return float(np.log(max(size, 1e-300)))

    shares = np.linspace(0.1, 0.9, 5)
    k = int(np.argmin([price(share) for share in shares]))
    span = shares[k] - 0.2 if k else 0.0, min(shares[k] + 0.2, 1.0)
    search = {"xatol": 1e-3, "maxiter": 12}
    best_share: Any = scipy.optimize.minimize_scalar(price, None, span, (), "bounded", None, search)
    rate = 1 - best.slow * float(best_share.x)
    solve = functools.partial(program.least_price, rate)
    return _refine(program, starts, rate, solve, propose)


def _refine(
    program: Program,
    starts: list[Solution],
    rate: float,
    solve: Callable[[Solution, float], Solution | None],
    propose: ProposeFn,
) -> list[Any]:
    """Solve in the units of the last solution, with more room until that is a proof."""
    proofs: list[Any] = []
    for start, room in itertools.product(starts, _ROOMS):
        known, proof = start, None
        for _ in range(3):
            found = solve(known, room)
            proof = None if found is None else _propose(program, rate, found, propose)
            proofs += [] if proof is None else [proof]
            if found is None:
                break
            known = units_of(found)
        if proof is not None:  # in the units of a solution, so that little is given away
            break
    return proofs


def _propose(program: Program, rate: float, found: Solution, propose: ProposeFn) -> Any:
    """Verify a solution in units of L, in which gradients and errors were."""
    L = program.problem.L
    units = np.append(np.ones(len(found.factor) - 1), 1 / L)
    return propose(rate, found.factor * units, found.multipliers / L**2)
