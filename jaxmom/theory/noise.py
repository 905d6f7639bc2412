"""The noise floor of a linear optimizer, and the noise of the curvature that it can bear.

Additive noise, ``g = lambda params + e``, leaves a stationary variance; noise in the curvature,
``g = (lambda + s) params``, as mini-batches make it, bounds the stable learning rate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom.theory._numbers import known_values
from jaxmom.theory._systems import Linear, as_system, map_numbers, refuse_complex
from jaxmom.theory.linear_system import LinearSystem
from jaxmom.theory.spectrum import closed_loop, matrix_eigenvalues

# The largest share of a variance that errors of rounding may make up.
_LARGEST_ERROR = 0.05


def stationary_covariance(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """Return X [..., n, n] of the state in the long run: ``X = M X M' + noise_variance B B'``.

    The discrete Lyapunov equation is solved as n^2 linear equations, for any number of buffers. M'
    is the conjugate transpose.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.
      noise_variance: sigma^2 of the gradient's noise, independent from step to step; it broadcasts
        with the curvature.

    Returns:
      A covariance for every curvature. It is NaN where the optimizer is unstable, for there is
      none, and where rounding alone could change the variance of params by more than 5 %; then
      float64 (``jax_enable_x64``) has it.

    Raises:
      ValueError: A noise variance is negative.
    """

    def covariance(system: LinearSystem, curvature: jax.Array, noise: jax.Array) -> jax.Array:
        found = _solve_lyapunov(system, curvature)
        return noise * jnp.where(found.is_stable & found.is_exact, found.covariance, jnp.nan)

    _check_variance(noise_variance)
    return map_numbers(
        covariance,
        as_system(optimizer),
        curvature,
        noise_variance,
        result="(n,n)",
        may_be_complex=True,
    )


def stationary_variance(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """Return the variance of params in the long run under additive gradient noise.

    Heavy ball: ``alpha sigma^2 (1 + beta) / (lambda (1 - beta) (2 (1 + beta) - alpha lambda))``.
    At a complex curvature, an eigenvalue of the field of a game, it is the mean of |params|^2 along
    the eigenvector, if eigenvectors are orthogonal; bilinear games have such ones.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them; or complex ones.
      noise_variance: sigma^2 of the gradient's noise, independent from step to step; it broadcasts
        with the curvature.

    Returns:
      A variance for every curvature, never negative: infinite where the optimizer is unstable, and
      NaN where rounding alone could change it by more than 5 %; then float64 (``jax_enable_x64``)
      has it.

    Raises:
      ValueError: A noise variance is negative.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.stationary_variance(jm.gradient_descent(0.5), 1.0):.6f}")  # 0.5 / 1.5
      0.333333
    """

    def variance(system: LinearSystem, curvature: jax.Array, noise: jax.Array) -> jax.Array:
        found = _solve_lyapunov(system, curvature)
        value = jnp.where(found.is_exact, found.variance, jnp.nan)
        return jnp.where(found.is_stable, noise.real * value, jnp.inf)

    _check_variance(noise_variance)
    return map_numbers(
        variance, as_system(optimizer), curvature, noise_variance, may_be_complex=True
    )


def excess_loss(
    optimizer: Linear, curvature: ArrayLike, noise_variance: ArrayLike = 1.0
) -> jax.Array:
    """Return the loss in the long run above its minimum, ``lambda Var / 2``; 0 in a flat direction.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.
      noise_variance: sigma^2 of the gradient's noise; it broadcasts with the curvature.

    Returns:
      A loss for every curvature; infinite and NaN as in `stationary_variance`. Params wander off
      where the curvature is 0 and nothing else holds them, and the loss does not change.
    """
    refuse_complex(curvature)
    variance = stationary_variance(optimizer, curvature, noise_variance)
    curvature = jnp.broadcast_to(jnp.asarray(curvature, variance.dtype), variance.shape)
    return jnp.where(curvature == 0, 0.0, curvature * variance / 2)


def curvature_noise_limit(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return the largest variance of a noisy curvature at which params converge in mean square.

    The covariance follows ``X <- M X M' + s2 (C X C') B B'``, and the second term has rank one: it
    grows exactly if ``s2`` times the stationary variance for unit noise exceeds 1. Heavy ball:
    ``lambda (2 (1 + beta) - alpha lambda) (1 - beta) / (alpha (1 + beta))``.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The mean curvature lambda, or an array of them.

    Returns:
      A variance for every curvature; 0 where it is unstable without noise.
    """
    refuse_complex(curvature)
    return 1 / stationary_variance(optimizer, curvature)


