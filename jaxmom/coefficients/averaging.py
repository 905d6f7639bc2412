"""Methods that average their iterates, and take gradients near the average, as coefficients.

z is the fast sequence, x the average and y the point of the gradient, which is params. The buffer
is z - x, or a velocity of x. What a schedule gives as the weight in y_t is that of step t.
"""

from typing import Any

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter, reading_new


def primal_averaging(c: ArrayLike = 0.1) -> Coefficients:
    """Primal averaging: ``z_{t+1} = z_t - alpha g(x_t); x_{t+1} = (1-c) x_t + c z_{t+1}``.

    params is x. At a constant c it is a heavy ball with beta = 1 - c and the learning rate alpha c.

    Source:
      Defazio 2020 (arXiv 2010.00406), method SPA; Tao, Pan, Wu and Tao 2018 (IEEE TNNLS 31(1)).
    """
    c = as_hyperparameter("c", c, "[0, 1]")
    return Coefficients(decay=1 - c, gain=1 - c, read=c, direct=c)


def gpa(
    mu_x: ArrayLike = 0.9967, mu_y: ArrayLike = 0.7, next_mu_y: ArrayLike | None = None
) -> Coefficients:
    """Generalized primal averaging: an average with one weight, gradients at another.

    ``y_t = mu_y x_t + (1-mu_y) z_t; z_{t+1} = z_t - alpha g(y_t); x_{t+1} = mu_x x_t +
    (1-mu_x) z_{t+1}``. params is y, and the average x is `eval_params`. At constants it is `qhm`
    with beta = mu_x and nu = mu_y.

    Args:
      mu_x: That of the average, in [0, 1]; as slow as DiLoCo with 32 local steps by default.
      mu_y: That of the point of the gradient, in [0, 1].
      next_mu_y: That of the next step; the same by default.

    Source:
      Defazio et al. 2025 (arXiv 2512.17131), and the official code (facebookresearch/optimizers).
    """
    mu_x = as_hyperparameter("mu_x", mu_x, "[0, 1]")
    mu_y, following = _now_and_next("mu_y", mu_y, next_mu_y)
    return Coefficients(
        decay=mu_x,
        gain=mu_x,
        read=following * (1 - mu_x) + (mu_y - following),
        direct=1 - following * mu_x,
        evaluate=mu_y - 1,
    )


def schedule_free(
    beta: ArrayLike = 0.9, warmup: ArrayLike = 0.0, next_beta: ArrayLike | None = None
) -> Recurrence:
    """Schedule-free SGD: an average of all iterates in place of a falling learning rate.

    ``y_t = (1-beta) z_t + beta x_t; z_{t+1} = z_t - alpha s_t g(y_t); x_{t+1} = (1-c_{t+1}) x_t +
    c_{t+1} z_{t+1}``, with the warm-up ``s_t = min(1, (t+1) / warmup)`` and the weights
    ``c_{t+1} = s_t^2 / sum_{i<=t} s_i^2``. params is y, and the average x is `eval_params`.

    Args:
      beta: In [0, 1].
      warmup: The length of the warm-up, in steps. Give it here and not in a schedule of the
        learning rate: the weights of the average follow it.
      next_beta: The beta of the next step; the same by default.

    Source:
      Defazio et al. 2024 (arXiv 2405.15682), and the official code, whose weights are squares of
      the learning rate (facebookresearch/schedule_free).
    """
    numbers = {"warmup": as_hyperparameter("warmup", warmup, "[0, inf)"), "beta": beta}
    _now_and_next("beta", beta, next_beta)
    return Recurrence((0, 0.0), Partial(_schedule_free, **numbers, next_beta=next_beta))


def _schedule_free(carry: Any, beta: Any, warmup: Any, next_beta: Any) -> tuple[Any, Coefficients]:
    count, total = carry
    beta, following = _now_and_next("beta", beta, next_beta)
    length = jnp.maximum(as_hyperparameter("warmup", warmup), 1.0)
    scale = jnp.minimum((1 + count.astype(float)) / length, 1.0)
    total = total + scale**2
    c = scale**2 / total
    coefficients = Coefficients(
        decay=1 - c,
        gain=(1 - c) * scale,
        read=following * c + (beta - following),
        direct=(1 - following * (1 - c)) * scale,
        evaluate=beta - 1,
    )
    return (optax.safe_increment(count), total), coefficients


def ema_nesterov(
    beta: ArrayLike = 0.5, gamma: ArrayLike = 0.99, next_beta: ArrayLike | None = None
) -> Coefficients:
    """EMA-Nesterov: a look-ahead along an average of the steps, here around gradient descent.

    ``y_t = x_t + beta m_t; x_{t+1} = y_t - alpha g(y_t); m_{t+1} = gamma m_t + (1-gamma)
    (x_{t+1} - x_t)``. params is y, and x is `eval_params`; gamma = 0 is Nesterov's method.

    Args:
      beta: The look-ahead, 0.3 to 0.6 in the source, and less at both ends of a run.
      gamma: The decay of the average of the steps, in [0, 1).
      next_beta: The beta of the next step; the same by default.

    Source:
      Yau et al. 2026 (arXiv 2605.25395).
    """
    gamma = as_hyperparameter("gamma", gamma, "[0, 1)")
    now, following = _now_and_next("beta", beta, next_beta, "(-inf, inf)")
    return reading_new(
        decay=gamma + (1 - gamma) * now,
        gain=1 - gamma,
        read=following,
        direct=1.0,
        evaluate=-now,
    )


def _now_and_next(name: str, now: Any, following: Any, bounds: str = "[0, 1]") -> tuple[Any, Any]:
    """Return a hyperparameter at this step and at the next, which is the same where not given."""
    now = as_hyperparameter(name, now, bounds)
    return now, now if following is None else as_hyperparameter(f"next_{name}", following, bounds)
