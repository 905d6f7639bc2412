"""The stages after the filter of a method: weight decay, ascent, sign, and learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmom._lift import lift
from jaxmom._per_part import make_per_part
from jaxmom.combine import chain
from jaxmom.filters import as_hyperparameter, check_bounds
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    require_params,
    transformation,
    wide_dtype,
)


def descend(
    *stages: Optimizer, learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule | None
) -> Optimizer:
    """Chain stages, weight decay and learning rate: ``y <- y - alpha (u + lambda y)``."""
    decay = add_decayed_weights(weight_decay)
    return chain(*stages, *decay, scale_by_learning_rate(learning_rate))


def descend_proximally(
    *stages: Optimizer, learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule | None
) -> Optimizer:
    """Chain stages and proximal weight decay: ``y <- (y - alpha u) / (1 + alpha lambda)``."""
    if weight_decay is None:
        return chain(*stages, scale_by_learning_rate(learning_rate))
    hp = {"weight_decay": weight_decay, "learning_rate": learning_rate}
    return chain(*stages, make_per_part(_make_proximal_step, hp))


def add_decayed_weights(weight_decay: ScalarOrSchedule | None) -> list[Optimizer]:
    """Return the stage that adds ``weight_decay * params``, or none, which needs no params."""
    if weight_decay is None:
        return []
    return [make_per_part(_make_decay, {"weight_decay": weight_decay})]


def scale_by_learning_rate(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Return the stage that multiplies by -learning_rate."""
    return make_per_part(_make_scale, {"learning_rate": learning_rate})


def _make_decay(**hp: Any) -> Optimizer:
    return transformation(_stateless, _add_weights, hp, check=_check_sign)


def _make_scale(**hp: Any) -> Optimizer:
    return transformation(_stateless, _scale, hp, check=_check_sign)


def _make_proximal_step(**hp: Any) -> Optimizer:
    return transformation(_stateless, _step_proximally, hp, check=_check_sign)


def _stateless(hp: Hyperparameters, params: PyTree) -> optax.EmptyState:
    del hp, params
    return optax.EmptyState()


def _check_sign(hp: Hyperparameters) -> None:
    for name, value in hp.items():
        check_bounds(name, value, "[0, inf)")


def _add_weights(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del extra
    require_params("weight decay", params)

    number = as_hyperparameter("weight_decay", hp["weight_decay"])

    def decay(update: Any, weight: Any) -> jax.Array | None:
        if update is None:  # a frozen leaf
            return None
        dtype = wide_dtype(update)
        u, p, factor = (jnp.asarray(x, dtype) for x in (update, weight, number))
        return u + factor * p

    return jax.tree.map(decay, updates, params, is_leaf=lambda leaf: leaf is None), state


def _step_proximally(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    updates, _ = _add_weights(hp, updates, state, params, **extra)
    names = ("learning_rate", "weight_decay")
    rate, decay = (as_hyperparameter(name, hp[name]) for name in names)
    return _scale({"learning_rate": rate / (1 + rate * decay)}, updates, state, params)


def _scale(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    rate = as_hyperparameter("learning_rate", hp["learning_rate"])

    def scale(update: Any) -> jax.Array:
        dtype = wide_dtype(update)
        return -jnp.asarray(rate, dtype) * jnp.asarray(update, dtype)

    return jax.tree.map(scale, updates), state


def _negate(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del hp, params, extra
    return jax.tree.map(jnp.negative, updates), state


ASCEND = transformation(_stateless, _negate, {})
SIGN = lift(optax.scale_by_sign)()
