"""Noise floors against SciPy's Lyapunov solver, closed forms, and runs with noise."""

import contextlib
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from test_linearize import LINEAR

import jaxmom as jm
from jaxmom import theory


@pytest.mark.parametrize("name", LINEAR)
def test_the_covariance_is_scipys(name):
    optimizer = LINEAR[name]
    system = theory.linearize(optimizer)
    matrix = np.asarray(theory.iteration_matrix(system, 1.7))
    expected = scipy.linalg.solve_discrete_lyapunov(matrix, 0.09 * np.outer(system.B, system.B))
    found = theory.stationary_covariance(optimizer, 1.7, noise_variance=0.09)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(
        theory.excess_loss(optimizer, 1.7, 0.09), 0.85 * expected[0, 0], rtol=1e-9
    )


def closed_form(alpha, b, curvature, c, direct):
    """One buffer, unit noise: c = direct + read gain of the new buffer."""
    a = alpha * curvature
    above = (1 + b) * (c - b * direct) + a * b * direct * (c + b * direct)
    below = (1 - b + a * b * direct) * (2 * (1 + b) - a * (c + b * direct))
    return alpha / curvature * above / below


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("curvature", [0.2, 1.0, 4.0])
def test_one_buffer_in_closed_form(beta, curvature):
    alpha, b = 0.25, beta
    methods = [
        (jm.gradient_descent(alpha), 1.0, 1.0, 0.0),
        (jm.heavy_ball(alpha, b), 1.0, 0.0, b),
        (jm.ema_momentum(alpha, b), 1 - b, 0.0, b),
        (jm.nesterov(alpha, b), 1 + b, 1.0, b),
        (jm.qhm(alpha, b, 0.7), 1 - 0.7 * b, 0.3, b),
    ]
    for optimizer, c, direct, decay in methods:
        expected = closed_form(alpha, decay, curvature, c, direct)
        found = theory.stationary_variance(optimizer, curvature)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        np.testing.assert_allclose(
            theory.curvature_noise_limit(optimizer, curvature), 1 / expected, rtol=1e-10
        )
    heavy = alpha * (1 + b) / (curvature * (1 - b) * (2 * (1 + b) - alpha * curvature))
    np.testing.assert_allclose(
        theory.stationary_variance(jm.heavy_ball(alpha, b), curvature), heavy, rtol=1e-10
    )


def test_no_floor_where_it_is_unstable():
    optimizer = jm.heavy_ball(1.0, 0.5)
    assert theory.stationary_variance(optimizer, 3.5) == np.inf
    assert theory.curvature_noise_limit(optimizer, 3.5) == 0.0
    assert np.isnan(theory.stationary_covariance(optimizer, 3.5)).all()


@pytest.mark.parametrize("name", ["gradient_descent", "heavy_ball", "nesterov", "qhm", "aggmo"])
def test_the_floor_is_the_measured_variance(name):
    """Four thousand seeds with Gaussian noise: within the interval that chi squared allows."""
    optimizer, curvature, sigma, seeds = LINEAR[name], 1.5, 0.3, 4000

    def noise(key, count):
        return sigma * jax.random.normal(key)

    def loss(x, e):
        return curvature * x**2 / 2 + e * x

    @jax.jit
    @jax.vmap
    def last(key):
        run = jm.optimize(loss, jnp.zeros([]), optimizer, 300, batches=noise, key=key, every=300,
                          divergence=jnp.inf)  # fmt: skip
        return run.params

    params = np.asarray(last(jax.random.split(jax.random.key(0), seeds)))
    low, high = seeds * np.var(params) / scipy.stats.chi2.ppf([0.9995, 0.0005], seeds - 1)
    assert low < theory.stationary_variance(optimizer, curvature, sigma**2) < high
    assert high / low < 1.2


