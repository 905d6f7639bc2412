"""Momentum methods as data: the coefficients of a linear filter of the gradient.

With k buffers and the step's coefficients, every method of `jaxmom.coefficients` is

    m_i' = decay_i m_i + gain_i g                                     i = 1 ... k
    u    = direct g + sum_i read_i m_i + sum_i read_new_i m_i'

and m' are the buffers of the next step. Reading the new buffers is how most papers write, and what
compiles best (a step in place); reading the old ones is more general, for it holds pure delays
(decay 0). What is not linear (sign, norm, clip, preconditioner) is a neighbor in the chain.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom._captures import as_partial
from jaxmom._values import NUMBER, PyTree, as_plain, floating, is_plain_number

Number: TypeAlias = float | np.ndarray | jax.Array


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False)
class Coefficients:
    """The coefficients of a momentum filter with k buffers, for one step.

    `jaxmom.coefficients` has them for the named methods, and `reading_new` makes them from a
    recurrence that reads its buffers after it has written them. None stands for zeros that the
    compiled program need not multiply by.

    Attributes:
      decay: [..., k] what a buffer keeps of itself.
      gain: [..., k] what it takes of the gradient.
      read: [..., k] or None, what the update takes of the old buffers.
      direct: [...] or None, what the update takes of the gradient itself.
      evaluate: [..., k] or None: `eval_params` is params + sum_i evaluate_i m_i (times what scales
        the update), with the buffers as the next step will find them.
      read_new: [..., k] or None, what the update takes of the new buffers.

    Raises:
      ValueError: The vectors differ in length.

    Example:
      >>> import jaxmom as jm
      >>> jm.Coefficients(decay=[0.9], gain=[1.0, 2.0], read=[0.9], direct=1.0)
      Traceback (most recent call last):
      ...
      ValueError: a filter needs one number for each buffer in every vector, but ...
    """

    decay: Any
    gain: Any
    read: Any = None
    direct: Any = None
    evaluate: Any = None
    read_new: Any = None

    def __post_init__(self):
        names = [name for name in _VECTORS if getattr(self, name) is not None]
        for name in names:
            object.__setattr__(self, name, _vector(getattr(self, name)))
        if self.direct is not None:
            object.__setattr__(self, "direct", floating(self.direct))
        lengths = {name: jnp.shape(getattr(self, name))[-1] for name in names}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "a filter needs one number for each buffer in every vector, but their lengths are "
                f"{lengths}; write zeros for what a method does not use."
            )

    def reading_old(self) -> "Coefficients":
        """Return the same filter without `read_new`: (A, B, C, D) of control, with A diagonal."""
        if self.read_new is None:
            return self
        read = self.read_new * self.decay
        direct = jnp.sum(self.read_new * self.gain, axis=-1)
        return dataclasses.replace(
            self,
            read=read if self.read is None else self.read + read,
            direct=direct if self.direct is None else self.direct + direct,
            read_new=None,
        )

    def tree_flatten_with_keys(self):
        """Return the fields as children, each under its name."""
        fields = dataclasses.fields(self)
        return [(jax.tree_util.GetAttrKey(f.name), getattr(self, f.name)) for f in fields], None

    @classmethod
    def tree_unflatten(cls, _, children):
        """Skip all checks: JAX also puts axes, shapes and sentinels into a pytree."""
        new = object.__new__(cls)
        for field, child in zip(dataclasses.fields(cls), children, strict=True):
            object.__setattr__(new, field.name, child)
        return new


_VECTORS = ("decay", "gain", "read", "evaluate", "read_new")


@functools.partial(jax.tree_util.register_dataclass, data_fields=["step"], meta_fields=["start"])
@dataclasses.dataclass(frozen=True, eq=False)
class Recurrence:
    """Coefficients that follow a recurrence of their own, such as Nesterov's t_k.

    Attributes:
      start: What the recurrence carries into the first step: a plain number or a tuple of them, the
        same for all hyperparameters.
      step: ``step(carry) -> (next carry, Coefficients)``; a `jax.tree_util.Partial` if it has
        hyperparameters.
    """

    start: PyTree
    step: "StepFn"

    def __post_init__(self):
        if callable(self.step):  # and no stand-in of JAX for a leaf
            object.__setattr__(self, "step", as_partial(self.step))


# (carry) -> (next carry, coefficients of this step)
StepFn: TypeAlias = Callable[[PyTree], tuple[PyTree, Coefficients]]
# Constant coefficients, a recurrence, or (int32 count) -> coefficients of this step.
CoefficientsOrSchedule: TypeAlias = Coefficients | Recurrence | Callable[[Any], Coefficients]
# (**hyperparameters) -> coefficients: what each function of `jaxmom.coefficients` is.
CoefficientsFn: TypeAlias = Callable[..., CoefficientsOrSchedule]


def reading_new(
    decay: Any,
    gain: Any,
    read: Any,
    direct: ArrayLike | None = None,
    evaluate: Any = None,
) -> Coefficients:
    """Return coefficients of ``m_i <- decay_i m_i + gain_i g; u = direct g + sum_i read_i m_i``.

    Args:
      decay: [..., k], or a number for one buffer.
      gain: As `decay`.
      read: As `decay`; what the update takes of the buffers after they were written.
      direct: A number, or None for zero.
      evaluate: As in `Coefficients`.

    Returns:
      `Coefficients` with `read_new`.

    Example:
      >>> import jaxmom as jm
      >>> heavy_ball = jm.reading_new(decay=0.5, gain=1.0, read=1.0)
      >>> print(heavy_ball.reading_old().read, heavy_ball.reading_old().direct)
      [0.5] 1.0
    """
    return Coefficients(decay, gain, None, direct, evaluate, read)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["labels"])
@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """A batch of filters: `values` has a leading axis, and `labels` are the names along it."""

    labels: tuple[str, ...]
    values: Coefficients


def stack(filters: Mapping[str, Coefficients]) -> Stack:
    """Make methods an axis: pad filters with zeros to the same number of buffers and stack them.

    A buffer whose coefficients are all zero changes nothing, so padding is exact.

    Args:
      filters: Label -> constant `Coefficients`, n of them.

    Returns:
      Labels, and `Coefficients` of shapes [n, k] and [n]; map over it with `jax.vmap`.

    Raises:
      ValueError: There is nothing to stack.
      TypeError: One of them varies with the step: it is a program, not a row of numbers.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> methods = jm.stack({
      ...     "nesterov": jm.coefficients.nesterov(beta=0.9),
      ...     "aggmo": jm.coefficients.aggmo(betas=(0.0, 0.9, 0.99)),
      ... })
      >>> methods.labels, methods.values.decay.shape
      (('nesterov', 'aggmo'), (2, 3))
      >>> @jax.vmap
      ... def first_update(method):
      ...     optimizer = jm.scale_by_momentum(method.values)
      ...     return optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))[0]
      >>> first_update(methods).shape
      (2,)
    """
    if not filters:
        raise ValueError("stack needs at least one filter.")
    for label, value in filters.items():
        if callable(value):
            raise TypeError(f"{label} is a function; call it with its hyperparameters.")
        if not isinstance(value, Coefficients):
            raise TypeError(f"{label} is {value!r}, not constant Coefficients; run it by itself.")
    k = max(value.decay.shape[-1] for value in filters.values())
    names = [field.name for field in dataclasses.fields(Coefficients)]
    used = {n for n in names for value in filters.values() if getattr(value, n) is not None}
    padded = [_filled(_padded(value, k), used) for value in filters.values()]
    return Stack(tuple(filters), jax.tree.map(lambda *rows: jnp.stack(rows), *padded))


def as_hyperparameter(
    name: str, value: Any, bounds: str = "(-inf, inf)", *, per_buffer: bool = False
) -> Number:
    """Return a hyperparameter of a method, checked: a float or an array of floats.

    Args:
      name: For the message.
      value: A number, an array, a tracer, or a sequence of them.
      bounds: The admissible plain numbers, as in "[0, 1)". Arrays of JAX are not checked: they may
        be traced, and what happens outside may be the question.
      per_buffer: Whether the hyperparameter is a vector, with one number for each buffer.

    Returns:
      A plain number or NumPy array stays one, in float64: near 1, ``1 - beta`` has few digits in
      float32. A traced beta has lost them before it comes here.

    Raises:
      ValueError: A plain number is out of bounds, or the value is a batch.
      TypeError: The value is not a number.

    Example:
      >>> from jaxmom.filters import as_hyperparameter
      >>> as_hyperparameter("beta", 1.5, "[0, 1)")
      Traceback (most recent call last):
      ...
      ValueError: beta = 1.5 is outside of [0, 1); to study that, give jnp.array(1.5).
    """
    value = as_plain(value)
    numbers = list(map(as_plain, value)) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(x, NUMBER) and not isinstance(x, bool) for x in numbers):
        raise TypeError(
            f"{name} = {value!r} is not a number; for other values in other parts of params, "
            "give each part an optimizer of its own, as in jm.partition."
        )
    check_rank(name, _shape_of(value), per_buffer)
    for number in numbers:
        check_bounds(name, number, bounds)
    # In float64 until the coefficients are formed, so that 1 - beta keeps its digits.
    if is_plain_number(value):
        return float(value)
    concrete = isinstance(value, np.ndarray) or all(map(is_plain_number, numbers))
    if concrete and not np.iscomplexobj(value):
        return np.asarray(value, float)
    return _vector(value) if per_buffer else floating(value)


def check_bounds(name: str, number: Any, bounds: str) -> None:
    """Raise ValueError if a plain number is out of bounds; any other value is admitted.

    Example:
      >>> check_bounds("weight_decay", -1.0, "[0, inf)")
      Traceback (most recent call last):
      ...
      ValueError: weight_decay = -1.0 is outside of [0, inf); to study that, give jnp.array(-1.0).
    """
    if is_plain_number(number) and not _is_within(number, bounds):
        raise ValueError(
            f"{name} = {number} is outside of {bounds}; to study that, give jnp.array({number})."
        )


def check_period(owner: str, period: Any) -> None:
    """Raise ValueError if a plain period is not a whole number of updates, at least 1.

    Args:
      owner: Whose period it is, for the message.
      period: A number, a schedule, a tracer or None.
    """
    check_bounds("period", period, "[1, inf)")
    if is_plain_number(period) and period != round(period):
        raise ValueError(f"period = {period} of {owner} counts updates; give a whole number.")


def check_rank(name: str, shape: tuple[int, ...], per_buffer: bool = False) -> None:
    """Raise ValueError if a hyperparameter is a batch and not one number (for each buffer).

    Example:
      >>> check_rank("beta", (3,))
      Traceback (most recent call last):
      ...
      ValueError: beta has shape (3,), but it is one number; a batch of hyperparameters is ...
    """
    if len(shape) != int(per_buffer):
        expected = "a vector, one number for each buffer" if per_buffer else "one number"
        raise ValueError(
            f"{name} has shape {shape}, but it is {expected}; a batch of hyperparameters is mapped "
            "over by jax.vmap, as in jax.vmap(train)(optimizer)."
        )


def _shape_of(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        return jnp.shape(value)
    shapes = [jnp.shape(number) for number in value]
    return (len(shapes), *(shapes[0] if shapes else ()))


def as_curvatures(mu: Any, L: Any) -> tuple[Number, Number]:
    """Return the bounds mu and L of the curvature as hyperparameters; plain ones in their order."""
    least, greatest = (
        as_hyperparameter(name, value, "(0, inf)") for name, value in (("mu", mu), ("L", L))
    )
    if isinstance(least, float) and isinstance(greatest, float) and least > greatest:
        raise ValueError(
            f"mu = {mu} is above L = {L}, but mu is the least curvature and L the greatest; "
            "swap them."
        )
    return least, greatest


def _is_within(number: float, bounds: str) -> bool:
    low, high = map(float, bounds[1:-1].split(","))
    above = number >= low if bounds[0] == "[" else number > low
    return above and (number <= high if bounds[-1] == "]" else number < high)


def _vector(x: Any) -> jax.Array:
    if isinstance(x, list | tuple) and x:
        return jnp.stack([floating(number) for number in x], axis=-1)
    x = floating(x)
    return x[None] if x.ndim == 0 else x


def _padded(c: Coefficients, buffers: int) -> Coefficients:
    missing = [(0, 0)] * (c.decay.ndim - 1) + [(0, buffers - c.decay.shape[-1])]
    vectors = {name: getattr(c, name) for name in _VECTORS}
    padded = {n: None if v is None else jnp.pad(v, missing) for n, v in vectors.items()}
    return dataclasses.replace(c, **padded)


def _filled(c: Coefficients, used: set[str]) -> Coefficients:
    """Write out the zeros for what other filters in the stack use."""
    zeros = {"direct": jnp.zeros_like(c.decay[..., 0]) if c.decay.shape[-1] else jnp.zeros([])}
    zeros |= dict.fromkeys(_VECTORS, jnp.zeros_like(c.decay))
    missing = {name: zeros[name] for name in used if getattr(c, name) is None}
    return dataclasses.replace(c, **missing)
