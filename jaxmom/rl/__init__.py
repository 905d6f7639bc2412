"""Tabular Q-learning with momentum on Gymnasium's environments, beside the exact solution.

    rl.from_gymnasium       FrozenLake, CliffWalking, Taxi as arrays (`rl.TOY_TEXT` lists them);
                            `rl.Mdp` by hand, `rl.random_mdp`
    rl.value_iteration      Q*, by plain iteration or any optax transformation of Q - T Q
    rl.q_learning           one stream of experience, by any optax transformation
    rl.sarsa                the same on policy
    rl.lazy_momentum        the rule of tutorials: an entry moves when it is visited
    rl.dense_momentum       heavy ball as optax has it, as fast as the lazy rule
    rl.speedy_q_learning    SpeedyQ, from a generative model, and `momentum_q_learning`, of which it
                            is one case; `synchronous_q_learning` for any optax transformation

All are pure functions of their numbers and keys, so `jaxmom.sweep` runs thousands of lanes of
them: tables are small, steps are many, and with enough lanes a step takes tens of nanoseconds.
"""

from jaxmom.rl._q_learning import QLearning, q_learning
from jaxmom.rl._sarsa import sarsa
from jaxmom.rl.acceleration import anchored, goyal_momentum, goyal_nesterov, two_backups
from jaxmom.rl.environments import TOY_TEXT, from_gymnasium, random_mdp
from jaxmom.rl.evaluation import (
    greedy,
    limited_value,
    policy_value,
    reachable,
    transition_matrix,
)
from jaxmom.rl.losses import Transition, double_td_loss, sarsa_loss, td_loss
from jaxmom.rl.mdp import Mdp, reset, step
from jaxmom.rl.optimizers import dense_momentum, lazy_momentum, lazy_pid, visit_descent
from jaxmom.rl.planning import Planning, bellman, value_iteration
from jaxmom.rl.synchronous import (
    SynchronousQ,
    momentum_q_learning,
    speedy_q_learning,
    synchronous_q_learning,
)

__all__ = [
    "TOY_TEXT",
    "Mdp",
    "Planning",
    "QLearning",
    "SynchronousQ",
    "Transition",
    "anchored",
    "bellman",
    "dense_momentum",
    "double_td_loss",
    "from_gymnasium",
    "goyal_momentum",
    "goyal_nesterov",
    "greedy",
    "lazy_momentum",
    "lazy_pid",
    "limited_value",
    "momentum_q_learning",
    "policy_value",
    "q_learning",
    "random_mdp",
    "reachable",
    "reset",
    "sarsa",
    "sarsa_loss",
    "speedy_q_learning",
    "step",
    "synchronous_q_learning",
    "td_loss",
    "transition_matrix",
    "two_backups",
    "value_iteration",
    "visit_descent",
]
