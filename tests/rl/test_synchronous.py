"""Learning from a generative model: SpeedyQ, and orderings of step sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import GAMMA, environment

from experiments import momentum_from_samples
from jaxmom import rl
from jaxmom.rl._tabular.tables import build_tables, sample_transition

ORDER = ("SpeedyQ", "polynomial", "rescaled", "linear")


# Median over 100 seeds of max |Q - Q*| on the slippery lake, after 100, 1000 and 10,000 iterations.
TABLE = {
    "SpeedyQ": (0.156, 0.0650, 0.0190),
    "polynomial": (0.316, 0.138, 0.0322),
    "rescaled": (0.468, 0.152, 0.0481),
    "linear": (0.523, 0.496, 0.464),
    "heavy ball": (0.399, 0.134, 0.0318),
}


def test_iterations_are_a_multiple_of_every():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match="multiple of every"):
        rl.speedy_q_learning(mdp, jax.random.key(0), iterations=10, every=3)


def test_speedy_q_is_the_update_of_the_paper():
    """Without randomness, in NumPy: both backups, weighted by 1 / (k + 1)."""
    mdp = rl.random_mdp(jax.random.key(0), 6, 2, branches=1)
    q = previous = np.zeros((6, 2))

    def backup(q):
        return rl.bellman(mdp, q, 0.9)

    for k in range(20):
        a = 1 / (k + 1)
        now, then = backup(q), backup(previous)
        q, previous = q + a * (then - q) + (1 - a) * (now - then), q
    run = rl.speedy_q_learning(mdp, jax.random.key(0), iterations=20, discount=0.9)
    np.testing.assert_allclose(run.q, q, atol=1e-13)


M = 2.5  # at least 1 / gamma
NUMBERS = {  # (a_k, b_k, c_k) of the paper, and those of `momentum_q_learning`
    "Nesterov": (lambda k: (0.5, 0.3, 0.0), lambda k: (0.5, 0.5 * 1.3, 0.3 * 0.5)),
    "algorithm 1": (
        lambda k: (1 / (k + 1), k - M - 1, (-(k**2) + (M + 1) * k + 1) / (k + 1)),
        lambda k: (1 / (k + 1), (k - M) / (k + 1), 1 / (k + 1)),
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_momentum_q_is_its_recurrence_on_the_same_samples(name):
    """Equation 10 in NumPy, with the branches that the bits of iteration k pick for both."""
    mdp, key = (
        rl.random_mdp(jax.random.key(0), 6, 2, branches=3, termination=0.1),
        jax.random.key(5),
    )
    (paper, numbers), table = NUMBERS[name], build_tables(mdp, float)
    s, a = np.indices((6, 2), np.int32)
    sample = jax.jit(jax.vmap(jax.vmap(functools.partial(sample_transition, table))))
    q = previous = np.zeros((6, 2))
    for k in range(30):
        bits = jax.random.bits(jax.random.fold_in(key, k), (6, 2), jnp.uint32)
        following, reward, ends = map(np.asarray, sample(s, a, bits))
        now, before = (
            reward + 0.9 * np.where(ends, 0.0, x.max(axis=1)[following]) for x in (q, previous)
        )
        x, y, z = paper(k)
        s_k, p_k = (1 - x) * previous + x * before, (1 - x) * q + x * now
        q, previous = p_k + y * (p_k - s_k) + z * (q - previous), q
    terms = [lambda k, i=i: numbers(k.astype(float))[i] for i in range(3)]
    run = rl.momentum_q_learning(mdp, key, *terms, iterations=30, discount=0.9)
    np.testing.assert_allclose(run.q, q, rtol=1e-12, atol=1e-13)


def test_with_one_backup_momentum_q_is_heavy_ball():
    mdp, key = rl.random_mdp(jax.random.key(0), 4, 2), jax.random.key(1)
    ours = rl.momentum_q_learning(mdp, key, 0.2, 0.2, 0.6, iterations=40, discount=0.9)
    theirs = rl.synchronous_q_learning(
        mdp, optax.sgd(0.2, momentum=0.6), key, iterations=40, discount=0.9
    )
    np.testing.assert_allclose(ours.q, theirs.q, rtol=1e-12)
    with pytest.raises(ValueError, match="b is one number"):
        rl.momentum_q_learning(mdp, key, 0.2, np.ones(2), 0.6, iterations=40)


def learn_errors(mdp, rule, key, target):
    given = {"iterations": 10_000, "target": target, "every": 100}
    if rule == "SpeedyQ":
        return rl.speedy_q_learning(mdp, key, **given).error
    optimizer = {
        "polynomial": rl.visit_descent(0.6),
        "rescaled": rl.visit_descent(1.0, 1 - GAMMA),
        "linear": rl.visit_descent(1.0),
    }[rule]
    return rl.synchronous_q_learning(mdp, optimizer, key, **given).error


@pytest.mark.slow
def test_orderings_from_a_generative_model():
    """SpeedyQ, then the polynomial step, the rescaled one, and 1 / k far behind; 30 seeds."""
    mdp = environment("FrozenLake-v1")
    plan = rl.value_iteration(mdp, GAMMA)
    target = np.where(rl.reachable(mdp)[:, None], plan.q, np.nan)
    keys = jax.random.split(jax.random.key(0), 30)
    medians = {}
    for rule in ORDER:
        errors = jax.vmap(lambda key, rule=rule: learn_errors(mdp, rule, key, target))(keys)
        medians[rule] = np.median(errors, axis=0)[[0, 9, 99]]
        # The spread of one seed is about a quarter of the median: 1.25 x 0.25 / sqrt(30), thrice.
        np.testing.assert_allclose(medians[rule], TABLE[rule], rtol=0.18)
    finals = [medians[rule][-1] for rule in ORDER]
    assert finals == sorted(finals)
    assert finals[-1] > 9 * finals[2]


@pytest.mark.slow
def test_momentum_beside_speedy_q():
    """The table of the experiment, with fewer iterations and seeds."""
    config = momentum_from_samples.Config(iterations=2000, tuning_seeds=5, seeds=10)
    error = momentum_from_samples.compute(config).error.isel(iteration=-1).median("seed")
    for place in error.environment.values:
        found = {rule: float(error.sel(environment=place, rule=rule)) for rule in error.rule.values}
        assert found["SpeedyQ"] < 0.8 * found["plain"]
        assert 0.6 < found["MomentumQ"] / found["SpeedyQ"] < 1.6
    assert found["SpeedyQ"] < 0.5 * found["two backups"] < 0.5 * found["plain"]  # on the cliff
