"""Rates, damping and oscillation of a linear optimizer on a quadratic, from its eigenvalues.

With the system (A, B, C) of `linearize` and gradients curvature * params, the state follows
``x <- M x`` with ``M = A + curvature B C``, whose eigenvalues say everything. Every function takes
an optimizer or its `LinearSystem`, and curvatures of any shape, each a problem of its own. They
compile, map and differentiate: ``jax.vmap(theory.spectral_radius, (0, None))(optimizers, 1.0)``.

The eigenvalues for one buffer (2 x 2) are a closed form, which every device can run. For more
buffers they come from `jnp.linalg.eigvals`, which JAX has for CPUs, for GPUs by way of the host,
MAGMA or a recent cuSOLVER, and for TPUs not at all: map many small matrices on a CPU.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom._values import as_count
from jaxmom.theory._numbers import to_numbers
from jaxmom.theory._systems import (
    Linear,
    Repeating,
    as_number,
    as_repeating,
    as_system,
    check_interval,
    map_numbers,
)
from jaxmom.theory.linear_system import LinearSystem, PeriodicSystem


def iteration_matrix(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return M [..., n, n] of ``x <- M x``, where x holds params and the optimizer's buffers.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array [...] of them.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.iteration_matrix(jm.heavy_ball(0.25, beta=0.5), curvature=2.0))
      [[ 0.5  0.5]
       [-0.5  0.5]]
    """
    system = as_system(optimizer)
    return map_numbers(closed_loop, system, curvature, result="(n,n)", may_be_complex=True)


def monodromy(optimizer: Repeating, curvature: ArrayLike) -> jax.Array:
    """Return M_{p-1} ... M_1 M_0 [..., n, n]: what a whole period of p updates makes of the state.

    M_i is the `iteration_matrix` of the updates with counts i, p + i, 2 p + i ... The eigenvalues
    are Floquet's multipliers, the p-th powers of factors per step. Where nothing varies, p is 1.

    Args:
      optimizer: A linear optimizer whose coefficients stay or repeat, or its system.
      curvature: The eigenvalue lambda of the Hessian, or an array [...] of them; complex ones for
        games.

    Raises:
      NotLinearError: A stage is not linear, or has no period; see `linearize_period`.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> outer = jm.lookahead(jm.gradient_descent(0.5), period=2, step=0.5)
      >>> print(theory.monodromy(outer, 1.0)[0])  # params: half of 1/4; and half the slow weights
      [0.125 0.5   0.   ]
    """
    system = as_repeating(optimizer)
    return map_numbers(_period_matrix, system, curvature, result="(n,n)", may_be_complex=True)


