"""The chunks of one sweep on their way: started, waited for, kept."""

import collections
import gc
import itertools
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmom.sweeps.compile.identity import Identity, sweep_identity
from jaxmom.sweeps.compile.memory import is_out_of_memory
from jaxmom.sweeps.compile.program import BLOCK, Arguments, Arrays, Program, TracedGroup
from jaxmom.sweeps.results.collect import ResultWriter
from jaxmom.sweeps.results.dataset import add_status
from jaxmom.sweeps.run.executors import ChunkRunner, Handle, LocalRunner, Task
from jaxmom.sweeps.run.progress import Progress, progress_bar
from jaxmom.sweeps.space.components import label_groups
from jaxmom.sweeps.space.space import Space

_PAUSES = (0.0, 0.1, 1.0)  # seconds before each new trial of what had no room


class SweepConfig(NamedTuple):
    """What is fixed before the first chunk."""

    space: Space
    lanes: Sequence[TracedGroup]
    devices: Sequence[Any]
    width: int
    options: Mapping[str, Any]
    programs: Sequence[Program] = ()  # of a probe that can go on being used

    def identity(self) -> Identity:
        """What the bits depend on."""
        platform = self.devices[0].platform
        return sweep_identity(self.space, self.width, self.lanes, self.options, platform)

    def local(self) -> LocalRunner:
        """The devices of this process, with nothing compiled but perhaps a probe."""
        return LocalRunner(self.lanes, self.width, self.devices, self.options, self.programs)


