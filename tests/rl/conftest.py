"""The processes that tests of learning and of planning share."""

import jax
import pytest
from q_learning_loops import GAMMA, environment

from jaxmom import rl


@pytest.fixture(scope="session")
def small():
    """A process with all that can happen, and no Gymnasium."""
    return rl.random_mdp(jax.random.key(3), 8, 3, termination=0.05, time_limit=20)


@pytest.fixture(scope="session")
def plans():
    """Every tested environment with its solution."""
    made = {}
    for variant, (name, kwargs) in rl.TOY_TEXT.items():
        mdp = environment(name, **kwargs)
        made[variant] = mdp, rl.value_iteration(mdp, GAMMA, tolerance=5e-13)
    return made
