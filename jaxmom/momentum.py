"""The momentum filter as an optax transformation, and the frame of every named method."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxmom._values import floating, is_plain_number
from jaxmom.filters import (
    Coefficients,
    CoefficientsFn,
    CoefficientsOrSchedule,
    Recurrence,
    as_hyperparameter,
)
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    Static,
    transformation,
    wide_dtype,
)

LearningRatePosition: TypeAlias = Literal["outside", "inside"] | None


class MomentumState(NamedTuple):
    """State of a momentum filter."""

    buffers: tuple[PyTree, ...]  # k trees of the shapes of params
    carry: PyTree = ()  # of coefficients that follow a recurrence


def scale_by_momentum(
    coefficients: CoefficientsOrSchedule,
    *,
    start: Literal["zeros", "first_gradient"] = "zeros",
    accumulator_dtype: Any = None,
) -> Optimizer:
    """Filter the gradients; the result has the gradient's sign and no learning rate.

    Args:
      coefficients: `Coefficients`; or a function of the count (int32, 0 at the first step) that
        returns them; or a `Recurrence`, as `jaxmom.coefficients` returns for the time-varying
        methods. The first is a pytree of leaves, named ``coefficients``; so are the other two if
        they are (or hold) a `jax.tree_util.Partial`.
      start: What the buffers hold before the first step. With "first_gradient" every buffer equals
        the first gradient after it, as in PyTorch's SGD and in an average that starts at g_0; a
        pure delay takes the first gradient for its own predecessor.
      accumulator_dtype: dtype of the buffers. The default is that of each parameter, and float32 at
        least: at a decay of 0.999, a bfloat16 buffer sticks at 256 where 950 is right.

    Returns:
      A pytree optimizer; its state is `MomentumState`.

    Raises:
      ValueError: `start` is neither of the two.
      TypeError: `coefficients` is none of the three.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> trace = jm.scale_by_momentum(jm.coefficients.heavy_ball(beta=0.5))
      >>> state = trace.init(jnp.zeros(2))
      >>> for _ in range(3):
      ...     update, state = trace.update(jnp.ones(2), state)
      >>> print(update)  # 1 + 1/2 + 1/4
      [1.75 1.75]
    """
    if start not in ("zeros", "first_gradient"):
        raise ValueError(f'start is "zeros" or "first_gradient", not {start!r}.')
    if not isinstance(coefficients, Coefficients | Recurrence) and not callable(coefficients):
        raise TypeError(
            "scale_by_momentum needs Coefficients, a function of the count, or a Recurrence, not "
            f"{coefficients!r}; jaxmom.coefficients has those of the named methods."
        )
    first = start == "first_gradient"
    settings = _Settings(
        _coefficients_as_given, first_gradient=first, accumulator_dtype=accumulator_dtype
    )
    is_tree = isinstance(coefficients, Coefficients | Recurrence | Partial)
    return _make_filter(
        settings, {"coefficients": coefficients if is_tree else Partial(coefficients)}
    )


def momentum_method(
    coefficients_fn: CoefficientsFn,
    learning_rate_position: LearningRatePosition,
    *,
    first_gradient: bool = False,
    **hyperparameters: Any,
) -> Optimizer:
    """Make an optimizer from a function of `jaxmom.coefficients`, as all named methods are made.

    Args:
      coefficients_fn: A function at the top of a module, of hyperparameters alone, that returns
        `Coefficients` or a `Recurrence`. A hyperparameter whose default is a tuple has one number
        for each buffer.
      learning_rate_position: Where -learning_rate stands (-1 if there is none among the
        hyperparameters). With "outside", ``y <- y - alpha filter(g)``: a change of alpha acts on
        all gradients in the buffers at once. With "inside", ``y <- y + filter(-alpha g)``: the
        buffers are velocities, and what is in them keeps the learning rate that it was made with.
        With None it is left out, and the sign is the gradient's.
      first_gradient: As ``start="first_gradient"`` of `scale_by_momentum`.
      **hyperparameters: Those of the function, and learning_rate. Numbers, arrays and schedules
        are leaves; booleans stay static.

    Returns:
      A pytree optimizer; its state is `MomentumState`.

    Raises:
      ValueError: `learning_rate_position` is none of the three, or a plain number is out of bounds.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def halves(beta):
      ...     return jm.reading_new(decay=beta, gain=1.0, read=0.5, direct=0.5)
      >>> optimizer = jm.momentum_method(halves, "outside", learning_rate=0.1, beta=0.9)
      >>> jm.hyperparameters(optimizer)
      {'learning_rate': 0.1, 'beta': 0.9}
    """
    if learning_rate_position not in ("outside", "inside", None):
        raise ValueError(
            'learning_rate_position is "outside" (scale what leaves the filter), "inside" (scale '
            f"what enters it) or None (no learning rate), not {learning_rate_position!r}."
        )
    settings = _Settings(coefficients_fn, learning_rate_position, first_gradient)
    return _make_filter(settings, hyperparameters)


# The filter as a transformation: hp holds the hyperparameters, the learning rate, and `settings`.


@dataclasses.dataclass(frozen=True)
class _Settings:
    coefficients_fn: CoefficientsFn
    learning_rate_position: LearningRatePosition = None
    first_gradient: bool = False
    accumulator_dtype: Any = None
    buffers: int = 0
    start: PyTree = ()


def _make_filter(settings: _Settings, values: dict[str, Any]) -> Optimizer:
    buffers, start = _probe(settings.coefficients_fn, values)
    settings = dataclasses.replace(settings, buffers=buffers, start=start)
    hp = {**values, "settings": Static(settings)}
    return transformation(
        _init_filter, _filter_gradients, hp, readout=_read_evaluation, check=_check_filter
    )


def _init_filter(hp: Hyperparameters, params: PyTree) -> MomentumState:
    settings = hp["settings"]
    zeros = functools.partial(_zero_buffer, dtype=settings.accumulator_dtype)
    buffers = tuple(jax.tree.map(zeros, params) for _ in range(settings.buffers))
    carry = _as_carry(settings.start)
    return MomentumState(buffers, (jnp.array(True), carry) if settings.first_gradient else carry)


def _filter_gradients(
    hp: Hyperparameters, updates: PyTree, state: MomentumState, params: PyTree, **extra: Any
) -> tuple[PyTree, MomentumState]:
    del params, extra
    c, carry = _coefficients_now(hp, state.carry)
    leaves, treedef = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
    columns = (treedef.flatten_up_to(buffer) for buffer in state.buffers)
    rows = [_filter_leaf(c, *row) for row in zip(leaves, *columns, strict=True)]
    new_updates, *new_buffers = (
        treedef.unflatten([row[i] for row in rows]) for i in range(1 + len(state.buffers))
    )
    return new_updates, MomentumState(tuple(new_buffers), carry)


def _read_evaluation(hp: Hyperparameters, state: MomentumState, params: PyTree) -> PyTree | None:
    c, _ = _coefficients_now(hp, state.carry)
    if c.evaluate is None:
        return None

    def offset(p: Any, *buffers: Any) -> jax.Array:
        dtype = wide_dtype(p)
        weights = jnp.asarray(c.evaluate, dtype)
        terms = [weights[i] * m.astype(dtype) for i, m in enumerate(buffers)]
        return sum(terms, jnp.zeros(jnp.shape(p), dtype))

    return jax.tree.map(offset, params, *state.buffers)


def _filter_leaf(c: Coefficients, gradient: Any, *buffers: Any) -> tuple[Any, ...]:
    """Return one leaf's new update and new buffers; a leaf without gradient stays as it is."""
    if gradient is None:
        return (None, *buffers)
    dtype = wide_dtype(buffers[0] if buffers else gradient)
    c = jax.tree.map(lambda x: x.astype(dtype), c)
    g, *old = (jnp.asarray(x, dtype) for x in (gradient, *buffers))
    new = [c.decay[i] * m + c.gain[i] * g for i, m in enumerate(old)]
    terms = [] if c.direct is None else [c.direct * g]
    terms += [] if c.read is None else [c.read[i] * m for i, m in enumerate(old)]
    terms += [] if c.read_new is None else [c.read_new[i] * m for i, m in enumerate(new)]
    return (sum(terms[1:], terms[0]) if terms else jnp.zeros_like(g), *new)


