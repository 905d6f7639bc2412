"""Laws that every problem obeys, and references that each one agrees with."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree
from sklearn.linear_model import LogisticRegression

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


# Laws of every problem


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


# Noise and minibatches


def test_gradient_noise_has_mean_zero_the_stated_deviation_and_no_correlation():
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


def test_minibatch_gradients_are_unbiased_with_the_variance_of_one_sample_over_the_size():
    problem, draws, size = built("ridge in minibatches"), 4000, 6
    theta = np.array([0.5, -1.0, 2.0])
    single = (X @ theta - Y)[:, None] * X
    deviation = single.std(0) / np.sqrt(size)

    def draw(count):
        batch = problem.batches(jax.random.fold_in(jax.random.key(0), count), count)
        return jax.grad(problem.loss)(jnp.asarray(theta), batch)

    sample = np.array(jax.jit(jax.vmap(draw))(jnp.arange(draws)))
    exact = single.mean(0) + 0.2 * theta
    np.testing.assert_array_less(np.abs(sample.mean(0) - exact), 5 * deviation / np.sqrt(draws))
    # Nearly Gaussian, so a standard deviation has the standard error s / sqrt(2 n).
    np.testing.assert_allclose(sample.std(0), deviation, rtol=5 / np.sqrt(2 * draws))


@pytest.mark.parametrize("name", IN_MINIBATCHES)
def test_the_losses_of_a_partition_average_to_the_full_loss(name):
    problem = built(name)
    params = at(points(problem), 0)
    (x, y), size = problem.full_loss.args[1], problem.batches.func.size
    parts = (x.reshape(-1, size, x.shape[1]), y.reshape(-1, size))
    losses = jax.jit(jax.vmap(problem.loss, (None, 0)))(params, parts)
    np.testing.assert_allclose(losses.mean(), evaluate(problem.full_loss, params), rtol=1e-12)


@pytest.mark.parametrize("name", IN_MINIBATCHES)
def test_batches_are_rows_of_the_data_and_follow_the_key_alone(name):
    problem = built(name)
    x, y = map(np.array, problem.full_loss.args[1])
    rows, targets = map(np.array, problem.batches(jax.random.key(7), 0))
    where = (rows[:, None, :] == x[None, :, :]).all(-1) & (targets[:, None] == y[None, :])
    assert where.any(1).all()
    again = problem.batches(jax.random.key(7), 5)
    np.testing.assert_array_equal(rows, again[0])
    assert (rows != np.array(problem.batches(jax.random.key(8), 0)[0])).any()


# References


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


# The tutorials


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


# Digits and networks


def test_digits_are_split_whole_and_in_order():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = problems.digits()
    images = np.concatenate([data.images, data.test_images])
    np.testing.assert_array_equal(images * 16, pixels)
    np.testing.assert_array_equal(np.concatenate([data.labels, data.test_labels]), labels)
    assert len(data.images) == 1500


def test_network_agrees_with_numpy():
    problem, data = problems.digits_mlp(hidden=(32, 32), activation=jax.nn.relu), problems.digits()

    def probabilities(images):
        signal = np.array(images)
        for index, layer in enumerate(problem.params):
            signal = signal @ np.array(layer["weight"]) + np.array(layer["bias"])
            signal = np.maximum(signal, 0) if index < 2 else signal
        odds = np.exp(signal)
        return odds / odds.sum(1, keepdims=True)

    chosen = np.take_along_axis(probabilities(data.images), np.array(data.labels)[:, None], 1)
    np.testing.assert_allclose(
        problem.full_loss(problem.params), -np.log(chosen).mean(), rtol=1e-12
    )
    share = np.mean(probabilities(data.test_images).argmax(1) == np.array(data.test_labels))
    np.testing.assert_allclose(problem.accuracy(problem.params), share, rtol=1e-12)


def test_network_has_its_stated_size_scale_and_value_at_a_zero_last_layer():
    problem = problems.digits_mlp(hidden=(32, 32))
    flat, _ = ravel_pytree(problem.params)
    assert flat.size == (64 + 1) * 32 + (32 + 1) * 32 + (32 + 1) * 10
    first = problem.params[0]["weight"]
    # The variance of n Gaussian draws has the relative standard error sqrt(2 / n).
    np.testing.assert_allclose(jnp.var(first), 1 / 64, rtol=5 * np.sqrt(2 / first.size))
    blank = [*problem.params[:-1], jax.tree.map(jnp.zeros_like, problem.params[-1])]
    np.testing.assert_allclose(problem.full_loss(blank), np.log(10), rtol=1e-14)
    other = problems.digits_mlp(hidden=(32, 32), key=jax.random.key(1)).params[0]["weight"]
    assert jnp.all(first != other)


def test_full_batch_is_the_full_loss():
    for factory in (problems.digits_mlp, problems.digits_logistic):
        problem = factory(batch_size=None)
        assert problem.batches is None
        assert problem.loss is problem.full_loss


# Casting, tracing and errors


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


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install jaxmom\[experiments\]"):
        problems.digits()


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
