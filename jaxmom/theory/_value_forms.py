"""Lyapunov functions of states, gradients and values, and the inequalities that they must meet.

The vector that forms act on is (x_t, g_t, g_{t+1} ...): the state, and the gradients from then on,
in units with L = 1. Values have a linear form beside it. The numbers may be floats, fractions or
variables of cvxpy, so that what is solved for and what is verified is one set of formulas.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxmom.theory import _performance, _rational
from jaxmom.theory._performance import Quadratic
from jaxmom.theory._value_system import ValueSystem


class Potential(NamedTuple):
    """``V_t = base_t + t growth_t``, forms of (x_t, g_t ... g_{t+w-1}) and of w values.

    Attributes:
      base: Form [n + w, n + w] and values [w].
      growth: The same for convex functions; None for strongly convex ones.
    """

    base: Quadratic
    growth: Quadratic | None


class Run(NamedTuple):
    """The rows of consecutive updates in a basis of d vectors.

    Attributes:
      states: [m + 1][n, d].
      points: [m + 1, d], where gradients are taken; the minimizer last.
      gradients: [m + 1, d]; that of the minimizer, 0, last.
    """

    states: list[np.ndarray]
    points: np.ndarray
    gradients: np.ndarray


class Claim(NamedTuple):
    """That a quadratic form and a linear form of the values are positive.

    Attributes:
      left: The form without the inequalities of the functions.
      run: The points between which these inequalities are.
      allowed: [m + 1, m + 1], 1 where an inequality may have a multiplier.
      is_flat: Whether the first basis vector, which convex functions may ignore, is in no term.
      is_balanced: Whether the linear form must vanish.
    """

    left: Quadratic
    run: Run
    allowed: np.ndarray
    is_flat: bool = False
    is_balanced: bool = False

    def subtract(self, weights: Any, ratio: Any) -> Quadratic:
        """Return what is left without the inequalities times their multipliers."""
        points, gradients = self.run.points, self.run.gradients
        form = self.left.form - _performance.sum_inequalities(ratio, weights, points, gradients)
        ones = np.ones(len(points), int)
        flow = (weights @ ones - weights.T @ ones)[:-1]
        return Quadratic(form, self.left.values - flow)


class Setting(NamedTuple):
    """A system, a class of functions and the shape of the Lyapunov function.

    Attributes:
      system: The optimizer.
      ratio: mu / L.
      window: w, the number of gradients and values in the Lyapunov function.
      start: "distance" or "value", at most 1 at x_0.
    """

    system: ValueSystem
    ratio: Any
    window: int
    start: str

    def exact(self) -> "Setting":
        """Return the same numbers as fractions."""
        parts = self.system.system
        a, b, c = (_rational.to_fractions(x) for x in (parts.A, parts.B, parts.C))
        rows = (_rational.to_fractions(x) for x in (self.system.points, self.system.state))
        system = ValueSystem(dataclasses.replace(parts, A=a, B=b, C=c), *rows)
        return self._replace(system=system, ratio=Fraction(self.ratio))


def claim(
    setting: Setting, V: Potential, square: Any, constant: Any, offset: Any
) -> dict[str, Claim]:
    """Return all that a proof consists of, by name.

    Of strongly convex functions: V falls by ``square = rate^2``, V_t is at least f_t - f*, and at
    first V is at most ``constant`` times the start. Of convex ones: base + growth of the next step
    is at most base, growth falls, growth is at least f_t - f* and base ``offset`` times as much.
    """
    w, base, growth = setting.window, V.base, V.growth
    count = len(setting.system.state)
    origin = np.eye(count, count + w + 1, dtype=int)
    long, short = (_unroll(setting, origin[:, : count + k], [], k) for k in (w + 1, w))
    early = len(setting.system.points)
    width = early + w + 1
    pad = [[0] * (width - early - 1)]
    rows = [np.append(row, pad[0]) for row in setting.system.points]
    state = np.hstack([setting.system.state, np.repeat(pad, count, 0)])
    begin = _unroll(setting, state, rows, w)
    first = Quadratic(0, np.eye(w, dtype=int)[0])
    limit = Quadratic(np.diag(np.eye(width, dtype=int)[0]), np.zeros(early + w, int))
    if setting.start == "value":
        limit = Quadratic(0 * limit.form, np.eye(early + w, dtype=int)[0])
    now, after = _place(base, long, 0), _place(base, long, 1)
    begun = [(-1, _place(base, begin, early))]
    claims = {"measure": Claim(_add((1, _place(base, short, 0)), (-offset, first)), *_free(short))}
    if growth is None:
        claims["decrease"] = Claim(_add((square, now), (-1, after)), *_free(long))
        constant = constant * square**early
    else:
        fresh = _place(growth, long, 1)
        fall = _add((1, now), (-1, after), (-1, fresh))
        claims["decrease"] = Claim(fall, *_free(long), is_flat=True)
        fall = _add((1, _place(growth, long, 0)), (-1, fresh))
        inner = _free(long)[1].copy()
        inner[-1] = inner[:, -1] = 0
        claims["growth falls"] = Claim(fall, long, inner, is_flat=True, is_balanced=True)
        inner = _free(short)[1].copy()
        inner[-1] = 0
        above = _add((1, _place(growth, short, 0)), (-1, first))
        claims["growth"] = Claim(above, short, inner, is_flat=True)
        begun.append((-early, _place(growth, begin, early)))
    claims["start"] = Claim(_add((constant, limit), *begun), *_free(begin))
    return claims


def complete(setting: Setting, V: Potential, multipliers: Mapping[str, np.ndarray]) -> Potential:
    """Set the entries of a convex potential that its multipliers determine, exactly.

    Moved by the first state and without gradients, a convex function may stay as it is. There the
    decrease is 0, and its cross terms with the gradients have to vanish.
    """
    if V.growth is None:
        return V
    w, count = setting.window, len(setting.system.state)
    shares = multipliers["decrease"][-1, : w + 1] / 2
    gain = setting.system.system.B[0]
    form, moving = V.base.form.copy(), V.growth.form.copy()
    form[0], form[:, 0], moving[0], moving[:, 0] = 0, 0, 0, 0
    form[0, 0] = -np.sum(shares) / gain
    form[0, count:] = form[count:, 0] = np.cumsum(shares)[:w] - np.sum(shares)
    weights = multipliers["growth falls"]
    flow = np.sum(weights, axis=1) - np.sum(weights, axis=0)
    return Potential(Quadratic(form, V.base.values), Quadratic(moving, np.cumsum(flow)[:w]))


def _unroll(setting: Setting, state: Any, points: list[np.ndarray], updates: int) -> Run:
    """Return the rows of a run whose basis ends with the gradients."""
    a, b, c = (np.asarray(getattr(setting.system.system, name)) for name in "ABC")
    count, width = len(points) + updates, state.shape[1]
    gradients = np.eye(width, dtype=int)[width - count :]
    if a.dtype == object:
        gradients = gradients * Fraction(1)
    states = [state] * (len(points) + 1)
    for gradient in gradients[len(points) :]:
        points = [*points, c @ states[-1]]
        states.append(a @ states[-1] + np.outer(b, gradient))
    nothing = 0 * gradients[:1]
    return Run(states, np.vstack([*points, nothing[0]]), np.vstack([gradients, nothing]))


def _place(part: Quadratic, run: Run, at: int) -> Quadratic:
    """Return a form of the window that begins at an update, in the basis of a run."""
    w = part.values.shape[0]
    rows = np.vstack([run.states[at], run.gradients[at : at + w]])
    pick = np.eye(len(run.points) - 1, dtype=int)[at : at + w]
    return Quadratic(rows.T @ part.form @ rows, pick.T @ part.values)


def _free(run: Run) -> tuple[Run, np.ndarray]:
    return run, np.ones((len(run.points),) * 2, int) - np.eye(len(run.points), dtype=int)


def _add(*terms: tuple[Any, Quadratic]) -> Quadratic:
    form, values = terms[0][0] * terms[0][1].form, terms[0][0] * terms[0][1].values
    for factor, term in terms[1:]:
        form, values = form + factor * term.form, values + factor * term.values
    return Quadratic(form, values)
