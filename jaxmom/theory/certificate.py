"""The worst-case rate over all smooth strongly convex functions, with a certificate of it.

A quadratic's eigenvalues say nothing about other functions. Here the gradient is any map that
integral quadratic constraints allow the gradients of mu-strongly convex L-smooth functions, and a
quadratic function of the state that shrinks by rate^2 per step, however they behave, is the proof.
It is found by a small semidefinite program, and checked without one, in exact arithmetic.
"""

import dataclasses
from fractions import Fraction
from typing import cast

import jax
import numpy as np
from jax.core import Tracer

from jaxmom.theory import _bisection, _constraints, _rational
from jaxmom.theory._linearize import linearize
from jaxmom.theory._minimal import balance
from jaxmom.theory._systems import Linear, as_number, as_system
from jaxmom.theory.linear_system import LinearSystem

# A certificate covers a change of every entry of A, B and C by this share of it.
_MARGIN = Fraction(1, 2**52)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A proof that ``|params_t - optimum| <= bound * rate^t`` for every function of the class.

    The augmented state is (x, e): the state of `system`, and what the gradient at the previous step
    exceeded L times params by. Its matrices, and the inequality, are in `inequality`.

    Attributes:
      rate: The contraction per step; infinite if no certificate was found.
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      system: The optimizer, minimal, as (A, B, C).
      P: [n + 1, n + 1] positive definite, or None.
      multipliers: [2] not negative: of the sector and of the weighted off-by-one constraint.
      first_step: [2, n], if the first update differs from the later ones, as the undamped one of
        PyTorch does: the state after it is the first row plus the gradient times the second.
      reason: Why there is no certificate; empty if there is one.
      factor: [n + 1, n + 1], whose ``factor' factor``, in exact arithmetic, is the P of the proof.
        Rounded to floats, P itself may miss the inequality at large condition numbers.
    """

    rate: float
    mu: float
    L: float
    system: LinearSystem
    P: np.ndarray | None
    multipliers: np.ndarray | None
    first_step: np.ndarray | None = None
    reason: str = ""
    factor: np.ndarray | None = None

    def verify(self) -> bool:
        """Whether it is a proof, by rational arithmetic: no solver, no rounding, no tolerance.

        It proves the rate of every system whose entries of A, B and C differ from those of `system`
        by at most 2^-52 of them, which covers their own rounding.
        """
        if self.P is None or self.multipliers is None or _rest_state(self.system) is None:
            return False
        numbers = [np.ravel(self.P), self.multipliers, [self.rate, self.mu, self.L]]
        if not np.all(np.isfinite(np.concatenate(numbers))) or not 0 < self.mu <= self.L:
            return False
        P = _rational.to_fractions(self.P) if self.factor is None else _square(self.factor)
        multipliers = _rational.to_fractions(self.multipliers)
        is_fair = np.array_equal(P.astype(float), self.P) and bool(np.all(P == P.T))
        is_fair = is_fair and bool(np.all(multipliers >= 0)) and 0 < self.rate < 1
        return is_fair and _rational.is_positive_definite(P) and self._decreases(P, multipliers)

    def _decreases(self, P: np.ndarray, multipliers: np.ndarray) -> bool:
        """Whether the inequality holds with the margin."""
        mu, L, square = Fraction(self.mu), Fraction(self.L), Fraction(self.rate) ** 2
        forms = _constraints.quadratic_forms(*_exact(self.system), mu, L)
        left = _constraints.combine_forms(forms, square, P, multipliers)
        change = _constraints.bound_change(forms, square, P, multipliers, _MARGIN)
        return _rational.remains_positive_definite(-left - change.form, change.error)

    def bound(self) -> float:
        """Return the constant before rate^t, for params at distance 1 and an optimizer's own start.

        All buffers are empty at the start. It is infinite if there is no certificate, or if more
        than the first update differs from the later ones.
        """
        rest = _rest_state(self.system)
        if self.P is None or rest is None:
            return float("inf")
        starts = [np.append(rest, 0.0)]
        if self.first_step is not None:
            # The weight is convex in the first gradient, and largest at an end of its range.
            fixed, gain = self.first_step
            ends = [np.append(fixed + gain * g, g - self.L) for g in (self.mu, self.L)]
            starts += [end / self.rate for end in ends]
        factor = np.linalg.cholesky(self.P).T if self.factor is None else self.factor
        read = np.linalg.norm(np.linalg.solve(factor.T, np.append(self.system.C, 0.0)))
        farthest = max(np.linalg.norm(factor @ start) for start in starts)
        bound = float(read * farthest) * (1 + 1e-9)  # more than its rounding
        return bound if np.isfinite(bound) else float("inf")


def certified_rate(
    optimizer: Linear, mu: float, L: float, *, tolerance: float = 1e-5
) -> Certificate:
    """Search for the best rate that integral quadratic constraints prove, by bisection.

    It holds for every mu-strongly convex L-smooth function in any number of dimensions, at constant
    hyperparameters. An upper bound: the true rate may be better. That none is found (``rate`` is
    inf, and ``reason`` says why) does not prove divergence; the quadratic-optimal heavy ball has
    none, and does cycle.

    Only linear rates, mu > 0: a certificate for the convex case proves 1/t or 1/t^2 with matrices
    that change from step to step, which does not fit this frame. In float64 the search reaches
    condition numbers L / mu of about 10^6.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only.
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.
      tolerance: Where the bisection ends, as a share of 1 minus the rate on quadratics. As much
        again is given away for a smaller bound.

    Returns:
      A `Certificate`, which `verify`s.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: The curvatures are not 0 < mu < L, the optimizer has weight decay, which moves the
        point where it comes to rest away from the optimum, or its numbers are traced.

    Source: Lessard, Recht and Packard 2016 (arXiv 1408.3595), theorem 4 with the pointwise sector
    (lemma 6) and the weighted off-by-one (lemma 10) constraints.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> proof = theory.certified_rate(jm.gradient_descent(0.2), mu=1.0, L=9.0)
      >>> print(f"{proof.rate:.4f} {proof.verify()}")  # (kappa - 1) / (kappa + 1)
      0.8000 True
    """
    mu, L = as_number("mu", mu), as_number("L", L)
    if not 0 < mu < L < float("inf"):
        raise ValueError(
            f"a linear rate is certified for 0 < mu < L, got mu={mu} and L={L}; "
            "without strong convexity there is none."
        )
    whole = as_system(optimizer)
    if isinstance(whole.A, Tracer) or isinstance(whole.B, Tracer):
        raise ValueError("certified_rate needs plain numbers; call it outside jit, vmap and grad.")
    system = _minimal_system(whole)
    if not system.names:
        reason = "no gradient moves params: the learning rate is 0."
        return Certificate(float("inf"), mu, L, system, None, None, reason=reason)
    rest = _rest_state(system)
    if rest is None:
        raise ValueError(
            "with weight decay, or another pull on params, they do not come to rest at the optimum "
            "and no rate of |params - optimum| is certified. Leave it out; coupled weight decay is "
            "part of the function f + weight_decay |x|^2 / 2, with mu + weight_decay and "
            "L + weight_decay."
        )
    first = _first_step(optimizer, whole, system)

    def propose(rate: float, factor: np.ndarray, multipliers: np.ndarray) -> Certificate | None:
        P = _square(factor).astype(float)
        proof = Certificate(float(rate), mu, L, system, P, multipliers, first, factor=factor)
        return proof if proof.verify() else None

    found = _bisection.search(system, mu, L, tolerance, rest, propose)
    if isinstance(found, str):
        return Certificate(float("inf"), mu, L, system, None, None, reason=found)
    return min(found, key=Certificate.bound)


def _minimal_system(system: LinearSystem) -> LinearSystem:
    """Drop hidden states exactly, so that nothing but the entries left is rounded, once."""
    a, b, c = (x.astype(float) for x in _rational.drop_hidden(*_exact(system)))
    a, b, c = balance(a, b, c)
    # NumPy arrays are float64, whatever JAX is set to.
    parts = cast("list[jax.Array]", [a, b, c, np.zeros([])])
    return LinearSystem(*parts, names=tuple(f"x{i}" for i in range(len(b))))


def _exact(system: LinearSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = (_rational.to_fractions(x) for x in (system.A, system.B, system.C))
    return a, b, c


def _square(factor: np.ndarray) -> np.ndarray:
    exact = _rational.to_fractions(factor)
    return exact.T @ exact


def _rest_state(system: LinearSystem) -> np.ndarray | None:
    """The state of params at distance 1 with empty buffers, which stays; None if there is none."""
    state = _rational.rest_state(*_exact(system))
    return None if state is None else state.astype(float)


def _first_step(optimizer: Linear, whole: LinearSystem, system: LinearSystem) -> np.ndarray | None:
    """What the first update makes of the start, in the states of the minimal system."""
    if isinstance(optimizer, LinearSystem):
        return None
    first, second = (linearize(optimizer, count=count) for count in (0, 1))
    if _is_same(first, whole):
        return None
    # The same params in all the future make the same state of both systems.
    steps = len(whole.names)
    ours, theirs = _observe(system, steps), _observe(whole, steps)
    after = np.array([first.A[:, 0], first.B])  # of `linearize`: params first, buffers empty
    found = np.linalg.lstsq(ours, theirs @ after.T, rcond=None)[0]
    error, size = np.abs(ours @ found - theirs @ after.T), np.abs(ours) @ np.abs(found)
    known = _is_same(second, whole) and np.all(error <= 1e-9 * size)
    return found.T if known else np.full(found.T.shape, np.inf)


def _is_same(one: LinearSystem, other: LinearSystem) -> bool:
    return one.names == other.names and all(
        np.allclose(x, y, rtol=1e-12, atol=0.0) for x, y in ((one.A, other.A), (one.B, other.B))
    )


def _observe(system: LinearSystem, steps: int) -> np.ndarray:
    """The rows C, C A, C A^2 ...: params in the steps to come, without gradients."""
    rows = [np.asarray(system.C, float)]
    for _ in range(steps - 1):
        rows.append(rows[-1] @ np.asarray(system.A, float))
    return np.array(rows)
