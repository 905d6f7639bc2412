"""The loop over tasks: as many in flight as a runner has room for, yielded as they come."""

import contextlib
import gc
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.memory import is_out_of_memory
from jaxmom.sweeps.compile.program import Arguments, Arrays
from jaxmom.sweeps.run.runners import ChunkRunner, Handle, Task

_PAUSES = (0.0, 0.1, 1.0)  # seconds before each new trial of a chunk that had no room

Outcome: TypeAlias = tuple[Task, Arrays | Exception]
ColumnsFn: TypeAlias = Callable[[Task], Arguments]  # the arguments of the lanes of a task
DataFn: TypeAlias = Callable[[Task], Sequence[Any] | None]  # what they share


def run_tasks(
    runner: ChunkRunner,
    tasks: Iterable[Task | None],
    columns: ColumnsFn,
    data: DataFn = lambda task: None,
) -> Generator[Outcome]:
    """Run tasks and yield each with its results, or with its error, as soon as it is done.

    The order is that in which the runner is done with them. What is not consumed is not started
    either, so that a consumer that writes to a slow disk holds the tasks back.

    If there is no room in memory for one task beside another, they run one by one from then on.
    Close the generator to end early: what has not begun is cancelled.

    Args:
      runner: Computes them.
      tasks: Drawn one at a time, as there is room for them. None stands for a task that is not
        known before one of those in flight is done.
      columns: The arguments of the lanes of a task.
      data: What they share, as for `ChunkRunner.start`.

    Yields:
      Pairs of a task and its results, or the error with which it ended.
    """
    in_flight = _InFlight(runner, columns, data)
    try:
        for task in tasks:
            if task is None:
                yield from in_flight.complete()
                continue
            in_flight.start(task)
            while in_flight.is_full:
                yield from in_flight.complete()
        while in_flight.handles:
            yield from in_flight.complete()
    finally:
        in_flight.cancel()  # an executor would go on after an error


def fill_up(array: NDArray[Any], missing: int) -> NDArray[Any]:
    """Return an array of lanes with its last lane repeated, to fill a program."""
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


class _InFlight:
    """The tasks that have been started and are not done, oldest first.

    Args:
      runner: Computes them.
      columns: The arguments of the lanes of a task.
      data: What they share.

    Attributes:
      tasks: Which they are.
      handles: Of each; or the error, if it could not be started.
      low_memory: Whether tasks run one by one, because two have no room.
    """

    def __init__(self, runner: ChunkRunner, columns: ColumnsFn, data: DataFn):
        self.runner, self.columns, self.data, self.low_memory = runner, columns, data, False
        self.tasks: list[Task] = []
        self.handles: list[Handle | Exception] = []

    @property
    def is_full(self) -> bool:
        """Whether to wait for a task before the next one starts."""
        return len(self.handles) >= (1 if self.low_memory else self.runner.capacity)

    def start(self, task: Task) -> None:
        """Start a task; if it cannot be started, the error is its outcome."""
        self.tasks.append(task)
        self.handles.append(self._try_start(task))

    def complete(self) -> Iterator[Outcome]:
        """Wait for one task, and yield what is done after it.

        That is nothing if the task has to start again, and several tasks if there was no room for
        one beside the others: these are waited for, before it is tried by itself.
        """
        first = self._take(self._first_done())
        if self.runner.should_restart(*first):
            self.start(first[0])
            return
        outcomes = [first]
        if is_out_of_memory(first[1]) and not self.low_memory:
            self.low_memory = True
            while self.handles:
                outcomes.append(self._take(0))
        while outcomes:
            task, outcome = outcomes.pop(0)
            yield task, self._try_again(task, outcome) if is_out_of_memory(outcome) else outcome

    def cancel(self) -> None:
        """Cancel what has not begun; a cancel that fails must not hide why it was called."""
        for handle in self.handles:
            if not isinstance(handle, Exception):
                with contextlib.suppress(Exception):
                    handle.cancel()

    def _try_start(self, task: Task) -> Handle | Exception:
        """Return the handle of a task that starts now, or why it does not start."""
        try:
            return self.runner.start(task, self.columns(task), self.data(task))
        except Exception as error:
            return error

    def _first_done(self) -> int:
        """Return the index of the task to take: what could not start is last, to keep the rest."""
        started = [n for n, handle in enumerate(self.handles) if not isinstance(handle, Exception)]
        if not started:
            return 0
        handles = [handle for handle in self.handles if not isinstance(handle, Exception)]
        return started[self.runner.first_done(handles)]

    def _take(self, index: int) -> Outcome:
        """Take a task out, and return it with its outcome."""
        task, handle = self.tasks.pop(index), self.handles.pop(index)
        return task, _await_outcome(handle)  # a handle holds on to the arrays of the device

    def _try_again(self, task: Task, outcome: Arrays | Exception) -> Arrays | Exception:
        """Run a task that had no room by itself, as XLA frees some buffers a little later.

        Args:
          task: What to run.
          outcome: That of its last trial.

        Returns:
          The outcome of the first trial that has room, or of the last one.
        """
        for pause in _PAUSES:
            gc.collect()
            time.sleep(pause)
            outcome = _await_outcome(self._try_start(task))
            if not is_out_of_memory(outcome):
                break
        return outcome


def _await_outcome(handle: Handle | Exception) -> Arrays | Exception:
    """Return the results of a task, or why there are none."""
    try:
        return handle if isinstance(handle, Exception) else handle.result()
    except Exception as error:
        # The frames of a traceback would keep the arrays that leave no room.
        return error.with_traceback(None) if is_out_of_memory(error) else error
