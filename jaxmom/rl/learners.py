"""How a table learns from a transition: by any optax transformation, or by two fast rules.

A learner has no loop of its own. It shows the row of a state, learns from a transition, and shows
its table; `q_learning` does the rest, so that the paths differ in nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.rl import rules
from jaxmom.transform import Optimizer, hyperparameters


class Transition(NamedTuple):
    """What was seen: a state, an action, and what came of it."""

    state: jax.Array  # int32 []
    action: jax.Array  # int32 []
    reward: jax.Array  # []
    next_state: jax.Array  # int32 []
    terminated: jax.Array  # bool []


class Learner(NamedTuple):
    """Pure functions; `count` is the number of the step, `memory` what is carried from one on."""

    start: Callable[[], Any]  # () -> memory
    row: Callable[..., jax.Array]  # (memory, state, count) -> [actions], for choosing
    learn: Callable[..., Any]  # (memory, Transition, count, word, active) -> memory, fine
    table: Callable[..., jax.Array]  # (memory, count) -> [states, actions]


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
        return q, optimizer.init(q)

    def row(memory: Any, state: jax.Array, count: jax.Array) -> jax.Array:
        del count
        q, _ = memory
        return q[0, state] + q[1, state] if double else q[state]

    def learn(memory: Any, seen: Transition, count: Any, word: jax.Array, active: Any) -> Any:
        del count
        q, state = memory
        # The low bits of this word chose no action.
        second = (word & 1) == 1
        entry: Any = (seen.state, seen.action)
        if double:
            entry = (second.astype(jnp.int32), *entry)
            gradient = jax.grad(double_td_loss)(q, seen, discount, second)
        else:
            gradient = jax.grad(td_loss)(q, seen, discount)
        visited = jnp.zeros(q.shape, bool).at[entry].set(True)
        updates, new_state = optimizer.update(gradient, state, q, visited=visited)
        new_q = q + updates
        fine = jnp.abs(new_q[entry]) <= limit
        kept = jax.tree.map(
            lambda new, old: jnp.where(active & fine, new, old), (new_q, new_state), memory
        )
        return kept, fine

    def table(memory: Any, count: jax.Array) -> jax.Array:
        del count
        return (memory[0][0] + memory[0][1]) / 2 if double else memory[0]

    return Learner(start, row, learn, table)


def lazy(
    optimizer: Optimizer, initial: jax.Array, discount: ArrayLike, limit: ArrayLike
) -> Learner:
    """`lazy_momentum` on one entry: two gathers and two scatters of single numbers."""
    shape, numbers = initial.shape, _numbers(optimizer, initial.dtype)

    def start() -> Any:
        return initial.ravel(), jnp.zeros(initial.size, initial.dtype)

    def row(memory: Any, state: jax.Array, count: jax.Array) -> jax.Array:
        del count
        return jax.lax.dynamic_slice(memory[0], (state * shape[1],), (shape[1],))

    def learn(memory: Any, seen: Transition, count: jax.Array, word: Any, active: Any) -> Any:
        del word
        q, velocity = memory
        alpha, beta = numbers(count)
        at = seen.state * shape[1] + seen.action
        value, before = _get(q, at), _get(velocity, at)
        best = jnp.max(row(memory, seen.next_state, count))
        moved = beta * before - alpha * _gradient(value, best, seen, discount)
        new = value + moved
        fine = jnp.abs(new) <= limit
        write = active & fine
        q = _set(q, at, jnp.where(write, new, value))
        return (q, _set(velocity, at, jnp.where(write, moved, before))), fine

    def table(memory: Any, count: jax.Array) -> jax.Array:
        del count
        return memory[0].reshape(shape)

    return Learner(start, row, learn, table)


def dense(
    optimizer: Optimizer, initial: jax.Array, discount: ArrayLike, limit: ArrayLike
) -> Learner:
    """`dense_momentum` on one row: what it has done since the row's last visit is made up for.

    After k steps without a difference, ``Q += v beta (1 - beta^k) / (1 - beta)`` and ``v *=
    beta^k``. Q, v and the count of the last visit of a state are one row of one array, for XLA
    would copy a third array that is read and written in a step. The count is kept as a float of
    the same width, by its bits.
    """
    states, actions = initial.shape
    numbers = _numbers(optimizer, initial.dtype)
    whole = jnp.int64 if initial.dtype.itemsize == 8 else jnp.int32

    def start() -> Any:
        stamp = jax.lax.bitcast_convert_type(jnp.full((states, 1), -1, whole), initial.dtype)
        return jnp.concatenate([initial, jnp.zeros_like(initial), stamp], axis=1)

    def caught_up(row: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Values and velocities as they are before step `count`."""
        _, beta = numbers(count)
        last = jax.lax.bitcast_convert_type(row[..., -1], whole).astype(jnp.int32)
        missed = (count - 1 - last).astype(initial.dtype)[..., None]
        decay = jnp.where(beta > 0, jnp.exp2(missed * jnp.log2(jnp.where(beta > 0, beta, 1.0))), 0)
        decay = jnp.where(missed == 0, 1.0, decay).astype(initial.dtype)
        value, velocity = row[..., :actions], row[..., actions : 2 * actions]
        return value + velocity * (beta * (1 - decay) / (1 - beta)), velocity * decay

    def row(memory: Any, state: jax.Array, count: jax.Array) -> jax.Array:
        return caught_up(_row(memory, state), count)[0]

    def learn(memory: Any, seen: Transition, count: jax.Array, word: Any, active: Any) -> Any:
        del word
        alpha, beta = numbers(count)
        old = _row(memory, seen.state)
        value, velocity = caught_up(old, count)
        best = jnp.max(row(memory, seen.next_state, count))
        here = jnp.arange(actions, dtype=jnp.int32) == seen.action
        mine = jnp.sum(jnp.where(here, value, 0.0))
        gradient = jnp.where(here, _gradient(mine, best, seen, discount), 0.0)
        moved = beta * velocity - alpha * gradient
        fine = jnp.abs(jnp.sum(jnp.where(here, value + moved, 0.0))) <= limit
        stamp = jax.lax.bitcast_convert_type(count.astype(whole), initial.dtype)
        new = jnp.concatenate([value + moved, moved, stamp[None]])
        return _set(memory, seen.state, jnp.where(active & fine, new, old)), fine

    def table(memory: Any, count: jax.Array) -> jax.Array:
        return caught_up(memory, count)[0]

    return Learner(start, row, learn, table)


