"""Landscapes: small smooth functions that are not convex, with exactly known minima.

Their `mu` and `L` are None, because no such constants hold everywhere. `curvature(problem)` gives
the eigenvalues at the optimum. Every minimum here is 0.
"""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.problems.problem import Problem, all_at_least, as_floating

# The first is exact; the others are the roots of x² + y = 11, x + y² = 7 rounded to float64.
HIMMELBLAU_MINIMA = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.2831859912861696),
    (3.5844283403304917, -1.8481265269644036),
)


def rosenbrock(a: ArrayLike = 1.0, b: ArrayLike = 100.0, *, dimension: int = 2) -> Problem:
    """Return f(x) = sum over i < d of b (x[i+1] - x[i]²)² + (a - x[i])².

    In two dimensions it is the classical banana with the optimum (a, a²). In more it is the
    chained form with a = 1, whose global optimum is all ones; from four dimensions on there is a
    second, local minimum near (-1, 1, ..., 1).

    Args:
      a: Where the valley ends, a leaf; must be 1 in more than two dimensions.
      b: How steep the walls are, a leaf.
      dimension: At least 2. The start is (-1.2, 1, -1.2, 1, ...).

    Raises:
      ValueError: The dimension or a is not as above.

    Source:
      H. H. Rosenbrock, The Computer Journal 3, 1960.

    Example:
      >>> problem = rosenbrock()
      >>> print(f"{problem.loss(problem.params):.1f}", problem.optimum.tolist())
      24.2 [1.0, 1.0]
    """
    if dimension < 2:
        raise ValueError(f"the dimension is {dimension}, but it must be at least 2.")
    if dimension > 2 and a != 1:
        raise ValueError(
            f"a is {a} in {dimension} dimensions, where no optimum is known unless a is 1: keep "
            "a = 1 (and vary b), or use two dimensions."
        )
    a = as_floating(a)
    b = as_floating(b, a.dtype)
    start = jnp.resize(jnp.asarray([-1.2, 1.0], a.dtype), (dimension,))
    optimum = jnp.stack([a, a * a]) if dimension == 2 else jnp.ones_like(start)
    return _landscape(Partial(_rosenbrock, a, b), start, optimum)


def narrow_valley(condition: ArrayLike = 100.0, *, bend: ArrayLike = 1.0) -> Problem:
    """Return f(x, y) = ½ (x² + κ (y - c x²)²): a quadratic of condition κ, bent along a parabola.

    It is ½ (u² + κ v²) after the shear u = x, v = y - c x², which keeps areas. So the origin is its
    only stationary point, and the Hessian there has exactly the eigenvalues 1 and κ, whatever the
    bend. The floor of the valley is y = c x², and the start (2, 4 c) lies on it: there f = 2 for
    every κ and c, so that runs are comparable.

    Args:
      condition: The condition number κ, at least 1, a leaf.
      bend: The curvature c of the parabola, a leaf; 0 gives the quadratic itself.

    Raises:
      ValueError: The condition is below 1.

    Example:
      >>> problem = narrow_valley(1e4)
      >>> print(float(problem.loss(problem.params)), problem.params.tolist())
      2.0 [2.0, 4.0]
    """
    condition = as_floating(condition)
    if not all_at_least(condition, 1):
        raise ValueError(f"the condition number is {condition}, but it must be at least 1.")
    bend = as_floating(bend, condition.dtype)
    start = jnp.stack([jnp.full_like(bend, 2), 4 * bend])
    return _landscape(Partial(_narrow_valley, condition, bend), start, jnp.zeros_like(start))


def beale() -> Problem:
    """Return f(x, y) = sum over i = 1, 2, 3 of (c[i] - x (1 - yⁱ))², c = (1.5, 2.25, 2.625).

    A flat floor between steep walls; the optimum is (3, ½), the start (1, 1).

    Source:
      J. Moré, B. Garbow and K. Hillstrom, ACM Transactions on Mathematical Software 7, 1981,
      problem 5.

    Example:
      >>> problem = beale()
      >>> print(f"{problem.loss(problem.params):.6f}", float(problem.loss(problem.optimum)))
      14.203125 0.0
    """
    return _landscape(Partial(_beale), as_floating([1.0, 1.0]), as_floating([3.0, 0.5]))


def himmelblau() -> Problem:
    """Return f(x, y) = (x² + y - 11)² + (x + y² - 7)².

    It has four minima, all of value 0: `HIMMELBLAU_MINIMA`, of which `optimum` is the first,
    (3, 2). The start is the origin, between them all.

    Source:
      D. Himmelblau, Applied Nonlinear Programming, 1972.

    Example:
      >>> problem = himmelblau()
      >>> print(float(problem.loss(problem.params)), float(problem.loss(problem.optimum)))
      170.0 0.0
    """
    return _landscape(
        Partial(_himmelblau), as_floating([0.0, 0.0]), as_floating(HIMMELBLAU_MINIMA[0])
    )


def _landscape(loss: Partial, start: jax.Array, optimum: jax.Array) -> Problem:
    return Problem(loss, start, None, loss, optimum, jnp.zeros((), start.dtype))


def _rosenbrock(a: jax.Array, b: jax.Array, params: jax.Array) -> jax.Array:
    here, after = params[:-1], params[1:]
    return jnp.sum(b * (after - here**2) ** 2 + (a - here) ** 2)


def _narrow_valley(condition: jax.Array, bend: jax.Array, params: jax.Array) -> jax.Array:
    x, y = params
    return (x**2 + condition * (y - bend * x**2) ** 2) / 2


def _beale(params: jax.Array) -> jax.Array:
    x, y = params
    first, second, third = 1.5 - x * (1 - y), 2.25 - x * (1 - y**2), 2.625 - x * (1 - y**3)
    return first**2 + second**2 + third**2


def _himmelblau(params: jax.Array) -> jax.Array:
    x, y = params
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2
