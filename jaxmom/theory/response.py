"""Gain, delay and memory of a linear optimizer's filter, whatever the curvature."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.theory._kernel import filter_matrix, mean_age
from jaxmom.theory._numbers import to_numbers
from jaxmom.theory._systems import Linear, as_system
from jaxmom.theory.linear_system import transfer_function
from jaxmom.theory.spectrum import matrix_radius


def frequency_response(optimizer: Linear, frequency: ArrayLike) -> jax.Array:
    """Return H(exp(i w)): gain (the modulus) and delay (the angle) for a wave of gradients.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      frequency: w in radians per step, from 0 (steady) to pi (alternating), or an array of them.

    Returns:
      Complex numbers of the frequency's shape: the step per gradient.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import theory
      >>> response = theory.frequency_response(jm.ema_momentum(0.1, beta=0.9), jnp.pi)
      >>> print(f"{abs(response):.5f}")  # 0.1 (1 - beta) / (1 + beta)
      0.00526
    """
    system = as_system(optimizer)
    frequency = to_numbers("frequency, in radians per step,", frequency, system.A.dtype)
    return transfer_function(system, jax.lax.complex(jnp.cos(frequency), jnp.sin(frequency)))


def effective_learning_rate(optimizer: Linear) -> jax.Array:
    """Return H(1), the step per gradient in a steady gradient: alpha / (1 - beta) for heavy ball.

    To compare methods, match this and vary the rest. It is zero under weight decay, where params
    come to rest.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
    """
    return transfer_function(as_system(optimizer), 1.0)


def memory(optimizer: Linear) -> jax.Array:
    """Return how many gradients a step is made of: one more than their mean age in it.

    ``1 / (1 - beta)`` for heavy ball and averages, 1 for gradient descent. The mean is weighted by
    what the step takes of each gradient, as in `mean_age`: ``1 - H'(1) / H(1)``. Weight decay does
    not count: params are held at zero while the gradients are filtered. A `LinearSystem` in a basis
    other than that of `linearize` does not tell the two apart, and its memory is NaN under weight
    decay.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.memory(jm.sgd(0.1, momentum=0.9, weight_decay=1e-4)):.3f}")
      10.000
    """
    return 1 + mean_age(optimizer)


def half_life(optimizer: Linear) -> jax.Array:
    """Return the steps after which half of a gradient is forgotten: ln(1/2) / ln(slowest decay).

    Infinite if a buffer never forgets; weight decay does not count, as in `memory`.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.half_life(jm.heavy_ball(0.1, beta=0.9)):.2f}")
      6.58
    """
    slowest = matrix_radius(filter_matrix(as_system(optimizer)))
    decays = (slowest > 0) & (slowest < 1)
    steps = jnp.log(0.5) / jnp.log(jnp.where(decays, slowest, 0.5))
    extreme = jnp.where(slowest >= 1, jnp.inf, jnp.where(slowest <= 0, 0.0, slowest))
    return jnp.where(decays, steps, extreme)
