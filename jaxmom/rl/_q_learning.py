"""Q-learning along one stream of experience, by any optax transformation."""

import functools
import operator
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom._choices import check_choice
from jaxmom.rl._checks import (
    check_count,
    check_interval,
    check_optimizer,
    check_scalar,
    read_number,
)
from jaxmom.rl._tabular.fast import make_learner
from jaxmom.rl._tabular.random_bits import Rng
from jaxmom.rl._tabular.rollout import Clock, RolloutConfig, run_rollout, time_at
from jaxmom.rl._tabular.tables import build_tables
from jaxmom.rl.mdp import Mdp, check_mdp
from jaxmom.transform import ScalarOrSchedule, as_pytree

Path: TypeAlias = Literal["auto", "plain", "fast"]


class QLearning(NamedTuple):
    """What `q_learning` and `sarsa` return: arrays only, so `vmap` makes it a sweep."""

    q: jax.Array  # [states, actions], after the last step, or where the lane was frozen
    diverged_at: jax.Array  # int32 [], the first step whose Q was out of bounds, or -1
    steps: jax.Array  # int32 [records], steps before each record
    rmse: jax.Array  # [records], to the target; NaN without one
    max_abs_q: jax.Array  # [records]
    reward: jax.Array  # [records], the sum of rewards since the last record
    finished: jax.Array  # int32 [records], episodes that ended before each record
    returns: jax.Array  # [episodes], undiscounted; NaN if the episode did not end
    lengths: jax.Array  # int32 [episodes]; -1 if it did not


