"""Synchronous Q-learning from a generative model, which samples every pair once per iteration."""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmom.rl._checks import (
    check_count,
    check_interval,
    check_optimizer,
    check_scalar,
    check_table,
)
from jaxmom.rl._tabular.tables import Tables, build_tables, sample_transition
from jaxmom.rl.mdp import Mdp, check_mdp
from jaxmom.transform import PyTree, ScalarOrSchedule, as_pytree

BackupFn: TypeAlias = Callable[[jax.Array], jax.Array]  # Q -> one sample of T Q
InitCarryFn: TypeAlias = Callable[[jax.Array], PyTree]  # Q -> carry, whose first part is Q
IterateFn: TypeAlias = Callable[[BackupFn, PyTree, jax.Array], PyTree]  # (T, carry, k) -> carry


class SynchronousQ(NamedTuple):
    """What `synchronous_q_learning`, `speedy_q_learning` and `momentum_q_learning` return."""

    q: jax.Array  # [states, actions]
    iterations: jax.Array  # int32 [records], before each record
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
    """Learn from samples of all pairs at once: the "gradient" is Q minus its sampled backup.

    Args:
      mdp: The process; its arrays must not be traced.
      optimizer: Any optax transformation: `visit_descent` has the classical step sizes,
        ``optax.sgd(schedule, momentum=beta)`` is heavy ball.
      key: A JAX key.
      iterations: The number of iterations; each samples every pair once.
      discount: gamma, a scalar.
      target: [states, actions], such as Q*; the error leaves out the entries that are NaN.
      every: Keep a record after every so many iterations, a divisor of them; by default at the end.

    Returns:
      A `SynchronousQ`.

    Raises:
      ValueError: `iterations` is below 1 or not a multiple of `every`, `target` has another shape,
        or gamma is outside [0, 1] or not a scalar.
      TypeError: The process is traced.

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
    check_optimizer(optimizer, jnp.zeros((mdp.states, mdp.actions)))

    def init(q: jax.Array) -> PyTree:
        return q, optimizer.init(q)

    def iterate(backup: BackupFn, carry: PyTree, count: jax.Array) -> PyTree:
        del count
        q, state = carry
        updates, state = optimizer.update(q - backup(q), state, q)
        return q + updates, state

    return _scan_iterations(mdp, init, iterate, key, iterations, discount, target, every)


def speedy_q_learning(
    mdp: Mdp,
    key: jax.Array,
    *,
    iterations: int,
    discount: ArrayLike = 0.99,
    target: ArrayLike | None = None,
    every: int | None = None,
) -> SynchronousQ:
    """Learn by SpeedyQ: ``Q + a (T Q' - Q) + (1 - a) (T Q - T Q')``, with a = 1 / (k + 1).

    Q' is the previous Q, and both backups use the same sample. There is no asynchronous form here,
    because it diverges: at every visit of an entry the difference of backups would be added again,
    although neither moved.

    Args:
      mdp: The process; its arrays must not be traced.
      key: A JAX key.
      iterations: The number of iterations; each samples every pair once.
      discount: gamma, a scalar.
      target: [states, actions], such as Q*; the error leaves out the entries that are NaN.
      every: Keep a record after every so many iterations, a divisor of them; by default at the end.

    Returns:
      A `SynchronousQ`.

    Raises:
      ValueError: `iterations` is below 1 or not a multiple of `every`, `target` has another shape,
        or gamma is outside [0, 1] or not a scalar.
      TypeError: The process is traced.

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

    def rate(count: jax.Array) -> jax.Array:
        return 1 / (count.astype(float) + 1)

    terms = (rate, lambda count: 1 - rate(count), 0.0)
    numbers = {"iterations": iterations, "discount": discount, "target": target, "every": every}
    return momentum_q_learning(mdp, key, *terms, **numbers)


