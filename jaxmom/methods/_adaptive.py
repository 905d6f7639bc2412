"""States, scalars and checks that methods share whose momentum depends on the data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmom._trees import inner_product, vary_with
from jaxmom.filters import as_hyperparameter, check_bounds
from jaxmom.transform import NUMBER, Hyperparameters, PyTree, state_dtype


class PolyakState(NamedTuple):
    """State of `adaptive_heavy_ball`: the last step, gradient and f - f*."""

    step: PyTree
    gradient: PyTree
    excess: jax.Array  # []


class MomoState(NamedTuple):
    """State of `momo`: the averages of gradients, of losses, and of <g, y>, and the bound."""

    gradient: PyTree
    value: jax.Array  # []
    product: jax.Array  # []
    is_first: jax.Array  # bool []
    lower_bound: jax.Array | None  # [], the estimate of the least loss, if it is adapted


class StormState(NamedTuple):
    """State of `storm` and `adaptive_storm`."""

    estimate: PyTree  # d
    squares: jax.Array  # [], the sum of the squared norms of the gradients so far
    is_first: jax.Array  # bool []


class YellowfinState(NamedTuple):
    """State of `yellowfin`: the momentum, and averages that begin at zero."""

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    velocity: PyTree
    gradient: PyTree
    squares: tuple[jax.Array, ...]  # the last squared norms, the newest first; -1 before the start
    averages: tuple[jax.Array, ...]  # as `yellowfin` names them


def zeros_like(params: PyTree) -> PyTree:
    """Return buffers like params, in float32 at least."""
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=state_dtype(p)), params)


def scalar_like(params: PyTree, value: float = 0.0) -> jax.Array:
    """Return the start of a scalar of the state."""
    return vary_with(jnp.asarray(value, float), params)


def cast(number: Any, leaf: jax.Array) -> jax.Array:
    """Return a number in the dtype of a leaf."""
    return jnp.asarray(number, leaf.dtype)


def squared_norm(updates: PyTree) -> jax.Array:
    """Return the squared norm of all of the gradient."""
    return inner_product(updates, updates)


def divide(numerator: Any, denominator: jax.Array, otherwise: Any = 0.0) -> jax.Array:
    """Divide, with something else where the denominator is zero, and finite derivatives."""
    is_zero = denominator == 0
    safe = jnp.where(is_zero, jnp.ones_like(denominator), denominator)
    return jnp.where(is_zero, jnp.asarray(otherwise, float), numerator / safe)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Return the square root, with a derivative of zero at zero."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def loss_of(extra: dict[str, Any], name: str) -> jax.Array:
    """Return the extra argument `value` of an update of the method `name`."""
    if extra.get("value") is None:
        raise ValueError(
            f"{name} needs the loss at every update: call update(gradient, state, params, "
            "value=loss), or use jaxmom.optimize, which passes it."
        )
    return jnp.asarray(extra["value"], float)


def require_params(params: PyTree, name: str) -> None:
    """Raise ValueError if an update of the method `name` has no params."""
    if params is None:
        raise ValueError(
            f"{name} needs params at every update: call update(gradient, state, params, ...)."
        )


def check_ranks(hp: Hyperparameters) -> None:
    """Raise ValueError if a hyperparameter is a batch."""
    for name, value in hp.items():
        if name not in ("transforms", "window", "adapt_lower_bound"):
            as_hyperparameter(name, value)


def check_within(bounds: dict[str, str]) -> Callable[[Hyperparameters], None]:
    """Return the check that plain numbers are in their bounds."""
    return _Bounds(tuple(bounds.items()))


class _Bounds(NamedTuple):
    """A check of plain numbers, which compares by value, as the functions of an optimizer do."""

    bounds: tuple[tuple[str, str], ...]

    def __call__(self, hp: Hyperparameters) -> None:
        """Raise ValueError or TypeError for the first that is out of bounds or no number."""
        for name, within in self.bounds:
            check_bounds(name, hp[name], within)
            if not isinstance(hp[name], NUMBER) and not callable(hp[name]):
                as_hyperparameter(name, hp[name])