class Driver:
    """A sweep that runs.

    Attributes:
      finished: The chunks (number of the block, own number) that are kept, with their lanes.
    """

    def __init__(self, setup: SweepConfig, sink: ResultWriter, on_error: str, shown: bool):
        self.setup, self.sink, self.on_error, self.shown = setup, sink, on_error, shown
        self.finished = sink.done()
        self.flight: collections.deque[tuple[Task, Handle | Exception]] = collections.deque()
        self.begun = self.cramped = False
        self.early: dict[Task, Arrays] = {}  # results that came with finding a width

    @property
    def chunks(self) -> int:
        """How many there are, done or not."""
        return sum(-(-block.rows.size // self.setup.width) for block in self.sink.blocks)

    def fitting(self) -> LocalRunner:
        """A runner whose first chunks fit into memory: the width is halved until they do.

        Only before anything is kept, for the width decides the bits. Once it was too large, the
        next one must have room for two chunks on each device, as there will be.
        """
        count = len(self.setup.devices)
        while True:
            runner = self.setup.local()
            tasks = list(itertools.islice(self._tasks(), count))
            if self.finished or not tasks:
                return runner
            tasks = [task for task in tasks if task.group == tasks[0].group]
            try:
                handles = [runner.start(task, self._columns(task)) for task in tasks]
                results = [handle.result() for handle in handles]
                self.early = dict(zip(tasks, results, strict=True))
                return runner
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or self.setup.width == 1:
                    return runner  # a chunk will fail again, where failures are dealt with
                self._shrink()
                count, handles = 2 * len(self.setup.devices), []

    def run(self, runner: ChunkRunner) -> None:
        """Compute and keep all chunks that are not there yet."""
        total = sum(block.rows.size for block in self.sink.blocks)
        try:
            with progress_bar(total, sum(self.finished.values()), self.shown) as progress:
                for task in self._tasks():
                    self.flight.append((task, self._started(runner, task)))
                    if len(self.flight) > (0 if self.cramped else runner.ahead):
                        self._settle(runner, progress)
                while self.flight:
                    self._settle(runner, progress)
        finally:
            for _, handle in self.flight:  # an executor would go on with them after an error
                if not isinstance(handle, Exception):
                    handle.cancel()
        self._begin()  # if there was nothing to do

    def _tasks(self) -> Iterator[Task]:
        """The chunks to do."""
        for number, block in enumerate(self.sink.blocks):
            for chunk in range(-(-block.rows.size // self.setup.width)):
                if (number, chunk) not in self.finished:
                    yield Task(number, chunk, block.group)

    def _columns(self, task: Task) -> Arguments:
        """The arguments of a chunk; the last one is filled up with its last lane."""
        width, (_, _, group, rows) = self.setup.width, self.sink.blocks[task.number]
        positions = task.chunk * width + np.arange(width)
        taken = self.setup.space.take(rows.at(np.minimum(positions, rows.size - 1)))
        return {name: taken[name] for name in self.setup.lanes[group].group.names}

    def _started(self, runner: ChunkRunner, task: Task) -> Handle | Exception:
        if task in self.early:
            return _Early(self.early.pop(task))
        try:
            return runner.start(task, self._columns(task))
        except Exception as error:
            return error

    def _settle(self, runner: ChunkRunner, progress: Progress) -> None:
        """Wait for the oldest task, and keep what it made."""
        task, handle = self.flight.popleft()
        waited = [(task, self._result(handle))]
        del handle  # it holds on to the arrays of the device
        if is_out_of_memory(waited[0][1]) and not self.cramped:
            # There is no room for one task beside another: wait for all, and go on one by one.
            self.cramped = True
            while self.flight:
                task, handle = self.flight.popleft()
                waited.append((task, self._result(handle)))
                del handle
        for task, result in waited:
            for pause in _PAUSES if is_out_of_memory(result) else ():
                gc.collect()
                time.sleep(pause)  # XLA frees some buffers in threads of its own
                result = self._result(self._started(runner, task))
                if not is_out_of_memory(result):
                    break
            if not isinstance(result, Exception):
                self._keep(task, result, progress)
            elif self.on_error == "raise":
                result.add_note(self._told(task))
                raise result
            else:
                self._fail(task, result)

    def _result(self, handle: Handle | Exception) -> Arrays | Exception:
        try:
            return handle if isinstance(handle, Exception) else handle.result()
        except Exception as error:
            # The frames of a traceback would keep the arrays that leave no room.
            return error.with_traceback(None) if is_out_of_memory(error) else error

    def _keep(self, task: Task, arrays: Arrays, progress: Progress) -> None:
        width = self.setup.width
        size = min(width, self.sink.blocks[task.number].rows.size - task.chunk * width)
        lanes = {name: a if name == "step" else a[:size] for name, a in arrays.items()}
        lanes = add_status(lanes)
        self._begin()
        self.sink.write_chunk(task.number, task.chunk, width, lanes)
        self.finished[task.number, task.chunk] = size
        progress(lanes)

    def _begin(self) -> None:
        """Say what the sweep is, now that its width is settled."""
        if not self.begun:
            self.sink.begin(self.setup.identity)
            self.begun = True

    def _fail(self, task: Task, error: Exception) -> None:
        self._begin()
        message = f"{type(error).__name__}: {error}"
        self.sink.mark_failed(task.number, task.chunk, self.setup.width, message)

    def _shrink(self) -> None:
        width, options = self.setup.width, dict(self.setup.options)
        half = width // 2
        if BLOCK in options:  # of which a chunk has a whole number
            options[BLOCK] = min(int(options[BLOCK]), half)
            half -= half % options[BLOCK]
        warnings.warn(
            f"{width} lanes at a time do not fit into memory; going on with {half}.", stacklevel=4
        )
        self.setup = self.setup._replace(width=half, options=options, programs=())

    def _told(self, task: Task) -> str:
        group = label_groups([lanes.group for lanes in self.setup.lanes])[task.group]
        return (
            f"This was chunk {task.chunk} of {group}; {len(self.finished)} of {self.chunks} "
            'chunks are done. on_error="record" would go on without it.'
        )


class _Early(NamedTuple):
    arrays: Arrays

    def result(self) -> Arrays:
        return self.arrays

    def cancel(self) -> None:
        pass
