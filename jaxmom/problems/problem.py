"""The type of a problem, and functions of any problem: cast, curvature, with_optimum."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg
from jax.tree_util import Partial
from jax.typing import ArrayLike, DTypeLike

PyTree: TypeAlias = Any  # nested containers of arrays
Values: TypeAlias = ArrayLike | Sequence[Any]  # what jnp.asarray takes: lists and tuples too


class Problem(NamedTuple):
    """A loss with its data, a starting point, and known facts.

    A problem is a pytree whose leaves are arrays: pass it through `jax.jit` and new data do not
    compile anew; stack several and `jax.vmap` runs over the problems themselves.

    Attributes:
      loss: `loss(params)`, or `loss(params, batch)` when there are batches; a scalar.
      params: The usual starting point, a pytree of arrays.
      batches: `batches(key, count) -> batch`, where the key belongs to the step already;
        None when the loss takes the params alone.
      full_loss: `full_loss(params)`, deterministic, on all the data; `loss` itself when there
        are no batches.
      optimum: Params that minimize `full_loss`; None when unknown, as are all facts below.
      minimum: The value of `full_loss` at the optimum.
      mu: Strong convexity: no eigenvalue of any Hessian of `full_loss` is smaller.
      L: Smoothness: no eigenvalue of any Hessian of `full_loss` is larger.
      accuracy: `accuracy(params)`, the share of held-out samples that are classified correctly.

    Example:
      >>> import jax.numpy as jnp
      >>> from jax.tree_util import Partial
      >>> loss = Partial(lambda params: jnp.sum(params**4))
      >>> problem = Problem(loss, params=jnp.ones(3), batches=None, full_loss=loss)
      >>> print(float(problem.loss(problem.params)))
      3.0
    """

    loss: Partial
    params: PyTree
    batches: Partial | None
    full_loss: Partial
    optimum: PyTree = None
    minimum: jax.Array | float | None = None
    mu: jax.Array | float | None = None
    L: jax.Array | float | None = None
    accuracy: Partial | None = None


def as_floating(x: Values, dtype: DTypeLike | None = None) -> jax.Array:
    """Return x as a floating array: of the dtype given, else its own, else JAX's default."""
    if dtype is None:
        own = jnp.asarray(x).dtype
        dtype = own if jnp.issubdtype(own, jnp.floating) else float
    return jnp.asarray(x, dtype=dtype)


def all_at_least(x: ArrayLike, bound: ArrayLike) -> bool:
    """Say whether no value is below the bound; a traced value is unknown, hence admitted."""
    if isinstance(x, Tracer) or isinstance(bound, Tracer):
        return True
    return bool(np.all(np.asarray(x) >= np.asarray(bound)))  # also False where x is NaN


def cast(problem: Problem, dtype: DTypeLike) -> Problem:
    """Return the problem with every floating leaf (data, params, facts) in the given dtype.

    Example:
      >>> from jaxmom.problems import quadratic
      >>> print(cast(quadratic([1.0, 10.0]), "float32").params.dtype)
      float32
    """

    def convert(leaf: ArrayLike) -> ArrayLike:
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype=dtype) if floats else leaf

    return jax.tree.map(convert, problem)


def curvature(problem: Problem, at: PyTree = None) -> jax.Array:
    """Return the eigenvalues of the Hessian of `full_loss`, in ascending order, by autodiff.

    Of a game they are those of the Jacobian of its field, complex where it is not symmetric, in
    ascending order of their real parts; NaN if it is traced and not symmetric.

    Where a problem is not strongly convex, `mu` and `L` are unknown, and the extreme eigenvalues
    at the optimum are those that a method meets in the end.

    Args:
      problem: A problem; its Hessian is dense, so keep it below a few thousand parameters.
      at: The point, shaped as the params; the optimum unless given.

    Raises:
      ValueError: No point is given and the optimum is unknown.

    Example:
      >>> from jaxmom.problems import narrow_valley
      >>> print(curvature(narrow_valley(condition=50.0)).tolist())
      [1.0, 50.0]
    """
    point = problem.optimum if at is None else at
    if point is None:
        raise ValueError("the optimum of this problem is unknown: give the point by `at=params`.")
    values, matrix = _hessian_eigenvalues(problem.full_loss, point)
    if isinstance(values, Tracer) or not np.any(np.isnan(values)):
        return values
    if not np.all(np.isfinite(matrix)):
        return values
    return jnp.asarray(np.sort_complex(np.linalg.eigvals(np.asarray(matrix))))


