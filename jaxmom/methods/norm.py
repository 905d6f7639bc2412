"""Methods that step by a fixed length, as optimizers: the momentum over its norm."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmom import coefficients
from jaxmom.filters import as_hyperparameter
from jaxmom.methods._heads import check_number, map_pairs, normalize, scale_by_norm
from jaxmom.methods._stages import descend
from jaxmom.momentum import ExtrapolatedState, momentum_method
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    state_dtype,
    transformation,
)


def normalized_momentum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    per_array: bool = False,
) -> Optimizer:
    """Normalized SGD with momentum: ``m <- beta m + (1-beta) g; y <- y - alpha m / |m|``.

    For any other filter before the norm, chain it with `scale_by_norm`.

    Args:
      learning_rate: alpha, the length of the step.
      beta: In [0, 1).
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.
      per_array: Whether each array of params has its own norm, and not all of them together.

    Source:
      Cutkosky and Mehta 2020 (arXiv 2002.03305).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.normalized_momentum(0.1, beta=0.9)
    """
    filtered = momentum_method(coefficients.ema_momentum, None, beta=beta)
    stages = (filtered, scale_by_norm(per_array))
    return descend(*stages, learning_rate=learning_rate, weight_decay=weight_decay)


def nigt(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, per_array: bool = False
) -> Optimizer:
    """Normalized momentum with implicit gradient transport.

    ``m <- beta m + (1-beta) grad f(y); x' = x - eta m / |m|; y = x' + beta/(1-beta) (x' - x)``.
    params is y, where gradients are taken; `eval_params` is x. m starts at zero, as in the authors'
    code (google-research, nigt_optimizer), which has a trust ratio in the place of 1 / |m|.

    Args:
      learning_rate: eta, the length of the step of x.
      beta: In [0, 1).
      per_array: Whether each array of params has its own norm, and not all of them together.

    Source:
      Cutkosky and Mehta 2020 (arXiv 2002.03305), NIGT, with constant parameters.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nigt(0.1, beta=0.9)
    """
    hp = {"learning_rate": learning_rate, "beta": beta, "per_array": per_array}
    return transformation(_init_nigt, _transport, hp, readout=_back_to_x, check=_check_nigt)


def _check_nigt(hp: Hyperparameters) -> None:
    check_number("learning_rate", hp["learning_rate"], "[0, inf)")
    check_number("beta", hp["beta"], "[0, 1)")


def _init_nigt(hp: Hyperparameters, params: PyTree) -> ExtrapolatedState:
    del hp
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, state_dtype(p)), params)
    return ExtrapolatedState((zeros, zeros))  # m, and y - x


def _transport(
    hp: Hyperparameters, updates: PyTree, state: ExtrapolatedState, params: PyTree, **extra: Any
) -> tuple[PyTree, ExtrapolatedState]:
    del params, extra
    rate, beta = (as_hyperparameter(name, hp[name]) for name in ("learning_rate", "beta"))

    def average(g: Any, m: PyTree) -> tuple[Any, PyTree]:
        if g is None:  # a frozen leaf
            return None, m
        decay = jnp.asarray(beta, m.dtype)
        m = decay * m + (1 - decay) * jnp.asarray(g, m.dtype)
        return m, m

    def advance(direction: Any, ahead: PyTree) -> tuple[Any, PyTree]:
        if direction is None:
            return None, ahead
        step = -jnp.asarray(rate, direction.dtype) * direction  # of x
        new = jnp.asarray(beta / (1 - beta), step.dtype) * step
        return step + new - ahead, new

    moved, m = map_pairs(average, updates, state.buffers[0])
    updates, ahead = map_pairs(advance, normalize(moved, hp["per_array"]), state.buffers[1])
    return updates, ExtrapolatedState((m, ahead))


def _back_to_x(hp: Hyperparameters, state: ExtrapolatedState, params: PyTree) -> PyTree:
    del hp, params
    return jax.tree.map(jnp.negative, state.buffers[1])
