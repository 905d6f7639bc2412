"""The multilayer perceptron against NumPy, and its stated size and scale."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxmom import problems


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
