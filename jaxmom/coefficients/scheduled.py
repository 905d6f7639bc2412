"""Momentum that changes over the run by a rule of its own, as coefficients."""

from typing import Any

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom import schedules
from jaxmom.coefficients.basic import heavy_ball
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter, reading_new


def demon(steps: ArrayLike, beta: ArrayLike = 0.9) -> Recurrence:
    """Decaying momentum: `heavy_ball` with ``beta_t`` of `schedules.demon`, T = `steps`.

    Source:
      Chen, Wolfe, Li and Kyrillidis 2022 (arXiv 1910.04952), algorithm 1.
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    steps = as_hyperparameter("steps", steps, "(0, inf]")
    return Recurrence(0, Partial(_demon, schedule=schedules.demon(beta, steps)))


def _demon(count: Any, schedule: Any) -> tuple[Any, Coefficients]:
    return optax.safe_increment(count), heavy_ball(schedule(count))


def fsgdm(
    steps: ArrayLike, stages: ArrayLike = 300.0, c: ArrayLike = 0.033, v: ArrayLike = 1.0
) -> Recurrence:
    """Frequency SGD with momentum (FSGDM): a memory that grows by stages from none.

    ``m_t = u_t m_{t-1} + v g_t; y_{t+1} = y_t - alpha m_t``, where ``u_t = s / (s + c steps)`` and
    s is t (from 1) rounded down to a whole number of stages of ``floor(steps / stages)`` steps. The
    first m is g_0 in the official code, which is ``start="first_gradient"`` here.

    Args:
      steps: The length of the run, Sigma in the source.
      stages: N, at most `steps`.
      c: How slowly the memory grows; 0.033 in the source.
      v: The weight of the new gradient.

    Raises:
      ValueError: There are more stages than steps.

    Source:
      Li et al. 2025 (arXiv 2411.19671), and the official package fsgdm 1.0.
    """
    length = as_hyperparameter("steps", steps, "[1, inf)")
    parts = as_hyperparameter("stages", stages, "[1, inf)")
    c, v = as_hyperparameter("c", c, "[0, inf)"), as_hyperparameter("v", v)
    if isinstance(length, float) and isinstance(parts, float) and parts > length:
        raise ValueError(
            f"stages = {stages} is above steps = {steps}, so that a stage would have no step; "
            "give fewer stages."
        )
    return Recurrence(0, Partial(_fsgdm, steps=length, stages=parts, c=c, v=v))


def _fsgdm(count: Any, **numbers: Any) -> tuple[Any, Coefficients]:
    steps, stages, c, v = (as_hyperparameter(n, numbers[n]) for n in ("steps", "stages", "c", "v"))
    length = jnp.floor_divide(jnp.asarray(steps, float), stages)
    begun = jnp.floor_divide(1 + count.astype(float), length) * length
    decay = jnp.where(begun > 0, begun / jnp.where(begun > 0, begun + c * steps, 1.0), 0.0)
    return optax.safe_increment(count), reading_new(decay=decay, gain=v, read=1.0)


def dana(delta: ArrayLike = 8.0, gamma3: ArrayLike = 1.0, kappa: ArrayLike = 0.0) -> Recurrence:
    """Dimension-adapted Nesterov acceleration (DANA): a memory as long as the run so far.

    ``m_{t+1} = (1 - Delta_t) m_t + g_t; y_{t+1} = y_t - alpha (g_t + gamma_{3,t} m_{t+1})``, with
    ``Delta_t = delta / (delta + t)`` and ``gamma_{3,t} = gamma_3 (1+t)^(-kappa)``.

    Args:
      delta: How short the memory is: the last ``t / delta`` steps. The official script has
        ``4 + (a + b) / a`` for eigenvalues that fall as j^(-2 a) and targets as j^(-b).
      gamma3: The weight of the memory in units of the learning rate: 1/(2 d) for d parameters in
        the official DANA-constant, 1/2 in its DANA-decaying.
      kappa: 0 is DANA-constant; ``1 / (2 a)`` DANA-decaying, for eigenvalues that fall as j^(-2 a).

    Source:
      Ferbach, Everett, Gidel, Paquette and Paquette 2025 (arXiv 2505.16098), Gen-Mom-SGD; order and
      constants are those of the official code, mlexpos/adana: `dana_optimizer` and
      `powerlaw_schedule` of jax/optimizers.py, and `main` of jax/dana_plrf.py.
    """
    numbers = {
        "delta": as_hyperparameter("delta", delta, "(0, inf)"),
        "gamma3": as_hyperparameter("gamma3", gamma3),
        "kappa": as_hyperparameter("kappa", kappa),
    }
    return Recurrence(0, Partial(_dana, **numbers))


def _dana(count: Any, delta: Any, gamma3: Any, kappa: Any) -> tuple[Any, Coefficients]:
    delta, kappa = as_hyperparameter("delta", delta), as_hyperparameter("kappa", kappa)
    t = count.astype(float)
    weight = as_hyperparameter("gamma3", gamma3) * (1 + t) ** (-kappa)
    decay = t / jnp.where(t == 0, 1.0, delta + t)  # the first buffer is empty
    return optax.safe_increment(count), reading_new(decay, 1.0, weight, direct=1.0)


def am1(alpha: ArrayLike = 0.5, delta: ArrayLike = 1.0) -> Recurrence:
    """Accelerated memory-1 SGD (AM1): an effective learning rate that grows as a power of t.

    ``y_{t+1} = y_t - eta (g_t + (k_t - 1) delta_t s_t); s_{t+1} = (1 - delta_t) s_t + g_t``, with
    ``delta_t = (t+1)^(-delta)`` and ``k_t = (t+1)^alpha``: the effective learning rate
    ``eta (1 + (k_t - 1) delta_t / delta_t) = eta k_t`` grows, while the weight of the newest
    gradient, and with it the noise, stays eta. On eigenvalues that fall as j^(-nu) the loss of
    SGD, t^(-zeta), becomes t^(-zeta (1 + alpha)). The noise admits alpha up to
    ``delta (1 - 1/nu)``: the exponent is zeta (2 - 1/nu) at best, as in the source. Where in this
    form the growth stands (in what is read of s, not in what s takes) is our choice.

    Args:
      alpha: The exponent of the effective learning rate, below ``delta (1 - 1/nu)``.
      delta: The exponent of the forgetting, in [0, 1].

    Source:
      Yarotsky and Velikanov 2025 (arXiv 2410.04228): the memory-1 algorithm with power-law
      schedules. Its exponent is taken from a summary of the paper, not from its text; the authors
      derive it by heuristics and experiments, and call it unproved in a later paper (Yarotsky 2025,
      arXiv 2504.12519). ``experiments/reproduce.py`` finds it. The bound for delta below 1 is
      derived here, from the sum of the noise.
    """
    numbers = {
        "alpha": as_hyperparameter("alpha", alpha, "[0, inf)"),
        "delta": as_hyperparameter("delta", delta, "[0, 1]"),
    }
    return Recurrence(0, Partial(_am1, **numbers))


def _am1(count: Any, alpha: Any, delta: Any) -> tuple[Any, Coefficients]:
    alpha, delta = as_hyperparameter("alpha", alpha), as_hyperparameter("delta", delta)
    t = 1 + count.astype(float)
    forgetting = t ** (-delta)
    growth = t**alpha
    c = Coefficients(decay=1 - forgetting, gain=1.0, read=(growth - 1) * forgetting, direct=1.0)
    return optax.safe_increment(count), c
