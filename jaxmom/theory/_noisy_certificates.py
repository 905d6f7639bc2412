"""What gradients with errors do at worst, over all smooth strongly convex functions, with proofs.

Errors that are a share of the gradient slow a method down, or make it diverge. Others keep params
away from the optimum: random ones at a variance, bounded ones within a radius.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import optax
from jax.core import Tracer

from jaxmom.theory import _constraints, _noisy_forms, _noisy_search, _proof, _states
from jaxmom.theory._linearize import linearize, start_state
from jaxmom.theory._noisy_forms import Noise, Proof
from jaxmom.theory._systems import Linear, as_number, as_system
from jaxmom.theory.certificate import (
    Certificate,
    check_curvatures,
    check_tolerance,
    no_certificate,
)
from jaxmom.theory.linear_system import LinearSystem

_UNIT = (1e-100, 1e100)  # of curvatures, whose squares are multipliers
_LEAST_SLOW = 2.0**-40  # of 1 minus the rate, which is searched for by shares
# After so many updates, `linearize` says, all are the same.
_FIRST = 3
# More than the rounding of a claim, which is checked in exact arithmetic.
_ABOVE = (1 + 1e-10, 1 + 1e-8, 1 + 1e-6)


@dataclasses.dataclass(frozen=True)
class NoisyRate:
    """A proof that ``|params_t - optimum| <= bound * rate^t`` with errors of the gradient.

    It holds for every function of the class and all errors of at most `relative_noise` times the
    gradient at that step, from whatever an adversary chooses.

    Attributes:
      rate: The contraction per step; infinite if no certificate was found.
      relative_noise: delta, the largest ``|error| / |gradient|``.
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      system: The optimizer, minimal, as (A, B, C).
      factor: [n + 1, n + 1], whose ``factor' factor`` is the P of the proof, or None.
      multipliers: [3] not negative: of the sector, the weighted off-by-one constraint, the errors.
      first_step: As in `Certificate`.
      reason: Why there is no certificate; empty if there is one.
    """

    rate: float
    relative_noise: float
    mu: float
    L: float
    system: LinearSystem
    factor: np.ndarray | None = None
    multipliers: np.ndarray | None = None
    first_step: np.ndarray | None = None
    reason: str = ""

    def verify(self) -> bool:
        """Whether it is a proof, by exact arithmetic: no solver, no rounding, no tolerance.

        As in `Certificate.verify`, the entries of A, B and C may differ by 2^-52 of them.
        """
        proof = _as_proof(self, "relative", self.relative_noise)
        return proof is not None and _noisy_forms.is_proof(proof)

    def bound(self) -> float:
        """Return the constant before rate^t, as `Certificate.bound` does."""
        if self.factor is None:
            return float("inf")
        P = _states.square(self.factor).astype(float)
        # With its error, the first gradient is at most relative_noise * L farther out.
        more = self.relative_noise * self.L
        return Certificate(
            *(self.rate, self.mu - more, self.L + more, self.system, P, self.multipliers),
            first_step=self.first_step,
            factor=self.factor,
        ).bound()


@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """A proof of how far errors of the gradient keep params from the optimum in the long run.

    Attributes:
      value: If the errors are random, the long-run mean of ``|params - optimum|^2`` is at most
        value times their variance. If they are bounded, ``|params - optimum|`` is, in the limit, at
        most value times their size. Infinite if no certificate was found.
      noise: "random" or "bounded".
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      system: The optimizer, minimal, as (A, B, C).
      rate: At which bounded errors are forgotten in the proof; 1 if they are random.
      factor: [n + 1, n + 1], whose ``factor' factor`` is the P of the proof, or None.
      multipliers: Not negative: of the sector, the weighted off-by-one constraint and, if they are
        bounded, of the errors.
      reason: Why there is no certificate; empty if there is one.
    """

    value: float
    noise: Noise
    mu: float
    L: float
    system: LinearSystem
    rate: float = 1.0
    factor: np.ndarray | None = None
    multipliers: np.ndarray | None = None
    reason: str = ""

    def verify(self) -> bool:
        """Whether it is a proof, by exact arithmetic: no solver, no rounding, no tolerance.

        As in `Certificate.verify`, the entries of A, B and C may differ by 2^-52 of them.
        """
        proof = None if self.noise == "relative" else _as_proof(self, self.noise, 0.0)
        if proof is None or not _noisy_forms.is_proof(proof):
            return False
        if self.noise == "random":
            return _noisy_forms.adds_at_most(proof, self.value)
        return _noisy_forms.stays_within(proof, self.value)


def certified_noisy_rate(
    optimizer: Linear, mu: float, L: float, relative_noise: float, *, tolerance: float = 1e-5
) -> NoisyRate:
    """Return the best rate that is proved for gradients with relative errors, with the proof.

    Steps are made with ``g + d``, ``|d| <= relative_noise |g|``: inexact, rounded or compressed
    gradients. It holds for every mu-strongly convex L-smooth function, in any number of dimensions,
    whatever the errors are. For gradient descent with the learning rate alpha and delta =
    relative_noise it is exact: ``max(1 - alpha mu (1 - delta), alpha L (1 + delta) - 1)``. Others
    may be faster than what is proved; none is faster than on quadratics with curvatures in
    ``[mu (1 - delta), L (1 + delta)]``, which such errors reach. In float64 the search reaches
    condition numbers of about 10^3, more for some methods; `reason` says where it found nothing.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only.
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.
      relative_noise: delta in [0, 1), the largest ``|error| / |gradient|``. At 0 the rate is that
        of `certified_rate`.
      tolerance: How far above the best rate the proof may be, as a share of 1 minus that rate.

    Returns:
      A `NoisyRate`, which `verify`s.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: As in `certified_rate`, or relative_noise is not in [0, 1).

    Source:
      Lessard, Recht and Packard 2016 (arXiv 1408.3595), theorem 4 with lemmas 6 and 10 and their
      constraint for multiplicative gradient noise; Cyrus, Hu, Van Scoy and Lessard 2018 (arXiv
      1710.04753).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> proof = theory.certified_noisy_rate(jm.gradient_descent(0.15), 1.0, 10.0, 0.2)
      >>> print(f"{proof.rate:.4f} {proof.verify()}")  # 1 - 0.15 * 0.8
      0.8800 True
    """
    relative = as_number("relative_noise", relative_noise)
    if not 0 <= relative < 1:
        raise ValueError(
            "relative_noise is the largest |error| / |gradient|, at least 0 and below 1, got "
            f"{relative}; errors as large as the gradient may cancel it, and nothing converges."
        )
    check_tolerance(tolerance)
    task = _prepare(optimizer, mu, L, relative)
    none = NoisyRate(float("inf"), relative, task.mu, task.L, task.system, reason=task.reason)
    rest = _states.rest_state(task.system) if task.system.names else None
    if task.best is None or rest is None:
        return none
    early = None if isinstance(optimizer, LinearSystem) else _states.early_systems(optimizer)
    first = _states.first_step(early, task.whole, task.system)

    def propose(rate: float, factor: np.ndarray, multipliers: np.ndarray) -> NoisyRate | None:
        parts = {"factor": factor, "multipliers": multipliers, "first_step": first, "reason": ""}
        proof = dataclasses.replace(none, rate=float(rate), **parts)
        return proof if proof.verify() else None

    program = _noisy_search.Program(task.problem, "relative", relative)
    found = _noisy_search.prove_rates(program, task.best, tolerance, rest, propose)
    return min(found, key=NoisyRate.bound, default=none)


def certified_variance(optimizer: Linear, mu: float, L: float) -> NoiseFloor:
    """Return a proof of the variance that random errors of the gradient leave in the long run.

    Steps are made with ``g + d``: the errors d have mean zero given the past, and ``E |d|^2 <=
    variance``, summed over the dimensions. Then, on every mu-strongly convex L-smooth function,

        ``limsup_T 1/T sum_{t < T} E |params_t - optimum|^2 <= value * variance``

    It is never below `stationary_variance`, which is exact on a quadratic. For gradient descent
    with the learning rate alpha <= 2 / (L + mu) they agree at the curvature mu: ``alpha / (mu (2 -
    alpha mu))``. With independent errors of variance sigma^2 in each of n dimensions the variance
    is ``n sigma^2``.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only.
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.

    Returns:
      A `NoiseFloor`, which `verify`s. Its value is infinite if no linear rate is certified without
      errors, or if a buffer that no gradient reaches moves params.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: As in `certified_rate`.

    Source: Van Scoy and Lessard 2021 (arXiv 2109.05059), the bound of the sensitivity, with the
      constraints of `certified_rate`.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> floor = theory.certified_variance(jm.gradient_descent(0.1), mu=1.0, L=10.0)
      >>> print(f"{floor.value:.5f} {floor.verify()}")  # 0.1 / 1.9
      0.05263 True
    """
    return _certify_floor("random", optimizer, mu, L)


def certified_radius(optimizer: Linear, mu: float, L: float) -> NoiseFloor:
    """Return a proof of how far bounded errors of the gradient keep params in the long run.

    Steps are made with ``g + d``, ``|d| <= size``, whatever the errors are: rounding, a bias, an
    adversary. Then, on every mu-strongly convex L-smooth function,

        ``limsup_t |params_t - optimum| <= value * size``

    A constant error moves the optimum of a quadratic by ``size / mu`` at most, so that no value is
    below ``1 / mu``; gradient descent with a learning rate of at most ``2 / (L + mu)`` has that.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`; plain numbers only.
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.

    Returns:
      A `NoiseFloor`, which `verify`s. Its value is infinite if no linear rate is certified without
      errors, or if a buffer that no gradient reaches moves params.

    Raises:
      ImportError: cvxpy or clarabel is missing; they come with ``pip install jaxmom[certify]``.
      ValueError: As in `certified_rate`.

    Source:
      The constraints of `certified_rate` with a supply rate for the errors, as for the gain of a
      system with disturbances (Willems 1972, Arch. Rational Mech. Anal. 45).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> floor = theory.certified_radius(jm.gradient_descent(0.1), mu=1.0, L=10.0)
      >>> print(f"{floor.value:.3f} {floor.verify()}")
      1.000 True
    """
    return _certify_floor("bounded", optimizer, mu, L)


class _Task(NamedTuple):
    mu: float
    L: float
    whole: LinearSystem
    system: LinearSystem  # minimal, in states that suit a proof
    best: _proof.Best | None  # without errors; None if nothing can be proved
    reason: str

    @property
    def problem(self) -> _constraints.Problem:
        return _constraints.pose(self.system, self.mu, self.L)


def _prepare(optimizer: Linear, mu: float, L: float, relative: float) -> _Task:
    """Check what is given, and search for the best rate without errors."""
    mu, L = as_number("mu", mu), as_number("L", L)
    check_curvatures(mu, L)
    if not _UNIT[0] < L < _UNIT[1]:
        raise ValueError(
            f"a certificate with noise has squares of L, which float64 holds for L between "
            f"{_UNIT[0]:g} and {_UNIT[1]:g}, got {L}; choose another unit of the loss."
        )
    whole = as_system(optimizer)
    if isinstance(whole.A, Tracer) or isinstance(whole.B, Tracer):
        raise ValueError(
            "certificates with noise need plain numbers; call it outside jit, vmap and grad."
        )
    system = _states.minimal_system(whole)
    if not system.names:
        return _Task(mu, L, whole, system, None, no_certificate(system, mu, L).reason)
    if not (isinstance(optimizer, LinearSystem) or _forgets_its_start(optimizer, whole, system)):
        reason = (
            "from its own start it moves params by a buffer that no gradient reaches; let that "
            "start at zero or as a copy of params."
        )
        return _Task(mu, L, whole, system, None, reason)
    best = _proof.search_rates([_constraints.pose(system, mu, L)])[0]
    system = _states.well_scaled(system, mu, L, best)
    if not best.slow > 0:
        reason = no_certificate(system, mu, L).reason
        return _Task(mu, L, whole, system, None, f"even without errors: {reason}")
    if best.slow < _LEAST_SLOW:
        reason = f"1 minus its rate is {best.slow:.1e}, too little for a search in float64."
        return _Task(mu, L, whole, system, None, reason)
    low, high = mu * (1 - relative), L * (1 + relative)
    reason = "integral quadratic constraints prove nothing for it that float64 can find."
    if not _converges(system, low, high):
        reason = (
            "it does not converge on all quadratics with curvatures in "
            f"[(1 - relative_noise) mu, (1 + relative_noise) L] = [{low:g}, {high:g}], which such "
            "errors reach."
        )
        return _Task(mu, L, whole, system, None, reason)
    return _Task(mu, L, whole, system, best, reason)


def _forgets_its_start(
    optimizer: optax.GradientTransformation, whole: LinearSystem, system: LinearSystem
) -> bool:
    """Whether the minimal system also makes what follows from the start and the first updates."""
    if len(system.names) == len(whole.names):
        return True
    states = [start_state(optimizer), np.eye(len(whole.names))[0]]
    for count in range(_FIRST):
        one = linearize(optimizer, count=count)
        states = [*(one.A @ state for state in states), one.B]
    ours, theirs = (_states.observe(x, len(whole.names)) for x in (system, whole))
    wanted = theirs @ np.column_stack(states)
    found = np.linalg.lstsq(ours, wanted, rcond=None)[0]
    return bool(np.all(np.abs(ours @ found - wanted) <= 1e-9 * (np.abs(ours) @ np.abs(found))))


def _converges(system: LinearSystem, low: float, high: float) -> bool:
    a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
    loops = (a + k * np.outer(b, c) for k in np.linspace((low / high) ** 0.5, 1.0, 65) ** 2 * high)
    return max(np.abs(np.linalg.eigvals(loop)).max() for loop in loops) < 1


def _certify_floor(noise: Noise, optimizer: Linear, mu: float, L: float) -> NoiseFloor:
    task = _prepare(optimizer, mu, L, 0.0)
    none = NoiseFloor(float("inf"), noise, task.mu, task.L, task.system, reason=task.reason)
    if task.best is None:
        return none

    def propose(rate: float, factor: np.ndarray, multipliers: np.ndarray) -> NoiseFloor | None:
        parts = {"rate": float(rate), "factor": factor, "multipliers": multipliers, "reason": ""}
        found = dataclasses.replace(none, **parts)
        value = _read_value(found)
        claims = (dataclasses.replace(found, value=value * above) for above in _ABOVE)
        return next((claim for claim in claims if claim.verify()), None)

    program = _noisy_search.Program(task.problem, noise)
    prove = _noisy_search.prove_variances if noise == "random" else _noisy_search.prove_radii
    return min(prove(program, task.best, propose), key=lambda floor: floor.value, default=none)


def _read_value(floor: NoiseFloor) -> float:
    """What the matrices prove, up to rounding: B'P B, or the radius of the least level set of V."""
    factor, multipliers = floor.factor, floor.multipliers
    assert factor is not None
    assert multipliers is not None
    if floor.noise == "random":
        return float(np.sum((factor @ np.append(floor.system.B, 0.0)) ** 2))
    read = np.linalg.norm(np.linalg.solve(factor.T, np.append(floor.system.C, 0.0)))
    return float(read * np.sqrt(multipliers[2] / ((1 - floor.rate) * (1 + floor.rate))))


def _as_proof(found: NoisyRate | NoiseFloor, noise: Noise, relative: float) -> Proof | None:
    if found.factor is None or found.multipliers is None:
        return None
    numbers = found.mu, found.L, found.rate, relative
    return Proof(noise, found.system, *numbers, found.factor, found.multipliers)
