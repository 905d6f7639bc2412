"""Schedules of one formula: lines, powers, cosines, exponentials, and those of momentum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom._values import as_leaf, as_plain, is_plain_number


def constant(value: ArrayLike) -> Partial:
    """A constant; `join` continues it with other schedules.

    Args:
      value: The value at every step.

    Returns:
      A schedule.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.schedules.constant(0.9)(3))
      0.9
    """
    return bind(constant_at, value=value)


def linear(init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike) -> Partial:
    """A straight line from `init_value` at count 0 to `end_value` at count `steps` and after.

    Args:
      init_value: The value at count 0.
      end_value: The value at count `steps` and after.
      steps: The length, in steps; it may be traced, and has a derivative.

    Returns:
      A schedule.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.schedules.linear(1.0, 0.0, steps=4)(1))
      0.75
    """
    return polynomial(init_value, end_value, steps, power=1.0)


def polynomial(
    init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike, power: ArrayLike = 2.0
) -> Partial:
    """``end + (init - end) (1 - t / steps)^power``, and `end_value` after `steps`.

    Args:
      init_value: The value at count 0.
      end_value: The value at count `steps` and after.
      steps: The length, in steps.
      power: 1 is a straight line; above it the fall is steep at first.

    Returns:
      A schedule.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.schedules.polynomial(1.0, 0.0, steps=4, power=2.0)(2))
      0.25
    """
    return bind(polynomial_at, init_value=init_value, end_value=end_value, steps=steps, power=power)


def cosine(init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike) -> Partial:
    """Half a cosine: ``end + (init - end) (1 + cos(pi t / steps)) / 2``, `end_value` after `steps`.

    Args:
      init_value: The value at count 0.
      end_value: The value at count `steps` and after.
      steps: The length, in steps.

    Returns:
      A schedule.

    Source:
      Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5, without restarts.

    Example:
      >>> import jaxmom as jm
      >>> print(f"{jm.schedules.cosine(1.0, 0.0, steps=10)(5):.3f}")
      0.500
    """
    return bind(cosine_at, init_value=init_value, end_value=end_value, steps=steps)


def exponential(init_value: ArrayLike, rate: ArrayLike, steps: ArrayLike = 1.0) -> Partial:
    """A factor of `rate` every `steps` steps: ``init rate^(t / steps)``.

    Args:
      init_value: The value at count 0.
      rate: The factor over `steps` steps.
      steps: The steps that each factor of `rate` takes; positive. A traced 0 is the limit of small
        ones: `init_value` at count 0, and after it 0 (infinity, if `rate` exceeds 1).

    Returns:
      A schedule, without an end.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.schedules.exponential(1.0, rate=0.5, steps=10)(20))
      0.25
    """
    check_length("steps", steps, positive=True)
    return bind(_exponential, init_value=init_value, rate=rate, steps=steps)


def half_life(init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike) -> Partial:
    """A beta whose half-life ``ln(1/2) / ln(beta)`` grows along a straight line.

    A straight line in beta itself would spend most of its length at short memories. AdEMAMix warms
    up its beta_3 like this: with ``F(beta) = ln(1/2)/ln(beta) - 1``, ``beta_t = F^-1((1 - t/steps)
    F(init) + (t/steps) F(end))``.

    Args:
      init_value: In (0, 1).
      end_value: In (0, 1).
      steps: The length; `end_value` holds after it.

    Returns:
      A schedule of beta.

    Source:
      Pagliardini, Ablin and Grangier 2024 (arXiv 2409.03137), appendix A.1.

    Example:
      >>> import jaxmom as jm
      >>> schedule = jm.schedules.half_life(0.9, 0.999, steps=100)
      >>> print(f"{schedule(0):.3f} {schedule(50):.4f} {schedule(100):.3f}")
      0.900 0.9980 0.999
    """
    return bind(_half_life, init_value=init_value, end_value=end_value, steps=steps)


def demon(beta: ArrayLike, steps: ArrayLike) -> Partial:
    """Decaying momentum: the total weight of a gradient falls along a straight line.

    ``beta_t = beta (1 - t/T) / ((1 - beta) + beta (1 - t/T))``, so that ``beta_t / (1 - beta_t)``
    is linear in t, from ``beta / (1 - beta)`` to 0.

    Args:
      beta: The first value, in [0, 1).
      steps: T; beta_t is 0 after it.

    Returns:
      A schedule of beta.

    Source:
      Chen, Wolfe, Li and Kyrillidis 2022 (arXiv 1910.04952), equation 1.

    Example:
      >>> import jaxmom as jm
      >>> schedule = jm.schedules.demon(0.9, steps=100)
      >>> print(*(f"{schedule(t):.3f}" for t in (0, 25, 50, 75, 90, 100)))
      0.900 0.871 0.818 0.692 0.474 0.000
    """
    return bind(_demon, beta=beta, steps=steps)


def sutskever(beta_max: ArrayLike = 0.99, period: ArrayLike = 250.0) -> Partial:
    """Momentum that rises to `beta_max`: ``min(1 - 2^(-1 - log2(floor(t/period) + 1)), beta_max)``.

    That is 1/2, 3/4, 5/6, 7/8 ... for `period` steps each.

    Args:
      beta_max: The limit, in [0, 1).
      period: How long each value holds, in steps; positive. A traced 0 is the limit of short ones:
        1/2 at count 0, and `beta_max` after it.

    Returns:
      A schedule of beta.

    Source:
      Sutskever, Martens, Dahl and Hinton 2013 (ICML), equation 5, where period is 250.

    Example:
      >>> import jaxmom as jm
      >>> print(*(f"{jm.schedules.sutskever(0.9)(t):.2f}" for t in (0, 250, 10_000)))
      0.50 0.75 0.90
    """
    check_length("period", period, positive=True)
    return bind(_sutskever, beta_max=beta_max, period=period)


def bind(function: Callable[..., jax.Array], **numbers: Any) -> Partial:
    """Bind the numbers of a schedule; integers become floats, which have derivatives."""
    check_length("steps", numbers.get("steps"))
    return Partial(function, **{name: as_leaf(name, value) for name, value in numbers.items()})


def check_length(name: str, value: Any, positive: bool = False) -> None:
    """Raise ValueError if a plain number is not a length."""
    value = as_plain(value)
    if is_plain_number(value) and not (value > 0 if positive else value >= 0):
        least = "positive" if positive else "0 or more"
        raise ValueError(f"{name} = {value} cannot be the length of a schedule, which is {least}.")


def as_float(x: Any) -> jax.Array:
    """Return a number as a float of JAX, so that it has a derivative."""
    return jnp.asarray(x, float)


def _complement(x: Any) -> Any:
    """Return ``1 - x``, formed in float64 from a plain number: near 1, float32 has few digits."""
    return 1 - float(x) if is_plain_number(x) else 1 - as_float(x)


def fraction(count: Any, steps: Any) -> jax.Array:
    """Return ``t / steps``, clipped: XLA may round the quotient to more than 1 at the end."""
    steps = as_float(steps)
    # Of no steps, all are made; a quotient by 0 would have no finite derivative.
    some = jnp.where(steps == 0, 1.0, steps)
    return jnp.where(steps == 0, 1.0, jnp.clip(as_float(count) / some, 0.0, 1.0))


def constant_at(count, value):
    """Return the value of `constant` at a count."""
    del count
    return as_float(value)


def polynomial_at(count, init_value, end_value, steps, power):
    """Return the value of `polynomial` at a count, which may be negative."""
    left = 1 - fraction(count, steps)
    # The derivative of 0^p with respect to p would be 0 log 0.
    shape = jnp.where(left > 0, jnp.where(left > 0, left, 1.0) ** as_float(power), 0.0)
    return _between(init_value, end_value, shape)


def cosine_at(count, init_value, end_value, steps):
    """Return the value of `cosine` at a count, which may be negative."""
    return _between(init_value, end_value, (1 + jnp.cos(jnp.pi * fraction(count, steps))) / 2)


def _between(init_value, end_value, share):
    """Return `init_value` where `share` is 1, and exactly `end_value` where it is 0."""
    return as_float(end_value) + (as_float(init_value) - as_float(end_value)) * share


def _exponential(count, init_value, rate, steps):
    init_value, rate, count, steps = map(as_float, (init_value, rate, count, steps))
    power = rate ** (count / jnp.where(steps == 0, 1.0, steps))
    limit = jnp.where(rate < 1, 0.0, jnp.where(rate > 1, jnp.inf, 1.0))
    return init_value * jnp.where((steps == 0) & (count > 0), limit, power)


def _half_life(count, init_value, end_value, steps):
    lives = (jnp.log(0.5) / jnp.log1p(-_complement(x)) for x in (init_value, end_value))
    return 0.5 ** (1 / _between(*lives, share=1 - fraction(count, steps)))


def _demon(count, beta, steps):
    left = as_float(beta) * (1 - fraction(count, steps))
    return left / (_complement(beta) + left)


def _sutskever(count, beta_max, period):
    count, period, beta_max = map(as_float, (count, period, beta_max))
    stair = jnp.floor(count / jnp.where(period == 0, 1.0, period))
    rising = jnp.minimum(1 - 0.5 / (stair + 1), beta_max)
    return jnp.where((period == 0) & (count > 0), beta_max, rising)
