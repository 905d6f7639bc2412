"""The loop of Q-learning: steps of the environment and of a learner, budgets and records."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxmom.rl import words as random
from jaxmom.rl.learners import Learner, Now, Transition
from jaxmom.rl.tables import Tables, choose, first, follow

Clock: TypeAlias = Literal["step", "episode"]
CHUNK = 1024  # steps between two looks at whether a budget of episodes is spent


class Walk(NamedTuple):
    """What a run carries from step to step."""

    memory: Any
    state: jax.Array
    elapsed: jax.Array  # steps of this episode
    count: jax.Array  # steps of all
    gained: jax.Array  # rewards of this episode
    reward: jax.Array  # rewards since the last record
    finished: jax.Array  # episodes
    diverged_at: jax.Array
    returns: jax.Array  # of as many episodes as there is a budget for
    lengths: jax.Array


class Plan(NamedTuple):
    """All that is static about a run."""

    steps: int
    every: int
    episodes: int | None
    time_limit: int | None
    clock: Clock
    rng: random.Rng


def recorded_walk(
    table: Tables, rule: Learner, epsilon: Any, goal: Any, key: jax.Array, dtype: Any, plan: Plan
) -> tuple[Walk, dict[str, jax.Array]]:
    """Learn until the budget is spent: the end of the walk, and the records by name."""
    reset_key, walk_key = jax.random.split(key)
    step = functools.partial(_step, table, rule, epsilon, plan)
    generator, advance = random.walk(step, plan.rng, table.words, walk_key)
    if plan.episodes is not None:
        advance = _until_spent(advance, plan)
    start = first(table, jax.random.bits(reset_key, (), jnp.uint32))
    carry = (_first_walk(rule, start, dtype, plan), generator)
    record = functools.partial(_record, rule, goal, plan)

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
    return carry[0], history


def now(walk: Walk, step: jax.Array, plan: Plan) -> Now:
    """The time at a step of a walk."""
    return Now(step, step if plan.clock == "step" else walk.finished)


def _first_walk(rule: Learner, state: jax.Array, dtype: Any, plan: Plan) -> Walk:
    zero, none = jnp.zeros([], jnp.int32), jnp.zeros([], dtype)
    size = plan.episodes or 0
    kept = (jnp.full(size, jnp.nan, dtype), jnp.full(size, -1, jnp.int32))
    return Walk(rule.start(), state, zero, zero, none, none, zero, zero - 1, *kept)


def _step(
    table: Tables,
    rule: Learner,
    epsilon: Any,
    plan: Plan,
    walk: Walk,
    drawn: list[jax.Array],
    count: jax.Array,
    ours: Any,
) -> Walk:
    """One step of the environment and of learning; a lane that is done does not move."""
    active = ours & (walk.diverged_at < 0)
    if plan.episodes is not None:
        active &= walk.finished < plan.episodes
    time = now(walk, count, plan)
    at = epsilon(time.clock) if isinstance(epsilon, Partial) else epsilon
    row = rule.row(walk.memory, walk.state, time)
    action = choose(table, row, jnp.asarray(at, jnp.float32), drawn[0])
    branch = drawn[1] if table.slots > 1 else drawn[0]
    following, reward, terminated = follow(table, walk.state, action, branch)
    seen = Transition(walk.state, action, reward, following, terminated)
    memory, fine = rule.learn(walk.memory, seen, time, drawn[0], active)
    elapsed = walk.elapsed + 1
    over = terminated if plan.time_limit is None else terminated | (elapsed >= plan.time_limit)
    gained = walk.gained + reward
    moved = Walk(
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


def _kept(walk: Walk, plan: Plan, over: Any, gained: Any, elapsed: Any) -> tuple[Any, Any]:
    """Returns and lengths, with those of an episode that is over."""
    if plan.episodes is None:
        return walk.returns, walk.lengths
    at = jnp.where(over, walk.finished, plan.episodes)  # out of bounds: dropped
    pairs = ((walk.returns, gained), (walk.lengths, elapsed))
    returns, lengths = (kept.at[at].set(new, mode="drop") for kept, new in pairs)
    return returns, lengths


def _until_spent(advance: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """Walk in chunks while there are episodes left, for they may be over long before the steps."""

    def walk_on(walk: Walk, generator: Any, start: jax.Array, steps: int, aligned: bool) -> Any:
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


def _record(rule: Learner, goal: Any, plan: Plan, walk: Walk) -> dict[str, jax.Array]:
    q = rule.table(walk.memory, now(walk, walk.count, plan))
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
