"""The clock of an optimizer: when it comes to rest, and after how many updates it repeats.

The clock is whatever no gradient reaches: counts, keys, flags, running powers. The part of it that
the update depends on is a system of its own, whose next value follows from its value. So once it
returns to where it was, it always will, and the coefficients repeat; no further updates need be
looked at. Counters that never return need a proof that the coefficients do not see how far they
are. They become symbols (`_affine`): updates through a whole period must return the same symbols,
one period on, and no symbol may have met the data.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxmom import _jaxpr
from jaxmom.theory._affine import Affine
from jaxmom.theory._linear_proof import (
    LinearityProof,
    NotLinearError,
    as_clock,
    marks_after,
    system_at,
)
from jaxmom.theory._linear_rules import CONSTANT, Linearity
from jaxmom.theory._program import UpdateProgram

# Updates after which the clock must have begun to rest or to repeat.
_LONGEST_START = 3
# Where the search for a period ends, if the code takes remainders by known numbers, and if not.
LONGEST_PERIOD = 512
_LONGEST_WITHOUT_HINT = 64


class TimeVaryingError(NotLinearError):
    """An optimizer is linear, but its coefficients vary with time."""

    __module__ = "jaxmom.theory"


class Cycle(NamedTuple):
    """From update `start` on, the coefficients of an optimizer repeat every `period` updates."""

    start: int
    period: int


def find_rest(program: UpdateProgram, proof: LinearityProof) -> int:
    """Return after how many updates the coefficients stay as they are; raise if they never do."""
    moving = _rest_or_moving(program, proof)
    if isinstance(moving, int):
        return moving
    cycle = _search(program, proof, moving)
    if cycle is not None and cycle.period == 1:
        return cycle.start
    raise _refuse(program, proof, moving, cycle)


def find_cycle(program: UpdateProgram, proof: LinearityProof) -> Cycle:
    """Return from where on, and after how many updates, coefficients repeat; raise if never."""
    moving = _rest_or_moving(program, proof)
    if isinstance(moving, int):
        return Cycle(moving, 1)
    cycle = _search(program, proof, moving)
    if cycle is None:
        raise _refuse(program, proof, moving, None)
    return cycle


def _rest_or_moving(program: UpdateProgram, proof: LinearityProof) -> int | dict[int, str]:
    """Return after how many updates the clock rests, or which of its leaves move on."""
    before, moving = proof.entry_marks, {}
    for steps in range(_LONGEST_START + 1):
        after = marks_after(program.update_trace, before)
        needed = _needed_clocks(after, proof.state_leaves)
        moving = {i: s for i, s in needed.items() if not _is_same(before[i], after[i])}
        if not moving:
            return steps
        before = _move_clock(before, after)
    return moving


def _needed_clocks(after: list[Linearity], state_leaves: list[int]) -> dict[int, str]:
    """Return the leaves of the clock on which the update depends, and the stages where it does."""
    needed = {index: stage for i in state_leaves for index, stage in after[i].clocks.items()}
    while True:
        behind = {index: stage for i, stage in needed.items() for index in after[i].clocks}
        if behind.keys() <= needed.keys():
            return needed
        needed = {**behind, **needed}


def _move_clock(before: Sequence[Linearity], after: Sequence[Linearity]) -> list[Linearity]:
    pairs = zip(before, after, strict=True)
    return as_clock([new if old.kind == CONSTANT else old for old, new in pairs])


def _is_same(before: Linearity, after: Linearity) -> bool:
    if after is before:  # handed through, even if traced
        return True
    if before.value is None or after.value is None:
        return False
    return _is_equal(before.value, after.value)


def _is_equal(a: Any, b: Any) -> bool:
    with jax.ensure_compile_time_eval():
        return bool(jnp.all(a == b))


# The search for a period.


def _search(program: UpdateProgram, proof: LinearityProof, moving: dict[int, str]) -> Cycle | None:
    """Look for the least period of the coefficients that can be proved."""
    first = marks_after(program.update_trace, proof.entry_marks)
    needed = sorted(_needed_clocks(first, proof.state_leaves))
    walk = _Walk(program, proof, needed)
    if any(walk.values_at(1)[i] is None for i in moving):  # it follows what is traced
        return None
    for start in range(_LONGEST_START + 1):
        period = _period_from(walk, start)
        if period is not None:
            return Cycle(start, period)
    return None


def _period_from(walk: "_Walk", start: int) -> int | None:
    """Return the least period that can be proved from an update on."""
    unit = period = 1
    while period <= (LONGEST_PERIOD if unit > 1 else _LONGEST_WITHOUT_HINT):
        divisors: set[int] = set()
        outcome = walk.try_to_prove(start, period, divisors)
        if outcome == "proved":
            return period
        if outcome == "met data" and not divisors:  # as it would after a multiple of the period
            return None
        unit = math.lcm(unit, *divisors)
        period = unit * (period // unit + 1)
    return None


class _Walk:
    """The clock of an optimizer, step by step from its start, and proofs that it repeats."""

    def __init__(self, program: UpdateProgram, proof: LinearityProof, needed: list[int]):
        self._program, self._proof, self._needed = program, proof, needed
        self._trace = _jaxpr.keep_results(program.update_trace, needed)
        self._steps = [list(proof.entry_marks)]

    def values_at(self, step: int) -> dict[int, Any]:
        """Return the values of the leaves that coefficients depend on, before an update."""
        while len(self._steps) <= step:
            self._steps.append(self._advance(self._steps[-1]))
        return {i: self._steps[step][i].value for i in self._needed}

    def try_to_prove(self, start: int, period: int, divisors: set[int]) -> str:
        """Try to prove that coefficients repeat: "proved", "met data" or "moves otherwise".

        Args:
          start: The update before which the period begins.
          period: Its length.
          divisors: Collects numbers of which the period should be a multiple.
        """
        before, after = self.values_at(start), self.values_at(start + period)
        if not all(_may_follow(before[i], after[i]) for i in self._needed):
            return "moves otherwise"
        # Nothing may depend on the rest of the clock, so that nothing is known of it.
        marks = [m._replace(value=None) for m in as_clock(self._steps[start])]
        for i in self._needed:
            marks[i] = _as_symbol(i, before[i], after[i], divisors)
        phases = [marks]
        for _ in range(period):
            phases.append(self._advance(phases[-1]))
        if not all(_has_returned(marks[i], phases[-1][i]) for i in self._needed):
            return "moves otherwise"
        results = (marks_after(self._program.update_trace, phase) for phase in phases[:-1])
        is_met = any(update[i].clocks for update in results for i in self._proof.state_leaves)
        return "met data" if is_met else "proved"

    def _advance(self, marks: list[Linearity]) -> list[Linearity]:
        new = list(marks)
        found = marks_after(self._trace, marks)
        for i, mark in zip(self._needed, found, strict=True):
            new[i] = mark
        return new


def _may_follow(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return before is after
    if _is_equal(before, after):
        return True
    is_count = np.ndim(before) == 0 and jnp.issubdtype(jnp.result_type(before), jnp.integer)
    return is_count and 0 <= int(before) < int(after)


def _as_symbol(index: int, before: Any, after: Any, divisors: set[int]) -> Linearity:
    """Return a leaf of the clock at the start of every period: as it is, or growing."""
    if before is None or _is_equal(before, after):
        return Linearity(CONSTANT, {}, before)
    symbol = Affine(int(before), int(after) - int(before), divisors)
    return Linearity(CONSTANT, {index: ""}, symbol)


def _has_returned(start: Linearity, end: Linearity) -> bool:
    """Return whether a leaf is after a period as at its start, or has grown by its stride."""
    if isinstance(start.value, Affine):
        grown = start.value._replace(start=start.value.start + start.value.stride)
        return isinstance(end.value, Affine) and end.value[:2] == grown[:2]
    return not isinstance(end.value, Affine) and not end.clocks and _is_same(start, end)


# Messages.


def _refuse(
    program: UpdateProgram, proof: LinearityProof, moving: dict[int, str], cycle: Cycle | None
) -> TimeVaryingError:
    index, stage = next(iter(moving.items()))
    remedy = (
        "For the linear system of one step, freeze it there with linearize(optimizer, count=...); "
        "kernel(optimizer, lags, count=...) has the weights of the gradients in that step."
    )
    if cycle is not None:
        remedy = (
            f"They repeat every {cycle.period} updates: monodromy, spectral_radius, rate, "
            "stability_limit and kernel take it as it is, and linearize_period has the system of "
            "each update. " + remedy
        )
    return TimeVaryingError(
        f"{stage or 'this optimizer'} varies with time: its coefficients follow "
        f"{program.names[index]!r} of the state{_drift(program, proof)}. {remedy}"
    )


def _drift(program: UpdateProgram, proof: LinearityProof) -> str:
    """Say how much the matrices change from one of the first updates to the next."""
    leaves = program.start()
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return ""
    matrices = []
    for _ in range(4):
        system = system_at(program, proof, leaves)
        matrices.append(np.column_stack([system.A, system.B]))
        leaves = program.advance(leaves)
    change = np.max(np.abs(np.diff(matrices, axis=0)))
    if change == 0:
        return ", after the first steps"
    return f", by up to {change:.2g} from one of the first steps to the next"
