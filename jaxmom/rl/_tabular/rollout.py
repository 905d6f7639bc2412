"""The rollout loop of Q-learning and Sarsa: environment, policy, learner, budgets and records."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl._tabular.learners import Learner, Memory, Time
from jaxmom.rl._tabular.random_bits import (
    BLOCK_SIZE,
    AdvanceFn,
    GeneratorState,
    Rng,
    make_scan,
)
from jaxmom.rl._tabular.tables import Tables, choose_action, sample_start, sample_transition
from jaxmom.rl.losses import Transition

Clock: TypeAlias = Literal["step", "episode"]
SEGMENT_SIZE = 1024  # steps between two checks whether a budget of episodes is spent


class RolloutState(NamedTuple):
    """What a rollout carries from step to step."""

    memory: Memory  # of the learner
    state: jax.Array  # of the environment
    action: jax.Array | None  # on policy: the action to take, which was chosen a step ago
    elapsed: jax.Array  # steps of this episode
    total_steps: jax.Array  # of all episodes
    episode_return: jax.Array  # rewards of this episode
    reward: jax.Array  # rewards since the last record
    finished: jax.Array  # episodes that ended
    diverged_at: jax.Array
    returns: jax.Array  # [episodes], as many as there is a budget for
    lengths: jax.Array  # [episodes]


class RolloutConfig(NamedTuple):
    """What is static about a rollout."""

    steps: int
    every: int
    episodes: int | None
    time_limit: int | None
    clock: Clock
    rng: Rng
    on_policy: bool  # whether the next action is chosen before learning, which bootstraps from it


def run_rollout(
    tables: Tables,
    learner: Learner,
    epsilon: Any,
    target: jax.Array | None,
    key: jax.Array,
    dtype: Any,
    config: RolloutConfig,
) -> tuple[RolloutState, dict[str, jax.Array]]:
    """Learn until the budget is spent.

    Args:
      tables: The process.
      learner: The learner.
      epsilon: A scalar, or a schedule as a Partial.
      target: [states, actions], which records are compared with; or None.
      key: A JAX key.
      dtype: The dtype of the summed rewards.
      config: What is static.

    Returns:
      The state after the last step, and the records by name.
    """
    start_key, steps_key = jax.random.split(key)
    step = functools.partial(_take_step, tables, learner, epsilon, config)
    generator, advance = make_scan(step, config.rng, tables.draws, steps_key)
    if config.episodes is not None:
        advance = _stop_when_spent(advance, config.episodes)
    rollout = _start_rollout(tables, learner, epsilon, start_key, dtype, config)

    def segment(carry, begin, length=config.every):
        rollout, generator = carry
        aligned = config.every % BLOCK_SIZE == 0 and length % BLOCK_SIZE == 0
        rollout, generator = advance(rollout, generator, begin, length, aligned)
        record = _make_record(learner, target, config, rollout)
        return (rollout._replace(reward=jnp.zeros_like(rollout.reward)), generator), record

    whole, rest = divmod(config.steps, config.every)
    begins = jnp.arange(whole + (rest > 0), dtype=jnp.int32) * config.every
    carry, history = jax.lax.scan(segment, (rollout, generator), begins[:whole])
    if rest:
        carry, last = segment(carry, begins[-1], rest)
        history = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), history, last)
    return carry[0], history


def time_at(rollout: RolloutState, step: jax.Array, config: RolloutConfig) -> Time:
    """Return the time of a step of a rollout."""
    return Time(step, step if config.clock == "step" else rollout.finished)


def _start_rollout(
    tables: Tables,
    learner: Learner,
    epsilon: Any,
    key: jax.Array,
    dtype: Any,
    config: RolloutConfig,
) -> RolloutState:
    zero, nothing = jnp.zeros([], jnp.int32), jnp.zeros([], dtype)
    episodes = config.episodes or 0
    memory, state = learner.start(), sample_start(tables, jax.random.bits(key, (), jnp.uint32))
    action = None
    if config.on_policy:
        bits = jax.random.bits(jax.random.fold_in(key, 1), (), jnp.uint32)
        action = _act(tables, learner, epsilon, memory, state, Time(zero, zero), bits)
    return RolloutState(
        memory=memory,
        state=state,
        action=action,
        elapsed=zero,
        total_steps=zero,
        episode_return=nothing,
        reward=nothing,
        finished=zero,
        diverged_at=zero - 1,
        returns=jnp.full(episodes, jnp.nan, dtype),
        lengths=jnp.full(episodes, -1, jnp.int32),
    )


def _act(
    tables: Tables,
    learner: Learner,
    epsilon: Any,
    memory: Memory,
    state: jax.Array,
    time: Time,
    bits: jax.Array,
) -> jax.Array:
    """Choose an action by the values of a state."""
    explore = epsilon(time.schedule_step) if isinstance(epsilon, Partial) else epsilon
    row = learner.row(memory, state, time)
    return choose_action(tables, row, jnp.asarray(explore, jnp.float32), bits)


def _interact(
    tables: Tables,
    act: Callable[..., jax.Array],
    config: RolloutConfig,
    rollout: RolloutState,
    time: Time,
    bits: Sequence[jax.Array],
) -> Transition:
    """Act by the values of this state, and draw the answer of the environment.

    On policy the action was chosen a step ago, and the next one is chosen now, before learning.
    """
    action, next_action = rollout.action, None
    if action is None:
        action = act(rollout.memory, rollout.state, time, bits[0])
    branch_bits = bits[1] if tables.slots > 1 else bits[0]
    outcome = sample_transition(tables, rollout.state, action, branch_bits)
    if config.on_policy:
        following = time_at(rollout, time.step + 1, config).schedule_step
        next_time = time._replace(schedule_step=following)
        next_action = act(rollout.memory, outcome[0], next_time, bits[0])
    next_state, reward, terminated = outcome
    return Transition(rollout.state, action, reward, next_state, terminated, next_action)


def _take_step(
    tables: Tables,
    learner: Learner,
    epsilon: Any,
    config: RolloutConfig,
    rollout: RolloutState,
    bits: Sequence[jax.Array],
    count: jax.Array,
    active: ArrayLike,
) -> RolloutState:
    """Take one step of the environment and of learning."""
    # A lane that diverged, or whose episodes are spent, does not move any more.
    active = active & (rollout.diverged_at < 0)
    if config.episodes is not None:
        active &= rollout.finished < config.episodes

    # Act, and learn from the answer; after a truncation, too, from the state that it led to.
    time = time_at(rollout, count, config)
    act = functools.partial(_act, tables, learner, epsilon)
    transition = _interact(tables, act, config, rollout, time, bits)
    memory, is_bounded = learner.learn(rollout.memory, transition, time, bits[0], active)

    # Count, and start anew where the episode is done.
    elapsed = rollout.elapsed + 1
    limit = config.time_limit
    done = transition.terminated
    done = done if limit is None else done | (elapsed >= limit)
    episode_return = rollout.episode_return + transition.reward
    returns, lengths = _keep_episode(rollout, config, done & active, episode_return, elapsed)
    start = sample_start(tables, bits[-1])
    finished = rollout.finished + done.astype(jnp.int32)
    next_action = transition.next_action
    if next_action is not None:  # an episode begins with the values after learning
        begin = time_at(rollout._replace(finished=finished), count + 1, config)
        next_action = jnp.where(done, act(memory, start, begin, bits[0]), next_action)
    moved = RolloutState(
        memory=memory,
        state=jnp.where(done, start, transition.next_state),
        action=next_action,
        elapsed=jnp.where(done, 0, elapsed),
        total_steps=count + 1,
        episode_return=jnp.where(done, 0.0, episode_return),
        reward=rollout.reward + transition.reward,
        finished=finished,
        diverged_at=jnp.where(is_bounded, -1, count),
        returns=returns,
        lengths=lengths,
    )
    # Arrays were written at one entry, or not at all; only scalars are selected, without a copy.
    arrays: Any = {"memory": (), "returns": (), "lengths": ()}
    scalars = jax.tree.map(
        functools.partial(jnp.where, active), moved._replace(**arrays), rollout._replace(**arrays)
    )
    return scalars._replace(memory=memory, returns=returns, lengths=lengths)


def _keep_episode(
    rollout: RolloutState,
    config: RolloutConfig,
    done: jax.Array,
    episode_return: jax.Array,
    elapsed: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the returns and lengths, with those of an episode that is done."""
    if config.episodes is None:
        return rollout.returns, rollout.lengths
    index = jnp.where(done, rollout.finished, config.episodes)  # out of bounds: dropped
    returns = rollout.returns.at[index].set(episode_return, mode="drop")
    return returns, rollout.lengths.at[index].set(elapsed, mode="drop")


