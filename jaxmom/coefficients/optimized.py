"""Methods whose worst case was optimized step by step: OGM, OGM-G, ITEM, as coefficients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.filters import (
    Coefficients,
    Number,
    Recurrence,
    as_curvatures,
    as_hyperparameter,
    reading_new,
)


def optimized_gradient(steps: ArrayLike = np.inf) -> Recurrence:
    """Optimized gradient method (OGM), for smooth convex functions; none has a better bound.

    ``x_{t+1} = y_t - alpha g_t``, then ``y_{t+1} = x_{t+1} + ((theta_t - 1) / theta_{t+1})
    (x_{t+1} - x_t) + (theta_t / theta_{t+1}) (x_{t+1} - y_t)``, with theta_0 = 1 and
    ``theta_{t+1} = (1 + sqrt(1 + 4 theta_t^2)) / 2``, where 8 replaces 4 in the last of `steps`.
    With alpha = 1/L, ``f(y_N) - f* <= L |y_0 - x*|^2 / (2 theta_N^2)``: half of Nesterov's bound.

    Args:
      steps: N, the length of the run. Without it no step is the last, and the bound is that of x.

    Source:
      Kim and Fessler 2016 (arXiv 1406.5468), method OGM1; found numerically by Drori and Teboulle
      2014 (arXiv 1206.3209).
    """
    steps = as_hyperparameter("steps", steps, "[1, inf]")
    return Recurrence((0, 1.0), Partial(_optimized_gradient, steps=steps))


def _optimized_gradient(carry: Any, steps: Any) -> tuple[Any, Coefficients]:
    count, theta = carry
    last = count.astype(float) == jnp.floor(as_hyperparameter("steps", steps)) - 1
    following = (1 + jnp.sqrt(1 + jnp.where(last, 8.0, 4.0) * theta**2)) / 2
    c = _with_overshoot(1.0, (theta - 1) / following, theta / following)
    return (optax.safe_increment(count), following), c


def ogm_strongly_convex(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """OGM-q: the optimized gradient method for quadratics with curvatures in [mu, L].

    `optimized_gradient` with alpha = 1/L and, for q = mu/L, the constant factors ``(2 + q - r)^2 /
    (4 (1 - q))`` and ``gamma = (2 + q - r) / 2``, where ``r = sqrt(q^2 + 8 q)``. On quadratics the
    rate is gamma, between Nesterov's and the best heavy ball's.

    Source:
      Kim and Fessler 2018 (arXiv 1703.04641), method OGM-q.
    """
    mu, L = as_curvatures(mu, L)
    q = mu / L
    # 2 + q - r = 4 (1 - q) / (2 + q + r), which loses no digits where q is near 1.
    total = 2 + q + jnp.sqrt(q**2 + 8 * q)
    return _with_overshoot(1 / L, 4 * (1 - q) / total**2, 2 * (1 - q) / total)


def ogm_gradient(steps: ArrayLike) -> Recurrence:
    """OGM-G: the smallest gradient after N = `steps` steps, for smooth convex functions.

    ``x_{t+1} = y_t - alpha g_t``, then ``y_{t+1} = x_{t+1} + ((theta_t - 1)(2 theta_{t+1} - 1) /
    (theta_t (2 theta_t - 1))) (x_{t+1} - x_t) + ((2 theta_{t+1} - 1) / (2 theta_t - 1))
    (x_{t+1} - y_t)``. theta runs backwards from ``theta_N = 1`` by ``theta_t =
    (1 + sqrt(1 + 4 theta_{t+1}^2)) / 2``, with 8 in place of 4 for theta_0. With alpha = 1/L,
    ``|grad f(y_N)|^2 <= 2 L (f(y_0) - f*) / theta_0^2``. After N steps it is gradient descent.

    Args:
      steps: N, at least 1.

    Source:
      Kim and Fessler 2021 (arXiv 1803.06600), method OGM-G.
    """
    steps = as_hyperparameter("steps", steps, "[1, inf)")
    return Recurrence((0, 1.0), Partial(_ogm_gradient, steps=steps))


def _ogm_gradient(carry: Any, steps: Any) -> tuple[Any, Coefficients]:
    # theta_t is (N - t) / 2 and a remainder of the order of log(N), which is carried: in float32,
    # theta itself would lose the digits that decide the last steps.
    count, remainder = carry
    n = jnp.floor(as_hyperparameter("steps", steps)).astype(jnp.int32)
    left = jnp.maximum(n - count, 1).astype(float)
    # The backward recurrence is run once, at the first step, and inverted at each of the others.
    remainder_1 = jax.lax.cond(count == 0, _remainder_1, lambda n: jnp.ones_like(remainder), n)
    inner = jnp.maximum(left / 2 + remainder, 1.0)
    inverted = remainder - 1 / (2 * inner * (1 + jnp.sqrt(1 - 1 / inner)) ** 2)
    later = jnp.where(count == 0, remainder_1, inverted)
    following = (left - 1) / 2 + later
    theta = jnp.where(count == 0, (1 + jnp.sqrt(1 + 8 * following**2)) / 2, inner)
    ratio = jnp.where(count < n, (2 * following - 1) / (2 * theta - 1), 0.0)
    c = _with_overshoot(1.0, ratio * (theta - 1) / theta, ratio)
    return (optax.safe_increment(count), later), c


def _remainder_1(n: jax.Array) -> jax.Array:
    """Return ``theta_1 - (N - 1) / 2``, from ``theta_N = 1`` up."""

    def add(i: jax.Array, remainder: jax.Array) -> jax.Array:
        theta = jnp.asarray(i - 1, float) / 2 + remainder
        return remainder + 1 / (2 * (jnp.sqrt(1 + 4 * theta**2) + 2 * theta))

    return jax.lax.fori_loop(1, n, add, jnp.ones([], float))


def _with_overshoot(step: Number, beta: Any, gamma: Any) -> Coefficients:
    """``x' = y - step g; y' = x' + beta (x' - x) + gamma (x' - y)``; the buffer is y - x."""
    return reading_new(decay=beta, gain=(beta + gamma) * step, read=1.0, direct=step)


def item(mu: ArrayLike, L: ArrayLike) -> Recurrence:
    """Information-theoretic exact method (ITEM), for smooth strongly convex functions.

    With q = mu/L and A_0 = 0: ``y_t = (1-b_t) z_t + b_t x_t; x_{t+1} = y_t - g_t / L;
    z_{t+1} = (1 - q d_t) z_t + q d_t y_t - d_t g_t / L``, where ``A_{t+1} = ((1+q) A_t +
    2 (1 + sqrt((1+A_t)(1+q A_t)))) / (1-q)^2``, ``b_t = A_t / ((1-q) A_{t+1})`` and ``d_t =
    ((1-q)^2 A_{t+1} - (1+q) A_t) / (2 (1 + q + q A_t))``. No method has a smaller worst case of
    ``|z_N - x*|^2 <= |z_0 - x*|^2 / (1 + q A_N)``; in the long run it is triple momentum.

    Source:
      Taylor and Drori 2023 (arXiv 2101.09741), method ITEM.
    """
    mu, L = as_curvatures(mu, L)
    return Recurrence(1.0, Partial(_item, mu=mu, L=L))


def _item(inverse: Any, mu: Any, L: Any) -> tuple[Any, Coefficients]:
    # A_t grows geometrically and would overflow: the carry is 1 / (1 + A_t), and falls to 0.
    mu, L = as_curvatures(mu, L)
    q = mu / L
    b, growth, root = _ratios_of_item(inverse, q)
    following = inverse * (1 - q) ** 2 / (inverse * (1 - q) ** 2 + growth)
    d = (inverse + root) / (inverse + q)
    c = reading_new(
        decay=b * (1 - q * d),
        gain=(d - 1) / L,
        read=1 - _ratios_of_item(following, q)[0],
        direct=1 / L,
        evaluate=b,
    )
    return following, c


def _ratios_of_item(inverse: Any, q: Any) -> tuple[Any, Any, Any]:
    """Return b, ``(1-q)^2 A_{t+1} / (1 + A_t)`` and ``sqrt((1+A_t)(1+q A_t)) / (1 + A_t)``."""
    root = jnp.sqrt(inverse + q * (1 - inverse))
    growth = (1 + q) * (1 - inverse) + 2 * (inverse + root)
    return (1 - inverse) * (1 - q) / growth, growth, root