def momentum_q_learning(
    mdp: Mdp,
    key: jax.Array,
    a: ScalarOrSchedule,
    b: ScalarOrSchedule,
    c: ScalarOrSchedule = 0.0,
    *,
    iterations: int,
    discount: ArrayLike = 0.99,
    target: ArrayLike | None = None,
    every: int | None = None,
) -> SynchronousQ:
    """Learn by MomentumQ: ``Q + a_k (T Q' - Q) + b_k (T Q - T Q') + c_k (Q - Q')``.

    Q' is the previous Q, in the first iteration Q itself, and both backups use the same sample of
    iteration k. The paper writes ``P + B (P - S) + C (Q - Q')``, where ``P = Q + a (T Q - Q)`` and
    ``S = Q' + a (T Q' - Q')``: its a, B and C are ours with b = a (1 + B) and c = C + B (1 - a).
    Special cases:

        b = a, c = 0                              Q-learning
        b = a, c = beta                           with Polyak's heavy ball: C = beta, B = 0
        b = (1 + beta) a, c = beta (1 - a)        with Nesterov's momentum: B = beta, C = 0; S is of
                                                  this sample, not the P of the last iteration
        a = 1, b = 1 + beta, c = 0                the same with a = 1, as in `two_backups`, which
                                                  begins with another first step
        a = 1 / (k + 1), b = 1 - a, c = 0         SpeedyQ
        a = c = 1 / (k + 1), b = (k - m) a        algorithm 1 of the paper, m at least 1 / gamma

    Args:
      mdp: The process; its arrays must not be traced.
      key: A JAX key.
      a: a_k, the step size; a number, or a function of k, from 0.
      b: b_k, the weight of the change of the backup.
      c: c_k, the weight of the last change of Q.
      iterations: The number of iterations; each samples every pair once.
      discount: gamma, a scalar.
      target: [states, actions], such as Q*; the error leaves out the entries that are NaN.
      every: Keep a record after every so many iterations, a divisor of them; by default at the end.

    Returns:
      A `SynchronousQ`.

    Raises:
      ValueError: `iterations` is below 1 or not a multiple of `every`, `target` has another shape,
        or gamma is outside [0, 1] or not a scalar.
      TypeError: The process is traced.

    Source: Weng, Xiong, Zhao, Liang and Zhang 2021 (UAI, arXiv 2007.15418), equation 10 and
      algorithm 1, in the letters of SpeedyQ; Weng, Xiong and Zhang 2019 (arXiv 1905.02841) for
      accelerated targets. No schedule is built in.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> rate = lambda k: 1 / (k.astype(float) + 1)
      >>> run = rl.momentum_q_learning(
      ...     mdp, jax.random.key(1), rate, lambda k: 1 - (1 + 1 / 0.9) * rate(k), rate,
      ...     iterations=1000, discount=0.9, target=rl.value_iteration(mdp, 0.9).q,
      ... )
      >>> bool(run.error[-1] < 0.5)
      True
    """
    terms = {"a": a, "b": b, "c": c}
    for name, value in terms.items():
        if not callable(value):
            check_scalar(name, value)

    def init(q: jax.Array) -> PyTree:
        return q, q

    def iterate(backup: BackupFn, carry: PyTree, count: jax.Array) -> PyTree:
        q, previous = carry
        a, b, c = (
            jnp.asarray(value(count) if callable(value) else value, q.dtype)
            for value in terms.values()
        )
        now, before = backup(q), backup(previous)
        return q + a * (before - q) + b * (now - before) + c * (q - previous), q

    return _scan_iterations(mdp, init, iterate, key, iterations, discount, target, every)


def _scan_iterations(
    mdp: Mdp,
    init: InitCarryFn,
    iterate: IterateFn,
    key: jax.Array,
    iterations: int,
    discount: ArrayLike,
    target: ArrayLike | None,
    every: int | None,
) -> SynchronousQ:
    check_mdp(mdp)
    tables = build_tables(mdp, float)
    iterations = operator.index(iterations)
    every = iterations if every is None else operator.index(every)
    if iterations < 1 or every < 1 or iterations % every:
        raise ValueError(
            f"iterations is at least 1 and a multiple of every; got {iterations=}, {every=}."
        )
    check_count("iterations", iterations)
    check_scalar("discount", discount)
    check_interval("discount", discount, 0, 1)
    shape = (tables.states, tables.actions)
    goal = None if target is None else jnp.asarray(target, float)
    if goal is not None:
        check_table("target", goal, shape)

    def scan_one(carry: PyTree, count: jax.Array) -> tuple[PyTree, None]:
        bits = jax.random.bits(jax.random.fold_in(key, count), shape, jnp.uint32)
        return iterate(
            functools.partial(_sample_backup, tables, discount, bits), carry, count
        ), None

    def segment(carry: PyTree, begin: jax.Array) -> tuple[PyTree, jax.Array]:
        carry, _ = jax.lax.scan(scan_one, carry, begin + jnp.arange(every, dtype=jnp.int32))
        return carry, _max_distance(carry[0], goal)

    begins = jnp.arange(0, iterations, every, dtype=jnp.int32)
    carry, error = jax.lax.scan(segment, init(jnp.zeros(shape)), begins)
    return SynchronousQ(carry[0], begins + every, error)


def _sample_backup(tables: Tables, discount: ArrayLike, bits: jax.Array, q: jax.Array) -> jax.Array:
    """Return one sample of the Bellman operator, at every pair."""
    s_tm1, a_tm1 = jnp.indices(q.shape, dtype=jnp.int32)
    sample_all = jax.vmap(jax.vmap(functools.partial(sample_transition, tables)))
    s_t, r_t, terminated = sample_all(s_tm1, a_tm1, bits)
    q_t = jnp.max(q, axis=-1)[s_t]
    bootstrap = jnp.where(terminated, 0.0, q_t)
    return r_t.astype(q.dtype) + jnp.asarray(discount, q.dtype) * bootstrap


def _max_distance(q: jax.Array, target: jax.Array | None) -> jax.Array:
    if target is None:
        return jnp.full([], jnp.nan, q.dtype)
    return jnp.max(jnp.where(jnp.isnan(target), 0.0, jnp.abs(q - target)))
