"""Growth before decay, against the norms of all powers by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom import theory


def test_transient_growth_of_the_optimal_heavy_ball():
    """0.37 sqrt(kappa), and the norms of matrix powers by NumPy."""
    for kappa in (100.0, 10_000.0):
        s = np.sqrt(kappa)
        optimizer = jm.heavy_ball((2 / (s + 1)) ** 2, ((s - 1) / (s + 1)) ** 2)
        found = theory.transient_growth(optimizer, 1.0)
        beta, a = ((s - 1) / (s + 1)) ** 2, (2 / (s + 1)) ** 2
        step = np.array([[1 + beta - a, -beta], [1.0, 0.0]])
        power, largest = np.eye(2), 1.0
        for _ in range(1000):
            power = step @ power
            largest = max(largest, np.linalg.norm(power, 2))
        np.testing.assert_allclose(found, largest, rtol=1e-9)
        assert 0.36 < found / s < 0.38
    assert theory.transient_growth(jm.gradient_descent(0.5), 1.0) == 1.0


def largest_norm(coefficients, steps):
    """Of the powers of the companion matrix, by eigenvectors: the steps need not be walked."""
    n = len(coefficients) - 1
    matrix = np.eye(n, k=-1)
    matrix[0] = -np.asarray(coefficients[1:])
    values, vectors = np.linalg.eig(matrix)
    inverse = np.linalg.inv(vectors)
    counts = np.unique(np.geomspace(1, steps, 2000).astype(int))
    return max(np.linalg.norm((vectors * values**k) @ inverse, 2) for k in counts)


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (jm.heavy_ball(1e-5, beta=0.999), 20_000),
        (jm.nesterov(1e-6, beta=0.9999), 200_000),
        (jm.aggmo(1e-4, (0.0, 0.9, 0.99)), 20_000),
    ],
)
def test_slow_runs_are_followed_to_their_peak(optimizer, steps):
    """The peak lies far behind a thousand steps."""
    coefficients = theory.characteristic_polynomial(optimizer, 1.0)
    found = theory.transient_growth(optimizer, 1.0)
    np.testing.assert_allclose(found, largest_norm(coefficients, steps), rtol=1e-3)
    assert found >= theory.transient_growth(optimizer, 1.0, steps=1000)


def test_growth_without_end_is_infinite():
    assert theory.transient_growth(jm.heavy_ball(1.0, beta=0.5), 3.5) == np.inf
    assert theory.transient_growth(jm.gradient_descent(1.0), 2.5) == np.inf
    assert theory.transient_growth(jm.gradient_descent(1.0), 2.0) == 1.0  # it never ends
    assert theory.transient_growth(jm.gradient_descent(1.0), 2.5, steps=3) == 1.5**3


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2**25])
def test_the_last_power_is_a_whole_number_in_reach(steps):
    with pytest.raises(ValueError, match="last power, at"):
        theory.transient_growth(jm.heavy_ball(0.1, beta=0.5), 1.0, steps)


def test_the_slope_of_the_growth():
    growth = jax.jit(lambda beta: theory.transient_growth(jm.heavy_ball(0.01, beta), 1.0))
    difference = (growth(0.9 + 1e-6) - growth(0.9 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(growth)(0.9), difference, rtol=1e-6)
    many = jax.vmap(growth)(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(many, [growth(0.5), growth(0.9)], rtol=1e-12)
