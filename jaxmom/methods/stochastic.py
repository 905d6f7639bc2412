"""Acceleration for noisy gradients, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def unified_momentum(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, s: ScalarOrSchedule = 0.0
) -> Optimizer:
    """SUM: ``y' = x - alpha g; ys' = x - s alpha g; x <- y' + beta (ys' - ys)``.

    Args:
      learning_rate: alpha.
      beta: In (-1, 1).
      s: 0 is `heavy_ball`, 1 is `nesterov`, ``1 / (1-beta)`` is `gradient_descent`.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.unified_momentum(0.1, beta=0.9, s=0.5)
    """
    return momentum_method(
        coefficients.unified_momentum, "inside", learning_rate=learning_rate, beta=beta, s=s
    )


def accelerated_sgd(
    learning_rate: ScalarOrSchedule,
    kappa: ScalarOrSchedule,
    xi: ScalarOrSchedule,
    eps: ScalarOrSchedule = 0.7,
) -> Optimizer:
    """Accelerated SGD (AccSGD): a short step, and a long one that is kappa / eps times as long.

    Args:
      learning_rate: alpha, the short step.
      kappa: The long step in units of the short one.
      xi: The statistical advantage, at most sqrt(kappa).
      eps: A constant below 1.

    Raises:
      ValueError: Plain numbers with xi above sqrt(kappa).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.accelerated_sgd(0.1, kappa=1000.0, xi=10.0)
    """
    return momentum_method(
        coefficients.accelerated_sgd,
        "inside",
        learning_rate=learning_rate,
        kappa=kappa,
        xi=xi,
        eps=eps,
    )


def mass(
    learning_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule = 0.9,
    compensation: ScalarOrSchedule = 0.5,
) -> Optimizer:
    """MaSS: ``w' = u - alpha g; u <- w' + gamma (w' - w) + compensation alpha g; w <- w'``.

    params is u; `eval_params` is w.

    Args:
      learning_rate: alpha, eta_1 of the source.
      gamma: In (-1, 1).
      compensation: ``eta_2 / eta_1``; 0 is `nesterov`.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.mass(0.1, gamma=0.9, compensation=0.85)
    """
    return momentum_method(
        coefficients.mass,
        "inside",
        learning_rate=learning_rate,
        gamma=gamma,
        compensation=compensation,
    )


def pid(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    integral: ScalarOrSchedule = 5.0,
    derivative: ScalarOrSchedule = 10.0,
) -> Optimizer:
    """PID: ``v <- beta v + g; d <- beta d + (1-beta) (g - g'); y <- y - alpha (g + I v + D d)``.

    Args:
      learning_rate: alpha.
      beta: In [0, 1). While a schedule of it changes, d is only nearly the average above, as one
        buffer holds both; schedules of I and D are exact.
      integral: I; the step in a steady gradient is ``alpha (1 + I / (1-beta))``.
      derivative: D, of the average change of the gradient; the first change is g_0.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.pid(0.01, beta=0.9, integral=5.0, derivative=10.0)
    """
    return momentum_method(
        coefficients.pid,
        "outside",
        learning_rate=learning_rate,
        beta=beta,
        integral=integral,
        derivative=derivative,
    )


def pnm(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, beta0: ScalarOrSchedule = 1.0
) -> Optimizer:
    """Positive-negative momentum: ``y <- y - alpha ((1+b0) m - b0 m') / sqrt((1+b0)^2 + b0^2)``.

    m averages every second gradient with beta^2, and m' is the m of the step before.

    Args:
      learning_rate: alpha.
      beta: In [0, 1). While a schedule of it changes, m is only nearly that average, as it is held
        as the mean of two; a schedule of b0 is exact.
      beta0: b0, not negative; 0 leaves only the average.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.pnm(0.1, beta=0.9, beta0=1.0)
    """
    return momentum_method(
        coefficients.pnm, "outside", learning_rate=learning_rate, beta=beta, beta0=beta0
    )
