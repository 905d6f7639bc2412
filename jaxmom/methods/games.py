"""Methods for games and saddle points, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def optimistic_gradient(
    learning_rate: ScalarOrSchedule, optimism: ScalarOrSchedule = 1.0
) -> Optimizer:
    """Optimistic gradient: ``y <- y - alpha (g + o (g - g_previous))``, for games above all.

    Args:
      learning_rate: alpha.
      optimism: o; 0 is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.optimistic_gradient(0.1)
    """
    return momentum_method(
        coefficients.optimistic_gradient,
        "outside",
        learning_rate=learning_rate,
        optimism=optimism,
    )
