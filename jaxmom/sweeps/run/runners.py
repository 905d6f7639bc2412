"""Runners of chunks: their protocol, and the one for the devices of this process."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import jax

from jaxmom.sweeps.compile.batching import Outputs
from jaxmom.sweeps.compile.meanwhile import loading_xarray
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    compile_group,
    count_lanes,
)
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.run.forks import refuse_fork

_KEPT_GROUPS = 8  # whose programs a runner keeps; segments take turns between a few


class Task(NamedTuple):
    """A chunk to compute.

    Attributes:
      number: The number of its lane set, or of the batch if lanes run in segments.
      chunk: Its number in the lane set.
      group: The number of its program.
    """

    number: int
    chunk: int
    group: int


class Handle(Protocol):
    """A task that has been started."""

    def result(self) -> Arrays:
        """Wait, and return the lanes [width, ...]."""
        ...

    def cancel(self) -> Any:
        """Do not start it if that is still possible: nobody waits for the result."""
        ...


class ChunkRunner(Protocol):
    """Computes chunks, several at a time; `run_tasks` is the loop that feeds it.

    Attributes:
      compile_seconds: Spent on compiling in this process so far.
    """

    compile_seconds: float

    @property
    def capacity(self) -> int:
        """How many tasks to have in flight; it may change as workers come and go."""
        ...

    def start(self, task: Task, columns: Arguments, data: Sequence[Any] | None = None) -> Handle:
        """Start a task.

        Args:
          task: Which it is; its group is the number of its program.
          columns: The arguments of its lanes.
          data: What the lanes share, if it differs from task to task; None for the program's own.
        """
        ...

    def first_done(self, handles: Sequence[Handle]) -> int:
        """Return the index of the handle to wait for, one that is done if that can be known.

        Args:
          handles: Those of `start` that are in flight, oldest first; there is one at least.
        """
        ...

    def should_restart(self, task: Task, outcome: Arrays | Exception) -> bool:
        """Return whether to start a task again, which has not been computed.

        Args:
          task: That has ended.
          outcome: Its results, or its error.
        """
        ...


class LocalRunner:
    """The devices of this process, which take chunks in turn.

    Args:
      traced: The groups.
      widths: Of each group: lanes at a time on each device.
      devices: To run on.
      options: The options of the programs.
      dispatcher: Starts the programs and waits for them.

    Attributes:
      capacity: Two chunks for each device.
      compile_seconds: Spent on compiling so far.

    Raises:
      RuntimeError: This process was forked from one that has used JAX.
    """

    def __init__(
        self,
        traced: Sequence[TracedGroup],
        widths: Sequence[int],
        devices: Sequence[Any],
        options: Mapping[str, Any],
        dispatcher: Dispatcher,
    ):
        refuse_fork()
        self.traced, self.widths, self.devices, self.options = traced, widths, devices, options
        # While a chunk is copied to the host, the next one runs, on each device.
        self.capacity, self.compile_seconds = 2 * len(devices), 0.0
        self.dispatcher, self.turn = dispatcher, 0
        # By group and width, the latest last.
        self.programs: dict[tuple[int, int], Sequence[Program]] = {}

    def start(self, task: Task, columns: Arguments, data: Sequence[Any] | None = None) -> Handle:
        """Dispatch a task; a group is compiled at its first one."""
        width = count_lanes(columns, self.widths[task.group])
        program = self._programs_of(task.group, width)[self.turn]
        if data is not None:
            program = dataclasses.replace(program, data=jax.device_put(tuple(data), program.device))
        self.turn = (self.turn + 1) % len(self.devices)
        return _LocalTask(program, self.dispatcher, self.dispatcher.start(program, columns))

    def _programs_of(self, group: int, width: int) -> Sequence[Program]:
        """Return the programs of a group for chunks of a width; of a few groups they are kept."""
        key = group, width
        if key not in self.programs:
            start = time.perf_counter()
            while len(self.programs) >= _KEPT_GROUPS:
                self.programs.pop(next(iter(self.programs)))
            traced = self.traced[group]
            with loading_xarray():
                self.programs[key] = compile_group(traced, width, self.devices, self.options)
            self.compile_seconds += time.perf_counter() - start
        return self.programs[key]

    def first_done(self, handles: Sequence[Handle]) -> int:
        """Return the oldest: devices run in turn, and chunks of a program last equally long."""
        return 0

    def should_restart(self, task: Task, outcome: Arrays | Exception) -> bool:
        """Return False: what a device does not compute once, it will not compute again."""
        return False


class _LocalTask(NamedTuple):
    """A chunk that a device has been given, as a handle."""

    program: Program
    dispatcher: Dispatcher
    outputs: "Future[Outputs]"

    def result(self) -> Arrays:
        return self.program.finish(self.dispatcher.wait(self.outputs))

    def cancel(self) -> bool:
        return self.outputs.cancel()
