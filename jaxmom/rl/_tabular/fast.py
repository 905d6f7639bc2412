"""Fast learners, which touch one row per step: lazy momentum, and dense momentum in closed form."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.rl._tabular.learners import Learner, Time, evaluate_schedules, make_plain_learner
from jaxmom.rl.losses import Transition
from jaxmom.rl.optimizers import accelerate, dense_momentum, lazy_momentum, read_rates
from jaxmom.transform import Optimizer, hyperparameters, replace

# (optimizer, initial, discount, divergence) -> learner
MakeLearnerFn: TypeAlias = Callable[[Optimizer, jax.Array, jax.Array, jax.Array], Learner]


def make_learner(
    optimizer: Optimizer,
    initial: jax.Array,
    discount: ArrayLike,
    divergence: ArrayLike,
    *,
    double: bool,
    path: str,
) -> Learner:
    """Make the fast learner of an optimizer if it has one and `path` admits it, else the plain one.

    Raises:
      ValueError: `path` is "fast", and the optimizer has no fast learner.
    """
    # Narrow floats have wide velocities, which the rows of a fast learner do not hold.
    is_wide = initial.dtype.itemsize >= 4
    make_fast = _choose_fast(optimizer) if is_wide and not double and path != "plain" else None
    if path == "fast" and make_fast is None:
        raise ValueError(
            "there is a fast path for rl.lazy_momentum and for rl.dense_momentum with constant "
            "numbers, each by itself, without double, in float32 or float64; use "
            'path="auto" or "plain" for others.'
        )
    numbers = (jnp.asarray(discount, initial.dtype), jnp.asarray(divergence, initial.dtype))
    if make_fast is None:
        return make_plain_learner(optimizer, initial, *numbers, double)
    return make_fast(optimizer, initial, *numbers)


def make_lazy_learner(
    optimizer: Optimizer, initial: jax.Array, discount: jax.Array, divergence: jax.Array
) -> Learner:
    """Make the learner of `lazy_momentum`: it gathers and scatters single numbers."""
    actions = initial.shape[1]

    def start():
        return initial.ravel(), jnp.zeros(initial.size, initial.dtype)

    def row(memory, state, time):
        del time
        return jax.lax.dynamic_slice(memory[0], (state * actions,), (actions,))

    def learn(memory, transition, time, bits, active):
        del bits
        q, velocity = memory
        alpha, beta = _evaluate_rates(optimizer, time, initial.dtype)
        entry = transition.state * actions + transition.action
        q_tm1, v_tm1 = _gather_row(q, entry), _gather_row(velocity, entry)
        q_t = _next_value(row(memory, transition.next_state, time), transition)
        v_t = accelerate(alpha, beta, _differentiate(q_tm1, transition, discount, q_t), v_tm1)
        new = q_tm1 + v_t
        is_bounded = jnp.abs(new) <= divergence
        write = active & is_bounded
        q = _scatter_row(q, entry, jnp.where(write, new, q_tm1))
        return (q, _scatter_row(velocity, entry, jnp.where(write, v_t, v_tm1))), is_bounded

    def table(memory, time):
        del time
        return memory[0].reshape(initial.shape)

    return Learner(start, row, learn, table)


def make_dense_learner(
    optimizer: Optimizer, initial: jax.Array, discount: jax.Array, divergence: jax.Array
) -> Learner:
    """Make the learner of `dense_momentum`: a row catches up on the steps since its last visit.

    After k steps without a difference, ``Q += v beta (1 - beta^k) / (1 - beta)`` and ``v *=
    beta^k``. 1 - beta^k comes from expm1, because a difference would lose its digits near beta = 1.

    Q, v and the step of a state's last visit are one row of one array, because XLA would copy a
    third array that is read and written in a step. The step is kept as a float of the same width,
    by its bits.
    """
    states, actions = initial.shape
    integer = jnp.int64 if initial.dtype.itemsize == 8 else jnp.int32

    def start():
        never = jax.lax.bitcast_convert_type(jnp.full((states, 1), -1, integer), initial.dtype)
        return jnp.concatenate([initial, jnp.zeros_like(initial), never], axis=1)

    def catch_up(row: jax.Array, time: Time) -> tuple[jax.Array, jax.Array]:
        """Return values and velocities as they are before this step."""
        _, beta = _evaluate_rates(optimizer, time, initial.dtype)
        last = jax.lax.bitcast_convert_type(row[..., -1], integer).astype(jnp.int32)
        missed = (time.step - 1 - last).astype(initial.dtype)[..., None]
        rate = jnp.log1p(-jnp.where(beta > 0, 1 - beta, 0.0))
        lost = jnp.where(beta > 0, -jnp.expm1(missed * rate), 1.0)  # 1 - beta^missed
        lost = jnp.where(missed == 0, 0.0, lost).astype(initial.dtype)
        q, velocity = row[..., :actions], row[..., actions : 2 * actions]
        return q + velocity * (beta * lost / (1 - beta)), velocity * (1 - lost)

    def row(memory, state, time):
        return catch_up(_gather_row(memory, state), time)[0]

    def learn(memory, transition, time, bits, active):
        del bits
        alpha, beta = _evaluate_rates(optimizer, time, initial.dtype)
        old = _gather_row(memory, transition.state)
        q, velocity = catch_up(old, time)
        q_t = _next_value(row(memory, transition.next_state, time), transition)
        visited = jnp.arange(actions, dtype=jnp.int32) == transition.action
        q_tm1 = jnp.sum(jnp.where(visited, q, 0.0))
        gradient = jnp.where(visited, _differentiate(q_tm1, transition, discount, q_t), 0.0)
        velocity = beta * velocity - alpha * gradient
        is_bounded = jnp.abs(jnp.sum(jnp.where(visited, q + velocity, 0.0))) <= divergence
        step = jax.lax.bitcast_convert_type(time.step.astype(integer), initial.dtype)
        new = jnp.concatenate([q + velocity, velocity, step[None]])
        kept = jnp.where(active & is_bounded, new, old)
        return _scatter_row(memory, transition.state, kept), is_bounded

    def table(memory, time):
        return catch_up(memory, time)[0]

    return Learner(start, row, learn, table)


def _choose_fast(optimizer: Optimizer) -> MakeLearnerFn | None:
    if _is_made_by(lazy_momentum, optimizer):
        return make_lazy_learner
    # Under a schedule, the steps that a row has missed have no closed form.
    has_schedule = any(isinstance(value, Partial) for value in hyperparameters(optimizer).values())
    is_dense = _is_made_by(dense_momentum, optimizer) and not has_schedule
    return make_dense_learner if is_dense else None


def _is_made_by(factory: Callable[..., Optimizer], optimizer: Optimizer) -> bool:
    """Whether an optimizer is what the factory returns, and not a chain that holds one."""
    if set(hyperparameters(optimizer)) != {"learning_rate", "beta"}:
        return False
    plain = replace(optimizer, learning_rate=0.0, beta=0.0)
    return jax.tree.structure(plain) == jax.tree.structure(factory(0.0, 0.0))


def _evaluate_rates(optimizer: Optimizer, time: Time, dtype: Any) -> list[jax.Array]:
    """Return the learning rate and beta at a time."""
    return read_rates(hyperparameters(evaluate_schedules(optimizer, time.schedule_step)), dtype)


def _next_value(row: jax.Array, transition: Transition) -> jax.Array:
    """Return the value of the next state: of its best action, or of the one that is taken there."""
    if transition.next_action is None:
        return jnp.max(row)
    return _gather_row(row, transition.next_action)


def _differentiate(
    q_tm1: jax.Array, transition: Transition, discount: jax.Array, q_t: jax.Array
) -> jax.Array:
    """Return the derivative of the loss with respect to the visited entry."""
    bootstrap = jnp.where(transition.terminated, 0.0, discount * q_t)
    return -(transition.reward.astype(q_t.dtype) + bootstrap - q_tm1)


def _gather_row(array: jax.Array, index: jax.Array) -> jax.Array:
    return array.at[index].get(mode="promise_in_bounds")


def _scatter_row(array: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
    return array.at[index].set(value, mode="promise_in_bounds", unique_indices=True)
