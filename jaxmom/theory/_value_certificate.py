"""Certified rates of function values, for strongly convex functions and for convex ones."""

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom._choices import check_choice
from jaxmom._values import as_count
from jaxmom.theory import _rational, _value_program
from jaxmom.theory._performance import Quadratic
from jaxmom.theory._systems import Linear, as_number, as_system
from jaxmom.theory._value_forms import Potential, Setting, claim, complete
from jaxmom.theory._value_system import ValueSystem, read_system
from jaxmom.theory.certificate import check_tolerance

Start: TypeAlias = Literal["distance", "value"]

# Shares of 1 minus the rate that are given away if the tolerance leaves no proof.
_MORE = (1, 10, 100)
_HALVINGS = 14  # of 1 minus the rate


@dataclasses.dataclass(frozen=True)
class ValueCertificate:
    """A proof of how fast ``f(params_t) - f*`` falls, for every function of the class.

    Of strongly convex functions it is at most ``constant rate^(2 t)``, of convex ones at most
    ``constant / (t + offset)``, if at the start ``|params_0 - x*|^2`` or ``f(params_0) - f*`` is 1.

    Attributes:
      rate: The contraction per step, of distances; values fall by its square. 1 for convex
        functions, and infinite if no proof was found.
      constant: In `bound`; in the units of the values for a start of 1.
      offset: In `bound` for convex functions, else 0.
      mu: The constant of strong convexity, or 0.
      L: The constant of smoothness.
      start: What is 1 at the start: "distance" or "value".
      window: The number of gradients and values in the Lyapunov function.
      potential: The Lyapunov function in units with L = 1, or None.
      multipliers: Of the interpolation inequalities, for each inequality of the proof.
      system: The optimizer that the proof is about, its gradients in units of L.
      reason: Why there is no proof; empty if there is one.
    """

    rate: float
    constant: float
    offset: float
    mu: float
    L: float
    start: str
    window: int
    potential: Potential | None = None
    multipliers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    system: ValueSystem | None = None
    reason: str = ""

    def bound(self, steps: ArrayLike) -> np.ndarray:
        """Return the bound of ``f(params_t) - f*`` after t = `steps` updates, for a start of 1.

        For another start, multiply it by what this is instead of 1. It is infinite without a proof,
        and before the last of the first updates, if those differ from the later ones.

        Args:
          steps: Counts of updates, of any shape.
        """
        steps = np.asarray(steps)
        if not np.issubdtype(steps.dtype, np.integer) or np.any(steps < 0):
            raise ValueError(f"steps are counts of updates, whole and from 0 on, got {steps}.")
        if self.system is None or self.potential is None:
            return np.full(steps.shape, np.inf)
        late = steps >= len(self.system.points)
        if self.mu > 0:
            return np.where(late, self.constant * self.rate ** (2.0 * steps), np.inf)
        ages = steps + self.offset
        return np.where(late & (ages > 0), self.constant / np.where(ages > 0, ages, 1), np.inf)

    def verify(self) -> bool:
        """Whether it is a proof, in exact arithmetic: no solver, no rounding, no tolerance.

        It is a proof about `system`, whose entries are those of the code, rounded once.
        """
        if self.potential is None or self.system is None:
            return False
        numbers = [self.rate, self.constant, self.offset, *_floats(self.potential)]
        numbers += [x for one in self.multipliers.values() for x in np.ravel(one)]
        if not np.all(np.isfinite(numbers)) or not self.offset >= 0:
            return False
        convex = self.mu == 0 and self.rate == 1 and self.potential.growth is not None
        linear = 0 < self.mu < self.L and 0 < self.rate < 1 and self.potential.growth is None
        if not (linear or convex):
            return False
        setting = Setting(self.system, self.mu / self.L, self.window, self.start).exact()
        multipliers = {k: _rational.to_fractions(x) for k, x in self.multipliers.items()}
        exact = complete(setting, _map(_rational.to_fractions, self.potential), multipliers)
        if _floats(exact) != _floats(self.potential):
            return False
        offset = Fraction(self.offset) if convex else Fraction(1)
        constant = Fraction(self.constant) / Fraction(self._unit())
        claims = claim(setting, exact, Fraction(self.rate) ** 2, constant, offset)
        return claims.keys() == multipliers.keys() and all(
            _holds(one, multipliers[name], setting.ratio) for name, one in claims.items()
        )

    def lyapunov(
        self, params: ArrayLike, gradients: ArrayLike, values: ArrayLike, optimum: ArrayLike
    ) -> np.ndarray:
        """Return the Lyapunov function along a run: ``V_{t+1} <= rate^2 V_t``.

        ``V_t`` is a quadratic form of the state and of `window` gradients from t on, plus multiples
        of their values. Of strongly convex functions it is at least ``f(params_t) - f*``, of convex
        ones at least ``t + offset`` times as much.

        Args:
          params: [steps + 1, ...], where the gradients were taken.
          gradients: [steps + 1, ...], there.
          values: [steps + 1], ``f - f*`` there.
          optimum: [...], where the gradient is zero.

        Returns:
          ``V_m, V_{m+1} ...`` up to the last window; m is the number of first updates that differ
          from the later ones, as a rule 0.

        Raises:
          ValueError: There is no proof, or the run is not one of this optimizer from its own start.
        """
        if self.potential is None or self.system is None:
            raise ValueError(f"there is no proof, and so no Lyapunov function: {self.reason}")
        away = np.asarray(params, float) - np.asarray(optimum, float)
        away = away.reshape(len(away), -1)
        slopes = np.asarray(gradients, float).reshape(len(away), -1) / self.L
        heights, early = np.asarray(values, float) / self.L, len(self.system.points)
        a, b, c = (np.asarray(getattr(self.system.system, name)) for name in "ABC")
        x = self.system.state @ np.vstack([away[:1], slopes[:early]])
        found, size = [], np.max(np.abs(away))
        for t in range(early, len(away) + 1 - self.window):
            if not np.allclose(c @ x, away[t], rtol=0, atol=1e-4 * size):
                raise ValueError(
                    "these are no params and gradients of a run of this optimizer from its own "
                    "start, taken at the same points."
                )
            rows = np.vstack([x, slopes[t : t + self.window]])
            parts = [
                np.sum(rows * (part.form @ rows)) + part.values @ heights[t : t + self.window]
                for part in self.potential
                if part is not None
            ]
            found.append(parts[0] + sum(t * part for part in parts[1:]))
            x = a @ x + np.outer(b, slopes[t])
        return self.L * np.array(found)

    def _unit(self) -> float:
        """The unit of `constant`: L for values of a distance, 1 for values of values."""
        return self.L if self.start == "distance" else 1.0


