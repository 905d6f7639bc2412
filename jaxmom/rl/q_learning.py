"""Q-learning in one lane, by any optax transformation."""

import functools
import operator
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl.fast import learner
from jaxmom.rl.mdp import Mdp
from jaxmom.rl.tables import tables
from jaxmom.rl.walk import Clock, Plan, now, recorded_walk
from jaxmom.rl.words import Rng
from jaxmom.transform import ScalarOrSchedule, as_pytree

Path: TypeAlias = Literal["auto", "plain", "fast"]


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
      epsilon: The probability of a uniform action, in [0, 1]; a number or a function of the clock.
      clock: What schedules count, that of epsilon and those among the hyperparameters of the
        optimizer: steps, or the episodes that are over. A plain optax transformation that has a
        schedule counts its updates, which are steps.
      initial: Q before the first step, a number or [states, actions]; its dtype is that of Q.
      target: [states, actions], such as Q*; `rmse` leaves out the entries that are NaN.
      every: Keep a record after every so many steps, and after the last one; by default only
        there. Two records at most are closer than that.
      divergence: The size of an entry beyond which the run is frozen; `jnp.inf` for never.
      double: Double Q: two tables, of which a fair coin tells which one learns; q is their mean.
      path: "fast" visits one row per step and needs `lazy_momentum` or `dense_momentum`; "plain"
        moves the whole table by autodiff; "auto" is fast where it can be. Lazy momentum has the
        same bits on both; dense momentum the same numbers to 1e-11, until that decides between
        equal values.
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
    for name, given, admitted in (
        ("clock", clock, get_args(Clock)),
        ("path", path, get_args(Path)),
        ("rng", rng, get_args(Rng)),
    ):
        if given not in admitted:
            raise ValueError(f"{name} is one of {', '.join(map(repr, admitted))}; got {given!r}.")
    numbers = (key, discount, epsilon, q, goal, divergence)
    plan = Plan(steps, every, episodes, mdp.time_limit, clock, rng)
    return _run(tables(mdp, q.dtype), optimizer, *numbers, double, path, plan)


@functools.partial(jax.jit, static_argnames=("double", "path", "plan"))
def _run(table, optimizer, key, discount, epsilon, q, goal, divergence, double, path, plan):
    rule = learner(optimizer, q, discount, divergence, double=double, path=path)
    end, history = recorded_walk(table, rule, epsilon, goal, key, q.dtype, plan)
    values = rule.table(end.memory, now(end, end.count, plan))
    return QLearning(values, end.diverged_at, **history, returns=end.returns, lengths=end.lengths)


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
