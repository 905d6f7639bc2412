"""Momentum that changes over the run by a rule of its own, as optimizers."""

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


def fsgdm(
    learning_rate: ScalarOrSchedule,
    steps: ScalarOrSchedule,
    stages: ScalarOrSchedule = 300.0,
    c: ScalarOrSchedule = 0.033,
    v: ScalarOrSchedule = 1.0,
) -> Optimizer:
    """FSGDM: ``m <- u_t m + v g; y <- y - alpha m`` with a memory that grows by stages.

    Args:
      learning_rate: alpha.
      steps: The length of the run.
      stages: How often u_t changes, at most `steps`.
      c: ``u_t = t / (t + c steps)`` at the start of a stage.
      v: The weight of the new gradient; the first buffer is the first gradient itself.

    Raises:
      ValueError: There are more stages than steps.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.fsgdm(0.1, steps=10_000, stages=100)
    """
    return momentum_method(
        coefficients.fsgdm,
        "outside",
        first_gradient=True,
        learning_rate=learning_rate,
        steps=steps,
        stages=stages,
        c=c,
        v=v,
    )


def dana(
    learning_rate: ScalarOrSchedule,
    delta: ScalarOrSchedule = 8.0,
    gamma3: ScalarOrSchedule = 1.0,
    kappa: ScalarOrSchedule = 0.0,
) -> Optimizer:
    """DANA: ``m <- (1 - delta/(delta+t)) m + g; y <- y - alpha (g + gamma3 (1+t)^-kappa m)``.

    Args:
      learning_rate: alpha, gamma_2 of the source.
      delta: The memory is the last t / delta steps.
      gamma3: In units of the learning rate; 1/(2 d) for d parameters where kappa is 0.
      kappa: 0 is DANA-constant, a positive one DANA-decaying.

    Example:
      >>> import jaxmom as jm
      >>> constant = jm.dana(0.1, gamma3=1 / 2000)
      >>> decaying = jm.dana(0.1, gamma3=0.5, kappa=0.5)
    """
    return momentum_method(
        coefficients.dana,
        "outside",
        learning_rate=learning_rate,
        delta=delta,
        gamma3=gamma3,
        kappa=kappa,
    )


def am1(
    learning_rate: ScalarOrSchedule,
    alpha: ScalarOrSchedule = 0.5,
    delta: ScalarOrSchedule = 1.0,
) -> Optimizer:
    """AM1: memory-1 SGD whose effective learning rate grows as ``learning_rate (t+1)^alpha``.

    Args:
      learning_rate: The weight of the newest gradient.
      alpha: The exponent of growth; 0 is `gradient_descent`. Below ``delta (1 - 1/nu)`` for
        eigenvalues that fall as j^(-nu).
      delta: The memory is (t+1)^delta steps long, in [0, 1].

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.am1(0.1, alpha=0.4)
    """
    return momentum_method(
        coefficients.am1, "outside", learning_rate=learning_rate, alpha=alpha, delta=delta
    )