def _coefficients_now(hp: Hyperparameters, carry: PyTree) -> tuple[Coefficients, PyTree]:
    """Return the coefficients of this step, with -learning_rate in its place, and the carry."""
    settings = hp["settings"]
    found = settings.coefficients_fn(**_without_learning_rate(hp))
    first, inner = carry if settings.first_gradient else (jnp.array(False), carry)
    inner, c = found.step(inner) if isinstance(found, Recurrence) else (inner, found)
    if settings.first_gradient:
        c, inner = _at_first_gradient(c, first), (jnp.array(False), inner)
    if settings.learning_rate_position is None:
        return c, inner
    rate = -floating(hp.get("learning_rate", 1.0))
    inside = settings.learning_rate_position == "inside"
    scaled = ("gain", "direct") if inside else ("read", "direct", "evaluate", "read_new")
    fields = {name: getattr(c, name) for name in scaled if getattr(c, name) is not None}
    return dataclasses.replace(c, **{n: rate * x for n, x in fields.items()}), inner


def _at_first_gradient(c: Coefficients, first: jax.Array) -> Coefficients:
    """At the first step, act on zero buffers as if they made every new buffer the gradient."""
    changed = {"gain": jnp.where(first, 1.0, c.gain)}
    if c.read is not None:
        delay = c.decay == 0
        before = jnp.where(delay, 1.0, (1 - c.gain) / jnp.where(delay, 1.0, c.decay))
        direct = jnp.zeros([]) if c.direct is None else c.direct
        changed["direct"] = jnp.where(first, direct + jnp.sum(c.read * before), direct)
    return dataclasses.replace(c, **changed)


