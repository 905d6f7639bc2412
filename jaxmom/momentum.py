"""The momentum filter as an optax transformation, and the frame of every named method."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxmom.filters import Coefficients, Law, Recurrence, floating, letter
from jaxmom.transform import Optimizer, Static, transformation, wide_dtype

Place: TypeAlias = Literal["outside", "inside", "nowhere"]


class MomentumState(NamedTuple):
    """State of a momentum filter: k pytrees of the shapes of params, and what the law carries."""

    buffers: tuple[Any, ...]
    carry: Any = ()


def scale_by_momentum(
    law: Law,
    *,
    start: Literal["zeros", "first_gradient"] = "zeros",
    accumulator_dtype: Any = None,
) -> Optimizer:
    """Filter the gradients; what comes out has the gradient's sign and no learning rate.

    Args:
      law: `Coefficients`; or a function of the count (int32, 0 at the first step) that returns
        them; or a `Recurrence`, as `jaxmom.coefficients` returns for the time-varying methods.
        The first is a pytree of leaves, named ``coefficients``; so are the other two if they are
        (or hold) a `jax.tree_util.Partial`.
      start: What the buffers hold before the first step. With "first_gradient" every buffer equals
        the first gradient after it, as in PyTorch's SGD and in an average that starts at g_0; a
        pure delay takes the first gradient for its own predecessor.
      accumulator_dtype: dtype of the buffers. The default is that of each parameter, and float32 at
        least: at a decay of 0.999, a bfloat16 buffer sticks at 256 where 950 is right.

    Returns:
      A pytree optimizer; its state is `MomentumState`.

    Raises:
      ValueError: `start` is neither of the two.
      TypeError: `law` is none of the three.

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
    if not isinstance(law, Coefficients | Recurrence) and not callable(law):
        raise TypeError(
            f"law is Coefficients, a function of the count, or a Recurrence, not {law!r}; "
            "jaxmom.coefficients has those of the named methods."
        )
    first = start == "first_gradient"
    settings = _Settings(_given, first_gradient=first, accumulator_dtype=accumulator_dtype)
    known = isinstance(law, Coefficients | Recurrence | Partial)
    return _filter(settings, {"coefficients": law if known else Partial(law)})


def momentum_method(
    recipe: Callable[..., Law], place: Place, *, first_gradient: bool = False, **hp: Any
) -> Optimizer:
    """Make an optimizer from a recipe of `jaxmom.coefficients`; the named methods are made so.

    Args:
      recipe: A function at the top of a module, of letters alone, that returns a law. A default
        that is a tuple says that a letter has one number for each buffer.
      place: Where -learning_rate stands (-1 if there is none among `hp`). With "outside",
        ``y <- y - alpha filter(g)``: a change of alpha acts on all gradients in the buffers at
        once. With "inside", ``y <- y + filter(-alpha g)``: the buffers are velocities, and what is
        in them keeps the learning rate that it was made with. With "nowhere" it is left out, and
        the sign is the gradient's.
      first_gradient: As ``start="first_gradient"`` of `scale_by_momentum`.
      **hp: The letters of the recipe, and learning_rate. Numbers, arrays and schedules are leaves;
        booleans stay static.

    Returns:
      A pytree optimizer; its state is `MomentumState`.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def halves(beta):
      ...     return jm.reading_new(decay=beta, gain=1.0, read=0.5, direct=0.5)
      >>> optimizer = jm.momentum_method(halves, "outside", learning_rate=0.1, beta=0.9)
      >>> jm.hyperparameters(optimizer)
      {'learning_rate': 0.1, 'beta': 0.9}
    """
    return _filter(_Settings(recipe, place, first_gradient), hp)


# The filter as a transformation: hp holds the letters, the learning rate, and `settings`.


@dataclasses.dataclass(frozen=True)
class _Settings:
    recipe: Callable[..., Law]
    place: Place = "nowhere"
    first_gradient: bool = False
    accumulator_dtype: Any = None
    buffers: int = 0
    start: Any = ()


def _filter(settings: _Settings, values: dict[str, Any]) -> Optimizer:
    buffers, start = _probe(settings.recipe, values)
    settings = dataclasses.replace(settings, buffers=buffers, start=start)
    hp = {**values, "settings": Static(settings)}
    return transformation(_init, _update, hp, readout=_readout, check=_check)


def _init(hp, params):
    settings = hp["settings"]
    zeros = functools.partial(_zeros_like, dtype=settings.accumulator_dtype)
    buffers = tuple(jax.tree.map(zeros, params) for _ in range(settings.buffers))
    carry = _carry(settings.start)
    return MomentumState(buffers, (jnp.array(True), carry) if settings.first_gradient else carry)


def _update(hp, updates, state, params, **extra):
    del params, extra
    c, carry = _step(hp, state.carry)
    leaves, treedef = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
    columns = (treedef.flatten_up_to(buffer) for buffer in state.buffers)
    rows = [_filtered(c, *row) for row in zip(leaves, *columns, strict=True)]
    new_updates, *new_buffers = (
        treedef.unflatten([row[i] for row in rows]) for i in range(1 + len(state.buffers))
    )
    return new_updates, MomentumState(tuple(new_buffers), carry)


