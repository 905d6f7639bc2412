"""Data sets, and problems made of them: splits, intercepts, whole sets and minibatches."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.problems.problem import Problem, PyTree, Values, as_floating

TRAINING_SIZE = 1500  # of 1797: round, and divisible by the usual batch sizes


class Digits(NamedTuple):
    """Handwritten digits of 8 x 8 pixels in [0, 1]; 1500 to learn from and 297 held out.

    Attributes:
      images: [1500, 64] floating.
      labels: [1500] integers 0 to 9.
      test_images: [297, 64] floating.
      test_labels: [297] integers 0 to 9.
    """

    images: jax.Array
    labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


def digits() -> Digits:
    """Load scikit-learn's digits, split by their given order: the last 297 are held out.

    Nothing is shuffled, so the split is the same everywhere; every digit makes up 9 to 11 % of
    either part.

    Raises:
      ImportError: Scikit-learn is not installed.

    Source:
      E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
      Repository, 1998.

    Example:
      >>> data = digits()
      >>> print(data.images.shape, data.test_images.shape, float(data.images.max()))
      (1500, 64) (297, 64) 1.0
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is missing: pip install jaxmom[experiments]."
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images, labels = as_floating(np.asarray(pixels) / 16), jnp.asarray(labels)
    learn, held_out = slice(TRAINING_SIZE), slice(TRAINING_SIZE, None)
    return Digits(images[learn], labels[learn], images[held_out], labels[held_out])


def with_intercept(x: Values) -> jax.Array:
    """Put a column of ones before the features x [m, d] (or [m], for one feature).

    Example:
      >>> print(with_intercept([5.0, 7.0]).tolist())
      [[1.0, 5.0], [1.0, 7.0]]
    """
    features = as_floating(x)
    columns = features[:, None] if features.ndim == 1 else features
    return jnp.concatenate([jnp.ones_like(columns[:, :1]), columns], axis=1)


def check_samples(x: jax.Array, y: jax.Array) -> None:
    """Raise a ValueError unless x is [m, d] and y is [m] with m and d at least 1."""
    if x.ndim != 2 or x.size == 0 or y.shape != x.shape[:1]:
        raise ValueError(
            f"x has shape {x.shape} and y has shape {y.shape}, but x must be [m, d] and y [m] for "
            "the same m samples: one feature alone becomes a matrix by x[:, None] or "
            "with_intercept(x)."
        )


@dataclass(frozen=True)
class Minibatch:
    """Draw `size` rows independently, with replacement.

    The gradient is then unbiased, and its covariance is exactly that of one sample divided by the
    size. Equal sizes compare equal, so that equal problems share one compilation.
    """

    size: int

    def __call__(self, x: jax.Array, y: jax.Array, key: jax.Array, count: ArrayLike) -> tuple:
        """Return (x [size, ...], y [size]), drawn by the key alone."""
        del count
        rows = jax.random.randint(key, (self.size,), 0, len(x))
        return x[rows], y[rows]


def draw_in_order(x: jax.Array, y: jax.Array, key: jax.Array, count: ArrayLike) -> tuple:
    """Return one sample (x [d], y []): the first at count 0, and so on, in cycles."""
    del key
    row = jnp.asarray(count) % len(x)
    return x[row], y[row]


def evaluate_on_all(loss: Partial, data: tuple, params: PyTree) -> jax.Array:
    """Evaluate a loss(params, batch) with all the data as its batch."""
    return loss(params, data)


def make_data_problem(
    loss: Partial, params: PyTree, data: tuple, batch_size: int | None, **facts: Any
) -> Problem:
    """Make a problem of a loss(params, batch) and its data (x, y): whole, or in minibatches."""
    full_loss, samples = Partial(evaluate_on_all, loss, data), len(data[0])
    if batch_size is None:
        return Problem(full_loss, params, None, full_loss, **facts)
    if not 1 <= batch_size <= samples:
        raise ValueError(
            f"batch_size is {batch_size}, but there are {samples} samples: choose 1 to {samples}, "
            "or None for all of them at every step."
        )
    return Problem(loss, params, Partial(Minibatch(batch_size), *data), full_loss, **facts)
