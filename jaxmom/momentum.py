"""The momentum filter as an optax transformation, and `momentum_method` for the named methods."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom._captures import Captured, as_partial
from jaxmom._per_part import make_per_part
from jaxmom._probe import (
    as_carry,
    coefficients_as_given,
    names_ahead,
    probe,
    vector_defaults,
    without_learning_rate,
)
from jaxmom._values import (
    NUMBER,
    as_plain,
    as_plain_vector,
    floating,
    is_complex,
    state_dtype,
)
from jaxmom.filters import (
    Coefficients,
    CoefficientsFn,
    CoefficientsOrSchedule,
    Recurrence,
    check_bounds,
    check_rank,
)
from jaxmom.transform import (
    EvaluatedElsewhere,
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
    awaiting: PyTree = ()  # bool [leaves of params]: no gradient yet; () if the start is at zeros


class ExtrapolatedState(MomentumState, EvaluatedElsewhere):
    """State of a filter whose `jaxmom.eval_params` differs from params."""

    __slots__ = ()


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
        they are (or hold) a `jax.tree_util.Partial`. The first has arrays, which
        `flax.nnx.Optimizer` refuses; give it `momentum_method`, or ``lambda count: coefficients``.
      start: What the buffers hold before the first step. With "first_gradient" every buffer equals
        the first gradient after it, as in PyTorch's SGD and in an average that starts at g_0; a
        pure delay takes the first gradient for its own predecessor. Each leaf of params has its own
        first gradient; the None of a leaf that is frozen at first does not count as one.
      accumulator_dtype: dtype of the buffers. The default is that of each parameter, and float32 at
        least: at a decay of 0.999, a bfloat16 buffer sticks at 256 where 950 is right. A real dtype
        leaves complex parameters alone; a complex one gives real parameters complex momentum, whose
        updates are the real part.

    Returns:
      A pytree optimizer; its state is `MomentumState`.

    Raises:
      ValueError: `start` is neither of the two, or `accumulator_dtype` is not floating.
      TypeError: `coefficients` is none of the three, or a function of `jaxmom.coefficients` that
        was not called.

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
    _refuse_uncalled(coefficients)
    dtype = None if accumulator_dtype is None else jnp.dtype(accumulator_dtype)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(f"accumulator_dtype is a floating dtype, not {dtype}.")
    first = start == "first_gradient"
    settings = _Settings(coefficients_as_given, first_gradient=first, accumulator_dtype=dtype)
    is_tree = isinstance(coefficients, Coefficients | Recurrence)
    return _make_filter(
        settings, {"coefficients": coefficients if is_tree else as_partial(coefficients)}
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
      coefficients_fn: A function of hyperparameters alone, at the top of a module, that returns
        `Coefficients` or a `Recurrence`. A hyperparameter whose default is a tuple has one number
        for each buffer. A parameter ``next_<name>``, None by default, gets what a schedule of
        ``name`` returns for the next step. Complex coefficients give real params complex buffers.
      learning_rate_position: Where -learning_rate stands (-1 if there is none among the
        hyperparameters). With "outside", ``y <- y - alpha filter(g)``: a change of alpha acts on
        all gradients in the buffers at once. With "inside", ``y <- y + filter(-alpha g)``: the
        buffers are velocities, and what is in them keeps the learning rate that it was made with.
        With None it is left out, and the sign is the gradient's.
      first_gradient: As ``start="first_gradient"`` of `scale_by_momentum`.
      **hyperparameters: Those of the function, and learning_rate. Numbers, arrays and schedules
        are leaves; booleans stay static. A dict that is a prefix of params has a number for each
        part, named as in "beta.w".

    Returns:
      A pytree optimizer; its state is `MomentumState`, or a partition of such.

    Raises:
      ValueError: `learning_rate_position` is none of the three, or a plain number is out of bounds.
      TypeError: `coefficients_fn` is not a function, or a hyperparameter is not a number.

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
    if not callable(coefficients_fn):
        raise TypeError(
            f"momentum_method needs a function that returns coefficients, not {coefficients_fn!r}; "
            "pass it without calling it, and its hyperparameters by name."
        )
    settings = _Settings(coefficients_fn, learning_rate_position, first_gradient)
    vectors, ahead = vector_defaults(coefficients_fn), names_ahead(coefficients_fn)
    return make_per_part(_FilterMaker(settings), hyperparameters, vectors, ahead)


# The filter as a transformation: hp holds the hyperparameters, the learning rate, and `settings`.


@dataclasses.dataclass(frozen=True)
class _Settings:
    coefficients_fn: CoefficientsFn
    learning_rate_position: LearningRatePosition = None
    first_gradient: bool = False
    accumulator_dtype: Any = None
    buffers: int = 0
    start: PyTree = ()
    evaluates: bool = False  # whether eval_params differs from params
    is_complex: bool = False  # whether the buffers are complex for real params


@dataclasses.dataclass(frozen=True)
class _FilterMaker:
    settings: _Settings

    def __call__(self, **hyperparameters: Any) -> Optimizer:
        return _make_filter(self.settings, hyperparameters)


def _make_filter(settings: _Settings, values: dict[str, Any]) -> Optimizer:
    vectors = vector_defaults(settings.coefficients_fn)
    values = {n: as_plain_vector(v) if n in vectors else as_plain(v) for n, v in values.items()}
    found = probe(settings.coefficients_fn, values)
    as_given = settings.coefficients_fn is coefficients_as_given
    found = found._replace(is_complex=found.is_complex and not as_given)
    settings = dataclasses.replace(settings, **found._asdict())
    hp = {**values, "settings": Static(settings)}
    if ahead := names_ahead(settings.coefficients_fn):
        hp["ahead"] = Static(ahead)
    readout = _read_evaluation if found.evaluates else None
    return transformation(_init_filter, _filter_gradients, hp, readout=readout, check=_check_filter)


def _init_filter(hp: Hyperparameters, params: PyTree) -> MomentumState:
    settings = hp["settings"]
    zeros = functools.partial(_zero_buffer, settings=settings)
    buffers = tuple(jax.tree.map(zeros, params) for _ in range(settings.buffers))
    # One vector, not a tree like params: what maps over the params in a state must not find it.
    leaves = len(jax.tree.leaves(params))
    awaiting = jnp.ones(leaves, bool) if settings.first_gradient else ()
    return _state_type(settings)(buffers, as_carry(settings.start), awaiting)


def _state_type(settings: _Settings) -> type[MomentumState]:
    return ExtrapolatedState if settings.evaluates else MomentumState


def _filter_gradients(
    hp: Hyperparameters, updates: PyTree, state: MomentumState, params: PyTree, **extra: Any
) -> tuple[PyTree, MomentumState]:
    del params, extra
    c, carry = _coefficients_now(hp, state.carry)
    usual = _place_learning_rate(c, hp)
    leaves, treedef = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
    columns = [treedef.flatten_up_to(buffer) for buffer in state.buffers]
    choices, awaiting = [usual] * len(leaves), state.awaiting
    if hp["settings"].first_gradient and columns:
        initial = _place_learning_rate(_at_first_gradient(c), hp)
        places, absent = _find_leaves(leaves, columns[0])
        choices = [
            usual if gradient is None else _choose(awaiting[place], initial, usual)
            for gradient, place in zip(leaves, places, strict=True)
        ]
        awaiting = jnp.logical_and(awaiting, absent)
    rows = [_filter_leaf(*row) for row in zip(choices, leaves, *columns, strict=True)]
    new_updates, *new_buffers = (
        treedef.unflatten([row[i] for row in rows]) for i in range(1 + len(state.buffers))
    )
    return new_updates, _state_type(hp["settings"])(tuple(new_buffers), carry, awaiting)


def _find_leaves(gradients: list[Any], buffers: list[PyTree]) -> tuple[list[int], np.ndarray]:
    """Return where the leaf of each gradient stands among all of params, and which have None.

    None may stand for a whole subtree of params, or for None in params.
    """
    sizes = [len(jax.tree.leaves(buffer)) for buffer in buffers]
    absent = np.array([gradient is None for gradient in gradients], bool)
    places = np.cumsum([0, *sizes])[:-1]
    return [int(place) for place in places], np.repeat(absent, sizes)


def _read_evaluation(hp: Hyperparameters, state: MomentumState, params: PyTree) -> PyTree | None:
    c = _place_learning_rate(_coefficients_now(hp, state.carry)[0], hp)

    def offset(p: Any, *buffers: Any) -> jax.Array:
        dtype = wide_dtype(p)
        weights = jnp.asarray(c.evaluate, dtype)
        terms = [weights[i] * m.astype(dtype) for i, m in enumerate(buffers)]
        return sum(terms, jnp.zeros_like(p, dtype))

    return jax.tree.map(offset, params, *state.buffers)


def _filter_leaf(c: Coefficients, gradient: Any, *buffers: Any) -> tuple[Any, ...]:
    """Return one leaf's new update and new buffers; a leaf without gradient stays as it is."""
    if gradient is None:
        return (None, *buffers)
    dtype = wide_dtype(buffers[0] if buffers else gradient)
    _check_complex(dtype, gradient, c)
    c = jax.tree.map(lambda x: x.astype(dtype), c)
    g, *old = (jnp.asarray(x, dtype) for x in (gradient, *buffers))
    new = [c.decay[i] * m + c.gain[i] * g for i, m in enumerate(old)]
    terms = [] if c.direct is None else [c.direct * g]
    terms += [] if c.read is None else [c.read[i] * m for i, m in enumerate(old)]
    terms += [] if c.read_new is None else [c.read_new[i] * m for i, m in enumerate(new)]
    update = sum(terms[1:], terms[0]) if terms else jnp.zeros_like(g)
    real = is_complex(dtype) and not jnp.iscomplexobj(gradient)
    return (update.real if real else update, *new)


