"""The table of problems, and functions that their tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import problems

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 3)), RNG.normal(size=24)
LABELS = np.arange(24) % 3

PROBLEMS = {
    "diagonal": lambda: problems.quadratic(
        problems.log_spectrum(0.5, 50.0, 5), optimum=[1.0, -2.0, 3.0, 0.0, 0.5]
    ),
    "rotated": lambda: problems.quadratic(
        problems.uniform_spectrum(0.5, 50.0, 5),
        optimum=[1.0, -2.0, 3.0, 0.0, 0.5],
        rotation_key=jax.random.key(3),
    ),
    "noisy": lambda: problems.quadratic(
        problems.chebyshev_spectrum(1.0, 9.0, 4), rotation_key=jax.random.key(4), noise=0.3
    ),
    "game": lambda: problems.quadratic_game(
        [0.5 + 2.0j, 3.0], jax.random.key(5), optimum=[1.0, -2.0, 3.0]
    ),
    "tutorial quadratic": problems.tutorial_quadratic,
    "rosenbrock": lambda: problems.rosenbrock(a=1.5, b=30.0),
    "chained rosenbrock": lambda: problems.rosenbrock(dimension=5),
    "narrow valley": lambda: problems.narrow_valley(500.0, bend=0.5),
    "beale": problems.beale,
    "himmelblau": problems.himmelblau,
    "least squares": lambda: problems.least_squares(X, Y),
    "ridge in minibatches": lambda: problems.least_squares(X, Y, l2=0.2, batch_size=6),
    "wide least squares": lambda: problems.least_squares(X[:2], Y[:2]),
    "tutorial regression": problems.tutorial_regression,
    "logistic": lambda: problems.with_optimum(
        problems.logistic_regression(X, LABELS, l2=0.05, batch_size=6)
    ),
    "digits logistic": lambda: problems.with_optimum(problems.digits_logistic(batch_size=60)),
    "digits network": problems.digits_mlp,
}
EXACT = ["diagonal", "rotated", "noisy", "tutorial quadratic", "least squares"]
EXACT += ["ridge in minibatches", "wide least squares", "tutorial regression"]
LANDSCAPES = ["rosenbrock", "chained rosenbrock", "narrow valley", "beale", "himmelblau"]
WITH_OPTIMUM = [name for name in PROBLEMS if name != "digits network"]
IN_MINIBATCHES = ["ridge in minibatches", "logistic", "digits logistic"]

every_problem = pytest.mark.parametrize("name", PROBLEMS)
built = functools.cache(lambda name: PROBLEMS[name]())
evaluate = jax.jit(lambda loss, *arguments: loss(*arguments))
gradient = jax.jit(lambda loss, *arguments: jax.grad(loss)(*arguments))


def points(problem, count=3):
    """Params around the start, stacked along a leading axis, the same at every call."""
    rng = np.random.default_rng(1)

    def draw(leaf):
        return np.asarray(leaf) + 0.3 * rng.normal(size=(count, *leaf.shape))

    return jax.tree.map(draw, problem.params)


def arguments_of(problem):
    if problem.batches is None:
        return (problem.params,)
    return problem.params, problem.batches(jax.random.key(1), jnp.int32(1))


def disturbed(problem):
    """The problem with other data, params and facts, and the same labels."""

    def change(leaf):
        return jnp.asarray(1.1 * np.asarray(leaf)) if leaf.dtype == float else leaf

    return jax.tree.map(change, problem)


def at(stacked, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], stacked)
