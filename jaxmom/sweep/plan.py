"""How many lanes at a time: what fits into memory, and then what runs fastest."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxmom.sweep.program import Lanes, Program, compile_lanes, trace
from jaxmom.sweep.space import Space

# XLA cuts even small loops on a CPU into tasks for its threads; where a step consists of many tiny
# kernels, lanes run up to six times as fast without that pass.
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}

_SHARE = {"cpu": 0.4, "other": 0.7}  # of the memory; a second chunk is in flight while one runs
_STEP = 4  # from one width that is tried to the next
_HOPE = 0.1  # the least share of the time that a wider chunk is thought to save


class Probe(NamedTuple):
    """One width that was tried."""

    width: int
    options: Mapping[str, Any]
    bytes: int  # on each device
    compile_seconds: float
    seconds: float  # of one run of width lanes on each device
    total: float  # seconds for all lanes of the group, at this speed


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
      options: Of the compiler.
      probes: The widths that were tried.
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
            note = " undivided" if probe.options else ""
            lines.append(f"  width {probe.width}{note}: {_duration(probe.total)}")
        return "\n".join(lines)


def explain(
    fn: Callable[..., Any],
    space: Space,
    *,
    width: int | Literal["auto"] = "auto",
    devices: Sequence[Any] | None = None,
) -> Plan:
    """What a sweep will take, before anything long runs: lanes, groups, chunks, bytes, seconds.

    It compiles and times a few widths, as `sweep` itself does first, on the first lanes of the
    largest group, and keeps nothing.

    Args:
      fn: As for `sweep`.
      space: Likewise.
      width: Likewise; a number is timed and not chosen.
      devices: Likewise.

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
    largest = largest_group(lanes)
    if width == "auto":
        probes = list(probe_widths(space, largest, used))
    else:
        probes = [probe(space, largest, width, used, {})[0]]
    return planned(lanes, probes, len(used))


def trace_groups(fn: Callable[..., Any], space: Space) -> list[Lanes]:
    """The function traced once for each group of a space."""
    first = np.zeros(1, np.int64)
    return [trace(fn, group, space.take(group.rows.at(first))) for group in space.groups()]


def planned(lanes: Sequence[Lanes], probes: Sequence[Probe], devices: int) -> Plan:
    """The plan that some probes lead to."""
    best, count = fastest(probes), sum(group.group.rows.size for group in lanes)
    share = count / largest_group(lanes).group.rows.size
    return Plan(
        lanes=count,
        groups=len(lanes),
        width=best.width,
        devices=devices,
        chunks=sum(math.ceil(group.group.rows.size / best.width) for group in lanes),
        device_bytes=best.bytes,
        result_bytes=sum(group.group.rows.size * group.result_bytes for group in lanes),
        seconds=best.total * share,
        compile_seconds=best.compile_seconds * len(lanes),
        options=best.options,
        probes=tuple(probes),
    )


def fastest(probes: Sequence[Probe]) -> Probe:
    """The probe to follow."""
    return min(probes, key=lambda probe: probe.total)


def largest_group(lanes: Sequence[Lanes]) -> Lanes:
    """The group that decides about the width."""
    return max(lanes, key=lambda group: group.group.rows.size)


def probe_widths(
    space: Space,
    lanes: Lanes,
    devices: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    keep: list[Program] | None = None,
) -> Iterator[Probe]:
    """Try wider and wider chunks while they fit and pay, and while trying costs little.

    Args:
      space: Of the sweep.
      lanes: Of one group.
      devices: All that are to be used.
      options: Of the compiler, if they are not to be chosen too.
      keep: Gets the program of the fastest probe so far.
    """
    on_cpu = devices[0].platform == "cpu"
    choices = [options] if options is not None else [{}, UNDIVIDED] if on_cpu else [{}]
    most = math.ceil(lanes.group.rows.size / len(devices))
    budget, tried = memory_budget(devices), []
    for width in _widths(8 if on_cpu else 128, most):
        if _predicted_bytes(tried, width) > budget:
            return
        start, before = time.perf_counter(), fastest(tried).total if tried else math.inf
        for tried_options in choices:
            entry, program = probe(space, lanes, width, devices, tried_options)
            if keep is not None and (not tried or entry.total < fastest(tried).total):
                keep[:] = [program]
            tried.append(entry)
            yield entry
        best, cost = fastest(tried), time.perf_counter() - start
        # The next width will gain what this one did, or a little if nothing is known yet.
        gain = best.total * max(_HOPE, 1 - best.total / before)
        if gain < cost or width >= _STEP**2 * best.width:
            return  # it is not worth its time, or two widths in a row were slower


def probe(
    space: Space, lanes: Lanes, width: int, devices: Sequence[Any], options: Mapping[str, Any]
) -> tuple[Probe, Program]:
    """Compile for one width, and time the first lanes."""
    start = time.perf_counter()
    program = compile_lanes(lanes, width, devices, options)
    compiled, total = time.perf_counter(), width * len(devices)
    size = lanes.group.rows.size
    columns = space.take(lanes.group.rows.at(np.arange(total) % size))
    times = [_seconds(program, columns)]
    if times[0] < 0.5:  # the first run also warms up
        times += [_seconds(program, columns), _seconds(program, columns)]
    runs = math.ceil(size / total)
    found = Probe(width, options, program.bytes, compiled - start, min(times), min(times) * runs)
    return found, program


def memory_budget(devices: Sequence[Any]) -> float:
    """The bytes that a chunk may take on each device."""
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return _SHARE["other"] * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return _SHARE["cpu"] * available_memory() / len(devices)


def available_memory() -> float:
    """Bytes of main memory that may be had: what the system has, within the limits of a container.

    Infinite where the system does not tell.
    """
    limits = [math.inf]
    for path, read in (
        ("/proc/meminfo", lambda text: 1024 * float(text.split("MemAvailable:")[1].split()[0])),
        ("/sys/fs/cgroup/memory.max", float),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", float),
    ):
        try:
            with open(path, encoding="ascii") as file:
                limits.append(read(file.read()))
        except (OSError, ValueError, IndexError):  # "max" is no number: there is no limit
            continue
    return min(limits)


def _widths(start: int, most: int) -> Iterator[int]:
    width = start
    while width < most:
        yield width
        width *= _STEP
    yield most


def _predicted_bytes(tried: Sequence[Probe], width: int) -> float:
    """Memory is linear in the width, above the smallest ones."""
    known = {probe.width: probe.bytes for probe in tried}
    if len(known) < 2:
        return max(known.values(), default=0) * _STEP if known else 0
    (w0, b0), (w1, b1) = sorted(known.items())[-2:]
    return b1 + (b1 - b0) / (w1 - w0) * (width - w1)


def _seconds(program: Program, columns: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program.start(columns))
    return time.perf_counter() - start


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
