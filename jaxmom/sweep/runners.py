"""Where chunks are computed: on the devices of this process, or by an executor elsewhere."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxmom.sweep.factors import Group, everything
from jaxmom.sweep.identity import settings, versions
from jaxmom.sweep.program import Arguments, Arrays, Lanes, Program, compile_lanes, trace

_WAITING = 32  # chunks that an executor has at a time


class Task(NamedTuple):
    """Some chunks that are computed together."""

    number: int  # of the block that they divide
    group: int  # that has their program
    chunks: tuple[int, ...]


class Handle(Protocol):
    """A task that has been started."""

    def result(self) -> list[Arrays]:
        """Wait, and return the lanes of each of its chunks [width, ...]."""
        ...


class Runner(Protocol):
    """Computes chunks."""

    together: int  # chunks in a task, at most
    ahead: int  # tasks to start before the first is waited for
    compile_seconds: float  # in this process, so far

    def start(self, task: Task, columns: Callable[[int], Arguments]) -> Handle:
        """Begin a task; ``columns(chunk)`` are the arguments of a chunk's lanes."""
        ...


class Local:
    """The devices of this process; each takes one chunk of a task."""

    ahead = 1  # while a chunk is copied to the host, the next one runs

    def __init__(
        self,
        lanes: Sequence[Lanes],
        width: int,
        devices: Sequence[Any],
        options: Mapping[str, Any],
        program: Program | None = None,
    ):
        self.lanes, self.width, self.devices, self.options = lanes, width, devices, options
        self.together, self.compile_seconds = len(devices), 0.0
        self.group, self.program = -1, program
        if program is not None:
            self.group = lanes.index(program.lanes)

    def start(self, task: Task, columns: Callable[[int], Arguments]) -> Handle:
        """Dispatch a task; a group is compiled at its first one."""
        if task.group != self.group or self.program is None:
            lanes, start = self.lanes[task.group], time.perf_counter()
            self.program = compile_lanes(lanes, self.width, self.devices, self.options)
            self.group = task.group
            self.compile_seconds += time.perf_counter() - start
        chunks = [columns(chunk) for chunk in task.chunks]
        chunks += [chunks[-1]] * (self.together - len(chunks))  # idle devices do the last again
        together = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
        return _Dispatched(self.program, self.program.start(together), len(task.chunks))


class _Dispatched(NamedTuple):
    program: Program
    outputs: dict[str, jax.Array]
    chunks: int

    def result(self) -> list[Arrays]:
        return self.program.finish(self.outputs)[: self.chunks]


class Remote:
    """Any `concurrent.futures.Executor`; each worker uses the first of its own devices."""

    together = 1
    ahead = _WAITING
    compile_seconds = 0.0  # the workers compile

    def __init__(
        self,
        executor: Any,
        fn: Callable[..., Any],
        lanes: Sequence[Lanes],
        width: int,
        options: Mapping[str, Any],
    ):
        try:
            import cloudpickle
        except ImportError as error:
            raise ImportError(
                'executor= needs cloudpickle, which is in an extra: pip install "jaxmom[dask]".'
            ) from error

        self.executor = executor
        setting = (width, dict(options), settings(), versions())
        self.payloads = [
            cloudpickle.dumps((fn, group.group.static, group.group.names, *setting))
            for group in lanes
        ]

    def start(self, task: Task, columns: Callable[[int], Arguments]) -> Handle:
        """Submit a task."""
        (chunk,) = task.chunks
        return _Submitted(
            self.executor.submit(run_chunk, self.payloads[task.group], columns(chunk))
        )


class _Submitted(NamedTuple):
    future: Any

    def result(self) -> list[Arrays]:
        return [self.future.result()]


def run_chunk(payload: bytes, columns: Arguments) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Raises:
      RuntimeError: The worker has other versions than the driver, so its bits would differ.
    """
    key = hashlib.sha256(payload).digest()
    if key not in _PROGRAMS:
        if len(_PROGRAMS) >= _KEPT:
            _PROGRAMS.clear()
        _PROGRAMS[key] = _compiled(payload, columns)
    program = _PROGRAMS[key]
    return program.finish(program.start(columns))[0]


_PROGRAMS: dict[bytes, Program] = {}  # of this worker, by the digest of the payload
_KEPT = 16


def _compiled(payload: bytes, columns: Arguments) -> Program:
    import cloudpickle

    fn, static, names, width, options, wanted, drivers = cloudpickle.loads(payload)
    if versions() != drivers:
        raise RuntimeError(
            f"this worker has {versions()}, the driver {drivers}, and the results would differ in "
            "their last bits; install the same versions everywhere."
        )
    for name, value in wanted.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)
    group = Group(static, static, names, everything(width), ())
    return compile_lanes(trace(fn, group, columns), width, jax.local_devices()[:1], options)
