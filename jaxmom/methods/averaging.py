"""Methods that average their iterates, and take gradients near the average, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def primal_averaging(learning_rate: ScalarOrSchedule, c: ScalarOrSchedule = 0.1) -> Optimizer:
    """Primal averaging: ``z <- z - alpha g(x); x <- (1-c) x + c z``, where params is x.

    Args:
      learning_rate: alpha, of the fast sequence; that of a heavy ball is alpha c.
      c: The weight of the fast sequence, in [0, 1], or a schedule of it such as 1/(t+1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.primal_averaging(1.0, c=0.1)
    """
    return momentum_method(
        coefficients.primal_averaging, "inside", learning_rate=learning_rate, c=c
    )


def gpa(
    learning_rate: ScalarOrSchedule,
    mu_x: ScalarOrSchedule = 0.9967,
    mu_y: ScalarOrSchedule = 0.7,
) -> Optimizer:
    """GPA on gradient descent: ``z <- z - alpha g(y); x <- mu_x x + (1-mu_x) z``, y by mu_y near x.

    params is ``y = mu_y x + (1-mu_y) z``; the average x is `eval_params`.

    Args:
      learning_rate: alpha.
      mu_x: The weight of the past in the average, in [0, 1].
      mu_y: The weight of the average in the point of the gradient, in [0, 1].

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.gpa(0.1, mu_x=0.9967, mu_y=0.7)
    """
    return momentum_method(
        coefficients.gpa, "inside", learning_rate=learning_rate, mu_x=mu_x, mu_y=mu_y
    )


def schedule_free(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    warmup: ScalarOrSchedule = 0.0,
) -> Optimizer:
    """Schedule-free SGD: ``z <- z - alpha_t g(y); x <- (1-c) x + c z``, y by beta near x.

    params is ``y = beta x + (1-beta) z``; the average x is `eval_params`.

    Args:
      learning_rate: alpha. Its schedule does not weigh the average; `warmup` does.
      beta: In [0, 1].
      warmup: The steps in which alpha_t rises along a straight line; the first is alpha / warmup.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.schedule_free(1.0, beta=0.9, warmup=100)
    """
    return momentum_method(
        coefficients.schedule_free, "inside", learning_rate=learning_rate, beta=beta, warmup=warmup
    )


def ema_nesterov(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.5,
    gamma: ScalarOrSchedule = 0.99,
) -> Optimizer:
    """EMA-Nesterov: ``y = x + beta m; x' = y - alpha g(y); m <- gamma m + (1-gamma) (x' - x)``.

    params is y; `eval_params` is x.

    Args:
      learning_rate: alpha.
      beta: The look-ahead.
      gamma: The decay of the average of the steps, in [0, 1); 0 is `nesterov`.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ema_nesterov(0.1, beta=0.5, gamma=0.99)
    """
    return momentum_method(
        coefficients.ema_nesterov, "inside", learning_rate=learning_rate, beta=beta, gamma=gamma
    )
