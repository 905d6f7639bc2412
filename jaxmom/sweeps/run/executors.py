"""Where chunks are computed: on the devices of this process, or by an executor elsewhere."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from jaxmom.sweeps.compile.identity import read_settings, read_versions
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    compile_group,
    trace_group,
)
from jaxmom.sweeps.space.components import Group
from jaxmom.sweeps.space.index_maps import all_indices

_WAITING = 32  # chunks that an executor has at a time


class Task(NamedTuple):
    """A chunk to compute."""

    number: int  # of the block that has it
    chunk: int
    group: int  # that has its program


class Handle(Protocol):
    """A task that has been started."""

    def result(self) -> Arrays:
        """Wait, and return the lanes [width, ...]."""
        ...

    def cancel(self) -> Any:
        """Nobody will ask for the result; do not begin if that is still possible."""
        ...


class ChunkRunner(Protocol):
    """Computes chunks."""

    ahead: int  # tasks to start before the first is waited for
    compile_seconds: float  # in this process, so far

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Begin a task, whose lanes have these arguments."""
        ...


class LocalRunner:
    """The devices of this process, which take chunks in turn."""

    def __init__(
        self,
        lanes: Sequence[TracedGroup],
        width: int,
        devices: Sequence[Any],
        options: Mapping[str, Any],
        programs: Sequence[Program] = (),
    ):
        refuse_forked()
        self.lanes, self.width, self.devices, self.options = lanes, width, devices, options
        # While a chunk is copied to the host, the next one runs, on each device.
        self.ahead, self.compile_seconds = 2 * len(devices) - 1, 0.0
        self.programs, self.turn = programs, 0
        self.group = lanes.index(programs[0].group) if programs else -1

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Dispatch a task; a group is compiled at its first one."""
        if task.group != self.group:
            lanes, start = self.lanes[task.group], time.perf_counter()
            self.programs = compile_group(lanes, self.width, self.devices, self.options)
            self.group = task.group
            self.compile_seconds += time.perf_counter() - start
        program = self.programs[self.turn]
        self.turn = (self.turn + 1) % len(self.devices)
        return _Dispatched(program, program.start(columns))


class _Dispatched(NamedTuple):
    program: Program
    outputs: dict[str, jax.Array]

    def result(self) -> Arrays:
        return self.program.finish(self.outputs)

    def cancel(self) -> None:
        """Devices finish what they have begun."""


class ExecutorRunner:
    """Any `concurrent.futures.Executor`; each worker uses the first of its own devices."""

    ahead = _WAITING
    compile_seconds = 0.0  # the workers compile

    def __init__(
        self,
        executor: Any,
        fn: Callable[..., Any],
        lanes: Sequence[TracedGroup],
        width: int,
        options: Mapping[str, Any],
    ):
        try:
            import cloudpickle
        except ImportError as error:
            raise ImportError(
                'executor= needs cloudpickle, which is in an extra: pip install "jaxmom[dask]".'
            ) from error

        refuse_forked()
        self.executor = executor
        setting = (width, dict(options), read_settings(), read_versions())
        self.payloads = [
            cloudpickle.dumps((fn, group.group.static, group.group.names, *setting))
            for group in lanes
        ]

    def start(self, task: Task, columns: Arguments) -> Handle:
        """Submit a task."""
        return self.executor.submit(run_chunk, self.payloads[task.group], columns)


def run_chunk(payload: bytes, columns: Arguments) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Raises:
      RuntimeError: The worker has other versions than the driver, so its bits would differ; or it
        cannot use JAX.
    """
    refuse_forked()
    key = hashlib.sha256(payload).digest()
    if key not in _PROGRAMS:
        if len(_PROGRAMS) >= _KEPT:
            _PROGRAMS.clear()
        _PROGRAMS[key] = _compiled(payload, columns)
    program = _PROGRAMS[key]
    return program.finish(program.start(columns))


_PROGRAMS: dict[bytes, Program] = {}  # of this worker, by the digest of the payload
_KEPT = 16


_USERS: set[int] = set()  # the processes that use JAX; one that is forked inherits this set


def refuse_forked() -> None:
    """Say what would be a deadlock: JAX waits for threads that a forked process does not have.

    Raises:
      RuntimeError: This process was forked from one that has used JAX.
    """
    if _USERS and os.getpid() not in _USERS:
        raise RuntimeError(
            "this process was forked from one that uses JAX, and JAX would wait in it forever; "
            'start processes by multiprocessing.get_context("spawn"), as in '
            "ProcessPoolExecutor(mp_context=...)."
        )
    _USERS.add(os.getpid())


def _compiled(payload: bytes, columns: Arguments) -> Program:
    import cloudpickle

    fn, static, names, width, options, wanted, drivers = cloudpickle.loads(payload)
    if read_versions() != drivers:
        raise RuntimeError(
            f"this worker has {read_versions()}, the driver {drivers}, and the results would "
            "differ in their last bits; install the same versions everywhere."
        )
    for name, value in wanted.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)
    group = Group(static, static, names, all_indices(width), ())
    traced = trace_group(fn, group, columns)
    (program,) = compile_group(traced, width, jax.local_devices()[:1], options)
    return program
