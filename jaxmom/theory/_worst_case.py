"""The exact worst case of N steps of an optimizer over smooth convex functions."""

import dataclasses
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxmom._choices import check_choice
from jaxmom._values import as_count
from jaxmom.problems import Problem, interpolated
from jaxmom.theory import _performance, _worst_function
from jaxmom.theory._linearize import linearize_steps
from jaxmom.theory._performance import Estimation
from jaxmom.theory._systems import as_number
from jaxmom.transform import eval_params

Measure: TypeAlias = Literal["value", "gradient_norm", "distance"]
Start: TypeAlias = Literal["distance", "value"]


@dataclasses.dataclass(frozen=True)
class WorstCase:
    """A bound that no function of the class exceeds, its proof, and the function that attains it.

    Attributes:
      bound: Of the measure after N steps.
      multipliers: [N + 2, N + 2], of the interpolation inequality of points i and j; the last is
        the minimizer. They are the proof.
      points: [N + 2, d] where the gradients are taken, x_0 ... x_{N-1}; the point that is measured;
        and the minimizer.
      gradients: [N + 2, d], there; the last is 0.
      values: [N + 2], there; the last is 0.
      function: The worst function, a `jaxmom.problems.Problem` that starts at x_0. The optimizer,
        run on it, attains the bound.
      estimation: The step matrix, in units with L = 1, and what is measured.
      scale: What the measure is multiplied by, in these units.
    """

    bound: float
    multipliers: np.ndarray
    points: np.ndarray
    gradients: np.ndarray
    values: np.ndarray
    function: Problem
    estimation: Estimation
    scale: float

    def verify(self, *, exact: bool = False) -> bool:
        """Whether the multipliers prove the bound, without the solver.

        Args:
          exact: By rational arithmetic, for the step matrix as it is rounded; else by eigenvalues
            in float64.
        """
        unit = self.bound / self.scale * (1 + 2**-50)  # more than the rounding of the two
        return _performance.is_proof(self.estimation, unit, self.multipliers, exact)


def worst_case(
    optimizer: optax.GradientTransformation,
    steps: int,
    mu: float = 0.0,
    L: float = 1.0,
    *,
    measure: Measure = "value",
    start: Start = "distance",
) -> WorstCase:
    """Return the exact worst case of N steps over all L-smooth mu-strongly convex functions.

    Any optimizer whose updates are linear in the gradients will do, varying with time or not: the
    steps are read off its code. Gradients are taken at params, and the last point is that of
    `eval_params`. The bound holds in any number of dimensions and is attained in some. N = 50 takes
    half a minute.

    Args:
      optimizer: Linear in the gradients, without weight decay; plain numbers only.
      steps: N, the number of updates.
      mu: The constant of strong convexity; 0 for convex functions.
      L: The constant of smoothness, above mu.
      measure: What is bounded after N updates: "value" ``f(x_N) - f*``, "gradient_norm"
        ``|grad f(x_N)|^2``, or "distance" ``|x_N - x*|^2``.
      start: What is at most 1 at x_0: "distance" ``|x_0 - x*|^2``, or "value" ``f(x_0) - f*``. For
        another start, multiply the bound by what this is at most instead of 1.

    Returns:
      A `WorstCase`; its multipliers have been checked without the solver.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      NotLinearError: A stage is not linear.
      ValueError: Not 0 <= mu < L, no step, an unknown measure or start, weight decay, traced
        numbers, or a measure that is not bounded: "distance" from start="value" with mu = 0.
      RuntimeError: The solver finds no proof, as may happen where steps are so long that the
        measure grows by many orders of magnitude; or no function within 1e-4 of its bound, as where
        the measure shrinks by more than seven.

    Source:
      Taylor, Hendrickx and Glineur 2017 (arXiv 1502.05666), theorem 5 and its dual.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> worst = theory.worst_case(jm.gradient_descent(1.0), steps=1)
      >>> print(f"{worst.bound:.6f} {worst.verify(exact=True)}")  # L / (4 N + 2)
      0.166667 True
    """
    mu, L = _check_class(mu, L)
    _check_choices(measure, start, mu)
    ratio, count = mu / L, as_count("steps", steps, "a number of updates")
    estimation = Estimation(L * _step_matrix(optimizer, count), ratio, measure, start)
    found = _performance.solve(estimation)
    # In units with L = 1 and a start of 1; the start sets the unit of length.
    length = 1.0 if start == "distance" else L**-0.5
    scale = {"value": L * length**2, "gradient_norm": (L * length) ** 2, "distance": length**2}
    points, gradients, values = _worst_function.realize(found)
    points, gradients, values = length * points, L * length * gradients, L * length**2 * values
    # In the units of the program the minimizer of a free start is not known: it is left out.
    known = len(points) - estimation.is_free
    function = interpolated(points[:known], gradients[:known], values[:known], mu, L)
    return WorstCase(
        found.bound * scale[measure],
        found.weights,
        points,
        gradients,
        values,
        function._replace(minimum=0.0, optimum=None if estimation.is_free else points[-1]),
        found.estimation,
        scale[measure],
    )


