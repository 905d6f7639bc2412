"""Sarsa along one stream of experience, by any optax transformation."""

import jax
import optax
from jax.typing import ArrayLike

from jaxmom.rl._q_learning import Path, QLearning, run_stream
from jaxmom.rl._tabular.random_bits import Rng
from jaxmom.rl._tabular.rollout import Clock
from jaxmom.rl.mdp import Mdp
from jaxmom.transform import ScalarOrSchedule


def sarsa(
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
    path: Path = "auto",
    rng: Rng = "threefry",
) -> QLearning:
    """Learn on policy: ``Q <- Q + update(gradient of sarsa_loss)`` along one stream of experience.

    Where `q_learning` bootstraps from the best action of the next state, Sarsa does so from the
    action that it takes there. That action is chosen before Q is updated, and taken in the next
    step. So Sarsa learns the values of the policy that explores, and keeps its distance from a
    cliff. A truncated episode bootstraps from the action that would have come next.

    Args:
      mdp: The process; its arrays must not be traced.
      optimizer: As in `q_learning`; with ``optax.sgd(alpha)`` this is Sarsa, with `lazy_momentum`
        or `dense_momentum` it has momentum.
      key: A JAX key.
      steps: The budget of environment steps.
      episodes: The budget of episodes; then returns and lengths are kept for each.
      discount: gamma, a scalar in [0, 1]; 1 is for processes with a time limit.
      epsilon: The probability of a uniform action, in [0, 1]; a scalar or a schedule, whose value
        is that of the step in which the action is taken.
      clock: What schedules count: steps, or the number of episodes that have ended.
      initial: Q before the first step, a number or [states, actions].
      target: [states, actions], such as the values of the policy; `rmse` is the distance to it.
      every: Keep a record after every so many steps, and after the last one.
      divergence: The size of an entry beyond which the run is frozen; `jnp.inf` for never.
      path: "auto", "fast" or "plain", as in `q_learning`.
      rng: The source of random bits: JAX's own generator, or xoshiro128++.

    Returns:
      A `QLearning`.

    Raises:
      ValueError: As `q_learning` does.
      TypeError: As `q_learning` does.

    Source: Rummery and Niranjan 1994; Sutton and Barto 2018 (Reinforcement Learning, second
      edition), section 6.4, whose order of choosing and learning is kept.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> truth = rl.policy_value(mdp, jnp.full((5, 2), 0.5), 0.9)  # of uniform actions
      >>> run = rl.sarsa(
      ...     mdp, rl.visit_descent(0.7), jax.random.key(1), steps=4000, discount=0.9, epsilon=1.0
      ... )
      >>> bool(abs(run.q.mean(axis=1) - truth).max() < 0.5)
      True
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
        double=False,
        path=path,
        rng=rng,
        on_policy=True,
    )
