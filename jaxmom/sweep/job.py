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

from jaxmom.sweep.identity import Identity, group_label, identity
from jaxmom.sweep.program import Arguments, Arrays, Lanes, Program
from jaxmom.sweep.progress import Progress, progress_bar
from jaxmom.sweep.result import with_status
from jaxmom.sweep.runners import Handle, Local, Runner, Task
from jaxmom.sweep.sinks import Sink
from jaxmom.sweep.space import Space

_PAUSES = (0.0, 0.1, 1.0)  # seconds before each new trial of what had no room


class Setup(NamedTuple):
    """What is fixed before the first chunk."""

    space: Space
    lanes: Sequence[Lanes]
    devices: Sequence[Any]
    width: int
    options: Mapping[str, Any]
    program: Program | None = None  # of a probe that can go on being used

    def identity(self) -> Identity:
        """What the bits depend on."""
        platform = self.devices[0].platform
        return identity(self.space, self.width, self.lanes, self.options, platform)

    def local(self) -> Local:
        """The devices of this process, with nothing compiled but perhaps a probe."""
        return Local(self.lanes, self.width, self.devices, self.options, self.program)


class Job:
    """A sweep that runs.

    Attributes:
      finished: The chunks (number of the block, own number) that are kept, with their lanes.
    """

    def __init__(self, setup: Setup, sink: Sink, on_error: str, shown: bool):
        self.setup, self.sink, self.on_error, self.shown = setup, sink, on_error, shown
        self.finished = sink.done()
        self.flight: collections.deque[tuple[Task, Handle | Exception]] = collections.deque()
        self.begun = self.cramped = False
        self.early: dict[Task, list[Arrays]] = {}  # results that came with finding a width

    @property
    def chunks(self) -> int:
        """How many there are, done or not."""
        return sum(-(-block.rows.size // self.setup.width) for block in self.sink.blocks)

    def fitting(self) -> Local:
        """A runner whose first chunk fits into memory: the width is halved until it does.

        Only before anything is kept, for the width decides the bits. Once it was too large, the
        next one must have room for two chunks, as there will be.
        """
        trials = 1
        while True:
            runner = self.setup.local()
            first = next(self._tasks(runner.together), None)
            if self.finished or first is None:
                return runner
            try:
                columns = self._columns(first.number)
                handles = [runner.start(first, columns) for _ in range(trials)]
                results = [handle.result() for handle in handles]
                self.early = {first: results[0]}
                return runner
            except jax.errors.JaxRuntimeError as error:
                if not out_of_memory(error) or self.setup.width == 1:
                    return runner  # the chunk will fail again, where failures are dealt with
                self._shrink()
                trials, handles = 2, []

    def run(self, runner: Runner) -> None:
        """Compute and keep all chunks that are not there yet."""
        total = sum(block.rows.size for block in self.sink.blocks)
        with progress_bar(total, sum(self.finished.values()), self.shown) as progress:
            for task in self._tasks(runner.together):
                self.flight.append((task, self._started(runner, task)))
                if len(self.flight) > (0 if self.cramped else runner.ahead):
                    self._settle(runner, progress)
            while self.flight:
                self._settle(runner, progress)
        self._begin()  # if there was nothing to do

    def _tasks(self, together: int) -> Iterator[Task]:
        """The chunks to do, as many in a task as the runner takes."""
        for number, block in enumerate(self.sink.blocks):
            chunks = range(-(-block.rows.size // self.setup.width))
            left = (chunk for chunk in chunks if (number, chunk) not in self.finished)
            while taken := tuple(itertools.islice(left, together)):
                yield Task(number, block.group, taken)

    def _columns(self, number: int) -> Any:
        """The arguments of a chunk of a block; the last one is filled up with its last lane."""
        width, (_, _, group, rows) = self.setup.width, self.sink.blocks[number]

        def columns(chunk: int) -> Arguments:
            positions = chunk * width + np.arange(width)
            taken = self.setup.space.take(rows.at(np.minimum(positions, rows.size - 1)))
            return {name: taken[name] for name in self.setup.lanes[group].group.names}

        return columns

    def _started(self, runner: Runner, task: Task) -> Handle | Exception:
        if task in self.early:
            return _Early(self.early.pop(task))
        try:
            return runner.start(task, self._columns(task.number))
        except Exception as error:
            return error

    def _settle(self, runner: Runner, progress: Progress) -> None:
        """Wait for the oldest task, and keep what it made."""
        task, handle = self.flight.popleft()
        waited = [(task, self._result(handle))]
        del handle  # it holds on to the arrays of the device
        if out_of_memory(waited[0][1]) and not self.cramped:
            # There is no room for one task beside another: wait for all, and go on one by one.
            self.cramped = True
            while self.flight:
                task, handle = self.flight.popleft()
                waited.append((task, self._result(handle)))
                del handle
        for task, results in waited:
            for pause in _PAUSES if out_of_memory(results) else ():
                gc.collect()
                time.sleep(pause)  # XLA frees some buffers in threads of its own
                results = self._result(self._started(runner, task))
                if not out_of_memory(results):
                    break
            self._finish(runner, task, results, progress)

    def _finish(
        self, runner: Runner, task: Task, results: list[Arrays] | Exception, progress: Progress
    ) -> None:
        """Keep the chunks of a task; of one that failed, try each chunk by itself."""
        if not isinstance(results, Exception):
            for chunk, arrays in zip(task.chunks, results, strict=True):
                self._keep(task.number, chunk, arrays, progress)
        elif self.on_error == "raise":
            results.add_note(self._told(task))
            raise results
        elif len(task.chunks) == 1:
            self._fail(task, results)
        else:
            for chunk in task.chunks:
                alone = Task(task.number, task.group, (chunk,))
                result = self._result(self._started(runner, alone))
                self._finish(runner, alone, result, progress)

    def _result(self, handle: Handle | Exception) -> list[Arrays] | Exception:
        try:
            return handle if isinstance(handle, Exception) else handle.result()
        except Exception as error:
            # The frames of a traceback would keep the arrays that leave no room.
            return error.with_traceback(None) if out_of_memory(error) else error

    def _keep(self, number: int, chunk: int, arrays: Arrays, progress: Progress) -> None:
        width = self.setup.width
        size = min(width, self.sink.blocks[number].rows.size - chunk * width)
        lanes = {name: a if name == "step" else a[:size] for name, a in arrays.items()}
        lanes = with_status(lanes)
        self._begin()
        self.sink.put(number, chunk, width, lanes)
        self.finished[number, chunk] = size
        progress(lanes)

    def _begin(self) -> None:
        """Say what the sweep is, now that its width is settled."""
        if not self.begun:
            self.sink.begin(self.setup.identity())
            self.begun = True

    def _fail(self, task: Task, error: Exception) -> None:
        self._begin()
        message = f"{type(error).__name__}: {error}"
        self.sink.fail(task.number, task.chunks[0], self.setup.width, message)

    def _shrink(self) -> None:
        half = self.setup.width // 2
        warnings.warn(
            f"{self.setup.width} lanes at a time do not fit into memory; going on with {half}.",
            stacklevel=4,
        )
        self.setup = self.setup._replace(width=half, program=None)

    def _told(self, task: Task) -> str:
        group = group_label(self.setup.lanes[task.group].group.labels)
        return (
            f"This was chunk {task.chunks[0]} of {group}; {len(self.finished)} of {self.chunks} "
            'chunks are done. on_error="record" would go on without it.'
        )


def out_of_memory(error: Any) -> bool:
    """Whether this is what XLA says when it cannot allocate."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


class _Early(NamedTuple):
    arrays: list[Arrays]

    def result(self) -> list[Arrays]:
        return self.arrays