def _check_complex(dtype: Any, gradient: Any, c: Coefficients) -> None:
    """Refuse what would lose its imaginary part in real buffers."""
    if is_complex(dtype):
        return
    if jnp.iscomplexobj(gradient):
        raise TypeError(
            "the gradient is complex but the buffers are real; init with complex params."
        )
    if any(map(jnp.iscomplexobj, jax.tree.leaves(c))):
        raise TypeError(
            "complex coefficients need complex buffers: give scale_by_momentum a complex "
            "accumulator_dtype, such as jnp.complex64."
        )


def _coefficients_now(hp: Hyperparameters, carry: PyTree) -> tuple[Coefficients, PyTree]:
    """Return the coefficients of this step, before the learning rate, and the next carry."""
    settings = hp["settings"]
    values = without_learning_rate(hp)
    for name, value in values.items():
        if isinstance(value, NUMBER):
            check_rank(name, jnp.shape(value), name in vector_defaults(settings.coefficients_fn))
    found = settings.coefficients_fn(**values)
    carry, c = found.step(carry) if isinstance(found, Recurrence) else (carry, found)
    _check_lengths(c, settings.buffers)
    return c, carry


def _check_lengths(c: Coefficients, buffers: int) -> None:
    vectors = {f.name: getattr(c, f.name) for f in dataclasses.fields(c) if f.name != "direct"}
    shapes = {n: jnp.shape(v) for n, v in vectors.items() if v is not None}
    direct = () if c.direct is None else jnp.shape(c.direct)
    if direct != () or set(shapes.values()) != {(buffers,)}:
        shapes["direct"] = direct
        raise ValueError(
            f"this filter has {buffers} buffers, but the shapes of its coefficients are {shapes}: "
            "each is one number for each buffer, and direct is one number. A schedule returns as "
            "many numbers as there are buffers; a batch of filters is mapped over by jax.vmap."
        )


