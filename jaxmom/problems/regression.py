"""Regressions: least squares with exact facts, and softmax regression with known constants."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.problems.data import (
    check_samples,
    digits,
    draw_in_order,
    make_data_problem,
    with_intercept,
)
from jaxmom.problems.problem import Problem, Values, all_at_least, as_floating


def least_squares(
    x: Values,
    y: Values,
    *,
    l2: ArrayLike = 0.0,
    batch_size: int | None = None,
) -> Problem:
    """Return J(θ) = ‖X θ - y‖² / (2 m) + ½ l2 ‖θ‖², started at zero.

    The facts come from one singular value decomposition of X / √m over √l2 I, whose squared
    singular values are the eigenvalues of the Hessian XᵀX / m + l2 I. Where the minimizer is not
    unique, mu is 0 and `optimum` is the one of least norm.

    Args:
      x: [m, d] features; `with_intercept` adds a column of ones.
      y: [m] targets.
      l2: The ridge penalty of all of θ, not negative, a leaf.
      batch_size: How many rows each step draws, with replacement; all of them unless given.

    Raises:
      ValueError: A shape, the penalty or the batch size is not as above.

    Example:
      >>> problem = least_squares([[1.0, 0.0], [0.0, 2.0]], [3.0, 4.0])
      >>> print([round(value, 6) for value in problem.optimum.tolist()])
      [3.0, 2.0]
      >>> print(f"{problem.mu:.2f} {problem.L:.2f}")
      0.50 2.00
    """
    x = as_floating(x)
    y = as_floating(y, x.dtype)
    check_samples(x, y)
    l2 = _penalty(l2, x)
    loss = Partial(_squares, l2)
    optimum, mu, L = _ridge(x, y, l2)
    facts = {"optimum": optimum, "minimum": loss(optimum, (x, y)), "mu": mu, "L": L}
    return make_data_problem(loss, jnp.zeros_like(x[0]), (x, y), batch_size, **facts)


def tutorial_regression() -> Problem:
    """Return the line through (1, 2), (2, 3), (3, 4), (4, 5), one sample a step, in that order.

    h(x) = θ0 + θ1 x and J = Σ (h - y)² / (2 m), from (0, 0); the optimum is (1, 1), where J = 0.
    The `loss(params, (features, y))` of one sample is ½ (h - y)²; the batches repeat the four in
    order, the first at count 0; `full_loss` is J.

    Example:
      >>> import jax
      >>> problem = tutorial_regression()
      >>> features, y = problem.batches(jax.random.key(0), 2)
      >>> print(features.tolist(), float(y))
      [1.0, 3.0] 4.0
    """
    x, y = with_intercept([1.0, 2.0, 3.0, 4.0]), as_floating([2.0, 3.0, 4.0, 5.0])
    return least_squares(x, y)._replace(
        loss=Partial(_squares, jnp.zeros_like(y[0])),
        batches=Partial(draw_in_order, x, y),
        optimum=as_floating([1.0, 1.0]),
        minimum=jnp.zeros_like(y[0]),
    )


def logistic_regression(
    x: Values,
    labels: Values,
    *,
    l2: ArrayLike = 1e-2,
    batch_size: int | None = None,
) -> Problem:
    """Return the mean of -log softmax(x W)[label], plus ½ l2 ‖W‖²; W [d, classes] starts at zero.

    μ = l2 is exact: adding one vector to all columns of W leaves the softmax as it is. The bound
    L = ½ λmax(XᵀX / m) + l2 is Böhning's. The optimum has no closed form and costs time:
    `with_optimum(problem)` finds it.

    Args:
      x: [m, d] features; `with_intercept` adds a column of ones (penalized like the others).
      labels: [m] integers from 0; the largest one sets the number of classes.
      l2: The penalty, not negative, a leaf.
      batch_size: How many rows each step draws, with replacement; all of them unless given.

    Raises:
      ValueError: A shape, a label, the penalty or the batch size is not as above.

    Source:
      D. Böhning, Annals of the Institute of Statistical Mathematics 44, 1992.

    Example:
      >>> problem = logistic_regression([[-1.0], [1.0]], [0, 1])
      >>> print(problem.params.shape, f"{problem.loss(problem.params):.6f} {problem.L:.2f}")
      (1, 2) 0.693147 0.51
    """
    x, labels = as_floating(x), jnp.asarray(labels)
    check_samples(x, labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer) or not all_at_least(labels, 0):
        raise ValueError(
            f"the labels are {labels}, but they must be integers from 0: number the classes, for "
            "instance by numpy.unique(labels, return_inverse=True)."
        )
    l2 = _penalty(l2, x)
    params = jnp.zeros((x.shape[1], int(labels.max()) + 1), x.dtype)
    L = jnp.linalg.norm(x, 2) ** 2 / (2 * len(x)) + l2
    return make_data_problem(Partial(_softmax, l2), params, (x, labels), batch_size, mu=l2, L=L)


def digits_logistic(*, l2: ArrayLike = 1e-2, batch_size: int | None = 64) -> Problem:
    """Return the softmax regression of scikit-learn's digits: W is [65, 10], intercept first.

    Args:
      l2: The penalty, as in `logistic_regression`.
      batch_size: How many of the 1500 training rows each step draws; None for all.

    Example:
      >>> problem = digits_logistic()
      >>> print(problem.params.shape, f"{problem.full_loss(problem.params):.6f}")
      (65, 10) 2.302585
    """
    data = digits()
    x, held_out = with_intercept(data.images), with_intercept(data.test_images)
    problem = logistic_regression(x, data.labels, l2=l2, batch_size=batch_size)
    return problem._replace(accuracy=Partial(_linear_accuracy, held_out, data.test_labels))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean of -log softmax(logits [..., classes]) at the labels [...]."""
    logs = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(logs, labels[..., None], axis=-1))


def hit_rate(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the share of samples whose largest logit is the label's, in the logits' dtype."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels, dtype=logits.dtype)


def _squares(l2: jax.Array, params: jax.Array, batch: tuple) -> jax.Array:
    x, y = batch
    return (jnp.mean((x @ params - y) ** 2) + l2 * jnp.sum(params**2)) / 2


def _softmax(l2: jax.Array, params: jax.Array, batch: tuple) -> jax.Array:
    x, labels = batch
    return cross_entropy(x @ params, labels) + l2 * jnp.sum(params**2) / 2


def _linear_accuracy(x: jax.Array, labels: jax.Array, params: jax.Array) -> jax.Array:
    return hit_rate(x @ params, labels)


def _penalty(l2: ArrayLike, x: jax.Array) -> jax.Array:
    penalty = as_floating(l2, x.dtype)
    if penalty.ndim or not all_at_least(penalty, 0):
        raise ValueError(f"l2 is {l2}, but the penalty must be one number that is not negative.")
    return penalty


def _ridge(x: jax.Array, y: jax.Array, l2: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    samples, features = x.shape
    scale = jnp.sqrt(jnp.asarray(samples, x.dtype))
    rows = jnp.concatenate([x / scale, jnp.sqrt(l2) * jnp.eye(features, dtype=x.dtype)])
    targets = jnp.concatenate([y / scale, jnp.zeros_like(x[0])])
    optimum, _, _, found = jnp.linalg.lstsq(rows, targets)
    # lstsq treats singular values below this as zero; mu must agree, or 1 / mu is wrong.
    cutoff = jnp.finfo(x.dtype).eps * max(rows.shape) * found[0]
    singular_values = jnp.where(found > cutoff, found, 0)
    return optimum, singular_values[-1] ** 2, singular_values[0] ** 2
