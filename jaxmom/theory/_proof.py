"""The search for a certificate: the best rate by frequencies, then matrices that prove it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom.theory import _frequency
from jaxmom.theory._constraints import Problem, combine_forms
from jaxmom.theory._riccati import Solution, solve_riccati
from jaxmom.theory._semidefinite import Program, Scale
from jaxmom.theory.linear_system import LinearSystem

# From a rate, a factor of P and multipliers to a certificate, or None if they are no proof.
ProposeFn: TypeAlias = Callable[[float, np.ndarray, np.ndarray], Any]

# The most systems searched by one call. They are padded to a power of two of states, so that few
# programs are compiled.
_CAPACITY = 512
# Where between the best rate and the target the Riccati equation is solved.
_BETWEEN = (0.5, 0.9, 0.1)
# How far from the best rate a proof is tried, in units of the tolerance.
_LOSSES = (1.0, 10.0, 100.0, 300.0, 500.0, 900.0, 3e3, 1e4, 3e4)


class Best(NamedTuple):
    slow: float  # 1 minus the best rate; not positive if there is none below 1
    share: float  # of the off-by-one constraint


def search_rates(problems: Sequence[Problem]) -> list[Best]:
    """Return the best rate of each problem, in float64 whatever JAX is set to."""
    states = 2
    while states < max(len(problem.system.names) for problem in problems):
        states *= 2
    found: list[Best] = []
    with jax.enable_x64(True):
        for k in range(0, len(problems), _CAPACITY):
            some = [_pad(problem, states) for problem in problems[k : k + _CAPACITY]]
            parts = [np.stack(part) for part in zip(*some, strict=True)]
            filled = [np.pad(x, [(0, _CAPACITY - len(x))] + [(0, 0)] * (x.ndim - 1)) for x in parts]
            slow, share = (np.asarray(x) for x in _search_some(*filled, len(some)))
            pairs = zip(slow[: len(some)], share[: len(some)], strict=True)
            found += [Best(float(x), float(y)) for x, y in pairs]
    return found


def find_basis(problem: Problem, best: Best) -> np.ndarray | None:
    """Return a factor of the states' part of a P that proves a rate a little off the best one.

    In the states ``factor x`` P is near the identity, and rounding the entries matters little.
    """
    for _, solution in _solve(problem, best, 0.03):
        P = solution.factor.T @ solution.factor
        n = len(P) - 1
        return np.linalg.cholesky(P[:n, :n]).T
    return None


def prove(problem: Problem, best: Best, tolerance: float, propose: ProposeFn) -> Any:
    """Return the proof of a rate near the best one, or None if float64 finds none."""
    attempts = (
        _propose(problem, rate, solution, propose)
        for loss in _losses(tolerance)
        for rate, solution in _solve(problem, best, loss)
    )
    return next((proof for proof in attempts if proof is not None), None)


def prove_tightly(
    problem: Problem, best: Best, tolerance: float, start: np.ndarray, propose: ProposeFn
) -> list[Any]:
    """Return proofs of a rate near the best one, with small bounds; none if float64 finds none.

    A semidefinite program in the coordinates of a solution of the Riccati equation has a larger
    margin, and so proves what the solution itself does not.
    """
    program, best_slow = Program(problem, start), best.slow
    for loss in _losses(tolerance):
        for rate, solution in _solve(problem, best, loss):
            for scale in _scales_of(problem, rate, solution):
                widest = program.solve(rate, scale)
                if widest is None or _propose(problem, rate, widest, propose) is None:
                    continue
                scale, loss = _approach(program, best_slow, scale, widest, loss, tolerance, propose)
                # At the very best rate P is nearly singular, and the bound large.
                losses = (loss, loss + tolerance)
                rates = [1 - best_slow * (1 - x) for x in losses]
                return [p for rate in rates for p in _tighten(program, scale, rate, propose)]
    proof = prove(problem, best, tolerance, propose)
    return [] if proof is None else [proof]


def _approach(
    program: Program,
    slow: float,
    scale: Scale,
    widest: Solution,
    loss: float,
    tolerance: float,
    propose: ProposeFn,
) -> tuple[Scale, float]:
    """Go on from a proof to better rates, each in the coordinates of the one before."""
    step = 3.0
    while loss > tolerance and step > 1.2:
        scales = _scales_of(program.problem, 1 - slow * (1 - loss), widest)
        closer = max(loss / step, tolerance)
        rate = 1 - slow * (1 - closer)
        found = program.solve(rate, scales[0]) if scales else None
        if found is None or _propose(program.problem, rate, found, propose) is None:
            step = step**0.5
        else:
            scale, widest, loss = scales[0], found, closer
    return scale, loss


def _pad(problem: Problem, states: int) -> tuple[np.ndarray, ...]:
    """Append states that nothing reaches and nothing reads."""
    a, b, c = (np.asarray(x) for x in (problem.system.A, problem.system.B, problem.system.C))
    more = states - len(b)
    return (
        np.pad(a, (0, more)),
        np.pad(b, (0, more)),
        np.pad(c, (0, more)),
        np.asarray(problem.ratio),
    )


@jax.jit
def _search_some(
    a: jax.Array, b: jax.Array, c: jax.Array, ratio: jax.Array, number: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Search the first `number` systems, one after the other, so that one program does for all."""
    names = tuple(f"x{i}" for i in range(b.shape[1]))

    def search(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        system = LinearSystem(a[k], b[k], c[k], jnp.zeros([]), names)
        found = _frequency.search(system, ratio[k], jnp.ones_like(ratio[k]))
        return carry[0].at[k].set(found.slow), carry[1].at[k].set(found.share)

    empty = jnp.zeros_like(ratio)
    return jax.lax.fori_loop(0, number, search, (empty, empty))


def _losses(tolerance: float) -> list[float]:
    return [loss * tolerance for loss in _LOSSES if loss * tolerance <= 0.5]


def _solve(problem: Problem, best: Best, loss: float) -> Iterator[tuple[float, Solution]]:
    """Yield solutions for the rate whose 1 - rate is that of the best one times 1 - loss."""
    forms, rate = problem.forms(), 1 - best.slow * (1 - loss)
    for between in _BETWEEN:
        solution = solve_riccati(forms, 1 - best.slow * (1 - loss * between), best.share, rate)
        if solution is not None:
            yield rate, solution


def _tighten(program: Program, scale: Scale, rate: float, propose: ProposeFn) -> Iterator[Any]:
    """Yield certificates with small bounds, in given coordinates."""
    widest = program.solve(rate, scale)
    if widest is None:
        return
    for share in (0.3, 0.03, 0.003, 0.0003):
        tight = program.tighten(rate, scale, share * widest.margin)
        proof = None if tight is None else _propose(program.problem, rate, tight, propose)
        if proof is not None:
            yield proof
    proof = _propose(program.problem, rate, widest, propose)
    if proof is not None:
        yield proof


def _propose(problem: Problem, rate: float, solution: Solution, propose: ProposeFn) -> Any:
    """Verify a solution in units of L: e was the gradient's excess over params."""
    units = np.append(np.ones(len(problem.system.names)), 1 / problem.L)
    return propose(rate, solution.factor * units, solution.multipliers / problem.L**2)


def _scales_of(problem: Problem, rate: float, solution: Solution) -> list[Scale]:
    """The units in which a solution has P = I, equal multipliers and a unit weight of g^2."""
    P = solution.factor.T @ solution.factor
    left = combine_forms(problem.forms(), rate**2, P, solution.multipliers)
    multipliers = np.maximum(solution.multipliers, 1e-3 * solution.multipliers.max())
    if multipliers.min() <= 0 or left[-1, -1] >= 0:
        return []
    gradient = np.sqrt((1 - rate**2) / -left[-1, -1])
    return [Scale(solution.factor, gradient, multipliers)]
