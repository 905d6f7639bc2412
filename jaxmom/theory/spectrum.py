"""What a linear optimizer must do on a quadratic, one eigenvalue of the Hessian at a time.

With the system (A, B, C) of `linearize`, x <- A x + B g, and g = curvature * params, the state
follows ``x <- M x`` with ``M = A + curvature B C``: rate, damping, ripples and divergence are in
its eigenvalues. Every function takes an optimizer or its `LinearSystem`, and maps and compiles:
``jax.jit(jax.vmap(theory.spectral_radius))(optimizer, curvature)`` is the phase diagram.

Eigenvalues of one buffer (2 x 2) have a closed form here, which every device can run. Others go
through `jnp.linalg.eigvals`, which JAX has for CPUs, for GPUs only by way of the host, MAGMA or a
recent cuSOLVER, and for TPUs not at all: map many small matrices on a CPU.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmom.theory.linear_system import LinearSystem, transfer_function
from jaxmom.theory._linearize import linearize

Linear: TypeAlias = optax.GradientTransformation | LinearSystem


def as_system(optimizer: Linear) -> LinearSystem:
    """The system of an optimizer; a `LinearSystem` is its own."""
    return optimizer if isinstance(optimizer, LinearSystem) else linearize(optimizer)


def iteration_matrix(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """M [n, n] of ``x <- M x``, where x is params and the optimizer's buffers.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.iteration_matrix(jm.heavy_ball(0.25, beta=0.5), curvature=2.0))
      [[ 0.5  0.5]
       [-0.5  0.5]]
    """
    system = as_system(optimizer)
    curvature = jnp.asarray(curvature, system.A.dtype)
    return system.A + curvature * jnp.outer(system.B, system.C)


def eigenvalues(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """The n eigenvalues of the iteration matrix, complex, the largest first."""
    roots = _eigenvalues(iteration_matrix(optimizer, curvature))
    return roots[jnp.argsort(-jnp.abs(roots), stable=True)]


def characteristic_polynomial(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """The n + 1 coefficients of det(z I - M), the highest power first.

    One momentum buffer: ``z^2 - (1 + beta - a c) z + beta (1 - a direct)`` with a = alpha *
    curvature and c = direct + read gain, of the new buffer.

    Source: Faddeev and LeVerrier's recursion; it needs no eigenvalues.
    """
    matrix = iteration_matrix(optimizer, curvature)
    n = matrix.shape[0]
    product, coefficients = matrix, [jnp.ones([], matrix.dtype)]
    for k in range(1, n + 1):
        coefficients.append(-jnp.trace(product) / k)
        product = matrix @ (product + coefficients[-1] * jnp.eye(n, dtype=matrix.dtype))
    return jnp.stack(coefficients)


def spectral_radius(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """The asymptotic rate: errors shrink, in the long run, by this factor per step.

    Above 1 the run diverges. It is differentiable where the largest eigenvalue is simple. A buffer
    that params do not feel counts as well; `minimal` drops it.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      curvature: The eigenvalue lambda of the Hessian.

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
    return _radius(iteration_matrix(optimizer, curvature))


def rate(optimizer: Linear, mu: ArrayLike, L: ArrayLike, points: int = 257) -> jax.Array:
    """The worst spectral radius over curvatures in [mu, L].

    Taken at the two ends and at `points` curvatures between them, evenly spaced in their square
    root, where the worst of a resonance between two of them may be missed by a little.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> tuned = jm.heavy_ball(1 / 9, beta=4 / 9)  # optimal for [1, 25]
      >>> print(f"{theory.rate(tuned, mu=1.0, L=25.0):.6f}")  # (5 - 1) / (5 + 1)
      0.666667
    """
    system = as_system(optimizer)
    ends = (jnp.sqrt(jnp.asarray(x, system.A.dtype)) for x in (mu, L))
    low, high = ends
    curvatures = (low + (high - low) * jnp.linspace(0.0, 1.0, points)) ** 2
    return jnp.max(jax.vmap(lambda curvature: spectral_radius(system, curvature))(curvatures))