@pytest.mark.parametrize("name", ["gradient_descent", "heavy_ball", "nesterov", "qhm", "aggmo"])
def test_mean_square_rate(name):
    """Against the second moments themselves, propagated; 1 at the limit, the radius at 0."""
    optimizer, curvature = LINEAR[name], 1.5
    limit = float(theory.curvature_noise_limit(optimizer, curvature))
    np.testing.assert_allclose(theory.mean_square_rate(optimizer, curvature, limit), 1, rtol=1e-9)
    np.testing.assert_allclose(
        theory.mean_square_rate(optimizer, curvature, 0.0),
        theory.spectral_radius(optimizer, curvature),
        rtol=1e-6,
    )
    system = theory.linearize(optimizer)
    matrix = np.asarray(theory.iteration_matrix(system, curvature))
    kick = np.outer(system.B, system.C)
    moments, logs = np.eye(len(matrix)), []
    for _ in range(4000):
        moments = matrix @ moments @ matrix.T + 0.5 * limit * kick @ moments @ kick.T
        logs.append(np.log(np.trace(moments)))
        moments /= np.trace(moments)
    measured = np.exp(np.mean(logs[2000:]) / 2)
    found = theory.mean_square_rate(optimizer, curvature, 0.5 * limit)
    np.testing.assert_allclose(found, measured, rtol=0, atol=1e-4)


def test_small_batches_undo_what_momentum_gains():
    """At a fixed effective rate the limit of the noise is nearly the same for every beta."""
    limits = [float(theory.curvature_noise_limit(jm.ema_momentum(1e-4, b), 1.0)) for b in (0, 0.9)]
    np.testing.assert_allclose(limits, 2 / 1e-4, rtol=1e-3)


def exact_variance(alpha, beta, curvature):
    """Heavy ball's closed form for the float32 numbers that the optimizer has, in rationals."""
    a, b, c = (Fraction(float(np.float32(x))) for x in (alpha, beta, curvature))
    return float(a * (1 + b) / (c * (1 - b) * (2 * (1 + b) - a * c)))


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize(
    "share", [1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999, 1.0, 1.001]
)
def test_single_precision_is_exact_or_says_so(beta, share):
    """Never negative, never wrong by more than 5 %: infinite beyond the limit, NaN if unknown."""
    alpha = 0.1
    curvature = 2 * (1 + beta) / alpha * share
    with in_float32():
        found = float(theory.stationary_variance(jm.heavy_ball(alpha, beta), curvature))
        loss = float(theory.excess_loss(jm.heavy_ball(alpha, beta), curvature))
        covariance = np.asarray(theory.stationary_covariance(jm.heavy_ball(alpha, beta), curvature))
    if np.isfinite(found):
        np.testing.assert_allclose(found, exact_variance(alpha, beta, curvature), rtol=0.05)
        assert found > 0
        assert loss > 0
        assert np.all(np.linalg.eigvalsh(covariance.astype(float)) > -1e-3 * covariance.max())
    else:
        assert share > 0.9 or beta > 0.999  # otherwise float32 suffices
        assert np.isnan(covariance).all()


@contextlib.contextmanager
def in_float32():
    jax.config.update("jax_enable_x64", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("name", LINEAR)
def test_variances_in_single_precision(name):
    curvatures = np.array([1e-4, 0.05, 0.7, 1.9, 3.3])
    expected = np.asarray(theory.stationary_variance(LINEAR[name], curvatures))
    with in_float32():
        system = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theory.linearize(LINEAR[name]))
        found = np.asarray(theory.stationary_variance(system, curvatures))
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], expected[known], rtol=0.05)
    assert np.all(known[1:])


def test_a_flat_direction_has_no_excess_loss():
    """Params wander off, and the loss does not change; a mean over a spectrum stays finite."""
    for optimizer in (jm.heavy_ball(0.1, 0.9), jm.gradient_descent(0.1), jm.aggmo(0.1)):
        losses = theory.excess_loss(optimizer, jnp.array([0.0, 1e-9, 1.0]))
        assert losses[0] == 0.0
        limit = theory.effective_learning_rate(optimizer) / 4
        np.testing.assert_allclose(losses[1], limit, rtol=1e-6)
        assert theory.stationary_variance(optimizer, 0.0) == np.inf
        assert theory.curvature_noise_limit(optimizer, 0.0) == 0.0


def test_negative_variances_are_refused():
    ball = jm.heavy_ball(0.1, 0.9)
    for function in (
        theory.stationary_covariance,
        theory.stationary_variance,
        theory.excess_loss,
        theory.mean_square_rate,
    ):
        with pytest.raises(ValueError, match="a variance is not negative"):
            function(ball, 1.0, -0.1)
