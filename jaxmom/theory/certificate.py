"""The worst-case rate over all smooth strongly convex functions, with a certificate of it.

A quadratic's eigenvalues say nothing about other functions. Here the gradient is any map that
integral quadratic constraints allow the gradients of mu-strongly convex L-smooth functions, and a
quadratic function of the state that shrinks by rate^2 per step, however they behave, is the proof.
It is found by a small semidefinite program, and checked without one, in exact arithmetic.
"""

import dataclasses

import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory import _constraints, _proof, _rational, _states
from jaxmom.theory._dyadic import Dyadic, remains_positive_definite, to_dyadic, to_dyadics
from jaxmom.theory._systems import Linear, as_number, as_system
from jaxmom.theory.linear_system import LinearSystem

# A certificate covers a change of every entry of A, B and C by this share of it.
_MARGIN = Dyadic(1, -52)
# Any weights that bound the change will do: powers of two.
_WEIGHTS = (
    (-20, -52), (-20, -40), (-20, -28), (-26, -40), (-26, -52), (-32, -40), (-14, -40), (-14, -28)
)  # fmt: skip


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
        Infinite if the state that runs begin with is not known.
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
        """Whether it is a proof, by exact arithmetic: no solver, no rounding, no tolerance.

        It proves the rate of every system whose entries of A, B and C differ from those of `system`
        by at most 2^-52 of them, which covers their own rounding.
        """
        if self.P is None or self.multipliers is None or _states.rest_state(self.system) is None:
            return False
        numbers = [np.ravel(self.P), self.multipliers, [self.rate, self.mu, self.L]]
        if not np.all(np.isfinite(np.concatenate(numbers))) or not 0 < self.mu <= self.L:
            return False
        P = to_dyadics(self.P) if self.factor is None else _states.square(self.factor)
        multipliers = to_dyadics(self.multipliers)
        is_fair = np.array_equal(P.astype(float), self.P) and bool(np.all(P == P.T))
        is_fair = is_fair and bool(np.all(multipliers >= 0)) and 0 < self.rate < 1
        return is_fair and _rational.is_positive_definite(P) and self._decreases(P, multipliers)

    def _decreases(self, P: np.ndarray, multipliers: np.ndarray) -> bool:
        """Whether the inequality holds with the margin."""
        mu, L, rate = (to_dyadic(x) for x in (self.mu, self.L, self.rate))
        a, b, c = (to_dyadics(x) for x in (self.system.A, self.system.B, self.system.C))
        forms, square = _constraints.quadratic_forms(a, b, c, mu, L), rate * rate
        left = _constraints.combine_forms(forms, square, P, multipliers)
        changes = (
            _constraints.bound_change(forms, square, P, multipliers, _MARGIN, weights)
            for weights in _WEIGHTS
        )
        return _rational.is_positive_definite(-left) and any(
            remains_positive_definite(-left - change.form, change.error) for change in changes
        )

    def bound(self) -> float:
        """Return the constant before rate^t, for params at distance 1 and an optimizer's own start.

        A `LinearSystem` starts at rest. The bound is infinite if there is no certificate, if more
        than the first update differs from the later ones, or if a buffer is not at rest at the
        start: then params leave the optimum even from there.
        """
        rest = _states.rest_state(self.system)
        if self.P is None or rest is None or not _is_known(self.first_step):
            return float("inf")
        starts = [np.append(rest, 0.0)]
        if self.first_step is not None:
            # The weight is convex in the first gradient, and largest at an end of its range. The
            # off-by-one constraint begins anew, without a gradient before.
            fixed, gain = self.first_step
            ends = [np.append(fixed + gain * g, 0.0) for g in (self.mu, self.L)]
            starts += [end / self.rate for end in ends]
        factor = np.linalg.cholesky(self.P).T if self.factor is None else self.factor
        read = np.linalg.norm(np.linalg.solve(factor.T, np.append(self.system.C, 0.0)))
        farthest = max(np.linalg.norm(factor @ start) for start in starts)
        bound = float(read * farthest) * (1 + 1e-9)  # more than its rounding
        return bound if np.isfinite(bound) else float("inf")

    def lyapunov(
        self, params: ArrayLike, gradients: ArrayLike, values: ArrayLike, optimum: ArrayLike
    ) -> np.ndarray:
        """Return the Lyapunov function along a run: ``(x_t, e_t)' P (x_t, e_t) + 2 m q_{t-1}``.

        ``q_t = (L - mu) h_t - |grad h_t|^2 / 2`` with ``h = f - f* - mu |params - optimum|^2 / 2``,
        which is not negative, is what the off-by-one constraint, of the multiplier m, stores.
        ``V_{t+1} <= rate^2 V_t`` on every function of the class, after the first update if that
        differs from the later ones. The state x_t is what the gradients make of the start, so that
        any run of the optimizer will do, in any number of dimensions, which V adds up.

        Args:
          params: [steps + 1, ...], where the gradients were taken.
          gradients: [steps + 1, ...] or [steps, ...]; the one at the last params is not needed.
          values: As the gradients, ``f - f*``: the loss at params minus that at the optimum.
          optimum: [...], where the gradient is zero.

        Returns:
          V [steps + 1].

        Raises:
          ValueError: There is no certificate, or the run is not one of this optimizer from its own
            start.

        Source: Lessard, Recht and Packard 2016 (arXiv 1408.3595), the proof of lemma 10.
        """
        rest = _states.rest_state(self.system)
        if self.P is None or self.multipliers is None or rest is None:
            raise ValueError(f"there is no certificate, and so no Lyapunov function: {self.reason}")
        if not _is_known(self.first_step):
            raise ValueError(
                "the state of a run is not known from its start: more than the first update "
                "differs from the later ones, or a buffer is not at rest at first. For runs from "
                "rest, give certified_rate the system of the updates, theory.linearize(optimizer)."
            )
        away = np.asarray(params, float) - np.asarray(optimum, float)
        away, steps = away.reshape(len(away), -1), len(away) - 1
        slopes = np.asarray(gradients, float).reshape(len(np.asarray(gradients)), -1)[:steps]
        a, b, c = (np.asarray(x, float) for x in (self.system.A, self.system.B, self.system.C))
        states = [np.outer(rest, away[0])]
        for t, slope in enumerate(slopes):
            states.append(a @ states[-1] + np.outer(b, slope))
            if t == 0 and self.first_step is not None:
                fixed, gain = self.first_step
                states[-1] = np.outer(fixed, away[0]) + np.outer(gain, slope)
        x = np.array(states)
        if len(x) != steps + 1 or not np.allclose(c @ x, away, rtol=0, atol=1e-4 * abs(away).max()):
            raise ValueError(
                "these are no params and gradients of a run of this optimizer from its own start: "
                "they have steps + 1 rows each, and the gradients are those at the params."
            )
        excess = np.concatenate([0 * away[:1], slopes - self.L * away[:-1]])
        if self.first_step is not None:  # the constraint begins after it
            excess[:2] = 0
        factor = np.linalg.cholesky(self.P).T if self.factor is None else self.factor
        weighed = np.einsum("ij,tjd->tid", factor, np.concatenate([x, excess[:, None]], axis=1))
        above = slopes - self.mu * away[:-1]
        heights = np.asarray(values, float)[:steps] - self.mu * np.sum(away[:-1] ** 2, axis=1) / 2
        stored = (self.L - self.mu) * heights - np.sum(above**2, axis=1) / 2
        if self.first_step is not None:
            stored[:1] = 0
        stored = np.append(0.0, 2 * self.multipliers[1] * stored)
        return np.sum(weighed**2, axis=(1, 2)) + stored


