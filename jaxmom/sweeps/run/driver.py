"""The driver loop: dispatch chunks, wait for them, store the results."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax

from jaxmom.sweeps.compile.batching import BLOCK, chunk_width
from jaxmom.sweeps.compile.identity import Identity, sweep_identity
from jaxmom.sweeps.compile.memory import is_out_of_memory
from jaxmom.sweeps.compile.outputs import STEP
from jaxmom.sweeps.compile.program import Arguments, Arrays, TracedGroup
from jaxmom.sweeps.compile.watchdog import Dispatcher, StalledError, describe_stall
from jaxmom.sweeps.compile.widths import plan_widths
from jaxmom.sweeps.results.collect import InMemoryResults, ResultWriter
from jaxmom.sweeps.results.dataset import add_status
from jaxmom.sweeps.run.dispatch import Outcome, fill_up, run_tasks
from jaxmom.sweeps.run.executors import has_ended
from jaxmom.sweeps.run.live import LiveMetrics
from jaxmom.sweeps.run.progress import ProgressFn, progress_bar
from jaxmom.sweeps.run.runners import ChunkRunner, LocalRunner, Task
from jaxmom.sweeps.space.groups import group_key, label_groups
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.space import Space


class SweepConfig(NamedTuple):
    """A sweep whose width and program are chosen."""

    space: Space
    traced: Sequence[TracedGroup]
    devices: Sequence[Any]
    width: int
    options: Mapping[str, Any]
    widths: Mapping[str, int] | None  # of the groups, by their keys; None for that of the sweep
    computed: Mapping[tuple[int, int], Arrays] = {}  # (group, chunk) -> results of the search
    notes: Sequence[str] = ()  # about the program, for the user
    compile_seconds: float = 0.0  # of the search for them

    def identity(self) -> Identity:
        """Return all that the bits of the results depend on."""
        platform = self.devices[0].platform
        chosen = self.width, self.traced, self.options, platform, self.widths
        return sweep_identity(self.space, *chosen)

    def group_widths(self) -> list[int]:
        """Return the width of each group."""
        keys = (group_key(one.group) for one in self.traced)
        return [self.width if self.widths is None else self.widths[key] for key in keys]


WriterFn: TypeAlias = Callable[[SweepConfig], ResultWriter]
# ``loop(runner, widths, tasks, arguments)`` yields tasks with their results, as `run_tasks` does
LoopFn: TypeAlias = Callable[
    [ChunkRunner, Sequence[int], Iterator[Task], Callable[[Task], Arguments]], Generator[Outcome]
]


class Driver:
    """A sweep that runs.

    Args:
      config: The sweep.
      open_writer: Makes the writer of its results.
      on_error: As for `jaxmom.sweep`.
      is_shown: Whether there is a progress bar.
      live: Is called for each chunk that is kept.

    Attributes:
      finished: The chunks (number of the lane set, index in it) that are kept, with their lanes.
    """

    def __init__(
        self,
        config: SweepConfig,
        open_writer: WriterFn,
        on_error: str,
        is_shown: bool,
        live: LiveMetrics,
    ):
        self.open_writer, self.on_error, self.is_shown = open_writer, on_error, is_shown
        self.live, self.has_begun = live, False
        self.prefetched: dict[Task, Arrays] = {}  # results of the search for a width
        self._set_config(config)

    @property
    def chunks(self) -> int:
        """The number of chunks, done or not."""
        return sum(lane_set.chunks for lane_set in self.writer.lane_sets)

    def first_runner_that_fits(self, dispatcher: Dispatcher) -> LocalRunner:
        """Return a runner whose first chunks fit into memory; the width is halved until they do.

        Only before anything is kept, even a manifest, for the width decides the bits. Once it was
        too large, the next one must have room for two chunks on each device, as there will be.
        """
        count = len(self.config.devices)
        while True:
            runner = self._local_runner(dispatcher)
            tasks = list(itertools.islice(self._tasks(), count))
            if self.finished or self.prefetched or not tasks:
                return runner
            tasks = [task for task in tasks if task.group == tasks[0].group]
            try:
                handles = [runner.start(task, self._columns(task)) for task in tasks]
                results = [handle.result() for handle in handles]
                self.prefetched = dict(zip(tasks, results, strict=True))
                return runner
            except StalledError as error:
                raise RuntimeError(self._describe_stall(tasks[0], error)) from None
            except jax.errors.JaxRuntimeError as error:
                is_least = self.config.width == 1 or self.writer.is_settled
                if is_least or not is_out_of_memory(error):
                    return runner  # a chunk will fail again, where failures are dealt with
                self._halve_width()
                count, handles = 2 * len(self.config.devices), []

    def run(self, runner: ChunkRunner, loop: LoopFn | None = None) -> None:
        """Compute and keep all chunks that are not there yet.

        Args:
          runner: Computes them.
          loop: Runs the tasks; `run_tasks` by default.
        """
        done = sum(self.finished.values())
        lane_sets = self.writer.lane_sets
        total = done + sum(lane_sets[t.number].count(t.chunk) for t in self._tasks())
        self.live.begin(done, total)
        with progress_bar(total, done, self.is_shown, self.config.notes) as progress:
            for task, arrays in self.prefetched.items():
                self._keep(task, arrays, progress)
            self.prefetched = {}
            run = run_tasks(runner, self._tasks(), self._columns)
            if loop is not None:
                widths = [lane_set.width for lane_set in lane_sets]
                run = loop(runner, widths, self._tasks(), self._arguments)
            with contextlib.closing(run) as outcomes:
                for task, outcome in outcomes:
                    self._keep(task, outcome, progress)
        self._begin()  # if there was nothing to do

    def count_safe(self) -> str:
        """Tell how much would survive the end of the process now, as in "3 of 5 chunks"."""
        return f"{self.writer.count()} of {self.chunks} chunks"

    def _local_runner(self, dispatcher: Dispatcher) -> LocalRunner:
        config = self.config
        return LocalRunner(
            config.traced,
            config.group_widths(),
            config.devices,
            config.options,
            dispatcher,
        )

    def _set_config(self, config: SweepConfig) -> None:
        self.config, self.writer = config, self.open_writer(config)
        self.finished = self.writer.done()
        # Of a sweep that is new, with a lane set for each group: another one has its choice.
        self.prefetched = {
            Task(number, chunk, group): arrays
            for number, lane_set in enumerate(self.writer.lane_sets)
            for (group, chunk), arrays in self.config.computed.items()
            if group == lane_set.group and not self.finished
        }

    def _tasks(self) -> Iterator[Task]:
        """Yield the chunks to compute."""
        for number, lane_set in enumerate(self.writer.lane_sets):
            for chunk in range(lane_set.chunks):
                is_done = (number, chunk) in self.finished
                if not is_done and self.writer.is_left(number, chunk):
                    yield Task(number, chunk, lane_set.group)

    def _lanes(self, task: Task) -> Index:
        """Return the lanes of a chunk."""
        lane_set = self.writer.lane_sets[task.number]
        return lane_set.rows.at(lane_set.places(task.chunk))

    def _arguments(self, task: Task) -> Arguments:
        """Return the arguments of the lanes of a chunk."""
        taken = self.config.space.take(self._lanes(task))
        return {name: taken[name] for name in self.config.traced[task.group].group.names}

    def _columns(self, task: Task) -> Arguments:
        """Return the arguments of a chunk; one of few lanes is filled up with its last lane."""
        lane_set = self.writer.lane_sets[task.number]
        lanes = lane_set.count(task.chunk)
        missing = chunk_width(lane_set.width, self.config.options, lanes) - lanes
        return jax.tree.map(lambda x: fill_up(x, missing), self._arguments(task))

    def _keep(self, task: Task, outcome: Arrays | Exception, progress: ProgressFn) -> None:
        """Write the results of a task, or deal with its error."""
        if isinstance(outcome, StalledError):
            raise RuntimeError(self._describe_stall(task, outcome)) from None
        count = self.writer.lane_sets[task.number].count(task.chunk)
        if isinstance(outcome, Exception):
            if self.on_error == "raise" or has_ended(outcome):
                outcome.add_note(self._describe_failure(task, outcome))
                raise outcome
            self._begin()
            message = f"{type(outcome).__name__}: {outcome}"
            self.writer.mark_failed(task.number, task.chunk, message)
            self.live.add_failed(count)
            return
        arrays = {name: a if name == STEP else a[:count] for name, a in outcome.items()}
        arrays = add_status(arrays)
        self._begin()
        self.writer.write_chunk(task.number, task.chunk, arrays)
        self.finished[task.number, task.chunk] = count
        progress(arrays)
        try:
            self.live.add(self._lanes(task), self.config.traced[task.group].outputs, arrays)
        except Exception as error:
            error.add_note(f"This was on_chunk, after {self._describe_task(task)} are done.")
            raise

    def _begin(self) -> None:
        """Begin the writer, now that the width is settled."""
        if not self.has_begun:
            self.writer.begin()
            self.has_begun = True

    def _halve_width(self) -> None:
        width, options = self.config.width, dict(self.config.options)
        half = width // 2
        if BLOCK in options:  # of which a chunk has a whole number
            options[BLOCK] = min(int(options[BLOCK]), half)
            half -= half % options[BLOCK]
        warnings.warn(
            f"{width} lanes at a time do not fit into memory; going on with {half}.", stacklevel=4
        )
        widths = plan_widths(self.config.traced, half, options)
        chosen = {"width": half, "options": options, "widths": widths}
        self._set_config(self.config._replace(**chosen, computed={}))

    def _describe_task(self, task: Task) -> str:
        group = label_groups([one.group for one in self.config.traced])[task.group]
        return f"chunk {task.chunk} of {group}; {len(self.finished)} of {self.chunks} chunks"

    def _describe_failure(self, task: Task, error: Exception) -> str:
        advice = 'on_error="record" would go on without it.'
        if is_out_of_memory(error) and self.writer.is_settled:
            advice = f"Give it more memory, or a smaller width and another store; {advice}"
        if has_ended(error):
            advice = (
                "The executor computes no more; start another one for the chunks that are left."
            )
        return f"This was {self._describe_task(task)} are done. {advice}"

    def _describe_stall(self, task: Task, error: StalledError) -> str:
        kept = "are safe in the store, and the same call goes on from there"
        if isinstance(self.writer, InMemoryResults):
            kept = "are done, and none is kept without store="
        return describe_stall(f"at {self._describe_task(task)} {kept}", error)