def eigenvalues(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return the eigenvalues [..., n] of the iteration matrix, complex, the largest first.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array [...] of them.
    """
    system = as_system(optimizer)
    return map_numbers(_sorted_eigenvalues, system, curvature, result="(n)", may_be_complex=True)


def characteristic_polynomial(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return the coefficients [..., n + 1] of det(z I - M), the highest power first.

    One momentum buffer: ``z^2 - (1 + beta - a c) z + beta (1 - a direct)`` with a = alpha *
    curvature and c = direct + read gain, for coefficients that read the new buffer.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array [...] of them.

    Source: the recursion of Faddeev and LeVerrier; it needs no eigenvalues.
    """
    system = as_system(optimizer)
    return map_numbers(polynomial, system, curvature, result="(m)", may_be_complex=True)


def spectral_radius(optimizer: Repeating, curvature: ArrayLike) -> jax.Array:
    """Return the asymptotic rate: in the long run, errors shrink by this factor per step.

    Above 1 the run diverges. It is differentiable where the largest eigenvalue is simple. A buffer
    that params never read counts as well; `minimal` drops it.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.

    Returns:
      A rate for every curvature, of its shape.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.spectral_radius(jm.gradient_descent(0.5), curvature=1.0))
      0.5
      >>> betas = jnp.array([0.0, 0.25, 0.81])
      >>> radius = jax.vmap(lambda b: theory.spectral_radius(jm.heavy_ball(0.25, b), 1.0))(betas)
      >>> print(radius.round(6))  # from beta = (1 - sqrt(0.25))^2 on it is sqrt(beta)
      [0.75 0.5  0.9 ]
    """
    system = as_repeating(optimizer)
    return map_numbers(_spectral_radius, system, curvature, may_be_complex=True)


def rate(optimizer: Repeating, mu: ArrayLike, L: ArrayLike, points: int = 257) -> jax.Array:
    """Return the worst spectral radius over curvatures in [mu, L].

    It is taken at the two ends and at curvatures between them, evenly spaced in their square root;
    a resonance between two of them may be missed by a little.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      mu: The least curvature, or an array of them.
      L: The greatest curvature, or an array of them.
      points: The number of curvatures, the two ends included.

    Raises:
      ValueError: The curvatures are not 0 <= mu <= L, or there are fewer than two points.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> tuned = jm.heavy_ball(1 / 9, beta=4 / 9)  # optimal for [1, 25]
      >>> print(f"{theory.rate(tuned, mu=1.0, L=25.0):.6f}")  # (5 - 1) / (5 + 1)
      0.666667
    """
    check_interval(mu, L, may_be_zero=True)
    if as_count("points", points, "the number of curvatures") == 1:
        raise ValueError("points counts the two ends of [mu, L] as well: give at least 2, got 1.")

    def worst(system: LinearSystem | PeriodicSystem, low: jax.Array, high: jax.Array) -> jax.Array:
        grid = jnp.linspace(0.0, 1.0, points, dtype=low.dtype)
        curvatures = (jnp.sqrt(low) + (jnp.sqrt(high) - jnp.sqrt(low)) * grid) ** 2
        return jnp.max(spectral_radius(system, curvatures))

    return map_numbers(worst, as_repeating(optimizer), mu, L)


def damping(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return the damping ratio: below 1 the run oscillates, 1 is critical, above 1 overdamped.

    For the two leading eigenvalues z and w it is ``|z + w| / (2 sqrt(z w))``: the cosine of the
    angle of a complex pair, and above 1 for real ones. Infinite if there is only one eigenvalue.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.

    Returns:
      A ratio for every curvature, of its shape.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.damping(jm.heavy_ball(0.25, beta=0.25), curvature=1.0))
      1.0
    """
    return map_numbers(_damping, as_system(optimizer), curvature)


def regime(optimizer: Linear, curvature: ArrayLike, tolerance: float = 1e-6) -> str:
    """Return the damping in a word: "over", "critical" (within the tolerance) or "under".

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, one plain number.
      tolerance: The distance from critical damping that counts as zero.

    Raises:
      ValueError: There are several curvatures, or it is NaN, or the tolerance is negative.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> [theory.regime(jm.heavy_ball(0.25, beta), 1.0) for beta in (0.2, 0.25, 0.3)]
      ['over', 'critical', 'under']
    """
    if to_numbers("curvature", curvature, may_be_complex=True).ndim > 0:
        raise ValueError(
            f"regime is a word for one curvature, got {curvature}; use damping for arrays."
        )
    margin = as_number("tolerance", tolerance)
    if not margin >= 0:
        raise ValueError(f"the tolerance is a distance, at least 0, got {tolerance}.")
    ratio = float(damping(optimizer, curvature))
    if np.isnan(ratio):
        raise ValueError(f"there is no damping at the curvature {curvature}: it is NaN.")
    if abs(ratio - 1) <= margin:
        return "critical"
    return "under" if ratio < 1 else "over"


def period(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Return the steps per oscillation of params: 2 pi over the leading eigenvalue's angle.

    Infinite for a positive eigenvalue, 2 for a negative one.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian, or an array of them.
    """
    angle = jnp.abs(jnp.angle(eigenvalues(optimizer, curvature)[..., 0]))
    return jnp.where(angle == 0, jnp.inf, 2 * jnp.pi / jnp.where(angle == 0, 1.0, angle))


# Functions of one system and one curvature.


def closed_loop(system: LinearSystem, curvature: jax.Array) -> jax.Array:
    """Return the iteration matrix [n, n] for one curvature, a scalar."""
    return _loop_matrix(system.A, system.B, system.C, curvature)


def _loop_matrix(a: jax.Array, b: jax.Array, c: jax.Array, curvature: jax.Array) -> jax.Array:
    return a + curvature * jnp.outer(b, c)


def _sorted_eigenvalues(system: LinearSystem, curvature: jax.Array) -> jax.Array:
    roots = matrix_eigenvalues(closed_loop(system, curvature))
    return roots[jnp.argsort(-jnp.abs(roots), stable=True)]


def polynomial(system: LinearSystem, curvature: jax.Array) -> jax.Array:
    """Return the characteristic polynomial [n + 1] for one curvature, a scalar."""
    matrix = closed_loop(system, curvature)
    n = matrix.shape[0]
    product, coefficients = matrix, [jnp.ones([], matrix.dtype)]
    for k in range(1, n + 1):
        coefficients.append(-jnp.trace(product) / k)
        product = matrix @ (product + coefficients[-1] * jnp.eye(n, dtype=matrix.dtype))
    return jnp.stack(coefficients)


def _spectral_radius(system: LinearSystem | PeriodicSystem, curvature: jax.Array) -> jax.Array:
    if isinstance(system, LinearSystem):
        return matrix_radius(closed_loop(system, curvature))
    # Each factor is scaled to size 1, so that no product of many over- or underflows.
    start = jnp.eye(system.A.shape[1], dtype=jnp.result_type(system.A, curvature))

    def multiply(product: jax.Array, factors: tuple[jax.Array, jax.Array]) -> Any:
        product = _loop_matrix(*factors, system.C, curvature) @ product
        size = jax.lax.stop_gradient(jnp.max(jnp.abs(product)))
        size = jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)
        return product / size.astype(product.dtype), jnp.log(size)

    product, logs = jax.lax.scan(multiply, start, (system.A, system.B))
    radius = matrix_radius(product)
    is_positive = radius > 0
    log_radius = jnp.log(jnp.where(is_positive, radius, 1.0)) + jnp.sum(logs)
    return jnp.where(is_positive, jnp.exp(log_radius / system.period), radius)


