"""Temporal-difference losses of a table of values, whose gradients are the semi-gradients."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


class Transition(NamedTuple):
    """One step of experience: a state, an action, and their outcome."""

    state: jax.Array  # int32 []
    action: jax.Array  # int32 []
    reward: jax.Array  # []
    next_state: jax.Array  # int32 []
    terminated: jax.Array  # bool []
    next_action: jax.Array | None = None  # int32 [], which `sarsa_loss` needs


def td_loss(q: jax.Array, transition: Transition, discount: ArrayLike) -> jax.Array:
    """Return half the squared temporal difference of Q-learning, with a constant target.

    ``(r + gamma max_a' Q(s', a') - Q(s, a))^2 / 2``, where nothing follows a termination. Its
    gradient is minus the difference, at the visited entry.

    Args:
      q: [states, actions].
      transition: A `Transition`, of scalars.
      discount: gamma, a scalar.

    Returns:
      A scalar.

    Raises:
      ValueError: An argument does not have its rank (use `jax.vmap` for a batch of transitions), or
        the values are not floats.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> transition = rl.Transition(*map(jnp.array, (0, 1, 1.0, 1, False)))
      >>> print(jax.grad(rl.td_loss)(jnp.array([[0.0, 0.0], [4.0, 2.0]]), transition, 0.5))
      [[ 0. -3.]
       [ 0.  0.]]
    """
    q = jnp.asarray(q)
    _check_types(q, 2, transition, discount)
    q_tm1 = q[transition.state, transition.action]
    q_t = jnp.max(q[transition.next_state])
    return _half_squared_error(q_tm1, transition, discount, q_t)


def sarsa_loss(q: jax.Array, transition: Transition, discount: ArrayLike) -> jax.Array:
    """Return half the squared temporal difference of Sarsa, with a constant target.

    ``(r + gamma Q(s', a') - Q(s, a))^2 / 2``, with a' the action that is taken in s', and nothing
    after a termination.

    Args:
      q: [states, actions].
      transition: A `Transition`, of scalars, with its `next_action`.
      discount: gamma, a scalar.

    Returns:
      A scalar.

    Raises:
      ValueError: An argument does not have its rank (use `jax.vmap` for a batch of transitions),
        the values are not floats, or there is no next action.

    Source: Sutton and Barto 2018 (Reinforcement Learning, second edition), equation 6.7.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> transition = rl.Transition(*map(jnp.array, (0, 1, 1.0, 1, False)), next_action=1)
      >>> print(jax.grad(rl.sarsa_loss)(jnp.array([[0.0, 0.0], [4.0, 2.0]]), transition, 0.5))
      [[ 0. -2.]
       [ 0.  0.]]
    """
    q = jnp.asarray(q)
    _check_types(q, 2, transition, discount)
    if transition.next_action is None:
        raise ValueError("sarsa_loss needs the next action: give Transition(..., next_action=a').")
    q_tm1 = q[transition.state, transition.action]
    q_t = q[transition.next_state, transition.next_action]
    return _half_squared_error(q_tm1, transition, discount, q_t)


def double_td_loss(
    tables: jax.Array, transition: Transition, discount: ArrayLike, second: ArrayLike
) -> jax.Array:
    """Return the loss of Double Q: one table chooses the next action, the other one values it.

    Args:
      tables: [2, states, actions].
      transition: A `Transition`, of scalars.
      discount: gamma, a scalar.
      second: Whether the second table learns.

    Returns:
      A scalar.

    Raises:
      ValueError: An argument does not have its rank (use `jax.vmap` for a batch of transitions), or
        the values are not floats.

    Source: van Hasselt 2010 (NeurIPS), algorithm 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> transition = rl.Transition(*map(jnp.array, (0, 0, 0.0, 1, False)))
      >>> tables = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [4.0, 8.0]]])
      >>> print(jax.grad(rl.double_td_loss)(tables, transition, 1.0, second=False)[0, 0])
      [-4.  0.]
    """
    tables = jnp.asarray(tables)
    _check_types(tables, 3, transition, discount)
    learner = jnp.asarray(second, jnp.int32)
    q_tm1 = tables[learner, transition.state, transition.action]
    a_t = jnp.argmax(tables[learner, transition.next_state]).astype(jnp.int32)
    q_t = tables[1 - learner, transition.next_state, a_t]
    return _half_squared_error(q_tm1, transition, discount, q_t)


def _half_squared_error(
    q_tm1: jax.Array, transition: Transition, discount: ArrayLike, q_t: jax.Array
) -> jax.Array:
    bootstrap = jnp.where(transition.terminated, 0.0, jnp.asarray(discount, q_t.dtype) * q_t)
    target = jax.lax.stop_gradient(jnp.asarray(transition.reward, q_t.dtype) + bootstrap)
    return (target - q_tm1) ** 2 / 2


def _check_types(q: jax.Array, rank: int, transition: Transition, discount: ArrayLike) -> None:
    message = "Values of states and actions are floats."
    chex.assert_type(q, float, custom_message=message, exception_type=ValueError)
    scalars = [x for x in (*transition, discount) if x is not None]
    chex.assert_rank(
        [q, *scalars],
        [rank, *[0] * len(scalars)],
        custom_message="A loss is of one transition; use jax.vmap for a batch of them.",
        exception_type=ValueError,
    )
