"""Methods for games and saddle points, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def optimistic_gradient(
    learning_rate: ScalarOrSchedule, optimism: ScalarOrSchedule = 1.0
) -> Optimizer:
    """Optimistic gradient: ``y <- y - alpha (g + o (g - g_previous))``, mainly for games.

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


def extragradient(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Extra-gradient: ``z = y - alpha g(y); y <- y - alpha g(z)``, for games; two updates a step.

    Params are y and z in turn, so that each update has one gradient, at params, and
    `jaxmom.eval_params` is y. It is stable in bilinear games up to ``alpha |lambda| = 1``.

    Args:
      learning_rate: alpha. With a schedule, each of the two updates has its own.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> game = jm.problems.bilinear_game([[1.0]])
      >>> run = jm.optimize(game.loss, game.params, jm.extragradient(0.5), 20)
      >>> print(f"{run.history['value'][0]:.3f} to {run.history['value'][20]:.3f}")
      1.000 to 0.125
    """
    return momentum_method(coefficients.extragradient, "inside", learning_rate=learning_rate)


def complex_momentum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    phi: ScalarOrSchedule = 0.39269908169872414,
) -> Optimizer:
    """Complex momentum: ``m <- beta e^{i phi} m - g; y <- y + alpha Re(m)``, for games.

    Its buffers are complex, complex64 at least; params are real.

    Args:
      learning_rate: alpha.
      beta: The modulus of the decay, in [0, 1).
      phi: Its argument; 0 is `heavy_ball`, pi is negative momentum, pi / 8 the default.

    Raises:
      TypeError: At `init`, if params are complex.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> state = jm.complex_momentum(0.1, beta=0.9, phi=0.4).init(jnp.zeros(2))
      >>> jnp.iscomplexobj(state.buffers[0])
      True
    """
    return momentum_method(
        coefficients.complex_momentum, "outside", learning_rate=learning_rate, beta=beta, phi=phi
    )
