"""Landscapes against SciPy and against Hessians by hand."""

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from problem_cases import built

from jaxmom import problems

RNG = np.random.default_rng(2)


def test_rosenbrock_agrees_with_scipy():
    for dimension in (2, 5):
        problem = problems.rosenbrock(dimension=dimension)
        x = RNG.normal(size=dimension)
        np.testing.assert_allclose(problem.loss(x), scipy.optimize.rosen(x), rtol=1e-13)
        hessian = np.linalg.eigvalsh(scipy.optimize.rosen_hess(np.ones(dimension)))
        np.testing.assert_allclose(problems.curvature(problem), hessian, rtol=1e-10)


def test_curvatures_at_the_optima_agree_with_hessians_by_hand():
    np.testing.assert_allclose(problems.curvature(built("narrow valley")), [1, 500], rtol=1e-14)
    himmelblau = np.linalg.eigvalsh([[74.0, 20.0], [20.0, 34.0]])
    np.testing.assert_allclose(problems.curvature(built("himmelblau")), himmelblau, rtol=1e-13)
    powers = np.arange(1, 4)  # beale: all residuals vanish, so the Hessian is 2 J^T J
    jacobian = np.stack([0.5**powers - 1, 3 * powers * 0.5 ** (powers - 1)], axis=1)
    beale = np.linalg.eigvalsh(2 * jacobian.T @ jacobian)
    np.testing.assert_allclose(problems.curvature(built("beale")), beale, rtol=1e-13)


def test_narrow_valley_is_a_sheared_quadratic():
    x, y = RNG.normal(size=2)
    bent = problems.narrow_valley(500.0, bend=0.5).loss(jnp.array([x, y]))
    straight = problems.quadratic([1.0, 500.0]).loss(jnp.array([x, y - 0.5 * x**2]))
    np.testing.assert_allclose(bent, straight, rtol=1e-13)


def test_himmelblau_has_four_minima():
    assert len(set(problems.HIMMELBLAU_MINIMA)) == 4
    for minimum in problems.HIMMELBLAU_MINIMA:
        x, y = minimum
        np.testing.assert_allclose([x**2 + y, x + y**2], [11, 7], rtol=1e-15)
        assert problems.curvature(problems.himmelblau(), jnp.array(minimum))[0] > 0
