"""Optimal hyperparameters for quadratics with curvatures in [mu, L], and their rates."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmom._choices import check_choice
from jaxmom.theory._frequency import certifiable_rate
from jaxmom.theory._linearize import TimeVaryingError
from jaxmom.theory._numbers import known_values, to_numbers
from jaxmom.theory._systems import as_number, check_interval
from jaxmom.theory.spectrum import rate, spectral_radius
from jaxmom.transform import PyTree, hyperparameters, replace

# From mu and L to hyperparameters by name, and their rate.
ClosedForm: TypeAlias = Callable[[float, float], tuple[dict[str, float], float]]
Objective: TypeAlias = Literal["quadratics", "certified"]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The hyperparameters with the least worst-case rate that was found.

    Attributes:
      hyperparameters: A number, or a list of numbers, by name.
      rate: The worst spectral radius over [mu, L] with them; `certifiable_rate` where that is the
        objective.
      lower_bound: `lower_bound`, which no method can beat.
    """

    hyperparameters: dict[str, PyTree]
    rate: float
    lower_bound: float


def lower_bound(mu: float, L: float) -> float:
    """Return ``(sqrt(kappa) - 1) / (sqrt(kappa) + 1)``: no first-order method has a better rate.

    It holds for methods whose steps are sums of gradients, on quadratics of high dimension with
    curvatures all over [mu, L]; heavy ball and Chebyshev's iteration attain it.

    Args:
      mu: The least curvature, positive.
      L: The greatest curvature.

    Raises:
      ValueError: The curvatures are not 0 < mu <= L.

    Source: Nemirovski and Yudin 1983; Nesterov 2018 (Lectures on Convex Optimization), 2.1.13.

    Example:
      >>> from jaxmom import theory
      >>> theory.lower_bound(mu=1.0, L=9.0)
      0.5
    """
    mu, L = as_number("mu", mu), as_number("L", L)
    check_interval(mu, L)
    low, high = _roots(mu, L)
    return (high - low) / (high + low)


def tune(
    method: str | optax.GradientTransformation,
    mu: float,
    L: float,
    *,
    names: str | Sequence[str] | None = None,
    points: int = 65,
    objective: Objective = "quadratics",
) -> Tuning:
    """Return the best hyperparameters of a method for curvatures in [mu, L].

    For the names of `CLOSED_FORMS` they are known. Otherwise the worst spectral radius is minimized
    numerically, starting from the optimizer's own hyperparameters, which should converge, by BFGS
    with gradients through the eigenvalues. BFGS stalls where eigenvalues coalesce, and optima often
    lie there; Nelder-Mead then refines. The result is a local optimum.

    With the objective "certified" the rate is `certifiable_rate`, which holds for all smooth
    strongly convex functions. Its optima lie on ridges where BFGS stalls at once, so that only
    Nelder-Mead searches. A start for which none is certified will do, for its growth is bounded as
    well. From heavy ball with `jaxmom.unified_momentum` at s = 0, whose family contains
    triple momentum, the tuner finds the rate of triple momentum.

    Args:
      method: One of `CLOSED_FORMS`, or a pytree optimizer.
      mu: The least curvature, positive.
      L: The greatest curvature.
      names: The hyperparameters to tune, or one of them; all by default. The others stay.
      points: The number of curvatures between mu and L that the search looks at. The rate of the
        result is taken at ten times as many.
      objective: "quadratics", or "certified" for an optimizer. Then `certified_rate` proves the
        result; enable ``jax_enable_x64``.

    Returns:
      A `Tuning`.

    Raises:
      ValueError: The name or the objective is unknown, the curvatures are not 0 < mu <= L, there is
        nothing to tune, or the objective "certified" is asked of a closed form.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> theory.tune("gradient_descent", mu=1.0, L=9.0)
      Tuning(hyperparameters={'learning_rate': 0.2}, rate=0.8, lower_bound=0.5)
      >>> tuned = theory.tune(jm.gradient_descent(0.1), mu=1.0, L=9.0)
      >>> print(f"{tuned.rate:.6f}")
      0.800000
    """
    mu, L = as_number("mu", mu), as_number("L", L)
    check_interval(mu, L)
    check_choice("objective", objective, get_args(Objective))
    if isinstance(method, str):
        if objective != "quadratics":
            raise ValueError(
                f"the closed form of {method!r} is for quadratics; give the optimizer itself, such "
                "as jaxmom.unified_momentum(learning_rate, beta), to tune its certified rate."
            )
        if method not in CLOSED_FORMS:
            raise ValueError(
                f"no closed form for {method!r}; there are {list(CLOSED_FORMS)}. "
                "Give the optimizer itself to tune it numerically."
            )
        values, best = CLOSED_FORMS[method](mu, L)
        return Tuning(values, best, lower_bound(mu, L))
    return _tune_numerically(method, mu, L, names, points, objective)