def _readout(hp, state, params):
    c, _ = _step(hp, state.carry)
    if c.evaluate is None:
        return None

    def offset(p: Any, *buffers: Any) -> jax.Array:
        dtype = wide_dtype(p)
        weights = jnp.asarray(c.evaluate, dtype)
        terms = [weights[i] * m.astype(dtype) for i, m in enumerate(buffers)]
        return sum(terms, jnp.zeros(jnp.shape(p), dtype))

    return jax.tree.map(offset, params, *state.buffers)


def _filtered(c: Coefficients, gradient: Any, *buffers: Any) -> tuple[Any, ...]:
    """The new update and the new buffers of one leaf; a leaf without gradient stays as it is."""
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


def _step(hp: dict[str, Any], carry: Any) -> tuple[Coefficients, Any]:
    """The coefficients of this step, with -learning_rate in its place, and the next carry."""
    settings = hp["settings"]
    law = settings.recipe(**_letters(hp))
    first, inner = carry if settings.first_gradient else (jnp.array(False), carry)
    inner, c = law.step(inner) if isinstance(law, Recurrence) else (inner, law)
    if settings.first_gradient:
        c, inner = _first_step(c, first), (jnp.array(False), inner)
    if settings.place == "nowhere":
        return c, inner
    rate = -floating(hp.get("learning_rate", 1.0))
    inside = settings.place == "inside"
    scaled = ("gain", "direct") if inside else ("read", "direct", "evaluate", "read_new")
    fields = {name: getattr(c, name) for name in scaled if getattr(c, name) is not None}
    return dataclasses.replace(c, **{n: rate * x for n, x in fields.items()}), inner


def _first_step(c: Coefficients, first: jax.Array) -> Coefficients:
    """At the first step, act on zero buffers as if they made every new buffer the gradient."""
    changed = {"gain": jnp.where(first, 1.0, c.gain)}
    if c.read is not None:
        delay = c.decay == 0
        before = jnp.where(delay, 1.0, (1 - c.gain) / jnp.where(delay, 1.0, c.decay))
        direct = jnp.zeros([]) if c.direct is None else c.direct
        changed["direct"] = jnp.where(first, direct + jnp.sum(c.read * before), direct)
    return dataclasses.replace(c, **changed)


def _given(coefficients: Law) -> Law:
    return coefficients


def _letters(hp: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in hp.items() if n not in ("learning_rate", "settings", "transforms")}


def _check(hp: dict[str, Any]) -> None:
    if _is_plain(rate := hp.get("learning_rate")):
        letter("learning_rate", rate, "[0, inf)")
    buffers, _ = _probe(hp["settings"].recipe, hp)
    if buffers != hp["settings"].buffers:
        raise ValueError(
            f"this optimizer has {hp['settings'].buffers} buffers, the new coefficients are for "
            f"{buffers}; make a new optimizer, or pad with zeros."
        )


def _probe(recipe: Callable[..., Law], hp: Mapping[str, Any]) -> tuple[int, Any]:
    """The number of buffers and the start of a recipe, by tracing it on one lane.

    Plain numbers stay what they are, so that the recipe can refuse them; arrays may be batched, so
    that nothing can be learned from them but the length of a vector.
    """
    letters = _letters(hp)
    if recipe is _given:
        return _traced(recipe, {}, letters)
    vectors = _vector_letters(recipe)
    plain = {n: tuple(v) if isinstance(v, list) else v for n, v in letters.items() if _is_plain(v)}
    others = {n: _stand_in(v, vectors.get(n)) for n, v in letters.items() if n not in plain}
    return _probe_once(recipe, tuple(plain.items()), tuple(others.items()))


@functools.lru_cache(maxsize=4096)
def _probe_once(recipe: Callable[..., Law], plain: Any, others: Any) -> tuple[int, Any]:
    return _traced(recipe, dict(plain), dict(others))


def _traced(recipe: Callable[..., Law], plain: Any, others: Any) -> tuple[int, Any]:
    start: Any = ()

    def coefficients(letters: dict[str, Any]) -> Coefficients:
        nonlocal start
        law = recipe(**plain, **letters)
        if isinstance(law, Coefficients):
            return law
        if not isinstance(law, Recurrence):
            return law(jnp.zeros([], jnp.int32))
        start = law.start
        return law.step(_carry(start))[1]

    return jax.eval_shape(coefficients, others).decay.shape[-1], start


def _is_plain(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(x, int | float | np.number) for x in numbers)


def _stand_in(value: Any, default: tuple[float, ...] | None) -> jax.ShapeDtypeStruct:
    if default is None:
        return jax.ShapeDtypeStruct((), float)
    if isinstance(value, list | tuple):
        return jax.ShapeDtypeStruct((len(value),), float)
    shape = np.shape(default) if callable(value) else np.shape(value)
    return jax.ShapeDtypeStruct(shape[-1:], float)


@functools.cache
def _vector_letters(recipe: Callable[..., Law]) -> dict[str, tuple[float, ...]]:
    """The letters of a recipe that stand for one number per buffer: their default is a tuple."""
    parameters = inspect.signature(recipe).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, tuple)}


def _carry(start: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if isinstance(x, int) else float), start)


def _zeros_like(leaf: Any, dtype: Any) -> jax.Array:
    return jnp.zeros(jnp.shape(leaf), dtype or wide_dtype(leaf))
