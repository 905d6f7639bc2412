"""How a table learns from a transition, by any optax transformation; `jaxmom.rl.fast` has others.

A learner has no loop of its own. It shows the row of a state, learns from a transition, and shows
its table; `q_learning` does the rest, so that the paths differ in nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.transform import Optimizer, hyperparameters, replace


class Transition(NamedTuple):
    """What was seen: a state, an action, and what came of it."""

    state: jax.Array  # int32 []
    action: jax.Array  # int32 []
    reward: jax.Array  # []
    next_state: jax.Array  # int32 []
    terminated: jax.Array  # bool []


class Now(NamedTuple):
    """When something happens."""

    step: jax.Array  # int32 []
    clock: jax.Array  # int32 [], what schedules count: steps, or episodes


class Learner(NamedTuple):
    """Pure functions; `memory` is what is carried from one step to the next."""

    start: Callable[[], Any]  # () -> memory
    row: Callable[..., jax.Array]  # (memory, state, Now) -> [actions], for choosing
    learn: Callable[..., Any]  # (memory, Transition, Now, word, active) -> memory, fine
    table: Callable[..., jax.Array]  # (memory, Now) -> [states, actions]


def td_loss(q: jax.Array, seen: Transition, discount: ArrayLike) -> jax.Array:
    """Half the square of a temporal difference; its target is constant: the semi-gradient.

    ``(r + gamma max_a' Q(s', a') - Q(s, a))^2 / 2``, where nothing follows a termination. Its
    gradient is minus the difference, at the entry that was visited.

    Args:
      q: [states, actions].
      seen: A `Transition`.
      discount: gamma.

    Returns:
      A scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> seen = rl.Transition(*map(jnp.array, (0, 1, 1.0, 1, False)))
      >>> print(jax.grad(rl.td_loss)(jnp.array([[0.0, 0.0], [4.0, 2.0]]), seen, 0.5))
      [[ 0. -3.]
       [ 0.  0.]]
    """
    best = jnp.max(q[seen.next_state])
    return _half_square(q[seen.state, seen.action], best, seen, discount)


def double_td_loss(
    tables: jax.Array, seen: Transition, discount: ArrayLike, second: ArrayLike
) -> jax.Array:
    """The loss of Double Q: one table chooses the next action, the other one values it.

    Args:
      tables: [2, states, actions].
      seen: A `Transition`.
      discount: gamma.
      second: Whether the second table learns.

    Source: van Hasselt 2010 (NeurIPS), algorithm 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> seen = rl.Transition(*map(jnp.array, (0, 0, 0.0, 1, False)))
      >>> tables = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [4.0, 8.0]]])
      >>> print(jax.grad(rl.double_td_loss)(tables, seen, 1.0, second=False)[0, 0])
      [-4.  0.]
    """
    mine = jnp.asarray(second, jnp.int32)
    action = jnp.argmax(tables[mine, seen.next_state])
    best = tables[1 - mine, seen.next_state, action]
    return _half_square(tables[mine, seen.state, seen.action], best, seen, discount)


def plain(
    optimizer: Optimizer, initial: jax.Array, discount: ArrayLike, limit: ArrayLike, double: bool
) -> Learner:
    """Autodiff, and any optax transformation, which sees the whole table at every step."""

    def start() -> Any:
        q = jnp.stack([initial, initial]) if double else initial
        return q, scheduled(optimizer, jnp.zeros([], jnp.int32)).init(q)

    def row(memory: Any, state: jax.Array, now: Now) -> jax.Array:
        del now
        q, _ = memory
        return q[0, state] + q[1, state] if double else q[state]

    def learn(memory: Any, seen: Transition, now: Now, word: jax.Array, active: Any) -> Any:
        q, state = memory
        # This word has chosen the action; among those of either coin, choices are as even.
        second = (word & 1) == 1
        entry: Any = (seen.state, seen.action)
        if double:
            entry = (second.astype(jnp.int32), *entry)
            gradient = jax.grad(double_td_loss)(q, seen, discount, second)
        else:
            gradient = jax.grad(td_loss)(q, seen, discount)
        visited = jnp.zeros(q.shape, bool).at[entry].set(True)
        rule = scheduled(optimizer, now.clock)
        updates, new_state = rule.update(gradient, state, q, visited=visited)
        new_q = q + updates
        fine = jnp.abs(new_q[entry]) <= limit
        kept = jax.tree.map(
            lambda new, old: jnp.where(active & fine, new, old), (new_q, new_state), memory
        )
        return kept, fine

    def table(memory: Any, now: Now) -> jax.Array:
        del now
        return (memory[0][0] + memory[0][1]) / 2 if double else memory[0]

    return Learner(start, row, learn, table)


def scheduled(optimizer: Optimizer, clock: jax.Array) -> Optimizer:
    """The optimizer as it is at a clock: its schedules are numbers."""
    hp = hyperparameters(optimizer)
    values = {name: v(clock) for name, v in hp.items() if isinstance(v, Partial)}
    return replace(optimizer, **values) if values else optimizer


def _half_square(value: Any, best: Any, seen: Transition, discount: Any) -> jax.Array:
    later = jnp.where(seen.terminated, 0.0, jnp.asarray(discount, best.dtype) * best)
    target = jax.lax.stop_gradient(seen.reward.astype(best.dtype) + later)
    return (target - value) ** 2 / 2
