"""Momentum with Polyak steps, as optimizers.

They take the loss of the step as the extra argument ``value``, as `jaxmom.optimize` and optax's own
methods pass it. Norms and inner products are those of all of params.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmom._trees import advance_buffers, inner_product, map_present, vary_with
from jaxmom.methods._adaptive import (
    MomoState,
    PolyakState,
    cast,
    check_ranks,
    check_within,
    divide,
    loss_of,
    require_params,
    scalar_like,
    squared_norm,
    zeros_like,
)
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    transformation,
)


def momsps(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    c: ScalarOrSchedule = 1.0,
    lower_bound: ScalarOrSchedule = 0.0,
) -> Optimizer:
    """MomSPS_max: heavy ball whose step is Polyak's, with a bound.

    ``y_{t+1} = y_t - gamma_t g_t + beta (y_t - y_{t-1})`` with
    ``gamma_t = (1 - beta) min((f_t - l) / (c |g_t|^2), gamma_b)``.

    Args:
      learning_rate: gamma_b, the greatest step; in a steady gradient the step is at most this.
      beta: In [0, 1). With 0 this is SPS_max.
      c: Positive.
      lower_bound: l, a lower bound of the loss of every batch.

    Source:
      Oikonomou and Loizou 2024 (arXiv 2406.04142), MomSPS_max.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> f = lambda x: 5 * x[0] ** 2 + x[1] ** 2
      >>> run = jm.optimize(f, jnp.array([1.0, 1.0]), jm.momsps(10.0, beta=0.5), steps=50)
      >>> bool(run.history["value"][-1] < 1e-6)
      True
    """
    hp = {"learning_rate": learning_rate, "beta": beta, "c": c, "lower_bound": lower_bound}
    return transformation(_init_velocity, _update_momsps, hp, check=check_within(_MOMSPS))


_MOMSPS = {
    "learning_rate": "[0, inf)",
    "beta": "[0, 1)",
    "c": "(0, inf)",
    "lower_bound": "(-inf, inf)",
}


def _init_velocity(hp: Hyperparameters, params: PyTree) -> PyTree:
    del hp
    return zeros_like(params)


def _update_momsps(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params
    bound, beta, c, lowest = (hp[n] for n in ("learning_rate", "beta", "c", "lower_bound"))
    check_ranks(hp)
    excess = loss_of(extra, "momsps") - jnp.asarray(lowest, float)
    step = divide(excess, jnp.asarray(c, float) * squared_norm(updates), otherwise=bound)
    gamma = (1 - jnp.asarray(beta, float)) * jnp.minimum(step, jnp.asarray(bound, float))
    velocity = advance_buffers(lambda g, v: cast(beta, v) * v - cast(gamma, v) * g, updates, state)
    return map_present(lambda g, v: v, updates, velocity), velocity


def adaptive_heavy_ball(optimum: ScalarOrSchedule = 0.0) -> Optimizer:
    """Heavy ball with Polyak's step and a momentum from two gradients; nothing else to tune.

    ``y_{t+1} = y_t - (1 + b_t) h_t g_t + b_t (y_t - y_{t-1})`` with
    ``h_t = 2 (f_t - f*) / |g_t|^2`` and
    ``b_t = -(f_t - f*) <g_t, g_{t-1}> / ((f_{t-1} - f*) |g_t|^2 + (f_t - f*) <g_t, g_{t-1}>)``,
    0 at the first step. On a quadratic it is as fast as conjugate gradients; elsewhere, and with
    noise, it is fragile.

    Args:
      optimum: f*, the least value of the loss.

    Source:
      Goujaud, Taylor and Dieuleveut 2022 (arXiv 2210.06367), the adaptive heavy-ball method.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> f = lambda x: 5 * x[0] ** 2 + x[1] ** 2
      >>> run = jm.optimize(f, jnp.array([1.0, 1.0]), jm.adaptive_heavy_ball(), steps=2)
      >>> bool(run.history["value"][-1] < 1e-10)  # as many steps as dimensions
      True
    """
    hp, check = {"optimum": optimum}, check_within({"optimum": "(-inf, inf)"})
    return transformation(_init_pair, _update_adaptive_heavy_ball, hp, check=check)


def _init_pair(hp: Hyperparameters, params: PyTree) -> PolyakState:
    del hp
    return PolyakState(zeros_like(params), zeros_like(params), scalar_like(params, 1.0))


def _update_adaptive_heavy_ball(
    hp: Hyperparameters, updates: PyTree, state: PolyakState, params: PyTree, **extra: Any
) -> tuple[PyTree, PolyakState]:
    del params
    check_ranks(hp)
    excess = loss_of(extra, "adaptive_heavy_ball") - jnp.asarray(hp["optimum"], float)
    square, overlap = squared_norm(updates), inner_product(updates, state.gradient)
    beta = -divide(excess * overlap, state.excess.astype(float) * square + excess * overlap)
    rate = (1 + beta) * divide(2 * excess, square)
    step = advance_buffers(lambda g, s: cast(beta, s) * s - cast(rate, s) * g, updates, state.step)
    gradient = advance_buffers(lambda g, old: g, updates, state.gradient)
    return map_present(lambda g, s: s, updates, step), PolyakState(
        step, gradient, vary_with(excess, updates)
    )


def momo(
    learning_rate: ScalarOrSchedule = 1.0,
    beta: ScalarOrSchedule = 0.9,
    lower_bound: ScalarOrSchedule = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    adapt_lower_bound: bool = False,
) -> Optimizer:
    """MoMo: averaged momentum whose step is Polyak's for an averaged model of the loss.

    With averages d of g, F of f and G of <g, y>, which start at their first values,
    ``tau = min(alpha, ((1 + alpha lambda) (F - l - G) + <d, y>)_+ / |d|^2)`` and
    ``y <- (y - tau d) / (1 + alpha lambda)``. `optax.contrib.momo` is the same without weight
    decay; with it, it does not divide tau d.

    Where no good bound is known, `adapt_lower_bound` estimates one, MoMo*: after each step
    ``l = F + <d, y> - G - tau |d|^2 / 2``, and before a step for which l is too large, so that tau
    would be 0, ``l = (F - G + <d, y> / (1 + alpha lambda)) / 2``; never below `lower_bound`.

    Args:
      learning_rate: alpha, the greatest step.
      beta: In [0, 1), of the averages.
      lower_bound: l, a lower bound of the loss.
      weight_decay: lambda.
      adapt_lower_bound: Whether l is estimated; then `lower_bound` is where it starts.

    Source:
      Schaipp et al. 2023 (arXiv 2305.07583), algorithm 1 with the averages of the authors' code,
      fabian-sp/MoMo (momo/momo.py), whose ``use_fstar`` is `adapt_lower_bound`.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> run = jm.optimize(lambda x: x @ x, jnp.array([1.0, 2.0]), jm.momo(beta=0.5), 40)
      >>> bool(run.history["value"][-1] < 1e-4)
      True
    """
    hp = {"learning_rate": learning_rate, "beta": beta}
    hp |= {"lower_bound": lower_bound, "weight_decay": weight_decay}
    hp |= {"adapt_lower_bound": adapt_lower_bound}
    return transformation(_init_momo, _update_momo, hp, check=check_within(_MOMO))


_MOMO = {
    "learning_rate": "[0, inf)",
    "beta": "[0, 1)",
    "lower_bound": "(-inf, inf)",
    "weight_decay": "[0, inf)",
}


def _init_momo(hp: Hyperparameters, params: PyTree) -> MomoState:
    found = scalar_like(params, -jnp.inf) if hp["adapt_lower_bound"] else None
    zeros = (zeros_like(params), scalar_like(params), scalar_like(params))
    return MomoState(*zeros, jnp.array(True), found)


def _update_momo(
    hp: Hyperparameters, updates: PyTree, state: MomoState, params: PyTree, **extra: Any
) -> tuple[PyTree, MomoState]:
    require_params(params, "momo")
    check_ranks(hp)
    names = ("learning_rate", "beta", "lower_bound", "weight_decay")
    bound, beta, lowest, decay = (jnp.asarray(hp[n], float) for n in names)
    beta = jnp.where(state.is_first, 0.0, beta)

    def average(new: Any, old: jax.Array) -> jax.Array:
        return cast(beta, old) * old + cast(1 - beta, old) * new

    d = advance_buffers(average, updates, state.gradient)
    value = average(loss_of(extra, "momo"), state.value.astype(float))
    product = average(inner_product(updates, params), state.product.astype(float))
    present = map_present(lambda g, m: m, updates, d)
    shrink, square = 1 + bound * decay, squared_norm(present)
    overlap = inner_product(present, params)
    if state.lower_bound is not None:
        smallest, model = lowest, value - product + overlap / shrink
        lowest = jnp.maximum(state.lower_bound.astype(float), smallest)
        lowest = jnp.where(model < lowest, jnp.maximum(model / 2, smallest), lowest)
    excess = shrink * (value - lowest - product) + overlap
    tau = divide(jnp.maximum(excess, 0.0), square, otherwise=bound)
    tau = jnp.minimum(bound, tau)

    def move(m: jax.Array, p: Any) -> jax.Array:
        y = jnp.asarray(p, m.dtype)
        return (-cast(bound * decay, m) * y - cast(tau, m) * m) / cast(shrink, m)

    found = None
    if state.lower_bound is not None:
        found = vary_with(value - product + overlap - tau * square / 2, updates)
    value = vary_with(value, updates)
    state = MomoState(d, value, product, jnp.zeros_like(state.is_first), found)
    return map_present(move, present, params), state