def _period_matrix(system: LinearSystem | PeriodicSystem, curvature: jax.Array) -> jax.Array:
    if isinstance(system, LinearSystem):
        return closed_loop(system, curvature)
    start = jnp.eye(system.A.shape[1], dtype=jnp.result_type(system.A, curvature))
    return jax.lax.scan(
        lambda product, factors: (_loop_matrix(*factors, system.C, curvature) @ product, None),
        start,
        (system.A, system.B),
    )[0]


def _damping(system: LinearSystem, curvature: jax.Array) -> jax.Array:
    roots = _sorted_eigenvalues(system, curvature)
    if roots.shape[0] == 1:
        return jnp.full([], jnp.inf, roots.real.dtype)
    z = roots[0]
    is_pair = z.imag != 0
    w = jnp.where(is_pair, jnp.conj(z), roots[1])
    product = jnp.abs(z) * jnp.abs(w)
    spread = jnp.abs(z - w) ** 2 / (4 * jnp.where(product > 0, product, 1.0))
    spread = jnp.where(product == 0, jnp.inf, spread)
    return jnp.sqrt(jnp.where(is_pair, jnp.maximum(1 - spread, 0.0), 1 + spread))


# Eigenvalues of a matrix, in closed form for 1 x 1 and 2 x 2.


def matrix_eigenvalues(matrix: jax.Array) -> jax.Array:
    """Return the eigenvalues of a matrix [n, n], complex, in any order."""
    if matrix.shape[0] > 2:
        return jnp.linalg.eigvals(matrix)
    if matrix.shape[0] < 2:
        return as_complex(jnp.diagonal(matrix))
    middle, discriminant, product = _quadratic(matrix)
    if jnp.iscomplexobj(matrix):
        is_double = discriminant == 0
        root = jnp.where(is_double, 0.0, jnp.sqrt(jnp.where(is_double, 1.0, discriminant)))
        first = middle + jnp.where((jnp.conj(middle) * root).real < 0, -root, root)
        second = product / jnp.where(first == 0, 1.0, first)
        return jnp.stack([first, jnp.where(is_double, middle, second)])
    root = jnp.sqrt(jnp.where(discriminant > 0, discriminant, 1.0))
    # The larger one first, and the other from their product: no cancellation.
    first = middle + jnp.where(middle < 0, -root, root)
    second = product / jnp.where(first == 0, 1.0, first)
    turn = jnp.sqrt(jnp.where(discriminant < 0, -discriminant, 1.0))
    real = as_complex(jnp.stack([first, second]))
    pair = jax.lax.complex(jnp.stack([middle, middle]), jnp.stack([turn, -turn]))
    double = as_complex(jnp.stack([middle, middle]))
    return jnp.where(discriminant > 0, real, jnp.where(discriminant < 0, pair, double))


def matrix_radius(matrix: jax.Array) -> jax.Array:
    """Return the largest modulus of an eigenvalue; 0 for an empty matrix."""
    if matrix.shape[0] == 0:
        return jnp.zeros([], matrix.real.dtype)
    if matrix.shape[0] != 2 or jnp.iscomplexobj(matrix):
        return jnp.max(jnp.abs(matrix_eigenvalues(matrix)))
    middle, discriminant, product = _quadratic(matrix)
    is_real, is_pair = discriminant > 0, discriminant < 0
    root = jnp.sqrt(jnp.where(is_real, discriminant, 1.0))
    modulus = jnp.sqrt(jnp.where(is_pair, product, 1.0))
    return jnp.where(is_pair, modulus, jnp.abs(middle) + jnp.where(is_real, root, 0.0))


def as_complex(x: jax.Array) -> jax.Array:
    """Convert real numbers to complex ones of the same precision."""
    return x if jnp.iscomplexobj(x) else jax.lax.complex(x, jnp.zeros_like(x))


def _quadratic(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Half the trace, the discriminant and the determinant of a 2 x 2 matrix."""
    (a, b), (c, d) = matrix
    middle, product = (a + d) / 2, a * d - b * c
    discriminant = ((a - d) / 2) ** 2 + b * c
    # Within rounding of zero it is zero: at critical damping, where optimal tunings are, the root
    # of a rounding error of 1e-16 would show as 1e-8 in the eigenvalues.
    scale = jnp.abs((a - d) / 2) ** 2 + jnp.abs(b * c)
    rounding = 8 * jnp.finfo(matrix.dtype).eps * (scale + jnp.abs(middle) ** 2)
    return middle, jnp.where(jnp.abs(discriminant) <= rounding, 0.0, discriminant), product
