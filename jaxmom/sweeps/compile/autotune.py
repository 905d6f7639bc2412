"""Autotuner: start where the work of a lane says, and try other programs of long sweeps only.

A search must not cost more than it saves. So the first program is chosen without running anything,
by the work that is counted on the jaxpr. It runs the first chunks, and what they take says how long
the sweep is. A short sweep goes on with that program. For a long one, other widths and programs are
compiled and run on the first chunks too, for at most a tenth of the time that the sweep would take.
The results of the fastest program are kept as those of the sweep, and the choice is remembered.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmom import _jaxpr
from jaxmom.sweeps.compile.batching import IN_TURN, LANES_LAST, NARROW, chunk_width
from jaxmom.sweeps.compile.choices import Choice, recall_choice, remember_choice
from jaxmom.sweeps.compile.first_choice import (
    first_width,
    fit_choice,
    fuse_short_chunks,
    likely_options,
    other_programs,
    suits_turns,
    widen,
)
from jaxmom.sweeps.compile.lapack import deadlock_note
from jaxmom.sweeps.compile.meanwhile import loading_xarray
from jaxmom.sweeps.compile.memory import is_out_of_memory, memory_budget
from jaxmom.sweeps.compile.prefix import shorten_group
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    can_batch,
    compile_group,
    missing_rule,
)
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.compile.widths import group_width
from jaxmom.sweeps.compile.work import count_work, shared_work
from jaxmom.sweeps.space.index_maps import ceil_div
from jaxmom.sweeps.space.space import Space

_SHORT_SWEEP = 3.0  # seconds, below which nothing but the first program is tried
_SEARCH_SHARE = 0.1  # of the time of a sweep that the search may take
_EXPLAIN_SHARE = 0.05  # of the lanes of a sweep that `explain` may run
_WIDTH_FACTOR = 4  # from one width that is tried to the next
_HOST_SECONDS = 3e-4  # of Python for each chunk
_TIMED_SECONDS = 0.05  # for which a short chunk is repeated
_WARM_UP_SECONDS = 0.2  # that a first run may take for a second one to follow it in any case
_LONG_CHUNK = 2.0  # counted seconds from which on only the first steps of lanes are timed
_HALVINGS = 20  # of the width, at most, for chunks of few lanes


class Probe(NamedTuple):
    """One width and program that was tried.

    Attributes:
      width: Lanes at a time on each device.
      options: Of the program, as for `jaxmom.sweep`.
      bytes: Of memory on each device.
      compile_seconds: For all devices.
      seconds: Of one run of `width` lanes on each device, or in each thread of one.
      total: Seconds for all lanes of the group, at this speed.
      lanes: How many lanes were run to find out, or began to run, each as often as it was; 0 where
        the seconds are counted and not measured.
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

    @property
    def choice(self) -> Choice:
        """The width and the options."""
        return Choice(self.width, self.options)


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
      compile_seconds: Spent on compiling so far.
    """

    def __init__(
        self, space: Space, group: TracedGroup, devices: Sequence[Any], dispatcher: Dispatcher
    ):
        self.notes: list[str] = []
        self.devices = self._offered = list(devices)
        self.space, self.group, self.dispatcher = space, group, dispatcher
        self.lanes = group.group.rows.size
        self._work = count_work(group.jaxpr)
        self.tried: list[Probe] = []
        self.computed: dict[int, Arrays] = {}
        self.compile_seconds = self._spent = 0.0
        self._compile_cost = 0.0  # of a program, also of one that this process had
        self._timed, self._scale = group, 1.0  # whose programs are timed; of the seconds of a lane

    @property
    def best(self) -> Probe:
        """The fastest probe so far."""
        return min(self.tried, key=lambda probe: probe.total)

    @property
    def lanes_per_device(self) -> int:
        """How many lanes each device, or each thread of one, gets at most."""
        return ceil_div(self.lanes, len(self.devices))

    def search(self, options: Mapping[str, Any] | None) -> Choice:
        """Return a width and program, after trying some if the sweep is long.

        Args:
          options: Of the only program to try, or None.

        Raises:
          UnsupportedPrimitive: There is no such program as the options ask for.
        """
        seconds = self._work.seconds * self.space.size / len(self.devices)
        may_be_long = self._work.has_unknown_loop or seconds > _SHORT_SWEEP / 10
        if options is None and may_be_long:
            remembered = recall_choice(self.group, self._offered)
            if remembered is not None:
                self._confine(remembered.options)
                self.notes.append("auto: what an earlier search for this function has found")
                return self._narrow(self._fit(remembered))
        choice = self.choose_first(options)
        self._shorten_long_lanes(choice)
        while not self.try_choice(choice):  # too large for the memory
            choice = self._fit(Choice(max(choice.width // _WIDTH_FACTOR, 1), choice.options))
        if self._job_seconds() > _SHORT_SWEEP:
            self._search_beside(choice, others=options is None)
            if options is None:
                remember_choice(self.group, self._offered, *self.best.choice)
        found = self.best.choice
        self._confine(found.options)  # another program than the first one may need a note
        return self._narrow(found) if options is None else found

    def choose_first(self, options: Mapping[str, Any] | None) -> Choice:
        """Choose a width and program by the work of a lane; nothing is compiled.

        Args:
          options: Of the program, or None for those that suit it.
        """
        if options is None:
            options = self._first_options()
        self._confine(options)
        width = first_width(self._work, options, self.devices)
        seconds, lanes = self._work.seconds, self.lanes_per_device
        return self._fit(fuse_short_chunks(width, options, seconds, lanes))

    def _first_options(self) -> Mapping[str, Any]:
        """Return the options of the program that suits a lane."""
        program, work = self.group.jaxpr, self._work
        batched, in_turn = (deadlock_note(program, self.devices, turns) for turns in (False, True))
        is_confined = len(self.devices) > 1 and batched is not None
        shared = shared_work(program, len(jax.tree.leaves(self.group.data)))
        if suits_turns(work, self.devices, shared, is_confined and in_turn is None):
            return {**likely_options(work, self.devices), IN_TURN: True}
        is_known_loop = _jaxpr.has_loop(program) and not work.has_unknown_loop
        missing = missing_rule(self.group) if is_known_loop else ""
        if missing:
            self.notes.append(f"lanes first: lanes_last has no rule for {missing}")
        options = likely_options(work, self.devices[:1] if is_confined else self.devices)
        return {**options, LANES_LAST: 1} if missing is None else options

    def _confine(self, options: Mapping[str, Any]) -> None:
        """Leave one device and thread to a program that could deadlock beside itself."""
        note = deadlock_note(self.group.jaxpr, self.devices, IN_TURN in options)
        if note is not None and note not in self.notes:
            self.notes.append(note)
            self.devices = self.devices[:1]

    def count_run(self, sizes: Sequence[int], choice: Choice | Probe) -> int:
        """Return how many lanes run for groups of some sizes, with those that fill chunks up.

        Args:
          sizes: The numbers of lanes of the groups.
          choice: The width, and the options of which ``narrow`` matters.
        """
        run = 0
        for size in sizes:
            width = group_width(choice.width, choice.options, size)
            rest = size % width
            run += size - rest + (chunk_width(width, choice.options, rest) if rest else 0)
        return run

    def explain(self, choice: Choice) -> Probe:
        """Compile a choice, and time it on a small share of the lanes if a chunk is one.

        Args:
          choice: From `choose_first`, or as it was given.

        Returns:
          A probe. Its seconds are measured on a chunk, or on the first steps of one, if that is at
          most a twentieth of the sweep; else they follow from the counted work, and its
          ``lanes`` are 0.
        """
        self._confine(choice.options)
        programs, compile_seconds = self._compile(choice)
        self._shorten_long_lanes(choice)
        share = _count_share(self._timed, self.group)
        most = int(_EXPLAIN_SHARE * self.lanes / (share * choice.width))
        if most:
            timed = programs if self._timed is self.group else self._compile(choice)[0]
            probe = self._run(choice, timed, compile_seconds, most)[0]
        else:
            seconds = choice.width * self._work.seconds
            probe = self._make_probe(choice, programs, compile_seconds, seconds, 0)
        self.tried.append(probe)
        return probe

    def try_choice(self, choice: Choice) -> bool:
        """Compile a choice and run it on the first chunks; return whether there is room for it.

        Args:
          choice: A width and program. If it is the fastest so far, its results are kept.
        """
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
        has_width = IN_TURN not in first.options  # in turn, the width makes no difference
        for factor in (1 / _WIDTH_FACTOR, _WIDTH_FACTOR) if has_width else ():
            choice = first
            while self._try_if_worth(choice := widen(choice, factor)):
                pass
        if others:
            for choice in other_programs(self.best.choice, self._work, self.devices):
                self._try_if_worth(choice)

    def _try_if_worth(self, choice: Choice) -> bool:
        """Try a choice if there is time for it; return whether it is the fastest so far.

        It is taken to compile as long as others did, and to run for twice as long.
        """
        before, choice = self.best, self._fit(choice)
        if any(probe.choice == choice for probe in self.tried):
            return False
        lane_seconds = before.seconds / before.width
        cost = max(before.compile_seconds, self._compile_cost)
        expected = cost + 2 * lane_seconds * choice.width / self._scale
        if self._spent + expected > _SEARCH_SHARE * self._job_seconds():
            return False
        is_first_batch = IN_TURN in before.options and IN_TURN not in choice.options
        if is_first_batch and not can_batch(self.group):
            return False
        return self.try_choice(choice) and self.best is not before

    def _job_seconds(self) -> float:
        """Return how long all lanes of the space would take, as fast as the best probe."""
        return self.best.total * self.space.size / self.lanes  # other groups are smaller

    def _narrow(self, choice: Choice) -> Choice:
        """Let small groups run in programs of fewer lanes.

        They are compiled in any case. The last chunk of the largest group is not worth a program
        of its own, because its chunks are even.
        """
        sizes = (group.rows.size for group in self.space.groups())
        is_small = any(2 * size <= choice.width for size in sizes)
        return (
            choice._replace(options={**choice.options, NARROW: _HALVINGS}) if is_small else choice
        )

    def _shorten_long_lanes(self, choice: Choice) -> None:
        """Time the first steps of lanes only, if a chunk of whole ones is much of a long sweep."""
        chunk = min(choice.width * len(self.devices), self.lanes)
        seconds = choice.width * self._work.seconds
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
        with loading_xarray():
            programs = compile_group(self._timed, choice.width, self.devices, choice.options)
        seconds = time.perf_counter() - start
        self.compile_seconds += seconds
        self._compile_cost = max(self._compile_cost, programs[0].compile_seconds)
        return programs, seconds

    def _run(
        self,
        choice: Choice,
        programs: Sequence[Program],
        compile_seconds: float,
        most: float = math.inf,
    ) -> tuple[Probe, dict[int, Arrays]]:
        """Time the first chunks, one by each program, and return their results too."""
        seconds, results, rounds = self._time_chunks(programs, most)
        lanes = rounds * min(choice.width * len(results), self.lanes)
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

    def _time_chunks(
        self, programs: Sequence[Program], most: float
    ) -> tuple[float, dict[int, Arrays], int]:
        """Run the first chunks for some rounds, so many chunks at most, and at least one.

        Returns:
          The least seconds of a round, the results, and the number of rounds.
        """
        count = int(min(len(programs), ceil_div(self.lanes, programs[0].width), most))
        columns = [self._columns(chunk, programs[0].width) for chunk in range(count)]
        times: list[float] = []
        results: dict[int, Arrays] = {}
        turns = ceil_div(ceil_div(self.lanes, programs[0].width), count)
        # The first run also warms up. In a short sweep that does not matter, and a long run is not
        # repeated for that.
        while not times or (
            (len(times) + 1) * count <= most
            and sum(times) < (_TIMED_SECONDS if len(times) > 1 else _WARM_UP_SECONDS)
            and times[0] * turns > _SHORT_SWEEP
        ):
            start = time.perf_counter()
            pairs = list(zip(programs, columns, strict=False))
            started = [self.dispatcher.start(*pair) for pair in pairs]
            outputs = [self.dispatcher.wait(one) for one in started]
            results = {i: pairs[i][0].finish(one) for i, one in enumerate(outputs)}
            times.append(time.perf_counter() - start)
        return min(times), results, len(times)

    def _columns(self, chunk: int, width: int) -> Arguments:
        """Return the arguments of a chunk; the last one is filled up with its last lane."""
        rows = self.group.group.rows
        positions = np.minimum(chunk * width + np.arange(width), rows.size - 1)
        taken = self.space.take(rows.at(positions))
        return {name: taken[name] for name in self.group.group.names}


def _count_share(part: TracedGroup, whole: TracedGroup) -> float:
    """Return which share of the work of a lane another program of it does."""
    if part is whole:
        return 1.0  # there may be no work at all
    return count_work(part.jaxpr).seconds / max(count_work(whole.jaxpr).seconds, 1e-30)
