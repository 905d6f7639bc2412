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
    """AggMo: ``v_i <- beta_i v_i - g_t; y_{t+1} = y_t + (alpha / K) sum_i v_i``, K betas.

    Source:
      Lucas, Sun, Zemel and Grosse 2019 (arXiv 1804.00325), equation 2.
    """
    betas = as_hyperparameter("betas", betas, "(-1, 1)", per_buffer=True)
    ones = jnp.ones_like(betas)
    return reading_new(decay=betas, gain=ones, read=ones / len(betas))


def maxwell(
    decays: Any = (0.85, 0.98), weights: Any = (0.4385, 0.5615), look_ahead: ArrayLike = 0.0
) -> Coefficients:
    """K-Maxwell: a weighted sum of K averages, and of the gradient itself.

    ``m_i <- decay_i m_i + (1 - decay_i) g``; with ``m = sum_i w_i m_i`` the step is ``(1-l) g +
    l m`` where the look-ahead l is positive, and m where it is 0. The defaults are bi-Maxwell.

    Args:
      decays: [K] numbers in [0, 1).
      weights: [K], often with the sum 1.
      look_ahead: l, the weight of the averages in Nesterov's form, as 0.95 in Muon; 0 for none.

    Raises:
      ValueError: There is not one weight for each decay.

    Source:
      KellerJordan/modded-nanogpt, records of the optimization track, pull requests 339 and 340
      (two averages), 357 and 359 (K averages whose weights change).
    """
    decays = as_hyperparameter("decays", decays, "[0, 1)", per_buffer=True)
    weights = as_hyperparameter("weights", weights, per_buffer=True)
    ahead = as_hyperparameter("look_ahead", look_ahead, "[0, 1]")
    if len(decays) != len(weights):
        raise ValueError(
            f"maxwell needs one weight for each average, but got {len(decays)} decays and "
            f"{len(weights)} weights."
        )
    if isinstance(ahead, float) and ahead == 0:
        return reading_new(decay=decays, gain=1 - decays, read=weights)
    return reading_new(
        decay=decays,
        gain=1 - decays,
        read=jnp.where(ahead > 0, ahead, 1.0) * weights,
        direct=jnp.where(ahead > 0, 1 - ahead, 0.0),
    )


def grokfast(alpha: ArrayLike = 0.98, lamb: ArrayLike = 2.0) -> Coefficients:
    """Grokfast: the gradient and lambda times its average, to go before any optimizer.

    ``m_{t+1} = alpha m_t + (1-alpha) g_t; u_t = g_t + lambda m_{t+1}``. The first average is g_0 in
    the official code, which is ``start="first_gradient"`` here.

    Source:
      Lee et al. 2024 (arXiv 2405.20233), Grokfast-EMA, and the official code (ironjr/grokfast).
    """
    alpha = as_hyperparameter("alpha", alpha, "[0, 1)")
    return reading_new(
        decay=alpha, gain=1 - alpha, read=as_hyperparameter("lamb", lamb), direct=1.0
    )
