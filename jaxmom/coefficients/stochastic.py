"""Acceleration for noisy gradients, as coefficients."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, as_hyperparameter, reading_new


def unified_momentum(beta: ArrayLike = 0.9, s: ArrayLike = 0.0) -> Coefficients:
    """Stochastic unified momentum (SUM): a line from the heavy ball (s = 0) to Nesterov (s = 1).

    ``y_{t+1} = x_t - alpha g_t; ys_{t+1} = x_t - s alpha g_t; x_{t+1} = y_{t+1} + beta
    (ys_{t+1} - ys_t)``, with g at x and ys_0 = x_0. ``s = 1 / (1-beta)`` is gradient descent.

    Source:
      Yang, Lin and Li 2016 (arXiv 1604.03257), method SUM.
    """
    beta = as_hyperparameter("beta", beta, "(-1, 1)")
    s = as_hyperparameter("s", s, "[0, inf)")
    # The buffer is x - ys, and so exact where beta or s varies.
    return reading_new(decay=beta, gain=1 - s * (1 - beta), read=1.0, direct=s)


def accelerated_sgd(kappa: ArrayLike, xi: ArrayLike, eps: ArrayLike = 0.7) -> Coefficients:
    """Accelerated SGD: a short step and a long one, coupled.

    With ``a = 1 - eps^2 xi / kappa``: ``w_{t+1} = a w_t + (1-a) (y_t - (kappa alpha / eps) g_t);
    y_{t+1} = (eps / (eps + 1-a)) (y_t - alpha g_t) + ((1-a) / (eps + 1-a)) w_{t+1}``, with
    w_0 = y_0. params is y.

    Args:
      kappa: The long step in units of the short one; the official code has 1000.
      xi: The statistical advantage, at most sqrt(kappa); the official code has 10.
      eps: A constant below 1.

    Source:
      Jain et al. 2018 (arXiv 1704.08227); Kidambi et al. 2018 (arXiv 1803.05591), algorithm 3.
    """
    kappa = as_hyperparameter("kappa", kappa, "(0, inf)")
    xi = as_hyperparameter("xi", xi, "(0, inf)")
    eps = as_hyperparameter("eps", eps, "(0, 1)")
    _check_advantage(kappa, xi)
    # The buffer is w - y, and so exact where a number varies.
    return reading_new(
        decay=(kappa - eps**2 * xi) / (kappa + eps * xi),
        gain=kappa * (eps * xi - 1) / (kappa + eps * xi),
        read=eps * xi / kappa,
        direct=1.0,
    )


def _check_advantage(kappa: Any, xi: Any) -> None:
    if isinstance(kappa, float) and isinstance(xi, float) and xi**2 > kappa:
        raise ValueError(
            f"xi = {xi} is above sqrt(kappa) = {kappa**0.5:.4g}: no problem has a statistical "
            "condition number that small; decrease xi or increase kappa."
        )


def mass(gamma: ArrayLike = 0.9, compensation: ArrayLike = 0.5) -> Coefficients:
    """Momentum-added stochastic solver (MaSS): Nesterov's method with a term that keeps it stable.

    ``w_{t+1} = u_t - eta_1 g(u_t); u_{t+1} = w_{t+1} + gamma (w_{t+1} - w_t) + eta_2 g(u_t)``,
    where the learning rate is eta_1. params is u, and w is `eval_params`.

    Args:
      gamma: In (-1, 1).
      compensation: ``eta_2 / eta_1``, not negative; 0 is Nesterov's method.

    Source:
      Liu and Belkin 2020 (arXiv 1810.13395), method MaSS. Their theorem takes curvatures mu and L
      and the statistical condition number k to ``gamma = (1-A) / (1+A)`` and ``compensation =
      (1 - 1/k) / (1+A)``, with ``A = sqrt(mu eta_1 / k)``.
    """
    gamma = as_hyperparameter("gamma", gamma, "(-1, 1)")
    compensation = as_hyperparameter("compensation", compensation, "[0, inf)")
    return reading_new(decay=gamma, gain=gamma - compensation, read=1.0, direct=1.0, evaluate=-1.0)


def pid(
    beta: ArrayLike = 0.9, integral: ArrayLike = 5.0, derivative: ArrayLike = 10.0
) -> Coefficients:
    """PID: a controller with the gradient, its trace, and an average of its changes.

    ``v_{t+1} = beta v_t + g_t; d_{t+1} = beta d_t + (1-beta) (g_t - g_{t-1}); y_{t+1} = y_t - alpha
    (g_t + I v_{t+1} + D d_{t+1})``, with g_{-1} = 0. Both have one pole, so one buffer holds them.

    Args:
      beta: In [0, 1).
      integral: I.
      derivative: D.

    Source:
      An et al. 2018 (CVPR, "A PID controller approach for stochastic optimization of deep
      networks"); the defaults are those of the official code, which leaves out the first change.
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    i, d = as_hyperparameter("integral", integral), as_hyperparameter("derivative", derivative)
    return Coefficients(
        decay=beta,
        gain=1.0,
        read=-d * (1 - beta) ** 2,
        direct=1 + d * (1 - beta),
        read_new=i,
    )


def pnm(beta: ArrayLike = 0.9, beta0: ArrayLike = 1.0) -> Coefficients:
    """Positive-negative momentum: more noise at the same mean, by a negative weight.

    ``m_t = beta^2 m_{t-2} + (1-beta^2) g_t; y_{t+1} = y_t - alpha ((1+beta_0) m_t - beta_0 m_{t-1})
    / sqrt((1+beta_0)^2 + beta_0^2)``. m_t is the mean of two buffers, with decays beta and -beta.

    Args:
      beta: In [0, 1); each average forgets at beta^2, every second step.
      beta0: beta_0, of the negative part, not negative.

    Source:
      Xie, Yuan, Zhu and Sugiyama 2021 (arXiv 2103.17182), algorithm 1.
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    beta0 = as_hyperparameter("beta0", beta0, "[0, inf)")
    half = 0.5 / jnp.sqrt((1 + beta0) ** 2 + beta0**2) * jnp.ones(2)
    return Coefficients(
        decay=jnp.stack([1.0 * beta, -1.0 * beta]) * jnp.ones(2),
        gain=(1 - beta) * (1 + beta) * jnp.ones(2),
        read=-beta0 * half,
        read_new=(1 + beta0) * half,
    )
