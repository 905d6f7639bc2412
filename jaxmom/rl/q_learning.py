"""Q-learning in one lane, by any optax transformation: the loop, its budgets and its records."""

import functools
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl import words as random
from jaxmom.rl.learners import Learner, Transition, learner
from jaxmom.rl.mdp import Mdp
from jaxmom.rl.tables import Tables, choose, first, follow, tables
from jaxmom.rl.words import Rng
from jaxmom.transform import ScalarOrSchedule, as_pytree

CHUNK = 1024  # steps between two looks at whether a budget of episodes is spent


class QLearning(NamedTuple):
    """What `q_learning` returns; all of it is arrays, so `vmap` makes it a sweep."""

    q: jax.Array  # [states, actions], after the last step, or where the lane was frozen
    diverged_at: jax.Array  # int32 [], the first step after which Q was bad, or -1
    steps: jax.Array  # int32 [records], the steps taken before each record
    rmse: jax.Array  # [records], to the target; NaN without one
    max_abs_q: jax.Array  # [records]
    reward: jax.Array  # [records], the sum of rewards since the last record
    finished: jax.Array  # int32 [records], the episodes that ended until then
    returns: jax.Array  # [episodes], undiscounted; NaN where an episode did not end
    lengths: jax.Array  # int32 [episodes]; -1 where it did not


class _Walk(NamedTuple):
    memory: Any
    state: jax.Array
    elapsed: jax.Array  # steps of this episode
    count: jax.Array  # steps of all
    gained: jax.Array  # rewards of this episode
    reward: jax.Array  # rewards since the last record
    finished: jax.Array  # episodes
    diverged_at: jax.Array
    returns: Any  # of episodes, with their lengths; () where there is no budget of them
    lengths: Any


def q_learning(
    mdp: Mdp,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    discount: ArrayLike = 0.99,
    epsilon: ScalarOrSchedule = 0.1,
    initial: ArrayLike = 0.0,
    target: ArrayLike | None = None,
    every: int | None = None,
    divergence: ArrayLike = 1e6,
    double: bool = False,
    path: Literal["auto", "plain", "fast"] = "auto",
    rng: Rng = "threefry",
) -> QLearning:
    """Learn by ``Q <- Q + update(gradient of td_loss)`` along one stream of experience.

    A truncated episode is over, but learning bootstraps from the state in which it was cut; a
    terminated one has no future. Equal values have equal chances. The same key gives the same
    random numbers whatever the hyperparameters are. A run whose Q, where it is written, is no
    finite number or larger than `divergence`, is frozen there.

    Args:
      mdp: The process; its arrays must not be traced. ``dataclasses.replace(mdp, time_limit=...)``
        changes its limit.
      optimizer: Any optax transformation that needs no loss value. It also gets ``visited``, the
        mask of the entry that was seen. `lazy_momentum` is the rule of tutorials, and
        ``optax.sgd(alpha, momentum=beta)`` or `dense_momentum` is heavy ball.
      key: A JAX key.
      steps: The budget of environment steps.
      episodes: The budget of episodes; then returns and lengths are kept for each. With both, the
        run ends with the first to be spent; without steps, they are episodes times the time limit.
      discount: gamma, in [0, 1]; 1 is for processes with a time limit.
      epsilon: The probability of a uniform action, in [0, 1]; a number or a function of the step.
      initial: Q before the first step, a number or [states, actions]; its dtype is that of Q.
      target: [states, actions], such as Q*; `rmse` leaves out the entries that are NaN.
      every: Keep a record after every so many steps, and after the last one; by default only
        there. Two records at most are closer than that.
      divergence: The size of an entry beyond which the run is frozen; `jnp.inf` for never.
      double: Double Q: two tables, of which a fair coin tells which one learns; q is their mean.
      path: "fast" visits one row per step and needs `lazy_momentum` or `dense_momentum`; "plain"
        moves the whole table by autodiff; "auto" is fast where it can be. The numbers are the same,
        up to rounding.
      rng: Where random words come from: JAX's own generator, or xoshiro128++, which is faster.

    Returns:
      A `QLearning`.

    Raises:
      ValueError: No budget, a budget of episodes that may never end, discount 1 without a time
        limit, a plain number outside its interval, a shape that does not fit, or an optimizer that
        needs the value of the loss.
      TypeError: The process is traced.

    Source: Watkins 1989; the momentum rule of `lazy_momentum` is that of many tutorials.

    Example:
      >>> import jax, optax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> plan = rl.value_iteration(mdp, 0.9)
      >>> run = rl.q_learning(
      ...     mdp, optax.sgd(0.1), jax.random.key(1), steps=4000, discount=0.9, epsilon=1.0,
      ...     target=plan.q, every=2000,
      ... )
      >>> run.steps.tolist(), bool(run.rmse[-1] < 0.5)
      ([2000, 4000], True)
    """
    steps = _budget(mdp, steps, episodes)
    every = steps if every is None else operator.index(every)
    _check_numbers(mdp, every, discount, epsilon)
    optimizer = as_pytree(optimizer)
    q = _table(mdp, "initial", initial)
    goal = None if target is None else jnp.asarray(_table(mdp, "target", target), q.dtype)
    _check_optimizer(optimizer, q)
    if not isinstance(epsilon, Partial) and callable(epsilon):
        epsilon = Partial(epsilon)
    if path not in ("auto", "plain", "fast") or rng not in ("threefry", "xoshiro"):
        raise ValueError(
            'path is "auto", "plain" or "fast", and rng is "threefry" or "xoshiro"; '
            f"got {path!r} and {rng!r}."
        )
    numbers = (key, discount, epsilon, q, goal, divergence)
    table = tables(mdp, q.dtype)
    plan = _Plan(steps, every, episodes, mdp.time_limit, double, path, rng)
    return _run(table, optimizer, *numbers, plan)


