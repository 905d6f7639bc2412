"""Learning from a generative model: every pair is sampled once per iteration."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmom.rl.mdp import Mdp
from jaxmom.rl.tables import Tables, follow, tables
from jaxmom.transform import as_pytree


class SynchronousQ(NamedTuple):
    """What `synchronous_q_learning` and `speedy_q_learning` return."""

    q: jax.Array  # [states, actions]
    iterations: jax.Array  # int32 [records], those done before each record
    error: jax.Array  # [records], the largest distance to the target; NaN without one


def synchronous_q_learning(
    mdp: Mdp,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    iterations: int,
    discount: ArrayLike = 0.99,
    target: ArrayLike | None = None,
    every: int | None = None,
) -> SynchronousQ:
    """Q-learning that samples all pairs at once: the "gradient" is Q minus its sampled backup.

    Args:
      mdp: The process; its arrays must not be traced.
      optimizer: Any optax transformation: `visit_descent` has the classical step sizes,
        ``optax.sgd(schedule, momentum=beta)`` is heavy ball.
      key: A JAX key.
      iterations: In each, every pair is sampled once.
      discount: gamma.
      target: [states, actions], such as Q*; the error leaves out the entries that are NaN.
      every: Keep a record after every so many iterations, a divisor of them; by default at the end.

    Raises:
      ValueError: iterations is below 1, or no multiple of every.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> run = rl.synchronous_q_learning(
      ...     mdp, rl.visit_descent(omega=0.6), jax.random.key(1), iterations=1000, discount=0.9,
      ...     target=rl.value_iteration(mdp, 0.9).q,
      ... )
      >>> bool(run.error[-1] < 0.5)
      True
    """
    optimizer = as_pytree(optimizer)
    table = tables(mdp, float)

    def start(q: jax.Array) -> Any:
        return q, optimizer.init(q)

    def iterate(sampled: Callable[..., jax.Array], carry: Any, count: Any) -> Any:
        del count
        q, state = carry
        updates, state = optimizer.update(q - sampled(q), state, q)
        return q + updates, state

    return _scanned(table, start, iterate, key, iterations, discount, target, every)


def speedy_q_learning(
    mdp: Mdp,
    key: jax.Array,
    *,
    iterations: int,
    discount: ArrayLike = 0.99,
    target: ArrayLike | None = None,
    every: int | None = None,
) -> SynchronousQ:
    """SpeedyQ: ``Q + a (T Q' - Q) + (1 - a) (T Q - T Q')``, a = 1 / (k + 1), Q' the last Q.

    Both backups use the same sample. There is no asynchronous form here: added at every visit of an
    entry, the difference of backups would be added again though neither has moved, and diverges.

    Arguments, result and errors are those of `synchronous_q_learning`, without an optimizer.

    Source: Azar, Munos, Ghavamzadeh and Kappen 2011 (NeurIPS), algorithm 1.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> run = rl.speedy_q_learning(
      ...     mdp, jax.random.key(1), iterations=1000, discount=0.9,
      ...     target=rl.value_iteration(mdp, 0.9).q,
      ... )
      >>> bool(run.error[-1] < 0.5)
      True
    """
    table = tables(mdp, float)

    def start(q: jax.Array) -> Any:
        return q, q

    def iterate(sampled: Callable[..., jax.Array], carry: Any, count: jax.Array) -> Any:
        q, before = carry
        step = 1 / (count.astype(q.dtype) + 1)
        now, then = sampled(q), sampled(before)
        return q + step * (then - q) + (1 - step) * (now - then), q

    return _scanned(table, start, iterate, key, iterations, discount, target, every)


def _scanned(
    table: Tables,
    start: Callable[..., Any],
    iterate: Callable[..., Any],
    key: jax.Array,
    iterations: int,
    discount: ArrayLike,
    target: Any,
    every: int | None,
) -> SynchronousQ:
    iterations = operator.index(iterations)
    every = iterations if every is None else operator.index(every)
    if iterations < 1 or every < 1 or iterations % every:
        raise ValueError(
            f"iterations is at least 1 and a multiple of every; got {iterations=}, {every=}."
        )
    goal = None if target is None else jnp.asarray(target, float)

    def one(carry: Any, count: jax.Array) -> tuple[Any, None]:
        words = jax.random.bits(
            jax.random.fold_in(key, count), (table.states, table.actions), jnp.uint32
        )
        sampled = functools.partial(_sampled, table, discount, words)
        return iterate(sampled, carry, count), None

    def segment(carry: Any, begin: jax.Array) -> tuple[Any, jax.Array]:
        carry, _ = jax.lax.scan(one, carry, begin + jnp.arange(every, dtype=jnp.int32))
        return carry, _distance(carry[0], goal)

    carry = start(jnp.zeros((table.states, table.actions)))
    begins = jnp.arange(0, iterations, every, dtype=jnp.int32)
    carry, error = jax.lax.scan(segment, carry, begins)
    return SynchronousQ(carry[0], begins + every, error)


def _sampled(table: Tables, discount: ArrayLike, words: jax.Array, q: jax.Array) -> jax.Array:
    """One sample of the Bellman operator, at every pair."""
    s, a = jnp.indices(q.shape, dtype=jnp.int32)
    at = jax.vmap(jax.vmap(functools.partial(follow, table)))
    following, reward, terminated = at(s, a, words)
    later = jnp.where(terminated, 0.0, jnp.max(q, axis=-1)[following])
    return reward.astype(q.dtype) + jnp.asarray(discount, q.dtype) * later


def _distance(q: jax.Array, goal: jax.Array | None) -> jax.Array:
    if goal is None:
        return jnp.full([], jnp.nan, q.dtype)
    return jnp.max(jnp.where(jnp.isnan(goal), 0.0, jnp.abs(q - goal)))
