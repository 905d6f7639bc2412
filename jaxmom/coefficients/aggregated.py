"""Mixtures of a gradient step and of averages with several memories, as coefficients."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, as_hyperparameter, reading_new


def qhm(beta: ArrayLike = 0.999, nu: ArrayLike = 0.7) -> Coefficients:
    """Quasi-hyperbolic momentum: a gradient step and an averaged step, mixed.

    ``m_{t+1} = beta m_t + (1-beta) g_t; y_{t+1} = y_t - alpha ((1-nu) g_t + nu m_{t+1})``: nu = 0
    is gradient descent, nu = 1 averaged momentum, nu = beta Nesterov's with alpha (1 - beta).

    Source:
      Ma and Yarats 2019 (arXiv 1810.06801), equation 3.
    """
    beta, nu = as_hyperparameter("beta", beta, "[0, 1)"), as_hyperparameter("nu", nu)
    return reading_new(decay=beta, gain=1 - beta, read=nu, direct=1 - nu)


def aggmo(betas: Any = (0.0, 0.9, 0.99)) -> Coefficients:
    """Aggregated: ``v_i <- beta_i v_i - g_t; y_{t+1} = y_t + (alpha / K) sum_i v_i``, K betas.

    Source:
      Lucas, Sun, Zemel and Grosse 2019 (arXiv 1804.00325), equation 2.
    """
    betas = as_hyperparameter("betas", betas, "(-1, 1)", per_buffer=True)
    ones = jnp.ones_like(betas)
    return reading_new(decay=betas, gain=ones, read=ones / len(betas))
