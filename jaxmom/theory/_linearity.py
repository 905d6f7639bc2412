"""Proof that a program is linear in its data, from its jaxpr, one operation after the other.

Samples cannot prove it: a clip at a norm of 1000 is linear wherever one happens to look. Here every
value of the program is constant, linear or other, as follows from the values that it is computed
from: a sum of linear values is linear, a product of two is not, a sign is not. Values that come
from the state's clock (counts, keys, running powers: whatever no gradient reaches) are constant,
and each value records which parts of the clock it depends on: a program that follows its clock
varies with time.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p
from jaxmom.theory._affine import Affine, apply_affine
from jaxmom.theory._linear_rules import (
    CONSTANT,
    LINEAR,
    OTHER,
    RULES,
    Linearity,
    Reason,
    is_of_finite_data,
    vanishes,
)

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

    from jaxmom._jaxpr import Program

# Their updates only call those of others.
_WRAPPERS = {"UpdateProgram", "Update", "_rule", "chain", "with_extra_args_support"}


def linearity_of(program: "Program", arguments: Sequence[Linearity]) -> list[Linearity]:
    """Return the linearity of a program's results, given that of its arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def program(x, y):
      ...     return 2 * x - y, x * y, jnp.abs(x)
      >>> linear = Linearity(LINEAR)
      >>> results = linearity_of(jax.make_jaxpr(program)(1.0, 1.0), [linear, linear])
      >>> [(mark.kind, mark.reason and mark.reason.operation) for mark in results]
      [(1, None), (2, 'mul'), (2, 'abs')]
    """

    def constant(value: Any) -> Linearity:
        return Linearity(CONSTANT, value=None if isinstance(value, Tracer) else value)

    return _jaxpr.interpret(program, arguments, _through, constant)


def _through(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Return the linearity of the results of one equation."""
    called = _jaxpr.called_program(equation)
    if called is not None:
        results = linearity_of(called, operands)
        return _with_stage(results, operands, _factory(equation))
    if equation.primitive is p.cond_p and operands[0].kind == CONSTANT:
        return _through_branches(equation, operands)
    if all(mark.kind == CONSTANT for mark in operands):
        return _through_constants(equation, operands)
    if equation.primitive is p.scan_p:
        return _through_scan(equation, operands)
    answer = is_of_finite_data(equation, operands)
    if answer is not None:
        return [Linearity(CONSTANT, value=answer)]
    clocks = _met_clocks(equation, operands)
    rule = None if any(mark.kind == OTHER for mark in operands) else RULES.find(equation)
    if rule is not None and rule(equation, operands):
        return [Linearity(LINEAR, clocks)] * len(equation.outvars)
    earlier = next((mark.reason for mark in operands if mark.reason), None)
    reason = earlier or Reason(_stage(equation), equation.primitive.name)
    return [Linearity(OTHER, clocks, reason=reason)] * len(equation.outvars)


