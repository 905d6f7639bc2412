"""Arguments that mean nothing are refused with a sentence, and NaN stays NaN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

BALL = jm.heavy_ball(0.1, beta=0.5)
BALLS = jax.vmap(jm.heavy_ball)(jnp.array([0.1, 0.2]), jnp.array([0.1, 0.2]))
SYSTEM = theory.linearize(BALL)
START = {"start": [1.0]}

# What takes a number, or an array of them.
NUMBERS = {
    "iteration_matrix": lambda x: theory.iteration_matrix(SYSTEM, x),
    "monodromy": lambda x: theory.monodromy(SYSTEM, x),
    "eigenvalues": lambda x: theory.eigenvalues(SYSTEM, x),
    "characteristic_polynomial": lambda x: theory.characteristic_polynomial(SYSTEM, x),
    "spectral_radius": lambda x: theory.spectral_radius(SYSTEM, x),
    "damping": lambda x: theory.damping(SYSTEM, x),
    "regime": lambda x: theory.regime(SYSTEM, x),
    "regime, tolerance": lambda x: theory.regime(SYSTEM, 1.0, x),
    "period": lambda x: theory.period(SYSTEM, x),
    "transient_growth": lambda x: theory.transient_growth(SYSTEM, x),
    "stationary_covariance": lambda x: theory.stationary_covariance(SYSTEM, x),
    "stationary_variance": lambda x: theory.stationary_variance(SYSTEM, x),
    "stationary_variance, noise": lambda x: theory.stationary_variance(SYSTEM, 1.0, x),
    "excess_loss": lambda x: theory.excess_loss(SYSTEM, x),
    "curvature_noise_limit": lambda x: theory.curvature_noise_limit(SYSTEM, x),
    "mean_square_rate": lambda x: theory.mean_square_rate(SYSTEM, x, 0.1),
    "mean_square_rate, variance": lambda x: theory.mean_square_rate(SYSTEM, 1.0, x),
    "rate, mu": lambda x: theory.rate(SYSTEM, x, 8.0),
    "rate, L": lambda x: theory.rate(SYSTEM, 0.5, x),
    "stability_limit": lambda x: theory.stability_limit(SYSTEM, angle=x),
    "frequency_response": lambda x: theory.frequency_response(SYSTEM, x),
    "transfer_function": lambda x: theory.transfer_function(SYSTEM, x),
    "minimal": lambda x: theory.minimal(SYSTEM, x),
    "equivalent": lambda x: theory.equivalent(SYSTEM, SYSTEM, tolerance=x),
    "risk, curvatures": lambda x: theory.risk(SYSTEM, x, 2, **START),
    "risk, start": lambda x: theory.risk(SYSTEM, [1.0], 2, start=x),
    "risk, noise": lambda x: theory.risk(SYSTEM, [1.0], 2, noise=x, **START),
    "risk, batch_size": lambda x: theory.risk(SYSTEM, [1.0], 2, batch_size=x, **START),
    "worst_case, mu": lambda x: theory.worst_case(BALL, 1, x, 8.0),
    "worst_case, L": lambda x: theory.worst_case(BALL, 1, 0.5, x),
    "certified_rate, mu": lambda x: theory.certified_rate(SYSTEM, x, 8.0),
    "certified_rate, tolerance": lambda x: theory.certified_rate(SYSTEM, 1.0, 8.0, tolerance=x),
    "certified_rates, mu": lambda x: theory.certified_rates(BALLS, x, 8.0),
    "certified_rates, L": lambda x: theory.certified_rates(BALLS, 0.5, x),
    "certifiable_rate": lambda x: theory.certifiable_rate(SYSTEM, x, 8.0),
    "tune, mu": lambda x: theory.tune("heavy_ball", x, 8.0),
    "lower_bound": lambda x: theory.lower_bound(0.5, x),
    "max_stable_alpha, beta": lambda x: theory.max_stable_alpha(x, 0.9),
    "max_stable_alpha, discount": lambda x: theory.max_stable_alpha(0.5, x),
    "td_spectrum": lambda x: theory.td_spectrum(x, 0.9),
    "td_spectrum, discount": lambda x: theory.td_spectrum(np.eye(2), x),
    "td_stable_alpha, beta": lambda x: theory.td_stable_alpha(x, [-1.0]),
    "td_stable_alpha, spectrum": lambda x: theory.td_stable_alpha(0.5, x),
    "td_growth, alpha": lambda x: theory.td_growth(x, 0.5, [-1.0]),
    "td_growth, spectrum": lambda x: theory.td_growth(0.1, 0.5, x),
}
OPTIONAL = {"equivalent": None}  # None is admitted


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(name):
    wrong = ["a", b"x", ["a", "b"], {}, object(), np.array(["a"]), [[1.0], [1.0, 2.0]], len]
    for value in [*wrong, np.array([None])] + [None] * (name not in OPTIONAL):
        with pytest.raises(TypeError, match=r"is a number, or an array of numbers, got"):
            NUMBERS[name](value)


@pytest.mark.parametrize("name", ["frequency_response", "stability_limit", "td_growth, alpha"])
def test_complex_angles_and_steps_are_refused(name):
    with pytest.raises(ValueError, match=r"is real, got 1j"):
        NUMBERS[name](1j)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: theory.regime(SYSTEM, 1.0, np.nan), "tolerance is a distance"),
        (lambda: theory.minimal(SYSTEM, np.nan), r"tolerance .* in \[0, 1\)"),
        (lambda: theory.equivalent(SYSTEM, SYSTEM, tolerance=-1.0), r"tolerance .* in \[0, 1\)"),
        (lambda: theory.rate(SYSTEM, [0.1, 0.2], [1.0, 2.0, 3.0]), "do not broadcast"),
        (lambda: theory.certified_rates(BALLS, np.ones(3), 8.0), "one for each of the 2 optim"),
        (lambda: theory.certified_rates(BALLS, 1.0, np.ones((2, 2))), "one for each of the 2 op"),
        (lambda: theory.risk(SYSTEM, [1.0], 2, noise=np.inf, **START), "at least 0, and finite"),
        (lambda: theory.max_stable_alpha(1.0, 0.9), r"beta is in \(-1, 1\)"),
        (lambda: theory.max_stable_alpha(0.5, 1.5), r"discount is in \[0, 1\]"),
        (lambda: theory.td_spectrum(np.ones((2, 2)), 0.9), "are probabilities"),
        (lambda: theory.td_stable_alpha(0.5, [np.nan]), "finite eigenvalues"),
        (lambda: theory.td_growth(0.1, 0.5, []), "one at least"),
    ],
)
def test_numbers_out_of_range_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_matrices_that_are_no_system_are_refused():
    replace = dataclasses.replace
    with pytest.raises(ValueError, match="entry of a system is real"):
        theory.rate(replace(SYSTEM, A=SYSTEM.A.astype(complex)), 0.5, 1.0)
    with pytest.raises(TypeError, match="entry of a system is a number"):
        theory.rate(replace(SYSTEM, A="a"), 0.5, 1.0)
    with pytest.raises(ValueError, match="a name for each of its 2 states"):
        theory.rate(replace(SYSTEM, names=("params",)), 0.5, 1.0)
    whole = replace(SYSTEM, A=np.array([[1, 0], [0, 0]]), B=np.array([-1, 0]), C=np.array([1, 0]))
    np.testing.assert_allclose(theory.spectral_radius(whole, 0.25), 0.75, rtol=1e-12)


def test_nan_stays_nan():
    """Comparisons with NaN are false: a search would end with a plain number."""
    nan = np.nan
    unknown = jm.heavy_ball(jnp.array(nan), beta=0.5)
    for function in (
        theory.flip_bound,
        theory.neimark_sacker_bound,
        theory.stability_limit,
        lambda optimizer: theory.period(optimizer, 1.0),
        lambda optimizer: theory.stationary_variance(optimizer, 1.0),
    ):
        assert np.isnan(function(unknown))
        assert not np.isnan(function(BALL))
    for function in (theory.period, theory.transient_growth):
        found = function(BALL, [1.0, nan])
        assert np.array_equal(np.isnan(found), [False, True])
    assert np.isnan(theory.transient_growth(BALL, np.inf))
    assert np.isnan(theory.stability_limit(BALL, angle=nan))


@pytest.mark.parametrize(
    "call",
    [
        lambda optimizer: theory.equivalent(optimizer, BALL),
        lambda optimizer: theory.worst_case(optimizer, 2),
        lambda optimizer: theory.tune(optimizer, 1.0, 2.0),
        lambda optimizer: theory.minimal(theory.linearize(optimizer)),
        lambda optimizer: theory.certified_rate(optimizer, 1.0, 2.0),
    ],
)
def test_what_needs_finite_numbers_says_so(call):
    with pytest.raises(ValueError, match="finite"):
        call(jm.heavy_ball(jnp.array(np.nan), beta=0.5))


def test_traced_maps_of_certified_rates_name_what_has_a_gradient():
    def worst(rate):
        return theory.certified_rates(jm.gradient_descent(rate), 1.0, 9.0).rates.max()

    with pytest.raises(ValueError, match="certifiable_rate"):
        jax.grad(worst)(jnp.array([0.1, 0.2]))


def test_the_tuner_says_what_it_cannot_tune():
    outer = jm.lookahead(BALL, period=2, step=0.5)
    with pytest.raises(ValueError, match=r"period.*names=\['step', 'lookahead.beta', 'learning_"):
        theory.tune(outer, 1.0, 2.0)
    with pytest.raises(ValueError, match="full names"):
        theory.tune(outer, 1.0, 2.0, names="beta")
    with pytest.raises(TypeError, match="learning_rate, to be tuned, is a number"):
        theory.tune(jm.heavy_ball(lambda count: 0.1 + 0 * count, beta=0.5), 1.0, 2.0)


def starting_at_one():
    """Momentum whose buffer is 1 before the first update."""

    def update(gradient, state, params=None):
        del params
        state = jax.tree.map(lambda b, g: 0.5 * b + g, state, gradient)
        return jax.tree.map(lambda b: -0.1 * b, state), state

    return optax.GradientTransformation(lambda p: jax.tree.map(jnp.ones_like, p), update)


def pulling_at_first():
    """A buffer that follows 2 params, and is zero at first: steps do not vanish at the optimum."""

    def update(gradient, state, params=None):
        new = jax.tree.map(lambda b, g, p: 0.5 * b + g + p, state, gradient, params)
        return jax.tree.map(lambda b, p: -0.1 * (b - 2 * p), new, params), new

    return optax.GradientTransformation(lambda p: jax.tree.map(jnp.zeros_like, p), update)


@pytest.mark.parametrize("optimizer", [starting_at_one(), pulling_at_first()])
def test_no_bound_is_claimed_where_a_buffer_is_not_at_rest_at_first(optimizer):
    """From the optimum itself, params move away: no multiple of the distance bounds that."""
    pytest.importorskip("cvxpy")
    proof = theory.certified_rate(optimizer, 1.0, 9.0)
    assert proof.verify()
    assert proof.bound() == np.inf
    run = jm.optimize(lambda x: 2 * (x - 1) ** 2, jnp.ones([]), optimizer, 3, record="params")
    assert np.abs(run.history["params"] - 1).max() > 0.01
    with pytest.raises(ValueError, match="not at rest at first"):
        proof.lyapunov(run.history["params"], np.zeros(4), np.zeros(4), 1.0)
    at_rest = theory.certified_rate(theory.linearize(optimizer), 1.0, 9.0)
    assert at_rest.bound() < np.inf
