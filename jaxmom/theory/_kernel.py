"""The momentum kernel: the weights of past gradients in a step, and their mean age."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom._values import as_count
from jaxmom.theory._linearize import check_count, linearize_steps_at_rest
from jaxmom.theory._systems import Linear, Repeating, as_repeating, as_system
from jaxmom.theory.linear_system import (
    LinearSystem,
    PeriodicSystem,
    buffers_only,
    drop_unread,
    rest_state,
)
from jaxmom.theory.spectrum import matrix_radius


def kernel(optimizer: Repeating, lags: int, *, count: ArrayLike | None = None) -> jax.Array:
    """Return the weights of past gradients in a step: ``step_t = - sum_k w_k g_{t-k}``.

    This is the filter's impulse response, with the learning rate in it: the k-th step after a
    gradient of one, and zeros from then on, is ``-w_k``. For heavy ball ``w_k = alpha beta^k``.
    Weight decay is left out, as in `memory`: params are held at zero while the gradients are
    filtered.

    Args:
      optimizer: A linear optimizer, or its system.
      lags: How many weights, at least one; lag 0 is the gradient of the step itself.
      count: The step, if the optimizer varies with time: 0 is the first. Earlier steps count
        with the coefficients that they had. By default the optimizer has come to rest, as in
        `linearize`; with a period p, all updates of it are returned.

    Returns:
      w [lags]; zero beyond the first gradient if `count` is given. For coefficients that repeat,
      w [p, lags], whose row i is that of the updates with counts i, p + i, 2 p + i ...

    Raises:
      ValueError: `lags` is not a positive integer, or `count` is negative, not one number, or given
        with a `LinearSystem`, which has no clock.
      NotLinearError: A stage is not linear, or varies with time while `count` is None.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> print(theory.kernel(jm.heavy_ball(1.0, beta=0.5), 4))
      [1.    0.5   0.25  0.125]
    """
    lags = as_count("lags", lags, "how many weights to return")
    if count is None:
        system = as_repeating(optimizer)
        if isinstance(system, PeriodicSystem):
            return _kernels_of_phases(system, lags)
        buffers, b = filter_matrix(system), system.B
        _, weights = jax.lax.scan(
            lambda row, _: (row @ buffers, -row @ b), system.C, None, length=lags
        )
        return weights
    if isinstance(optimizer, LinearSystem | PeriodicSystem):
        raise ValueError(
            "a LinearSystem is the same at every step, and a PeriodicSystem has a kernel for each "
            "update of its period; leave count out."
        )
    check_count(count)
    systems, rest = linearize_steps_at_rest(optimizer, lags, count)
    begun = jnp.arange(lags) + count >= lags - 1  # whether a step is one of the run's
    rests = _follow_rest(systems.A, rest, begun)
    weights = _weigh_backwards(systems.C[0], _hold(systems.A, rests), systems.B)
    return jnp.where(jnp.arange(lags) <= count, weights, 0)


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


def _kernels_of_phases(system: PeriodicSystem, lags: int) -> jax.Array:
    """Return the weights [p, lags] of past gradients in each update of a period."""
    n, p = len(system.C), system.period

    def compose(
        period: tuple[jax.Array, jax.Array], update: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        return (update[0] @ period[0], update[0] @ period[1] + update[1]), None

    start = jnp.eye(n, dtype=system.A.dtype), jnp.zeros(n, system.A.dtype)
    (whole, moved), _ = jax.lax.scan(compose, start, (system.A, system.B))
    zero = jnp.zeros([], system.A.dtype)
    state = held_state(LinearSystem(whole, moved, system.C, zero, system.names))
    held = _hold(system.A, _follow_rest(system.A, state, jnp.ones(p, bool)))
    phases = jnp.arange(p)[:, None] - jnp.arange(lags)[None]  # of the gradients, for each update
    return jax.vmap(lambda i: _weigh_backwards(system.C, held[i[::-1]], system.B[i[::-1]]))(
        phases % p
    )


def _follow_rest(matrices: jax.Array, rest: jax.Array, begun: jax.Array) -> jax.Array:
    """Return the states [steps, n] of params at 1 without gradients, before each of some steps.

    Under weight decay there are none, and params alone are held.
    """
    alone = jnp.eye(len(rest), dtype=rest.dtype)[0]

    def advance(state: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return jnp.where(step[1], step[0] @ state, state), state

    _, states = jax.lax.scan(advance, rest, (matrices, begun))
    rounding = 64 * jnp.finfo(rest.dtype).eps * len(matrices)
    # A buffer mostly follows params wholly, or not at all.
    whole = jnp.round(states)
    states = jnp.where(jnp.abs(states - whole) <= rounding, whole, states)
    after = (matrices @ states[..., None])[..., 0]
    stays = jnp.abs(after[:, 0] - 1) <= rounding * (1 + jnp.sum(jnp.abs(states), axis=-1))
    return jnp.where(jnp.all(stays | ~begun), states, alone)


def _hold(matrices: jax.Array, rests: jax.Array) -> jax.Array:
    """Return the matrices [steps, n, n] of the buffers while params are held, A (I - rest C)."""
    return matrices.at[:, :, 0].add(-(matrices @ rests[..., None])[..., 0])


def _weigh_backwards(read: jax.Array, held: jax.Array, inputs: jax.Array) -> jax.Array:
    """Return the weights [lags] of the gradients of some steps in the last of them, it first."""
    _, weights = jax.lax.scan(
        lambda row, step: (row @ step[0], -row @ step[1]), read, (held, inputs), reverse=True
    )
    return weights[::-1]


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
