"""Two fast learners, which touch one row per step: lazy momentum, and dense momentum in arrears."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl import rules
from jaxmom.rl.learners import Learner, Now, Transition, plain, scheduled
from jaxmom.transform import Optimizer, hyperparameters


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


def lazy(
    optimizer: Optimizer, initial: jax.Array, discount: ArrayLike, limit: ArrayLike
) -> Learner:
    """`lazy_momentum` on one entry: two gathers and two scatters of single numbers."""
    shape = initial.shape

    def start() -> Any:
        return initial.ravel(), jnp.zeros(initial.size, initial.dtype)

    def row(memory: Any, state: jax.Array, now: Now) -> jax.Array:
        del now
        return jax.lax.dynamic_slice(memory[0], (state * shape[1],), (shape[1],))

    def learn(memory: Any, seen: Transition, now: Now, word: Any, active: Any) -> Any:
        del word
        q, velocity = memory
        alpha, beta = _numbers(optimizer, now, initial.dtype)
        at = seen.state * shape[1] + seen.action
        value, before = _get(q, at), _get(velocity, at)
        best = jnp.max(row(memory, seen.next_state, now))
        gradient = _gradient(value, best, seen, discount)
        moved = rules.new_velocity(alpha, beta, gradient, before)
        new = value + moved
        fine = jnp.abs(new) <= limit
        write = active & fine
        q = _set(q, at, jnp.where(write, new, value))
        return (q, _set(velocity, at, jnp.where(write, moved, before))), fine

    def table(memory: Any, now: Now) -> jax.Array:
        del now
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
    whole = jnp.int64 if initial.dtype.itemsize == 8 else jnp.int32

    def start() -> Any:
        stamp = jax.lax.bitcast_convert_type(jnp.full((states, 1), -1, whole), initial.dtype)
        return jnp.concatenate([initial, jnp.zeros_like(initial), stamp], axis=1)

    def caught_up(row: jax.Array, now: Now) -> tuple[jax.Array, jax.Array]:
        """Values and velocities as they are before this step."""
        _, beta = _numbers(optimizer, now, initial.dtype)
        last = jax.lax.bitcast_convert_type(row[..., -1], whole).astype(jnp.int32)
        missed = (now.step - 1 - last).astype(initial.dtype)[..., None]
        decay = jnp.where(beta > 0, jnp.exp2(missed * jnp.log2(jnp.where(beta > 0, beta, 1.0))), 0)
        decay = jnp.where(missed == 0, 1.0, decay).astype(initial.dtype)
        value, velocity = row[..., :actions], row[..., actions : 2 * actions]
        return value + velocity * (beta * (1 - decay) / (1 - beta)), velocity * decay

    def row(memory: Any, state: jax.Array, now: Now) -> jax.Array:
        return caught_up(_row(memory, state), now)[0]

    def learn(memory: Any, seen: Transition, now: Now, word: Any, active: Any) -> Any:
        del word
        alpha, beta = _numbers(optimizer, now, initial.dtype)
        old = _row(memory, seen.state)
        value, velocity = caught_up(old, now)
        best = jnp.max(row(memory, seen.next_state, now))
        here = jnp.arange(actions, dtype=jnp.int32) == seen.action
        mine = jnp.sum(jnp.where(here, value, 0.0))
        gradient = jnp.where(here, _gradient(mine, best, seen, discount), 0.0)
        moved = beta * velocity - alpha * gradient
        fine = jnp.abs(jnp.sum(jnp.where(here, value + moved, 0.0))) <= limit
        stamp = jax.lax.bitcast_convert_type(now.step.astype(whole), initial.dtype)
        new = jnp.concatenate([value + moved, moved, stamp[None]])
        return _set(memory, seen.state, jnp.where(active & fine, new, old)), fine

    def table(memory: Any, now: Now) -> jax.Array:
        return caught_up(memory, now)[0]

    return Learner(start, row, learn, table)


def _fast(optimizer: Optimizer) -> Callable[..., Learner] | None:
    if rules.of_kind(optimizer, rules.lazy_update):
        return lazy
    constant = not any(isinstance(value, Partial) for value in hyperparameters(optimizer).values())
    # Under a schedule, what a row has missed has no closed form.
    return dense if rules.of_kind(optimizer, rules.dense_update) and constant else None


def _numbers(optimizer: Optimizer, now: Now, dtype: Any) -> list[jax.Array]:
    """The learning rate and beta."""
    hp = hyperparameters(scheduled(optimizer, now.clock))
    return [jnp.asarray(hp[name], dtype) for name in ("learning_rate", "beta")]


def _gradient(value: Any, best: Any, seen: Transition, discount: Any) -> jax.Array:
    """The derivative of `td_loss` with respect to the value."""
    later = jnp.where(seen.terminated, 0.0, discount * best)
    return -(seen.reward.astype(best.dtype) + later - value)


def _row(memory: jax.Array, state: jax.Array) -> jax.Array:
    return memory.at[state].get(mode="promise_in_bounds")


def _get(flat: jax.Array, at: jax.Array) -> jax.Array:
    return flat.at[at].get(mode="promise_in_bounds")


def _set(array: jax.Array, at: jax.Array, value: jax.Array) -> jax.Array:
    return array.at[at].set(value, mode="promise_in_bounds", unique_indices=True)
