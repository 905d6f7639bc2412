"""The first steps of a lane, as a program of their own that tells how long the whole takes.

Where lanes take minutes, a search cannot afford to run some of them for each width that it tries.
The steps of a loop take equally long, so a few of them will do: of every loop of known length the
first trips are kept, from the outside in, and the records of the others are zeros.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p
from jaxmom.sweeps.compile.program import Arguments, PyTree, TracedGroup


def shorten_group(group: TracedGroup, share: float) -> TracedGroup:
    """Return a group whose lanes run about a share of their steps, to be timed and not kept.

    Args:
      group: From `trace_group`.
      share: Of the trips of the loops that are not in another one, between 0 and 1. A loop has one
        trip at least, and then the loops within it are shortened.

    Returns:
      A group of the same arguments and outputs. What is not in a loop of known length is whole.
    """

    def call(data: PyTree, arguments: Arguments) -> list[Any]:
        return _run_shortened(group.jaxpr, jax.tree.leaves((data, arguments)), share)

    return dataclasses.replace(group, jaxpr=jax.make_jaxpr(call)(group.data, group.arguments))


def _run_shortened(program: Any, arguments: Sequence[Any], share: float) -> list[Any]:
    """Return the results of a program whose loops have a share of their trips."""

    def apply(equation: Any, operands: list[Any]) -> list[Any]:
        called = _jaxpr.called_program(equation)
        if called is not None:
            return _run_shortened(called, operands, share)
        if equation.primitive is p.scan_p and share < 1:
            return _scan_shortened(equation, operands, share)
        return _jaxpr.bind(equation, operands)

    return _jaxpr.interpret(program, arguments, apply, lambda value: value)


def _scan_shortened(equation: Any, operands: Sequence[Any], share: float) -> list[Any]:
    """Return the results of a scan after its first trips, with zeros for further records."""
    body, constants, carried = _jaxpr.scan_parts(equation)
    length, is_reverse = equation.params["length"], equation.params["reverse"]
    trips = max(math.ceil(length * share), min(length, 1))
    inner = share * length / max(trips, 1)

    def step(carry: Sequence[Any], x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        moving = [*operands[:constants], *carry, *x]
        results = _run_shortened(body, moving, inner)
        return results[:carried], results[carried:]

    kept = slice(length - trips, length) if is_reverse else slice(0, trips)
    carry, ys = jax.lax.scan(
        step,
        list(operands[constants : constants + carried]),
        [xs[kept] for xs in operands[constants + carried :]],
        length=trips,
        reverse=is_reverse,
        unroll=min(equation.params["unroll"], max(trips, 1)),
    )
    rest = length - trips
    filled = [jnp.concatenate([y, jnp.zeros((rest, *y.shape[1:]), y.dtype)]) for y in ys]
    return [*carry, *filled]
