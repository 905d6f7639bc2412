"""The evaluation of policies: exact values, transition matrices, and reachable states."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom.rl._checks import check_interval, check_scalar, read_number
from jaxmom.rl.mdp import Mdp, check_probabilities
from jaxmom.rl.planning import bellman_backup, in_float64

_POLICY_TOLERANCE = 1e-4  # policies often come from a softmax in float32


@in_float64
def greedy(q: ArrayLike) -> jax.Array:
    """Return the action of largest value in each state, the first of equal ones.

    Args:
      q: [states, actions].

    Returns:
      int32 [states].

    Example:
      >>> from jaxmom import rl
      >>> print(rl.greedy([[0.0, 1.0], [2.0, 2.0]]))
      [1 0]
    """
    return jnp.argmax(jnp.asarray(q), axis=-1).astype(jnp.int32)


@in_float64
def policy_value(mdp: Mdp, policy: ArrayLike, discount: ArrayLike) -> jax.Array:
    """Return the value of every state under a policy, from one linear system; no time limit.

    Args:
      mdp: The process.
      policy: [states] integer actions, or [states, actions] probabilities.
      discount: gamma; 1 is admitted where the policy surely terminates from every state.

    Returns:
      [states], float64.

    Raises:
      ValueError: The policy has another shape, actions that do not exist or probabilities that do
        not sum to 1; gamma is outside [0, 1]; or gamma is 1 and an episode may never end.

    Example:
      >>> from jaxmom import rl
      >>> flip = rl.Mdp([[[0], [0]]], [[[1.0]] * 2], [[[0.0], [1.0]]], [[[False], [True]]], [1.0])
      >>> print(rl.policy_value(flip, [[0.5, 0.5]], 1.0))
      [1.]
    """
    _check_discount(discount)
    weights = _to_probabilities(mdp, policy)
    _check_proper(mdp, weights, discount)
    reward = jnp.sum(jnp.asarray(mdp.probability) * jnp.asarray(mdp.reward), axis=-1)
    matrix = jnp.einsum("sa,sat->st", weights, _pair_to_state(mdp))
    unit = jnp.eye(mdp.states)
    mean_reward = _average_actions(weights, reward)
    return jnp.linalg.solve(unit - jnp.asarray(discount, float) * matrix, mean_reward)


@in_float64
def transition_matrix(mdp: Mdp, policy: ArrayLike) -> jax.Array:
    """Return the transition matrix between pairs (state, action), for `theory.td_spectrum`.

    The sum of a row is the probability that the episode goes on.

    Args:
      mdp: The process.
      policy: [states] integer actions, or [states, actions] probabilities.

    Returns:
      [S A, S A], float64.

    Raises:
      ValueError: The policy has another shape, actions that do not exist or probabilities that do
        not sum to 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> rl.transition_matrix(mdp, jnp.zeros(5, int)).shape
      (10, 10)
    """
    pairs = _pair_to_state(mdp)[..., None] * _to_probabilities(mdp, policy)[None, None]
    size = mdp.states * mdp.actions
    return pairs.reshape(size, size)


@in_float64
def limited_value(
    mdp: Mdp,
    steps: int | None = None,
    *,
    policy: ArrayLike | None = None,
    discount: ArrayLike = 1.0,
) -> jax.Array:
    """Return the best value of every state with so many steps to go, or that of a policy.

    Undiscounted and under the time limit, no agent's mean return can exceed it: the best policy
    knows the time. Its mean over first states is ``mdp.start @ limited_value(mdp)``.

    Args:
      mdp: The process.
      steps: Steps to go; the time limit by default.
      policy: [states] or [states, actions]; without it, the best action at each step.
      discount: gamma.

    Returns:
      [states], float64.

    Raises:
      ValueError: There are neither steps nor a time limit, gamma is outside [0, 1], or the policy
        has another shape, actions that do not exist or probabilities that do not sum to 1.

    Example:
      >>> from jaxmom import rl
      >>> line = rl.Mdp([[[1]]] * 2, [[[1]]] * 2, [[[0]], [[1]]], [[[False]], [[True]]], [1, 0])
      >>> print(rl.limited_value(line, 1), rl.limited_value(line, 2))
      [0. 1.] [1. 1.]
    """
    steps = mdp.time_limit if steps is None else steps
    if steps is None:
        raise ValueError("this process has no time limit: give the number of steps to go.")
    _check_discount(discount)
    check_interval("steps", operator.index(steps), 0)
    weights = None if policy is None else _to_probabilities(mdp, policy)

    def back_up(value: jax.Array, _: None) -> tuple[jax.Array, None]:
        q = bellman_backup(mdp, value, discount)
        return (jnp.max(q, axis=-1) if weights is None else _average_actions(weights, q)), None

    return jax.lax.scan(back_up, jnp.zeros(mdp.states), length=steps)[0]


def reachable(mdp: Mdp) -> np.ndarray:
    """Return the states in which an agent may ever have to act.

    Args:
      mdp: The process.

    Returns:
      bool [states].

    Example:
      >>> from jaxmom import rl
      >>> line = rl.Mdp([[[1]]] * 2, [[[1]]] * 2, [[[0]], [[1]]], [[[True]], [[True]]], [1, 0])
      >>> rl.reachable(line)
      array([ True, False])
    """
    continues = np.asarray((np.asarray(mdp.probability) > 0) & ~np.asarray(mdp.terminated))
    found = np.asarray(mdp.start) > 0
    while True:
        more = found.copy()
        more[np.asarray(mdp.next_state)[found][continues[found]]] = True
        if (more == found).all():
            return found
        found = more


def _check_discount(discount: ArrayLike) -> None:
    check_scalar("discount", discount)
    check_interval("discount", discount, 0, 1)


def _pair_to_state(mdp: Mdp) -> jax.Array:
    """[states, actions, states]: the probability of going on in each state."""
    continues = jnp.where(jnp.asarray(mdp.terminated), 0.0, jnp.asarray(mdp.probability))
    s, a, _ = jnp.indices(continues.shape)
    empty = jnp.zeros((mdp.states, mdp.actions, mdp.states))
    return empty.at[s, a, jnp.asarray(mdp.next_state)].add(continues)


def _to_probabilities(mdp: Mdp, policy: ArrayLike) -> jax.Array:
    policy = jnp.asarray(policy)
    if policy.shape not in ((mdp.states,), (mdp.states, mdp.actions)):
        raise ValueError(
            f"a policy is [states] actions or [states, actions] probabilities, here "
            f"[{mdp.states}] or [{mdp.states}, {mdp.actions}]; got {list(policy.shape)}."
        )
    known = read_number(policy)
    if policy.ndim == 2:
        if known is not None:
            check_probabilities("policy", known, tolerance=_POLICY_TOLERANCE)
        return policy.astype(float)
    if known is not None and not np.isin(known, np.arange(mdp.actions)).all():
        raise ValueError(f"the actions of a policy are integers in [0, {mdp.actions}).")
    return jax.nn.one_hot(policy, mdp.actions)


def _check_proper(mdp: Mdp, weights: jax.Array, discount: ArrayLike) -> None:
    """Refuse an undiscounted value of a policy that may never end: it is infinite or undefined."""
    arrays = (weights, mdp.probability, mdp.terminated, mdp.next_state)
    known = [read_number(x) for x in arrays]
    if read_number(discount) != 1 or any(x is None for x in known):
        return
    policy, probability, terminated, next_state = (np.asarray(x) for x in known)
    taken = (probability > 0) & (policy > 0)[..., None]
    ends = np.asarray((taken & terminated).any((1, 2)))
    while True:
        more = ends | (taken & ~terminated & ends[next_state]).any((1, 2))
        if (more == ends).all():
            break
        ends = more
    if not ends.all():
        raise ValueError(
            f"under this policy an episode in state {int(np.argmin(ends))} never ends, so its "
            "undiscounted value is not defined; give a discount below 1, or use limited_value."
        )


def _average_actions(weights: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.sum(weights * q, axis=-1)
