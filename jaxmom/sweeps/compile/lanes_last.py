"""Batching with the lanes as the LAST axis of every array, where `jax.vmap` has them first.

`jax.vmap` puts the lanes first, and a loop keeps them there. A state of two numbers is then
[lanes, 2] in memory, and a scalar of each lane (beta, or whether it has diverged) does not line up
with it, so that XLA:CPU computes one number at a time. As [2, lanes] everything lines up, and
innermost loops can be unrolled: several times as many lanes per second where a step is a handful
of operations on small arrays.

Each primitive with a rule here is bound again, with one more axis at the end of its operands. A
rule returns None for parameters or shapes that it is not made for. Outside of loops, `jax.vmap`
then does that operation; a loop with one is refused as `UnsupportedPrimitive`, because `jax.vmap`
is better at products of matrices that differ between lanes, gathers and scatters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn


class UnsupportedPrimitive(ValueError):
    """The loop contains a primitive that has no rule for a trailing batch axis.

    Attributes:
      primitive: Its name.
    """

    def __init__(self, primitive: str):
        super().__init__(primitive)
        self.primitive = primitive

    def __str__(self) -> str:
        return (
            f"a loop applies {self.primitive} to values that differ between lanes, and lanes_last "
            f"has no rule for this use of {self.primitive}; leave lanes_last out of the options."
        )


class _Value(NamedTuple):
    """A value of the program, of all lanes or the same in all of them.

    Attributes:
      array: With the lanes as its last axis, if it varies.
      varies: From lane to lane.
    """

    array: Any
    varies: bool  # from lane to lane, along the last axis


class _Batch(NamedTuple):
    """How the program is batched, and where in it a rule is applied.

    Attributes:
      lanes: Their number, the size of the last axis.
      unroll: Steps per iteration of innermost loops.
      in_loop: Whether the equation is in a loop, where `jax.vmap` may not help out.
    """

    lanes: int
    unroll: int  # steps per iteration of innermost loops
    in_loop: bool

    def broadcast(self, value: _Value, shape: Sequence[int]) -> jax.Array:
        """Return a value of some shape, or a scalar, as [*shape, lanes]."""
        kept = range(len(shape) + value.varies - value.array.ndim, len(shape) + value.varies)
        return jax.lax.broadcast_in_dim(value.array, (*shape, self.lanes), tuple(kept))

    def add_axis(self, value: _Value) -> jax.Array:
        """Return a value with the axis of lanes."""
        return value.array if value.varies else self.broadcast(value, value.array.shape)


# Returns the results of an equation for its operands, or None if it has no rule for their shapes.
_Rule: TypeAlias = "Callable[[JaxprEqn, list[_Value], _Batch], list[_Value] | None]"
_RULES: _jaxpr.RuleTable[_Rule] = _jaxpr.RuleTable()


def lanes_last(
    function: Callable[..., Any],
    shared: Any,
    arguments: Any,
    out_axes: Mapping[str, int | None],
    lanes: int,
    unroll: int,
) -> Callable[[Any, Any], dict[str, jax.Array]]:
    """Return ``vmap(function, in_axes=(None, 0), out_axes=out_axes)``, with lanes last inside.

    Args:
      function: ``function(shared, arguments) -> dict of arrays``.
      shared: The pytree that all lanes share, or its shapes and dtypes.
      arguments: The pytree of arguments of one lane.
      out_axes: For each result by name: 0, or None if it is the same in all lanes.
      lanes: Their number.
      unroll: Steps per iteration of the innermost loops.

    Raises:
      UnsupportedPrimitive: When the returned function is called: `jax.vmap` is the better way.

    Example:
      >>> import jax.numpy as jnp
      >>> def power(shared, x):
      ...     return {"y": jax.lax.fori_loop(0, 3, lambda _, y: y * x, x) + shared}
      >>> one = jax.ShapeDtypeStruct((), jnp.float32)
      >>> call = lanes_last(power, one, one, {"y": 0}, lanes=4, unroll=3)
      >>> print(call(1.0, jnp.arange(4.0))["y"])
      [ 1.  2. 17. 82.]
    """
    program = jax.make_jaxpr(function)(shared, arguments)

    def call(shared: Any, columns: Any) -> Any:
        batch = _Batch(lanes, unroll, in_loop=False)
        values = [_Value(jnp.asarray(leaf), False) for leaf in jax.tree.leaves(shared)]
        values += [_Value(jnp.moveaxis(leaf, 0, -1), True) for leaf in jax.tree.leaves(columns)]
        results = _evaluate(program, values, batch)
        return {
            name: result.array
            if out_axes[name] is None
            else jnp.moveaxis(batch.add_axis(result), -1, 0)
            for name, result in zip(sorted(out_axes), results, strict=True)  # as jax orders keys
        }

    return call


def _evaluate(program: Any, values: Sequence[_Value], batch: _Batch) -> list[_Value]:
    """Return the results of a program for all lanes.

    Args:
      program: A jaxpr of one lane.
      values: Its arguments, with or without the axis of lanes.
      batch: How many lanes there are, and whether the program is in a loop.
    """

    def constant(array: Any) -> _Value:
        return _Value(jnp.asarray(array), False)

    return _jaxpr.interpret(program, values, lambda e, o: _apply_rule(e, o, batch), constant)


def _apply_rule(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """Return the results of an equation: by the program that it calls, once, by a rule or by vmap.

    Raises:
      UnsupportedPrimitive: It is in a loop and has no rule.
    """
    called = _jaxpr.called_program(equation)
    if called is not None:
        return _evaluate(called, operands, batch)
    if not any(operand.varies for operand in operands):
        return [_Value(a, False) for a in _jaxpr.bind(equation, [o.array for o in operands])]
    if any(_jaxpr.is_reference(atom) for atom in equation.invars):
        raise UnsupportedPrimitive(equation.primitive.name)  # it was made for one lane
    # A callback is made once for all lanes or once for each of them: vmap decides.
    rule = None if equation.effects else _RULES.find(equation)
    results = None if rule is None else rule(equation, operands, batch)
    if results is not None:
        return results
    if batch.in_loop:
        raise UnsupportedPrimitive(equation.primitive.name)
    return _apply_vmap(equation, operands, batch)


def _bind_along(
    equation: "JaxprEqn", arrays: Sequence[Any], params: Mapping[str, Any] | None = None
) -> list[_Value]:
    """Bind the primitive to arrays that have their lanes last, as its results do."""
    return [_Value(array, True) for array in _jaxpr.bind(equation, arrays, params)]


def _shapes(atoms: Sequence[Any]) -> list[tuple[int, ...]]:
    """Return the shapes that variables have for one lane."""
    return [atom.aval.shape for atom in atoms]


@_RULES.register(
    *(p.abs_p, p.acos_p, p.acosh_p, p.add_jaxvals_p, p.add_p, p.and_p, p.asin_p, p.asinh_p),
    *(p.atan2_p, p.atan_p, p.atanh_p, p.bitcast_convert_type_p, p.cbrt_p, p.ceil_p, p.clamp_p),
    *(p.convert_element_type_p, p.copy_p, p.cos_p, p.cosh_p, p.digamma_p, p.div_p, p.eq_p),
    *(p.erf_inv_p, p.erf_p, p.erfc_p, p.exp2_p, p.exp_p, p.expm1_p, p.floor_p, p.ge_p, p.gt_p),
    *(p.integer_pow_p, p.is_finite_p, p.le_p, p.lgamma_p, p.log1p_p, p.log_p, p.logistic_p),
    *(p.lt_p, p.max_p, p.min_p, p.mul_p, p.name_p, p.ne_p, p.neg_p, p.nextafter_p, p.not_p),
    *(p.or_p, p.pow_p, p.reduce_precision_p, p.rem_p, p.round_p, p.rsqrt_p, p.select_n_p),
    *(p.shift_left_p, p.shift_right_arithmetic_p, p.shift_right_logical_p, p.sign_p, p.sin_p),
    *(p.sinh_p, p.sqrt_p, p.square_p, p.stop_gradient_p, p.sub_p, p.tan_p, p.tanh_p, p.xor_p),
    params="accuracy exponent_bits mantissa_bits name new_dtype rounding_method weak_type y",
)
def _elementwise(
    equation: "JaxprEqn", operands: list[_Value], batch: _Batch
) -> list[_Value] | None:
    """Operands are scalars, as in where(scalar, x, y), or broadcast; a bitcast may do neither."""
    (shape,), shapes = _shapes(equation.outvars), _shapes(equation.invars)
    if not set(map(len, shapes)) <= {0, len(shape)} or np.broadcast_shapes(*shapes) != shape:
        return None
    pairs = zip(operands, shapes, strict=True)
    return _bind_along(equation, [batch.broadcast(o, one or shape) for o, one in pairs])


@_RULES.register(p.argmax_p, p.argmin_p, params="axes index_dtype")
@_RULES.register(p.concatenate_p, params="dimension")
@_RULES.register(
    *(p.cumlogsumexp_p, p.cummax_p, p.cummin_p, p.cumprod_p, p.cumsum_p),
    params="axis reverse",
)
@_RULES.register(
    *(p.reduce_and_p, p.reduce_max_p, p.reduce_min_p, p.reduce_or_p, p.reduce_prod_p),
    *(p.reduce_sum_p, p.reduce_xor_p),
    params="axes",
)
@_RULES.register(p.rev_p, p.squeeze_p, params="dimensions")
@_RULES.register(p.sort_p, params="dimension is_stable num_keys")
@_RULES.register(p.split_p, params="axis sizes")
@_RULES.register(p.stack_p, p.unstack_p, params="axis")
def _with_axes_from_the_front(
    equation: "JaxprEqn", operands: list[_Value], batch: _Batch
) -> list[_Value] | None:
    """Axes that are counted from the front mean the same with one more at the end."""
    named = [equation.params.get(name, ()) for name in ("axes", "axis", "dimension", "dimensions")]
    axes = [axis for one in named for axis in (one if isinstance(one, tuple) else (one,))]
    if any(axis < 0 for axis in axes):
        return None
    return _bind_along(equation, [batch.add_axis(operand) for operand in operands])


@_RULES.register(p.broadcast_in_dim_p, params="broadcast_dimensions shape")
def _broadcast_in_dim(
    equation: "JaxprEqn", operands: list[_Value], batch: _Batch
) -> list[_Value] | None:
    """The lanes are the last axis of the result too; operands beyond the first are sizes."""
    if len(operands) > 1:
        return None
    shape, kept = equation.params["shape"], equation.params["broadcast_dimensions"]
    params = {"shape": (*shape, batch.lanes), "broadcast_dimensions": (*kept, len(shape))}
    return _bind_along(equation, [operands[0].array], equation.params | params)


@_RULES.register(p.reshape_p, params="new_sizes")
def _reshape(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value] | None:
    """In row-major order, an axis at the end stays where it is; a permutation is refused."""
    if len(operands) > 1:
        return None
    params = equation.params | {"new_sizes": (*equation.params["new_sizes"], batch.lanes)}
    return _bind_along(equation, [operands[0].array], params)


@_RULES.register(p.slice_p, params="limit_indices start_indices strides")
def _slice(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """All lanes are kept."""
    params = equation.params
    strides = params["strides"]
    params = params | {
        "start_indices": (*params["start_indices"], 0),
        "limit_indices": (*params["limit_indices"], batch.lanes),
        "strides": None if strides is None else (*strides, 1),
    }
    return _bind_along(equation, [operands[0].array], params)


@_RULES.register(p.dynamic_slice_p, params="slice_sizes")
def _dynamic_slice(
    equation: "JaxprEqn", operands: list[_Value], batch: _Batch
) -> list[_Value] | None:
    """All lanes are kept, from an index that they share; one of each lane is a gather."""
    array, *starts = operands
    sizes = equation.params["slice_sizes"]
    if any(start.varies for start in starts) or len(starts) != len(sizes) or not starts:
        return None
    arrays = [array.array, *(start.array for start in starts)]
    params = equation.params | {"slice_sizes": (*sizes, batch.lanes)}
    return _bind_along(equation, [*arrays, jnp.zeros_like(arrays[-1])], params)


@_RULES.register(p.tile_p, params="reps")
def _tile(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """The lanes are not repeated."""
    params = equation.params | {"reps": (*equation.params["reps"], 1)}
    return _bind_along(equation, [operands[0].array], params)


@_RULES.register(p.transpose_p, params="permutation")
def _transpose(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """The lanes stay last."""
    permutation = equation.params["permutation"]
    params = equation.params | {"permutation": (*permutation, len(permutation))}
    return _bind_along(equation, [operands[0].array], params)


@_RULES.register(p.pad_p, params="padding_config")
def _pad(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value] | None:
    """The lanes are not padded; the value that fills in must be the same in all of them."""
    array, filling = operands
    if filling.varies:
        return None
    params = equation.params | {"padding_config": (*equation.params["padding_config"], (0, 0, 0))}
    return _bind_along(equation, [array.array, filling.array], params)


@_RULES.register(p.dot_general_p, params="dimension_numbers precision preferred_element_type")
def _dot_general(
    equation: "JaxprEqn", operands: list[_Value], batch: _Batch
) -> list[_Value] | None:
    """One side is the same in all lanes: the lanes are one more free axis of the other."""
    left, right = operands
    if left.varies and right.varies:
        return None
    (array,) = _jaxpr.bind(equation, [left.array, right.array])
    if right.varies:
        return [_Value(array, True)]
    (contracted, _), _ = equation.params["dimension_numbers"]
    lanes_axis = left.array.ndim - len(contracted) - 1
    return [_Value(jnp.moveaxis(array, lanes_axis, -1), True)]


@_RULES.register(
    p.scan_p,
    params="_split_transpose ft_in ft_out jaxpr length linear num_carry num_consts reverse unroll",
)
def _scan(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """Scan with the lanes last: what varies in some iteration has the axis of lanes in all of them.

    The carry keeps its types from step to step, so values that become different between lanes get
    the axis before the first step. Loops without loops in them are unrolled.
    """
    params = equation.params
    body, constants, carried = _jaxpr.scan_parts(equation)
    varies_in, varies_out = _varying_in_scan(equation, operands)
    carry_varies, inside = varies_in[constants : constants + carried], batch._replace(in_loop=True)
    init = operands[constants : constants + carried]

    def matched(values: Sequence[_Value], varies: Sequence[bool]) -> list[Any]:
        pairs = zip(values, varies, strict=True)
        return [batch.add_axis(value) if one else value.array for value, one in pairs]

    def step(carry: Any, x: Any) -> Any:
        moving = [*map(_Value, [*carry, *x], varies_in[constants:])]
        results = _evaluate(body, [*operands[:constants], *moving], inside)
        arrays = matched(results, varies_out)
        return arrays[:carried], arrays[carried:]

    unroll = max(params["unroll"], 1 if _jaxpr.has_loop(body) else batch.unroll)
    carry, ys = jax.lax.scan(
        step,
        matched(init, carry_varies),
        [operand.array for operand in operands[constants + carried :]],
        length=params["length"],
        reverse=params["reverse"],
        unroll=min(unroll, max(params["length"], 1)),
    )
    return [*map(_Value, [*carry, *ys], varies_out)]


def _varying_in_scan(equation: "JaxprEqn", operands: list[_Value]) -> tuple[list[bool], list[bool]]:
    """Return which operands of its body vary in some iteration of a scan, and which results.

    A carried value varies as soon as anything that it depends on does, after any number of steps.
    """
    _, constants, carried = _jaxpr.scan_parts(equation)
    sets = [frozenset({0}) if operand.varies else frozenset() for operand in operands]
    results = _jaxpr.scan_dependencies(equation, sets)
    varies_out = [bool(one) for one in results]
    varies_in = [operand.varies for operand in operands]
    varies_in[constants : constants + carried] = varies_out[:carried]
    return varies_in, varies_out


@_RULES.register(
    *(p.random_bits_p, p.random_clone_p, p.random_fold_in_p, p.random_gamma_p, p.random_seed_p),
    *(p.random_split_p, p.random_unwrap_p, p.random_wrap_p, p.from_edtype_p, p.to_edtype_p),
    params="bit_width edtype impl log_space shape",
)
def _apply_vmap(equation: "JaxprEqn", operands: list[_Value], batch: _Batch) -> list[_Value]:
    """Random bits are not worth a rule: the batched operation is one call for all lanes."""
    mapped = jax.vmap(
        lambda *arrays: _jaxpr.bind(equation, arrays),
        in_axes=tuple(0 if operand.varies else None for operand in operands),
        axis_size=batch.lanes,
    )
    # Lanes first, as `jax.vmap` has them: not all of JAX's own rules expect them to be last.
    arrays = [jnp.moveaxis(o.array, -1, 0) if o.varies else o.array for o in operands]
    return [_Value(jnp.moveaxis(array, 0, -1), True) for array in mapped(*arrays)]