def mean_square_rate(
    optimizer: Linear, curvature: ArrayLike, curvature_variance: ArrayLike
) -> jax.Array:
    """Return the factor per step of the root mean square of params if the curvature is noisy.

    It is the root of the spectral radius of ``M (x) M + s2 (B C) (x) (B C)``: `spectral_radius`
    without noise, 1 at `curvature_noise_limit`.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The mean curvature lambda, or an array of them.
      curvature_variance: s2, which broadcasts with the curvature.

    Raises:
      ValueError: A variance is negative.
    """

    def growth(system: LinearSystem, curvature: jax.Array, variance: jax.Array) -> jax.Array:
        matrix, kick = closed_loop(system, curvature), jnp.outer(system.B, system.C)
        moments = jnp.kron(matrix, matrix) + variance * jnp.kron(kick, kick)
        return jnp.sqrt(jnp.max(jnp.abs(jnp.linalg.eigvals(moments))))

    _check_variance(curvature_variance)
    return map_numbers(growth, as_system(optimizer), curvature, curvature_variance)


class _Stationary(NamedTuple):
    covariance: jax.Array  # for unit noise
    variance: jax.Array  # of params
    is_stable: jax.Array
    is_exact: jax.Array


def _solve_lyapunov(system: LinearSystem, curvature: jax.Array) -> _Stationary:
    """Solve X = M X M' + B B' in terms of N = M - I: ``N X + X N' + N X N' + B B' = 0``.

    N is formed without M, so that small steps keep their digits: in float32, 1 - 1e-6 has two.
    """
    n = system.B.shape[0]
    unit = jnp.eye(n, dtype=system.A.dtype)
    kick = curvature * jnp.outer(system.B, system.C)
    change = (system.A - unit) + kick
    roots = matrix_eigenvalues(change)  # |1 + root| < 1
    is_stable = jnp.all(2 * roots.real + jnp.abs(roots) ** 2 < 0)
    other = jnp.conj(change)
    equations = -(jnp.kron(unit, other) + jnp.kron(change, unit) + jnp.kron(change, other))
    equations = jnp.where(is_stable, equations, jnp.eye(n * n, dtype=equations.dtype))
    source, read = jnp.outer(system.B, system.B), jnp.outer(system.C, system.C)
    covariance = jnp.linalg.solve(equations, source.ravel()).reshape(n, n)
    variance = (system.C @ covariance @ system.C).real
    # The first-order effect on the variance of relative errors in the entries of N.
    weights = jnp.abs(jnp.linalg.solve(equations.T, read.ravel()).reshape(n, n))
    size, spread = jnp.abs(system.A - unit) + jnp.abs(kick), jnp.abs(covariance)
    moved = size @ spread + spread @ size.T + 2 * size @ spread @ size.T + jnp.abs(source)
    error = jnp.finfo(variance.dtype).eps / 4 * jnp.sum(weights * moved)
    return _Stationary(covariance, variance, is_stable, error <= _LARGEST_ERROR * variance)


def _check_variance(variance: ArrayLike) -> None:
    refuse_complex(variance)
    known = known_values(variance)
    if known is not None and not np.all(known >= 0):
        raise ValueError(f"a variance is not negative, got {variance}.")
