"""Planning gives the exact solution: linear solves, other programs, plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import GAMMA, ring_of

from jaxmom import rl

# V*(start), max V*, each to 12 digits; the undiscounted optimum under the limit to 6. The digits
# are those of one linear solve in NumPy, which `test_the_anchors_come_from_a_linear_solve` repeats.
ANCHORS = {
    "slippery lake": (0.542025932000, 0.862837430149, 0.744190),
    "large slippery lake": (0.414640361800, 0.877768739399, 0.913220),
    "slippery cliff": (-46.352672181652, -3.631517226822, None),
    "dry lake": (0.950990049900, 1.0, 1.0),
    "large dry lake": (0.877521022999, 1.0, 1.0),
    "cliff": (-12.247897700103, -1.0, None),
    "taxi": (6.327464314919, 20.0, 7.93),
    "taxi in rain": (2.247629323605, 20.0, None),
}


SUMS = {"slippery lake": 6.339819538, "large slippery lake": 21.568377936, "cliff": -342.759931782}


SUMS |= {"taxi": 4711.418628270}


DIVERGES = None


# Iterations of plain, momentum, Nesterov, anchored, and PID with kd = 0.2 and 0.5.
ITERATIONS = {
    "slippery lake": (401, 123, 132, 703, 316, 182),
    "large slippery lake": (479, DIVERGES, 234, 745, 378, 219),
    "slippery cliff": (300, DIVERGES, 216, 887, 232, 116),
    "dry lake": (7, DIVERGES, ..., 590, 121, ...),
    "large dry lake": (15, DIVERGES, DIVERGES, 628, 241, DIVERGES),
    "cliff": (15, DIVERGES, DIVERGES, 758, 59, DIVERGES),
    "taxi": (19, DIVERGES, DIVERGES, 759, 197, DIVERGES),
    "taxi in rain": (63, DIVERGES, DIVERGES, 758, 71, DIVERGES),
}


FORMS = (
    None,
    rl.goyal_momentum(GAMMA),
    rl.goyal_nesterov(GAMMA),
    rl.anchored(GAMMA),
    rl.lazy_pid(1.0, kd=0.2),
    rl.lazy_pid(1.0, kd=0.5),
)


@pytest.mark.parametrize("variant", ANCHORS)
def test_anchors(plans, variant):
    mdp, plan = plans[variant]
    at_start, largest, limited = ANCHORS[variant]
    assert plan.converged
    np.testing.assert_allclose(mdp.start @ plan.value, at_start, rtol=0, atol=1e-12)
    np.testing.assert_allclose(plan.value.max(), largest, rtol=0, atol=1e-12)
    if variant in SUMS:
        np.testing.assert_allclose(plan.value.sum(), SUMS[variant], rtol=0, atol=1e-9)
    if limited is not None:
        optimum = mdp.start @ rl.limited_value(mdp)
        np.testing.assert_allclose(optimum, limited, rtol=0, atol=5e-7)


@pytest.mark.parametrize("variant", ANCHORS)
def test_the_anchors_come_from_a_linear_solve(plans, variant):
    mdp, plan = plans[variant]
    states, greedy = np.arange(mdp.states), plan.q.argmax(axis=1)
    matrix, reward = np.eye(mdp.states), np.zeros(mdp.states)
    for s, k in np.ndindex(mdp.states, mdp.branches):
        p = mdp.probability[s, greedy[s], k]
        reward[s] += p * mdp.reward[s, greedy[s], k]
        goes_on = not mdp.terminated[s, greedy[s], k]
        matrix[s, mdp.next_state[s, greedy[s], k]] -= GAMMA * p * goes_on
    value = np.linalg.solve(matrix, reward)
    np.testing.assert_allclose(plan.value, value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(plan.q[states, greedy], value, rtol=0, atol=1e-12)


def test_entries_of_q(plans):
    lake = [0.54202593, 0.52776243, 0.52776243, 0.52234217]
    cliff = [-12.2478977, -112.1254187, -13.1254187, -13.1254187]
    np.testing.assert_allclose(plans["slippery lake"][1].q[0], lake, atol=5.1e-9)
    np.testing.assert_allclose(plans["cliff"][1].q[36], cliff, atol=5.1e-8)


@pytest.mark.parametrize("variant", ITERATIONS)
def test_iterations_to_a_millionth(plans, variant):
    """Exactly, but for two cells of the table at which rounding decides among thousands."""
    mdp, plan = plans[variant]
    for form, expected in zip(FORMS, ITERATIONS[variant], strict=True):
        run = rl.value_iteration(
            mdp, GAMMA, form, tolerance=1e-6, max_iterations=20_000, target=plan.q
        )
        if expected is ...:
            assert run.converged
        else:
            assert (int(run.iterations) if run.converged else DIVERGES) == expected


def test_momentum_has_its_rate_on_a_reversible_chain():
    """A walk on a ring is symmetric: a double root at sqrt(b), against gamma without momentum."""
    ring = ring_of(64, back=0.5)
    truth = rl.value_iteration(ring, GAMMA, tolerance=1e-12)
    fast, slow = (
        rl.value_iteration(ring, GAMMA, form, tolerance=1e-6, target=truth.q)
        for form in (rl.goyal_momentum(GAMMA), None)
    )
    assert int(fast.iterations) * 8 < int(slow.iterations)


def test_bellman_is_the_sum_over_branches():
    mdp = rl.random_mdp(jax.random.key(0), 7, 3, 4, termination=0.3)
    q = np.random.default_rng(0).standard_normal((7, 3))
    expected = np.zeros((7, 3))
    for s, a, k in np.ndindex(7, 3, 4):
        follows = 0.0 if mdp.terminated[s, a, k] else q[mdp.next_state[s, a, k]].max()
        expected[s, a] += mdp.probability[s, a, k] * (mdp.reward[s, a, k] + 0.9 * follows)
    np.testing.assert_allclose(rl.bellman(mdp, q, 0.9), expected, rtol=1e-14)


def test_all_is_float64_whatever_the_default(plans):
    mdp, plan = plans["slippery lake"]
    with jax.enable_x64(False):
        again = rl.value_iteration(mdp, GAMMA, tolerance=5e-13)
    assert again.q.dtype == np.float64
    np.testing.assert_array_equal(again.q, plan.q)


def test_discounts_and_gains_are_lanes():
    mdp = rl.random_mdp(jax.random.key(0), 8, 2)
    gammas = jnp.array([0.5, 0.9])
    plans = jax.vmap(lambda gamma: rl.value_iteration(mdp, gamma))(gammas)
    for i, gamma in enumerate((0.5, 0.9)):
        np.testing.assert_allclose(plans.q[i], rl.value_iteration(mdp, gamma).q, atol=1e-12)
    gains = jax.vmap(lambda kd: rl.value_iteration(mdp, 0.9, rl.lazy_pid(1.0, kd=kd)).iterations)
    assert len(set(gains(jnp.array([0.0, 0.1, 0.9])).tolist())) == 3


def test_two_backups_are_their_recurrence():
    mdp = rl.random_mdp(jax.random.key(1), 6, 2, termination=0.1)
    q, backup = np.zeros((6, 2)), np.zeros((6, 2))
    for _ in range(25):
        before, backup = backup, rl.bellman(mdp, q, 0.9)
        q = backup + 0.2 * (backup - before)
    plan = rl.value_iteration(mdp, 0.9, rl.two_backups(0.2), tolerance=0.0, max_iterations=25)
    np.testing.assert_allclose(plan.q, q, rtol=1e-12)


def test_any_transformation_plans():
    mdp = rl.random_mdp(jax.random.key(0), 8, 2)
    plan = rl.value_iteration(mdp, 0.9, optax.sgd(0.9, momentum=0.1))
    assert plan.converged
    np.testing.assert_allclose(plan.q, rl.value_iteration(mdp, 0.9).q, atol=2e-10)


def test_a_bad_discount_gets_a_sentence():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match=r"discount is in \[0, 1\], got 1.5"):
        rl.value_iteration(mdp, 1.5)
    with pytest.raises(ValueError, match="number of steps"):
        rl.limited_value(mdp)


BAD_DISCOUNTS = (1.5, -0.1, np.float32(1.5), np.float64(1.5), jnp.array(1.5), np.nan)


@pytest.mark.parametrize("discount", BAD_DISCOUNTS, ids=repr)
def test_a_discount_of_any_library_is_checked(discount):
    mdp, key = rl.random_mdp(jax.random.key(0), 4, 2, time_limit=5), jax.random.key(0)
    for call in (
        lambda: rl.value_iteration(mdp, discount),
        lambda: rl.q_learning(mdp, optax.sgd(0.1), key, steps=4, discount=discount),
        lambda: rl.speedy_q_learning(mdp, key, iterations=4, discount=discount),
        lambda: rl.goyal_momentum(discount),
        lambda: rl.goyal_nesterov(discount),
        lambda: rl.anchored(discount),
    ):
        with pytest.raises(ValueError, match=r"discount is in \[0, 1"):
            call()


def test_several_discounts_need_vmap():
    mdp, several = rl.random_mdp(jax.random.key(0), 4, 2), jnp.array([0.5, 0.9])
    for call in (
        lambda: rl.value_iteration(mdp, several),
        lambda: rl.bellman(mdp, jnp.zeros((4, 2)), several),
        lambda: rl.q_learning(mdp, optax.sgd(0.1), jax.random.key(0), steps=4, discount=several),
        lambda: rl.speedy_q_learning(mdp, jax.random.key(0), iterations=4, discount=several),
    ):
        with pytest.raises(ValueError, match=r"discount is one number; use jax\.vmap"):
            call()


def test_the_target_may_leave_entries_out():
    mdp = rl.random_mdp(jax.random.key(0), 8, 2)
    plan = rl.value_iteration(mdp, 0.9, tolerance=1e-13)
    partial = plan.q.copy()
    partial[3] = np.nan
    some = rl.value_iteration(mdp, 0.9, tolerance=1e-6, target=partial)
    assert some.converged
    assert (
        0
        < some.iterations
        <= rl.value_iteration(mdp, 0.9, tolerance=1e-6, target=plan.q).iterations
    )
    with pytest.raises(ValueError, match=r"target is \[states, actions\] = \(8, 2\)"):
        rl.value_iteration(mdp, 0.9, target=0.0)


def test_tables_of_other_shapes_are_refused():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match=r"q is \[states, actions\] = \(4, 2\)"):
        rl.bellman(mdp, np.zeros((5, 2)), 0.9)
    with pytest.raises(ValueError, match="target is"):
        rl.speedy_q_learning(mdp, jax.random.key(0), iterations=4, target=np.zeros((2, 4)))


@pytest.mark.parametrize("make", [optax.polyak_sgd, optax.lbfgs], ids=["polyak", "lbfgs"])
def test_an_optimizer_of_losses_is_refused(make):
    """Everywhere, by the names of what it needs."""
    mdp, key = rl.random_mdp(jax.random.key(0), 4, 2), jax.random.key(0)
    for call in (
        lambda: rl.value_iteration(mdp, 0.9, make()),
        lambda: rl.q_learning(mdp, make(), key, steps=4),
        lambda: rl.synchronous_q_learning(mdp, make(), key, iterations=4),
        lambda: rl.q_learning(mdp, optax.chain(optax.clip(1.0), make()), key, steps=4),
    ):
        with pytest.raises(ValueError, match="this optimizer needs 'value'"):
            call()
