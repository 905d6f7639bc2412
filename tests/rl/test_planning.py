"""Planning gives the truth: anchors that were computed elsewhere, and independent loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmom import rl
from jaxmom.theory import td

GAMMA = 0.99
# V*(start), max V*, each to 12 digits; the undiscounted optimum under the limit to 6. The digits
# are those of one linear solve in NumPy, which `test_anchors_are_of_a_linear_solve` repeats.
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


@pytest.fixture(scope="module")
def plans():
    pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")
    made = {}
    for variant, (name, kwargs) in rl.TOY_TEXT.items():
        mdp = rl.from_gymnasium(name, **kwargs)
        made[variant] = mdp, rl.value_iteration(mdp, GAMMA, tolerance=5e-13)
    return made


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
def test_anchors_are_of_a_linear_solve(plans, variant):
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


def ring_of(n, back=0.0):
    state = np.arange(n)
    following = np.stack([(state + 1) % n, (state - 1) % n], axis=-1)[:, None]
    weights = np.broadcast_to([1 - back, back], (n, 1, 2))
    reward = np.where(following == 0, 1.0, 0.0)
    return rl.Mdp(following, weights, reward, np.zeros((n, 1, 2), bool), np.full(n, 1 / n))


def test_bellman_is_the_sum_over_branches():
    mdp = rl.random_mdp(jax.random.key(0), 7, 3, 4, termination=0.3)
    q = np.random.default_rng(0).standard_normal((7, 3))
    expected = np.zeros((7, 3))
    for s, a, k in np.ndindex(7, 3, 4):
        follows = 0.0 if mdp.terminated[s, a, k] else q[mdp.next_state[s, a, k]].max()
        expected[s, a] += mdp.probability[s, a, k] * (mdp.reward[s, a, k] + 0.9 * follows)
    np.testing.assert_allclose(rl.bellman(mdp, q, 0.9), expected, rtol=1e-14)


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


def test_any_transformation_plans():
    mdp = rl.random_mdp(jax.random.key(0), 8, 2)
    plan = rl.value_iteration(mdp, 0.9, optax.sgd(0.9, momentum=0.1))
    assert plan.converged
    np.testing.assert_allclose(plan.q, rl.value_iteration(mdp, 0.9).q, atol=2e-10)


def test_bad_input_gets_a_sentence():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match=r"discount is in \[0, 1\], got 1.5"):
        rl.value_iteration(mdp, 1.5)
    with pytest.raises(ValueError, match="number of steps"):
        rl.limited_value(mdp)


BETAS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def test_the_limit_of_theory_by_brute_force():
    """At a fine grid of angles, all roots are inside below the limit, and one outside above."""
    printed = (1.00503, 0.192, 0.0615, 0.0258, 0.00613, 0.00149, 0.000059)
    for beta, number in zip(BETAS, printed, strict=True):
        limit = float(td.max_stable_alpha(beta, GAMMA))
        digits = 3 if number >= 1e-3 else 2
        assert float(f"{limit:.{digits - 1}e}") == float(f"{number:.{digits - 1}e}")
        angles = np.concatenate([np.linspace(0, np.pi, 20_001), np.geomspace(1e-6, 1, 20_001)])
        values = GAMMA * np.exp(1j * angles) - 1
        alpha = 0.999 * limit
        largest = [np.roots([1, -(1 + beta + alpha * x), beta]) for x in values[::40]]
        assert np.abs(largest).max() < 1
        assert float(td.td_growth(1.001 * limit, beta, values)) > 1


def test_no_process_diverges_below_the_limit():
    """The circle holds the eigenvalues of every transition matrix, and the ellipse is convex."""
    for seed in range(5):
        mdp = rl.random_mdp(jax.random.key(seed), 6, 2)
        matrix = rl.transition_matrix(mdp, np.full((6, 2), 0.5))
        spectrum = td.td_spectrum(matrix, GAMMA)
        for beta in BETAS:
            own, any_process = td.td_stable_alpha(beta, spectrum), td.max_stable_alpha(beta, GAMMA)
            assert own >= any_process
            assert td.td_growth(0.999 * own, beta, spectrum) < 1
            assert td.td_growth(1.001 * own, beta, spectrum) > 1


def test_growth_on_a_ring_is_measured():
    """Directed ring, alpha 0.1, beta 0.9, all entries at every step: 1.118 times per sweep."""
    ring = ring_of(64)
    spectrum = td.td_spectrum(rl.transition_matrix(ring, np.zeros(64, int)), GAMMA)
    predicted = float(td.td_growth(0.1, 0.9, spectrum))
    np.testing.assert_allclose(predicted, 1.11800, atol=1e-5)
    optimizer = rl.lazy_momentum(0.1, 0.9)
    sizes = [
        np.log(np.abs(rl.value_iteration(ring, GAMMA, optimizer, max_iterations=n).q).max())
        for n in (2000, 3000)
    ]
    np.testing.assert_allclose(np.exp((sizes[1] - sizes[0]) / 1000), predicted, rtol=1e-3)


def test_theory_is_traced_in_every_number():
    limits = jax.jit(jax.vmap(td.max_stable_alpha, (0, None)))(jnp.array(BETAS), 0.9)
    assert (jnp.diff(limits) < 0).all()
    slope = jax.grad(td.max_stable_alpha)(0.5, 0.9)
    ahead, behind = (td.max_stable_alpha(0.5 + h, 0.9) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)
    assert float(td.max_stable_alpha(-0.5, 0.9)) == pytest.approx(2 * 0.5 / 1.9)
    assert float(td.td_stable_alpha(0.5, [0.1, -1.0])) == 0.0
