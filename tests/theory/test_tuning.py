"""Optimal hyperparameters: the closed forms are optimal, and the numerical tuner finds them."""

import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

MAKE = {
    "gradient_descent": jm.gradient_descent,
    "heavy_ball": jm.heavy_ball,
    "nesterov": jm.nesterov,
    "nesterov_strongly_convex": jm.nesterov,
    "triple_momentum": jm.triple_momentum,
}


@pytest.mark.parametrize("kappa", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("name", MAKE)
def test_closed_forms_have_the_rate_they_claim(name, kappa):
    tuned = theory.tune(name, 0.5, 0.5 * kappa)
    rate = theory.rate(MAKE[name](**tuned.hyperparameters), 0.5, 0.5 * kappa)
    np.testing.assert_allclose(rate, tuned.rate, rtol=0, atol=1e-12)
    assert tuned.rate >= tuned.lower_bound - 1e-15


def test_closed_forms_of_the_catalogue_at_kappa_100():
    rates = {name: theory.tune(name, 1.0, 100.0).rate for name in theory.CLOSED_FORMS}
    known = {
        "gradient_descent": 0.9802, "heavy_ball": 0.8182, "nesterov": 0.8847,
        "nesterov_strongly_convex": 0.9, "triple_momentum": 0.9, "chebyshev": 0.8182,
    }  # fmt: skip
    assert {name: round(rate, 4) for name, rate in rates.items()} == known
    assert theory.lower_bound(1.0, 100.0) == pytest.approx(9 / 11)


def test_chebyshev_is_as_fast_as_it_says():
    """Its error is at most 2 / (rate^t + rate^-t) on any spectrum, and that much at mu."""
    tuned, steps = theory.tune("chebyshev", 1.0, 25.0), 40
    run = jm.optimize(lambda x: (x @ x) / 2, np.ones(1), jm.chebyshev(**tuned.hyperparameters),
                      steps, record="params")  # fmt: skip
    bound = 2 / (tuned.rate**steps + tuned.rate**-steps)
    np.testing.assert_allclose(abs(run.params[0]), bound, rtol=1e-9)


@pytest.mark.parametrize("name", ["gradient_descent", "heavy_ball", "nesterov"])
def test_no_neighbor_of_a_closed_form_is_better(name):
    tuned = theory.tune(name, 1.0, 30.0)
    for letter, value in tuned.hyperparameters.items():
        for factor in (1 - 1e-3, 1 + 1e-3):
            other = MAKE[name](**{**tuned.hyperparameters, letter: value * factor})
            assert theory.rate(other, 1.0, 30.0) > tuned.rate


@pytest.mark.parametrize("kappa", [10.0, 100.0])
@pytest.mark.parametrize("name", ["gradient_descent", "heavy_ball", "nesterov"])
def test_the_tuner_finds_the_closed_form(name, kappa):
    start = {"learning_rate": 1 / kappa, **({} if name == "gradient_descent" else {"beta": 0.5})}
    found = theory.tune(MAKE[name](**start), 1.0, kappa)
    expected = theory.tune(name, 1.0, kappa)
    np.testing.assert_allclose(found.rate, expected.rate, rtol=0, atol=1e-6)
    for letter, value in expected.hyperparameters.items():
        np.testing.assert_allclose(found.hyperparameters[letter], value, rtol=1e-4)


def test_the_tuner_leaves_what_it_is_not_asked_for_and_takes_vectors():
    found = theory.tune(jm.heavy_ball(0.02, beta=0.5), 1.0, 30.0, names=["learning_rate"])
    assert list(found.hyperparameters) == ["learning_rate"]
    start = jm.aggmo(0.01, betas=(0.3, 0.6))
    better = theory.tune(start, 1.0, 30.0, points=17)
    assert len(better.hyperparameters["betas"]) == 2
    assert theory.lower_bound(1.0, 30.0) <= better.rate < theory.rate(start, 1.0, 30.0)


def test_errors_say_what_there_is():
    with pytest.raises(ValueError, match=r"no closed form for 'adam'.*heavy_ball"):
        theory.tune("adam", 1.0, 2.0)
    with pytest.raises(ValueError, match="0 < mu <= L"):
        theory.tune("heavy_ball", 3.0, 2.0)
    with pytest.raises(ValueError, match=r"no hyperparameters \['gamma'\].*beta"):
        theory.tune(jm.heavy_ball(0.1, beta=0.5), 1.0, 2.0, names=["gamma"])
    with pytest.raises(ValueError, match="nothing to tune"):
        theory.tune(optax.sgd(0.1), 1.0, 2.0)
    with pytest.raises(ValueError, match="nothing to tune: name some of"):
        theory.tune(jm.heavy_ball(0.1, beta=0.5), 1.0, 2.0, names=[])
    with pytest.raises(ValueError, match=r"no hyperparameters \['gamma'\]"):
        theory.tune(jm.heavy_ball(0.1, beta=0.5), 1.0, 2.0, names="gamma")


@pytest.mark.parametrize(
    "kappa", [10.0, *(pytest.param(k, marks=pytest.mark.slow) for k in (2.0, 100.0, 1e3, 1e4))]
)
def test_from_heavy_ball_the_certified_rate_is_triple_momentums(kappa):
    """SUM is the family of one buffer: heavy ball at s = 0, and triple momentum inside it."""
    ball = theory.tune("heavy_ball", 1.0, kappa).hyperparameters
    start = jm.unified_momentum(s=0.0, **ball)
    found = theory.tune(start, 1.0, kappa, objective="certified")
    theorem = 1 - np.sqrt(1 / kappa)
    np.testing.assert_allclose(found.rate, theorem, rtol=0, atol=1e-3 * (1 - theorem))
    assert found.rate > theorem - 1e-7  # no rate of the family is better


def test_the_certified_objective_is_for_optimizers():
    with pytest.raises(ValueError, match="objective is one of"):
        theory.tune(jm.heavy_ball(0.1, beta=0.5), 1.0, 2.0, objective="best")
    with pytest.raises(ValueError, match="closed form of 'heavy_ball' is for quadratics"):
        theory.tune("heavy_ball", 1.0, 2.0, objective="certified")