def _through_branches(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Return what is known of the results of one of several branches, chosen by the clock."""
    choice, *others = operands
    branches = equation.params["branches"]
    value = None if isinstance(choice.value, Affine) else choice.value
    taken = None if value is None else int(np.clip(value, 0, len(branches) - 1))
    if taken is not None and not choice.clocks:  # it is the same at all times
        return _with_stage(linearity_of(branches[taken], others), others, _factory(equation))
    results = [linearity_of(branch, others) for branch in branches]
    met = dict.fromkeys(choice.clocks, _stage(equation))
    joined = [_joined(marks, met, taken) for marks in zip(*results, strict=True)]
    return _with_stage(joined, others, _factory(equation))


def _joined(marks: Sequence[Linearity], met: Mapping[int, str], taken: int | None) -> Linearity:
    """Return what is known of a value that any of several branches may return.

    Args:
      marks: What is known of it in each branch.
      met: The clocks that choose the branch.
      taken: The branch that is chosen now, if that is known.
    """
    worst = max(marks, key=lambda mark: mark.kind)
    clocks = {index: stage for mark in marks for index, stage in mark.clocks.items()}
    if worst.kind == LINEAR and not all(map(vanishes, marks)):
        return Linearity(OTHER, {**met, **clocks}, reason=Reason("", "cond"))
    value = None if taken is None or worst.kind != CONSTANT else marks[taken].value
    return worst._replace(clocks={**met, **clocks}, value=value)


def _through_scan(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Return what is known of the results of a loop: what holds after any number of rounds."""
    body, first, count = _jaxpr.scan_parts(equation)
    constants, carry, xs = (
        operands[:first],
        operands[first : first + count],
        operands[first + count :],
    )
    rows = [mark._replace(value=None) if mark.kind == CONSTANT else mark for mark in xs]
    while True:
        results = linearity_of(body, [*constants, *carry, *rows])
        pairs = zip(carry, results[:count], strict=True)
        grown = [_after_rounds(before, after) for before, after in pairs]
        if all(map(_is_known_alike, carry, grown)):
            break
        carry = grown
    stacked = [m._replace(value=None) if m.kind == CONSTANT else m for m in results[count:]]
    return [*grown, *stacked]


def _after_rounds(before: Linearity, after: Linearity) -> Linearity:
    """Return what is known of a value before and after each round of a loop."""
    if after is before:
        return before
    clocks = {**before.clocks, **after.clocks}
    worst = max(before, after, key=lambda mark: mark.kind)
    stays_zero = vanishes(before) and vanishes(after)
    if worst.kind == CONSTANT and stays_zero:
        return before
    if worst.kind == LINEAR and not stays_zero:
        return Linearity(OTHER, clocks, reason=Reason("", "scan"))
    return worst._replace(clocks=clocks, value=None)


def _is_known_alike(a: Linearity, b: Linearity) -> bool:
    is_dropped = a.value is not None and b.value is None
    return a.kind == b.kind and a.clocks.keys() == b.clocks.keys() and not is_dropped


def _with_stage(
    results: Sequence[Linearity], operands: Sequence[Linearity], stage: str
) -> list[Linearity]:
    """Name the stage of the caller for what happened within a call.

    JAX traces a function once and keeps it, with the places where it was traced first, so that the
    caller knows better.
    """
    known = [mark.reason for mark in operands]
    named = []
    for mark in results:
        clocks = {index: stage or place if place else "" for index, place in mark.clocks.items()}
        if clocks != mark.clocks:  # else it remains the same mark, handed through
            mark = mark._replace(clocks=clocks)
        if mark.reason is not None and mark.reason not in known and stage:
            mark = mark._replace(reason=mark.reason._replace(stage=stage))
        named.append(mark)
    return named


def _through_constants(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Compute now what can be computed: no loops, and nothing that comes from a tracer."""
    clocks = {index: stage for mark in operands for index, stage in mark.clocks.items()}
    if any(isinstance(mark.value, Affine) for mark in operands):
        found = apply_affine(equation, [mark.value for mark in operands])
        rests = found is not None and not isinstance(found, Affine)
        return [Linearity(CONSTANT, {} if rests else clocks, found)] * len(equation.outvars)
    has_program = any(True for _ in _jaxpr.sub_programs(equation))
    if has_program or any(mark.value is None for mark in operands):
        return [Linearity(CONSTANT, clocks)] * len(equation.outvars)
    with jax.ensure_compile_time_eval():
        values = _jaxpr.bind(equation, [mark.value for mark in operands])
    return [Linearity(CONSTANT, clocks, value) for value in values]


def _met_clocks(equation: "JaxprEqn", operands: list[Linearity]) -> dict[int, str]:
    """Return the clocks of all operands; those of the constant ones meet the data here."""
    here = _stage(equation)
    return {
        index: stage if mark.kind != CONSTANT else stage or here
        for mark in operands
        for index, stage in mark.clocks.items()
    }


def _stage(equation: "JaxprEqn") -> str:
    """Return the stage of the optimizer that has an operation: a factory, or a place in a file."""
    for frame in _frames(equation):
        function = frame.function_name.split(".")[0]
        name = frame.file_name.replace("\\", "/")
        is_ours = re.search(r"/(jax|jaxlib|numpy)/|/theory/|/_jaxpr\.py|<", name)
        if not is_ours and function not in _WRAPPERS:
            return _factory(equation) or f"{function} ({name.split('/')[-1]}:{frame.line_num})"
    return ""


def _factory(equation: "JaxprEqn") -> str:
    """Return the factory whose update has an operation: `clip` for `clip.<locals>.update_fn`."""
    for frame in _frames(equation):
        factory = re.search(r"(\w+)\.(<locals>\.)?update", frame.function_name)
        if factory and factory[1] not in _WRAPPERS:
            return factory[1]
    return ""


def _frames(equation: "JaxprEqn") -> Sequence[Any]:
    traceback = equation.source_info.traceback
    return [] if traceback is None else traceback.frames
