"""A smooth, strongly convex function through given points, gradients and values."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.problems.problem import Problem, Values, as_floating

_ITERATIONS = 40  # of the interior-point method; each cuts the gap by about ten


def interpolated(
    points: Values, gradients: Values, values: Values, mu: ArrayLike = 0.0, L: ArrayLike = 1.0
) -> Problem:
    """Return the function with f(x_i) = f_i and ∇f(x_i) = g_i that is smooth and strongly convex.

    With mu = 0 it is f(x) = min_α ½ L |x - Σ α_i z_i|² + Σ α_i (f_i - |g_i|² / 2L) over weights
    α_i ≥ 0 that add up to 1, with z_i = x_i - g_i / L. For mu > 0 the same is done to
    f - ½ mu |x|², which is convex and (L - mu)-smooth. The weights come from an interior-point
    method inside `loss`, so that the function compiles, maps and differentiates. Use float64.

    Args:
      points: [n, d] the points x_i; the first is where the problem starts.
      gradients: [n, d] the gradients g_i.
      values: [n] the values f_i.
      mu: The constant of strong convexity, 0 for convex.
      L: The constant of smoothness, above mu.

    Raises:
      ValueError: The shapes do not fit together, not 0 <= mu < L, or no function of the class has
        these values and gradients, by more than 1e-4 of the largest of them.

    Source:
      Taylor, Hendrickx and Glineur 2017 (arXiv 1502.05666), theorem 4 for when there is one; the
      function is the conjugate of the largest of their quadratics (proof of theorem 1).

    Example:
      >>> import jax
      >>> problem = interpolated([[2.0], [0.0]], [[1.0], [0.0]], [1.5, 0.0])
      >>> value, slope = jax.value_and_grad(problem.loss)(problem.params)
      >>> print(f"{value:.4f} {slope[0]:.4f}")
      1.5000 1.0000
    """
    x, g, f = as_floating(points), as_floating(gradients), as_floating(values)
    if x.ndim != 2 or x.shape != g.shape or f.shape != x.shape[:1] or x.size == 0:
        raise ValueError(
            f"points and gradients are [n, d] and values [n], got {x.shape}, {g.shape}, {f.shape}."
        )
    mu, L = jnp.asarray(mu, x.dtype), jnp.asarray(L, x.dtype)
    _check_interpolable(x, g, f, mu, L)
    smoothness = L - mu
    g, f = g - mu * x, f - mu * jnp.sum(x**2, axis=1) / 2
    centers, offsets = x - g / smoothness, f - jnp.sum(g**2, axis=1) / (2 * smoothness)
    loss = Partial(_envelope, centers, offsets, smoothness, mu)
    return Problem(loss, x[0], None, loss, mu=mu, L=L)


@jax.custom_jvp
def _envelope(
    centers: jax.Array, offsets: jax.Array, L: jax.Array, mu: jax.Array, params: jax.Array
) -> jax.Array:
    return _evaluate_at(_best_weights(centers, offsets, L, params), centers, offsets, L, mu, params)


@_envelope.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """Differentiate with the weights held fixed: at the optimum their change does not count."""
    centers, offsets, L, _, params = primals
    weights = _best_weights(centers, offsets, L, params)
    return jax.jvp(functools.partial(_evaluate_at, weights), primals, tangents)


def _evaluate_at(
    weights: jax.Array,
    centers: jax.Array,
    offsets: jax.Array,
    L: jax.Array,
    mu: jax.Array,
    params: jax.Array,
) -> jax.Array:
    nearest = weights @ centers - params
    return L * nearest @ nearest / 2 + weights @ offsets + mu * params @ params / 2


def _best_weights(
    centers: jax.Array, offsets: jax.Array, L: jax.Array, params: jax.Array
) -> jax.Array:
    distances = centers - params[None]
    return _least_weights(L * distances @ distances.T, offsets)


@jax.custom_jvp
def _least_weights(quadratic: jax.Array, linear: jax.Array) -> jax.Array:
    """Minimize ``½ w'Qw + c'w`` over weights that are not negative and add up to 1."""
    return _central_weights(quadratic, linear)[0]


@_least_weights.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (quadratic, linear), (d_quadratic, d_linear) = primals, tangents
    weights, slacks = _central_weights(quadratic, linear)
    force = d_quadratic @ weights + d_linear
    change, _ = _newton_step(quadratic, weights, slacks, -force, jnp.zeros_like(force[0]))
    return weights, change


def _central_weights(quadratic: jax.Array, linear: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return weights and slacks near the optimum, by a primal-dual interior-point method."""
    count = linear.shape[0]
    scale = jnp.maximum(jnp.max(jnp.abs(quadratic)), jnp.max(jnp.abs(linear)))
    scale = jnp.where(scale > 0, scale, 1)
    quadratic, linear = quadratic / scale, linear / scale

    # Where the gap is down to rounding, further steps would divide by nothing.
    least = 4 * jnp.finfo(linear.dtype).eps

    def step(_: int, at: Any) -> Any:
        weights, slacks, level = at
        gap = weights @ slacks / count
        residual = quadratic @ weights + linear - level - slacks
        right = -residual + 0.1 * gap / weights - slacks
        change, rise = _newton_step(quadratic, weights, slacks, right, 1 - jnp.sum(weights))
        fall = (0.1 * gap - slacks * change) / weights - slacks
        length = jnp.minimum(_room(weights, change), _room(slacks, fall))
        moved = (weights + length * change, slacks + length * fall, level + length * rise)
        return jax.tree.map(lambda new, old: jnp.where(gap > least, new, old), moved, at)

    ones = jnp.ones_like(linear)
    start = (ones / count, ones, jnp.min(linear) - 1)
    weights, slacks, _ = jax.lax.fori_loop(0, _ITERATIONS, step, start)
    return weights / jnp.sum(weights), slacks * scale


