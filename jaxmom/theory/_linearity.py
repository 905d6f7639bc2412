"""Proof that a program is linear in its data, from its jaxpr, one operation after the other.

Samples cannot prove it: a clip at a norm of 1000 is linear wherever one happens to look. Here every
value of the program is constant, linear or other, as follows from the values that it is computed
from: a sum of linear values is linear, a product of two is not, a sign is not. Values that come
from the state's clock (counts, keys, running powers: whatever no gradient reaches) are constant,
and each value records which parts of the clock it depends on: a program that follows its clock
varies with time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.core import Tracer

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

    from jaxmom._jaxpr import Program

CONSTANT, LINEAR, OTHER = range(3)

# Their updates only call those of others.
_WRAPPERS = {"_Program", "Update", "_rule", "chain", "with_extra_args_support"}


class Reason(NamedTuple):
    """Why a value is not linear: the stage of the optimizer, and the operation in it."""

    stage: str
    operation: str


class Linearity(NamedTuple):
    """What is known of a value of the program."""

    kind: int
    clocks: Mapping[int, str] = {}  # leaf of the clock -> the stage where it met the data, or ""
    value: Any = None  # of a constant, if it can be computed now
    reason: Reason | None = None  # of a value that is not linear


# Returns whether the results of an equation are linear, given its operands, none of them "other".
_Rule: TypeAlias = "Callable[[JaxprEqn, list[Linearity]], bool]"
_RULES: _jaxpr.RuleTable[_Rule] = _jaxpr.RuleTable()


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
    if equation.primitive is p.is_finite_p:  # theory is about runs that stay finite
        result: Any = equation.outvars[0].aval
        return [Linearity(CONSTANT, value=np.ones(result.shape, bool))]
    clocks = _met_clocks(equation, operands)
    rule = None if any(mark.kind == OTHER for mark in operands) else _RULES.find(equation)
    if rule is not None and rule(equation, operands):
        return [Linearity(LINEAR, clocks)] * len(equation.outvars)
    earlier = next((mark.reason for mark in operands if mark.reason), None)
    reason = earlier or Reason(_stage(equation), equation.primitive.name)
    return [Linearity(OTHER, clocks, reason=reason)] * len(equation.outvars)


@_RULES.register(p.broadcast_in_dim_p, params="broadcast_dimensions shape")
@_RULES.register(p.copy_p, p.neg_p, p.stop_gradient_p)
@_RULES.register(p.name_p, params="name")
@_RULES.register(p.reduce_sum_p, params="axes")
@_RULES.register(p.reshape_p, params="dimensions new_sizes")
@_RULES.register(p.rev_p, p.squeeze_p, params="dimensions")
@_RULES.register(p.slice_p, params="limit_indices start_indices strides")
@_RULES.register(p.split_p, p.unstack_p, params="axis sizes")
@_RULES.register(p.tile_p, params="reps")
@_RULES.register(p.transpose_p, params="permutation")
@_RULES.register(p.div_p)
@_RULES.register(p.dynamic_slice_p, params="slice_sizes")
@_RULES.register(
    p.gather_p, params="dimension_numbers indices_are_sorted mode slice_sizes unique_indices"
)
def _linear_in_the_first(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    first, *others = operands
    return first.kind == LINEAR and all(mark.kind == CONSTANT for mark in others)


@_RULES.register(p.convert_element_type_p, params="new_dtype weak_type")
def _keeps_its_precision(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    # NumPy does not count bfloat16 as inexact, rightly here: its rounding is no small matter.
    return np.issubdtype(equation.params["new_dtype"], np.inexact)


@_RULES.register(p.mul_p)
@_RULES.register(p.dot_general_p, params="dimension_numbers precision preferred_element_type")
def _linear_in_one(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    result: Any = equation.outvars[0].aval
    one = sum(mark.kind == LINEAR for mark in operands) == 1
    return one and np.issubdtype(result.dtype, np.inexact)


@_RULES.register(p.add_p, p.add_jaxvals_p, p.sub_p)
@_RULES.register(p.concatenate_p, params="dimension")
@_RULES.register(p.stack_p, params="axis")
@_RULES.register(p.pad_p, params="padding_config")
def _linear_in_all(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    return all(map(_vanishes, operands))


@_RULES.register(p.integer_pow_p, params="y")
def _is_first_power(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    return equation.params["y"] == 1


@_RULES.register(p.select_n_p)
def _selects_by_a_constant(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    which, *cases = operands
    return which.kind == CONSTANT and all(map(_vanishes, cases))


def _vanishes(mark: Linearity) -> bool:
    """Return whether a value is zero where the data are: linear, or zero at any time."""
    if mark.kind != CONSTANT:
        return mark.kind == LINEAR
    return mark.value is not None and not mark.clocks and not np.any(np.asarray(mark.value))


def _through_branches(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Return what is known of the results of one of several branches, chosen by the clock."""
    choice, *others = operands
    branches = equation.params["branches"]
    results = [linearity_of(branch, others) for branch in branches]
    taken = None if choice.value is None else int(np.clip(choice.value, 0, len(branches) - 1))
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
    if worst.kind == LINEAR and not all(map(_vanishes, marks)):
        return Linearity(OTHER, {**met, **clocks}, reason=Reason("", "cond"))
    value = None if taken is None or worst.kind != CONSTANT else marks[taken].value
    return worst._replace(clocks={**met, **clocks}, value=value)


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
        mark = mark._replace(clocks=clocks)
        if mark.reason is not None and mark.reason not in known and stage:
            mark = mark._replace(reason=mark.reason._replace(stage=stage))
        named.append(mark)
    return named


def _through_constants(equation: "JaxprEqn", operands: list[Linearity]) -> list[Linearity]:
    """Compute now what can be computed: no loops, and nothing that comes from a tracer."""
    clocks = {index: stage for mark in operands for index, stage in mark.clocks.items()}
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
