"""Transformations of temporal differences: their gradient is ``Q - T Q``, sampled or exact.

They take an extra argument ``visited``, a mask like params of what this step has seen; without it,
all was. `dense_momentum` is told of it and moves everything nevertheless, as optax does. Those that
are for planning alone are in `jaxmom.rl.acceleration`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmom.transform import Optimizer, ScalarOrSchedule, transformation, wide_dtype


class VelocityState(NamedTuple):
    """State of a momentum rule: what was added to params last."""

    velocity: Any


class PidState(NamedTuple):
    """State of `lazy_pid`: the last move of each entry, and its discounted sum of differences."""

    velocity: Any
    integral: Any


class VisitState(NamedTuple):
    """State of `visit_descent`: how often each entry was seen before."""

    visits: Any  # int32


def lazy_momentum(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Heavy ball that ticks only where an entry was visited: ``v <- beta v - alpha g; y <- y + v``.

    Unvisited entries keep their velocity and do not move, so that the memory of each entry is
    counted in its own visits. That a gradient is 0 does not say that its entry was not visited:
    temporal differences often are exactly 0, and so the mask is explicit. The learning rate is
    inside the velocity.

    On Q-learning this is stable only for a small alpha: see `jaxmom.theory.max_stable_alpha`. That
    `optax.sgd` is another algorithm, and a more robust one, is seen in `dense_momentum`.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).

    Returns:
      A pytree optimizer, whose update takes ``visited``, a pytree of booleans like params.

    Raises:
      ValueError: A plain number is out of its interval.

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
    return transformation(velocity_init, lazy_update, hp, check=_check)


def dense_momentum(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Heavy ball in which every entry moves at every step: ``v <- beta v - alpha g; y <- y + v``.

    At a constant learning rate this is ``optax.sgd(alpha, momentum=beta)``. Between its visits an
    entry rolls on, so that each difference has had its whole effect, alpha / (1 - beta), before the
    next one comes, unless the memory reaches from visit to visit.

    `q_learning` knows what an entry has done since its last visit in closed form, and so runs this
    rule as fast as the lazy one.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).

    Raises:
      ValueError: A plain number is out of its interval.

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
    return transformation(velocity_init, dense_update, hp, check=_check)


def lazy_pid(
    learning_rate: ScalarOrSchedule,
    kp: ScalarOrSchedule = 1.0,
    ki: ScalarOrSchedule = 0.0,
    kd: ScalarOrSchedule = 0.0,
    alpha: ScalarOrSchedule = 0.05,
    beta: ScalarOrSchedule = 0.95,
) -> Optimizer:
    """PID-Q: ``z <- beta z + alpha d; Q <- Q + mu (kp d + ki z + kd (Q - Q'))``, d = T Q - Q.

    Q' is the entry before its last visit. Lazy momentum is ``lazy_pid(mu, kd=beta / mu)``. Where
    all entries are visited at every step, as in planning, this is PID-VI.

    Args:
      learning_rate: mu.
      kp: The gain of the difference itself.
      ki: The gain of its discounted sum z.
      kd: The gain of the last move.
      alpha: What a difference adds to z.
      beta: What is kept of z.

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
    return transformation(_pid_init, _pid_update, {"learning_rate": learning_rate, **gains})


def visit_descent(omega: ScalarOrSchedule = 1.0, scale: ScalarOrSchedule = 1.0) -> Optimizer:
    """Descent with a step size for each entry, ``1 / (1 + scale N)^omega`` at its N earlier visits.

    The classical 1 / N is omega = 1, which learns at a pace of ``N^{gamma - 1}``, that is, hardly
    at all; ``scale = 1 - gamma`` rescales it (then the error falls as 1 / N), and omega in (1/2, 1)
    is the polynomial step.

    Args:
      omega: In (1/2, 1] for convergence with probability 1.
      scale: 1, or 1 - gamma for the rescaled linear step.

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
    return transformation(_visit_init, _visit_update, {"omega": omega, "scale": scale})


def velocity_init(hp, params):
    """At rest."""
    del hp
    return VelocityState(_zeros(params))


def lazy_update(hp, updates, state, params=None, *, visited=None, **extra):
    """The rule of `lazy_momentum`; `q_learning` knows it by its identity."""
    del params, extra
    moved = velocity(hp, updates, state)
    kept = moved if visited is None else _where(visited, moved, state.velocity)
    updates = moved if visited is None else _where(visited, moved, _zeros(moved))
    return updates, VelocityState(kept)


def dense_update(hp, updates, state, params=None, **extra):
    """The rule of `dense_momentum`; `q_learning` knows it by its identity."""
    del params, extra
    moved = velocity(hp, updates, state)
    return moved, VelocityState(moved)


def velocity(hp, updates, state):
    """The next velocity of every entry."""

    def move(g: jax.Array, v: jax.Array) -> jax.Array:
        alpha, beta = (jnp.asarray(hp[name], v.dtype) for name in ("learning_rate", "beta"))
        return new_velocity(alpha, beta, g.astype(v.dtype), v)

    return jax.tree.map(move, updates, state.velocity)


def _pid_init(hp, params):
    del hp
    return PidState(_zeros(params), _zeros(params))


def _pid_update(hp, updates, state, params=None, *, visited=None, **extra):
    del params, extra

    def integral(g: jax.Array, z: jax.Array) -> jax.Array:
        return jnp.asarray(hp["beta"], z.dtype) * z - jnp.asarray(hp["alpha"], z.dtype) * g

    def move(g: jax.Array, z: jax.Array, v: jax.Array) -> jax.Array:
        names = ("learning_rate", "kp", "ki", "kd")
        mu, kp, ki, kd = (jnp.asarray(hp[name], v.dtype) for name in names)
        return mu * (ki * z + kd * v - kp * g)

    sums = jax.tree.map(integral, updates, state.integral)
    moved = jax.tree.map(move, updates, sums, state.velocity)
    new_state = PidState(moved, sums)
    if visited is None:
        return moved, new_state
    kept = PidState(*(_where(visited, *pair) for pair in zip(new_state, state, strict=True)))
    return _where(visited, moved, _zeros(moved)), kept


def _visit_init(hp, params):
    del hp
    return VisitState(jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), jnp.int32), params))


def _visit_update(hp, updates, state, params=None, *, visited=None, **extra):
    del params, extra

    def move(g: jax.Array, visits: jax.Array) -> jax.Array:
        omega, scale = (jnp.asarray(hp[name], g.dtype) for name in ("omega", "scale"))
        return -g / (1 + scale * visits.astype(g.dtype)) ** omega

    moved = jax.tree.map(move, updates, state.visits)
    more = jax.tree.map(lambda n: n + 1, state.visits)
    if visited is None:
        return moved, VisitState(more)
    updates = _where(visited, moved, _zeros(moved))
    return updates, VisitState(_where(visited, more, state.visits))


def new_velocity(alpha: Any, beta: Any, g: jax.Array, v: jax.Array) -> jax.Array:
    """The next velocity of one entry, ``beta v - alpha g``, each operation rounded by itself."""
    return _rounded(beta * v) - _rounded(alpha * g)


def _rounded(product: jax.Array) -> jax.Array:
    """The number itself, kept apart from the sum that it enters.

    XLA contracts products with sums into operations that round once for both. Which ones, depends
    on the program around, the version and the machine; and the last bit decides whether two values
    of Q are equal, so that runs would part there. Contraction does not reach through a choice; and
    what is not finite is the same when doubled.
    """
    return jnp.where(jnp.isfinite(product), product, 2 * product)


def _where(visited: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(jnp.where, visited, new, old)


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), wide_dtype(p)), tree)


def _check(hp: dict[str, Any]) -> None:
    rate, beta = hp["learning_rate"], hp["beta"]
    if isinstance(rate, int | float) and not rate >= 0:
        raise ValueError(f"learning_rate is in [0, inf), got {rate}.")
    if isinstance(beta, int | float) and not 0 <= beta < 1:
        raise ValueError(f"beta is in [0, 1), got {beta}.")


def of_kind(optimizer: optax.GradientTransformation, update: Any) -> bool:
    """Whether this is one optimizer made of the given rule, and not a chain that holds one."""
    rule = getattr(getattr(optimizer.update, "func", None), "rule", None)
    return rule is not None and rule.update is update
