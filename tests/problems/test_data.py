"""Data sets and minibatches: splits, unbiased gradients, and keys."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problem_cases import IN_MINIBATCHES, X, Y, at, built, evaluate, points

from jaxmom import problems


def test_minibatch_gradients_are_unbiased_with_the_variance_over_size():
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


def test_digits_are_split_whole_and_in_order():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = problems.digits()
    images = np.concatenate([data.images, data.test_images])
    np.testing.assert_array_equal(images * 16, pixels)
    np.testing.assert_array_equal(np.concatenate([data.labels, data.test_labels]), labels)
    assert len(data.images) == 1500


def test_full_batch_is_the_full_loss():
    for factory in (problems.digits_mlp, problems.digits_logistic):
        problem = factory(batch_size=None)
        assert problem.batches is None
        assert problem.loss is problem.full_loss


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install jaxmom\[experiments\]"):
        problems.digits()
