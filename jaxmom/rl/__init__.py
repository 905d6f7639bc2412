"""Q-learning with momentum on real environments, with the truth beside it.

    rl.from_gymnasium       FrozenLake, CliffWalking, Taxi as arrays; `Mdp` by hand, `random_mdp`
    rl.value_iteration      Q*, by plain iteration or any optax transformation of Q - T Q
    rl.q_learning           one lane of experience, by any optax transformation
    rl.lazy_momentum        the rule of tutorials, which ticks where an entry is visited
    rl.dense_momentum       heavy ball as optax has it, at the price of the lazy rule
    rl.speedy_q_learning    SpeedyQ, from a generative model; `synchronous_q_learning` for others
    rl.compile_lanes        thousands of lanes of it, in blocks and over devices

Tables are small and steps are many: a lane costs tens of nanoseconds per step, if there are enough.
"""

from jaxmom.rl.lanes import compile_lanes
from jaxmom.rl.learners import Transition, double_td_loss, td_loss
from jaxmom.rl.mdp import Mdp, from_gymnasium, random_mdp, reset, step
from jaxmom.rl.planning import (
    Planning,
    bellman,
    greedy,
    limited_value,
    policy_value,
    reachable,
    transition_matrix,
    value_iteration,
)
from jaxmom.rl.q_learning import QLearning, q_learning
from jaxmom.rl.rules import (
    anchored,
    dense_momentum,
    goyal_momentum,
    goyal_nesterov,
    lazy_momentum,
    lazy_pid,
    visit_descent,
)
from jaxmom.rl.synchronous import SynchronousQ, speedy_q_learning, synchronous_q_learning

__all__ = [
    "Mdp",
    "Planning",
    "QLearning",
    "SynchronousQ",
    "Transition",
    "anchored",
    "bellman",
    "compile_lanes",
    "dense_momentum",
    "double_td_loss",
    "from_gymnasium",
    "goyal_momentum",
    "goyal_nesterov",
    "greedy",
    "lazy_momentum",
    "lazy_pid",
    "limited_value",
    "policy_value",
    "q_learning",
    "random_mdp",
    "reachable",
    "reset",
    "speedy_q_learning",
    "step",
    "synchronous_q_learning",
    "td_loss",
    "transition_matrix",
    "value_iteration",
    "visit_descent",
]
