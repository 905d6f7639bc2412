"""The program of one lane as that of many, with the lanes as the LAST axis of every array.

`jax.vmap` puts the lanes first, and a loop keeps them there. A state of two numbers is then [lanes,
2] in memory, and what is said once for each lane (beta, or whether it has diverged) does not line
up with it, so that XLA:CPU computes one number at a time. As [2, lanes] everything lines up, and
innermost loops can be unrolled: several times as many lanes per second where a step is a handful
of operations on small arrays. Products of matrices that differ from lane to lane, gathers and
scatters are what vmap does better; a loop that has them is `Unsuited`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal


class UnsupportedPrimitive(ValueError):
    """A loop has an operation that wants its lanes first."""


class _Value(NamedTuple):
    array: Any
    varies: bool  # from lane to lane, along the last axis


class _Setting(NamedTuple):
    lanes: int
    unroll: int
    looped: bool  # whether this is in a loop

    def lay_out(self, value: _Value, shape: Sequence[int]) -> jax.Array:
        """A value of some shape, or a scalar, as [*shape, lanes]."""
        kept = range(len(shape) + value.varies - value.array.ndim, len(shape) + value.varies)
        return jax.lax.broadcast_in_dim(value.array, (*shape, self.lanes), tuple(kept))

    def spread(self, value: _Value) -> jax.Array:
        """A value with the axis of lanes."""
        return value.array if value.varies else self.lay_out(value, value.array.shape)


def lanes_last(
    function: Callable[..., Any],
    shared: Any,
    arguments: Any,
    out_axes: Mapping[str, int | None],
    lanes: int,
    unroll: int,
) -> Callable[[Any, Any], dict[str, jax.Array]]:
    """What ``vmap(function, in_axes=(None, 0), out_axes=out_axes)`` does, with lanes last inside.

    Args:
      function: ``function(shared, arguments) -> dict of arrays``.
      shared: What all lanes share, or its shapes and dtypes.
      arguments: Those of one lane.
      out_axes: By name of the result: 0, or None for what is the same in all lanes.
      lanes: How many.
      unroll: Steps per iteration of the innermost loops.

    Raises:
      Unsuited: (when called) vmap is the better way.

    Example:
      >>> import jax.numpy as jnp
      >>> def power(shared, x):
      ...     return {"y": jax.lax.fori_loop(0, 3, lambda _, y: y * x, x) + shared}
      >>> one = jax.ShapeDtypeStruct((), jnp.float32)
      >>> call = lanes_last(power, one, one, {"y": 0}, lanes=4, unroll=3)
      >>> print(call(1.0, jnp.arange(4.0))["y"])
      [ 1.  2. 17. 82.]
    """
    closed = jax.make_jaxpr(function)(shared, arguments)

    def call(shared: Any, columns: Any) -> Any:
        setting = _Setting(lanes, unroll, looped=False)
        values = [_Value(jnp.asarray(leaf), False) for leaf in jax.tree.leaves(shared)]
        values += [_Value(jnp.moveaxis(leaf, 0, -1), True) for leaf in jax.tree.leaves(columns)]
        consts = [_Value(const, False) for const in closed.consts]
        results = _evaluate(closed.jaxpr, [*consts, *values], setting)
        return {
            name: result.array
            if out_axes[name] is None
            else jnp.moveaxis(setting.spread(result), -1, 0)
            for name, result in zip(sorted(out_axes), results, strict=True)  # as jax orders keys
        }

    return call


def _evaluate(jaxpr: Jaxpr, values: Sequence[_Value], setting: _Setting) -> list[_Value]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))

    def read(atom: Any) -> _Value:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return _Value(jnp.asarray(atom.val, aval.dtype), False)
        return known[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        known |= zip(equation.outvars, _apply(equation, operands, setting), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: JaxprEqn, operands: list[_Value], setting: _Setting) -> list[_Value]:
    """What one operation returns."""
    name, inner = equation.primitive.name, _called(equation)
    if inner is not None:
        return _evaluate(inner[0], [*(_Value(c, False) for c in inner[1]), *operands], setting)
    if not any(operand.varies for operand in operands):
        return [_Value(a, False) for a in _bound(equation, [o.array for o in operands])]
    if name == "scan":
        return _scan(equation, operands, setting)
    if name == "dot_general" and not all(operand.varies for operand in operands):
        return [_product(equation, operands)]
    if name in _ALONG or (name in _EXTENDED and not any(o.varies for o in operands[1:])):
        return _along(equation, operands, setting)
    if setting.looped and not name.startswith("random_"):
        raise UnsupportedPrimitive(
            f"a loop has {name} of values that differ between lanes, which wants its lanes first; "
            "leave lanes_last out of the options."
        )
    return _by_vmap(equation, operands, setting)


def _along(equation: JaxprEqn, operands: list[_Value], setting: _Setting) -> list[_Value]:
    """An operation that does to arrays with one more axis at their end what it did before."""
    name, params = equation.primitive.name, equation.params
    avals: list[Any] = [atom.aval for atom in equation.invars]
    shapes = [aval.shape for aval in avals]
    if name in _EXTENDED:
        (first, *others), lanes = operands, setting.lanes
        arrays = [setting.lay_out(first, shapes[0]), *(other.array for other in others)]
        if name == "dynamic_slice":
            arrays.append(jnp.zeros_like(arrays[-1]))
        params = params | _EXTENDED[name](params, lanes, len(shapes[0]))
    else:
        widest = max(shapes, key=len)  # scalars go with arrays, as in where(scalar, x, y)
        arrays = [setting.lay_out(o, s or widest) for o, s in zip(operands, shapes, strict=True)]
    return [_Value(array, True) for array in _bound(equation, arrays, params)]


def _product(equation: JaxprEqn, operands: list[_Value]) -> _Value:
    """Matrices of one side are the same in all lanes: the lanes are one more axis of the other."""
    (array,) = _bound(equation, [operand.array for operand in operands])
    if operands[1].varies:
        return _Value(array, True)
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    free = operands[0].array.ndim - len(contracted) - len(batch)
    return _Value(jnp.moveaxis(array, len(batch) + free - 1, -1), True)


def _scan(equation: JaxprEqn, operands: list[_Value], setting: _Setting) -> list[_Value]:
    params = equation.params
    jaxpr, consts = _opened(params["jaxpr"])
    first, carried = _sizes(equation)
    flags = _fixed(equation, [operand.varies for operand in operands])
    fixed = [*(_Value(const, False) for const in consts), *operands[:first]]
    init = [
        setting.spread(operand) if varies else operand.array
        for operand, varies in zip(operands[first:], flags[first : first + carried], strict=False)
    ]
    within = setting._replace(looped=True)
    varies: list[bool] = []

    def body(carry: Any, x: Any) -> Any:
        moving = [*map(_Value, [*carry, *x], flags[first:])]
        results = _evaluate(jaxpr, [*fixed, *moving], within)
        wanted = [*flags[first : first + carried], *(r.varies for r in results[carried:])]
        varies[:] = wanted
        arrays = [
            setting.spread(result) if wants else result.array
            for result, wants in zip(results, wanted, strict=True)
        ]
        return arrays[:carried], arrays[carried:]

    innermost = not any(_loops(inner) for inner in jaxpr.eqns)
    unroll = max(params["unroll"], setting.unroll if innermost else 1)
    carry, ys = jax.lax.scan(
        body,
        init,
        [operand.array for operand in operands[first + carried :]],
        length=params["length"],
        reverse=params["reverse"],
        unroll=min(unroll, max(params["length"], 1)),
    )
    return [*map(_Value, [*carry, *ys], varies)]


def _by_vmap(equation: JaxprEqn, operands: list[_Value], setting: _Setting) -> list[_Value]:
    mapped = jax.vmap(
        lambda *arrays: _bound(equation, arrays),
        in_axes=tuple(-1 if operand.varies else None for operand in operands),
        out_axes=-1,
        axis_size=setting.lanes,
    )
    return [_Value(array, True) for array in mapped(*(operand.array for operand in operands))]


def _bound(equation: JaxprEqn, arrays: Sequence[Any], params: Any = None) -> list[Any]:
    """The operation itself."""
    primitive = equation.primitive
    result = primitive.bind(*arrays, **(equation.params if params is None else params))
    return list(result) if primitive.multiple_results else [result]


def _called(equation: JaxprEqn) -> tuple[Jaxpr, Sequence[Any]] | None:
    """The program that an operation only calls, with its constants."""
    if equation.primitive.name not in _CALLS:
        return None
    return _opened(next(equation.params[name] for name in _PROGRAMS if name in equation.params))


def _opened(program: Any) -> tuple[Jaxpr, Sequence[Any]]:
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def _sizes(equation: JaxprEqn) -> tuple[int, int]:
    """How many operands of a scan are constant, and how many are carried."""
    params = equation.params
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # since jax 0.11
    return len(list(consts)), len(list(carry))


def _loops(equation: JaxprEqn) -> bool:
    inner = _called(equation)
    within = inner is not None and any(_loops(one) for one in inner[0].eqns)
    return within or equation.primitive.name in ("scan", "while")


def _fixed(equation: JaxprEqn, flags: list[bool]) -> list[bool]:
    """Which operands of a scan vary, counting what is carried from one iteration to the next."""
    first, carried = _sizes(equation)
    jaxpr, consts = _opened(equation.params["jaxpr"])
    while True:
        after = _spread(jaxpr, [*(False for _ in consts), *flags])[:carried]
        new = [*flags]
        new[first : first + carried] = map(max, flags[first : first + carried], after)
        if new == flags:
            return flags
        flags = new


def _spread(jaxpr: Jaxpr, flags: Sequence[bool]) -> list[bool]:
    """Which results vary, given which operands do."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], flags, strict=True))

    def read(atom: Any) -> bool:
        return not isinstance(atom, Literal) and known[atom]

    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        results = [any(given)] * len(equation.outvars)
        inner = _called(equation)
        if inner is not None:
            results = _spread(inner[0], [*(False for _ in inner[1]), *given])
        elif equation.primitive.name == "scan":
            body, consts = _opened(equation.params["jaxpr"])
            results = _spread(body, [*(False for _ in consts), *_fixed(equation, given)])
        known |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}
