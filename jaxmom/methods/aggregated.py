"""Mixtures of a gradient step and of averages with several memories, as optimizers."""

from typing import Any

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def qhm(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.999, nu: ScalarOrSchedule = 0.7
) -> Optimizer:
    """Quasi-hyperbolic momentum: ``m <- beta m + (1-beta) g; y <- y - alpha ((1-nu) g + nu m)``.

    Args:
      learning_rate: alpha; that of a heavy ball, divided by 1 - beta.
      beta: In [0, 1).
      nu: The weight of the average; 0 is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.qhm(0.1, beta=0.999, nu=0.7)
    """
    return momentum_method(
        coefficients.qhm, "outside", learning_rate=learning_rate, beta=beta, nu=nu
    )


def maxwell(
    learning_rate: ScalarOrSchedule,
    decays: Any,
    weights: Any,
    look_ahead: ScalarOrSchedule = 0.0,
) -> Optimizer:
    """K-Maxwell: ``m_i <- d_i m_i + (1-d_i) g; y <- y - alpha ((1-l) g + l sum_i w_i m_i)``.

    With no look-ahead l the step is ``alpha sum_i w_i m_i``. The sum of weight times
    ``d / (1-d)`` is the mean age of the gradients in it, in steps.

    Args:
      learning_rate: alpha.
      decays: [K] numbers in [0, 1), or a schedule of K of them.
      weights: [K], or a schedule of K of them.
      look_ahead: l, in [0, 1].

    Raises:
      ValueError: There is not one weight for each decay.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> bi_maxwell = jm.maxwell(0.02, decays=(0.85, 0.98), weights=(0.4385, 0.5615))

      The mean age of K = 8 averages, annealed from 58 to 26 steps, in front of Muon's look-ahead:

      >>> ages = jnp.geomspace(3.0, 64.0, 8)
      >>> old = (0.005094, 0.010188, 0.015282, 0.020376, 0.025470, 0.030564, 0.035658, 0.857369)
      >>> young = (0.032262, 0.064524, 0.096786, 0.129047, 0.161309, 0.193571, 0.225833, 0.096669)
      >>> weights = jm.schedules.linear(old, young, steps=2250)
      >>> annealed = jm.maxwell(0.02, ages / (1 + ages), weights, look_ahead=0.95)
      >>> print(*(f"{weights(t) @ ages:.0f}" for t in (0, 2250)))
      58 26
    """
    return momentum_method(
        coefficients.maxwell,
        "outside",
        learning_rate=learning_rate,
        decays=decays,
        weights=weights,
        look_ahead=look_ahead,
    )


def grokfast(alpha: ScalarOrSchedule = 0.98, lamb: ScalarOrSchedule = 2.0) -> Optimizer:
    """Grokfast: amplify slow gradients, ``m <- alpha m + (1-alpha) g; u = g + lambda m``.

    A filter without a learning rate, to go before any optimizer. The first m is the first gradient.

    Args:
      alpha: The decay of the average, in [0, 1).
      lamb: lambda, the factor of the average.

    Example:
      >>> import optax, jaxmom as jm
      >>> optimizer = jm.chain(jm.grokfast(alpha=0.98, lamb=2.0), jm.lift(optax.adam)(1e-3))
    """
    return momentum_method(coefficients.grokfast, None, first_gradient=True, alpha=alpha, lamb=lamb)


def aggmo(learning_rate: ScalarOrSchedule, betas: Any = (0.0, 0.9, 0.99)) -> Optimizer:
    """Aggregated momentum: ``v_i <- beta_i v_i - g; y <- y + (alpha / K) sum_i v_i``.

    Args:
      learning_rate: alpha; the step in a steady gradient is alpha times the mean of
        1 / (1 - beta_i), which is 37 alpha by default.
      betas: [K] numbers in (-1, 1), or a schedule that returns as many as there are by default.

    Example:
      >>> import jaxmom as jm
      >>> len(jm.aggmo(0.1, betas=(0.0, 0.9)).init(0.0).buffers)
      2
    """
    return momentum_method(coefficients.aggmo, "outside", learning_rate=learning_rate, betas=betas)
