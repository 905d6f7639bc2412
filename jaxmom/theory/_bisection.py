"""The search for a certificate: bisection on the rate, then the least bound at that rate."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxmom.theory._constraints import combine_forms
from jaxmom.theory._semidefinite import Program, Scale, Solution
from jaxmom.theory.linear_system import LinearSystem

# From a rate, a factor of P and multipliers to a certificate, or None if they prove nothing.
ProposeFn: TypeAlias = Callable[[float, np.ndarray, np.ndarray], Any]

# The first rates tried: 1 - these shares of 1 minus the rate on quadratics.
_SHARES = 0.5 / 4.0 ** np.arange(14)


class _Found(NamedTuple):
    rate: float
    proof: Any
    scales: list[Scale]  # for the next rate: the one that it was found in, and its own


def search(
    system: LinearSystem,
    mu: float,
    L: float,
    tolerance: float,
    start: np.ndarray,
    propose: ProposeFn,
) -> list[Any] | str:
    """Return certificates of the best rate, or a sentence that says why there is none.

    Args:
      system: A minimal system.
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      tolerance: Where the bisection ends, as a share of 1 minus the rate on quadratics.
      start: The state [n] for which the certificates after the first one minimize the bound.
      propose: Verifies a candidate.
    """
    program = Program(system, mu, L, start)
    gap = 1 - program.rate_on_quadratics
    if not gap > 0:
        return "it does not converge on all quadratics with curvatures in [mu, L]."
    attempts = (_attempt(program, 1 - gap * share, [], propose) for share in _SHARES)
    best = next((found for found in attempts if found is not None), None)
    if best is None:
        return (
            "integral quadratic constraints prove no linear rate, or none that float64 can find: "
            f"1 minus the rate on quadratics is {gap:.1e}, and L / mu is {L / mu:.1e}."
        )
    low, high = (1 - best.rate) / gap, 1.0
    while high - low > tolerance:
        middle = (low + high) / 2
        found = _attempt(program, 1 - gap * middle, best.scales, propose)
        if found is None:
            high = middle
        else:
            best, low = found, middle
    # At the very best rate P is nearly singular, and the bound large.
    rates = (best.rate, 1 - (1 - best.rate) * (1 - tolerance))
    return [best.proof, *(p for rate in rates for p in _tighten(program, best, rate, propose))]


def _tighten(program: Program, best: _Found, rate: float, propose: ProposeFn) -> Iterator[Any]:
    """Yield certificates with small bounds, in the coordinates of the best one."""
    scale = best.scales[-1]
    widest = program.solve(rate, scale)
    if widest is None:
        return
    for share in (0.3, 0.03, 0.003, 0.0003):
        tight = program.tighten(rate, scale, share * widest.margin)
        proof = None if tight is None else _propose(program, rate, tight, propose)
        if proof is not None:
            yield proof


def _attempt(
    program: Program, rate: float, scales: list[Scale], propose: ProposeFn
) -> _Found | None:
    """Look for a certificate at a rate, in one scale after the other."""
    for scale in _scales(program, rate, scales):
        solution = program.solve(rate, scale)
        if solution is None:
            continue
        proof = _propose(program, rate, solution, propose)
        if proof is not None:
            next_scales = [scale, *_scales_of(program, rate, solution)]
            return _Found(rate, proof, next_scales)
    return None


def _propose(program: Program, rate: float, solution: Solution, propose: ProposeFn) -> Any:
    """Verify a solution in units of L: e was the gradient's excess over params."""
    units = np.append(np.ones(len(program.start) - 1), 1 / program.L)
    return propose(rate, solution.factor * units, solution.multipliers / program.L**2)


def _scales(program: Program, rate: float, known: list[Scale]) -> Iterator[Scale]:
    """Known scales first, then those of the Riccati equation."""
    yield from known
    for guess in program.guess(rate):
        yield from _scales_of(program, rate, guess)


def _scales_of(program: Program, rate: float, solution: Solution) -> list[Scale]:
    """The units in which a solution has P = I, equal multipliers and a unit weight of g^2."""
    P = solution.factor.T @ solution.factor
    left = combine_forms(program.forms, rate**2, P, solution.multipliers)
    multipliers = np.maximum(solution.multipliers, 1e-3 * solution.multipliers.max())
    if multipliers.min() <= 0 or left[-1, -1] >= 0:
        return []
    gradient = np.sqrt((1 - rate**2) / -left[-1, -1])
    return [Scale(solution.factor, gradient, multipliers)]
