"""Averages of params beside training: `average`, and `read_averages` for several at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmom.filters import as_hyperparameter, check_bounds
from jaxmom.transform import (
    EvaluatedElsewhere,
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_leaf,
    as_plain_vector,
    as_pytree,
    assemble,
    require_params,
    state_dtype,
)


class _Averages(NamedTuple):
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    averages: tuple[PyTree, ...]
    inner: PyTree


class AverageState(_Averages, EvaluatedElsewhere):
    """State of `average`.

    Attributes:
      count: int32 [], the updates made so far.
      averages: Trees like params, the averages without the newest params: later stages may still
        change these, so that only the next update knows them.
      inner: The state of the optimizer inside.
    """

    __slots__ = ()


def average(
    optimizer: optax.GradientTransformation,
    half_life: ScalarOrSchedule | Sequence[Any] | None = None,
    beta: ScalarOrSchedule | Sequence[Any] | None = None,
) -> Optimizer:
    """Keep an average of params beside training, which it does not change.

    ``x_0 = y_0; x_t = x_{t-1} + w (y_t - x_{t-1})``, where y_t are the params after t updates and w
    is ``1 - beta``, or ``1 - 2^(-1/h)`` for a half-life of h updates, or ``1/t`` if neither is
    given: then x_t is the mean of y_1 to y_t. `jaxmom.eval_params`, and so the record "eval_value",
    give x_t. In a `jaxmom.chain` it may be any stage; it averages the params that result from all
    stages.

    Args:
      optimizer: Any transformation.
      half_life: h > 0, in updates. A sequence of them keeps several averages: `eval_params` gives
        the first, and `jaxmom.read_averages` all.
      beta: In [0, 1), instead of `half_life`; a number, a schedule or a sequence.

    Returns:
      A pytree optimizer; its state is an `AverageState`. Its `update` needs params.

    Raises:
      ValueError: Both are given, a plain number is out of bounds, or params are missing.

    Source:
      The mean: Polyak and Juditsky 1992 (doi 10.1137/0330046).

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.average(jm.gradient_descent(0.5), half_life=1.0)
      >>> y, state = jnp.array(8.0), optimizer.init(jnp.array(8.0))
      >>> update, state = optimizer.update(jnp.array(8.0), state, y)  # y goes to 4
      >>> print(jm.eval_params(optimizer, y + update, state))
      6.0
    """
    if half_life is not None and beta is not None:
        raise ValueError(
            f"average got half_life = {half_life!r} and beta = {beta!r}; give one of them, or "
            "neither for the mean of all params."
        )
    given = {"half_life": half_life, "beta": beta}
    given = {name: as_plain_vector(value) for name, value in given.items() if value is not None}
    several = any(isinstance(value, list | tuple | np.ndarray) for value in given.values())
    number = len(next(iter(given.values()))) if several else 1
    values = {name: as_leaf(name, value) for name, value in given.items()}
    static = (("several", several), ("number", number))
    return assemble(_AVERAGE, static, values, [as_pytree(optimizer)], ())


def read_averages(
    optimizer: optax.GradientTransformation, params: PyTree, state: AverageState
) -> tuple[PyTree, ...]:
    """Return all averages that an `average` keeps, in the order of its half-lives or betas.

    Args:
      optimizer: An optimizer that `average` has made.
      params: The current parameters.
      state: The optimizer's state that belongs to them.

    Returns:
      Trees like params.

    Raises:
      TypeError: The optimizer was not made by `average`.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.average(jm.gradient_descent(0.5), beta=(0.0, 0.5))
      >>> y, state = jnp.array(8.0), optimizer.init(jnp.array(8.0))
      >>> update, state = optimizer.update(jnp.array(8.0), state, y)
      >>> print(*jm.read_averages(optimizer, y + update, state))
      4.0 6.0
    """
    update: Any = optimizer.update
    if getattr(getattr(update, "func", None), "fns", None) is not _AVERAGE:
        raise TypeError("read_averages needs an optimizer that jm.average has made.")
    hp, own = update.func.resolve(*update.args, state)
    return _average_with(hp, own, params)


# The average as pure functions; ``hp["transforms"]`` holds the child's `init` or `update`.


def _init_average(hp: Hyperparameters, params: PyTree) -> AverageState:
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=state_dtype(p)), params)
    averages = tuple(zeros for _ in range(hp["number"]))
    return AverageState(jnp.zeros([], jnp.int32), averages, hp["transforms"][0](params))


def _update_average(
    hp: Hyperparameters, updates: PyTree, state: AverageState, params: PyTree, **extra: Any
) -> tuple[PyTree, AverageState]:
    require_params("average", params)
    averages = _average_with(hp, state, params)
    updates, inner = hp["transforms"][0](updates, state.inner, params, **extra)
    count: Any = optax.safe_increment(state.count)
    return updates, AverageState(count, averages, inner)


def _average_with(hp: Hyperparameters, state: AverageState, params: PyTree) -> tuple[PyTree, ...]:
    """Return the averages with the current params in them."""
    weights = _weights(hp, state.count)

    def join(weight: Any, point: Any, old: jax.Array) -> jax.Array:
        new = jnp.asarray(point, old.dtype)
        moved = old + jnp.asarray(weight, old.dtype) * (new - old)
        return jnp.where(state.count == 0, new, moved)

    return tuple(
        jax.tree.map(lambda p, a, w=weight: join(w, p, a), params, average)
        for weight, average in zip(weights, state.averages, strict=True)
    )


def _weights(hp: Hyperparameters, count: jax.Array) -> list[Any]:
    if "beta" in hp:
        beta = as_hyperparameter("beta", hp["beta"], "[0, 1)", per_buffer=hp["several"])
        weights = 1 - beta
    elif "half_life" in hp:
        life = hp["half_life"]
        life = as_hyperparameter("half_life", life, "(0, inf)", per_buffer=hp["several"])
        weights = -jnp.expm1(-np.log(2.0) / life)
    else:
        weights = 1 / jnp.maximum(count, 1).astype(float)
    if not hp["several"]:
        return [weights]
    weights = jnp.asarray(weights)
    _check_number(hp, "beta" if "beta" in hp else "half_life", jnp.shape(weights))
    return [weights[i] for i in range(hp["number"])]


def _read_average(hp: Hyperparameters, state: AverageState, params: PyTree) -> PyTree:
    first = _average_with(hp, state, params)[0]
    return jax.tree.map(lambda a, p: a - jnp.asarray(p, a.dtype), first, params)


def _check_average(hp: Hyperparameters) -> None:
    for name, bounds in (("half_life", "(0, inf)"), ("beta", "[0, 1)")):
        value = hp.get(name)
        for number in value if isinstance(value, tuple) else (value,):
            check_bounds(name, number, bounds)
        if isinstance(value, tuple):
            _check_number(hp, name, (len(value),))


def _check_number(hp: Hyperparameters, name: str, shape: tuple[int, ...]) -> None:
    expected = (hp["number"],) if hp["several"] else ()
    if shape != expected:
        raise ValueError(
            f"{name} has shape {shape}, but this average was made for {expected}; make a new "
            "average for another number of them. A batch is mapped over by jax.vmap."
        )


_AVERAGE = TransformFns(
    _init_average, _update_average, _read_average, _check_average, name="average", absolute=True
)
