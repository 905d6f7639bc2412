"""Sarsa equals the loop of Sutton and Barto in real Gymnasium, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import GAMMA, environment, sarsa_in_gymnasium

import jaxmom as jm
from experiments import cliff_walking
from jaxmom import rl

STEPS = 2000


@pytest.mark.parametrize(
    ("name", "kwargs", "path"),
    [
        ("FrozenLake-v1", {}, "plain"),
        ("CliffWalking-v1", {}, "fast"),
        ("Taxi-v4", {"is_rainy": True}, "fast"),
    ],
)
def test_a_run_equals_the_loop_in_gymnasium(name, kwargs, path):
    """With momentum, and with an epsilon that falls from step to step."""
    mdp, key = environment(name, **kwargs), jax.random.key(7)
    rule = rl.lazy_momentum(0.03, 0.6)
    epsilon = jm.schedules.linear(0.5, 0.0, STEPS)
    run = rl.sarsa(mdp, rule, key, steps=STEPS, epsilon=epsilon, path=path)
    values = np.asarray(epsilon(jnp.arange(STEPS + 1)), np.float32)
    expected = sarsa_in_gymnasium(name, key, 0.03, 0.6, values.__getitem__, STEPS, kwargs)
    assert np.count_nonzero(expected) > 3
    np.testing.assert_array_equal(run.q, expected)


def test_the_fast_path_of_dense_momentum_is_that_of_optax(small):
    """Until a difference in the last digits decides between equal values; here none does."""
    numbers = {"steps": 600, "epsilon": 0.3}
    fast = rl.sarsa(small, rl.dense_momentum(0.05, 0.7), jax.random.key(1), **numbers)
    plain = rl.sarsa(small, optax.sgd(0.05, momentum=0.7), jax.random.key(1), **numbers)
    np.testing.assert_allclose(fast.q, plain.q, atol=1e-11)
    assert float(fast.reward[-1]) == float(plain.reward[-1])
    assert int(fast.finished[-1]) == int(plain.finished[-1]) > 10


@pytest.mark.slow
def test_uniform_actions_are_valued_and_not_the_best_ones(small):
    """With epsilon 1 it finds the values of the uniform policy, where Q-learning finds Q*."""
    policy = np.full((small.states, small.actions), 1 / small.actions)
    value = rl.policy_value(small, policy, GAMMA)
    target = rl.bellman(small, np.repeat(value[:, None], small.actions, 1), GAMMA)
    errors = {}
    for learn in (rl.sarsa, rl.q_learning):
        rule = rl.visit_descent(0.7, 1.0)
        run = learn(small, rule, jax.random.key(2), steps=20_000, epsilon=1.0, target=target)
        errors[learn] = float(run.rmse[-1])
    assert errors[rl.sarsa] < 0.15 < 5 < errors[rl.q_learning]


def test_the_loss_needs_the_next_action():
    numbers = rl.Transition(2, 1, 0.5, 3, False)
    q = np.arange(10.0).reshape(5, 2)
    assert float(rl.sarsa_loss(q, numbers._replace(next_action=0), GAMMA)) == (
        (0.5 + GAMMA * 6.0 - 5.0) ** 2 / 2
    )
    with pytest.raises(ValueError, match="needs the next action"):
        rl.sarsa_loss(q, numbers, GAMMA)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        rl.sarsa_loss(q, numbers._replace(next_action=jnp.zeros(3, int)), GAMMA)


@pytest.mark.slow
def test_the_cliff_of_sutton_and_barto():
    """Figure 6.4 can be read to about 5; the last 100 of 500 episodes of 100 seeds."""
    data = cliff_walking.compute(cliff_walking.Config(seeds=100))
    means, errors = cliff_walking.last_returns(data)
    assert float(errors.max()) < 1.0
    for learner, shown in cliff_walking.BOOK.items():
        assert abs(float(means.sel(learner=learner, exploration="constant")) - shown) < 5
    learned = means.sel(learner="Q-learning")
    # Its policy is that of Q*, but for states beside the path where values are not learned yet.
    assert abs(float(learned.sel(exploration="constant")) - data.attrs["exact"]) < 3
    assert abs(float(learned.sel(exploration="falling")) + 13) < 0.05
    assert -19 < float(means.sel(learner="Sarsa", exploration="falling")) < -13