def certified_value_rate(
    optimizer: Linear,
    mu: float,
    L: float,
    *,
    start: Start = "distance",
    window: int = 2,
    tolerance: float = 1e-3,
) -> ValueCertificate:
    """Return how fast function values are proved to fall, on strongly convex or convex functions.

    For mu > 0 it is the best rate of a Lyapunov function ``V_t = z_t' P z_t + p' (f - f*)`` of the
    state, of `window` gradients and of their values: ``f(params_t) - f* <= constant rate^(2 t)``.
    All inequalities between the points of L-smooth mu-strongly convex functions are used. For
    mu = 0, where no rate is linear, V has a second such form times t, and
    ``f(params_t) - f* <= constant / (t + offset)``. Both hold for all t and in any number of
    dimensions. For N steps exactly, or hyperparameters that vary with time, there is `worst_case`.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only. Gradients and values
        are those at params.
      mu: The constant of strong convexity; 0 for convex functions.
      L: The constant of smoothness, above mu.
      start: What is 1 at the start: "distance" ``|params_0 - x*|^2``, or, for mu > 0, "value"
        ``f(params_0) - f*``.
      window: The number of gradients in V. More may prove a better rate, and never a worse one
        before rounding; heavy ball gains, descent and triple momentum do not.
      tolerance: How far above the best rate the proof may be, as a share of 1 minus that rate, or
        how far above the least constant for mu = 0.

    Returns:
      A `ValueCertificate`, which `verify`s. If none is found, its rate is inf and it says why.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      NotLinearError: A stage is not linear, or varies with time.
      ValueError: Not 0 <= mu < L, a start that bounds nothing, a window below 1, a tolerance not in
        (0, 0.5], weight decay, a buffer that pulls params from the start, or traced numbers.

    Source:
      Taylor, Van Scoy and Lessard 2018 (arXiv 1803.06073), theorem 5, with the state in place of
      past iterates. Upadhyaya, Banert, Taylor and Giselsson 2025 (arXiv 2302.06713) have sublinear
      rates.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> proof = theory.certified_value_rate(jm.gradient_descent(0.1), mu=1.0, L=10.0)
      >>> print(f"{proof.rate:.3f} {proof.verify()}")  # 1 - mu / L
      0.900 True
    """
    mu, L = as_number("mu", mu), as_number("L", L)
    window = as_count("window", window, "a number of gradients")
    _check(mu, L, start, tolerance)
    whole = as_system(optimizer)
    if isinstance(whole.A, Tracer) or isinstance(whole.B, Tracer):
        raise ValueError(
            "certified_value_rate needs plain numbers; call it outside jit, vmap and grad."
        )
    system = read_system(optimizer, whole, L)
    blank = ValueCertificate(math.inf, math.inf, 0.0, mu, L, start, window)
    if isinstance(system, str):
        return dataclasses.replace(blank, reason=system)
    blank = dataclasses.replace(blank, system=system)
    setting = Setting(system, mu / L, window, start)
    slow = _slowness(setting)
    if not slow > 0:
        reason = "it does not converge on all quadratics with curvatures in [mu, L]."
        return dataclasses.replace(blank, reason=reason)
    best = _best_slowness(setting, slow, tolerance) if mu > 0 else 0.0
    for share in _MORE if best > 0 or mu == 0 else ():
        rate = 1 - best * (1 - min(share * tolerance, 0.5))
        for found in _value_program.find_bounds(setting, rate, tolerance):
            proof = _prove(blank, setting, rate, found)
            if proof.verify():
                return proof
    reason = (
        f"no Lyapunov function with {window} gradients proves a rate, or none that float64 can "
        f"find; 1 minus the rate on quadratics is {slow:.1e}. Try a larger window or tolerance."
    )
    return dataclasses.replace(blank, reason=reason)


