"""Q-learning equals the loop of tutorials in real Gymnasium, bit for bit."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import (
    GAMMA,
    RULES,
    STEPS,
    corridor,
    environment,
    learn_double_q,
    learn_in_gymnasium,
)

from jaxmom import rl

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


@pytest.mark.parametrize(
    ("name", "kwargs", "path"),
    [
        ("FrozenLake-v1", {}, "plain"),
        ("FrozenLake-v1", {}, "fast"),
        ("FrozenLake-v1", {"is_slippery": False}, "fast"),
        ("FrozenLake-v1", {"success_rate": 0.7, "reward_schedule": (5, -1, -0.5)}, "fast"),
        ("CliffWalking-v1", {}, "fast"),
        ("CliffWalkingSlippery-v1", {}, "fast"),
        ("Taxi-v4", {}, "fast"),
        ("Taxi-v4", {"is_rainy": True}, "plain"),
        ("Taxi-v4", {"is_rainy": True}, "fast"),
    ],
)
def test_a_run_equals_the_loop_in_gymnasium(name, kwargs, path):
    """To the bit: nothing is contracted, and equal values are equal in both."""
    mdp, key = environment(name, **kwargs), jax.random.key(7)
    run = rl.q_learning(mdp, rl.lazy_momentum(0.03, 0.6), key, steps=STEPS, path=path)
    expected = learn_in_gymnasium(name, key, 0.03, 0.6, 0.1, STEPS, kwargs)
    assert np.count_nonzero(expected) > 3
    np.testing.assert_array_equal(run.q, expected)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4"])
def test_bits_do_not_depend_on_the_program(name):
    """Alone, in 3 or 33 lanes, its numbers constants or not: rounding is that of IEEE 754."""
    mdp = environment(name)

    def run(beta, seed):
        rule = rl.lazy_momentum(0.03, beta)
        return rl.q_learning(mdp, rule, jax.random.key(seed), steps=STEPS, epsilon=0.1).q

    alone = run(0.7, 2)
    np.testing.assert_array_equal(jax.jit(lambda: run(0.7, 2))(), alone)
    for lanes in (3, 33):
        betas, seeds = jnp.linspace(0.0, 0.9, lanes).at[2].set(0.7), jnp.arange(lanes)
        np.testing.assert_array_equal(jax.jit(jax.vmap(run))(betas, seeds)[2], alone)


def test_a_termination_has_no_future_when_values_start_high():
    run = rl.q_learning(
        corridor(terminated=True), optax.sgd(0.5), jax.random.key(0), steps=400, initial=50.0
    )
    np.testing.assert_allclose(run.q[:, 0], [GAMMA, 1.0], atol=1e-9)


def test_a_truncation_bootstraps():
    """Cut after every second step, the second state still is worth 1 / (1 - gamma)."""
    run = rl.q_learning(
        corridor(time_limit=2), optax.sgd(0.5), jax.random.key(0), steps=10_000, discount=0.9
    )
    np.testing.assert_allclose(run.q[:, 0], [9.0, 10.0], atol=1e-9)
    assert int(run.finished[-1]) == 5000


def test_double_q_is_the_loop_of_the_paper(small):
    """Two tables in NumPy, fed with the bits of the run."""
    key, steps, alpha = jax.random.key(4), 2000, 0.2
    expected = learn_double_q(small, key, 0.3, alpha, steps)
    run = rl.q_learning(small, optax.sgd(alpha), key, steps=steps, epsilon=0.3, double=True)
    np.testing.assert_allclose(run.q, expected, rtol=1e-12, atol=1e-12)


def test_rmse_leaves_out_nan(small):
    target = np.full((8, 3), np.nan)
    target[2, 1], target[3, 0] = 1.0, -1.0
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(0), steps=64, target=target)
    expected = np.sqrt(((run.q[2, 1] - 1) ** 2 + (run.q[3, 0] + 1) ** 2) / 2)
    np.testing.assert_allclose(run.rmse[-1], expected, rtol=1e-12)


def test_new_numbers_do_not_retrace(small):
    traces = []

    @jax.jit
    def run(beta, epsilon, discount, key):
        traces.append(1)
        rule = rl.lazy_momentum(0.01, beta)
        return rl.q_learning(small, rule, key, steps=64, epsilon=epsilon, discount=discount).q

    one = run(0.5, 0.1, 0.9, jax.random.key(0))
    other = run(0.6, 0.2, 0.8, jax.random.key(1))
    assert len(traces) == 1
    assert (one != other).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 10, "discount": 1.0, "time_limit": None}, "discount 1 needs a time limit"),
        ({"steps": 10, "discount": 1.1}, r"discount is in \[0, 1\], got 1.1"),
        ({"steps": 10, "epsilon": 1.1}, r"epsilon is a probability, in \[0, 1\]; got 1.1"),
        ({"steps": 10, "epsilon": -0.1}, "epsilon is a probability"),
        ({}, "give a budget"),
        ({"steps": 0}, "give a budget of at least 1"),
        ({"episodes": 3, "time_limit": None}, "may never end"),
        ({"steps": 10, "every": 0}, "every is at least 1"),
        ({"steps": 10, "initial": np.zeros(3)}, r"initial is a number or \[states, actions\]"),
        ({"steps": 10, "target": np.zeros((3, 8))}, "target is a number or"),
        ({"steps": 10, "optimizer": optax.polyak_sgd()}, "needs 'value'"),
        ({"steps": 10, "optimizer": optax.sgd(0.1), "path": "fast"}, "there is a fast path for"),
        ({"steps": 10, "path": "quick"}, "path is one of 'auto', 'plain', 'fast'; got 'quick'"),
        ({"steps": 10, "rng": "mt"}, "rng is one of 'threefry', 'xoshiro'"),
        ({"steps": 10, "clock": "day"}, "clock is one of 'step', 'episode'"),
        ({"steps": 10, "epsilon": jnp.array(1.1)}, "epsilon is a probability"),
        ({"steps": 10, "epsilon": np.zeros(3)}, r"epsilon is one number; use jax\.vmap"),
        ({"steps": 10, "divergence": np.ones(3)}, r"divergence is one number; use jax\.vmap"),
        ({"steps": 10, "divergence": np.nan}, r"divergence is in \[0, inf\), got nan"),
        ({"steps": 10, "initial": 1j}, "initial is real"),
        ({"steps": 2**31}, r"steps is at most 2\^31 - 1"),
        ({"episodes": 2**30}, r"episodes times the time limit is at most"),
        (
            {"steps": 10, "optimizer": rl.lazy_momentum(0.1, jnp.array([0.5, 0.9]))},
            r"beta is one number; use jax\.vmap",
        ),
        (
            {"steps": 10, "optimizer": rl.dense_momentum(jnp.array([0.1, 0.2]))},
            r"learning_rate is one number; use jax\.vmap",
        ),
    ],
)
def test_bad_arguments_get_a_sentence(given, message):
    limit = given.pop("time_limit", 5)
    optimizer = given.pop("optimizer", RULES["lazy"])
    with pytest.raises(ValueError, match=message):
        rl.q_learning(corridor(limit), optimizer, jax.random.key(0), **given)


def test_a_traced_process_is_refused(small):
    with pytest.raises(TypeError, match="close over it"):
        jax.jit(lambda m: rl.q_learning(m, RULES["lazy"], jax.random.key(0), steps=16).q)(small)


@pytest.mark.slow
def test_all_runs_in_float32_with_warnings_as_errors():
    """As users meet it first, on five environments."""
    pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")
    script = SCRIPTS / "q_learning_in_float32.py"
    subprocess.run([sys.executable, script], check=True, timeout=600)


@pytest.mark.parametrize("value", [None, "0.5", lambda step: 0.5], ids=["none", "text", "function"])
def test_what_is_no_number_is_refused(value):
    mdp, key = corridor(5), jax.random.key(0)
    for call in (
        lambda: rl.q_learning(mdp, RULES["lazy"], key, steps=4, discount=value),
        lambda: rl.q_learning(mdp, RULES["lazy"], key, steps=4, divergence=value),
        lambda: rl.value_iteration(mdp, value),
        lambda: rl.policy_value(mdp, [0, 0], value),
        lambda: rl.speedy_q_learning(mdp, key, iterations=4, discount=value),
    ):
        with pytest.raises(TypeError, match=r"(discount|divergence) is a number, not"):
            call()


def test_a_process_is_asked_for_by_its_type():
    for call in (
        lambda: rl.q_learning({}, RULES["lazy"], jax.random.key(0), steps=4),
        lambda: rl.value_iteration({}, 0.9),
        lambda: rl.speedy_q_learning({}, jax.random.key(0), iterations=4),
    ):
        with pytest.raises(TypeError, match=r"an rl\.Mdp, not a dict; rl\.from_gymnasium"):
            call()
