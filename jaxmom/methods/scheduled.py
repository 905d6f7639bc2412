"""Momentum that decays over the run, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def demon(
    learning_rate: ScalarOrSchedule, steps: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9
) -> Optimizer:
    """Decaying momentum: `heavy_ball` whose beta falls to 0 in `steps` steps.

    Args:
      learning_rate: alpha.
      steps: T, the length of the run.
      beta: The first beta, in [0, 1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.demon(0.1, steps=1000)
    """
    return momentum_method(
        coefficients.demon, "inside", learning_rate=learning_rate, steps=steps, beta=beta
    )
