"""Quadratics and their spectra; every fact about them is exact."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.problems.problem import Problem, Values, all_at_least, as_floating


def quadratic(
    spectrum: Values,
    *,
    optimum: Values | None = None,
    rotation_key: jax.Array | None = None,
    noise: ArrayLike | None = None,
    start: Values | None = None,
) -> Problem:
    """Return f(θ) = ½ (θ - θ*)ᵀ H (θ - θ*) with the given eigenvalues of H.

    H is diag(spectrum), in elementwise arithmetic, or Q diag(spectrum) Qᵀ for a random orthogonal
    Q. With noise, `loss(params, xi)` is f(θ) + ξ·θ, whose gradient is ∇f(θ) + ξ, and the batches
    are ξ ~ N(0, σ² I). The dtype is the spectrum's, and μ and L are its extremes.

    Args:
      spectrum: [d] eigenvalues, not negative; see `log_spectrum` and its siblings.
      optimum: [d] the minimizer θ*; zero unless given.
      rotation_key: The key of Q, uniform over the orthogonal matrices; diagonal unless given.
      noise: The standard deviation σ of the gradient noise, a leaf; no noise unless given.
      start: [d] the starting point; θ* + 1 in every coordinate unless given.

    Raises:
      ValueError: A shape or a sign is not as above.

    Example:
      >>> problem = quadratic([1.0, 100.0], start=[3.0, 1.0])
      >>> print(float(problem.loss(problem.params)), float(problem.mu), float(problem.L))
      54.5 1.0 100.0
    """
    spectrum = as_floating(spectrum)
    _check_spectrum(spectrum)
    target = jnp.zeros_like(spectrum) if optimum is None else as_floating(optimum, spectrum.dtype)
    params = target + 1 if start is None else as_floating(start, spectrum.dtype)
    if not target.shape == params.shape == spectrum.shape:
        raise ValueError(
            f"the spectrum has shape {spectrum.shape}, the optimum {target.shape} and the start "
            f"{params.shape}: give all of them one value per dimension."
        )
    full_loss = Partial(_diagonal, spectrum, target)
    if rotation_key is not None:
        rotation = jax.random.orthogonal(rotation_key, spectrum.size, dtype=spectrum.dtype)
        full_loss = Partial(_rotated, rotation, spectrum, target)
    loss, batches = _add_noise(full_loss, spectrum, noise)
    return Problem(
        loss,
        params,
        batches,
        full_loss,
        optimum=target,
        minimum=jnp.zeros((), spectrum.dtype),
        mu=jnp.min(spectrum),
        L=jnp.max(spectrum),
    )


def tutorial_quadratic() -> Problem:
    """Return f(x, y) = (4 x² + y²) / 2 from the start (2, 2): two parameters, elementwise.

    Its gradient is (4 x, y).

    Example:
      >>> import jax
      >>> problem = tutorial_quadratic()
      >>> print(jax.grad(problem.loss)(problem.params).tolist())
      [8.0, 2.0]
    """
    return quadratic([4.0, 1.0], start=[2.0, 2.0])


def log_spectrum(mu: ArrayLike, L: ArrayLike, dimension: int) -> jax.Array:
    """Return eigenvalues evenly spaced in their logarithm, from mu to L.

    Example:
      >>> print([round(value, 6) for value in log_spectrum(1.0, 100.0, 3).tolist()])
      [1.0, 10.0, 100.0]
    """
    mu, L, fraction = _unit_range(mu, L, dimension)
    return mu ** (1 - fraction) * L**fraction


def uniform_spectrum(mu: ArrayLike, L: ArrayLike, dimension: int) -> jax.Array:
    """Return eigenvalues evenly spaced from mu to L.

    Example:
      >>> print(uniform_spectrum(1.0, 5.0, 3).tolist())
      [1.0, 3.0, 5.0]
    """
    mu, L, fraction = _unit_range(mu, L, dimension)
    return mu * (1 - fraction) + L * fraction


def chebyshev_spectrum(mu: ArrayLike, L: ArrayLike, dimension: int) -> jax.Array:
    """Return the extreme points of the Chebyshev polynomial of degree d - 1 on [mu, L], ascending.

    This is the hardest spectrum of its size: after d - 1 steps a gradient method has multiplied the
    error by a polynomial p(H) of that degree with p(0) = 1. By Chebyshev's alternation theorem the
    largest |p| on these d points is at least 1 / T_{d-1}((L + mu) / (L - mu)), which is the best
    possible on the whole interval; on any other d points a method can promise more.

    Example:
      >>> print([round(value, 6) for value in chebyshev_spectrum(1.0, 5.0, 4).tolist()])
      [1.0, 2.0, 4.0, 5.0]
    """
    mu, L, fraction = _unit_range(mu, L, dimension)
    bent = jnp.sin(jnp.pi / 2 * fraction) ** 2
    return mu * (1 - bent) + L * bent


def _diagonal(spectrum: jax.Array, optimum: jax.Array, params: jax.Array) -> jax.Array:
    error = params - optimum
    return jnp.sum(spectrum * error * error) / 2


def _rotated(
    rotation: jax.Array, spectrum: jax.Array, optimum: jax.Array, params: jax.Array
) -> jax.Array:
    return _diagonal(spectrum, jnp.zeros_like(spectrum), (params - optimum) @ rotation)


def _noisy(full_loss: Partial, params: jax.Array, xi: jax.Array) -> jax.Array:
    return full_loss(params) + jnp.sum(xi * params)


def _draw_noise(sigma: jax.Array, like: jax.Array, key: jax.Array, count: ArrayLike) -> jax.Array:
    del count
    return sigma * jax.random.normal(key, like.shape, like.dtype)


def _add_noise(
    full_loss: Partial, spectrum: jax.Array, noise: ArrayLike | None
) -> tuple[Partial, Partial | None]:
    if noise is None:
        return full_loss, None
    sigma = as_floating(noise, spectrum.dtype)
    if sigma.ndim or not all_at_least(sigma, 0):
        raise ValueError(
            f"noise is {noise}, but it is the standard deviation of the gradient noise: give one "
            "number that is not negative, or None for no noise."
        )
    return Partial(_noisy, full_loss), Partial(_draw_noise, sigma, spectrum)


def _check_spectrum(spectrum: jax.Array) -> None:
    if spectrum.ndim != 1 or spectrum.size == 0 or not all_at_least(spectrum, 0):
        raise ValueError(
            f"the spectrum is {spectrum}, but it must be a vector of at least one eigenvalue, none "
            "of them negative or NaN: see log_spectrum(mu, L, dimension)."
        )


def _unit_range(
    mu: ArrayLike, L: ArrayLike, dimension: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the ends as arrays of one dtype, and the fractions of the way between them."""
    low = as_floating(mu)
    high = as_floating(L, low.dtype)
    positive = all_at_least(low, jnp.finfo(low.dtype).tiny)
    if dimension < 2 or not positive or not all_at_least(high, low):
        raise ValueError(
            f"mu is {mu}, L is {L} and the dimension is {dimension}, but 0 < mu <= L and a "
            "dimension of at least 2 are needed, as both ends belong to the spectrum."
        )
    return low, high, jnp.linspace(0, 1, dimension, dtype=low.dtype)
