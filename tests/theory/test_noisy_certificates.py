"""Certificates with noisy gradients, against closed forms, quadratics, PEPit and simulated runs."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

pytest.importorskip("cvxpy")
pytest.importorskip("clarabel")

MU, L = 1.0, 10.0
METHODS = {
    "descent": jm.gradient_descent(1 / L),
    "nesterov": jm.nesterov_strongly_convex(MU, L),
    "triple momentum": jm.triple_momentum(MU, L),
    "robust momentum": jm.robust_momentum(MU, L, 0.8),
}
# PyTorch's first update is not damped: all of the gradient.
ALL = {**METHODS, "damped": jm.sgd(0.1, momentum=0.5, dampening=0.5)}


# One method without momentum and one with it are in every run of the tests.
FEW = [
    name if name in ("descent", "nesterov") else pytest.param(name, marks=pytest.mark.slow)
    for name in METHODS
]


@functools.cache
def noisy_rate(name, delta):
    # A looser search is a weaker proof, but no less of one.
    tolerance = 1e-2 if delta else 1e-3
    return theory.certified_noisy_rate(ALL[name], MU, L, delta, tolerance=tolerance)


@functools.cache
def floor(kind, name):
    function = {"random": theory.certified_variance, "bounded": theory.certified_radius}[kind]
    return function(METHODS[name], MU, L)


@pytest.mark.parametrize(
    ("alpha", "delta"),
    [
        (0.1, 0.2),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in ((0.17, 0.1), (2 / 11, 0.05))),
    ],
)
def test_descent_with_relative_errors_has_its_exact_rate(alpha, delta):
    """On each side of the best step: errors stretch the curvatures by 1 - delta and 1 + delta."""
    proof = theory.certified_noisy_rate(jm.gradient_descent(alpha), MU, L, delta)
    exact = max(1 - alpha * MU * (1 - delta), alpha * L * (1 + delta) - 1)
    assert exact <= proof.rate <= exact + 2e-5 * (1 - exact)
    assert proof.verify()


@pytest.mark.slow
def test_descent_agrees_with_pepit():
    """Its best step for the stretched curvatures; the rate of function values is the square."""
    pytest.importorskip("PEPit")
    examples = "PEPit.examples.unconstrained_convex_minimization"
    module, delta = importlib.import_module(f"{examples}.inexact_gradient_descent"), 0.1
    worst, _ = module.wc_inexact_gradient_descent(L=L, mu=MU, epsilon=delta, n=2, verbose=-1)
    step = 2 / (MU * (1 - delta) + L * (1 + delta))
    proof = theory.certified_noisy_rate(jm.gradient_descent(step), MU, L, delta, tolerance=1e-4)
    np.testing.assert_allclose(proof.rate, worst ** (1 / 4), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triple momentum"])
def test_without_errors_the_rate_is_the_certified_one(name):
    without = theory.certified_rate(METHODS[name], MU, L).rate
    np.testing.assert_allclose(noisy_rate(name, 0.0).rate, without, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", FEW)
def test_a_noisy_rate_is_never_below_the_stretched_quadratics(name):
    proof = noisy_rate(name, 0.05)
    assert proof.verify()
    assert proof.rate >= float(theory.rate(METHODS[name], MU * 0.95, L * 1.05)) - 1e-12
    assert proof.rate < 1


@pytest.mark.slow
def test_robust_momentum_bears_errors_that_triple_momentum_does_not():
    assert noisy_rate("triple momentum", 0.0).rate < noisy_rate("robust momentum", 0.0).rate
    assert noisy_rate("triple momentum", 0.1).rate > noisy_rate("robust momentum", 0.1).rate
    assert floor("random", "triple momentum").value > 2 * floor("random", "robust momentum").value
    lost = noisy_rate("triple momentum", 0.2)
    assert lost.rate == lost.bound() == np.inf
    assert "relative_noise) L] = [0.8, 12]" in lost.reason
    assert not lost.verify()


def matrices(proof):
    return tuple(np.asarray(x) for x in (proof.system.A, proof.system.B, proof.system.C))


def stepped_gradients(x, at):
    """Of separable functions with curvature L within |x| < at, and mu outside; [lanes, d]."""
    return MU * x + (L - MU) * np.clip(x, -at, at)


@pytest.mark.parametrize("name", [*FEW, "damped"])
def test_no_adversary_leaves_the_bound_of_relative_errors(name):
    """Errors of full size: against the gradient, along it, turned, or at random, by the code."""
    delta, lanes, steps = 0.05, 60, 40
    proof, rng = noisy_rate(name, 0.05), np.random.default_rng(0)
    at = 10.0 ** rng.uniform(-3, 0.5, (lanes, 1))
    x = rng.standard_normal((lanes, 3))
    x = jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))
    optimizer = ALL[name]
    state, update = optimizer.init(x), jax.jit(optimizer.update)
    allowed = proof.bound() * proof.rate ** np.arange(steps + 1)
    for t in range(steps):
        assert (np.linalg.norm(x, axis=1) <= allowed[t] * (1 + 1e-9)).all()
        g = stepped_gradients(np.asarray(x), at)
        d = rng.standard_normal(g.shape)
        d[:20], d[20:40] = -g[:20], rng.choice([-1.0, 1.0], (20, 1)) * g[20:40]
        sizes = (np.linalg.norm(z, axis=1, keepdims=True) for z in (g, d))
        d *= delta * np.divide(*sizes)
        step, state = update(jnp.asarray(g + d), state, x)
        x = x + step


@pytest.mark.parametrize("alpha", [0.1, 2 / 11, 0.19])
def test_the_floor_of_descent_is_its_closed_form(alpha):
    """That of the worst curvature, which a quadratic attains."""
    proof = theory.certified_variance(jm.gradient_descent(alpha), MU, L)
    exact = max(alpha / (k * (2 - alpha * k)) for k in (MU, L))
    assert exact <= proof.value <= exact * (1 + 1e-5)
    assert proof.verify()


@pytest.mark.parametrize("name", FEW)
def test_no_quadratic_is_above_the_certified_variance(name):
    proof = floor("random", name)
    assert proof.verify()
    exact = theory.stationary_variance(METHODS[name], np.linspace(MU, L, 101))
    assert float(np.max(exact)) <= proof.value < 2 * float(np.max(exact))


@pytest.mark.parametrize("name", FEW)
def test_no_simulated_run_is_above_the_certified_variance(name):
    """Means over 4000 lanes of stepped functions, within 4 standard errors."""
    a, b, c = matrices(floor("random", name))
    rng = np.random.default_rng(1)
    at = 10.0 ** np.linspace(-2, 1, 8).repeat(500)
    x, squares = np.zeros((len(b), 4000)), []
    for t in range(400):
        y = c @ x
        if t >= 200:
            squares.append(y**2)
        x = a @ x + np.outer(b, stepped_gradients(y, at) + rng.standard_normal(4000))
    means = np.mean(squares, axis=0).reshape(8, 500)
    error = means.std(axis=1) / np.sqrt(500)
    assert (means.mean(axis=1) - 4 * error <= floor("random", name).value).all()


def test_bounded_errors_of_descent_move_params_by_one_over_mu():
    """A constant error moves the optimum of the flattest quadratic by so much."""
    proof = floor("bounded", "descent")
    assert 1 / MU <= proof.value <= 1.0001 / MU
    assert proof.verify()


@pytest.mark.parametrize("name", FEW)
def test_no_bounded_error_leaves_the_radius(name):
    """The worst errors on quadratics: their signs are those of the impulse response, reversed."""
    proof, worst = floor("bounded", name), 0.0
    a, b, c = matrices(proof)
    for k in np.linspace(MU, L, 19):
        loop, state, size = a + k * np.outer(b, c), b, 0.0
        for _ in range(300):
            size, state = size + abs(c @ state), loop @ state
        worst = max(worst, size)
    assert proof.verify()
    assert worst <= proof.value < 2 * worst


def test_forged_claims_do_not_verify():
    rate, variance, radius = (
        noisy_rate("nesterov", 0.05), floor("random", "nesterov"), floor("bounded", "nesterov")
    )  # fmt: skip
    for proof, changes in [
        (rate, {"rate": rate.rate - 1e-3}),
        (rate, {"relative_noise": 0.06}),
        (rate, {"L": 11.0}),
        (rate, {"multipliers": -rate.multipliers}),
        (rate, {"multipliers": rate.multipliers[:2]}),
        (rate, {"factor": rate.factor * np.nan}),
        (variance, {"value": variance.value * (1 - 1e-6)}),
        (variance, {"mu": 0.9}),
        (variance, {"rate": 0.9}),
        (variance, {"factor": 0.9 * variance.factor}),
        (radius, {"value": radius.value * (1 - 1e-6)}),
        (radius, {"rate": radius.rate - 0.1}),
        (radius, {"noise": "random"}),
        (radius, {"noise": "relative"}),
    ]:
        assert proof.verify()
        assert not dataclasses.replace(proof, **changes).verify(), changes


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e9])
def test_noisy_certificates_know_no_units(scale):
    optimizer = jm.nesterov_strongly_convex(MU * scale, L * scale)
    rate = theory.certified_noisy_rate(optimizer, MU * scale, L * scale, 0.05, tolerance=1e-2)
    np.testing.assert_allclose(rate.rate, noisy_rate("nesterov", 0.05).rate, rtol=0, atol=5e-3)
    variance = theory.certified_variance(optimizer, MU * scale, L * scale)
    np.testing.assert_allclose(
        variance.value * scale**2, floor("random", "nesterov").value, rtol=1e-5
    )
    radius = theory.certified_radius(optimizer, MU * scale, L * scale)
    np.testing.assert_allclose(radius.value * scale, floor("bounded", "nesterov").value, rtol=1e-3)


@pytest.mark.parametrize("noise", [-0.1, 1.0, np.nan, np.inf])
def test_relative_noise_is_at_least_zero_and_below_one(noise):
    with pytest.raises(ValueError, match=r"at least 0 and below 1, got"):
        theory.certified_noisy_rate(METHODS["descent"], MU, L, noise)


@pytest.mark.parametrize(
    "function",
    [
        lambda *args: theory.certified_noisy_rate(*args, 0.1),
        theory.certified_variance,
        theory.certified_radius,
    ],
    ids=["rate", "variance", "radius"],
)
def test_what_has_no_noisy_certificate_is_refused(function):
    with pytest.raises(ValueError, match="without strong convexity there is none"):
        function(METHODS["descent"], 0.0, L)
    with pytest.raises(ValueError, match="0 < mu < L"):
        function(METHODS["descent"], 2.0, 1.0)
    with pytest.raises(theory.NotLinearError, match="sign"):
        function(optax.chain(optax.scale_by_sign(), optax.scale(-0.1)), MU, L)
    with pytest.raises(ValueError, match="with weight decay"):
        function(optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)), MU, L)
    with pytest.raises(ValueError, match="plain number"):
        jax.jit(lambda alpha: function(jm.gradient_descent(alpha), MU, L) and alpha)(0.1)
    nothing = function(jm.gradient_descent(0.3), MU, L)
    assert "even without errors: it does not converge" in nothing.reason
    assert not nothing.verify()
    assert "learning rate is 0" in function(jm.gradient_descent(0.0), MU, L).reason


def test_a_buffer_that_no_gradient_reaches_is_no_part_of_a_claim():
    """It keeps params away from the optimum, and is no state of the minimal system."""

    def biased(start):
        step = lambda g, z, x: (-0.1 * g + z, z + 0.0 * g)  # noqa: E731
        return optax.GradientTransformation(lambda x: start * jnp.ones_like(x), step)

    run = jm.optimize(lambda x: x**2 / 2, 1.0, biased(1.0), 300, record="params")
    assert run.history["params"][-1] > 9.9
    for function in (theory.certified_variance, theory.certified_radius):
        lost = function(biased(1.0), MU, L)
        assert lost.value == np.inf
        assert "by a buffer that no gradient reaches" in lost.reason
    assert theory.certified_variance(biased(0.0), MU, L).value < 1.0


def test_units_beyond_the_squares_of_floats_are_refused():
    for unit in (1e-200, 1e200):
        with pytest.raises(ValueError, match="choose another unit of the loss"):
            theory.certified_radius(jm.gradient_descent(0.1 / unit), unit, 10 * unit)
