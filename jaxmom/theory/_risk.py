"""The expected loss of stochastic least squares, step by step and exactly."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom._values import as_count
from jaxmom.theory._linearize import TimeVaryingError, linearize, linearize_steps
from jaxmom.theory._systems import Linear
from jaxmom.theory.linear_system import LinearSystem, check_system, rest_state


def risk(
    optimizer: Linear,
    curvatures: ArrayLike,
    steps: int,
    *,
    start: ArrayLike,
    noise: ArrayLike = 0.0,
    batch_size: ArrayLike = 1,
) -> jax.Array:
    """Return the expected excess loss of stochastic least squares after 0 ... `steps` updates.

    Rows are ``x ~ N(0, diag(curvatures))`` and labels ``x.w* + N(0, noise)``; each gradient is that
    of half the squared error, averaged over a fresh batch. With the error ``e = w - w*``, its mean
    is ``lambda_i e_i`` and its variance, for Gaussian rows,

        (lambda_i (sum_j lambda_j e_j^2 + noise) + lambda_i^2 e_i^2) / batch_size,

    so the second moments of the optimizer's state, one matrix for each curvature, follow a linear
    recurrence: nothing is sampled or truncated.

    Args:
      optimizer: Any linear optimizer, or its `LinearSystem`; it may vary with time. No weight
        decay, which pulls to zero and not to w*.
      curvatures: lambda [d], not negative.
      steps: The number of updates.
      start: The error e_0 [d] before the first.
      noise: The variance of the labels around ``x.w*``.
      batch_size: Rows in a batch.

    Returns:
      ``1/2 sum_i lambda_i E e_i^2`` [steps + 1]; it grows without bound where a run would.

    Raises:
      ValueError: Shapes, signs or `steps` are wrong, or there is weight decay.
      NotLinearError: A stage is not linear.

    Source:
      The fourth moments of Gaussians (Isserlis 1918); for descent, the recursion of Bach and
      Moulines 2013 (arXiv 1306.2119).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> curve = theory.risk(jm.gradient_descent(0.25), [1.0], 2, start=[2.0], batch_size=2)
      >>> print(curve)  # each step multiplies E e^2 by (1 - 1/4)^2 + (1/4)^2
      [2.      1.25    0.78125]
    """
    system = _check_optimizer(optimizer, steps)
    rates, error = _check_vectors(curvatures, start)
    dtype = system.A.dtype
    rates, error, noise, rows = (jnp.asarray(x, dtype) for x in (rates, error, noise, batch_size))
    # The state at rest with params at 1: everything is relative to w*.
    held = jnp.eye(system.A.shape[-1], dtype=dtype)[0]
    if isinstance(optimizer, LinearSystem):
        held = rest_state(optimizer).state
    moments = error[:, None, None] ** 2 * jnp.outer(held, held)[None]

    def excess(moments: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
        squares = jnp.einsum("i,dij,j->d", c, moments, c)
        return squares, jnp.sum(rates * squares)

    def step(moments: jax.Array, now: LinearSystem) -> tuple[jax.Array, jax.Array]:
        squares, total = excess(moments, now.C)
        closed = now.A[None] + rates[:, None, None] * jnp.outer(now.B, now.C)[None]
        variances = (rates * (total + noise) + rates**2 * squares) / rows
        moved = jnp.einsum("dij,djk,dlk->dil", closed, moments, closed)
        moved = moved + variances[:, None, None] * jnp.outer(now.B, now.B)[None]
        return moved, total / 2

    last, losses = jax.lax.scan(step, moments, system)
    return jnp.append(losses, excess(last, system.C[-1])[1] / 2)


def _check_optimizer(optimizer: Linear, steps: int) -> LinearSystem:
    """Return the systems of all updates, along a first axis."""
    steps = as_count("steps", steps, "the number of updates")
    if isinstance(optimizer, LinearSystem):
        last = check_system(optimizer)
    else:
        try:
            last = linearize(optimizer)
        except TimeVaryingError:
            last = linearize(optimizer, count=0)
    integrates = rest_state(last).integrates if last.names else jnp.asarray(True)
    if not isinstance(integrates, Tracer) and not bool(integrates):
        raise ValueError(
            "this optimizer has weight decay, which pulls params to zero and not to w*; leave it "
            "out, and add it to the curvatures if it is a penalty of the loss."
        )
    if not isinstance(optimizer, LinearSystem):
        return linearize_steps(optimizer, int(steps), int(steps) - 1)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (int(steps), *jnp.shape(x))), last)


def _check_vectors(curvatures: ArrayLike, start: ArrayLike) -> tuple[jax.Array, jax.Array]:
    rates, error = jnp.asarray(curvatures), jnp.asarray(start)
    if rates.ndim != 1 or rates.shape != error.shape or rates.size == 0:
        raise ValueError(
            f"curvatures and start are vectors of one length, got shapes {rates.shape} and "
            f"{error.shape}."
        )
    if not isinstance(rates, Tracer) and not np.all(np.asarray(rates) >= 0):
        raise ValueError(f"the covariance of the rows has no negative entries, got {rates}.")
    return rates, error
