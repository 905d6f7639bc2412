"""Momentum that follows the gradients seen, STORM and YellowFin, as optimizers.

Norms and inner products are those of all of params.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmom._per_part import make_per_part
from jaxmom._trees import advance_buffers, inner_product, map_present
from jaxmom.methods._adaptive import (
    StormState,
    YellowfinState,
    cast,
    check_ranks,
    check_within,
    safe_sqrt,
    scalar_like,
    squared_norm,
    zeros_like,
)
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    Static,
    transformation,
)


def storm(learning_rate: ScalarOrSchedule, a: ScalarOrSchedule = 0.1) -> Optimizer:
    """STORM: momentum whose lag is removed by the change of the gradient on one batch.

    ``d_t = g(y_t; xi_t) + (1 - a) (d_{t-1} - g(y_{t-1}; xi_t)); y <- y - alpha d_t``, and the first
    d is the first gradient. The gradient at the previous params, on the current batch, is the extra
    argument ``previous_grad``; `jaxmom.with_previous_gradient` computes it. `adaptive_storm`
    has the paper's steps.

    Args:
      learning_rate: alpha.
      a: In [0, 1]. With 1 this is gradient descent, and so it is for every a without noise.

    Source:
      Cutkosky and Orabona 2019 (arXiv 1905.10018), algorithm 1, with given steps.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.with_previous_gradient(jm.storm(0.1, a=0.2))
    """
    return make_per_part(_make_storm, {"learning_rate": learning_rate, "a": a})


def _make_storm(**hp: Any) -> Optimizer:
    return transformation(_init_storm, _update_storm, hp, check=check_within(_STORM))


_STORM = {"learning_rate": "[0, inf)", "a": "[0, 1]"}


def _init_storm(hp: Hyperparameters, params: PyTree) -> StormState:
    del hp
    return StormState(zeros_like(params), scalar_like(params), jnp.array(True))


def _update_storm(
    hp: Hyperparameters, updates: PyTree, state: StormState, params: PyTree, **extra: Any
) -> tuple[PyTree, StormState]:
    del params
    check_ranks(hp)
    return _descend_along_estimate(hp["learning_rate"], hp["a"], updates, state, extra)


def adaptive_storm(
    k: ScalarOrSchedule = 0.1, w: ScalarOrSchedule = 0.1, c: ScalarOrSchedule = 1.0
) -> Optimizer:
    """STORM with the steps of the paper, which shrink with the gradients seen.

    `storm` with ``alpha_t = k / (w + sum_{i<=t} |g_i|^2)^{1/3}`` and
    ``a_{t+1} = min(1, c alpha_t^2)``.
    The norm is that of all of params; the authors' code has one for each number.

    Args:
      k: The size of the steps.
      w: Positive; it bounds the first step.
      c: Not negative, the factor of a.

    Source:
      Cutkosky and Orabona 2019 (arXiv 1905.10018), algorithm 1.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.with_previous_gradient(jm.adaptive_storm(k=0.1, w=0.1, c=1.0))
    """
    hp, check = {"k": k, "w": w, "c": c}, check_within(_ADAPTIVE_STORM)
    return transformation(_init_storm, _update_adaptive_storm, hp, check=check)


_ADAPTIVE_STORM = {"k": "[0, inf)", "w": "(0, inf)", "c": "[0, inf)"}


def _update_adaptive_storm(
    hp: Hyperparameters, updates: PyTree, state: StormState, params: PyTree, **extra: Any
) -> tuple[PyTree, StormState]:
    del params
    check_ranks(hp)
    k, w, c = (jnp.asarray(hp[name], float) for name in "kwc")
    before = w + state.squares.astype(float)
    squares = before + squared_norm(updates)
    a = jnp.minimum(1.0, c * (k * before ** (-1 / 3)) ** 2)
    rate = k * squares ** (-1 / 3)
    new, state = _descend_along_estimate(rate, a, updates, state, extra)
    return new, state._replace(squares=squares - w)


def _descend_along_estimate(
    rate: Any, a: Any, updates: PyTree, state: StormState, extra: dict[str, Any]
) -> tuple[PyTree, StormState]:
    if extra.get("previous_grad") is None:
        raise ValueError(
            "storm needs the gradient at the previous params at every update: wrap it as "
            "jm.with_previous_gradient(optimizer), or call "
            "update(gradient, state, params, previous_grad=...)."
        )

    def correct(g: jax.Array, d: jax.Array, previous: jax.Array) -> jax.Array:
        return jnp.where(state.is_first, g, g + (1 - cast(a, d)) * (d - previous))

    estimate = advance_buffers(correct, updates, state.estimate, extra["previous_grad"])
    new = map_present(lambda g, d: -cast(rate, d) * d, updates, estimate)
    return new, StormState(estimate, state.squares, jnp.zeros_like(state.is_first))


def yellowfin(
    learning_rate: ScalarOrSchedule = 1.0,
    initial: ScalarOrSchedule = 1e-4,
    beta: ScalarOrSchedule = 0.999,
    window: int = 20,
) -> Optimizer:
    """YellowFin: heavy ball that tunes its learning rate and momentum from the gradients.

    From averages with decay beta it estimates the range [h_min, h_max] of |g|^2 over a window, the
    variance C of the gradient and the distance D to the optimum. Then x = sqrt(mu) solves
    ``p x = (1 - x)^3`` with ``p = D^2 h_min^2 / (2 C)``; mu is raised to what the range demands,
    ``((sqrt r - 1) / (sqrt r + 1))^2`` with ``r = h_max / h_min``; and
    ``alpha = (1 - sqrt mu)^2 / h_min``, with a slow start over the first 10 windows. The step is
    that of PyTorch's SGD with mu and alpha. The clipping of the authors' code is left out.

    Args:
      learning_rate: A factor on the tuned learning rate.
      initial: The learning rate of the first step, before anything is known.
      beta: In [0, 1).
      window: The number of gradients in the window; part of the program.

    Raises:
      ValueError: window is below 1, or a plain number is out of bounds.

    Source:
      Zhang and Mitliagkas 2017 (arXiv 1706.03471), algorithms 1 to 4 with the smoothing and the
      constants of the authors' code.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.yellowfin()
    """
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ValueError(f"window = {window!r} of yellowfin is a number of gradients, at least 1.")
    hp = {"learning_rate": learning_rate, "initial": initial, "beta": beta}
    hp |= {"window": Static(window)}
    return transformation(_init_yellowfin, _update_yellowfin, hp, check=check_within(_YELLOWFIN))


_YELLOWFIN = {"learning_rate": "[0, inf)", "initial": "[0, inf)", "beta": "[0, 1)"}
_EPS = 1e-6  # of the authors' code


def _init_yellowfin(hp: Hyperparameters, params: PyTree) -> YellowfinState:
    squares = tuple(scalar_like(params, -1.0) for _ in range(hp["window"]))
    averages = tuple(scalar_like(params) for _ in range(6))
    count = jnp.zeros([], jnp.int32)
    return YellowfinState(count, zeros_like(params), zeros_like(params), squares, averages)


def _update_yellowfin(
    hp: Hyperparameters, updates: PyTree, state: YellowfinState, params: PyTree, **extra: Any
) -> tuple[PyTree, YellowfinState]:
    del params, extra
    check_ranks(hp)
    beta = jnp.asarray(hp["beta"], float)

    def average(new: Any, old: jax.Array) -> jax.Array:
        return cast(beta, old) * old + cast(1 - beta, old) * new

    square = squared_norm(updates)
    squares = (square, *(s.astype(float) for s in state.squares[:-1]))
    averages = _average_norms(average, squares, state.averages)
    one, mean_square, log_min, maximum, _, distance = averages
    mean = advance_buffers(average, updates, state.gradient)
    variance = mean_square / one - inner_product(mean, mean) / one**2
    mu, rate = _tune(
        jnp.exp(log_min / one), maximum / one, jnp.maximum(variance, _EPS), distance / one
    )
    is_first, steps = state.count == 0, state.count.astype(float) + 1
    rate = jnp.asarray(hp["learning_rate"], float) * rate
    rate = rate * jnp.minimum(1.0, steps / (10.0 * hp["window"]))
    mu = jnp.where(is_first, 0.0, mu)
    rate = jnp.where(is_first, jnp.asarray(hp["initial"], float), rate)
    velocity = advance_buffers(lambda g, v: cast(mu, v) * v + g, updates, state.velocity)
    new = map_present(lambda g, v: -cast(rate, v) * v, updates, velocity)
    count: Any = optax.safe_increment(state.count)
    return new, YellowfinState(count, velocity, mean, squares, averages)


def _average_norms(
    average: Callable[[Any, jax.Array], jax.Array],
    squares: tuple[jax.Array, ...],
    averages: tuple[jax.Array, ...],
) -> tuple[jax.Array, ...]:
    """Return the averages of 1 (the debiasing), |g|^2, log h_min, h_max, |g|, and the distance."""
    window = jnp.stack(squares)
    least = jnp.min(jnp.where(window < 0, jnp.inf, window))
    seen = [jnp.ones([]), squares[0], jnp.log(least + _EPS), jnp.max(window), safe_sqrt(squares[0])]
    old = [m.astype(float) for m in averages]
    new = [average(x, m) for x, m in zip(seen, old[:5], strict=True)]
    return (*new, average(new[4] / (new[1] + _EPS), old[5]))


def _tune(
    least: jax.Array, greatest: jax.Array, variance: jax.Array, distance: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the momentum and the learning rate of YellowFin's SingleStep."""
    p = (distance + _EPS) ** 2 * (least + _EPS) ** 2 / 2 / (variance + _EPS)
    w = -(((jnp.sqrt(p**2 + 4 / 27 * p**3) + p) / 2) ** (1 / 3))
    x = w - p / 3 / (w + _EPS) + 1
    ratio = jnp.sqrt(jnp.maximum((greatest + _EPS) / (least + _EPS), 1 + _EPS))
    mu = jnp.maximum(x**2, ((ratio - 1) / (ratio + 1)) ** 2)
    return mu, (1 - jnp.sqrt(mu)) ** 2 / (least + _EPS)
