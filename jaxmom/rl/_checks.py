"""Checks of arguments that several functions of `jaxmom.rl` share."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.transform import NUMBER, Optimizer

MAX_COUNT = 2**31 - 1  # steps and iterations are counted in int32


def check_interval(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    is_open: bool = False,
    meaning: str = "",
) -> None:
    """Raise ValueError if a number that is known now is outside [low, high], or [low, high)."""
    known = read_number(value)
    if known is None:
        return
    below = known < high if is_open else known <= high
    if not ((known >= low) & below).all():
        interval = f"[{low:g}, {high:g}{')' if is_open or high == math.inf else ']'}"
        kind, stop = (f"{meaning}, ", ";") if meaning else ("", ",")
        raise ValueError(f"{name} is {kind}in {interval}{stop} got {value}.")


def check_scalar(name: str, value: Any) -> None:
    """Raise an error unless a value is a scalar, as it is in each lane of a vmap."""
    if not isinstance(value, (*NUMBER, tuple)):  # tracers are numbers, vectors may be tuples
        raise TypeError(f"{name} is a number, not {value!r}.")
    chex.assert_rank(
        value,
        0,
        custom_message=f"{name} is one number; use jax.vmap or jaxmom.sweep for several.",
        exception_type=ValueError,
    )


def check_table(name: str, value: ArrayLike, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array is [states, actions]."""
    if jnp.shape(value) != shape:
        raise ValueError(f"{name} is [states, actions] = {shape}, not {jnp.shape(value)}.")


def check_count(name: str, count: int) -> None:
    """Raise ValueError if a number of steps does not fit the counters."""
    if count > MAX_COUNT:
        raise ValueError(f"{name} is at most 2^31 - 1, the limit of int32 counters; got {count}.")


def check_optimizer(optimizer: Optimizer, q: jax.Array) -> None:
    """Raise ValueError if an optimizer works with the value of a loss, but not without it."""

    def value_fn(params: jax.Array, visited: jax.Array | None = None) -> jax.Array:
        del visited  # optax refuses an extra argument that value_fn does not take
        return jnp.sum(params)

    offered = {"value": jnp.sum(q), "grad": q, "value_fn": value_fn}
    if _accepts(optimizer, q, {}) or not _accepts(optimizer, q, offered):
        return  # in the second case its own error is raised when the run is traced
    needed = [
        name
        for name in offered
        if not _accepts(optimizer, q, {k: v for k, v in offered.items() if k != name})
    ]
    raise ValueError(
        f"this optimizer needs {', '.join(map(repr, needed))} at every update, but the "
        "semi-gradient of a temporal difference is the gradient of no loss; use one that needs "
        "only gradients and params."
    )


def read_number(value: Any) -> np.ndarray | None:
    """Return a number or an array whose value is known now; None for tracers and schedules."""
    known = isinstance(value, NUMBER) and not isinstance(value, Tracer)
    return np.asarray(value) if known else None


def _accepts(optimizer: Optimizer, q: jax.Array, extra: dict[str, Any]) -> bool:
    """Whether one update can be traced with the given extra arguments."""

    def update_once(q: jax.Array) -> Any:
        visited = jnp.zeros(q.shape, bool)
        return optimizer.update(q, optimizer.init(q), q, visited=visited, **extra)

    try:
        jax.eval_shape(update_once, q)
    except TypeError:  # a missing keyword argument is one
        return False
    return True
