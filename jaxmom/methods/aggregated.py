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
      learning_rate: alpha; alpha / (1 - beta) of a heavy ball becomes alpha here.
      beta: In [0, 1).
      nu: The weight of the average; 0 is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.qhm(0.1, beta=0.999, nu=0.7)
    """
    return momentum_method(
        coefficients.qhm, "outside", learning_rate=learning_rate, beta=beta, nu=nu
    )


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
