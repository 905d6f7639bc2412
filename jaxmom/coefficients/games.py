"""Methods for games and saddle points, as coefficients."""

from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, as_hyperparameter


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