def q_learning(
    mdp: Mdp,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    discount: ArrayLike = 0.99,
    epsilon: ScalarOrSchedule = 0.1,
    clock: Clock = "step",
    initial: ArrayLike = 0.0,
    target: ArrayLike | None = None,
    every: int | None = None,
    divergence: ArrayLike = 1e6,
    double: bool = False,
    path: Path = "auto",
    rng: Rng = "threefry",
) -> QLearning:
    """Learn by ``Q <- Q + update(gradient of td_loss)`` along one stream of experience.

    A truncated episode ends, but learning bootstraps from the state in which it was cut; a
    terminated one has no future. Equal values have equal chances. The same key gives the same
    random numbers whatever the hyperparameters are. A run is frozen as soon as the entry of Q that
    it has just written is not finite or larger than `divergence`.

    Args:
      mdp: The process; its arrays must not be traced. ``dataclasses.replace(mdp, time_limit=...)``
        changes its limit.
      optimizer: Any optax transformation that needs no loss value. Its update also gets
        ``visited``, the mask of the visited entry. `lazy_momentum` is the rule of tutorials;
        ``optax.sgd(alpha, momentum=beta)`` and `dense_momentum` are heavy ball.
      key: A JAX key.
      steps: The budget of environment steps.
      episodes: The budget of episodes; then returns and lengths are kept for each. With both, the
        run ends with the first to be spent; without steps, they are episodes times the time limit.
      discount: gamma, a scalar in [0, 1]; 1 is for processes with a time limit.
      epsilon: The probability of a uniform action, in [0, 1]; a scalar or a schedule.
      clock: What schedules count, that of epsilon and those of the optimizer: steps, or the number
        of episodes that have ended. A plain optax transformation that has a
        schedule counts its updates, which are steps.
      initial: Q before the first step, a number or [states, actions]; its dtype is that of Q.
      target: [states, actions], such as Q*; `rmse` leaves out the entries that are NaN.
      every: Keep a record after every so many steps, and after the last one; by default only
        there.
      divergence: The size of an entry beyond which the run is frozen; `jnp.inf` for never.
      double: Double Q: two tables; a fair coin decides which one learns, and q is their mean.
      path: "fast" touches one row per step and needs `lazy_momentum` or `dense_momentum`; "plain"
        moves the whole table by autodiff; "auto" is fast if it can be. Lazy momentum has the same
        bits on both. Dense momentum has the same numbers to 1e-11, until such a difference decides
        between equal values.
      rng: The source of random bits: JAX's own generator, or xoshiro128++, which is faster.

    Returns:
      A `QLearning`.

    Raises:
      ValueError: No budget, a budget of episodes that may never end, discount 1 without a time
        limit, a number outside its interval, a shape that does not fit, or an optimizer that
        needs the value of the loss.
      TypeError: The process is traced or is not an `Mdp`, or something is not a number.

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
    return run_stream(
        mdp,
        optimizer,
        key,
        steps=steps,
        episodes=episodes,
        discount=discount,
        epsilon=epsilon,
        clock=clock,
        initial=initial,
        target=target,
        every=every,
        divergence=divergence,
        double=double,
        path=path,
        rng=rng,
        on_policy=False,
    )


def run_stream(
    mdp: Mdp,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    steps: int | None,
    episodes: int | None,
    discount: ArrayLike,
    epsilon: ScalarOrSchedule,
    clock: Clock,
    initial: ArrayLike,
    target: ArrayLike | None,
    every: int | None,
    divergence: ArrayLike,
    double: bool,
    path: Path,
    rng: Rng,
    on_policy: bool,
) -> QLearning:
    """Check the arguments of `q_learning` or, on policy, of `sarsa`, and run it."""
    check_mdp(mdp)
    steps = _count_steps(mdp, steps, episodes)
    every = steps if every is None else operator.index(every)
    _check_intervals(mdp, every, discount, epsilon, divergence)
    for name, word, alias in (("clock", clock, Clock), ("path", path, Path), ("rng", rng, Rng)):
        check_choice(name, word, get_args(alias))
    optimizer = as_pytree(optimizer)
    q = _as_table(mdp, "initial", initial)
    goal = None if target is None else jnp.asarray(_as_table(mdp, "target", target), q.dtype)
    check_optimizer(optimizer, q)
    if not isinstance(epsilon, Partial) and callable(epsilon):
        epsilon = Partial(epsilon)
    config = RolloutConfig(steps, every, episodes, mdp.time_limit, clock, rng, on_policy)
    tables, numbers = build_tables(mdp, q.dtype), (discount, epsilon, divergence)
    return _learn(tables, optimizer, key, *numbers, q, goal, double, path, config)


@functools.partial(jax.jit, static_argnames=("double", "path", "config"))
def _learn(
    tables, optimizer, key, discount, epsilon, divergence, initial, target, double, path, config
):
    learner = make_learner(optimizer, initial, discount, divergence, double=double, path=path)
    dtype = initial.dtype
    end, history = run_rollout(tables, learner, epsilon, target, key, dtype, config)
    q = learner.table(end.memory, time_at(end, end.total_steps, config))
    return QLearning(q, end.diverged_at, **history, returns=end.returns, lengths=end.lengths)


def _count_steps(mdp: Mdp, steps: int | None, episodes: int | None) -> int:
    """Return the largest number of steps that the budget admits."""
    budgets = [operator.index(b) for b in (steps, episodes) if b is not None]
    if not budgets or min(budgets) < 1:
        raise ValueError(
            f"give a budget of at least 1: steps, episodes, or both; got {steps=} and {episodes=}."
        )
    if steps is not None:
        check_count("steps", operator.index(steps))
        return operator.index(steps)
    if mdp.time_limit is None:
        raise ValueError(
            "this process has no time limit, so an episode may never end: give steps as well."
        )
    check_count("episodes times the time limit", budgets[0] * mdp.time_limit)
    return budgets[0] * mdp.time_limit


def _check_intervals(
    mdp: Mdp, every: int, discount: ArrayLike, epsilon: ScalarOrSchedule, divergence: ArrayLike
) -> None:
    if every < 1:
        raise ValueError(f"every is at least 1, got {every}.")
    check_scalar("discount", discount)
    check_scalar("divergence", divergence)
    if not callable(epsilon):
        check_scalar("epsilon", epsilon)
    check_interval("discount", discount, 0, 1)
    check_interval("epsilon", epsilon, 0, 1, meaning="a probability")
    check_interval("divergence", divergence, 0)
    if mdp.time_limit is None and read_number(discount) == 1:
        raise ValueError(
            "discount 1 needs a time limit, because a return may be infinite without one; use a "
            "discount below 1, or dataclasses.replace(mdp, time_limit=...)."
        )


def _as_table(mdp: Mdp, name: str, given: ArrayLike) -> jax.Array:
    """Return numbers as a table of floats [states, actions]."""
    value = jnp.asarray(given)
    shape = (mdp.states, mdp.actions)
    if value.shape not in ((), shape):
        raise ValueError(f"{name} is a number or [states, actions] = {shape}, not {value.shape}.")
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{name} is real, not {value.dtype}.")
    floating = value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float)
    return jnp.broadcast_to(floating, shape)