def _step_matrix(optimizer: optax.GradientTransformation, steps: int) -> np.ndarray:
    """Return H [N + 1, N]: x_i = x_0 - sum_j H_ij g_j, from the updates at unit gradients."""
    linearize_steps(optimizer, 1, 0)  # proves that they are linear, or says what is not
    extended = optax.with_extra_args_support(optimizer)

    def run(origin: jax.Array, gradients: jax.Array) -> jax.Array:
        def step(carry: tuple, gradient: jax.Array) -> tuple[tuple, tuple]:
            params, state = carry
            zero = jnp.zeros_like(params)
            updates, state = extended.update(
                gradient, state, params, value=zero, grad=gradient, value_fn=lambda _: zero
            )
            moved = optax.apply_updates(params, updates)
            return (moved, state), (params, eval_params(optimizer, moved, state))

        start = (origin, extended.init(origin))
        _, (params, measured) = jax.lax.scan(step, start, gradients)
        return jnp.append(params, measured[-1])

    zeros = jnp.zeros(steps, float)
    with jax.numpy_dtype_promotion("standard"):
        columns = jax.vmap(run, (None, 0), 1)(jnp.zeros([], float), jnp.eye(steps, dtype=float))
        moved = run(jnp.ones([], float), zeros)
    if isinstance(columns, Tracer):
        raise ValueError("worst_case needs plain numbers; call it outside jit, vmap and grad.")
    if not np.all(np.isfinite(columns)):
        raise ValueError(
            "the steps of this optimizer are not finite numbers; look at the hyperparameters."
        )
    if np.max(np.abs(np.asarray(moved) - 1)) > 1e-12:
        raise ValueError(
            "without gradients this optimizer moves params, as weight decay does, so that they do "
            "not come to rest at the minimizer. Leave it out; coupled weight decay is part of the "
            "function f + weight_decay |x|^2 / 2, with mu + weight_decay and L + weight_decay."
        )
    return -np.asarray(columns, float)


def _check_class(mu: float, L: float) -> tuple[float, float]:
    mu, L = as_number("mu", mu), as_number("L", L)
    if not 0 <= mu < L < float("inf"):
        raise ValueError(f"the functions have 0 <= mu < L, got mu={mu} and L={L}.")
    return mu, L


def _check_choices(measure: str, start: str, mu: float) -> None:
    check_choice("measure", measure, get_args(Measure))
    check_choice("start", start, get_args(Start))
    if (measure, start) == ("distance", "value") and mu == 0:
        raise ValueError(
            "without strong convexity, f(x_0) - f* <= 1 says nothing about how far away the "
            'minimizer is, and the distance has no bound: give start="distance", or mu > 0.'
        )
