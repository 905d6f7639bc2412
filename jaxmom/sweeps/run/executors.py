"""Runners of chunks: the devices of this process, or any executor of other processes."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol

import jax

from jaxmom.sweeps.compile.identity import apply_settings, read_settings, read_versions
from jaxmom.sweeps.compile.lapack import deadlock_note
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
from jaxmom.sweeps.compile.watchdog import STALL_SECONDS, Dispatcher, StalledError, describe_stall
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
        stall_seconds: float = STALL_SECONDS,
    ):
        try:
            import cloudpickle
        except ImportError as error:
            raise ImportError(
                'executor= needs cloudpickle, which is in an extra: pip install "jaxmom[dask]".'
            ) from error

        refuse_fork()
        self.executor = executor
        common = (width, dict(options), read_settings(), read_versions(), jax.default_backend())
        self.payloads = [
            cloudpickle.dumps((fn, g.group.static, g.group.names, g.fingerprint, *common))
            for g in traced
        ]
        self.stall_seconds = stall_seconds

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Submit a task."""
        payload = self.payloads[task.group]
        return self.executor.submit(run_chunk, payload, columns, self.stall_seconds)


def run_chunk(payload: bytes, columns: Arguments, stall_seconds: float = STALL_SECONDS) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Args:
      payload: The function and the program, pickled by the driver.
      columns: The arguments of the lanes.
      stall_seconds: As for `jaxmom.sweep`.

    Raises:
      RuntimeError: The worker has other versions than the driver, of JAX, of the function or of
        the device, so its results would differ; or it cannot use JAX, or stands still.
    """
    refuse_fork()
    key = hashlib.sha256(payload).digest()
    if key not in _PROGRAMS:
        if len(_PROGRAMS) >= _KEPT_PROGRAMS:
            _PROGRAMS.clear()
        _PROGRAMS[key] = _compile_payload(payload, columns)
    program, settings = _PROGRAMS[key]
    with apply_settings(settings):
        return _run_program(program, columns, stall_seconds)


# Of this worker, by the digest of the payload: programs and the settings that they run with.
_PROGRAMS: dict[bytes, tuple[Program, Mapping[str, Any]]] = {}
_ALONE = threading.RLock()  # held by a program that could deadlock with another
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


def _run_program(program: Program, columns: Arguments, stall_seconds: float) -> Arrays:
    """Run a program in a thread of a worker, beside no other one where that could deadlock."""
    dispatcher = Dispatcher([program.device], stall_seconds)
    is_alone = deadlock_note(program.group.jaxpr, [program.device]) is not None
    with _ALONE if is_alone else contextlib.nullcontext():
        try:
            return program.finish(dispatcher.wait(dispatcher.start(program, columns)))
        except StalledError as error:
            raise RuntimeError(describe_stall("in a worker", error)) from None


def _compile_payload(payload: bytes, columns: Arguments) -> tuple[Program, Mapping[str, Any]]:
    import cloudpickle

    content = cloudpickle.loads(payload)
    fn, static, names, fingerprint, width, options, settings, versions, backend = content
    if (read_versions(), jax.default_backend()) != (versions, backend):
        raise RuntimeError(
            f"this worker has {read_versions()} on {jax.default_backend()}, the driver {versions} "
            f"on {backend}, and the results would differ in their last bits; install the same "
            "versions everywhere, and use the same kind of device."
        )
    with apply_settings(settings):
        traced = trace_group(fn, Group(static, static, names, all_indices(width), ()), columns)
        if traced.fingerprint != fingerprint:
            raise RuntimeError(
                "this worker has another version of the function than the driver: it has imported "
                "a module, or read data, before they changed; restart the workers."
            )
        (program,) = compile_group(traced, width, jax.local_devices()[:1], options)
    return program, settings
