"""The largest stable curvature of a linear optimizer, for any number of buffers.

For real curvatures and coefficients that stay there is a closed form. As the curvature grows from
zero, eigenvalues of the iteration matrix leave the unit circle at -1 (params flip their sign at
every step), as a complex pair, or at 1. Each of the three has its formula, so that nothing is
searched for. For complex curvatures and for coefficients that repeat with a period, the limit is
searched for.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom.theory._kernel import kernel
from jaxmom.theory._numbers import to_numbers
from jaxmom.theory._systems import Linear, Repeating, as_repeating, as_system, nan_if_unknown
from jaxmom.theory.linear_system import (
    LinearSystem,
    PeriodicSystem,
    rest_state,
    transfer_function,
)
from jaxmom.theory.spectrum import as_complex, spectral_radius

# Where the search for a limit looks, in units of the inverse of what a gradient moves at once.
_LEAST, _MOST, _POINTS = 1e-4, 1e6, 1024


def flip_bound(optimizer: Linear) -> jax.Array:
    """Return the curvature at which an eigenvalue is -1: ``2 / H(-1)``; infinite if there is none.

    For coefficients that read the new buffers it is
    ``2 / (alpha (direct + sum_i read_i gain_i / (1 + decay_i)))``.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.

    Returns:
      A curvature [].

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.flip_bound(jm.heavy_ball(0.5, beta=0.9)):.1f}")  # 2 (1 + beta) / alpha
      7.6
    """
    system = as_system(optimizer)
    bound = _least_curvature(transfer_function(system, -1.0)[None] / 2)
    return nan_if_unknown(bound, system)


def neimark_sacker_bound(optimizer: Linear) -> jax.Array:
    """Return the least curvature at which two eigenvalues have the product 1.

    A complex pair on the unit circle has it: the Neimark-Sacker bifurcation. The products of two
    eigenvalues are the eigenvalues of M's second compound. B C has rank one, so that the compound
    of ``M = A + curvature B C`` is linear in the curvature, and the bound is an eigenvalue problem:
    for one buffer, det(M) = 1 and a closed form. Two real eigenvalues with the product 1 satisfy it
    as well, but then one of them is unstable already.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.

    Returns:
      A curvature []; infinite if there is none.

    Source: the guardian maps of Saydy, Tits and Abed 1990 (Math. Control Signals Syst. 3).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> optimizer = jm.qhm(0.1, beta=0.9, nu=1.02)  # (1 - beta) / (alpha beta (nu - 1))
      >>> print(f"{theory.neimark_sacker_bound(optimizer):.1f}")
      55.6
    """
    system = as_system(optimizer)
    n = system.A.shape[0]
    if n < 2:
        return jnp.full([], jnp.inf, system.A.dtype)
    fixed = _compound(system.A, system.A) / 2
    slope = _compound(system.A, jnp.outer(system.B, system.C))
    unit = jnp.eye(fixed.shape[0], dtype=fixed.dtype)
    turned = jnp.linalg.solve(unit - fixed, slope)  # its eigenvalues are 1 / curvature
    inverse = as_complex(turned[0]) if fixed.shape[0] == 1 else jnp.linalg.eigvals(turned)
    rounding = max(1e-9, 8 * float(jnp.finfo(fixed.dtype).eps))
    real = jnp.abs(inverse.imag) <= rounding * jnp.abs(inverse)
    # Far beyond the curvatures that the steps are made for, a bound is an error of rounding.
    steps = jnp.abs(system.C @ system.B) + jnp.abs(transfer_function(system, -1.0))
    real = real & (inverse.real > max(1e-11, 16 * float(jnp.finfo(fixed.dtype).eps)) * steps)
    return nan_if_unknown(_least_curvature(jnp.where(real, inverse.real, 0.0)), system)


def stability_limit(optimizer: Repeating, angle: ArrayLike = 0.0) -> jax.Array:
    """Return the largest curvature up to which the optimizer converges; 0 if it never does.

    It is the least of `flip_bound`, `neimark_sacker_bound` and the curvature at which an eigenvalue
    is 1 (only where something drives params away from zero, such as a negative weight decay). Times
    the learning rate it is the edge of stability: 2 for gradient descent, ``2 (1 + beta)`` for
    heavy ball.

    At an angle, and for coefficients that repeat with a period, no formula is at hand, and the
    limit is searched for: among 1,024 curvatures, evenly spaced in their logarithm over ten powers
    of ten, the first unstable one is found, and the limit before it by bisection. Instability
    between two of these curvatures, a hundredth part from each other, would be missed.

    Args:
      optimizer: A linear optimizer whose coefficients stay or repeat, or its system.
      angle: In radians, of the complex curvatures ``|lambda| exp(i angle)``, the eigenvalues of the
        field of a game, or an array of angles. pi / 2 is a bilinear game, 0 a loss.

    Returns:
      A modulus of the curvature, of the angle's shape; infinite if every positive one is stable.

    Raises:
      NotLinearError: A stage is not linear, or has no period; see `linearize_period`.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.stability_limit(jm.gradient_descent(0.5)))
      4.0
      >>> limit = theory.stability_limit(jm.optimistic_gradient(1.0), angle=jnp.pi / 2)
      >>> print(f"{limit:.4f}")  # 1 / sqrt(3)
      0.5774
    """
    system = as_repeating(optimizer)
    is_loss = isinstance(angle, int | float) and angle == 0
    angle = to_numbers("angle, in radians,", angle, system.A.dtype)
    if not system.names:  # nothing moves
        return jnp.zeros(jnp.shape(angle), system.A.dtype)
    if not (is_loss and isinstance(system, LinearSystem)):
        return jnp.vectorize(
            lambda one: nan_if_unknown(_search_limit(system, None if is_loss else one), system, one)
        )(angle)
    # A gradient of c per unit of params holds them at rest: at curvature c an eigenvalue is 1.
    hold = rest_state(system).gradient
    fold = jnp.where(hold > 0, hold, jnp.inf)
    limit = jnp.minimum(jnp.minimum(flip_bound(system), neimark_sacker_bound(system)), fold)
    # Nothing crosses the circle below the limit: one curvature there stands for all of them.
    inside = jnp.where(jnp.isfinite(limit), limit / 2, 1.0)
    limit = jnp.where(spectral_radius(system, inside) < 1, limit, 0.0)
    return nan_if_unknown(limit, system)


def _search_limit(system: LinearSystem | PeriodicSystem, angle: jax.Array | None) -> jax.Array:
    """Find the least curvature at which the radius exceeds 1, along a ray from zero."""
    tolerance = 64 * float(jnp.finfo(system.A.dtype).eps)

    def radius(curvature: jax.Array) -> jax.Array:
        if angle is None:
            return spectral_radius(system, curvature)
        ray = jax.lax.complex(curvature * jnp.cos(angle), curvature * jnp.sin(angle))
        return spectral_radius(system, ray)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = jnp.sqrt(ends[0] * ends[1])
        grows = radius(middle) > 1 + tolerance
        return jnp.where(grows, ends[0], middle), jnp.where(grows, middle, ends[1])

    weights = jnp.atleast_2d(kernel(system, 2 * getattr(system, "period", 1)))
    moved = jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(weights), axis=-1)))
    grid = jnp.geomspace(_LEAST, _MOST, _POINTS, dtype=moved.dtype) / jnp.where(moved > 0, moved, 1)
    grows = jax.lax.stop_gradient(radius(grid)) > 1 + tolerance
    first = jnp.argmax(grows)
    ends = jnp.where(first > 0, grid[first - 1], 1e-3 * grid[0]), grid[first]
    low, high = jax.lax.stop_gradient(jax.lax.fori_loop(0, 60, halve, ends))
    # One step of Newton's method takes the tolerance back, and has the slope of the limit.
    edge = (low + high) / 2
    value, slope = jax.value_and_grad(radius)(edge)
    limit = edge - (value - 1) / jax.lax.stop_gradient(jnp.where(slope > 0, slope, jnp.inf))
    limit = jnp.where(jnp.any(grows), limit, jnp.inf)
    inside = jnp.where(jnp.isfinite(limit), limit / 2, 1 / jnp.where(moved > 0, moved, 1))
    return jnp.where((radius(inside) < 1) & (limit > 0), limit, 0.0)


def _compound(a: jax.Array, b: jax.Array) -> jax.Array:
    """The mixed second compound: a_ij b_kl + a_kl b_ij - a_il b_kj - a_kj b_il, i < k, j < l."""
    i, k = np.triu_indices(a.shape[0], 1)
    minors = a[jnp.ix_(i, i)] * b[jnp.ix_(k, k)] + a[jnp.ix_(k, k)] * b[jnp.ix_(i, i)]
    return minors - a[jnp.ix_(i, k)] * b[jnp.ix_(k, i)] - a[jnp.ix_(k, i)] * b[jnp.ix_(i, k)]


def _least_curvature(inverses: jax.Array) -> jax.Array:
    """The least positive of the curvatures that have these inverses."""
    positive = inverses > 0
    return jnp.min(jnp.where(positive, 1 / jnp.where(positive, inverses, 1.0), jnp.inf))
