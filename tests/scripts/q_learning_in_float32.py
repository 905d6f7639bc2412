"""Learning and planning with JAX's defaults: float32, implicit promotion, warnings as errors."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmom as jm
from jaxmom import rl

NAMES = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1")


def learn_everywhere():
    for name in (*NAMES, "Taxi-v4"):
        mdp = rl.from_gymnasium(name)
        truth = rl.value_iteration(mdp, 0.99).q
        assert truth.dtype == np.float64

        def learn(seed, mdp=mdp, truth=truth):
            rule = rl.dense_momentum(0.05, 0.8)
            options = {"steps": 4000, "epsilon": 1.0, "target": truth, "every": 2000}
            return rl.q_learning(mdp, rule, jax.random.key(seed), **options)

        runs = jax.vmap(learn)(jnp.arange(4))
        assert runs.q.dtype == runs.rmse.dtype == jnp.float32
        assert (runs.diverged_at == -1).all()
        assert (runs.max_abs_q <= np.abs(mdp.reward).max() / (1 - 0.99)).all()
        if mdp.states < 64:  # in the larger ones, so few steps seldom find the goal
            assert (runs.rmse[:, -1] < np.sqrt(np.mean(truth**2))).all(), name


def use_each_function():
    lake, key = rl.from_gymnasium("FrozenLake-v1"), jax.random.key(0)
    plan = rl.value_iteration(lake, 0.99, tolerance=1e-12)
    np.testing.assert_allclose(plan.value[0], 0.542025932, atol=1e-9)
    for form in (rl.goyal_nesterov(0.99), rl.anchored(0.99), jm.heavy_ball(0.9, 0.1)):
        other = rl.value_iteration(lake, 0.99, form, tolerance=1e-9)
        np.testing.assert_allclose(other.q, plan.q, atol=1e-8)
    assert rl.policy_value(lake, rl.greedy(plan.q), 0.99).dtype == np.float64
    policy = jax.nn.softmax(jax.random.normal(key, (16, 4)))  # float32
    assert rl.transition_matrix(lake, policy).shape == (64, 64)
    np.testing.assert_allclose(lake.start @ rl.limited_value(lake), 0.744190, atol=5e-7)
    for call in (
        lambda: rl.step(lake, 0, 1, 0.5),
        lambda: rl.reset(lake, 0.5),
        lambda: rl.speedy_q_learning(lake, key, iterations=16, target=plan.q),
        lambda: rl.synchronous_q_learning(lake, rl.visit_descent(0.6), key, iterations=16),
    ):
        call()
    for rule in (optax.adam(0.1), rl.lazy_pid(0.1, ki=0.1, kd=0.1), jm.nesterov(0.1, 0.5)):
        rl.q_learning(lake, rule, key, steps=32, double=True)
    schedule = jm.schedules.linear(1.0, 0.1, 20)
    rl.q_learning(
        *(lake, rl.lazy_momentum(schedule, 0.5), key),
        **{"episodes": 5, "clock": "episode", "epsilon": optax.linear_schedule(1.0, 0.1, 5)},
    )


def plan_in_lanes():
    """Lanes of float64 arrays in a program of float32."""
    mdps = [rl.random_mdp(jax.random.key(seed), 5, 2) for seed in range(2)]
    both = jax.tree.map(lambda *leaves: np.stack(leaves), *mdps)
    values = jax.vmap(lambda mdp: rl.value_iteration(mdp, 0.9).value)(both)
    np.testing.assert_array_equal(np.asarray(values)[1], rl.value_iteration(mdps[1], 0.9).value)


if __name__ == "__main__":
    warnings.simplefilter("error")
    learn_everywhere()
    use_each_function()
    plan_in_lanes()
