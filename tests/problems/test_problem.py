"""Laws that every problem obeys, and functions of any problem: cast, curvature, with_optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problem_cases import (
    EXACT,
    LABELS,
    LANDSCAPES,
    PROBLEMS,
    WITH_OPTIMUM,
    X,
    Y,
    arguments_of,
    at,
    built,
    disturbed,
    evaluate,
    every_problem,
    gradient,
    points,
)

from jaxmom import problems


@every_problem
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_a_finite_scalar_of_the_dtype_of_the_params(name, dtype):
    problem = problems.cast(built(name), dtype)

    @jax.jit
    def run(p):
        on_all = jax.value_and_grad(p.full_loss)(p.params)
        return jax.value_and_grad(p.loss)(*arguments_of(p)), on_all

    results = run(problem)
    assert [value.shape for value, _ in results] == [(), ()]
    for leaf in jax.tree.leaves(results):
        assert np.isfinite(leaf).all()
        assert leaf.dtype == dtype
        assert not leaf.weak_type
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(problem))


@every_problem
def test_vmap_over_params_equals_a_loop(name):
    problem = built(name)
    stacked = points(problem)
    lanes = jax.jit(jax.vmap(lambda p, params: p.full_loss(params), (None, 0)))(problem, stacked)
    loop = [evaluate(problem.full_loss, at(stacked, index)) for index in range(3)]
    np.testing.assert_allclose(lanes, np.array(loop), rtol=1e-12)


@every_problem
def test_vmap_over_the_problem_itself_equals_a_loop(name):
    # A program that takes the problem whole, so that each leaf (data, params, noise) is batched.
    problem = built(name)
    other = disturbed(problem)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), problem, other)

    def run(p):
        return p.loss(*arguments_of(p)), p.full_loss(p.params)

    lanes, alone = jax.jit(jax.vmap(run))(both), jax.jit(run)
    for index, single in enumerate([problem, other]):
        np.testing.assert_allclose(at(lanes, index), alone(single), rtol=1e-11)


@every_problem
def test_new_data_and_a_problem_built_anew_compile_nothing(name):
    traces = []

    @jax.jit
    def run(problem):
        traces.append(name)
        return problem.loss(*arguments_of(problem))

    run(built(name))
    run(PROBLEMS[name]())
    run(disturbed(built(name)))
    assert len(traces) == 1


@pytest.mark.parametrize("name", WITH_OPTIMUM)
def test_gradient_vanishes_at_the_optimum(name):
    problem = built(name)
    slope, _ = ravel_pytree(gradient(problem.full_loss, problem.optimum))
    assert jnp.linalg.norm(slope) < 1e-10
    assert jax.tree.structure(problem.optimum) == jax.tree.structure(problem.params)
    assert jax.tree.map(jnp.shape, problem.optimum) == jax.tree.map(jnp.shape, problem.params)


@pytest.mark.parametrize("name", WITH_OPTIMUM)
def test_minimum_is_the_value_at_the_optimum_and_nothing_nearby_is_lower(name):
    problem = built(name)
    np.testing.assert_allclose(
        evaluate(problem.full_loss, problem.optimum), problem.minimum, atol=1e-13
    )
    around = points(problem._replace(params=problem.optimum), count=20)
    assert jnp.all(jax.jit(jax.vmap(problem.full_loss))(around) > problem.minimum)


@pytest.mark.parametrize("name", ["logistic", *EXACT])
def test_mu_and_L_bound_every_hessian(name):
    problem = built(name)
    for index in range(3):
        eigenvalues = problems.curvature(problem, at(points(problem), index))
        assert eigenvalues[0] >= problem.mu - 1e-12
        assert eigenvalues[-1] <= problem.L + 1e-12 * problem.L


@pytest.mark.parametrize("name", EXACT)
def test_mu_and_L_are_the_extreme_eigenvalues_where_they_are_exact(name):
    problem = built(name)
    eigenvalues = problems.curvature(problem)
    extremes = [float(problem.mu), float(problem.L)]
    np.testing.assert_allclose(eigenvalues[jnp.array([0, -1])], extremes, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_landscapes_claim_no_global_constants(name):
    assert built(name).mu is None
    assert built(name).L is None


def test_cast_reaches_every_floating_leaf_and_no_other():
    problem = problems.cast(built("logistic"), "float32")
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(problem)}
    assert dtypes == {"float32", "int64"}
    assert problem.batches(jax.random.key(0), 0)[0].dtype == jnp.float32


def test_factories_may_be_traced():
    @jax.vmap
    def facts(scale):
        scaled = problems.quadratic(scale * jnp.array([1.0, 3.0]), noise=scale)
        valley = problems.narrow_valley(scale, bend=scale)
        banana = problems.rosenbrock(scale, scale)
        ridge = problems.least_squares(X, Y, l2=scale)
        return scaled.L, valley.loss(banana.optimum), ridge.mu

    steepest, values, mu = facts(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(steepest, [3, 6])
    np.testing.assert_allclose(values, [(1 + 0) / 2, (4 + 2 * (4 - 2 * 4) ** 2) / 2])
    np.testing.assert_allclose(mu[1] - mu[0], 1)


def test_with_optimum_refuses_what_it_cannot_solve():
    with pytest.raises(ValueError, match="mu is None"):
        problems.with_optimum(problems.rosenbrock())
    with pytest.raises(ValueError, match="known to be positive"):
        problems.with_optimum(problems.least_squares(X[:2], Y[:2])._replace(mu=0.0))
    single = problems.cast(problems.logistic_regression(X, LABELS), "float32")
    with pytest.raises(RuntimeError, match=r"after 3 Newton steps .* enable jax_enable_x64"):
        problems.with_optimum(single, tolerance=1e-12, steps=3)


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (lambda: problems.quadratic([]), "at least one eigenvalue"),
        (lambda: problems.quadratic(3.0), "must be a vector"),
        (lambda: problems.quadratic([1.0, -2.0]), "negative or NaN"),
        (lambda: problems.quadratic([1.0, np.nan]), "negative or NaN"),
        (lambda: problems.quadratic([1.0, 2.0], optimum=[0.0]), r"the optimum \(1,\)"),
        (lambda: problems.quadratic([1.0, 2.0], start=[0.0] * 3), r"the start \(3,\)"),
        (lambda: problems.quadratic([1.0], noise=-0.1), "noise is -0.1"),
        (lambda: problems.quadratic([1.0], noise=[0.1, 0.2]), "give one number"),
        (lambda: problems.log_spectrum(0.0, 1.0, 3), "0 < mu <= L"),
        (lambda: problems.uniform_spectrum(2.0, 1.0, 3), "mu is 2.0, L is 1.0"),
        (lambda: problems.chebyshev_spectrum(1.0, 2.0, 1), "the dimension is 1"),
        (lambda: problems.rosenbrock(dimension=1), "at least 2"),
        (lambda: problems.rosenbrock(2.0, dimension=3), "a is 2.0 in 3 dimensions"),
        (lambda: problems.narrow_valley(0.5), "condition number is 0.5"),
        (lambda: problems.least_squares(X, Y[:-1]), r"y has shape \(23,\)"),
        (lambda: problems.least_squares(Y, Y), "x must be "),
        (lambda: problems.least_squares(X[:0], Y[:0]), "x must be "),
        (lambda: problems.least_squares(X, Y, l2=-1.0), "l2 is -1.0"),
        (lambda: problems.least_squares(X, Y, batch_size=25), "choose 1 to 24"),
        (lambda: problems.least_squares(X, Y, batch_size=0), "batch_size is 0"),
        (lambda: problems.logistic_regression(X, Y), "must be integers"),
        (lambda: problems.logistic_regression(X, LABELS - 1), "integers from 0"),
        (lambda: problems.digits_mlp(hidden=(8, 0)), r"widths are \(8, 0\)"),
        (lambda: problems.digits_mlp(batch_size=1501), "there are 1500 samples"),
        (lambda: problems.curvature(problems.digits_mlp()), "optimum of this problem is unknown"),
    ],
)
def test_bad_input_is_answered_by_a_sentence(factory, sentence):
    with pytest.raises(ValueError, match=sentence):
        factory()


def test_the_face_lists_what_there_is():
    assert list(problems.__all__) == sorted(problems.__all__, key=lambda n: (not n.isupper(), n))
    assert all(hasattr(problems, name) for name in problems.__all__)