def _check(mu: float, L: float, start: str, tolerance: float) -> None:
    if not 0 <= mu < L < math.inf:
        raise ValueError(f"the functions have 0 <= mu < L, got mu={mu} and L={L}.")
    check_choice("start", start, get_args(Start))
    if mu == 0 and start == "value":
        raise ValueError(
            "without strong convexity, f(params_0) - f* says nothing about how far away the "
            'minimizer is, and no rate holds: give start="distance", or mu > 0.'
        )
    check_tolerance(tolerance)


def _slowness(setting: Setting) -> float:
    """Return 1 minus the larger rate on quadratics, at mu or in between, and at L."""
    a, b, c = (np.asarray(getattr(setting.system.system, name)) for name in "ABC")
    least = setting.ratio if setting.ratio > 0 else 1e-3
    curvatures = np.append(np.geomspace(least, 1.0, 33), 1.0)
    return 1 - max(np.abs(np.linalg.eigvals(a + k * np.outer(b, c))).max() for k in curvatures)


def _best_slowness(setting: Setting, slow: float, tolerance: float) -> float:
    """Return the largest 1 - rate with a Lyapunov function, by bisection; 0 if there is none."""
    search = _value_program.Search(setting)
    low, high = 0.0, 1.0
    share = 1 - tolerance
    for _ in range(_HALVINGS):
        if search.is_feasible(1 - share * slow):
            low = share
        else:
            high = share
        if high - low <= tolerance * low:
            break
        share = (low + high) / 2
    return low * slow


def _prove(
    blank: ValueCertificate, setting: Setting, rate: float, found: _value_program.Solution
) -> ValueCertificate:
    """Round what the solver found to a certificate, which may or may not be a proof."""
    exact = setting.exact()
    multipliers = {k: _rational.to_fractions(x) for k, x in found.multipliers.items()}
    V = complete(exact, _map(_rational.to_fractions, found.potential), multipliers)
    constant = found.constant * blank._unit() * (1 + 1e-9)  # more than its rounding
    return dataclasses.replace(
        blank,
        rate=float(rate),
        constant=float(constant),
        offset=found.offset if setting.ratio == 0 else 0.0,
        potential=_map(lambda x: x.astype(float), V),
        multipliers=found.multipliers,
    )


def _holds(one: Any, weights: np.ndarray, ratio: Fraction) -> bool:
    """Whether a claim holds, in fractions."""
    if weights.shape != one.allowed.shape or np.any(weights < 0):
        return False
    if np.any(weights * (1 - one.allowed) != 0):
        return False
    form, values = one.subtract(weights, ratio)
    form = (form + form.T) / 2
    if one.is_flat:
        if np.any(form[0] != 0):
            return False
        form = form[1:, 1:]
    fair = np.all(values == 0) if one.is_balanced else np.all(values >= 0)
    return bool(fair) and _rational.is_positive_definite(form)


def _map(function: Any, potential: Potential) -> Potential:
    """Apply a function to every array of a potential."""
    parts = [Quadratic(*map(function, part)) for part in potential if part is not None]
    return Potential(parts[0], parts[1] if len(parts) > 1 else None)


def _floats(potential: Potential) -> list[float]:
    return [
        float(x)
        for part in potential
        if part is not None
        for array in part
        for x in np.ravel(array)
    ]
