"""Optimizers for temporal differences: lazy and dense momentum, PID gains, step sizes by visits.

Their gradient is ``Q - T Q``, sampled or exact. They take an extra argument ``visited``, a mask
like params of the entries of this step; without it, all entries were visited. `dense_momentum`
accepts it and moves every entry all the same, as optax does. `jaxmom.rl.acceleration` holds the
optimizers that are for planning only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmom.rl._checks import check_interval, check_scalar
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    transformation,
    wide_dtype,
)


class VelocityState(NamedTuple):
    """State of lazy and dense momentum: the last move of each entry."""

    velocity: PyTree


class PidState(NamedTuple):
    """State of `lazy_pid`: the last move of each entry, and its discounted sum of differences."""

    velocity: PyTree
    integral: PyTree


class VisitState(NamedTuple):
    """State of `visit_descent`: the number of earlier visits of each entry."""

    visits: PyTree  # int32


def lazy_momentum(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Heavy ball that moves visited entries only: ``v <- beta v - alpha g; y <- y + v``.

    Unvisited entries keep their velocity and do not move, so the memory of each entry is counted
    in its own visits. The mask of visited entries is explicit, because a zero gradient does not
    mean an unvisited entry: temporal differences are often exactly 0. The learning rate is inside
    the velocity.

    Q-learning with this rule is stable only for a small alpha: see
    `jaxmom.theory.max_stable_alpha`. `optax.sgd` is another algorithm, and a more robust one: see
    `dense_momentum`.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).

    Returns:
      A pytree optimizer, whose update takes ``visited``, a pytree of booleans like params.

    Raises:
      ValueError: A number is out of its interval.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import rl
      >>> rule = rl.lazy_momentum(0.1, beta=0.5)
      >>> state = rule.init(jnp.zeros(2))
      >>> for visited in ([True, True], [False, True]):
      ...     update, state = rule.update(-jnp.ones(2), state, visited=jnp.array(visited))
      >>> print(update, state.velocity)
      [0.   0.15] [0.1  0.15]
    """
    hp = {"learning_rate": learning_rate, "beta": beta}
    return transformation(init_velocity, _update_lazy, hp, check=_check_momentum)


