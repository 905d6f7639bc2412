"""The inequality of a certificate for gradients with errors, and its check in exact arithmetic.

Steps are made with g + d: the gradient g, which the constraints of `_constraints` describe, and an
error d. The vector of the forms is (x, e, d, g), or (x, e, g) where d is random and independent of
it. With V = (x, e)' P (x, e) + 2 m q, where q is what the off-by-one constraint stores,

    relative    |d| <= delta |g|:    V_{t+1} <= rate^2 V_t
    bounded     |d| <= size:         V_{t+1} <= rate^2 V_t + price |d|^2
    random      E d = 0:           E V_{t+1} <= E V_t - E |params|^2 + B'P B E |d|^2
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from jaxmom.theory import _constraints, _rational, _states
from jaxmom.theory._constraints import Forms
from jaxmom.theory._dyadic import Dyadic, remains_positive_definite, to_dyadic, to_dyadics
from jaxmom.theory.linear_system import LinearSystem

Noise: TypeAlias = Literal["relative", "bounded", "random"]

# A proof covers a change of every entry of A, B and C by this share of it.
_MARGIN = Dyadic(1, -52)
# Weights of Young's inequality in that cover, as exponents of two: any that work will do.
_WEIGHTS = ((-20, -40), (-26, -44), (-32, -40), (-14, -40), (-20, -28), (-14, -28), (-38, -48))
# Of the squares that are read out, which are far from singular.
_READ = Dyadic(1, -40)


class NoisyForms(NamedTuple):
    """The forms of the inequality.

    Attributes:
      forms: Those of the exact gradient, with a column for d unless it is random.
      noise: What is not negative by the size of d: empty if it is random.
      output: What V has to fall by in any case: |params|^2 if d is random, otherwise zero.
    """

    forms: Forms
    noise: tuple[np.ndarray, ...]
    output: np.ndarray


class Proof(NamedTuple):
    """What proves a claim about a system for curvatures in [mu, L].

    Attributes:
      noise: The kind of errors.
      system: Minimal, as (A, B, C).
      mu: The constant of strong convexity.
      L: The constant of smoothness.
      rate: The contraction per step; 1 if the errors are random.
      relative: delta; 0 unless the errors are relative.
      factor: [n + 1, n + 1], ``P = factor' factor``.
      multipliers: [2] of the constraints on gradients, and a third of the errors, unless random.
    """

    noise: Noise
    system: LinearSystem
    mu: float
    L: float
    rate: float
    relative: float
    factor: np.ndarray
    multipliers: np.ndarray


def noisy_forms(a: Any, b: Any, c: Any, mu: Any, L: Any, noise: Noise, relative: Any) -> NoisyForms:
    """Return the forms, in the arithmetic of the numbers."""
    forms, n = _constraints.quadratic_forms(a, b, c, mu, L), len(b)
    if noise == "random":
        read = np.append(c, [0, 0])
        return NoisyForms(forms, (), np.outer(read, read))
    step = np.insert(forms.step, n + 1, np.append(b, 0), axis=1)
    stay = np.insert(forms.stay, n + 1, 0, axis=1)
    sector, delayed = (
        np.insert(np.insert(form, n + 1, 0, axis=0), n + 1, 0, axis=1)
        for form in (forms.sector, forms.delayed)
    )
    sizes = np.zeros(n + 3, int).astype(object if isinstance(mu, Dyadic) else float)
    sizes[n + 1], sizes[n + 2] = -1, relative * relative
    return NoisyForms(Forms(step, stay, sector, delayed), (np.diag(sizes),), 0 * np.diag(sizes))


def combine_noisy(forms: NoisyForms, square: Any, P: Any, multipliers: Any) -> Any:
    """Return the matrix of the inequality; P and the multipliers may be variables of cvxpy."""
    left = _constraints.combine_forms(forms.forms, square, P, multipliers) + forms.output
    for i, form in enumerate(forms.noise):
        left = left + multipliers[2 + i] * form
    return left


def is_proof(proof: Proof) -> bool:
    """Whether the inequality holds, by exact arithmetic, whatever rounding did to the system."""
    numbers = [np.ravel(proof.factor), proof.multipliers, [proof.rate, proof.relative]]
    if not np.all(np.isfinite(np.concatenate(numbers))) or not 0 < proof.mu < proof.L < np.inf:
        return False
    is_fair = np.all(proof.multipliers >= 0) and 0 <= proof.relative < 1
    is_fair = is_fair and (proof.rate == 1 if proof.noise == "random" else 0 < proof.rate < 1)
    is_fair = is_fair and len(proof.multipliers) == (2 if proof.noise == "random" else 3)
    if not is_fair or _states.rest_state(proof.system) is None:
        return False
    P, multipliers = _states.square(proof.factor), to_dyadics(proof.multipliers)
    return _rational.is_positive_definite(P) and _decreases(proof, P, multipliers)


def _decreases(proof: Proof, P: np.ndarray, multipliers: np.ndarray) -> bool:
    a, b, c = (to_dyadics(x) for x in (proof.system.A, proof.system.B, proof.system.C))
    mu, L, rate, relative = (to_dyadic(x) for x in (proof.mu, proof.L, proof.rate, proof.relative))
    forms, square = noisy_forms(a, b, c, mu, L, proof.noise, relative), rate * rate
    left = combine_noisy(forms, square, P, multipliers)
    if not _rational.is_positive_definite(-left):
        return False
    changed = forms.output * 0
    if proof.noise == "random":
        read = np.append(np.abs(c), [0, 0])
        changed = (_MARGIN * _MARGIN * (1 + _inverse(_READ))) * np.outer(read, read)
    for weights in _WEIGHTS:
        change = _constraints.bound_change(forms.forms, square, P, multipliers, _MARGIN, weights)
        rest = -left - change.form - _READ * forms.output
        if remains_positive_definite(rest, change.error + changed):
            return True
    return False


def adds_at_most(proof: Proof, variance: float) -> bool:
    """Whether B'P B, which unit noise adds to V in a step, is at most a variance, exactly."""
    if not 0 < variance < np.inf:
        return False
    P = _states.square(proof.factor)
    b = np.append(to_dyadics(proof.system.B), 0)
    change = _MARGIN * _MARGIN * (1 + _inverse(_READ)) * (np.abs(b) @ np.abs(P) @ np.abs(b))
    return (1 + _READ) * (b @ P @ b) + change <= to_dyadic(variance)


def stays_within(proof: Proof, radius: float) -> bool:
    """Whether V <= price / (1 - rate^2) implies |params| <= radius, exactly."""
    if not 0 < radius < np.inf:
        return False
    P, rate, price = (
        _states.square(proof.factor),
        *map(to_dyadic, (proof.rate, proof.multipliers[2])),
    )
    c, size = np.append(to_dyadics(proof.system.C), 0), to_dyadic(radius)
    allowed = size * size * (1 - rate * rate) * P
    changed = price * _MARGIN * _MARGIN * (1 + _inverse(_READ)) * np.outer(np.abs(c), np.abs(c))
    return remains_positive_definite(allowed - (price * (1 + _READ)) * np.outer(c, c), changed)


def _inverse(power: Dyadic) -> Dyadic:
    return Dyadic(1, -power.exponent)