_CALLS |= {"checkpoint", "remat", "remat2"}
_PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr")

# What does not care for an axis at the end: elementwise, or its axes are counted from the front.
_ALONG = {"abs", "acos", "acosh", "add", "add_any", "and", "argmax", "argmin", "asin", "asinh"}
_ALONG |= {"atan", "atan2", "atanh", "bitcast_convert_type", "cbrt", "ceil", "clamp", "concatenate"}
_ALONG |= {"convert_element_type", "copy", "cos", "cosh", "cumlogsumexp", "cummax", "cummin"}
_ALONG |= {"cumprod", "cumsum", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2"}
_ALONG |= {"expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p"}
_ALONG |= {"logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow"}
_ALONG |= {"reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_precision"}
_ALONG |= {"reduce_prod", "reduce_sum", "rem", "rev", "round", "rsqrt", "select_n", "shift_left"}
_ALONG |= {"shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sort", "split"}
_ALONG |= {"expand_dims", "stack", "unstack"}
_ALONG |= {"sqrt", "square", "squeeze", "stop_gradient", "sub", "tan", "tanh", "xor"}

# Here the new axis, of so many lanes and after so many others, has to be said.
_EXTENDED: dict[str, Callable[[Any, int, int], dict[str, Any]]] = {
    "broadcast_in_dim": lambda params, lanes, _: {
        "shape": (*params["shape"], lanes),
        "broadcast_dimensions": (*params["broadcast_dimensions"], len(params["shape"])),
    },
    "reshape": lambda params, lanes, _: {"new_sizes": (*params["new_sizes"], lanes)},
    "slice": lambda params, lanes, _: {
        "start_indices": (*params["start_indices"], 0),
        "limit_indices": (*params["limit_indices"], lanes),
        "strides": params["strides"] and (*params["strides"], 1),
    },
    "dynamic_slice": lambda params, lanes, _: {"slice_sizes": (*params["slice_sizes"], lanes)},
    "tile": lambda params, *_: {"reps": (*params["reps"], 1)},
    "transpose": lambda params, _, rank: {"permutation": (*params["permutation"], rank)},
    "pad": lambda params, *_: {"padding_config": (*params["padding_config"], (0, 0, 0))},
}
