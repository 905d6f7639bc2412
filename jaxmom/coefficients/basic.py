"""Gradient descent and classical momentum, as coefficients."""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter, reading_new


def gradient_descent() -> Coefficients:
    """Gradient descent: ``y_{t+1} = y_t - alpha g_t``."""
    return Coefficients(decay=[], gain=[], read=[], direct=1.0)


def heavy_ball(beta: ArrayLike = 0.9) -> Coefficients:
    """Heavy ball: ``y_{t+1} = y_t - alpha g_t + beta (y_t - y_{t-1})``.

    Source:
      Polyak 1964 (USSR Comput. Math. Math. Phys. 4(5)), equation 9.
    """
    beta = as_hyperparameter("beta", beta, "(-1, 1)")
    return reading_new(decay=beta, gain=1.0, read=1.0)


def ema_momentum(beta: ArrayLike = 0.9, debias: bool = False) -> Coefficients | Recurrence:
    """Averaged gradient: ``m_{t+1} = beta m_t + (1 - beta) g_t; y_{t+1} = y_t - alpha m_{t+1}``.

    With `debias`, m is divided by ``1 - beta^{t+1}``, the weight of the gradients in it.

    Source:
      Gupal and Bazhenov 1972; the debiasing is that of Kingma and Ba 2015 (arXiv 1412.6980).
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    if debias:
        return Recurrence(0.0, Partial(_debiased, beta=beta))
    return reading_new(decay=beta, gain=1 - beta, read=1.0)


def _debiased(weight: Any, beta: Any) -> tuple[Any, Coefficients]:
    beta = as_hyperparameter("beta", beta)
    # 1 - beta^{t+1} by the recurrence of m itself: their rounding cancels, and no digit is lost
    # near beta = 1. (A power would cost five times the whole step.)
    weight = beta * weight + (1 - beta)
    return weight, reading_new(decay=beta, gain=1 - beta, read=1 / weight)


def sgd(
    momentum: ArrayLike = 0.0, dampening: ArrayLike = 0.0, nesterov: bool = False
) -> Coefficients:
    """PyTorch's SGD: ``b_{t+1} = mu b_t + (1 - tau) g_t; y_{t+1} = y_t - alpha b_{t+1}``.

    With `nesterov` the step is ``alpha (g_t + mu b_{t+1})``. PyTorch's first buffer is g_0 without
    dampening, which is ``start="first_gradient"`` here; its mu = 0 ignores the dampening, and its
    `nesterov` needs mu > 0 and tau = 0.

    Source:
      PyTorch 2.13 documentation of torch.optim.SGD.
    """
    mu = as_hyperparameter("momentum", momentum, "[0, inf)")
    tau = as_hyperparameter("dampening", dampening)
    gain = jnp.where(mu == 0, 1.0, 1 - tau)
    if not nesterov:
        return reading_new(decay=mu, gain=gain, read=1.0)
    if (isinstance(mu, float) and mu == 0) or (isinstance(tau, float) and tau != 0):
        raise ValueError(
            "nesterov needs momentum > 0 and dampening = 0, as in PyTorch; "
            f"got momentum = {momentum} and dampening = {dampening}."
        )
    return reading_new(decay=mu, gain=gain, read=mu, direct=1.0)
