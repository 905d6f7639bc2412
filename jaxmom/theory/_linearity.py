"""Is a program linear in its data? A proof from its jaxpr, one operation after the other.

Samples cannot prove it: a clip at a norm of 1000 is linear wherever one happens to look. So every
value of the program gets a mark, constant, linear or other, from the marks of what it is computed
from: a sum of linear values is linear, a product of two is not, a sign is not. Values that come
from the state's clock (counts, keys, running powers: whatever no gradient reaches) are constant,
and a mark says which parts of the clock it has met, for a program that follows its clock varies.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

CONSTANT, LINEAR, OTHER = range(3)

# Linear in an operand, whatever it is; and linear if all operands are linear or zero.
_UNARY = {"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "neg", "reduce_sum"}
_UNARY |= {"reshape", "rev", "slice", "split", "squeeze", "transpose"}
_ADDITIVE = {"add", "add_any", "concatenate", "pad", "sub"}
_PRODUCT = {"dot_general", "mul"}
_FIRST_ONLY = {"div", "dynamic_slice", "gather"}

# Their updates only call those of others.
_WRAPPERS = {"_Program", "_Update", "_rule", "chain", "with_extra_args_support"}


class Reason(NamedTuple):
    """Why a value is not linear: the stage of the optimizer, and the operation in it."""

    stage: str
    operation: str


class Mark(NamedTuple):
    """What is known of a value of the program."""

    kind: int
    clocks: Mapping[int, str] = {}  # leaf of the clock -> the stage where it met the data, or ""
    value: Any = None  # of a constant, if it can be computed now
    reason: Reason | None = None  # of a value that is not linear


def marks_of(program: ClosedJaxpr, marks: Sequence[Mark]) -> list[Mark]:
    """The marks of a program's results, given those of its arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def program(x, y):
      ...     return 2 * x - y, x * y, jnp.abs(x)
      >>> linear = Mark(LINEAR)
      >>> results = marks_of(jax.make_jaxpr(program)(1.0, 1.0), [linear, linear])
      >>> [(mark.kind, mark.reason and mark.reason.operation) for mark in results]
      [(1, None), (2, 'mul'), (2, 'abs')]
    """
    constants = [Mark(CONSTANT, value=_concrete(value)) for value in program.consts]
    return _walk(program.jaxpr, [*constants, *marks])


def _walk(jaxpr: Jaxpr, marks: Sequence[Mark]) -> list[Mark]:
    at = dict(zip([*jaxpr.constvars, *jaxpr.invars], marks, strict=True))

    def read(variable: Any) -> Mark:
        literal = isinstance(variable, Literal)
        return Mark(CONSTANT, value=variable.val) if literal else at[variable]

    for equation in jaxpr.eqns:
        results = _through(equation, [read(variable) for variable in equation.invars])
        at.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _through(equation: JaxprEqn, operands: list[Mark]) -> list[Mark]:
    """The marks of what one operation returns."""
    programs = _programs(equation, operands)
    if programs is not None:
        return _called(equation, operands, programs)
    if all(mark.kind == CONSTANT for mark in operands):
        return _constant(equation, operands)
    if equation.primitive.name == "is_finite":  # theory is about runs that stay finite
        result: Any = equation.outvars[0].aval
        return [Mark(CONSTANT, value=np.ones(result.shape, bool))]
    clocks = _met(equation, operands)
    if _is_linear(equation, operands):
        return [Mark(LINEAR, clocks)] * len(equation.outvars)
    earlier = next((mark.reason for mark in operands if mark.reason), None)
    reason = earlier or Reason(_stage(equation), equation.primitive.name)
    return [Mark(OTHER, clocks, reason=reason)] * len(equation.outvars)


def _is_linear(equation: JaxprEqn, operands: list[Mark]) -> bool:
    name = equation.primitive.name
    linear = [mark.kind == LINEAR for mark in operands]
    if any(mark.kind == OTHER for mark in operands):
        return False
    if name in _UNARY:
        # NumPy does not count bfloat16 in, and that is meant: its rounding is no small matter.
        to = equation.params.get("new_dtype", np.float64)
        return linear[0] and not any(linear[1:]) and np.issubdtype(to, np.inexact)
    if name in _PRODUCT:
        return sum(linear) == 1
    if name in _FIRST_ONLY:
        return linear[0] and not any(linear[1:])
    if name == "integer_pow":
        return equation.params["y"] == 1
    if name == "select_n":
        return not linear[0] and all(map(_vanishes, operands[1:]))
    return name in _ADDITIVE and all(map(_vanishes, operands))


def _vanishes(mark: Mark) -> bool:
    """Whether a value is zero where the data are: it is linear, or zero whatever the clock says."""
    if mark.kind != CONSTANT:
        return mark.kind == LINEAR
    return mark.value is not None and not mark.clocks and not np.any(np.asarray(mark.value))


def _programs(equation: JaxprEqn, operands: list[Mark]) -> list[Any] | None:
    """The programs that an operation calls with its operands; a branch must not be the data's."""
    if equation.primitive.name == "cond":
        return list(equation.params["branches"]) if operands[0].kind == CONSTANT else None
    called = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    jaxpr = getattr(called, "jaxpr", called)
    loop = equation.primitive.name in ("scan", "while")
    return [called] if jaxpr and not loop and len(jaxpr.invars) == len(operands) else None


