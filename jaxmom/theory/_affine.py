"""Counters of an optimizer as symbols: whole numbers that grow by the same amount in each period.

Where the clock of an optimizer is a counter that never returns, its coefficients may still repeat:
they may depend on the counter's remainder only, or on whether it is past some number. Such a
counter is ``start + stride j`` at the start of the j-th period, for j = 0, 1 ... Rules say what an
operation makes of it: another such number, a plain one (the remainder by a divisor of the stride, a
comparison whose outcome is the same for every j), or None where no answer holds for every j.

Counters are whole numbers without an upper end. In the code they are of 32 bits and saturate: what
is proved here holds until they do, for two billion updates.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn


class Affine(NamedTuple):
    """``start + stride j`` for every j >= 0, with a stride of one at least.

    Attributes:
      start: Zero or more.
      stride: What is added in each period.
      divisors: Collects the divisors whose remainder was not the same for every j: a period that is
        a multiple of them is worth a try.
    """

    start: int
    stride: int
    divisors: set[int]


# From an equation and its operands, each a whole number or `Affine`, to the result, or None.
_Rule: TypeAlias = Callable[..., Any]
_RULES: _jaxpr.RuleTable[_Rule] = _jaxpr.RuleTable()


def apply_affine(equation: "JaxprEqn", values: list[Any]) -> Any:
    """Return the result of an operation of which an operand is `Affine`, or None if unknown."""
    rule = _RULES.find(equation)
    avals: list[Any] = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    *operands, result = avals
    if rule is None or any(v is None for v in values) or not all(map(_is_whole, operands)):
        return None
    plain = [v if isinstance(v, Affine) else np.asarray(v).item() for v in values]
    found = rule(equation, *plain)
    if result.shape or found is None:
        return None
    if not isinstance(found, Affine):
        return np.asarray(found, result.dtype)
    return found if found.start + found.stride <= np.iinfo(result.dtype).max else None


def _is_whole(aval: Any) -> bool:
    return aval.shape == () and (np.issubdtype(aval.dtype, np.integer) or aval.dtype == bool)


@_RULES.register(p.add_p)
def _add(_: Any, a: Any, b: Any) -> Any:
    first, second = _parts(a), _parts(b)
    return _affine(first[0] + second[0], first[1] + second[1], a, b)


@_RULES.register(p.sub_p)
def _subtract(_: Any, a: Any, b: Any) -> Any:
    first, second = _parts(a), _parts(b)
    return _affine(first[0] - second[0], first[1] - second[1], a, b)


@_RULES.register(p.mul_p)
def _multiply(_: Any, a: Any, b: Any) -> Any:
    if isinstance(a, Affine) and isinstance(b, Affine):
        return None
    number, factor = (a, b) if isinstance(a, Affine) else (b, a)
    return _affine(number.start * factor, number.stride * factor, number)


@_RULES.register(p.rem_p)
def _remainder(_: Any, a: Any, b: Any) -> Any:
    return a.start % abs(b) if _divides(a, b) else None


@_RULES.register(p.div_p)
def _divide(_: Any, a: Any, b: Any) -> Any:
    return _affine(a.start // b, a.stride // b, a) if _divides(a, b) and b > 0 else None


@_RULES.register(p.max_p)
def _maximum(_: Any, a: Any, b: Any) -> Any:
    number, bound = (a, b) if isinstance(a, Affine) else (b, a)
    return number if not isinstance(bound, Affine) and number.start >= bound else None


@_RULES.register(p.min_p)
def _minimum(equation: "JaxprEqn", a: Any, b: Any) -> Any:
    number, bound = (a, b) if isinstance(a, Affine) else (b, a)
    if isinstance(bound, Affine):
        return None
    return number if _is_end(equation, bound) else bound if number.start >= bound else None


@_RULES.register(p.sign_p)
def _sign(_: Any, a: Affine) -> int | None:
    return 1 if a.start > 0 else None


@_RULES.register(p.select_n_p)
def _select(_: Any, which: Any, *cases: Any) -> Any:
    return None if isinstance(which, Affine) else cases[int(which)]


@_RULES.register(p.copy_p, p.stop_gradient_p)
@_RULES.register(p.broadcast_in_dim_p, params="broadcast_dimensions shape")
@_RULES.register(p.reshape_p, params="dimensions new_sizes")
@_RULES.register(p.squeeze_p, params="dimensions")
def _keep(_: Any, a: Any) -> Any:
    return a


@_RULES.register(p.convert_element_type_p, params="new_dtype weak_type")
def _convert(equation: "JaxprEqn", a: Any) -> Any:
    old: Any = equation.invars[0].aval
    new = equation.params["new_dtype"]
    holds = np.issubdtype(new, np.integer) and np.iinfo(new).max >= np.iinfo(old.dtype).max
    return a if holds else None


@_RULES.register(p.lt_p, p.le_p, p.gt_p, p.ge_p, p.eq_p, p.ne_p)
def _compare(equation: "JaxprEqn", a: Any, b: Any) -> bool | None:
    """Return the outcome of a comparison if it is one for every j."""
    flipped = {p.lt_p: p.gt_p, p.le_p: p.ge_p, p.gt_p: p.lt_p, p.ge_p: p.le_p}
    primitive = equation.primitive
    if isinstance(a, Affine) and isinstance(b, Affine):
        return None
    if not isinstance(a, Affine):
        a, b, primitive = b, a, flipped.get(primitive, primitive)
    is_end = _is_end(equation, b)
    is_above = a.start > b
    outcomes = {
        p.lt_p: False if a.start >= b else True if is_end else None,
        p.le_p: False if is_above else True if is_end else None,
        p.gt_p: True if is_above else False if is_end else None,
        p.ge_p: True if a.start >= b else False if is_end else None,
        p.eq_p: False if is_above or is_end or (b - a.start) % a.stride else None,
        p.ne_p: True if is_above or is_end or (b - a.start) % a.stride else None,
    }
    return outcomes[primitive]


def _is_end(equation: "JaxprEqn", bound: int) -> bool:
    """Return whether a number is the one at which a counter saturates."""
    operand: Any = equation.invars[0].aval
    return bound == np.iinfo(operand.dtype).max


def _parts(value: Any) -> tuple[int, int]:
    return (value.start, value.stride) if isinstance(value, Affine) else (value, 0)


def _affine(start: int, stride: int, *of: Any) -> Any:
    """Return an `Affine` if the stride is positive, a plain number if it is 0, None if it falls."""
    divisors = next(one.divisors for one in of if isinstance(one, Affine))
    if stride == 0:
        return start
    return Affine(start, stride, divisors) if stride > 0 and start >= 0 else None


def _divides(a: Any, b: Any) -> bool:
    """Return whether b is a plain number that divides the stride of a; if not, note it in a."""
    if isinstance(b, Affine) or b == 0:
        return False
    if a.stride % abs(b):
        a.divisors.add(abs(b))
        return False
    return True
