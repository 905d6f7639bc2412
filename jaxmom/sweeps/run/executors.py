"""Runners of chunks: the devices of this process, or any executor of other processes."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol

import jax

from jaxmom.sweeps.compile.identity import read_settings, read_versions
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Outputs,
    Program,
    SweptFn,
    TracedGroup,
    compile_group,
    trace_group,
)
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.space.groups import Group
from jaxmom.sweeps.space.index_maps import all_indices

_TASKS_OF_EXECUTOR = 32  # that it has at a time
_KEPT_PROGRAMS = 16  # of a worker


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
    """Computes chunks.

    Attributes:
      ahead: The tasks to start before the first is waited for.
      compile_seconds: Spent on compiling in this process so far.
    """

    ahead: int
    compile_seconds: float

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Start a task, whose lanes have these arguments."""
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
        self.ahead, self.compile_seconds = 2 * len(devices) - 1, 0.0
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


class _LocalTask(NamedTuple):
    program: Program
    dispatcher: Dispatcher
    outputs: "Future[Outputs]"

    def result(self) -> Arrays:
        return self.program.finish(self.dispatcher.wait(self.outputs))

    def cancel(self) -> bool:
        return self.outputs.cancel()


class ExecutorRunner:
    """Any `concurrent.futures.Executor`; each worker uses the first of its own devices."""

    ahead = _TASKS_OF_EXECUTOR
    compile_seconds = 0.0  # the workers compile

    def __init__(
        self,
        executor: Executor,
        fn: SweptFn,
        traced: Sequence[TracedGroup],
        width: int,
        options: Mapping[str, Any],
    ):
        try:
            import cloudpickle
        except ImportError as error:
            raise ImportError(
                'executor= needs cloudpickle, which is in an extra: pip install "jaxmom[dask]".'
            ) from error

        refuse_fork()
        self.executor = executor
        common = (width, dict(options), read_settings(), read_versions())
        self.payloads = [
            cloudpickle.dumps((fn, one.group.static, one.group.names, *common)) for one in traced
        ]

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Submit a task."""
        return self.executor.submit(run_chunk, self.payloads[task.group], columns)


def run_chunk(payload: bytes, columns: Arguments) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Args:
      payload: The function and the program, pickled by the driver.
      columns: The arguments of the lanes.

    Raises:
      RuntimeError: The worker has other versions than the driver, so its bits would differ; or it
        cannot use JAX.
    """
    refuse_fork()
    key = hashlib.sha256(payload).digest()
    if key not in _PROGRAMS:
        if len(_PROGRAMS) >= _KEPT_PROGRAMS:
            _PROGRAMS.clear()
        _PROGRAMS[key] = _compile_payload(payload, columns)
    program = _PROGRAMS[key]
    return program.finish(program.start(columns))


_PROGRAMS: dict[bytes, Program] = {}  # of this worker, by the digest of the payload
_JAX_PROCESSES: set[int] = set()  # ids of processes that use JAX; a forked child inherits the set


def refuse_fork() -> None:
    """Refuse to use JAX in a forked process, where it waits for threads that are not there.

    Raises:
      RuntimeError: This process was forked from one that has used JAX.
    """
    if _JAX_PROCESSES and os.getpid() not in _JAX_PROCESSES:
        raise RuntimeError(
            "this process was forked from one that uses JAX, and JAX would wait in it forever; "
            'start processes by multiprocessing.get_context("spawn"), as in '
            "ProcessPoolExecutor(mp_context=...)."
        )
    _JAX_PROCESSES.add(os.getpid())


def _compile_payload(payload: bytes, columns: Arguments) -> Program:
    import cloudpickle

    fn, static, names, width, options, settings, versions = cloudpickle.loads(payload)
    if read_versions() != versions:
        raise RuntimeError(
            f"this worker has {read_versions()}, the driver {versions}, and the results would "
            "differ in their last bits; install the same versions everywhere."
        )
    for name, value in settings.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)
    group = Group(static, static, names, all_indices(width), ())
    traced = trace_group(fn, group, columns)
    (program,) = compile_group(traced, width, jax.local_devices()[:1], options)
    return program
