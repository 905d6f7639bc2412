"""Regressions against NumPy and scikit-learn, and the tutorial's three steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problem_cases import X, Y, built, gradient
from sklearn.linear_model import LogisticRegression

from jaxmom import problems


@pytest.mark.parametrize("rows", [24, 2])
@pytest.mark.parametrize("l2", [0.0, 0.2])
def test_least_squares_agrees_with_numpy(rows, l2):
    x, y = X[:rows], Y[:rows]
    problem = problems.least_squares(x, y, l2=l2)
    ridge = np.concatenate([x, np.sqrt(l2 * rows) * np.eye(3)]), np.concatenate([y, np.zeros(3)])
    optimum = np.linalg.lstsq(*ridge, rcond=None)[0]
    np.testing.assert_allclose(problem.optimum, optimum, atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(x.T @ x / rows + l2 * np.eye(3))
    np.testing.assert_allclose([problem.mu, problem.L], eigenvalues[[0, -1]], atol=1e-13)
    value = np.sum((x @ optimum - y) ** 2) / (2 * rows) + l2 / 2 * np.sum(optimum**2)
    np.testing.assert_allclose(problem.minimum, value, atol=1e-14)


def test_mu_is_zero_where_the_features_are_dependent():
    doubled = np.concatenate([X, X[:, :1]], axis=1)
    assert problems.least_squares(doubled, Y).mu == 0
    assert problems.least_squares(X[:2], Y[:2]).mu == 0


def test_softmax_regression_agrees_with_scikit_learn():
    problem, data = built("digits logistic"), problems.digits()
    x, held_out = map(problems.with_intercept, (data.images, data.test_images))
    # The penalty l2 / 2 |W|^2 beside a mean is 1 / (2 n C) |W|^2; the ones are a feature of x.
    model = LogisticRegression(C=1 / (1500 * 1e-2), fit_intercept=False, tol=1e-9, max_iter=10_000)
    model.fit(np.array(x), np.array(data.labels))
    # |W - W*| <= |gradient| / mu, with mu = 0.01.
    np.testing.assert_allclose(problem.optimum, model.coef_.T, atol=1e-6)
    score = model.score(np.array(held_out), np.array(data.test_labels))
    np.testing.assert_allclose(problem.accuracy(problem.optimum), score, rtol=1e-12)


def test_mu_of_softmax_regression_is_attained():
    eigenvalues = problems.curvature(built("logistic"))
    np.testing.assert_allclose(eigenvalues[:3], 0.05, rtol=1e-12)


def test_tutorial_regression_gives_the_three_steps_of_the_tutorial():
    problem = problems.tutorial_regression()
    params, velocity, path = problem.params, jnp.zeros(2), []
    for count in range(3):
        sample = problem.batches(jax.random.key(count), count)
        velocity = 0.9 * velocity + (1 - 0.9) * gradient(problem.loss, params, sample)
        params = params - 0.01 * velocity
        path.append(params)
    expected = [(0.002, 0.002), (0.006794, 0.009788), (0.015072442, 0.028688726)]
    np.testing.assert_allclose(np.array(path), expected, rtol=1e-12)
    np.testing.assert_allclose(velocity, [-0.8278442, -1.8900726], rtol=1e-12)


def test_tutorial_regression_takes_its_samples_around_and_around():
    problem = problems.tutorial_regression()
    x, y = jax.vmap(problem.batches, (None, 0))(jax.random.key(0), jnp.arange(6))
    np.testing.assert_array_equal(x, [[1, 1], [1, 2], [1, 3], [1, 4], [1, 1], [1, 2]])
    np.testing.assert_array_equal(y, [2, 3, 4, 5, 2, 3])
    np.testing.assert_allclose(problem.full_loss(jnp.zeros(2)), (4 + 9 + 16 + 25) / 8)
