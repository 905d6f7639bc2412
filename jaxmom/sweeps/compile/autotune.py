"""Autotuner: start where the work of a lane says, and try other programs of long sweeps only.

A search must not cost more than it saves. So the first program is chosen without running anything,
by the work that is counted on the jaxpr. It runs the first chunks, and what they take says how long
the sweep is. A short sweep goes on with that program. For a long one, other widths and programs are
compiled and run on the first chunks too, for at most a tenth of the time that the sweep would take.
The results of the fastest program are kept as those of the sweep, and the choice is remembered.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmom import _jaxpr
from jaxmom.sweeps.compile.choices import Choice, recall_choice, remember_choice
from jaxmom.sweeps.compile.lapack import deadlock_note
from jaxmom.sweeps.compile.memory import is_out_of_memory, memory_budget
from jaxmom.sweeps.compile.prefix import shorten_group
from jaxmom.sweeps.compile.program import (
    BLOCK,
    LANES_LAST,
    NARROW,
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    chunk_width,
    compile_group,
    missing_rule,
)
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.compile.work import Work, count_work
from jaxmom.sweeps.space.index_maps import ceil_div
from jaxmom.sweeps.space.space import Space

# XLA:CPU cuts even small loops into tasks for its threads; where a step consists of many tiny
# kernels, lanes run up to six times as fast without that pass.
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}

_SHORT_SWEEP = 3.0  # seconds, below which nothing but the first program is tried
_SEARCH_SHARE = 0.1  # of the time of a sweep that the search may take
_EXPLAIN_SHARE = 0.05  # of the lanes of a sweep that `explain` may run
_WIDTH_FACTOR = 4  # from one width that is tried to the next
_HOST_SECONDS = 3e-4  # of Python for each chunk
_TIMED_SECONDS = 0.05  # for which a short chunk is repeated
_SHORT_CHUNK, _FUSED_CHUNK = 0.02, 0.1  # seconds: chunks below the first are fused up to the second
_CHUNKS_LEFT = (
    32  # at least, where short chunks are fused: progress is seen, and `explain` runs one
)
_LONG_CHUNK = 2.0  # counted seconds from which on only the first steps of lanes are timed
_HALVINGS = 20  # of the width, at most, for chunks of few lanes
_EVEN = 8  # wider chunks are a multiple of so many lanes, which vector units like

# For each kind of program the bytes that the loops of a chunk carry, at best, and the narrowest
# and the widest chunk. On CPUs these bytes fit into a cache: the first one where lanes are last,
# the shared one where products of matrices reuse what they have read.
_WIDTHS = {
    ("cpu", "last"): (2**14, 128, 2048),
    ("cpu", "products"): (2**22, 2, 64),
    ("cpu", "other"): (2**20, 16, 256),
    ("other", "last"): (2**26, 512, 65536),
    ("other", "products"): (2**28, 16, 4096),
    ("other", "other"): (2**26, 512, 65536),
}


class Probe(NamedTuple):
    """One width and program that was tried.

    Attributes:
      width: Lanes at a time on each device.
      options: Of the program, as for `jaxmom.sweep`.
      bytes: Of memory on each device.
      compile_seconds: For all devices.
      seconds: Of one run of `width` lanes on each device.
      total: Seconds for all lanes of the group, at this speed.
      lanes: How many lanes were run to find out, or began to run; 0 where the seconds are counted
        and not measured.
      share: Of the work of these lanes that was run.
    """

    width: int
    options: Mapping[str, Any]
    bytes: int
    compile_seconds: float
    seconds: float
    total: float
    lanes: int
    share: float = 1.0


class Autotuner:
    """A search for a fast width and program of a sweep on some devices.

    Args:
      space: What is swept.
      group: The largest group of the space, whose lanes are run.
      devices: To run on.
      dispatcher: Starts programs and waits for them.

    Attributes:
      tried: All probes, in order.
      computed: The results of the first chunks, by their numbers, with the fastest program.
      notes: What is not as it would be otherwise, and why, a sentence each.
    """

    def __init__(
        self, space: Space, group: TracedGroup, devices: Sequence[Any], dispatcher: Dispatcher
    ):
        self.space, self.group, self.devices = space, group, devices
        self.dispatcher = dispatcher
        self.lanes = group.group.rows.size
        self.lanes_per_device = ceil_div(self.lanes, len(devices))
        self.tried: list[Probe] = []
        self.computed: dict[int, Arrays] = {}
        note = deadlock_note(group.jaxpr, devices)
        self.notes = [] if note is None else [note]
        self._spent = 0.0
        self._timed, self._scale = group, 1.0  # whose programs are timed; of the seconds of a lane

    @property
    def best(self) -> Probe:
        """The fastest probe so far."""
        return min(self.tried, key=lambda probe: probe.total)

    def search(self, options: Mapping[str, Any] | None) -> Choice:
        """Return a width and program, after trying some if the sweep is long.

        Args:
          options: Of the only program to try, or None.

        Raises:
          UnsupportedPrimitive: There is no such program as the options ask for.
        """
        work = count_work(self.group.jaxpr)
        seconds = work.seconds * self.space.size / len(self.devices)
        may_be_long = work.has_unknown_loop or seconds > _SHORT_SWEEP / 10
        if options is None and may_be_long:
            remembered = recall_choice(self.group, self.devices)
            if remembered is not None:
                self.notes.append("auto: what an earlier search for this function has found")
                return self._narrow(self._fit(remembered))
        choice = self.choose_first(options)
        self._shorten_long_lanes(choice, work.seconds)
        while not self.try_choice(choice):  # too large for the memory
            choice = self._fit(Choice(max(choice.width // _WIDTH_FACTOR, 1), choice.options))
        if self._job_seconds() > _SHORT_SWEEP:
            self._search_beside(choice, others=options is None)
            if options is None:
                remember_choice(self.group, self.devices, self.best.width, self.best.options)
        found = Choice(self.best.width, self.best.options)
        return self._narrow(found) if options is None else found

    def choose_first(self, options: Mapping[str, Any] | None) -> Choice:
        """Choose a width and program by the work of a lane; nothing is compiled.

        Args:
          options: Of the program, or None for those that suit it.
        """
        work = count_work(self.group.jaxpr)
        usual = default_options(self.devices)
        if options is None:
            is_known_loop = _jaxpr.has_loop(self.group.jaxpr) and not work.has_unknown_loop
            missing = missing_rule(self.group) if is_known_loop else ""
            options = {**usual, LANES_LAST: 1} if missing is None else usual
            if missing:
                self.notes.append(f"lanes first: lanes_last has no rule for {missing}")
        width = _first_width(work, options, self.devices)
        return self._fit(_fuse_short_chunks(width, options, work.seconds, self.lanes_per_device))

    def count_run(self, sizes: Sequence[int], choice: Choice | Probe) -> int:
        """Return how many lanes run for groups of some sizes, with those that fill chunks up."""
        width = choice.width
        full = sum(size // width * width for size in sizes)
        rests = (size % width for size in sizes)
        return full + sum(chunk_width(width, choice.options, rest) for rest in rests if rest)

    def explain(self, choice: Choice) -> Probe:
        """Compile a choice, and time it on a small share of the lanes if a chunk is one."""
        programs, compile_seconds = self._compile(choice)
        chunk = min(choice.width * len(self.devices), self.lanes)
        self._shorten_long_lanes(choice, count_work(self.group.jaxpr).seconds)
        share = _count_share(self._timed, self.group)
        if share * chunk <= _EXPLAIN_SHARE * self.lanes:
            timed = programs if self._timed is self.group else self._compile(choice)[0]
            probe = self._run(choice, timed, compile_seconds)[0]
        else:
            seconds = choice.width * count_work(self.group.jaxpr).seconds
            probe = self._make_probe(choice, programs, compile_seconds, seconds, 0)
        self.tried.append(probe)
        return probe

    def try_choice(self, choice: Choice) -> bool:
        """Compile a choice and run it on the first chunks; return whether there is room for it."""
        start = time.perf_counter()
        programs, compile_seconds = self._compile(choice)
        has_room = programs[0].bytes <= memory_budget(self.devices) or choice.width == 1
        try:
            found = self._run(choice, programs, compile_seconds) if has_room else None
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or choice.width == 1:
                raise
            found = None
        if found is not None:
            probe, results = found
            if self._timed is self.group and (not self.tried or probe.total < self.best.total):
                self.computed = results
            self.tried.append(probe)
        self._spent += time.perf_counter() - start
        return found is not None

    def _search_beside(self, first: Choice, others: bool) -> None:
        """Try widths beside the first one and other programs, as long as the time admits."""
        self._spent = 0.0  # the first program would have run anyway
        for factor in (1 / _WIDTH_FACTOR, _WIDTH_FACTOR):
            choice = first
            while self._try_if_worth(choice := _widen(choice, factor)):
                pass
        if others:
            for options in _other_programs(self.best.options, self.devices):
                self._try_if_worth(Choice(self.best.width, options))

    def _try_if_worth(self, choice: Choice) -> bool:
        """Try a choice if there is time for it; return whether it is the fastest so far."""
        before, choice = self.best, self._fit(choice)
        if any((probe.width, probe.options) == choice for probe in self.tried):
            return False
        lane_seconds = before.seconds / before.width
        expected = before.compile_seconds + 2 * lane_seconds * choice.width / self._scale
        if self._spent + expected > _SEARCH_SHARE * self._job_seconds():
            return False
        return self.try_choice(choice) and self.best is not before

    def _job_seconds(self) -> float:
        """Return how long all lanes of the space would take, as fast as the best probe."""
        return self.best.total * self.space.size / self.lanes  # other groups are smaller

    def _narrow(self, choice: Choice) -> Choice:
        """Let small groups, and last chunks of few lanes, run in programs of fewer lanes."""
        sizes = [group.rows.size for group in self.space.groups()]
        narrow = Choice(choice.width, {**choice.options, NARROW: _HALVINGS})
        return narrow if self.count_run(sizes, narrow) < self.count_run(sizes, choice) else choice

    def _shorten_long_lanes(self, choice: Choice, lane_seconds: float) -> None:
        """Time the first steps of lanes only, if a chunk of whole ones is much of a long sweep."""
        chunk = min(choice.width * len(self.devices), self.lanes)
        seconds = choice.width * lane_seconds
        if seconds < _LONG_CHUNK or chunk <= _EXPLAIN_SHARE * self.lanes / 2:
            return
        shortened = shorten_group(self.group, _LONG_CHUNK / 4 / seconds)
        share = _count_share(shortened, self.group)
        if share * chunk <= _EXPLAIN_SHARE * self.lanes / 2:
            self._timed, self._scale = shortened, 1 / share

    def _fit(self, choice: Choice) -> Choice:
        return fit_choice(choice, self.lanes_per_device)

    def _compile(self, choice: Choice) -> tuple[list[Program], float]:
        start = time.perf_counter()
        programs = compile_group(self._timed, choice.width, self.devices, choice.options)
        return programs, time.perf_counter() - start

    def _run(
        self, choice: Choice, programs: Sequence[Program], compile_seconds: float
    ) -> tuple[Probe, dict[int, Arrays]]:
        """Time the first chunks, one on each device, and return their results too."""
        seconds, results = self._time_chunks(programs)
        lanes = min(choice.width * len(results), self.lanes)
        seconds *= self._scale
        return self._make_probe(choice, programs, compile_seconds, seconds, lanes), results

    def _make_probe(
        self,
        choice: Choice,
        programs: Sequence[Program],
        compile_seconds: float,
        seconds: float,
        lanes: int,
    ) -> Probe:
        turns = ceil_div(ceil_div(self.lanes, choice.width), len(self.devices))
        total = (seconds + _HOST_SECONDS) * turns
        used = programs[0].bytes, compile_seconds, seconds, total, lanes
        return Probe(*choice, *used, 1 / self._scale)

    def _time_chunks(self, programs: Sequence[Program]) -> tuple[float, dict[int, Arrays]]:
        """Return the least seconds of some runs of the first chunks, and their results."""
        count = min(len(programs), ceil_div(self.lanes, programs[0].width))
        columns = [self._columns(chunk, programs[0].width) for chunk in range(count)]
        times: list[float] = []
        results: dict[int, Arrays] = {}
        # The first run also warms up, but a long one is not repeated for that.
        while not times or (sum(times) < _TIMED_SECONDS and count * programs[0].width < self.lanes):
            start = time.perf_counter()
            pairs = list(zip(programs, columns, strict=False))
            started = [self.dispatcher.start(*pair) for pair in pairs]
            outputs = [self.dispatcher.wait(one) for one in started]
            results = {i: pairs[i][0].finish(one) for i, one in enumerate(outputs)}
            times.append(time.perf_counter() - start)
        return min(times), results

    def _columns(self, chunk: int, width: int) -> Arguments:
        """Return the arguments of a chunk; the last one is filled up with its last lane."""
        rows = self.group.group.rows
        positions = np.minimum(chunk * width + np.arange(width), rows.size - 1)
        taken = self.space.take(rows.at(positions))
        return {name: taken[name] for name in self.group.group.names}


def fit_choice(choice: Choice, lanes: int) -> Choice:
    """Return a choice for so many lanes on each device: no wider, and with even chunks.

    Args:
      choice: A width and program.
      lanes: On each device.

    Example:
      >>> fit_choice(Choice(512, {}), 1000)
      Choice(width=504, options={})
    """
    width, options = min(choice.width, lanes), dict(choice.options)
    if BLOCK in options and options[BLOCK] >= width:
        del options[BLOCK]
    even = ceil_div(lanes, ceil_div(lanes, width))
    if BLOCK in options:
        block = int(options[BLOCK])
        most = max(choice.width // block, 1) * block
        return Choice(min(ceil_div(even, block) * block, most), options)
    rounded = ceil_div(even, _EVEN) * _EVEN
    return Choice(rounded if even >= 4 * _EVEN and rounded <= width else even, options)


def default_options(devices: Sequence[Any]) -> Mapping[str, Any]:
    """Return the options for a width that is given: those that change no bits."""
    return UNDIVIDED if devices[0].platform == "cpu" else {}


def _count_share(part: TracedGroup, whole: TracedGroup) -> float:
    """Return which share of the work of a lane another program of it does."""
    return count_work(part.jaxpr).seconds / max(count_work(whole.jaxpr).seconds, 1e-30)


def _widen(choice: Choice, factor: float) -> Choice:
    """Return a choice with chunks wider by a factor, or blocks if it has blocks."""
    if BLOCK not in choice.options:
        return Choice(max(int(choice.width * factor), 1), choice.options)
    block = max(int(choice.options[BLOCK] * factor), 1)
    return Choice(ceil_div(choice.width, block) * block, {**choice.options, BLOCK: block})


def _fuse_short_chunks(
    width: int, options: Mapping[str, Any], lane_seconds: float, lanes: int
) -> Choice:
    """Let short chunks run in turn as one, so that little time is spent between them."""
    seconds = max(width * lane_seconds, 1e-9)
    fused = min(math.ceil(_FUSED_CHUNK / seconds), lanes // (_CHUNKS_LEFT * width))
    if BLOCK in options or seconds > _SHORT_CHUNK or fused < 2:
        return Choice(width, options)
    return Choice(width * fused, {**options, BLOCK: width})


def _first_width(work: Work, options: Mapping[str, Any], devices: Sequence[Any]) -> int:
    """Return the width at which the loops of a chunk carry as much as suits the program."""
    if BLOCK in options:
        return int(options[BLOCK])
    kind = "last" if LANES_LAST in options else "products" if work.is_products else "other"
    platform = "cpu" if devices[0].platform == "cpu" else "other"
    carried, narrowest, widest = _WIDTHS[platform, kind]
    width = 2 ** int(math.log2(max(carried / max(work.carried_bytes, 1), 1)))
    return min(max(width, narrowest), widest)


def _other_programs(
    options: Mapping[str, Any], devices: Sequence[Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield the options of other programs of the same lanes, the likeliest first."""
    usual = default_options(devices)
    ours = {name: options[name] for name in (BLOCK,) if name in options}
    if LANES_LAST in options:
        yield {**options, LANES_LAST: 4}
        yield {**usual, **ours}
    if usual:
        yield ours
