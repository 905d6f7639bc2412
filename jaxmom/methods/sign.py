"""Sign methods, as optimizers."""

from jaxmom import coefficients
from jaxmom.methods._stages import SIGN, descend
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def signum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """The sign of the momentum: ``m <- beta m + (1-beta) g; y <- y - alpha sign(m)``.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.

    Source:
      Bernstein et al. 2018 (arXiv 1802.04434), algorithm 2.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.signum(1e-3, beta=0.9)
    """
    filtered = momentum_method(coefficients.ema_momentum, None, beta=beta)
    return descend(filtered, SIGN, learning_rate=learning_rate, weight_decay=weight_decay)


def lion(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.99,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Lion: ``u = sign(b1 m + (1-b1) g); m <- b2 m + (1-b2) g; y <- y - alpha (u + lambda y)``.

    Args:
      learning_rate: alpha.
      b1: In [0, 1].
      b2: In [0, 1).
      weight_decay: lambda, which needs params; or None.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.lion(1e-4, b1=0.9, b2=0.99, weight_decay=0.1)
    """
    filtered = momentum_method(coefficients.lion, None, b1=b1, b2=b2)
    return descend(filtered, SIGN, learning_rate=learning_rate, weight_decay=weight_decay)
