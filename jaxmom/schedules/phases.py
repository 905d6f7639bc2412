"""Schedules of several phases: in turn, after a warm-up, cycles and trapezoids."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom._captures import as_partial
from jaxmom._values import NUMBER, as_leaf, as_plain, is_plain_number
from jaxmom.schedules.basic import (
    as_float,
    bind,
    check_length,
    constant_at,
    cosine_at,
    fraction,
    polynomial_at,
)


def join(schedules: Sequence[ArrayLike | Callable[[Any], Any]], boundaries: Any) -> Partial:
    """Several schedules in turn; each counts from its own boundary.

    Args:
      schedules: n schedules, or numbers for constant ones. Your own functions get a whole count.
      boundaries: n - 1 counts, in ascending order, at which the next schedule takes over.

    Returns:
      A schedule.

    Raises:
      ValueError: The number of boundaries is not n - 1.

    Example:
      >>> import jaxmom as jm
      >>> warm_up = jm.schedules.linear(0.0, 1.0, steps=10)
      >>> schedule = jm.schedules.join([warm_up, jm.schedules.cosine(1.0, 0.0, 100)], [10])
      >>> print(schedule(5), schedule(10), f"{schedule(60):.2f}")
      0.5 1.0 0.50
    """
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} boundaries between them, "
            f"got {len(boundaries)}."
        )
    parts = tuple(_as_schedule(schedule) for schedule in schedules)
    counts = tuple(as_leaf("boundaries", boundary) for boundary in boundaries)
    return Partial(_join, schedules=parts, boundaries=counts)


def warmup(schedule: ArrayLike | Callable[[Any], Any], steps: ArrayLike) -> Partial:
    """A schedule times ``min(1, (t + 1) / steps)``: a linear warm-up that wastes no step on zero.

    Args:
      schedule: A schedule, or a number for a constant one; its own count is not delayed.
      steps: The length of the warm-up, in steps.

    Returns:
      A schedule.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.schedules.warmup(0.5, steps=10)(4))
      0.25
    """
    return bind(_warmup, schedule=_as_schedule(schedule), steps=steps)


def warmup_cosine(
    init_value: ArrayLike,
    peak_value: ArrayLike,
    warmup: ArrayLike,
    steps: ArrayLike,
    end_value: ArrayLike = 0.0,
) -> Partial:
    """A straight line up to `peak_value`, and from there half a cosine down to `end_value`.

    Args:
      init_value: The value at count 0.
      peak_value: The value at count `warmup`.
      warmup: The length of the line, in steps.
      steps: The total length, in steps; `end_value` holds after it.
      end_value: The last value.

    Returns:
      A schedule.

    Raises:
      ValueError: `warmup` is longer than `steps`.

    Source:
      Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5, after the warm-up of Goyal et al.
      2017 (arXiv 1706.02677), section 2.2.

    Example:
      >>> import jaxmom as jm
      >>> schedule = jm.schedules.warmup_cosine(0.0, 1.0, warmup=10, steps=110)
      >>> print(*(f"{schedule(t):.2f}" for t in (0, 5, 10, 60, 110)))
      0.00 0.50 1.00 0.50 0.00
    """
    _check_parts(steps, warmup=warmup)
    return bind(
        _warmup_cosine,
        init_value=init_value,
        peak_value=peak_value,
        warmup=warmup,
        steps=steps,
        end_value=end_value,
    )


def one_cycle(
    peak_value: ArrayLike,
    steps: ArrayLike,
    pct_start: ArrayLike = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Partial:
    """Half a cosine up to `peak_value`, and half a cosine down to far below where it began.

    From ``peak / div`` at count 0 to the peak at ``pct_start steps``, and from there to ``peak /
    (div final_div)`` at `steps` and after. A momentum that falls while the learning rate rises, and
    rises while it falls, has factors below 1: ``one_cycle(0.85, steps, 0.3, 0.85 / 0.95, 1.0)``.

    Args:
      peak_value: The value at the turning point.
      steps: The length, in steps.
      pct_start: The share of the rise, in [0, 1].
      div_factor: The peak over the first value; positive.
      final_div_factor: The first value over the last one; positive.

    Returns:
      A schedule.

    Raises:
      ValueError: A plain `pct_start` is outside of [0, 1], or a plain factor is not positive.

    Source:
      Smith and Topin 2018 (arXiv 1708.07120), section 2; the cosines and the defaults are those of
      PyTorch's OneCycleLR and of optax.cosine_onecycle_schedule.

    Example:
      >>> import jaxmom as jm
      >>> schedule = jm.schedules.one_cycle(1.0, steps=100)
      >>> print(*(f"{schedule(t):.3f}" for t in (0, 15, 30, 65, 100)))
      0.040 0.520 1.000 0.500 0.000
    """
    share = as_plain(pct_start)
    if is_plain_number(share) and not 0 <= share <= 1:
        raise ValueError(f"pct_start = {share} is not a share of a schedule: give one in [0, 1].")
    for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        plain = as_plain(factor)
        if is_plain_number(plain) and not plain > 0:
            raise ValueError(f"{name} = {plain} is not a divisor: give a positive number.")
    return bind(
        _one_cycle,
        peak_value=peak_value,
        steps=steps,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


def trapezoid(
    peak_value: ArrayLike,
    steps: ArrayLike,
    warmup: ArrayLike = 0,
    decay: ArrayLike = 0,
    end_value: ArrayLike = 0.0,
) -> Partial:
    """Warm-up, stable phase and decay: ``min(1, (t + 1) / warmup)`` times a line at the end.

    The line falls from `peak_value` at count ``steps - decay`` to `end_value` at `steps`. So a run
    can be extended: until the decay, schedules of all lengths are the same.

    Args:
      peak_value: The value of the stable phase.
      steps: The total length, in steps; `end_value` holds after it.
      warmup: The length of the warm-up, in steps, which begins at ``peak_value / warmup``.
      decay: The length of the decay, in steps.
      end_value: The last value.

    Returns:
      A schedule.

    Raises:
      ValueError: `warmup` and `decay` together are longer than `steps`.

    Source:
      Hu et al. 2024 (arXiv 2404.06395), section 4.2 (warm-up, stable, decay), whose s is t + 1 in
      the warm-up; the line is that of Hägele et al. 2024 (arXiv 2405.18392), section 3.

    Example:
      >>> import jaxmom as jm
      >>> schedule = jm.schedules.trapezoid(1.0, steps=100, warmup=10, decay=20)
      >>> print(*(f"{schedule(t):.2f}" for t in (0, 9, 50, 80, 90, 100)))
      0.10 1.00 1.00 1.00 0.50 0.00
    """
    _check_parts(steps, warmup=warmup, decay=decay)
    return bind(
        _trapezoid,
        peak_value=peak_value,
        steps=steps,
        warmup=warmup,
        decay=decay,
        end_value=end_value,
    )


def _as_schedule(schedule: ArrayLike | Callable[[Any], Any]) -> Partial:
    if isinstance(schedule, Partial):
        return schedule
    # Never `callable`: a tracer is a number, too.
    return (
        bind(constant_at, value=schedule) if isinstance(schedule, NUMBER) else as_partial(schedule)
    )


def _call_part(schedule: Partial, count: Any) -> Any:
    """Call a part of another schedule; what is not of this module gets a whole count."""
    ours = str(getattr(schedule.func, "__module__", None)).startswith("jaxmom.schedules.")
    if ours or jnp.issubdtype(jnp.result_type(count), jnp.integer):
        return schedule(count)
    return schedule(jnp.asarray(count, jnp.int32))


def _check_parts(steps: Any, **parts: Any) -> None:
    """Refuse plain numbers that are not lengths, and parts that are longer than the whole."""
    for name, value in {"steps": steps, **parts}.items():
        check_length(name, value)
    plain = {name: as_plain(value) for name, value in {"steps": steps, **parts}.items()}
    if all(map(is_plain_number, plain.values())) and sum(plain.values()) > 2 * plain["steps"]:
        given = ", ".join(f"{name}={value}" for name, value in plain.items())
        raise ValueError(
            f"the parts of a schedule are longer than the whole: {given}. Give more steps, or "
            f"shorter {' and '.join(parts)}."
        )


def _join(count, schedules, boundaries):
    value = _call_part(schedules[0], count)
    for schedule, boundary in zip(schedules[1:], boundaries, strict=True):
        # Never call a schedule with a count below its own zero: it may return NaN there.
        after = as_float(count) - as_float(boundary)
        value = jnp.where(after >= 0, _call_part(schedule, jnp.maximum(after, 0.0)), value)
    return value


def _warmup(count, schedule, steps):
    return _call_part(schedule, count) * fraction(as_float(count) + 1, steps)


def _warmup_cosine(count, init_value, peak_value, warmup, steps, end_value):
    count, warmup, steps = map(as_float, (count, warmup, steps))
    rising = polynomial_at(count, init_value, peak_value, warmup, 1.0)
    falling = cosine_at(count - warmup, peak_value, end_value, steps - warmup)
    return jnp.where(count < warmup, rising, falling)


def _one_cycle(count, peak_value, steps, pct_start, div_factor, final_div_factor):
    count, peak, steps = map(as_float, (count, peak_value, steps))
    top, first = as_float(pct_start) * steps, peak / as_float(div_factor)
    rising = cosine_at(count, first, peak, top)
    falling = cosine_at(count - top, peak, first / as_float(final_div_factor), steps - top)
    return jnp.where(count < top, rising, falling)


def _trapezoid(count, peak_value, steps, warmup, decay, end_value):
    count, steps, decay = map(as_float, (count, steps, decay))
    falling = polynomial_at(count - (steps - decay), peak_value, end_value, decay, 1.0)
    stable = jnp.where(count < steps - decay, as_float(peak_value), falling)
    return stable * fraction(count + 1, warmup)
