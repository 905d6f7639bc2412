"""Any optax factory, with its float hyperparameters as leaves of the optimizer."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from jaxmom.transform import NUMBER, Optimizer, Static, as_pytree, transformation, wide_dtype


def lift(
    factory: Callable[..., optax.GradientTransformation], *, accumulator_dtype: Any = None
) -> Callable[..., Optimizer]:
    """Turn an optax factory into one whose float hyperparameters are leaves, by name.

    What the lifted optimizer computes is what optax computes; the factory is called anew, with the
    current values, whenever `update` is traced. Three things are better than in the original:
    values may be traced, batched, or schedules wherever a float is admitted; updates keep the
    gradient's dtype and states keep theirs; and parameters in bfloat16 or float16 get a state in
    float32, for a second moment with b2 = 0.999 stands still in bfloat16.

    Args:
      factory: A function that returns an optax transformation (`optax.adam`, `optax.ema`, ...).
      accumulator_dtype: dtype in which the states of floating parameters are kept; the default is
        the parameter's, and float32 at least. An option of the factory (``mu_dtype``) still holds.

    Returns:
      A function with the signature of `factory`. Integers for a parameter that is annotated or
      defaults to an integer, booleans, strings, None, tuples and functions that are no schedules
      stay static; other numbers, and optimizers, become leaves.

    Raises:
      TypeError: The arguments do not fit the signature of `factory`.

    Example:
      >>> import jax, jax.numpy as jnp, optax, jaxmom as jm
      >>> adam = jm.lift(optax.adam)(1e-3, b1=0.9)
      >>> print(*jm.hyperparameters(adam))
      learning_rate b1 b2 eps eps_root
      >>> def first_step(b2):
      ...     optimizer = jm.replace(adam, b2=b2)
      ...     return optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))[0]
      >>> jax.vmap(first_step)(jnp.array([0.9, 0.99, 0.999])).shape
      (3, 3)
    """
    signature = inspect.signature(factory)
    rule = _rule(factory, accumulator_dtype)

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Optimizer:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        hp = {
            name: _classified(signature.parameters[name], value)
            for name, value in bound.arguments.items()
        }
        leaves = tuple(name for name, value in hp.items() if not isinstance(value, Static))
        hp["leaves"] = Static(leaves)
        return transformation(rule.init, rule.update, hp, init_needs=_needed_by(rule.init, hp))

    return make


@dataclasses.dataclass(frozen=True)
class _Lifted:
    init: Callable[..., Any]
    update: Callable[..., Any]


@functools.cache
def _rule(factory: Callable[..., Any], accumulator_dtype: Any) -> _Lifted:
    """One pair of functions for each factory, so that equal optimizers share a compilation."""
    widen = functools.partial(_widened, dtype=accumulator_dtype)

    def made(hp: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
        # `init` is given only what it needs; what it does not look at may be any number.
        options = {**dict.fromkeys(hp["leaves"], 0.5), **hp}
        del options["leaves"], options["transforms"]
        options = {name: _unboxed(value) for name, value in options.items()}
        return optax.with_extra_args_support(factory(**options))

    def init(hp, params):
        return made(hp).init(jax.tree.map(widen, params))

    def update(hp, updates, state, params=None, **extra):
        wide = jax.tree.map(widen, updates)
        # optax mixes dtypes at will and relies on promotion; the results are cast back after it.
        with jax.numpy_dtype_promotion("standard"), _naming(factory):
            return made(hp).update(wide, state, jax.tree.map(widen, params), **extra)

    return _Lifted(init, update)


@contextlib.contextmanager
def _naming(factory: Callable[..., Any]) -> Iterator[None]:
    """Say which optimizer wants an argument, and from whom it can be had."""
    try:
        yield
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        name, missing = getattr(factory, "__name__", factory), str(error).rpartition(": ")[2]
        raise TypeError(
            f"{name} needs {missing} at every update: pass it by keyword, or use jaxmom.optimize, "
            "which passes value, grad and value_fn."
        ) from error


def _widened(leaf: Any, dtype: Any) -> Any:
    """At least float32, so that moving averages with long memories can still move."""
    if not isinstance(leaf, (*NUMBER, jax.ShapeDtypeStruct)):
        return leaf
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return leaf
    target = dtype or wide_dtype(leaf)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, target)
    return jnp.asarray(leaf, target)


@dataclasses.dataclass(frozen=True, eq=False)
class _Boxed:
    """An option that cannot be hashed (a mask that is a dict): the same only as itself."""

    value: Any


def _unboxed(value: Any) -> Any:
    return value.value if isinstance(value, _Boxed) else value


def _classified(parameter: inspect.Parameter, value: Any) -> Any:
    """What `transformation` shall make of an argument: a leaf, a schedule, or something static."""
    if isinstance(value, optax.GradientTransformation):
        return as_pytree(value)
    if isinstance(value, Partial) or _is_float(parameter, value):
        return value
    if callable(value) and _admits_float(parameter):
        return Partial(value)
    try:
        hash(value)
    except TypeError:
        value = _Boxed(value)
    return Static(value)


def _is_float(parameter: inspect.Parameter, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, NUMBER):
        return False
    floating = jnp.issubdtype(jnp.result_type(value), jnp.floating)
    return floating or (isinstance(value, int | np.integer) and _admits_float(parameter))


def _admits_float(parameter: inspect.Parameter) -> bool:
    annotation = str(parameter.annotation)
    return isinstance(parameter.default, float) or any(
        word in annotation for word in ("float", "ArrayLike", "Schedule", "Numeric")
    )


def _needed_by(init: Callable[..., Any], hp: dict[str, Any]) -> tuple[str, ...]:
    """The names of the leaves that `init` looks at, read off its jaxpr."""
    static = {n: v.value for n, v in hp.items() if isinstance(v, Static)}
    leaves = static["leaves"]
    if any(isinstance(hp[n], optax.GradientTransformation) for n in leaves):
        return leaves
    hp = {**static, "transforms": ()}
    try:
        closed = jax.make_jaxpr(lambda v: init({**hp, **v}, jnp.zeros((2, 2))))(
            dict.fromkeys(leaves, jnp.float32(0.5))
        )
    except Exception:  # an init that wants another kind of params: bind all of its values
        return leaves
    needed = {id(v) for v in closed.jaxpr.outvars}
    for equation in reversed(closed.jaxpr.eqns):
        if any(id(v) in needed for v in equation.outvars):
            needed |= {id(v) for v in equation.invars}
    flags = zip(sorted(leaves), closed.jaxpr.invars, strict=True)
    return tuple(name for name, variable in flags if id(variable) in needed)