# The closed forms: (mu, L) -> hyperparameters and rate.


def _gradient_descent(mu: float, L: float) -> tuple[dict[str, float], float]:
    return {"learning_rate": 2 / (L + mu)}, (L - mu) / (L + mu)


def _heavy_ball(mu: float, L: float) -> tuple[dict[str, float], float]:
    """Polyak 1964: both ends of the spectrum critically damped, and all between them complex."""
    low, high = _roots(mu, L)
    best = (high - low) / (high + low)
    return {"learning_rate": (2 / (high + low)) ** 2, "beta": best**2}, best


def _nesterov(mu: float, L: float) -> tuple[dict[str, float], float]:
    """Lessard, Recht and Packard 2016 (arXiv 1408.3595), proposition 1: best on quadratics."""
    root = math.sqrt(3 * L / mu + 1)
    return {"learning_rate": 4 / (3 * L + mu), "beta": (root - 2) / (root + 2)}, 1 - 2 / root


def _nesterov_standard(mu: float, L: float) -> tuple[dict[str, float], float]:
    """Nesterov 2018, (2.2.22): safe on every strongly convex function."""
    low, high = _roots(mu, L)
    return {"learning_rate": 1 / L, "beta": (high - low) / (high + low)}, 1 - low / high


def _triple_momentum(mu: float, L: float) -> tuple[dict[str, float], float]:
    return {"mu": mu, "L": L}, 1 - math.sqrt(mu / L)


def _chebyshev(mu: float, L: float) -> tuple[dict[str, float], float]:
    """Its rate is the limit: after t steps the error is at most ``2 / (rate^t + rate^-t)``."""
    return {"mu": mu, "L": L}, lower_bound(mu, L)


def _roots(mu: float, L: float) -> tuple[float, float]:
    return math.sqrt(mu), math.sqrt(L)


CLOSED_FORMS: dict[str, ClosedForm] = {
    "gradient_descent": _gradient_descent,
    "heavy_ball": _heavy_ball,
    "nesterov": _nesterov,
    "nesterov_strongly_convex": _nesterov_standard,
    "triple_momentum": _triple_momentum,
    "chebyshev": _chebyshev,
}


# The numerical tuner.


def _tune_numerically(
    optimizer: optax.GradientTransformation,
    mu: float,
    L: float,
    names: str | Sequence[str] | None,
    points: int,
    objective: Objective,
) -> Tuning:
    space = _flatten(optimizer, names)
    _check_shape_of_program(optimizer, space)

    def worst(x: ArrayLike, points: int = points) -> jax.Array:
        trial = replace(optimizer, **space.values(x))
        if objective == "certified":
            return certifiable_rate(trial, mu, L)
        return rate(trial, mu, L, points)

    bound = lower_bound(mu, L)
    # The search for a certifiable rate ends at 1e-9 or so of 1 minus the rate.
    accuracy = 1e-14 if objective == "quadratics" else 1e-9 * (1 - bound)
    x = _minimize(worst, space.start, accuracy, objective)
    tuned = {name: np.asarray(value).tolist() for name, value in space.values(x).items()}
    found = float(worst(x, 10 * points))
    # The bound may be attained; then rounding alone can put the rate below it.
    below_by_rounding = bound * (1 - 1e-9) < found < bound
    return Tuning(tuned, bound if below_by_rounding else found, bound)


