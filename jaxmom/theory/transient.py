"""The growth of errors before they shrink, from the norms of the iteration matrix's powers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom._values import as_count
from jaxmom.theory._systems import Linear, as_system, map_numbers
from jaxmom.theory.linear_system import LinearSystem
from jaxmom.theory.spectrum import matrix_radius, polynomial

_MOST_STEPS = 2**24


def transient_growth(
    optimizer: Linear, curvature: ArrayLike, steps: int | None = None
) -> jax.Array:
    """Return how much an error may grow before it shrinks: the largest norm of a power of M.

    It is taken in the coordinates (params_t, params_{t-1} ...), where M is the companion matrix of
    its characteristic polynomial, so that the units of the buffers do not matter. It is at least 1.
    Heavy ball at its optimal tuning grows by about 0.37 sqrt(kappa).

    A power of norm 1 or less ends the search, for no later power is larger than those before it.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.
      steps: The last power to look at; by default the search goes on until it ends by itself.

    Returns:
      A factor for every curvature; infinite where the spectral radius is above 1, and NaN where
      `steps` is None and 2^24 steps do not suffice.

    Raises:
      ValueError: `steps` is not a whole number from 1 to 2^24.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> optimal = jm.heavy_ball((2 / 101) ** 2, beta=(99 / 101) ** 2)  # kappa = 10,000
      >>> print(f"{theory.transient_growth(optimal, 1.0):.0f}")
      37
    """
    if steps is not None and as_count("steps", steps, "the last power") > _MOST_STEPS:
        raise ValueError(f"steps is the last power, at most 2^24, got {steps}; None goes on.")

    def growth(system: LinearSystem, curvature: jax.Array) -> jax.Array:
        matrix = _companion(polynomial(system, curvature))
        last = _MOST_STEPS if steps is None else steps
        found = _search(jax.lax.stop_gradient(matrix), last)
        largest = jnp.maximum(_norm(_power(matrix, found.best)), 1.0)
        largest = jnp.where(jnp.all(jnp.isfinite(matrix)), largest, jnp.nan)
        if steps is not None:
            return largest
        known = jnp.where(found.has_ended, largest, jnp.nan)
        return jnp.where(matrix_radius(matrix) > 1, jnp.inf, known)

    return map_numbers(growth, as_system(optimizer), curvature, may_be_complex=True)


def _companion(coefficients: jax.Array) -> jax.Array:
    n = coefficients.shape[0] - 1
    return jnp.eye(n, k=-1, dtype=coefficients.dtype).at[0].set(-coefficients[1:])


class _Search(NamedTuple):
    step: jax.Array
    power: jax.Array  # M^step
    best: jax.Array  # the step of the largest norm so far
    norm: jax.Array  # that norm
    has_ended: jax.Array


def _search(matrix: jax.Array, last: int) -> _Search:
    """Find the power of the largest norm, up to the last one or the first of norm 1 or less."""

    def advance(at: _Search) -> _Search:
        step, power = at.step + 1, matrix @ at.power
        norm = _norm(power)
        is_larger = norm > at.norm
        best, largest = jnp.where(is_larger, step, at.best), jnp.where(is_larger, norm, at.norm)
        return _Search(step, power, best, largest, ~(norm > 1))

    def goes_on(at: _Search) -> jax.Array:
        return ~at.has_ended & (at.step < last) & jnp.isfinite(at.norm)

    zero, one = jnp.zeros([], jnp.int32), jnp.ones([], matrix.real.dtype)
    unit = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    diverges = matrix_radius(matrix) > 1
    start = _Search(zero, unit, zero, one, diverges & (last == _MOST_STEPS))
    return jax.lax.while_loop(goes_on, advance, start)


def _power(matrix: jax.Array, exponent: jax.Array) -> jax.Array:
    """M^exponent by repeated squaring, differentiable in M."""
    result = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    for bit in range(_MOST_STEPS.bit_length()):
        result = jnp.where((exponent >> bit) & 1 == 1, matrix @ result, result)
        matrix = jnp.where(exponent >> (bit + 1) > 0, matrix @ matrix, matrix)
    return result


def _norm(matrix: jax.Array) -> jax.Array:
    """The largest singular value, in closed form for 1 x 1 and for real 2 x 2."""
    if matrix.shape[0] > 2 or (matrix.shape[0] == 2 and jnp.iscomplexobj(matrix)):
        return jnp.linalg.norm(matrix, ord=2)
    if matrix.shape[0] < 2:
        return jnp.max(jnp.abs(matrix), initial=0.0)
    (a, b), (c, d) = matrix
    return (jnp.hypot(a + d, b - c) + jnp.hypot(a - d, b + c)) / 2