class _Plan(NamedTuple):
    """All that is static about a run."""

    steps: int
    every: int
    episodes: int | None
    time_limit: int | None
    double: bool
    path: str
    rng: Rng


@functools.partial(jax.jit, static_argnames="plan")
def _run(table, optimizer, key, discount, epsilon, q, goal, divergence, plan: _Plan) -> QLearning:
    rule = learner(optimizer, q, discount, divergence, double=plan.double, path=plan.path)
    reset_key, walk_key = jax.random.split(key)
    step = functools.partial(_step, table, rule, epsilon, plan)
    generator, advance = random.walk(step, plan.rng, table.words, walk_key)
    if plan.episodes is not None:
        advance = _until_spent(advance, plan)
    start = first(table, jax.random.bits(reset_key, (), jnp.uint32))
    carry = (_first_walk(rule, start, q.dtype, plan), generator)
    record = functools.partial(_record, rule, goal)

    def segment(carry: Any, begin: jax.Array, length: int = plan.every) -> tuple[Any, Any]:
        aligned = plan.every % random.BLOCK == 0 and length % random.BLOCK == 0
        walk, generator = advance(*carry, begin, length, aligned)
        return (walk._replace(reward=jnp.zeros_like(walk.reward)), generator), record(walk)

    whole, rest = divmod(plan.steps, plan.every)
    begins = jnp.arange(whole + (rest > 0), dtype=jnp.int32) * plan.every
    carry, history = jax.lax.scan(segment, carry, begins[:whole])
    if rest:
        carry, last = segment(carry, begins[-1], rest)
        history = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), history, last)
    walk, _ = carry
    values = rule.table(walk.memory, walk.count)
    none = (jnp.zeros(0, q.dtype), jnp.zeros(0, jnp.int32))
    per_episode = none if plan.episodes is None else (walk.returns, walk.lengths)
    return QLearning(
        values, walk.diverged_at, **history, returns=per_episode[0], lengths=per_episode[1]
    )


def _first_walk(rule: Learner, state: jax.Array, dtype: Any, plan: _Plan) -> _Walk:
    zero, none = jnp.zeros([], jnp.int32), jnp.zeros([], dtype)
    kept: Any = ((), ())
    if plan.episodes is not None:
        kept = (jnp.full(plan.episodes, jnp.nan, dtype), jnp.full(plan.episodes, -1, jnp.int32))
    return _Walk(rule.start(), state, zero, zero, none, none, zero, zero - 1, *kept)


def _step(
    table: Tables,
    rule: Learner,
    epsilon: Any,
    plan: _Plan,
    walk: _Walk,
    drawn: list[jax.Array],
    count: jax.Array,
    ours: Any,
) -> _Walk:
    """One step of the environment and of learning; a lane that is done does not move."""
    active = ours & (walk.diverged_at < 0)
    if plan.episodes is not None:
        active &= walk.finished < plan.episodes
    at = jnp.asarray(epsilon(count) if callable(epsilon) else epsilon, jnp.float32)
    action = choose(table, rule.row(walk.memory, walk.state, count), at, drawn[0])
    branch = drawn[1] if table.slots > 1 else drawn[0]
    following, reward, terminated = follow(table, walk.state, action, branch)
    seen = Transition(walk.state, action, reward, following, terminated)
    memory, fine = rule.learn(walk.memory, seen, count, drawn[0], active)
    elapsed = walk.elapsed + 1
    over = terminated if plan.time_limit is None else terminated | (elapsed >= plan.time_limit)
    gained = walk.gained + reward
    moved = _Walk(
        memory,
        jnp.where(over, first(table, drawn[-1]), following),
        jnp.where(over, 0, elapsed),
        count + 1,
        jnp.where(over, 0.0, gained),
        walk.reward + reward,
        walk.finished + over.astype(jnp.int32),
        jnp.where(fine, -1, count),
        *_kept(walk, plan, over & active, gained, elapsed),
    )
    # What is large has been written at one place, or not, and is not copied here.
    large: Any = {"memory": (), "returns": (), "lengths": ()}
    scalars = jax.tree.map(
        functools.partial(jnp.where, active), moved._replace(**large), walk._replace(**large)
    )
    return scalars._replace(memory=memory, returns=moved.returns, lengths=moved.lengths)