@dataclasses.dataclass(frozen=True)
class _Flat:
    """The hyperparameters to tune as one vector, each in units of its start."""

    start: np.ndarray
    units: np.ndarray
    shapes: Mapping[str, tuple[int, ...]]

    def values(self, x: ArrayLike) -> dict[str, jax.Array]:
        """Return the hyperparameters by name."""
        cuts = np.cumsum([math.prod(shape) for shape in self.shapes.values()])[:-1]
        parts = jnp.split(jnp.asarray(x, float) * self.units, cuts)
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def _flatten(optimizer: optax.GradientTransformation, names: str | Sequence[str] | None) -> _Flat:
    known = hyperparameters(optimizer)
    names = list(known) if names is None else [names] if isinstance(names, str) else list(names)
    if not names:
        remedy = f"name some of {list(known)}" if known else "a plain chain has no hyperparameters"
        raise ValueError(f"there is nothing to tune: {remedy}.")
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"there are no hyperparameters {missing}; there are {list(known)}, by their full names."
        )
    for name in names:
        _check_is_tunable(name, known[name])
    start = np.concatenate([np.ravel(np.asarray(known[name], float)) for name in names])
    units = np.where(start == 0, 1.0, start)
    return _Flat(start / units, units, {name: jnp.shape(known[name]) for name in names})


def _check_shape_of_program(optimizer: optax.GradientTransformation, space: "_Flat") -> None:
    """Raise ValueError if a hyperparameter to tune is one that a period depends on."""

    def linearizes(names: Sequence[str]) -> bool:
        chosen = {name: value for name, value in space.values(space.start).items() if name in names}

        def trace(values: dict[str, jax.Array]) -> jax.Array:
            return spectral_radius(replace(optimizer, **values), 1.0)

        try:
            jax.eval_shape(trace, chosen)
        except TimeVaryingError:
            return False
        return True

    names = list(space.shapes)
    if linearizes(names) or not linearizes([]):  # in the second case the search says what is wrong
        return
    free = [name for name in names if linearizes([name])]
    fixed = [name for name in names if name not in free]
    raise ValueError(
        f"{', '.join(fixed)} of this optimizer sets when its coefficients change, and no search "
        f"by slopes or simplexes can vary that; tune the others: names={free}."
    )


def _check_is_tunable(name: str, value: PyTree) -> None:
    """Raise an error unless a hyperparameter is a finite real number, or an array of them."""
    to_numbers(f"{name}, to be tuned,", value)
    numbers = known_values(value)
    if numbers is None or not np.all(np.isfinite(numbers)):
        raise ValueError(f"the search starts at finite plain numbers, got {name}={value}.")


def _minimize(
    worst: Callable[[ArrayLike], jax.Array],
    start: np.ndarray,
    accuracy: float,
    objective: Objective,
) -> np.ndarray:
    """Minimize a rate of some accuracy by Nelder-Mead, after BFGS where slopes lead on."""
    from scipy import optimize

    compiled = jax.jit(worst)
    # Along the ridges of a certified rate BFGS stalls at once; smaller simplexes find their ways.
    sizes = (0.05, 0.005, 0.0005) if objective == "certified" else (0.05,)
    x = start if objective == "certified" else _descend(worst, start)
    options = {
        "xatol": 1e-7 if objective == "certified" else 100 * accuracy,
        "fatol": accuracy,
        "maxiter": 400 * len(x),
        "adaptive": True,
    }
    best = float(compiled(x))
    for turn in range(20):  # simplexes that have collapsed start anew, until they find nothing
        before = best
        for size in sizes:
            sides = (-1) ** turn * size * np.diag(np.where(x == 0, 1.0, x))
            found = optimize.minimize(
                lambda point: float(compiled(point)),
                x,
                method="Nelder-Mead",
                options=options | {"initial_simplex": np.vstack([x, x + sides])},
            )
            x, best = found.x, found.fun
        if before - best <= max(1e-9, 1e3 * accuracy):
            break
    return x


def _descend(worst: Callable[[ArrayLike], jax.Array], start: np.ndarray) -> np.ndarray:
    from scipy import optimize

    with_slope = jax.jit(jax.value_and_grad(worst))

    def smooth(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = with_slope(x)
        return float(value), np.nan_to_num(np.asarray(slope, float))

    return optimize.minimize(smooth, start, jac=True, method="BFGS").x