def _place_learning_rate(c: Coefficients, hp: Hyperparameters) -> Coefficients:
    """Multiply by -learning_rate what leaves the filter, or what enters it."""
    position = hp["settings"].learning_rate_position
    if position is None:
        return c
    rate = hp.get("learning_rate", 1.0)
    check_rank("learning_rate", jnp.shape(rate))
    inside = position == "inside"
    scaled = ("gain", "direct") if inside else ("read", "direct", "evaluate", "read_new")
    fields = {name: getattr(c, name) for name in scaled if getattr(c, name) is not None}
    return dataclasses.replace(c, **{n: -floating(rate) * x for n, x in fields.items()})


def _at_first_gradient(c: Coefficients) -> Coefficients:
    """Return coefficients that act on zero buffers as if each new buffer was the gradient."""
    changed = {"gain": jnp.ones_like(c.gain)}
    if c.read is not None:
        delay = c.decay == 0
        before = jnp.where(delay, 1.0, (1 - c.gain) / jnp.where(delay, 1.0, c.decay))
        changed["direct"] = jnp.sum(c.read * before) + (0.0 if c.direct is None else c.direct)
    return dataclasses.replace(c, **changed)


def _choose(first: jax.Array, initial: Coefficients, usual: Coefficients) -> Coefficients:
    direct = initial.direct
    if direct is not None:
        zero = jnp.zeros_like(direct)
        direct = jnp.where(first, direct, zero if usual.direct is None else usual.direct)
    gain = jnp.where(first, initial.gain, usual.gain)
    return dataclasses.replace(usual, gain=gain, direct=direct)


def _refuse_uncalled(coefficients: Any) -> None:
    function = coefficients
    while isinstance(function, functools.partial | Captured):
        function = function.function if isinstance(function, Captured) else function.func
    if str(getattr(function, "__module__", "")).startswith("jaxmom.coefficients"):
        name = function.__name__
        raise TypeError(
            f"{name} is a function of hyperparameters, not of the count; call it, as in "
            f"jm.scale_by_momentum(jm.coefficients.{name}(...))."
        )


def _check_filter(hp: Hyperparameters) -> None:
    settings = hp["settings"]
    check_bounds("learning_rate", hp.get("learning_rate"), "[0, inf)")
    _refuse_uncalled(hp.get("coefficients"))
    buffers = probe(settings.coefficients_fn, hp).buffers
    if buffers != settings.buffers:
        raise ValueError(
            f"this optimizer has {settings.buffers} buffers, the new coefficients are for "
            f"{buffers}; make a new optimizer, or pad with zeros."
        )


def _zero_buffer(leaf: Any, settings: _Settings) -> jax.Array:
    dtype = state_dtype(leaf, settings.accumulator_dtype)
    if settings.is_complex and is_complex(dtype):
        raise TypeError(
            "this method has complex buffers for real params; give complex ones as two real arrays."
        )
    dtype = np.result_type(dtype, np.complex64) if settings.is_complex else dtype
    # Zeros like a leaf follow its sharding.
    return jnp.zeros_like(leaf, dtype=dtype)