def _called(equation: JaxprEqn, operands: list[Mark], programs: list[Any]) -> list[Mark]:
    stage, branch = _factory(equation), {}
    if equation.primitive.name == "cond":
        branch = dict.fromkeys(operands[0].clocks, _stage(equation))
        operands = operands[1:]
    results = [
        marks_of(program, operands)
        if isinstance(program, ClosedJaxpr)
        else _walk(program, operands)
        for program in programs
    ]
    known = [mark.reason for mark in operands]
    return [_named(_joined(marks, branch), stage, known) for marks in zip(*results, strict=True)]


def _joined(marks: Sequence[Mark], branch: Mapping[int, str]) -> Mark:
    """One mark for what several branches may return."""
    worst = max(marks, key=lambda mark: mark.kind)
    clocks = {index: stage for mark in marks for index, stage in mark.clocks.items()}
    if len(marks) == 1:
        return worst
    if worst.kind == LINEAR and not all(map(_vanishes, marks)):
        return Mark(OTHER, {**branch, **clocks}, reason=Reason("", "cond"))
    return worst._replace(clocks={**branch, **clocks}, value=None)


def _named(mark: Mark, stage: str, known: Sequence[Reason | None]) -> Mark:
    """Give what happened within a call the stage of the caller, who knows it better.

    JAX traces a function once and keeps it, with the places where it was traced first.
    """
    clocks = {index: stage or place if place else "" for index, place in mark.clocks.items()}
    if mark.reason is None or mark.reason in known or not stage:
        return mark._replace(clocks=clocks)
    return mark._replace(clocks=clocks, reason=mark.reason._replace(stage=stage))


def _constant(equation: JaxprEqn, operands: list[Mark]) -> list[Mark]:
    """Compute now what can be: loops, and what comes from a tracer, cannot."""
    clocks = {index: stage for mark in operands for index, stage in mark.clocks.items()}
    loop = any(isinstance(p, Jaxpr | ClosedJaxpr) for p in equation.params.values())
    if loop or any(mark.value is None for mark in operands):
        return [Mark(CONSTANT, clocks)] * len(equation.outvars)
    with jax.ensure_compile_time_eval():
        values = equation.primitive.bind(*(mark.value for mark in operands), **equation.params)
    values = values if equation.primitive.multiple_results else [values]
    return [Mark(CONSTANT, clocks, value) for value in values]


def _concrete(value: Any) -> Any:
    return None if isinstance(value, Tracer) else value


def _met(equation: JaxprEqn, operands: list[Mark]) -> dict[int, str]:
    """The clocks of all operands; those of the constant ones have met the data here."""
    here = _stage(equation)
    return {
        index: stage if mark.kind != CONSTANT else stage or here
        for mark in operands
        for index, stage in mark.clocks.items()
    }


def _stage(equation: JaxprEqn) -> str:
    """The stage of the optimizer in which an operation stands: a factory, or a place in a file."""
    for frame in _frames(equation):
        function = frame.function_name.split(".")[0]
        name = frame.file_name.replace("\\", "/")
        ours = re.search(r"/(jax|jaxlib|numpy)/|/theory/|<", name)
        if not ours and function not in _WRAPPERS:
            return _factory(equation) or f"{function} ({name.split('/')[-1]}:{frame.line_num})"
    return ""


def _factory(equation: JaxprEqn) -> str:
    """The factory in whose update an operation stands: `clip` for `clip.<locals>.update_fn`."""
    for frame in _frames(equation):
        factory = re.search(r"(\w+)\.(<locals>\.)?update", frame.function_name)
        if factory and factory[1] not in _WRAPPERS:
            return factory[1]
    return ""


def _frames(equation: JaxprEqn) -> Sequence[Any]:
    traceback = equation.source_info.traceback
    return [] if traceback is None else traceback.frames