def _stop_when_spent(advance: AdvanceFn, episodes: int) -> AdvanceFn:
    """Advance in segments while episodes are left: they may be spent long before the steps are."""

    def advance_while_left(
        rollout: RolloutState,
        generator: GeneratorState,
        start: jax.Array,
        steps: int,
        aligned: bool,
    ) -> Any:
        whole, rest = divmod(steps, SEGMENT_SIZE)

        def has_work(carry):
            rollout, _ = carry
            is_running = (rollout.diverged_at < 0) & (rollout.finished < episodes)
            return is_running & (rollout.total_steps < start + whole * SEGMENT_SIZE)

        def advance_segment(carry):
            rollout, generator = carry
            return advance(rollout, generator, rollout.total_steps, SEGMENT_SIZE, aligned)

        carry = (rollout, generator)
        if whole:
            carry = jax.lax.while_loop(has_work, advance_segment, carry)
        if rest:
            rollout, generator = carry
            carry = advance(rollout, generator, start + whole * SEGMENT_SIZE, rest, aligned)
        return carry

    return advance_while_left


def _make_record(
    learner: Learner, target: jax.Array | None, config: RolloutConfig, rollout: RolloutState
) -> dict[str, jax.Array]:
    q = learner.table(rollout.memory, time_at(rollout, rollout.total_steps, config))
    rmse = jnp.full([], jnp.nan, q.dtype)
    if target is not None:
        counts = ~jnp.isnan(target)
        squares = jnp.where(counts, (q - jnp.where(counts, target, 0.0)) ** 2, 0.0)
        rmse = jnp.sqrt(jnp.sum(squares) / jnp.sum(counts.astype(q.dtype)))
    return {
        "steps": rollout.total_steps,
        "rmse": rmse,
        "max_abs_q": jnp.max(jnp.abs(q)),
        "reward": rollout.reward,
        "finished": rollout.finished,
    }
