"""Arrays and complex numbers: one table says what each function of theory makes of them."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom import theory

BALL = jm.heavy_ball(0.1, beta=0.5)  # as many entries in its state as the arrays below
OUTER = jm.lookahead(jm.gradient_descent(0.1), period=2, step=0.5)
PAIR = np.array([0.5, 7.0])

# Functions of a curvature: an array [m] is m separate systems. The second entry says whether
# complex curvatures are admitted.
CURVATURES = {
    "iteration_matrix": (lambda c: theory.iteration_matrix(BALL, c), True),
    "monodromy": (lambda c: theory.monodromy(OUTER, c), True),
    "eigenvalues": (lambda c: theory.eigenvalues(BALL, c), True),
    "characteristic_polynomial": (lambda c: theory.characteristic_polynomial(BALL, c), True),
    "spectral_radius": (lambda c: theory.spectral_radius(BALL, c), True),
    "period": (lambda c: theory.period(BALL, c), True),
    "transient_growth": (lambda c: theory.transient_growth(BALL, c), True),
    "stationary_covariance": (lambda c: theory.stationary_covariance(BALL, c), True),
    "stationary_variance": (lambda c: theory.stationary_variance(BALL, c), True),
    "damping": (lambda c: theory.damping(BALL, c), False),
    "excess_loss": (lambda c: theory.excess_loss(BALL, c), False),
    "curvature_noise_limit": (lambda c: theory.curvature_noise_limit(BALL, c), False),
    "mean_square_rate": (lambda c: theory.mean_square_rate(BALL, c, 0.1), False),
    "rate": (lambda c: theory.rate(BALL, c, 8.0 + 0 * c), False),
}
# Functions of other numbers, one result for each.
NUMBERS = {
    "transfer_function": lambda x: theory.transfer_function(theory.linearize(BALL), 1.0 + x),
    "frequency_response": lambda x: theory.frequency_response(BALL, 0.1 * x),
    "stability_limit": lambda x: theory.stability_limit(jm.optimistic_gradient(0.1), angle=0.1 * x),
    "max_stable_alpha": lambda x: theory.max_stable_alpha(0.1 * x, 0.9),
    "td_stable_alpha": lambda x: theory.td_stable_alpha(0.1 * x, np.array([-0.5, -1.0])),
    "td_growth": lambda x: theory.td_growth(0.1 * x, 0.5, np.array([-0.5, -1.0])),
}
# Functions of one number, which refuse several.
SINGLE = {
    "regime": lambda x: theory.regime(BALL, x),
    "certified_rate": lambda x: theory.certified_rate(BALL, x, 8.0),
    "worst_case": lambda x: theory.worst_case(BALL, 2, x, 8.0),
    "certified_noisy_rate": lambda x: theory.certified_noisy_rate(BALL, x, 8.0, relative_noise=0.1),
    "certified_value_rate": lambda x: theory.certified_value_rate(BALL, x, 8.0),
    "certified_variance": lambda x: theory.certified_variance(BALL, x, 8.0),
    "certified_radius": lambda x: theory.certified_radius(BALL, x, 8.0),
    "tune": lambda x: theory.tune("heavy_ball", x, 8.0),
    "lower_bound": lambda x: theory.lower_bound(x, 8.0),
    "linearize": lambda x: theory.linearize(BALL, count=x),
    "kernel": lambda x: theory.kernel(BALL, 2, count=x),
}
# Functions of no number that could be several, and those of vectors: eigenvalues of one problem.
NEITHER = {
    *["dc_gain", "nyquist_gain", "flip_bound", "neimark_sacker_bound", "effective_learning_rate"],
    *["memory", "half_life", "mean_age", "minimal", "equivalent", "inequality", "linearize_period"],
    *["risk", "td_spectrum"],
    *["certifiable_rate", "certified_rates"],  # maps of certificates have tests of their own
}


def test_the_table_has_all_of_theory():
    functions = {
        name
        for name in theory.__all__
        if callable(getattr(theory, name)) and not isinstance(getattr(theory, name), type)
    }
    functions -= {"Linear"}  # a type of arguments
    listed = {*CURVATURES, *NUMBERS, *SINGLE}
    assert functions <= listed | NEITHER
    assert listed <= functions
    assert not listed & NEITHER


@pytest.mark.parametrize("name", [*CURVATURES, *NUMBERS])
def test_an_array_is_as_many_separate_problems(name):
    function = CURVATURES[name][0] if name in CURVATURES else NUMBERS[name]
    expected = np.array([function(x) for x in PAIR])
    np.testing.assert_allclose(function(PAIR), expected, rtol=1e-12)
    assert np.shape(function(PAIR[None]))[:2] == (1, 2)
    assert np.shape(function(PAIR[:1]))[:1] == (1,)


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_about_one_number_refuses_several(name):
    for several in (PAIR, PAIR[:1], jnp.asarray(PAIR)):
        with pytest.raises(ValueError, match=r"one curvature|one plain number|number of one step"):
            SINGLE[name](several)


@pytest.mark.parametrize("name", CURVATURES)
def test_complex_curvatures_are_admitted_or_refused(name):
    """What admits them does not see the real part alone; what does not says what does."""
    function, may_be_complex = CURVATURES[name]
    turning = PAIR + 0.5j
    if not may_be_complex:
        with pytest.raises(ValueError, match=r"real curvatures.*spectral_radius.*angle"):
            function(turning)
        return
    found = np.asarray(function(turning))
    real = np.asarray(function(PAIR))
    assert np.all(np.abs(found - real).reshape(2, -1).max(axis=1) > 1e-4)
    np.testing.assert_allclose(found, [function(c) for c in turning], rtol=1e-12)
    flat = np.asarray(function(PAIR + 0j))
    np.testing.assert_allclose(flat, real, rtol=1e-9, atol=1e-12)


def test_complex_numbers_elsewhere_are_refused():
    for call in (
        lambda: theory.stationary_variance(BALL, 1.0, 1j),
        lambda: theory.mean_square_rate(BALL, 1.0, 1j),
        lambda: theory.tune("heavy_ball", 1j, 2.0),
        lambda: theory.rate(BALL, 0.1, 1j),
    ):
        with pytest.raises(ValueError, match="real curvatures"):
            call()


def test_the_complex_spectrum_is_that_of_the_matrix_of_both_players():
    """A game of two players as one real system of four entries."""
    curvature = 0.7 + 1.9j
    turn = np.array([[curvature.real, -curvature.imag], [curvature.imag, curvature.real]])
    system = theory.linearize(BALL)
    both = np.kron(system.A, np.eye(2)) + np.kron(np.outer(system.B, system.C), turn)
    ours = np.asarray(theory.eigenvalues(BALL, curvature))
    expected = np.linalg.eigvals(both)
    for root in (*ours, *ours.conj()):
        assert np.min(np.abs(expected - root)) < 1e-12
    variance = theory.stationary_variance(BALL, 0.7 + 0.9j)
    turn = np.array([[0.7, -0.9], [0.9, 0.7]])
    both = np.kron(system.A, np.eye(2)) + np.kron(np.outer(system.B, system.C), turn)
    kick = np.kron(np.outer(system.B, system.B), np.eye(2))
    total, power = np.zeros_like(both), np.eye(4)
    for _ in range(4000):
        total, power = total + power @ kick @ power.T, both @ power
    np.testing.assert_allclose(variance, (total[0, 0] + total[1, 1]) / 2, rtol=1e-9)
