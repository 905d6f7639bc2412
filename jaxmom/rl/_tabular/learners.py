"""The protocol of learners, and the learner that moves the whole table by autodiff.

A learner has no loop of its own. It shows the row of a state, learns from a transition (as Sarsa
does if the transition has a next action, else as Q-learning does), and shows its table; `rollout`
does the rest, so that learners differ in nothing else. `fast` holds two learners that touch one row
per step.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl.losses import Transition, double_td_loss, sarsa_loss, td_loss
from jaxmom.transform import Optimizer, PyTree, hyperparameters, replace


class Time(NamedTuple):
    """The time of a step, in the two units that a run counts."""

    step: jax.Array  # int32 []
    schedule_step: jax.Array  # int32 [], the argument of schedules: steps, or episodes that ended


Memory: TypeAlias = PyTree  # what a learner carries from one step to the next

StartFn: TypeAlias = Callable[[], Memory]
# (memory, state, time) -> [actions], the values that the policy compares
RowFn: TypeAlias = Callable[[Memory, jax.Array, Time], jax.Array]
# (memory, transition, time, bits, active) -> (memory, whether the written entry is bounded)
LearnFn: TypeAlias = Callable[
    [Memory, Transition, Time, jax.Array, ArrayLike], tuple[Memory, jax.Array]
]
# (memory, time) -> [states, actions]
TableFn: TypeAlias = Callable[[Memory, Time], jax.Array]


class Learner(NamedTuple):
    """Four pure functions. An inactive step, or one that is not bounded, keeps the memory."""

    start: StartFn
    row: RowFn
    learn: LearnFn
    table: TableFn


def make_plain_learner(
    optimizer: Optimizer,
    initial: jax.Array,
    discount: jax.Array,
    divergence: jax.Array,
    double: bool,
) -> Learner:
    """Make the learner of any optax transformation, which sees the whole table at every step."""

    def start():
        q = jnp.stack([initial, initial]) if double else initial
        return q, evaluate_schedules(optimizer, jnp.zeros([], jnp.int32)).init(q)

    def row(memory, state, time):
        del time
        q, _ = memory
        return q[0, state] + q[1, state] if double else q[state]

    def learn(memory, transition, time, bits, active):
        q, state = memory
        # The coin of Double Q is the lowest bit of the draw that has chosen the action: among the
        # draws of either side of the coin, actions are chosen as evenly.
        second = (bits & 1) == 1
        if double:
            entry = (second.astype(jnp.int32), transition.state, transition.action)
            gradient = jax.grad(double_td_loss)(q, transition, discount, second)
        else:
            entry = (transition.state, transition.action)
            loss = td_loss if transition.next_action is None else sarsa_loss
            gradient = jax.grad(loss)(q, transition, discount)
        visited = jnp.zeros(q.shape, bool).at[entry].set(True)
        now = evaluate_schedules(optimizer, time.schedule_step)
        updates, new_state = now.update(gradient, state, q, visited=visited)
        new_q = q + updates
        is_bounded = jnp.abs(new_q[entry]) <= divergence

        def keep(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(active & is_bounded, new, old)

        return jax.tree.map(keep, (new_q, new_state), memory), is_bounded

    def table(memory, time):
        del time
        return (memory[0][0] + memory[0][1]) / 2 if double else memory[0]

    return Learner(start, row, learn, table)


def evaluate_schedules(optimizer: Optimizer, schedule_step: jax.Array) -> Optimizer:
    """Replace the schedules among an optimizer's hyperparameters by their values."""
    hp = hyperparameters(optimizer)
    values = {name: v(schedule_step) for name, v in hp.items() if isinstance(v, Partial)}
    return replace(optimizer, **values) if values else optimizer
