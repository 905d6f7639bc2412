"""The noise floor of a linear optimizer: where it stops under noisy gradients, and when it cannot.

Additive noise, ``g = lambda params + e``, leaves a stationary variance; noise in the curvature,
``g = (lambda + s) params``, as mini-batches make it, bounds the stable learning rate.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.theory.spectrum import Linear, as_system, iteration_matrix, spectral_radius


def stationary_covariance(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """X [n, n] of the state in the long run, from ``X = M X M' + noise_variance B B'``.

    The discrete Lyapunov equation as n^2 linear equations, for any number of buffers. NaN where the
    optimizer is unstable, for there is none.
    """
    system = as_system(optimizer)
    matrix = iteration_matrix(system, curvature)
    n = matrix.shape[0]
    source = jnp.asarray(noise_variance, matrix.dtype) * jnp.outer(system.B, system.B)
    stable = spectral_radius(system, curvature) < 1
    matrix = jnp.where(stable, matrix, jnp.zeros_like(matrix))
    equations = jnp.eye(n * n, dtype=matrix.dtype) - jnp.kron(matrix, matrix)
    return jnp.where(stable, jnp.linalg.solve(equations, source.ravel()).reshape(n, n), jnp.nan)


def stationary_variance(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """The variance of params in the long run under additive gradient noise; inf where unstable.

    Heavy ball: ``alpha sigma^2 (1 + beta) / (lambda (1 - beta) (2 (1 + beta) - alpha lambda))``.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, positive.
      noise_variance: sigma^2 of the gradient's noise, independent from step to step.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.stationary_variance(jm.gradient_descent(0.5), 1.0):.6f}")  # 0.5 / 1.5
      0.333333
    """
    system = as_system(optimizer)
    variance = system.C @ stationary_covariance(system, curvature, noise_variance) @ system.C
    return jnp.where(jnp.isnan(variance), jnp.inf, variance)


def excess_loss(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """The loss in the long run above its minimum, ``lambda Var / 2``."""
    variance = stationary_variance(optimizer, curvature, noise_variance)
    return jnp.asarray(curvature, variance.dtype) * variance / 2


def curvature_noise_limit(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """The largest variance of a noisy curvature at which params still converge in mean square.

    The covariance follows ``X <- M X M' + s2 (C X C') B B'``, and the second term has rank one: it
    grows iff ``s2`` times the stationary variance for unit noise exceeds 1. Heavy ball:
    ``lambda (2 (1 + beta) - alpha lambda) (1 - beta) / (alpha (1 + beta))``. 0 where it is unstable
    without noise.
    """
    return 1 / stationary_variance(optimizer, curvature)


def mean_square_rate(
    optimizer: Linear, curvature: ArrayLike, curvature_variance: ArrayLike
) -> jax.Array:
    """The factor per step by which the root mean square shrinks if the curvature is noisy.

    The root of the spectral radius of ``M (x) M + s2 (B C) (x) (B C)``; `spectral_radius` for no
    noise, 1 at `curvature_noise_limit`.
    """
    system = as_system(optimizer)
    matrix, kick = iteration_matrix(system, curvature), jnp.outer(system.B, system.C)
    variance = jnp.asarray(curvature_variance, matrix.dtype)
    growth = jnp.kron(matrix, matrix) + variance * jnp.kron(kick, kick)
    return jnp.sqrt(jnp.max(jnp.abs(jnp.linalg.eigvals(growth))))