def dense_momentum(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Heavy ball that moves every entry at every step: ``v <- beta v - alpha g; y <- y + v``.

    At a constant learning rate this is ``optax.sgd(alpha, momentum=beta)``. Between its visits an
    entry keeps moving, so each difference has had its whole effect, alpha / (1 - beta), before the
    next one comes, unless the memory reaches from one visit to the next.

    `q_learning` knows in closed form how an entry has moved since its last visit, and so runs this
    rule as fast as the lazy one.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).

    Returns:
      A pytree optimizer.

    Raises:
      ValueError: A number is out of its interval.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxmom import rl
      >>> rule = rl.dense_momentum(0.1, beta=0.5)
      >>> update, state = rule.update(-jnp.ones(2), rule.init(jnp.zeros(2)))
      >>> update, state = rule.update(jnp.zeros(2), state)
      >>> print(update)
      [0.05 0.05]
    """
    hp = {"learning_rate": learning_rate, "beta": beta}
    return transformation(init_velocity, update_dense, hp, check=_check_momentum)


def lazy_pid(
    learning_rate: ScalarOrSchedule,
    kp: ScalarOrSchedule = 1.0,
    ki: ScalarOrSchedule = 0.0,
    kd: ScalarOrSchedule = 0.0,
    alpha: ScalarOrSchedule = 0.05,
    beta: ScalarOrSchedule = 0.95,
) -> Optimizer:
    """PID-Q: ``z <- beta z + alpha d; Q <- Q + mu (kp d + ki z + kd (Q - Q'))``, d = T Q - Q.

    Q' is the entry before its last visit. Lazy momentum is ``lazy_pid(mu, kd=beta / mu)``. If all
    entries are visited at every step, as in planning, this is PID-VI.

    Args:
      learning_rate: mu.
      kp: The gain of the difference itself.
      ki: The gain of its discounted sum z.
      kd: The gain of the last move.
      alpha: The weight of a difference in z.
      beta: The decay of z, in [0, 1].

    Returns:
      A pytree optimizer, whose update takes ``visited``.

    Raises:
      ValueError: A number is out of its interval.

    Source: Bedaywi, Rakhsha and Farahmand 2024 (arXiv 2407.08803); Farahmand and Ghavamzadeh 2021
      (ICML) for planning.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=10, actions=2)
      >>> quick = rl.value_iteration(mdp, 0.99, rl.lazy_pid(1.0, kd=0.2))
      >>> print(quick.iterations < rl.value_iteration(mdp, 0.99).iterations)
      True
    """
    gains = {"kp": kp, "ki": ki, "kd": kd, "alpha": alpha, "beta": beta}
    hp = {"learning_rate": learning_rate, **gains}
    return transformation(_init_pid, _update_pid, hp, check=_check_pid)


def visit_descent(omega: ScalarOrSchedule = 1.0, scale: ScalarOrSchedule = 1.0) -> Optimizer:
    """Descent with a step size for each entry, ``1 / (1 + scale N)^omega`` at its N earlier visits.

    The classical step 1 / N is omega = 1. Its error falls like ``N^{gamma - 1}``, hardly at all for
    gamma near 1. With ``scale = 1 - gamma``, the rescaled linear step, it falls like 1 / N. omega
    in (1/2, 1) is the polynomial step.

    Args:
      omega: In (1/2, 1] for convergence with probability 1.
      scale: Not negative: 1, or 1 - gamma for the rescaled linear step.

    Returns:
      A pytree optimizer, whose update takes ``visited``.

    Raises:
      ValueError: A number is out of its interval.

    Source: Even-Dar and Mansour 2003 (JMLR 5) for omega; Wainwright 2019 (arXiv 1905.06265) for the
      rescaled linear step.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxmom import rl
      >>> rule = rl.visit_descent(omega=1.0)
      >>> state = rule.init(jnp.zeros(2))
      >>> for visited in ([True, True], [False, True]):
      ...     update, state = rule.update(-jnp.ones(2), state, visited=jnp.array(visited))
      >>> print(update)
      [0.  0.5]
    """
    hp = {"omega": omega, "scale": scale}
    return transformation(_init_visits, _update_visits, hp, check=_check_visits)


def init_velocity(hp: Hyperparameters, params: PyTree) -> VelocityState:
    """Return velocities at rest."""
    del hp
    return VelocityState(_wide_zeros(params))


def update_dense(
    hp: Hyperparameters, updates: PyTree, state: VelocityState, params: PyTree = None, **extra: Any
) -> tuple[PyTree, VelocityState]:
    """Move every entry by its velocity."""
    del params, extra
    moved = next_velocity(hp, updates, state)
    return moved, VelocityState(moved)


def next_velocity(hp: Hyperparameters, updates: PyTree, state: VelocityState) -> PyTree:
    """Return the next velocity of every entry."""

    def move(g: jax.Array, v: jax.Array) -> jax.Array:
        alpha, beta = read_rates(hp, v.dtype)
        return accelerate(alpha, beta, g.astype(v.dtype), v)

    return jax.tree.map(move, updates, state.velocity)


def read_rates(
    hp: Hyperparameters, dtype: Any, names: Sequence[str] = ("learning_rate", "beta")
) -> list[jax.Array]:
    """Return hyperparameters as scalars of a dtype, the learning rate and beta by default."""
    for name in names:
        check_scalar(name, hp[name])
    return [jnp.asarray(hp[name], dtype) for name in names]


def accelerate(alpha: jax.Array, beta: jax.Array, g: jax.Array, v: jax.Array) -> jax.Array:
    """Return the next velocity ``beta v - alpha g``, with each operation rounded by itself."""
    return _round_product(beta * v) - _round_product(alpha * g)


def _round_product(product: jax.Array) -> jax.Array:
    """Return the product itself, kept apart from the sum that it enters.

    XLA may contract a product and a sum into one operation that rounds once. Whether it does
    depends on the surrounding program, the version and the machine. The last bit decides whether
    two values of Q are equal, so such runs would drift apart. Contraction does not reach through a
    select; and a product that is not finite is the same when it is doubled.
    """
    return jnp.where(jnp.isfinite(product), product, 2 * product)


def _update_lazy(
    hp: Hyperparameters,
    updates: PyTree,
    state: VelocityState,
    params: PyTree = None,
    *,
    visited: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, VelocityState]:
    del params, extra
    moved = next_velocity(hp, updates, state)
    if visited is None:
        return moved, VelocityState(moved)
    kept = _select_tree(visited, moved, state.velocity)
    return _select_tree(visited, moved, _wide_zeros(moved)), VelocityState(kept)


def _init_pid(hp: Hyperparameters, params: PyTree) -> PidState:
    del hp
    return PidState(_wide_zeros(params), _wide_zeros(params))


def _update_pid(
    hp: Hyperparameters,
    updates: PyTree,
    state: PidState,
    params: PyTree = None,
    *,
    visited: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, PidState]:
    del params, extra

    def integral(g: jax.Array, z: jax.Array) -> jax.Array:
        alpha, beta = read_rates(hp, z.dtype, ("alpha", "beta"))
        return beta * z - alpha * g

    def move(g: jax.Array, z: jax.Array, v: jax.Array) -> jax.Array:
        names = ("learning_rate", "kp", "ki", "kd")
        mu, kp, ki, kd = read_rates(hp, v.dtype, names)
        return mu * (ki * z + kd * v - kp * g)

    sums = jax.tree.map(integral, updates, state.integral)
    moved = jax.tree.map(move, updates, sums, state.velocity)
    new_state = PidState(moved, sums)
    if visited is None:
        return moved, new_state
    kept = PidState(*(_select_tree(visited, *pair) for pair in zip(new_state, state, strict=True)))
    return _select_tree(visited, moved, _wide_zeros(moved)), kept


def _init_visits(hp: Hyperparameters, params: PyTree) -> VisitState:
    del hp
    return VisitState(jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), jnp.int32), params))


def _update_visits(
    hp: Hyperparameters,
    updates: PyTree,
    state: VisitState,
    params: PyTree = None,
    *,
    visited: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, VisitState]:
    del params, extra

    def move(g: jax.Array, visits: jax.Array) -> jax.Array:
        omega, scale = read_rates(hp, g.dtype, ("omega", "scale"))
        return -g / (1 + scale * visits.astype(g.dtype)) ** omega

    moved = jax.tree.map(move, updates, state.visits)
    more = jax.tree.map(optax.safe_increment, state.visits)
    if visited is None:
        return moved, VisitState(more)
    updates = _select_tree(visited, moved, _wide_zeros(moved))
    return updates, VisitState(_select_tree(visited, more, state.visits))


def _select_tree(visited: PyTree, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(jnp.where, visited, new, old)


def _wide_zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), wide_dtype(p)), tree)


def _check_momentum(hp: Hyperparameters) -> None:
    check_interval("learning_rate", hp["learning_rate"], 0)
    check_interval("beta", hp["beta"], 0, 1, is_open=True)


def _check_pid(hp: Hyperparameters) -> None:
    check_interval("learning_rate", hp["learning_rate"], 0)
    check_interval("beta", hp["beta"], 0, 1)


def _check_visits(hp: Hyperparameters) -> None:
    check_interval("omega", hp["omega"], 0)
    check_interval("scale", hp["scale"], 0)
