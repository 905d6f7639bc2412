"""Stability of temporal-difference learning with momentum: heavy ball on an asymmetric operator.

Momentum that advances once per visit sees the mean of its differences as ``(gamma P - I)`` times
the error, with P the transition matrix from pair to pair. On an eigenvector of eigenvalue lambda,

    z^2 - (1 + beta + alpha lambda) z + beta = 0,

and both roots are in the unit disc exactly if ``1 + beta + alpha lambda`` is in an ellipse whose
half-axes are ``1 + beta`` (real) and ``1 - beta`` (imaginary). For real eigenvalues a large beta is
safe; for complex ones (cycles of states) the stable step shrinks like 1 - beta.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom.theory._numbers import known_values, to_numbers

# What the sum of a row may exceed 1 by, in float32.
_ROUNDING = 1e-5


def max_stable_alpha(beta: ArrayLike, discount: ArrayLike) -> jax.Array:
    """Return the largest alpha that is stable for every process and policy.

    A cycle of n states has lambda = gamma e^{i theta} - 1, theta a multiple of 2 pi / n; all
    other transition matrices have their eigenvalues inside that circle, and the ellipse is convex,
    so that the worst theta decides. With k = ((1 + beta) / (1 - beta))^2 and t = 1 - gamma cos
    theta the limit is ``2 (1 + beta) / ((1 - k) t + 2 k - k (1 - gamma^2) / t)``, least at ``t =
    sqrt(k (1 - gamma^2) / (k - 1))``. Towards beta = 1 it falls as (1 - beta)^2: for gamma =
    0.99 as 0.6 (1 - beta)^2, where symmetry would have allowed 2 (1 + beta) / (1 + gamma).

    Args:
      beta: In (-1, 1), of any shape.
      discount: gamma, in [0, 1), of any shape that broadcasts with beta.

    Returns:
      alpha, of the broadcast shape.

    Raises:
      ValueError: beta is not in (-1, 1), or the discount is not in [0, 1].

    Source: derived here from the criterion of Schur and Cohn for a complex quadratic.

    Example:
      >>> from jaxmom.theory import td
      >>> print(*(f"{td.max_stable_alpha(beta, 0.99):.4f}" for beta in (0.0, 0.5, 0.9)))
      1.0050 0.1922 0.0061
    """
    beta, discount = _as_momentum(beta), _as_discount(discount)
    k = ((1 + beta) / (1 - beta)) ** 2
    room = 1 - discount**2
    # Without momentum (k = 1), and below, the fastest oscillation is the worst.
    curved = k > 1
    interior = jnp.sqrt(k * room / jnp.where(curved, k - 1, 1.0))
    t = jnp.where(curved, jnp.clip(interior, 1 - discount, 1 + discount), 1 + discount)
    return 2 * (1 + beta) / ((1 - k) * t + 2 * k - k * room / t)


def td_spectrum(transition: ArrayLike, discount: ArrayLike) -> jax.Array:
    """Return the eigenvalues of ``gamma P - I``, complex [n].

    Args:
      transition: P [n, n], rows the probabilities of what follows; a row may sum to less than 1
        where the episode ends. `jaxmom.rl.transition_matrix` makes it from a process and a policy.
      discount: gamma, a scalar.

    Raises:
      ValueError: The transition matrix is not square, its rows are not probabilities, or the
        discount is not a scalar in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxmom.theory import td
      >>> ring = jnp.roll(jnp.eye(4), 1, axis=1)
      >>> print(jnp.sort(jnp.round(td.td_spectrum(ring, 0.5).imag, 3) + 0.0))
      [-0.5  0.   0.   0.5]
    """
    matrix, discount = to_numbers("transition", transition), _as_discount(discount)
    known, transition = known_values(transition), matrix
    try:
        chex.assert_rank([transition, discount], [2, 0])
        chex.assert_shape(transition, (transition.shape[0], transition.shape[0]))
    except AssertionError as error:
        raise ValueError(
            "td_spectrum takes one transition matrix [n, n] and one discount [], got shapes "
            f"{transition.shape} and {discount.shape}; map many of them with jax.vmap."
        ) from error
    if known is not None and not np.all((known >= 0) & (known.sum(1) <= 1 + _ROUNDING)[:, None]):
        raise ValueError(
            "the rows of a transition matrix are probabilities: not negative, with a sum of at "
            f"most 1; got {transition}."
        )
    unit = jnp.eye(transition.shape[-1], dtype=transition.dtype)
    return jnp.linalg.eigvals(discount * transition - unit)


def td_stable_alpha(beta: ArrayLike, spectrum: ArrayLike) -> jax.Array:
    """Return the largest stable alpha on given eigenvalues: the limit of one process and policy.

    ``alpha < -2 (1 + beta) Re / (Re^2 + Im^2 ((1 + beta) / (1 - beta))^2)`` for every eigenvalue.

    Args:
      beta: In (-1, 1), of any shape.
      spectrum: [n] eigenvalues, as of `td_spectrum`.

    Returns:
      alpha, of beta's shape; 0 where an eigenvalue has no negative real part.

    Raises:
      ValueError: The spectrum is not a vector of finite numbers, or beta is not in (-1, 1).

    Example:
      >>> from jaxmom.theory import td
      >>> print(f"{td.td_stable_alpha(0.9, [-1.0, -0.5]):.1f}")  # real: 2 (1 + beta) / |lambda|
      3.8
    """
    values = _as_spectrum(spectrum)
    beta = _as_momentum(beta)[..., None]
    values = jnp.broadcast_to(values, (*beta.shape[:-1], values.size))
    ratio = ((1 + beta) / (1 - beta)) ** 2
    falls = values.real < 0
    size = jnp.where(falls, values.real**2 + ratio * values.imag**2, 1.0)
    return jnp.min(jnp.where(falls, -2 * (1 + beta) * values.real / size, 0.0), axis=-1)


def td_growth(alpha: ArrayLike, beta: ArrayLike, spectrum: ArrayLike) -> jax.Array:
    """Return the factor per sweep of the fastest growing error, over all eigenvalues.

    Args:
      alpha: The learning rate, of any shape.
      beta: In (-1, 1), of any shape that broadcasts with alpha.
      spectrum: [n] eigenvalues, as of `td_spectrum`.

    Returns:
      A factor, of the broadcast shape of alpha and beta; above 1, errors grow.

    Raises:
      ValueError: The spectrum is not a vector of finite numbers, or beta is not in (-1, 1).

    Example:
      >>> from jaxmom.theory import td
      >>> print(f"{td.td_growth(0.5, 0.0, [-0.5 + 0j, -1.0]):.2f}")
      0.75
    """
    values = _as_spectrum(spectrum)
    alpha, beta = to_numbers("alpha", alpha), _as_momentum(beta)
    shape = jnp.broadcast_shapes(alpha.shape, beta.shape)
    values = jnp.broadcast_to(values, (*shape, values.size))
    alpha, beta = (jnp.broadcast_to(x, shape).astype(complex)[..., None] for x in (alpha, beta))
    half = (1 + beta + alpha * values) / 2
    root = jnp.sqrt(half**2 - beta)
    return jnp.max(jnp.maximum(jnp.abs(half + root), jnp.abs(half - root)), axis=-1)


def _as_momentum(beta: ArrayLike) -> jax.Array:
    numbers = to_numbers("beta", beta)
    known = known_values(beta)
    if known is not None and not np.all(np.abs(known) < 1):
        raise ValueError(f"beta is in (-1, 1), where momentum forgets, got {beta}.")
    return numbers


def _as_discount(discount: ArrayLike) -> jax.Array:
    numbers = to_numbers("discount", discount)
    known = known_values(discount)
    if known is not None and not np.all((known >= 0) & (known <= 1)):
        raise ValueError(f"a discount is in [0, 1], got {discount}.")
    return numbers


def _as_spectrum(spectrum: ArrayLike) -> jax.Array:
    values = to_numbers("spectrum", spectrum, may_be_complex=True).astype(complex)
    try:
        chex.assert_rank(values, 1)
    except AssertionError as error:
        raise ValueError(
            f"a spectrum is a vector of eigenvalues [n], got the shape {values.shape}; "
            "map many of them with jax.vmap."
        ) from error
    known = known_values(spectrum)
    if values.size == 0 or (known is not None and not np.all(np.isfinite(known))):
        raise ValueError(f"a spectrum has finite eigenvalues, and one at least, got {spectrum}.")
    return values
