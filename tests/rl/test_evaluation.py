"""The values of policies: linear systems against iteration and simulation."""

import jax
import numpy as np
import pytest

from jaxmom import rl


def test_returns_of_the_greedy_policy(plans):
    """Undiscounted: what discounting trades success for, and an optimum without a limit."""
    for variant, expected in (("taxi in rain", 3.9546), ("large slippery lake", 0.863)):
        mdp, plan = plans[variant]
        mean = mdp.start @ rl.limited_value(mdp, policy=rl.greedy(plan.q))
        assert abs(mean - expected) < 5.1e-5 if expected > 1 else abs(mean - expected) < 5.1e-4
    for variant, expected in (("slippery cliff", -64.71), ("cliff", -13.0)):
        mdp, plan = plans[variant]
        surely = mdp.start @ rl.limited_value(mdp, 5000, policy=rl.greedy(plan.q))
        assert abs(surely - expected) < 5.1e-3


def test_policy_value_solves_what_iteration_finds():
    mdp = rl.random_mdp(jax.random.key(1), 12, 3, termination=0.1)
    plan = rl.value_iteration(mdp, 0.9, tolerance=1e-13)
    value = rl.policy_value(mdp, rl.greedy(plan.q), 0.9)
    np.testing.assert_allclose(value, plan.value, atol=1e-12)
    uniform = rl.policy_value(mdp, np.full((12, 3), 1 / 3), 0.9)
    assert (uniform < value).all()
    long = rl.limited_value(mdp, 500, policy=np.full((12, 3), 1 / 3), discount=0.9)
    np.testing.assert_allclose(uniform, long, atol=1e-12)
    with pytest.raises(ValueError, match=r"\[12\] or \[12, 3\]"):
        rl.policy_value(mdp, [0, 1], 0.9)


def test_rows_of_the_transition_matrix():
    mdp = rl.random_mdp(jax.random.key(2), 6, 2, termination=0.3)
    matrix = rl.transition_matrix(mdp, np.full((6, 2), 0.5))
    goes_on = (mdp.probability * ~mdp.terminated).sum(-1).ravel()
    np.testing.assert_allclose(matrix.sum(1), goes_on, atol=1e-15)
    q = np.random.default_rng(0).standard_normal((6, 2))
    later = (matrix @ q.ravel()).reshape(6, 2)
    mean = q.mean(1)[mdp.next_state] * ~mdp.terminated
    np.testing.assert_allclose(later, (mdp.probability * mean).sum(-1), atol=1e-15)


def test_a_value_without_a_limit_needs_steps():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match="number of steps"):
        rl.limited_value(mdp)
