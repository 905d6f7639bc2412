"""Runners of chunks: their protocol, and the one for the devices of this process."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Outputs,
    Program,
    TracedGroup,
    compile_group,
)
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.run.forks import refuse_fork


class Task(NamedTuple):
    """A chunk to compute."""

    number: int  # of the block that has it
    chunk: int
    group: int  # of its program


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

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Start a task, whose lanes have these arguments."""
        ...

    def first_done(self, handles: Sequence[Handle]) -> int:
        """Return the index of the handle to wait for, one that is done if that can be known."""
        ...

    def should_restart(self, task: Task, outcome: Arrays | Exception) -> bool:
        """Return whether to start a task again, which has not been computed."""
        ...


class LocalRunner:
    """The devices of this process, which take chunks in turn.

    Args:
      traced: The groups.
      width: Lanes at a time on each device.
      devices: To run on.
      options: Of the programs.
      dispatcher: Starts the programs and waits for them.
      programs: Of one group, if they have been compiled before.

    Raises:
      RuntimeError: This process was forked from one that has used JAX.
    """

    def __init__(
        self,
        traced: Sequence[TracedGroup],
        width: int,
        devices: Sequence[Any],
        options: Mapping[str, Any],
        dispatcher: Dispatcher,
        programs: Sequence[Program] = (),
    ):
        refuse_fork()
        self.traced, self.width, self.devices, self.options = traced, width, devices, options
        # While a chunk is copied to the host, the next one runs, on each device.
        self.capacity, self.compile_seconds = 2 * len(devices), 0.0
        self.dispatcher, self.programs, self.turn = dispatcher, programs, 0
        self.group = traced.index(programs[0].group) if programs else -1

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Dispatch a task; a group is compiled at its first one."""
        if task.group != self.group:
            start = time.perf_counter()
            group = self.traced[task.group]
            self.programs = compile_group(group, self.width, self.devices, self.options)
            self.group = task.group
            self.compile_seconds += time.perf_counter() - start
        program = self.programs[self.turn]
        self.turn = (self.turn + 1) % len(self.devices)
        return _LocalTask(program, self.dispatcher, self.dispatcher.start(program, columns))

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