def certified_rate(
    optimizer: Linear, mu: float, L: float, *, tolerance: float = 1e-5
) -> Certificate:
    """Return the best rate that integral quadratic constraints prove, with the proof.

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
      tolerance: How far above the best rate the proof may be, as a share of 1 minus that rate. As
        much again is given away for a smaller bound, and more where float64 has no closer proof:
        triple momentum needs 1e-4 at L / mu = 100 and 1e-2 at 10^6.

    Returns:
      A `Certificate`, which `verify`s.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: The curvatures are not 0 < mu < L, the tolerance is not in (0, 0.5], the optimizer
        has weight decay, which moves the point where it comes to rest away from the optimum, or its
        numbers are traced.

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
    check_curvatures(mu, L)
    check_tolerance(tolerance)
    whole = as_system(optimizer)
    if isinstance(whole.A, Tracer) or isinstance(whole.B, Tracer):
        raise ValueError("certified_rate needs plain numbers; call it outside jit, vmap and grad.")
    system = _states.minimal_system(whole)
    if not system.names:
        return no_certificate(system, mu, L)
    best = _proof.search_rates([_constraints.pose(system, mu, L)])[0]
    system = _states.well_scaled(system, mu, L, best)
    rest, found = _states.rest_state(system), []
    if best.slow > 0 and rest is not None:
        early = None if isinstance(optimizer, LinearSystem) else _states.early_systems(optimizer)
        first = _states.first_step(early, whole, system)
        problem, propose = _constraints.pose(system, mu, L), proposer(system, mu, L, first)
        found = _proof.prove_tightly(problem, best, tolerance, rest, propose)
    return min(found, key=Certificate.bound, default=no_certificate(system, mu, L))


def _is_known(first_step: np.ndarray | None) -> bool:
    return first_step is None or bool(np.all(np.isfinite(first_step)))


def check_curvatures(mu: float, L: float) -> None:
    """Raise ValueError unless 0 < mu < L."""
    if not 0 < mu < L < float("inf"):
        raise ValueError(
            f"a linear rate is certified for 0 < mu < L, got mu={mu} and L={L}; "
            "without strong convexity there is none."
        )


def check_tolerance(tolerance: float) -> None:
    """Raise ValueError unless a proof may be a share above 0 and up to a half from the best."""
    if not 0 < as_number("tolerance", tolerance) <= 0.5:
        raise ValueError(
            "the tolerance is the share of 1 minus the best rate that a proof may give away, above "
            f"0 and at most 0.5; got {tolerance}."
        )


def no_certificate(system: LinearSystem, mu: float, L: float) -> Certificate:
    """Return the outcome of a search that found none."""
    reason = _reason(system, mu, L)
    return Certificate(float("inf"), mu, L, system, None, None, reason=reason)


def proposer(
    system: LinearSystem, mu: float, L: float, first: np.ndarray | None
) -> _proof.ProposeFn:
    """Return a function that makes a candidate a certificate, if it is a proof."""

    def propose(rate: float, factor: np.ndarray, multipliers: np.ndarray) -> Certificate | None:
        P = _states.square(factor).astype(float)
        proof = Certificate(float(rate), mu, L, system, P, multipliers, first, factor=factor)
        return proof if proof.verify() else None

    return propose


def _reason(system: LinearSystem, mu: float, L: float) -> str:
    """A sentence that says why there is no certificate."""
    if not system.names:
        return "no gradient moves params: the learning rate is 0."
    a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
    curvatures = np.linspace((mu / L) ** 0.5, 1.0, 65) ** 2 * L
    gap = 1 - max(np.abs(np.linalg.eigvals(a + k * np.outer(b, c))).max() for k in curvatures)
    if not gap > 0:
        return "it does not converge on all quadratics with curvatures in [mu, L]."
    return (
        "integral quadratic constraints prove no linear rate, or none that float64 can find: "
        f"1 minus the rate on quadratics is {gap:.1e}, and L / mu is {L / mu:.1e}."
    )