def damping(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """The damping ratio: below 1 the run oscillates, at 1 it is critical, above 1 overdamped.

    For the two eigenvalues z, w that lead, ``|z + w| / (2 sqrt(z w))``: the cosine of the angle of
    a complex pair, and above 1 for real ones, which do not turn. Infinite without a second one.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.damping(jm.heavy_ball(0.25, beta=0.25), curvature=1.0))
      1.0
    """
    roots = eigenvalues(optimizer, curvature)
    if roots.shape[0] == 1:
        return jnp.full([], jnp.inf, roots.real.dtype)
    z = roots[0]
    turns = z.imag != 0
    w = jnp.where(turns, jnp.conj(z), roots[1])
    product = jnp.abs(z) * jnp.abs(w)
    spread = jnp.abs(z - w) ** 2 / (4 * jnp.where(product > 0, product, 1.0))
    spread = jnp.where(product > 0, spread, jnp.inf)
    return jnp.sqrt(jnp.where(turns, jnp.maximum(1 - spread, 0.0), 1 + spread))


def regime(optimizer: Linear, curvature: ArrayLike, tolerance: float = 1e-6) -> str:
    """The damping in a word: "over", "critical" (within the tolerance) or "under".

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> [theory.regime(jm.heavy_ball(0.25, beta), 1.0) for beta in (0.2, 0.25, 0.3)]
      ['over', 'critical', 'under']
    """
    ratio = float(damping(optimizer, curvature))
    if abs(ratio - 1) <= tolerance:
        return "critical"
    return "under" if ratio < 1 else "over"


def period(optimizer: Linear, curvature: ArrayLike) -> jax.Array:
    """Steps per oscillation of params: 2 pi over the leading eigenvalue's angle.

    Infinite for a positive eigenvalue, 2 for a negative one.
    """
    angle = jnp.abs(jnp.angle(eigenvalues(optimizer, curvature)[0]))
    return jnp.where(angle > 0, 2 * jnp.pi / jnp.where(angle > 0, angle, 1.0), jnp.inf)


def transient_growth(optimizer: Linear, curvature: ArrayLike, steps: int = 1000) -> jax.Array:
    """How much an error may grow before it shrinks: the largest norm of a power of M, 1 at least.

    Taken in the coordinates (params_t, params_{t-1} ...), where M is the companion matrix of its
    characteristic polynomial, so that the units of the buffers do not matter. Heavy ball at its
    optimal tuning grows by about 0.37 sqrt(kappa).
    """
    coefficients = characteristic_polynomial(optimizer, curvature)
    n = coefficients.shape[0] - 1
    matrix = jnp.eye(n, k=-1, dtype=coefficients.dtype).at[0].set(-coefficients[1:])

    def multiply(power: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        power = matrix @ power
        return power, jnp.linalg.norm(power, ord=2)

    _, norms = jax.lax.scan(multiply, jnp.eye(n, dtype=coefficients.dtype), length=steps)
    return jnp.maximum(jnp.max(norms), 1.0)


# What the filter itself does with gradients, whatever the curvature.


def frequency_response(optimizer: Linear, frequency: ArrayLike) -> jax.Array:
    """H(exp(i w)): gain (the modulus) and delay (the angle) for gradients that go like a wave.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      frequency: w in radians per step, from 0 (steady) to pi (alternating).

    Returns:
      A complex number: the step per gradient.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import theory
      >>> response = theory.frequency_response(jm.ema_momentum(0.1, beta=0.9), jnp.pi)
      >>> print(f"{abs(response):.5f}")  # 0.1 (1 - beta) / (1 + beta)
      0.00526
    """
    system = as_system(optimizer)
    frequency = jnp.asarray(frequency, system.A.dtype)
    return transfer_function(system, jax.lax.complex(jnp.cos(frequency), jnp.sin(frequency)))


def effective_learning_rate(optimizer: Linear) -> jax.Array:
    """H(1), the step per gradient in a steady gradient: alpha / (1 - beta) for heavy ball.

    To compare methods, match this and vary the rest.
    """
    return transfer_function(as_system(optimizer), 1.0)


def memory(optimizer: Linear) -> jax.Array:
    """How many gradients a step is made of: one more than their mean age in it.

    ``1 / (1 - beta)`` for heavy ball and averages, 1 for gradient descent. The mean is weighted by
    what the step takes of each: ``1 - H'(1) / H(1)``.
    """
    system = as_system(optimizer)
    gain = lambda z: transfer_function(system, z)  # noqa: E731
    value, slope = jax.jvp(gain, (jnp.ones([], system.A.dtype),), (jnp.ones([], system.A.dtype),))
    return 1 - slope / value


def half_life(optimizer: Linear) -> jax.Array:
    """After how many steps half of a gradient is forgotten: ln(1/2) / ln(the slowest decay)."""
    slowest = _radius(as_system(optimizer).A[1:, 1:])
    safe = jnp.where(slowest > 0, slowest, 0.5)
    return jnp.where(slowest > 0, jnp.log(0.5) / jnp.log(safe), 0.0)


# Eigenvalues, by hand for 1 x 1 and 2 x 2.


def _eigenvalues(matrix: jax.Array) -> jax.Array:
    if matrix.shape[0] > 2:
        return jnp.linalg.eigvals(matrix)
    if matrix.shape[0] < 2:
        return complexified(jnp.diagonal(matrix))
    middle, discriminant, product = _quadratic(matrix)
    root = jnp.sqrt(jnp.where(discriminant > 0, discriminant, 1.0))
    # The larger one first, and the other from their product: no cancellation.
    first = middle + jnp.where(middle < 0, -root, root)
    second = product / jnp.where(first == 0, 1.0, first)
    turn = jnp.sqrt(jnp.where(discriminant < 0, -discriminant, 1.0))
    real = complexified(jnp.stack([first, second]))
    pair = jax.lax.complex(jnp.stack([middle, middle]), jnp.stack([turn, -turn]))
    double = complexified(jnp.stack([middle, middle]))
    return jnp.where(discriminant > 0, real, jnp.where(discriminant < 0, pair, double))


def _radius(matrix: jax.Array) -> jax.Array:
    """The largest modulus of an eigenvalue; 0 of an empty matrix."""
    if matrix.shape[0] == 0:
        return jnp.zeros([], matrix.dtype)
    if matrix.shape[0] != 2:
        return jnp.max(jnp.abs(_eigenvalues(matrix)))
    middle, discriminant, product = _quadratic(matrix)
    positive, negative = discriminant > 0, discriminant < 0
    root = jnp.sqrt(jnp.where(positive, discriminant, 1.0))
    modulus = jnp.sqrt(jnp.where(negative, product, 1.0))
    return jnp.where(negative, modulus, jnp.abs(middle) + jnp.where(positive, root, 0.0))


def complexified(x: jax.Array) -> jax.Array:
    """The same numbers as complex ones, of the same precision."""
    return jax.lax.complex(x, jnp.zeros_like(x))


def _quadratic(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Half the trace, the discriminant and the determinant of a 2 x 2 matrix."""
    (a, b), (c, d) = matrix
    middle, product = (a + d) / 2, a * d - b * c
    discriminant = ((a - d) / 2) ** 2 + b * c
    # Within rounding of zero it is zero: at critical damping, where optimal tunings are, the root
    # of a rounding error of 1e-16 would show as 1e-8 in the eigenvalues.
    scale = ((a - d) / 2) ** 2 + jnp.abs(b * c)
    rounding = 8 * jnp.finfo(matrix.dtype).eps * (scale + middle**2)
    return middle, jnp.where(jnp.abs(discriminant) <= rounding, 0.0, discriminant), product
