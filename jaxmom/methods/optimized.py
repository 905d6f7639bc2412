"""Methods whose worst case was optimized step by step: OGM, OGM-G, ITEM, as optimizers."""

import numpy as np

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def optimized_gradient(
    learning_rate: ScalarOrSchedule, steps: ScalarOrSchedule = np.inf
) -> Optimizer:
    """OGM: Nesterov's `nesterov_convex` with a further extrapolation, and half its bound.

    Args:
      learning_rate: alpha, 1/L for ``f(y_N) - f* <= L |y_0 - x*|^2 / (2 theta_N^2)`` at params.
      steps: N, the number of updates, of which the last is longer; by default, none is.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.optimized_gradient(1 / 25.0, steps=100)
    """
    return momentum_method(
        coefficients.optimized_gradient, "inside", learning_rate=learning_rate, steps=steps
    )


def ogm_strongly_convex(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """OGM-q: `optimized_gradient` with constant factors, for quadratics with curvatures in [mu, L].

    Args:
      mu: The least curvature, positive.
      L: The greatest curvature.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ogm_strongly_convex(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.ogm_strongly_convex, "inside", mu=mu, L=L)


def ogm_gradient(learning_rate: ScalarOrSchedule, steps: ScalarOrSchedule) -> Optimizer:
    """OGM-G: the method with the smallest gradient after `steps` steps, for convex functions.

    Args:
      learning_rate: alpha, 1/L for ``|g(y_N)|^2 <= 2 L (f(y_0) - f*) / theta_0^2`` at params.
      steps: N, at least 1; what follows it is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ogm_gradient(1 / 25.0, steps=100)
    """
    return momentum_method(
        coefficients.ogm_gradient, "inside", learning_rate=learning_rate, steps=steps
    )


def item(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """ITEM for curvatures in [mu, L]: the best worst case of ``|z_N - x*|``, at `eval_params`.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.item(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.item, "inside", mu=mu, L=L)
