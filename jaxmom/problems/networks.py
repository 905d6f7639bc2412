"""A small multilayer perceptron on the digits: a problem that is not convex."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxmom.problems.data import digits, make_data_problem
from jaxmom.problems.problem import Problem
from jaxmom.problems.regression import cross_entropy, hit_rate

Layers = list[dict[str, jax.Array]]


def digits_mlp(
    hidden: Sequence[int] = (32,),
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    batch_size: int | None = 64,
    key: jax.Array | None = None,
) -> Problem:
    """Return the cross-entropy of a multilayer perceptron on scikit-learn's digits.

    The params are a list with a dict(weight [inputs, outputs], bias [outputs]) per layer, from 64
    pixels to 10 classes: sum of (inputs + 1) outputs parameters, 2410 by default. Weights start as
    N(0, 1 / inputs) and biases at zero. Wherever the last layer is zero, the loss is log 10.

    Args:
      hidden: The widths of the hidden layers; () gives softmax regression without a penalty.
      activation: An elementwise function, the same in every hidden layer.
      batch_size: How many of the 1500 training rows each step draws, with replacement; None for
        all of them.
      key: The key of the starting weights; `jax.random.key(0)` unless given.

    Raises:
      ValueError: A width is below 1, or the batch size is not between 1 and 1500.
      ImportError: Scikit-learn is not installed.

    Example:
      >>> problem = digits_mlp()
      >>> print([layer["weight"].shape for layer in problem.params])
      [(64, 32), (32, 10)]
      >>> zeros = jax.tree.map(jnp.zeros_like, problem.params)
      >>> print(f"{problem.full_loss(zeros):.6f}")
      2.302585
    """
    if not all(width >= 1 for width in hidden):
        raise ValueError(f"the hidden widths are {tuple(hidden)}, but each must be at least 1.")
    data = digits()
    start_key = jax.random.key(0) if key is None else key
    params = _init_layers(start_key, (64, *hidden, 10), data.images.dtype)
    # A Partial without arguments carries the function in the tree, not as a leaf.
    predict = Partial(_logits, Partial(activation))
    problem = make_data_problem(
        Partial(_network_loss, predict), params, (data.images, data.labels), batch_size
    )
    return problem._replace(
        accuracy=Partial(_network_accuracy, predict, data.test_images, data.test_labels)
    )


def _init_layers(key: jax.Array, sizes: Sequence[int], dtype: jnp.dtype) -> Layers:
    shapes = list(pairwise(sizes))
    return [
        {
            "weight": jax.random.normal(layer_key, shape, dtype) / shape[0] ** 0.5,
            "bias": jnp.zeros(shape[1], dtype),
        }
        for layer_key, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
    ]


def _logits(activation: Partial, params: Layers, image: jax.Array) -> jax.Array:
    """Return the ten logits of one image; map over many by `jax.vmap`."""
    signal = image
    for layer in params[:-1]:
        signal = activation(signal @ layer["weight"] + layer["bias"])
    return signal @ params[-1]["weight"] + params[-1]["bias"]


def _network_loss(predict: Partial, params: Layers, batch: tuple) -> jax.Array:
    images, labels = batch
    return cross_entropy(jax.vmap(predict, in_axes=(None, 0))(params, images), labels)


def _network_accuracy(
    predict: Partial, images: jax.Array, labels: jax.Array, params: Layers
) -> jax.Array:
    return hit_rate(jax.vmap(predict, in_axes=(None, 0))(params, images), labels)
