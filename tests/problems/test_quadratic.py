"""Quadratics: their noise, their rotation, their spectra, and the tutorial's paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problem_cases import built, gradient

from jaxmom import problems


def test_gradient_noise_has_mean_zero_the_stated_deviation_and_is_white():
    problem, sigma, draws = built("noisy"), 0.3, 4000
    exact = gradient(problem.full_loss, problem.params)

    def noise(count):
        batch = problem.batches(jax.random.fold_in(jax.random.key(0), count), count)
        return jax.grad(problem.loss)(problem.params, batch) - exact

    sample = np.array(jax.jit(jax.vmap(noise))(jnp.arange(draws)))
    # Five standard errors: of a mean sigma / sqrt(n); of a covariance at most sigma^2 sqrt(2 / n).
    np.testing.assert_allclose(sample.mean(0), 0, atol=5 * sigma / np.sqrt(draws))
    covariance = sample.T @ sample / draws
    np.testing.assert_allclose(
        covariance, sigma**2 * np.eye(4), atol=5 * sigma**2 * np.sqrt(2 / draws)
    )


def test_rotation_keeps_the_spectrum_and_turns_the_axes():
    problem = built("rotated")
    spectrum = problems.uniform_spectrum(0.5, 50.0, 5)
    np.testing.assert_allclose(problems.curvature(problem), spectrum, rtol=1e-12)
    hessian = np.array(jax.hessian(problem.loss)(problem.params))
    assert np.abs(hessian - np.diag(np.diag(hessian))).max() > 1


@pytest.mark.parametrize("spectrum", ["log", "uniform", "chebyshev"])
def test_spectra_ascend_from_mu_to_L(spectrum):
    values = getattr(problems, f"{spectrum}_spectrum")(0.3, 70.0, 9)
    np.testing.assert_allclose(values[jnp.array([0, -1])], [0.3, 70.0], rtol=1e-15)
    assert jnp.all(jnp.diff(values) > 0)


def hardness(spectrum):
    """Least maximum over the spectrum of a polynomial of degree d - 1 that is 1 at zero.

    By duality it is 1 / sum |l_i(0)|, with the Lagrange polynomials l_i of the d points.
    """
    values = np.array(spectrum)
    others = [np.delete(values, index) for index in range(len(values))]
    lagrange = [np.prod(rest / (rest - value)) for rest, value in zip(others, values, strict=True)]
    return 1 / np.sum(np.abs(lagrange))


def test_chebyshev_spectrum_is_the_hardest_of_its_size():
    mu, L, dimension = 1.0, 40.0, 8
    on_the_interval = 1 / np.cosh((dimension - 1) * np.arccosh((L + mu) / (L - mu)))
    hardest = hardness(problems.chebyshev_spectrum(mu, L, dimension))
    np.testing.assert_allclose(hardest, on_the_interval, rtol=1e-10)
    assert hardness(problems.log_spectrum(mu, L, dimension)) < 0.9 * hardest
    assert hardness(problems.uniform_spectrum(mu, L, dimension)) < 0.9 * hardest


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, (4.42147839e-07, 8.47823166e-02, 3.5940206e-03)),
        (0.9, (1.6401923e-01, -4.0114981e-01, 1.3426521e-01)),
    ],
)
def test_tutorial_quadratic_gives_the_paths_of_the_tutorial(beta, expected):
    problem = problems.tutorial_quadratic()
    params, velocity = problem.params, jnp.zeros(2)
    for _ in range(30):
        velocity = beta * velocity - 0.1 * gradient(problem.loss, params)
        params = params + velocity
    np.testing.assert_allclose([*params, problem.loss(params)], expected, rtol=1e-7)
