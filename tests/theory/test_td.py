"""Temporal differences with momentum: the limits against the roots of each quadratic by NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import theory

SPECTRUM = np.array([-0.5, -1.0 + 0.4j, -1.0 - 0.4j, -0.1])


def largest_root(alpha, beta):
    return max(np.abs(np.roots([1, -(1 + beta + alpha * v), beta])).max() for v in SPECTRUM)


def test_arrays_of_numbers_are_problems_of_their_own():
    """As long as the spectrum, shorter, and of two dimensions."""
    for shape in ((4,), (2,), (2, 2)):
        betas = np.linspace(0.0, 0.9, int(np.prod(shape))).reshape(shape)
        growth = theory.td_growth(0.3, betas, SPECTRUM)
        expected = np.vectorize(lambda beta: largest_root(0.3, beta))(betas)
        np.testing.assert_allclose(growth, expected, rtol=1e-9)
        limits = theory.td_stable_alpha(betas, SPECTRUM)
        assert limits.shape == shape
        for beta, limit in zip(betas.ravel(), np.ravel(limits), strict=True):
            assert largest_root(limit * (1 - 1e-6), beta) < 1 < largest_root(limit * 1.000001, beta)
    many = theory.td_growth(jnp.array([0.1, 0.2]), jnp.array([[0.0], [0.5], [0.9]]), SPECTRUM)
    np.testing.assert_allclose(many[2, 1], largest_root(0.2, 0.9), rtol=1e-9)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"one transition matrix.*\(2, 3, 3\)"):
        theory.td_spectrum(jnp.ones((2, 3, 3)) / 3, 0.9)
    with pytest.raises(ValueError, match=r"one transition matrix"):
        theory.td_spectrum(jnp.ones((2, 3)) / 3, 0.9)
    with pytest.raises(ValueError, match="one discount"):
        theory.td_spectrum(jnp.eye(2), jnp.array([0.9, 0.5]))
    for function in (theory.td_stable_alpha, lambda b, s: theory.td_growth(0.1, b, s)):
        with pytest.raises(ValueError, match="a spectrum is a vector"):
            function(0.5, jnp.ones((2, 2)))