def _kept(walk: _Walk, plan: _Plan, over: Any, gained: Any, elapsed: Any) -> tuple[Any, Any]:
    """Returns and lengths, with those of an episode that is over."""
    if plan.episodes is None:
        return (), ()
    at = jnp.where(over, walk.finished, plan.episodes)  # out of bounds: dropped
    pairs = ((walk.returns, gained), (walk.lengths, elapsed))
    returns, lengths = (kept.at[at].set(new, mode="drop") for kept, new in pairs)
    return returns, lengths


def _until_spent(advance: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    """Walk in chunks while there are episodes left, for they may be over long before the steps."""

    def walk_on(walk: _Walk, generator: Any, start: jax.Array, steps: int, aligned: bool) -> Any:
        whole, rest = divmod(steps, CHUNK)

        def unfinished(both: Any) -> jax.Array:
            walk, _ = both
            left = (walk.diverged_at < 0) & (walk.finished < plan.episodes)
            return left & (walk.count < start + whole * CHUNK)

        def chunk(both: Any) -> Any:
            return advance(*both, both[0].count, CHUNK, aligned)

        both = (walk, generator)
        if whole:
            both = jax.lax.while_loop(unfinished, chunk, both)
        return advance(*both, start + whole * CHUNK, rest, aligned) if rest else both

    return walk_on


def _record(rule: Learner, goal: Any, walk: _Walk) -> dict[str, jax.Array]:
    q = rule.table(walk.memory, walk.count)
    rmse = jnp.full([], jnp.nan, q.dtype)
    if goal is not None:
        counted = ~jnp.isnan(goal)
        squares = jnp.where(counted, (q - jnp.where(counted, goal, 0.0)) ** 2, 0.0)
        rmse = jnp.sqrt(jnp.sum(squares) / jnp.sum(counted.astype(q.dtype)))
    return {
        "steps": walk.count,
        "rmse": rmse,
        "max_abs_q": jnp.max(jnp.abs(q)),
        "reward": walk.reward,
        "finished": walk.finished,
    }


def _budget(mdp: Mdp, steps: int | None, episodes: int | None) -> int:
    """The number of steps at most."""
    budgets = [operator.index(b) for b in (steps, episodes) if b is not None]
    if not budgets or min(budgets) < 1:
        raise ValueError(
            f"give a budget of at least 1: steps, episodes, or both; got {steps=} and {episodes=}."
        )
    if steps is not None:
        return operator.index(steps)
    if mdp.time_limit is None:
        raise ValueError(
            "this process has no time limit, so that an episode may never end: give steps as well."
        )
    return budgets[0] * mdp.time_limit


def _check_numbers(mdp: Mdp, every: int, discount: Any, epsilon: Any) -> None:
    if every < 1:
        raise ValueError(f"every is at least 1, got {every}.")
    plain = (int, float, np.number)
    if isinstance(discount, plain) and not 0 <= discount <= 1:
        raise ValueError(f"discount is in [0, 1], got {discount}.")
    if isinstance(discount, plain) and discount == 1 and mdp.time_limit is None:
        raise ValueError(
            "discount 1 needs a time limit, for without one a return may be infinite; use a "
            "discount below 1, or dataclasses.replace(mdp, time_limit=...)."
        )
    if isinstance(epsilon, plain) and not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon is a probability, in [0, 1]; got {epsilon}.")


def _table(mdp: Mdp, name: str, given: ArrayLike) -> jax.Array:
    """Numbers as a table of floats [states, actions]."""
    value = jnp.asarray(given)
    shape = (mdp.states, mdp.actions)
    if value.shape not in ((), shape):
        raise ValueError(f"{name} is a number or [states, actions] = {shape}, not {value.shape}.")
    wide = value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float)
    return jnp.broadcast_to(wide, shape)


def _check_optimizer(optimizer: Any, q: jax.Array) -> None:
    """Refuse what needs the value of a loss: a temporal difference is not the loss of a table."""

    def once(q: jax.Array) -> Any:
        return optimizer.update(q, optimizer.init(q), q, visited=jnp.zeros(q.shape, bool))

    try:
        jax.eval_shape(once, q)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        needs = str(error).rpartition(": ")[2]
        raise ValueError(
            f"this optimizer needs {needs} at every update, but the semi-gradient of a temporal "
            "difference is the gradient of no loss; use one that needs only gradients and params."
        ) from error
