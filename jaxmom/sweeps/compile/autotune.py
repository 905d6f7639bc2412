"""What runs fastest: other widths and other programs of the same lanes, tried while it pays."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmom.sweeps.compile.lanes_last import UnsupportedPrimitive
from jaxmom.sweeps.compile.program import BLOCK, LANES_LAST, Program, TracedGroup, compile_group
from jaxmom.sweeps.space.space import Space

# XLA:CPU cuts even small loops into tasks for its threads; where a step consists of many tiny
# kernels, lanes run up to six times as fast without that pass.
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}

_SHARE = {"cpu": 0.4, "other": 0.7}  # of the memory; a second chunk is in flight while one runs
_START = {"cpu": 128, "other": 512}  # the first width that is tried
_STEP = 4  # from one width that is tried to the next
_HOPE = 0.1  # the least share of the time that a wider chunk is thought to save
_LEAP = 0.5  # and what another program of the same lanes is
_HOST = 3e-4  # seconds of Python for each chunk
_TIMED = 0.05  # seconds to time what is short
_SHORT, _LONG = 0.02, 0.1  # seconds of a chunk: what is below the first is put together


class Probe(NamedTuple):
    """One width and program that was tried."""

    width: int
    options: Mapping[str, Any]
    bytes: int  # on each device
    compile_seconds: float
    seconds: float  # of one run of width lanes on each device
    total: float  # seconds for all lanes of the group, at this speed


class Autotuner:
    """What was tried to run a group of a space on some devices.

    Attributes:
      tried: In this order.
      programs: Of the fastest one, for each device.
    """

    def __init__(self, space: Space, lanes: TracedGroup, devices: Sequence[Any]):
        self.space, self.lanes, self.devices = space, lanes, devices
        self.most = math.ceil(lanes.group.rows.size / len(devices))
        self.tried: list[Probe] = []
        self.programs: list[Program] = []
        self._spent = 0.0  # on the last one

    @property
    def best(self) -> Probe:
        """The fastest so far."""
        return min(self.tried, key=lambda probe: probe.total)

    def all_ways(self, options: Mapping[str, Any] | None) -> None:
        """Try wider and wider chunks, then other programs unless the options are given."""
        if options is not None:
            return self.climb(options)
        choices = _choices(self.devices)
        while choices:
            choice, *choices = choices
            try:
                self.climb(choice)
            except UnsupportedPrimitive:
                choices = [other for other in choices if LANES_LAST not in other]
        self.join()

    def climb(self, options: Mapping[str, Any]) -> None:
        """Try wider chunks from the best width on until they are slower, or else narrower ones."""
        fresh = not self.tried
        start = min(_START[_platform(self.devices)], self.most) if fresh else self.best.width
        first = self.attempt(start, options, _LEAP)
        while first is None and fresh:
            start = max(start // _STEP, 1)
            first = self.attempt(start, options, _LEAP)
        if first is None or (self.best != first and not fresh):
            return
        for widths in (_wider(start, self.most), _narrower(start)):
            hope, patience = 1.0, int(fresh)
            for width in widths:
                before = self.best.total
                probe = self.attempt(width, options, hope)
                if probe is None or (probe.total >= before and not patience):
                    break
                patience -= probe.total >= before
                hope = max(_HOPE, 1 - probe.total / before)  # the next may gain what this one did
            if self.best != first:
                return

    def join(self) -> None:
        """Run short chunks in turn as one, so that little time is spent between them."""
        width, options, seconds = self.best.width, self.best.options, self.best.seconds
        together = min(math.ceil(_LONG / seconds), self.most // (8 * width))  # some are left
        if seconds < _SHORT and together > 1:
            self._spent = self.best.compile_seconds
            self.attempt(width * together, {**options, BLOCK: width}, _LEAP)

    def attempt(self, width: int, options: Mapping[str, Any], hope: float = 1.0) -> Probe | None:
        """Compile and time a width, unless it is too large or gaining `hope` would not pay.

        Raises:
          Unsuited: There is no such program.
        """
        before = self.best.total if self.tried else math.inf
        budget = memory_budget(self.devices)
        if self.tried and (hope * before < self._spent or self._bytes(width) > budget):
            return None
        start = time.perf_counter()
        programs = compile_group(self.lanes, width, self.devices, options)
        compile_seconds = time.perf_counter() - start
        if programs[0].bytes > budget and width > 1:
            return None
        seconds = self._seconds(programs)
        runs = math.ceil(self.most / width)
        total = (seconds + _HOST) * runs
        probe = Probe(width, options, programs[0].bytes, compile_seconds, seconds, total)
        if total < before:
            self.programs = programs
        self.tried.append(probe)
        self._spent = time.perf_counter() - start
        return probe

    def _seconds(self, programs: Sequence[Program]) -> float:
        rows, width = self.lanes.group.rows, programs[0].width
        columns = self.space.take(rows.at(np.arange(width) % rows.size))
        columns = {name: columns[name] for name in self.lanes.group.names}
        times = []
        # The first run also warms up, but what is long is not run for that.
        while sum(times) < _TIMED or (len(times) < 3 and sum(times) <= 10 * _TIMED):
            start = time.perf_counter()
            jax.block_until_ready([program.start(columns) for program in programs])
            times.append(time.perf_counter() - start)
        return min(times)

    def _bytes(self, width: int) -> float:
        """What a width will need: memory is linear in it, above the smallest ones."""
        known = {probe.width: probe.bytes for probe in self.tried}
        if len(known) < 2:
            return max(known.values()) * _STEP
        (w0, b0), (w1, b1) = sorted(known.items())[-2:]
        return b1 + (b1 - b0) / (w1 - w0) * (width - w1)


def default_options(devices: Sequence[Any]) -> Mapping[str, Any]:
    """Options that change no bits, for a width that was given."""
    return UNDIVIDED if devices[0].platform == "cpu" else {}


def memory_budget(devices: Sequence[Any]) -> float:
    """The bytes that a chunk may take on each device."""
    platform = _platform(devices)
    stats = devices[0].memory_stats() if platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return _SHARE[platform] * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
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


def _choices(devices: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Programs, the likeliest first: lanes are last wherever that is possible."""
    usual = default_options(devices)
    others = [{}] if usual else []
    return [{**usual, LANES_LAST: 1}, usual, *others, {**usual, LANES_LAST: 4}]


def _wider(width: int, most: int) -> Iterator[int]:
    while width < most:
        width = min(_STEP * width, most)
        yield width


def _narrower(width: int) -> Iterator[int]:
    while width >= _STEP:
        width //= _STEP
        yield width


def _platform(devices: Sequence[Any]) -> str:
    return "cpu" if devices[0].platform == "cpu" else "other"
