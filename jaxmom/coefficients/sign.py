"""Sign methods, as coefficients."""

from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, as_hyperparameter


def lion(b1: ArrayLike = 0.9, b2: ArrayLike = 0.99) -> Coefficients:
    """The filter in front of Lion's sign, which reads the buffer before it writes it.

    ``u_t = b1 m_t + (1-b1) g_t; m_{t+1} = b2 m_t + (1-b2) g_t; y_{t+1} = y_t - alpha sign(u_t)``.

    Source:
      Chen et al. 2023 (arXiv 2302.06675), algorithm 2.
    """
    b1, b2 = as_hyperparameter("b1", b1, "[0, 1]"), as_hyperparameter("b2", b2, "[0, 1)")
    return Coefficients(decay=b2, gain=1 - b2, read=b1, direct=1 - b1)
