"""When momentum on temporal differences is stable: heavy ball on an operator without symmetry.

Momentum that ticks once per visit sees the mean of its differences as ``(gamma P - I)`` times the
error, with P the transition matrix from pair to pair. On an eigenvector of eigenvalue lambda,

    z^2 - (1 + beta + alpha lambda) z + beta = 0,

and both roots are in the unit disc exactly if ``1 + beta + alpha lambda`` is in an ellipse whose
half-axes are ``1 + beta`` (real) and ``1 - beta`` (imaginary). Curvature is real and likes a long
memory; a cycle of states has complex lambda, and 1 - beta is little room for them.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def max_stable_alpha(beta: ArrayLike, discount: ArrayLike) -> jax.Array:
    """The largest alpha that no cycle of states can make diverge, for any process and policy.

    A cycle of n states has lambda = gamma e^{i theta} - 1, theta a multiple of 2 pi / n; all
    other transition matrices have their eigenvalues inside that circle, and the ellipse is convex,
    so that the worst theta decides. With k = ((1 + beta) / (1 - beta))^2 and t = 1 - gamma cos
    theta the limit is ``2 (1 + beta) / ((1 - k) t + 2 k - k (1 - gamma^2) / t)``, least at ``t =
    sqrt(k (1 - gamma^2) / (k - 1))``. Towards beta = 1 it falls as (1 - beta)^2: for gamma =
    0.99 as 0.6 (1 - beta)^2, where symmetry would have allowed 2 (1 + beta) / (1 + gamma).

    Args:
      beta: In (-1, 1).
      discount: gamma, in [0, 1).

    Returns:
      alpha, of the broadcast shape.

    Source: ours; Schur and Cohn's criterion for a complex quadratic.

    Example:
      >>> from jaxmom.theory import td
      >>> print(*(f"{td.max_stable_alpha(beta, 0.99):.4f}" for beta in (0.0, 0.5, 0.9)))
      1.0050 0.1922 0.0061
    """
    beta, discount = jnp.asarray(beta, float), jnp.asarray(discount, float)
    k = ((1 + beta) / (1 - beta)) ** 2
    room = 1 - discount**2
    # Without momentum (k = 1), and below, the fastest oscillation is the worst.
    curved = k > 1
    interior = jnp.sqrt(k * room / jnp.where(curved, k - 1, 1.0))
    t = jnp.where(curved, jnp.clip(interior, 1 - discount, 1 + discount), 1 + discount)
    return 2 * (1 + beta) / ((1 - k) * t + 2 * k - k * room / t)


def td_spectrum(transition: ArrayLike, discount: ArrayLike) -> jax.Array:
    """The eigenvalues of ``gamma P - I``, complex [n].

    Args:
      transition: P [n, n], rows the probabilities of what follows; a row may sum to less than 1
        where the episode ends. `jaxmom.rl.transition_matrix` makes it from a process and a policy.
      discount: gamma.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxmom.theory import td
      >>> ring = jnp.roll(jnp.eye(4), 1, axis=1)
      >>> print(jnp.sort(jnp.round(td.td_spectrum(ring, 0.5).imag, 3) + 0.0))
      [-0.5  0.   0.   0.5]
    """
    transition = jnp.asarray(transition, float)
    unit = jnp.eye(transition.shape[-1], dtype=transition.dtype)
    return jnp.linalg.eigvals(jnp.asarray(discount, transition.dtype) * transition - unit)


def td_stable_alpha(beta: ArrayLike, spectrum: ArrayLike) -> jax.Array:
    """The largest stable alpha on given eigenvalues: the criterion for one process and policy.

    ``alpha < -2 (1 + beta) Re / (Re^2 + Im^2 ((1 + beta) / (1 - beta))^2)`` for every eigenvalue.

    Args:
      beta: A scalar in (-1, 1).
      spectrum: [n] eigenvalues, as of `td_spectrum`.

    Returns:
      alpha; 0 where an eigenvalue has no negative real part.

    Example:
      >>> from jaxmom.theory import td
      >>> print(f"{td.td_stable_alpha(0.9, [-1.0, -0.5]):.1f}")  # real: 2 (1 + beta) / |lambda|
      3.8
    """
    values = jnp.asarray(spectrum, complex)
    beta = jnp.asarray(beta, values.real.dtype)
    ratio = ((1 + beta) / (1 - beta)) ** 2
    falls = values.real < 0
    size = jnp.where(falls, values.real**2 + ratio * values.imag**2, 1.0)
    return jnp.min(jnp.where(falls, -2 * (1 + beta) * values.real / size, 0.0))


def td_growth(alpha: ArrayLike, beta: ArrayLike, spectrum: ArrayLike) -> jax.Array:
    """The factor per sweep of the largest mode: the largest root for any of the eigenvalues.

    Args:
      alpha: A scalar, the learning rate.
      beta: A scalar in (-1, 1).
      spectrum: [n] eigenvalues, as of `td_spectrum`.

    Returns:
      A scalar; above 1, errors grow.

    Example:
      >>> from jaxmom.theory import td
      >>> print(f"{td.td_growth(0.5, 0.0, [-0.5 + 0j, -1.0]):.2f}")
      0.75
    """
    values = jnp.asarray(spectrum, complex)
    alpha, beta = (jnp.asarray(x, complex) for x in (alpha, beta))
    half = (1 + beta + alpha * values) / 2
    root = jnp.sqrt(half**2 - beta)
    return jnp.max(jnp.maximum(jnp.abs(half + root), jnp.abs(half - root)))
