"""Budgets, records, schedules and random bits of a run; lanes and devices."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import RULES, STEPS, learn_by_episodes
from scripts.sweep_q_learning import AXES, learn

import jaxmom as jm
from jaxmom import rl

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


def test_epsilon_is_a_schedule_of_the_step(small):
    """Greedy in the first half, uniform in the second: both halves are those of constants."""
    key, half = jax.random.key(5), 1600
    schedule = jm.schedules.join([0.0, 1.0], [half])
    both = rl.q_learning(small, RULES["lazy"], key, steps=2 * half, epsilon=schedule, every=half)
    greedy = rl.q_learning(small, RULES["lazy"], key, steps=2 * half, epsilon=0.0, every=half)
    assert both.max_abs_q[0] == greedy.max_abs_q[0]
    assert both.reward[0] == greedy.reward[0]
    assert both.reward[1] != greedy.reward[1]


@pytest.mark.parametrize("path", ["plain", "fast"])
def test_schedules_may_count_episodes(small, path):
    """Those of epsilon and alpha, in a plain loop; their values are exact, and so are the bits."""
    epsilon, alpha = jm.schedules.linear(1.0, 0.0, 64), jm.schedules.linear(0.5, 0.25, 128)
    key, beta = jax.random.key(6), 0.25
    run = rl.q_learning(
        small,
        rl.lazy_momentum(alpha, beta),
        key,
        steps=STEPS,
        epsilon=epsilon,
        clock="episode",
        path=path,
    )
    expected, episodes = learn_by_episodes(small, key, epsilon, alpha, beta, STEPS)
    assert episodes == run.finished[-1] > 128
    np.testing.assert_array_equal(run.q, expected)


def test_schedules_of_all_our_optimizers_count_episodes(small):
    """Dense momentum has no fast path under a schedule; optax's own schedules count updates."""
    rate = jm.schedules.linear(0.1, 0.02, 50)

    def learned(optimizer, clock):
        run = rl.q_learning(small, optimizer, jax.random.key(6), steps=640, clock=clock)
        return np.asarray(run.q)

    ours, chained = (
        learned(rule, "episode")
        for rule in (rl.dense_momentum(rate, 0.5), jm.heavy_ball(rate, 0.5))
    )
    np.testing.assert_allclose(chained, ours, atol=1e-12)
    lifted = jm.lift(optax.sgd)(rate)
    steps = learned(lifted, "step")
    np.testing.assert_allclose(learned(optax.sgd(rate), "episode"), steps, atol=1e-12)
    assert abs(learned(lifted, "episode") - steps).max() > 0.1


def test_records_do_not_change_a_run(small):
    """Random bits belong to steps, whatever the records are: every 7 or 16."""
    runs = [
        rl.q_learning(small, RULES["dense"], jax.random.key(5), steps=100, every=every)
        for every in (7, 16)
    ]
    assert [len(run.steps) for run in runs] == [15, 7]
    assert runs[0].steps.tolist() == [*range(7, 100, 7), 100]
    np.testing.assert_array_equal(runs[0].q, runs[1].q)
    np.testing.assert_allclose(runs[0].reward.sum(), runs[1].reward.sum(), rtol=1e-12)


@pytest.mark.parametrize("rng", ["threefry", "xoshiro"])
def test_a_budget_of_episodes(small, rng):
    """Returns and lengths of each episode; then nothing moves."""
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(5), episodes=150, rng=rng)
    assert int(run.finished[-1]) == 150
    assert int(run.lengths.sum()) == int(run.steps[-1]) < 150 * 20
    assert 1 <= int(run.lengths.min()) <= int(run.lengths.max()) == 20
    np.testing.assert_allclose(run.returns.sum(), run.reward.sum(), rtol=1e-9)
    steps = int(run.steps[-1])
    same = rl.q_learning(small, RULES["lazy"], jax.random.key(5), steps=steps, rng=rng)
    np.testing.assert_array_equal(run.q, same.q)


def test_a_budget_of_steps_ends_a_budget_of_episodes(small):
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(5), episodes=150, steps=100)
    done = int(run.finished[-1])
    assert int(run.steps[-1]) == 100
    assert jnp.isnan(run.returns).tolist() == [False] * done + [True] * (150 - done)
    assert (run.lengths[done:] == -1).all()


def test_a_diverged_lane_is_frozen_and_its_neighbors_are_not(small):
    def run(alpha):
        return rl.q_learning(
            small, rl.lazy_momentum(alpha, 0.9), jax.random.key(1), steps=2000, divergence=100.0
        )

    both = jax.vmap(run)(jnp.array([1.0, 0.001]))
    alone = run(0.001)
    assert int(both.diverged_at[0]) > 0
    assert int(both.diverged_at[1]) == -1
    assert float(both.max_abs_q[0, -1]) <= 100
    assert int(both.steps[0, -1]) == int(both.diverged_at[0]) + 1
    np.testing.assert_allclose(both.q[1], alone.q, rtol=1e-12)


def test_betas_share_their_random_numbers(small):
    """At epsilon 1, the actions are the same for all betas."""
    betas = jnp.array([0.0, 0.9])
    runs = jax.vmap(
        lambda beta: rl.q_learning(
            small, rl.lazy_momentum(0.01, beta), jax.random.key(0), steps=640, epsilon=1.0
        )
    )(betas)
    assert runs.reward[0] == runs.reward[1]
    assert (runs.q[0] != runs.q[1]).any()


def test_a_sweep_of_q_learning_equals_a_loop():
    runs = jm.sweep(learn, jm.grid(**AXES), width=4, progress=False)
    alone = jax.jit(learn)
    for beta in AXES["beta"]:
        for seed in (0, 6):
            cell, one = runs.sel(beta=beta, seed=seed), alone(beta, seed)
            np.testing.assert_array_equal(cell.q, one["q"])


def test_two_devices_have_the_bits_of_one(tmp_path):
    path = tmp_path / "runs.npz"
    script = SCRIPTS / "sweep_q_learning.py"
    subprocess.run([sys.executable, script, path], check=True, timeout=300)
    one = jm.sweep(learn, jm.grid(**AXES), width=4, progress=False)
    with np.load(path) as two:
        assert set(two) == set(one)
        for name in two:
            np.testing.assert_array_equal(two[name], one[name])
