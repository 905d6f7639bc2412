"""Autotuner: time chunk widths and program variants while the expected gain exceeds the cost."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmom.sweeps.compile.lanes_last import UnsupportedPrimitive
from jaxmom.sweeps.compile.lapack import deadlock_note
from jaxmom.sweeps.compile.memory import memory_budget
from jaxmom.sweeps.compile.program import BLOCK, LANES_LAST, Program, TracedGroup, compile_group
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.space.space import Space

# XLA:CPU cuts even small loops into tasks for its threads; where a step consists of many tiny
# kernels, lanes run up to six times as fast without that pass.
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}

_FIRST_WIDTH = {"cpu": 128, "other": 512}
_WIDTH_FACTOR = 4  # from one width that is tried to the next
_MIN_GAIN = 0.1  # the least share of the time that a wider chunk is expected to save
_PROGRAM_GAIN = 0.5  # the share that another program of the same lanes is expected to save
_HOST_SECONDS = 3e-4  # of Python for each chunk
_TIMED_SECONDS = 0.05  # for which a short chunk is repeated
_SHORT_CHUNK, _FUSED_CHUNK = 0.02, 0.1  # seconds: chunks below the first are fused up to the second


class Probe(NamedTuple):
    """One width and program that was tried.

    Attributes:
      width: Lanes at a time on each device.
      options: Of the program, as for `jaxmom.sweep`.
      bytes: Of memory on each device.
      compile_seconds: For all devices.
      seconds: Of one run of `width` lanes on each device.
      total: Seconds for all lanes of the group, at this speed.
    """

    width: int
    options: Mapping[str, Any]
    bytes: int
    compile_seconds: float
    seconds: float
    total: float


class Autotuner:
    """A search for the fastest width and program of a group on some devices.

    Attributes:
      tried: All probes, in order.
      programs: The fastest program so far, for each device.
      notes: What is not as it would be otherwise, and why, a sentence each.
    """

    def __init__(
        self, space: Space, group: TracedGroup, devices: Sequence[Any], dispatcher: Dispatcher
    ):
        self.space, self.group, self.devices = space, group, devices
        self.dispatcher = dispatcher
        self.lanes_per_device = math.ceil(group.group.rows.size / len(devices))
        self.tried: list[Probe] = []
        self.programs: list[Program] = []
        note = deadlock_note(group.jaxpr, devices)
        self.notes = [] if note is None else [note]
        self._last_cost = 0.0  # seconds that the last probe took

    @property
    def best(self) -> Probe:
        """The fastest probe so far."""
        return min(self.tried, key=lambda probe: probe.total)

    def search(self, options: Mapping[str, Any] | None) -> None:
        """Try wider and wider chunks, then other programs unless the options are given.

        Args:
          options: Of the only program to try, or None.

        Raises:
          UnsupportedPrimitive: There is no such program as the options ask for.
        """
        if options is not None:
            return self.search_width(options)
        choices = _program_choices(self.devices)
        while choices:
            choice, *choices = choices
            try:
                self.search_width(choice)
            except UnsupportedPrimitive as error:
                self.notes.append(f"lanes first: lanes_last has no rule for {error.primitive}")
                choices = [other for other in choices if LANES_LAST not in other]
        self.fuse_chunks()

    def search_width(self, options: Mapping[str, Any]) -> None:
        """Try wider chunks from the best width on until they are slower, or else narrower ones.

        The first search starts at a width that suits most programs, and narrower if that has no
        room. Another program is searched along only if it is faster at the width that is best so
        far.
        """
        is_first = not self.tried
        limit = self.lanes_per_device
        width = min(_FIRST_WIDTH[_platform(self.devices)], limit) if is_first else self.best.width
        first = self.try_width(width, options, _PROGRAM_GAIN)
        while first is None and is_first:
            width = max(width // _WIDTH_FACTOR, 1)
            first = self.try_width(width, options, _PROGRAM_GAIN)
        if first is None or (self.best != first and not is_first):
            return
        for widths in (_wider_widths(width, limit), _narrower_widths(width)):
            self._search_along(widths, options, may_skip=is_first)
            if self.best != first:
                return

    def _search_along(
        self, widths: Iterator[int], options: Mapping[str, Any], may_skip: bool
    ) -> None:
        """Try widths in turn while they gain; one slower width may be skipped.

        A width that saves a share of the time is taken for a sign that the next one saves as much.
        """
        gain = 1.0
        for width in widths:
            before = self.best.total
            probe = self.try_width(width, options, gain)
            if probe is None or (probe.total >= before and not may_skip):
                return
            may_skip = may_skip and probe.total < before
            gain = max(_MIN_GAIN, 1 - probe.total / before)  # the next may gain what this one did

    def fuse_chunks(self) -> None:
        """Run short chunks in turn as one, so that little time is spent between them."""
        width, options, seconds = self.best.width, self.best.options, self.best.seconds
        fused = min(math.ceil(_FUSED_CHUNK / seconds), self.lanes_per_device // (8 * width))
        if seconds < _SHORT_CHUNK and fused > 1:  # and at least eight chunks are left
            self._last_cost = self.best.compile_seconds
            self.try_width(width * fused, {**options, BLOCK: width}, _PROGRAM_GAIN)

    def try_width(self, width: int, options: Mapping[str, Any], gain: float = 1.0) -> Probe | None:
        """Compile and time a width, unless it is too large or would not repay its cost.

        Args:
          width: Lanes at a time on each device.
          options: Of the program.
          gain: The share of the best time so far that it is expected to save.

        Returns:
          The probe, or None if the width was not timed.

        Raises:
          UnsupportedPrimitive: There is no such program.
        """
        before = self.best.total if self.tried else math.inf
        budget = memory_budget(self.devices)
        too_costly = self.tried and gain * before < self._last_cost
        if too_costly or (self.tried and self._expected_bytes(width) > budget):
            return None
        start = time.perf_counter()
        programs = compile_group(self.group, width, self.devices, options)
        compile_seconds = time.perf_counter() - start
        if programs[0].bytes > budget and width > 1:
            return None
        seconds = self._seconds(programs)
        chunks = math.ceil(self.lanes_per_device / width)
        total = (seconds + _HOST_SECONDS) * chunks
        probe = Probe(width, options, programs[0].bytes, compile_seconds, seconds, total)
        if total < before:
            self.programs = programs
        self.tried.append(probe)
        self._last_cost = time.perf_counter() - start
        return probe

    def _seconds(self, programs: Sequence[Program]) -> float:
        rows, width = self.group.group.rows, programs[0].width
        columns = self.space.take(rows.at(np.arange(width) % rows.size))
        columns = {name: columns[name] for name in self.group.group.names}
        times: list[float] = []
        # The first run also warms up, but a long one is not repeated for that.
        while sum(times) < _TIMED_SECONDS or (len(times) < 3 and sum(times) <= 10 * _TIMED_SECONDS):
            start = time.perf_counter()
            started = [self.dispatcher.start(program, columns) for program in programs]
            for outputs in started:
                self.dispatcher.wait(outputs)
            times.append(time.perf_counter() - start)
        return min(times)

    def _expected_bytes(self, width: int) -> float:
        """Extrapolate the memory of a width, which is linear above the smallest widths."""
        known = {probe.width: probe.bytes for probe in self.tried}
        if len(known) < 2:
            return max(known.values()) * _WIDTH_FACTOR
        (w0, b0), (w1, b1) = sorted(known.items())[-2:]
        return b1 + (b1 - b0) / (w1 - w0) * (width - w1)


def default_options(devices: Sequence[Any]) -> Mapping[str, Any]:
    """Return the options for a width that is given: those that change no bits."""
    return UNDIVIDED if devices[0].platform == "cpu" else {}


def _program_choices(devices: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return options of programs to try, the likeliest first: lanes are last where possible."""
    usual = default_options(devices)
    others = [{}] if usual else []
    return [{**usual, LANES_LAST: 1}, usual, *others, {**usual, LANES_LAST: 4}]


def _wider_widths(width: int, limit: int) -> Iterator[int]:
    while width < limit:
        width = min(_WIDTH_FACTOR * width, limit)
        yield width


def _narrower_widths(width: int) -> Iterator[int]:
    while width >= _WIDTH_FACTOR:
        width //= _WIDTH_FACTOR
        yield width


def _platform(devices: Sequence[Any]) -> str:
    return "cpu" if devices[0].platform == "cpu" else "other"
