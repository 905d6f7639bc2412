"""What a sweep will take: lanes, groups, chunks, bytes and seconds."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from jaxmom.sweeps.compile.autotune import Autotuner, Probe, default_options
from jaxmom.sweeps.compile.program import TracedGroup, trace_group
from jaxmom.sweeps.results.checks import check_result
from jaxmom.sweeps.space.space import Space, check_space


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep will take; `explain` returns it and ``print`` tells it.

    Attributes:
      lanes: How many.
      groups: Programs to compile.
      width: Lanes at a time on each device.
      devices: Among which the lanes are divided.
      chunks: Of `width` lanes.
      device_bytes: On each device.
      result_bytes: Of all lanes, on the host or in the store.
      seconds: To run, without compiling; estimated from the probes.
      compile_seconds: For all groups, likewise.
      options: Of the program, as for `sweep`.
      probes: What was tried.
    """

    lanes: int
    groups: int
    width: int
    devices: int
    chunks: int
    device_bytes: int
    result_bytes: int
    seconds: float
    compile_seconds: float
    options: Mapping[str, Any]
    probes: tuple[Probe, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.lanes:,} lanes in {self.groups} groups (one compilation each)",
            f"{self.chunks:,} chunks of {self.width} lanes on each of {self.devices} devices",
            f"{_size(self.device_bytes)} on each device, {_size(self.result_bytes)} of results",
            f"about {_duration(self.seconds)}, and {_duration(self.compile_seconds)} to compile",
        ]
        for probe in self.probes:
            note = "".join(f", {name}={value}" for name, value in probe.options.items())
            lines.append(f"  width {probe.width}{note}: {_duration(probe.total)}")
        return "\n".join(lines)


def explain(
    fn: Callable[..., Any],
    space: Space,
    *,
    width: int | Literal["auto"] = "auto",
    devices: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """What a sweep will take, before anything long runs: lanes, groups, chunks, bytes, seconds.

    It compiles and times a few widths, as `sweep` itself does first, on the first lanes of the
    largest group, and keeps nothing.

    Args:
      fn: As for `sweep`.
      space: Likewise.
      width: Likewise; a number is timed and not chosen.
      devices: Likewise.
      options: Likewise.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def train(beta):
      ...     optimizer = jm.heavy_ball(0.1, beta)
      ...     return jm.optimize(lambda x: x**2, jnp.array(1.0), optimizer, steps=5)
      >>> plan = jm.explain(train, jm.grid(beta=jnp.linspace(0, 0.9, 100)), width=50)
      >>> plan.lanes, plan.groups, plan.chunks
      (100, 1, 2)
    """
    used = list(devices or jax.local_devices())
    lanes = trace_groups(fn, space)
    search = Autotuner(space, largest_group(lanes), used)
    if width == "auto":
        search.search(options)
    else:
        search.try_width(width, default_options(used) if options is None else options)
    return _planned(lanes, search)


def trace_groups(fn: Callable[..., Any], space: Space) -> list[TracedGroup]:
    """The function traced once for each group of a space."""
    check_space(space)
    first = np.zeros(1, np.int64)
    traced = [trace_group(fn, g, space.take(g.rows.at(first))) for g in space.groups()]
    check_result(space, traced)
    return traced


def _planned(lanes: Sequence[TracedGroup], search: Autotuner) -> Plan:
    best, count = search.best, sum(group.group.rows.size for group in lanes)
    return Plan(
        lanes=count,
        groups=len(lanes),
        width=best.width,
        devices=len(search.devices),
        chunks=sum(math.ceil(group.group.rows.size / best.width) for group in lanes),
        device_bytes=best.bytes,
        result_bytes=sum(group.group.rows.size * group.result_bytes for group in lanes),
        seconds=best.total * count / search.group.group.rows.size,
        compile_seconds=best.compile_seconds * len(lanes),
        options=best.options,
        probes=tuple(search.tried),
    )


def largest_group(lanes: Sequence[TracedGroup]) -> TracedGroup:
    """The group that decides about the width."""
    return max(lanes, key=lambda group: group.group.rows.size)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
