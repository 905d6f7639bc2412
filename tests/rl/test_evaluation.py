"""The values of policies: linear systems against iteration and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_learning_loops import ring_of

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


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ([0, 1, 2, 0], r"integers in \[0, 2\)"),
        ([0, -1, 0, 0], r"integers in \[0, 2\)"),
        ([0.5, 0.0, 0.0, 0.0], "integers"),
        ([[0.5, 0.4]] * 4, "policy sums to 0.9 at state 0"),
        ([[1.5, -0.5]] * 4, "negative"),
        ([[np.nan, 1.0]] * 4, "NaN"),
    ],
)
def test_a_policy_that_is_none_is_refused(kind, policy, message):
    mdp, policy = rl.random_mdp(jax.random.key(0), 4, 2, time_limit=5), kind(policy)
    for call in (
        lambda: rl.policy_value(mdp, policy, 0.9),
        lambda: rl.transition_matrix(mdp, policy),
        lambda: rl.limited_value(mdp, policy=policy),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_an_undiscounted_value_needs_a_policy_that_ends():
    ring = ring_of(4)
    with pytest.raises(ValueError, match="in state 0 never ends"):
        rl.policy_value(ring, np.zeros(4, int), 1.0)
    ends = rl.random_mdp(jax.random.key(0), 6, 2, termination=0.5)
    value = rl.policy_value(ends, np.full((6, 2), 0.5), 1.0)
    long = rl.limited_value(ends, 2000, policy=np.full((6, 2), 0.5))
    np.testing.assert_allclose(value, long, atol=1e-10)


def test_discounts_and_steps_are_checked():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    for discount in (1.5, -0.1, np.float32(1.5), jnp.array(1.5), np.nan):
        with pytest.raises(ValueError, match=r"discount is in \[0, 1\]"):
            rl.policy_value(mdp, np.zeros(4, int), discount)
        with pytest.raises(ValueError, match=r"discount is in \[0, 1\]"):
            rl.limited_value(mdp, 3, discount=discount)
    with pytest.raises(ValueError, match=r"steps is in \[0, inf\), got -1"):
        rl.limited_value(mdp, -1)
