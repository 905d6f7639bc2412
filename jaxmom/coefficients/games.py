"""Methods for games and saddle points, as coefficients."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter, reading_new


def optimistic_gradient(optimism: ArrayLike = 1.0) -> Coefficients:
    """Optimistic gradient: ``y_{t+1} = y_t - alpha (g_t + o (g_t - g_{t-1}))``, with g_{-1} = 0.

    The previous gradient is a buffer with decay 0: a pure delay. (`optax` lets the first gradient
    be its own predecessor; that is ``start="first_gradient"``.)

    Source:
      Rakhlin and Sridharan 2013 (arXiv 1311.1869), M_{t+1} = g_t; Daskalakis et al. 2018
      (arXiv 1711.00141), equation 6, both with o = 1.
    """
    o = as_hyperparameter("optimism", optimism)
    return Coefficients(decay=0.0, gain=1.0, read=-o, direct=1 + o)


def extragradient() -> Recurrence:
    """Extra-gradient: ``z = y_t - alpha g(y_t); y_{t+1} = y_t - alpha g(z)``, two updates a step.

    The first update goes to z and keeps the way there in its buffer. The second takes the
    gradient there and steps from y_t, which is `eval_params` throughout.

    Source:
      Korpelevich 1976; Gidel et al. 2019 (arXiv 1802.10551), extrapolation.
    """
    return Recurrence(0, Partial(_extragradient))


def _extragradient(parity: Any) -> tuple[Any, Coefficients]:
    goes = jnp.where(parity == 0, 1.0, 0.0)  # to z, or back and on
    c = Coefficients(decay=0.0, gain=goes, read=goes - 1.0, direct=1.0, evaluate=-1.0)
    return 1 - parity, c


def complex_momentum(beta: ArrayLike = 0.9, phi: ArrayLike = 0.39269908169872414) -> Coefficients:
    """Complex momentum: ``m_{t+1} = beta e^{i phi} m_t - g_t; y_{t+1} = y_t + Re(alpha m_{t+1})``.

    Between heavy ball (phi = 0) and negative momentum (phi = pi); in games played simultaneously it
    converges where both diverge. It is a filter with complex buffers, for real parameters.

    Args:
      beta: In [0, 1).
      phi: In radians; pi / 8 by default.

    Source:
      Lorraine, Acuna, Vicol and Duvenaud 2022 (arXiv 2102.08431), method SimCM.
    """
    beta, phi = as_hyperparameter("beta", beta, "[0, 1)"), as_hyperparameter("phi", phi)
    if jnp.iscomplexobj(beta) or jnp.iscomplexobj(phi):
        raise TypeError(
            f"beta and phi are the modulus and the argument of the decay, both real, got {beta} "
            f"and {phi}; give abs(decay) and numpy.angle(decay)."
        )
    decay = jax.lax.complex(beta * jnp.cos(phi), beta * jnp.sin(phi))
    return reading_new(decay=decay, gain=1.0, read=1.0)
