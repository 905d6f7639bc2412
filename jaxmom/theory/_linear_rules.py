"""Which operations are linear in which of their operands: rules on the primitives of JAX."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

CONSTANT, LINEAR, OTHER = range(3)


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
RULES: _jaxpr.RuleTable[_Rule] = _jaxpr.RuleTable()


@RULES.register(p.broadcast_in_dim_p, params="broadcast_dimensions shape")
@RULES.register(p.copy_p, p.neg_p, p.stop_gradient_p)
@RULES.register(p.name_p, params="name")
@RULES.register(p.reduce_sum_p, params="axes")
@RULES.register(p.reshape_p, params="dimensions new_sizes")
@RULES.register(p.rev_p, p.squeeze_p, params="dimensions")
@RULES.register(p.slice_p, params="limit_indices start_indices strides")
@RULES.register(p.split_p, p.unstack_p, params="axis sizes")
@RULES.register(p.tile_p, params="reps")
@RULES.register(p.transpose_p, params="permutation")
@RULES.register(p.div_p)
@RULES.register(p.dynamic_slice_p, params="slice_sizes")
@RULES.register(p.cumsum_p, params="axis reverse")
@RULES.register(p.fft_p, params="fft_lengths fft_type")
@RULES.register(p.imag_p, p.real_p)
@RULES.register(p.conj_p, params="input_dtype")
def _linear_in_the_first(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    first, *others = operands
    return first.kind == LINEAR and all(mark.kind == CONSTANT for mark in others)


@RULES.register(p.convert_element_type_p, params="new_dtype weak_type")
def _keeps_its_precision(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    # NumPy does not count bfloat16 as inexact. Here that is right: it rounds too much to be linear.
    return np.issubdtype(equation.params["new_dtype"], np.inexact)


@RULES.register(
    p.gather_p,
    params="dimension_numbers fill_value indices_are_sorted mode slice_sizes unique_indices",
)
def _gathers_what_there_is(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    entries, indices = operands
    if entries.kind != LINEAR or indices.kind != CONSTANT:
        return False
    fill = equation.params["fill_value"]
    if not _jaxpr.fills(equation) or (fill is not None and fill == 0):
        return True
    if indices.value is None or indices.clocks:
        return False
    like: Any = equation.invars[0].aval
    with jax.ensure_compile_time_eval():
        ones = jnp.ones(like.shape, like.dtype)
        (found,) = _jaxpr.bind(
            equation, [ones, indices.value], {**equation.params, "fill_value": 0}
        )
        return bool(jnp.all(found == 1))


@RULES.register(p.mul_p)
@RULES.register(
    p.conv_general_dilated_p,
    params="batch_group_count dimension_numbers feature_group_count lhs_dilation padding precision "
    "preferred_element_type rhs_dilation window_strides",
)
@RULES.register(p.dot_general_p, params="dimension_numbers precision preferred_element_type")
def _linear_in_one(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    result: Any = equation.outvars[0].aval
    one = sum(mark.kind == LINEAR for mark in operands) == 1
    return one and np.issubdtype(result.dtype, np.inexact)


@RULES.register(p.add_p, p.add_jaxvals_p, p.complex_p, p.sub_p)
@RULES.register(p.concatenate_p, params="dimension")
@RULES.register(p.stack_p, params="axis")
@RULES.register(p.pad_p, params="padding_config")
def _linear_in_all(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    return all(map(vanishes, operands))


@RULES.register(p.dynamic_update_slice_p)
def _writes_a_slice(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    whole, part, *start = operands
    return all(map(vanishes, (whole, part))) and all(mark.kind == CONSTANT for mark in start)


_SCATTER = "dimension_numbers indices_are_sorted mode unique_indices update_consts update_jaxpr"


@RULES.register(p.scatter_p, p.scatter_add_p, params=_SCATTER)
def _writes_at_indices(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    whole, indices, part = operands
    return all(map(vanishes, (whole, part))) and indices.kind == CONSTANT


@RULES.register(p.scatter_mul_p, params=_SCATTER)
def _scales_at_indices(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    whole, indices, factors = operands
    return whole.kind == LINEAR and indices.kind == factors.kind == CONSTANT


@RULES.register(
    p.triangular_solve_p, params="conjugate_a left_side lower transpose_a unit_diagonal"
)
def _solves_with_a_constant(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    matrix, right = operands
    return matrix.kind == CONSTANT and right.kind == LINEAR


@RULES.register(p.integer_pow_p, params="y")
def _is_first_power(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    return equation.params["y"] == 1


@RULES.register(p.select_n_p)
def _selects_by_a_constant(equation: "JaxprEqn", operands: list[Linearity]) -> bool:
    which, *cases = operands
    if which.value is not None and not which.clocks:  # some are never taken
        cases = [cases[int(index)] for index in np.unique(which.value)]
    return which.kind == CONSTANT and all(map(vanishes, cases))


def vanishes(mark: Linearity) -> bool:
    """Return whether a value is zero if the data are zero: it is linear, or a constant zero."""
    if mark.kind != CONSTANT:
        return mark.kind == LINEAR
    return mark.value is not None and not mark.clocks and not np.any(np.asarray(mark.value))


def is_of_finite_data(equation: "JaxprEqn", operands: list[Linearity]) -> Any:
    """Return the outcome of a test that finite numbers always answer alike, or None.

    Theory is about runs that stay finite, and what is linear in finite numbers is finite: it is
    finite, equal to itself (or else it is NaN), and not infinite.
    """
    result: Any = equation.outvars[0].aval
    if any(mark.kind == OTHER for mark in operands):
        return None
    if equation.primitive is p.is_finite_p:
        return np.ones(result.shape, bool)
    if equation.primitive in (p.eq_p, p.ne_p):
        first, second = equation.invars
        bounds = [mark.value for mark in operands if mark.kind == CONSTANT]
        is_infinite = bool(bounds) and bounds[0] is not None and bool(np.all(np.isinf(bounds[0])))
        if first is second or is_infinite:
            return np.full(result.shape, (first is second) == (equation.primitive is p.eq_p))
    return None