def with_optimum(problem: Problem, *, tolerance: float = 1e-10, steps: int = 100) -> Problem:
    """Return a strongly convex problem with its `optimum` and `minimum` found numerically.

    Newton's method from the problem's start: conjugate gradients solve `H d = g`, and of eight
    step sizes 1, 1/2, ..., 1/128 along `-d` the one of least gradient norm is taken (along an
    exact `-d` that norm always falls at first). The minimum is then exact to `|g|^2 / (2 mu)`.

    Args:
      problem: A problem whose `mu` is known to be positive.
      tolerance: The largest Euclidean norm of the gradient that counts as zero.
      steps: The largest number of Newton steps.

    Raises:
      ValueError: The problem is not known to be strongly convex.
      RuntimeError: The tolerance is not reached, as happens in float32.

    Example:
      >>> from jaxmom.problems import logistic_regression
      >>> problem = logistic_regression([[-1.0], [1.0]], [0, 1], l2=0.1)
      >>> print(f"{with_optimum(problem, tolerance=1e-6).minimum:.4f}")
      0.2257
    """
    if problem.mu is None or not problem.mu > 0:
        raise ValueError(
            f"mu is {problem.mu}, and Newton's method is safe only where it is known to be "
            "positive: add an l2 penalty, or find the optimum by other means."
        )
    params = problem.params
    for _ in range(steps):
        if _gradient_norm(problem.full_loss, params) <= tolerance:
            return problem._replace(optimum=params, minimum=problem.full_loss(params))
        params = _newton_step(problem.full_loss, params)
    raise RuntimeError(
        f"after {steps} Newton steps the gradient norm is still "
        f"{_gradient_norm(problem.full_loss, params):.1e}, above the tolerance {tolerance:.1e}: "
        "enable jax_enable_x64, or raise the tolerance."
    )


@jax.jit
def _hessian_eigenvalues(loss: Partial, point: PyTree) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues, NaN if the matrix is not symmetric, and the matrix."""
    flat, unravel = ravel_pytree(point)
    hessian = jax.hessian(lambda vector: loss(unravel(vector)))(flat)
    skew = jnp.max(jnp.abs(hessian - hessian.T))
    is_symmetric = skew <= 1e3 * jnp.finfo(hessian.dtype).eps * jnp.max(jnp.abs(hessian))
    return jnp.where(is_symmetric, jnp.linalg.eigvalsh(hessian), jnp.nan), hessian


@jax.jit
def _gradient_norm(loss: Partial, params: PyTree) -> jax.Array:
    return jnp.linalg.norm(ravel_pytree(jax.grad(loss)(params))[0])


@jax.jit
def _newton_step(loss: Partial, params: PyTree) -> PyTree:
    gradient, hessian_times = jax.linearize(jax.grad(loss), params)
    direction, _ = cg(hessian_times, gradient, tol=1e-3)

    def move(scale: jax.Array) -> PyTree:
        return jax.tree.map(lambda p, d: p - scale.astype(p.dtype) * d, params, direction)

    candidates = jax.vmap(move)(0.5 ** jnp.arange(8.0))
    best = jnp.argmin(jax.vmap(_gradient_norm, in_axes=(None, 0))(loss, candidates))
    return jax.tree.map(lambda candidate: candidate[best], candidates)