def _newton_step(
    quadratic: jax.Array, weights: jax.Array, slacks: jax.Array, right: jax.Array, missing: Any
) -> tuple[jax.Array, jax.Array]:
    """Solve ``(Q + S/W) change - level = right`` for a change that adds up to `missing`."""
    # In units of sqrt(W) the matrix is as well conditioned as the problem.
    units = jnp.sqrt(weights)
    inner = units[:, None] * quadratic * units[None] + jnp.diag(slacks)
    free = units * jnp.linalg.solve(inner, units * right)
    lifted = units * jnp.linalg.solve(inner, units)
    level = (missing - jnp.sum(free)) / jnp.sum(lifted)
    return free + level * lifted, level


def _room(values: jax.Array, change: jax.Array) -> jax.Array:
    """Return how far values may move along a change and stay positive, 1 at most."""
    ratios = jnp.where(change < 0, -values / jnp.where(change < 0, change, -1), jnp.inf)
    return jnp.minimum(1.0, 0.99 * jnp.min(ratios))


def _check_interpolable(x: Any, g: Any, f: Any, mu: Any, L: Any) -> None:
    if any(isinstance(array, Tracer) for array in (x, g, f, mu, L)):
        return
    if not 0 <= mu < L:
        raise ValueError(f"a smooth convex function has 0 <= mu < L, got mu={mu} and L={L}.")
    x, g, f, mu, L = (np.asarray(array) for array in (x, g, f, mu, L))
    dx, dg = x[:, None] - x, g[:, None] - g
    inner = np.sum(g * dx, axis=2)  # g_j (x_i - x_j)
    squares = (np.sum(dg**2, axis=2) + mu * L * np.sum(dx**2, axis=2)) / L
    cross = 2 * mu / L * np.sum(dx * dg, axis=2)
    slack = f[:, None] - f - inner - (squares - cross) / (2 * (1 - mu / L))
    size = np.max(np.abs([*f, *inner.ravel(), *squares.ravel()]))
    if np.min(slack) < -1e-4 * size:
        i, j = np.unravel_index(np.argmin(slack), slack.shape)
        raise ValueError(
            f"no {mu}-strongly convex {L}-smooth function has these values and gradients: points "
            f"{i} and {j} miss the interpolation inequality by {-slack[i, j]:.2g}."
        )