def learner(
    optimizer: Optimizer,
    initial: jax.Array,
    discount: ArrayLike,
    limit: ArrayLike,
    *,
    double: bool,
    path: str,
) -> Learner:
    """The fast learner of an optimizer if it has one and `path` admits it, else the plain one."""
    fast = None if double or path == "plain" else _fast(optimizer)
    if path == "fast" and fast is None:
        raise ValueError(
            "there is a fast path for rl.lazy_momentum and for rl.dense_momentum with constant "
            'numbers, each by itself and without double; use path="auto" or "plain" for others.'
        )
    limit = jnp.asarray(limit, initial.dtype)
    discount = jnp.asarray(discount, initial.dtype)
    if fast is None:
        return plain(optimizer, initial, discount, limit, double)
    return fast(optimizer, initial, discount, limit)


def _fast(optimizer: Optimizer) -> Callable[..., Learner] | None:
    if rules.of_kind(optimizer, rules.lazy_update):
        return lazy
    constant = not any(callable(value) for value in hyperparameters(optimizer).values())
    # Under a schedule, what a row has missed has no closed form.
    return dense if rules.of_kind(optimizer, rules.dense_update) and constant else None


def _numbers(optimizer: Optimizer, dtype: Any) -> Callable[[jax.Array], list[jax.Array]]:
    """The learning rate and beta, at a count."""
    hp = hyperparameters(optimizer)

    def at(count: jax.Array) -> list[jax.Array]:
        values = (hp["learning_rate"], hp["beta"])
        return [jnp.asarray(v(count) if callable(v) else v, dtype) for v in values]

    return at


def _half_square(value: Any, best: Any, seen: Transition, discount: Any) -> jax.Array:
    later = jnp.where(seen.terminated, 0.0, jnp.asarray(discount, best.dtype) * best)
    target = jax.lax.stop_gradient(seen.reward.astype(best.dtype) + later)
    return (target - value) ** 2 / 2


def _gradient(value: Any, best: Any, seen: Transition, discount: Any) -> jax.Array:
    """The derivative of `_half_square` with respect to the value."""
    later = jnp.where(seen.terminated, 0.0, discount * best)
    return -(seen.reward.astype(best.dtype) + later - value)


def _row(memory: jax.Array, state: jax.Array) -> jax.Array:
    return memory.at[state].get(mode="promise_in_bounds")


def _get(flat: jax.Array, at: jax.Array) -> jax.Array:
    return flat.at[at].get(mode="promise_in_bounds")


def _set(array: jax.Array, at: jax.Array, value: jax.Array) -> jax.Array:
    return array.at[at].set(value, mode="promise_in_bounds", unique_indices=True)
