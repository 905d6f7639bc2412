"""The momentum kernel: the weights of past gradients in a step, and their mean age."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom._values import as_count
from jaxmom.theory._linearize import linearize_steps
from jaxmom.theory._systems import Linear, as_system
from jaxmom.theory.linear_system import LinearSystem, buffers_only, drop_unread, rest_state
from jaxmom.theory.spectrum import matrix_radius


def kernel(optimizer: Linear, lags: int, *, count: ArrayLike | None = None) -> jax.Array:
    """Return the weights of past gradients in a step: ``step_t = - sum_k w_k g_{t-k}``.

    This is the filter's impulse response, with the learning rate in it: the k-th step after a
    gradient of one, and zeros from then on, is ``-w_k``. For heavy ball ``w_k = alpha beta^k``.
    Weight decay is left out, as in `memory`: params are held at zero while the gradients are
    filtered.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`.
      lags: How many weights, at least one; lag 0 is the gradient of the step itself.
      count: The step, if the optimizer varies with time: 0 is the first. Earlier steps count
        with the coefficients that they had. By default the optimizer has come to rest, as in
        `linearize`.

    Returns:
      w [lags]; zero beyond the first gradient if `count` is given.

    Raises:
      ValueError: `lags` is not a positive integer, or `count` is negative or given with a
        `LinearSystem`, which has no clock.
      NotLinearError: A stage is not linear, or varies with time while `count` is None.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.kernel(jm.heavy_ball(1.0, beta=0.5), 4))
      [1.    0.5   0.25  0.125]
    """
    lags = as_count("lags", lags, "how many weights to return")
    if count is None:
        system = as_system(optimizer)
        buffers, b = filter_matrix(system), system.B
        _, weights = jax.lax.scan(
            lambda row, _: (row @ buffers, -row @ b), system.C, None, length=lags
        )
        return weights
    if isinstance(optimizer, LinearSystem):
        raise ValueError("a LinearSystem is the same at every step; leave count out.")
    if not isinstance(count, Tracer) and jnp.any(jnp.asarray(count) < 0):
        raise ValueError(f"count is the number of a step, from 0, got {count}.")
    systems = linearize_steps(optimizer, lags, count)
    # In the basis of `linearize`, params are the first entry: without its column they are held.
    held = systems.A.at[:, :, 0].set(0)
    _, weights = jax.lax.scan(
        lambda row, system: (row @ system[0], -row @ system[1]),
        systems.C[0],
        (held, systems.B),
        reverse=True,
    )
    return jnp.where(jnp.arange(lags) <= count, weights[::-1], 0)


def mean_age(optimizer: Linear) -> jax.Array:
    """Return the mean age of the gradients in a step: ``sum_k k w_k / sum_k w_k``, exactly.

    Each gradient counts with its weight w_k in the step, as `kernel` returns it; negative weights
    count as such. ``beta / (1 - beta)`` for heavy ball and averages, 0 for gradient descent.
    `memory` is one more. The sums are solved for, not truncated.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`. In a basis other than that of
        `linearize` the age is NaN under weight decay, as `memory` is.

    Returns:
      Steps; infinite if a buffer that counts never forgets. If the weights add up to zero, it is
      infinite or NaN.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(f"{theory.mean_age(jm.ema_momentum(0.1, beta=0.9)):.3f}")
      9.000
    """
    system = as_system(optimizer)
    buffers = _drop_unreached(system, filter_matrix(system))
    forgets = ~(matrix_radius(buffers) >= 1)  # and NaN stays NaN
    buffers = jnp.where(forgets, buffers, 0)
    inner = jnp.eye(buffers.shape[0], dtype=buffers.dtype) - buffers
    # With w_k = -C buffers^k B the sums are those of geometric series of matrices.
    once = jnp.linalg.solve(inner, system.B)
    aged = buffers @ jnp.linalg.solve(inner, once)
    return jnp.where(forgets, (system.C @ aged) / (system.C @ once), jnp.inf)


def filter_matrix(system: LinearSystem) -> jax.Array:
    """Return the matrix of the buffers while params are held; NaN where the basis hides them."""
    return buffers_only(system, held_state(system)) if system.names else system.A


def held_state(system: LinearSystem) -> jax.Array:
    """Return the state of params at 1 and empty buffers; NaN where the basis does not tell it."""
    rest = rest_state(system)
    first = jnp.eye(len(system.C), dtype=system.C.dtype)[0]
    separates = jnp.all(first == system.C) & (system.names[0] == "params")
    return jnp.where(rest.integrates, rest.state, jnp.where(separates, first, jnp.nan))


def _drop_unreached(system: LinearSystem, matrix: jax.Array) -> jax.Array:
    """Set to zero the columns of entries that no gradient reaches, whatever the numbers are."""
    return drop_unread(dataclasses.replace(system, C=system.B), matrix.T).T