def _coefficients_as_given(coefficients: CoefficientsOrSchedule) -> CoefficientsOrSchedule:
    return coefficients


def _without_learning_rate(hp: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in hp.items() if n not in ("learning_rate", "settings", "transforms")}


def _check_filter(hp: Hyperparameters) -> None:
    settings = hp["settings"]
    if is_plain_number(rate := hp.get("learning_rate")):
        as_hyperparameter("learning_rate", rate, "[0, inf)")
    buffers, _ = _probe(settings.coefficients_fn, hp)
    if buffers != settings.buffers:
        raise ValueError(
            f"this optimizer has {settings.buffers} buffers, the new coefficients are for "
            f"{buffers}; make a new optimizer, or pad with zeros."
        )


def _probe(coefficients_fn: CoefficientsFn, hp: Mapping[str, Any]) -> tuple[int, PyTree]:
    """Return the number of buffers and the start of a recurrence, by tracing one lane.

    Plain numbers stay what they are, so that the function can refuse them. Arrays may be batched,
    so that nothing can be learned from them but the length of a vector.
    """
    values = _without_learning_rate(hp)
    if coefficients_fn is _coefficients_as_given:
        return _trace_coefficients(coefficients_fn, {}, values)
    vectors = _vector_defaults(coefficients_fn)
    plain = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if _is_plain(v)}
    others = {n: _stand_in(v, vectors.get(n)) for n, v in values.items() if n not in plain}
    return _probe_once(coefficients_fn, tuple(plain.items()), tuple(others.items()))


@functools.lru_cache(maxsize=4096)
def _probe_once(coefficients_fn: CoefficientsFn, plain: Any, others: Any) -> tuple[int, PyTree]:
    return _trace_coefficients(coefficients_fn, dict(plain), dict(others))


def _trace_coefficients(
    coefficients_fn: CoefficientsFn, plain: dict[str, Any], others: dict[str, Any]
) -> tuple[int, PyTree]:
    def first_coefficients(traced: dict[str, Any]) -> tuple[Static, Coefficients]:
        found = coefficients_fn(**plain, **traced)
        if isinstance(found, Coefficients):
            return Static(()), found
        if not isinstance(found, Recurrence):
            return Static(()), found(jnp.zeros([], jnp.int32))
        return Static(found.start), found.step(_as_carry(found.start))[1]

    start, c = jax.eval_shape(first_coefficients, others)
    return c.decay.shape[-1], start.value


def _is_plain(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(map(is_plain_number, numbers))


def _stand_in(value: Any, default: tuple[float, ...] | None) -> jax.ShapeDtypeStruct:
    if default is None:
        return jax.ShapeDtypeStruct((), float)
    if isinstance(value, list | tuple):
        return jax.ShapeDtypeStruct((len(value),), float)
    shape = np.shape(default) if callable(value) else np.shape(value)
    return jax.ShapeDtypeStruct(shape[-1:], float)


@functools.cache
def _vector_defaults(coefficients_fn: CoefficientsFn) -> dict[str, tuple[float, ...]]:
    """Return the hyperparameters that have one number for each buffer: their default is a tuple."""
    parameters = inspect.signature(coefficients_fn).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, tuple)}


def _as_carry(start: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if isinstance(x, int) else float), start)


def _zero_buffer(leaf: Any, dtype: Any) -> jax.Array:
    return jnp.zeros(jnp.shape(leaf), dtype or wide_dtype(leaf))
