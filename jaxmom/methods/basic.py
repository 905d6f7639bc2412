"""Gradient descent and classical momentum, as optimizers."""

from jaxmom import coefficients
from jaxmom.combine import chain
from jaxmom.methods._stages import ASCEND, add_decayed_weights
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def gradient_descent(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Gradient descent: ``y <- y - alpha g``.

    Args:
      learning_rate: alpha.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), jm.gradient_descent(0.5), steps=3)
      >>> print(run.params)
      0.125
    """
    return momentum_method(coefficients.gradient_descent, "outside", learning_rate=learning_rate)


def heavy_ball(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Polyak's heavy ball in velocity form: ``v <- beta v - alpha g; y <- y + v``.

    The learning rate is inside the velocity, so that this is Polyak's two-step rule under any
    schedule. `sgd` has it outside, where a drop of the learning rate acts on old gradients too; at
    a constant learning rate the two are the same.

    Args:
      learning_rate: alpha; the step in a steady gradient is alpha / (1 - beta).
      beta: In (-1, 1).

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> f = lambda p: 2 * p[0] ** 2 + p[1] ** 2 / 2
      >>> run = jm.optimize(f, jnp.array([2.0, 2.0]), jm.heavy_ball(0.1, beta=0.9), steps=30)
      >>> print(f"{run.params[0]:.4f} {run.params[1]:.4f}")
      0.1640 -0.4011
    """
    return momentum_method(
        coefficients.heavy_ball, "inside", learning_rate=learning_rate, beta=beta
    )


def ema_momentum(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, debias: bool = False
) -> Optimizer:
    """Momentum as an average: ``v <- beta v + (1 - beta) g; y <- y - alpha v``.

    The step in a steady gradient is alpha, whatever beta is. The learning rate is outside.

    Args:
      learning_rate: alpha.
      beta: In [0, 1). Near 1, float32 has few digits for 1 - beta: that of a traced beta (an
        argument of a compiled function, as in `optimize` and sweeps) is off by 1.3 % at 0.999999.
        Enable x64 for such memories.
      debias: Divide v by ``1 - beta^{t+1}``, so that the first step is alpha g already.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ema_momentum(0.01, beta=jm.schedules.half_life(0.5, 0.99, steps=100))
    """
    return momentum_method(
        coefficients.ema_momentum, "outside", learning_rate=learning_rate, beta=beta, debias=debias
    )


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarOrSchedule = 0.0,
    dampening: ScalarOrSchedule = 0.0,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    maximize: bool = False,
) -> Optimizer:
    """PyTorch's SGD, first step included: ``b <- mu b + (1 - tau) g; y <- y - alpha b``.

    The first buffer is the first gradient, undamped. The learning rate is outside.

    Args:
      learning_rate: alpha.
      momentum: mu, not negative.
      dampening: tau.
      nesterov: Step by ``alpha (g + mu b)``; needs momentum and no dampening, as in PyTorch.
      weight_decay: lambda: ``g <- g + lambda y`` before the buffer, which needs params. None, for
        PyTorch's 0, leaves params out of it.
      maximize: Go up instead of down.

    Raises:
      ValueError: nesterov with a plain momentum of zero or a plain dampening that is not.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
      >>> print(*jm.hyperparameters(optimizer))
      weight_decay learning_rate momentum dampening
    """
    stages = [ASCEND] if maximize else []
    stages += add_decayed_weights(weight_decay)
    filtered = momentum_method(
        coefficients.sgd,
        "outside",
        first_gradient=True,
        learning_rate=learning_rate,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
    )
    return chain(*stages, filtered) if stages else filtered
