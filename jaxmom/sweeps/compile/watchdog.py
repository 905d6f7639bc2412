"""Watchdog of programs: wait for their results, but not for one that stands still."""

import atexit
import contextlib
import ctypes
import math
import numbers
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from jaxmom.sweeps.compile.batching import Outputs
from jaxmom.sweeps.compile.identity import apply_settings, read_context
from jaxmom.sweeps.compile.program import Arguments, Program

STALL_SECONDS = 20.0  # how long an idle process waits, by default

_IDLE_AT_EXIT = 5.0  # seconds that the end of Python waits for an idle process
_IDLE_SHARE = 0.01  # of a processor: what a process that computes exceeds, however busy the machine
_LOOK = 1.0  # seconds between two looks at the processor time
_LATENCY = 0.02  # the share of the time waited by which a result may be noticed late
_SHORTEST, _LONGEST = 2e-5, 0.05  # seconds between two looks at a result


class StalledError(RuntimeError):
    """A program that is awaited and uses no processor time."""


def describe_stall(where: str, error: StalledError) -> str:
    """Return what stands still, as a message with what to try.

    Args:
      where: At which chunk, or while doing what; it completes "the sweep stands still".
      error: What `Dispatcher.wait` raised.
    """
    return (
        f"the sweep stands still {where}. A result is awaited, and {error}: XLA waits for itself, "
        "or the function for something outside. Try devices=jax.devices()[:1], a smaller width, "
        'options={"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} or a newer jax; '
        "if the function waits for something outside on purpose, give a larger stall_seconds= "
        "(math.inf waits forever)."
    )


class Dispatcher:
    """Starts programs in threads of its own and waits for them, so that it can give up waiting.

    XLA cannot be interrupted, and it runs some programs (those with callbacks) within the call
    that starts them. Threads are left behind if a program never ends.

    Args:
      devices: The devices that are used. Only on processors does a program that uses no processor
        time stand still; elsewhere the dispatcher waits as long as it takes.
      stall_seconds: How long to wait for a program that uses no processor time.

    Raises:
      ValueError: `stall_seconds` is not a positive number.
    """

    def __init__(self, devices: Sequence[Any], stall_seconds: float = STALL_SECONDS):
        is_number = isinstance(stall_seconds, numbers.Real) and not isinstance(stall_seconds, bool)
        if not is_number or not stall_seconds > 0:
            raise ValueError(f"stall_seconds is a positive number, not {stall_seconds!r}.")
        self.devices = devices
        is_watched = all(device.platform == "cpu" for device in devices)
        self.stall_seconds = stall_seconds if is_watched else math.inf
        self._workers: dict[int, _Worker] = {}  # by the number of the thread
        weakref.finalize(self, _end_workers, self._workers)

    def start(self, program: Program, columns: Arguments) -> "Future[Outputs]":
        """Dispatch a chunk of lanes."""
        future: Future[Outputs] = Future()
        settings = read_context()  # x64 and others may be those of this thread alone

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                with apply_settings(settings):
                    future.set_result(program.start(columns))
            except BaseException as error:
                future.set_exception(error)

        if program.thread not in self._workers:
            self._workers[program.thread] = _Worker()
        self._workers[program.thread].calls.put(call)
        return future

    def wait(self, future: "Future[Outputs]") -> Outputs:
        """Return the outputs of a chunk once they are there.

        Raises:
          StalledError: The process used no processor time for `stall_seconds`.
        """
        clock = _IdleClock(self.stall_seconds)
        try:
            while not future.done():
                clock.wait_once(lambda pause: _wait_done(future, pause))
            arrays: list[Any] = list(future.result().values())
            for array in arrays:
                while not array.is_ready():
                    clock.wait_once(time.sleep)
        except StalledError:
            _WORKERS.difference_update(self._workers.values())
            _keep_clients(self.devices)
            raise
        return future.result()


class _Worker(threading.Thread):
    """A thread that makes calls one after another, until it is given None."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        _WORKERS.add(self)
        self.start()

    def run(self) -> None:
        """Make the calls."""
        while (call := self.calls.get()) is not None:
            call()
            del call  # it holds on to arrays
        _WORKERS.discard(self)


_WORKERS: set[_Worker] = set()  # that can be expected to end


def _end_workers(workers: dict[int, _Worker]) -> None:
    """Let threads end after the calls that they have been given."""
    for worker in workers.values():
        worker.calls.put(None)


@atexit.register
def _join_workers() -> None:
    """Let calls end before Python does, which kills threads in the middle of XLA's code.

    A thread whose call never ends is left behind after a few idle seconds.
    """
    for worker in list(_WORKERS):
        worker.calls.put(None)
        clock = _IdleClock(_IDLE_AT_EXIT)
        with contextlib.suppress(StalledError):
            while worker.is_alive():
                clock.wait_once(worker.join)


class _IdleClock:
    """The time for which something was awaited while the process was idle.

    A busy process computes, however slowly; one that uses next to no processor time waits. The
    clock adds up such waiting, and starts again whenever the process is seen to compute.

    Args:
      limit: The idle seconds after which it raises `StalledError`.

    Attributes:
      idle: Seconds without work so far.
    """

    def __init__(self, limit: float):
        self.limit, self.idle = limit, 0.0
        self.start = self.looked = time.monotonic()
        self.used = time.process_time()

    def wait_once(self, wait: Callable[[float], None]) -> None:
        """Wait a little, the longer the longer it has lasted."""
        now = time.monotonic()
        wait(min(max(_LATENCY * (now - self.start), _SHORTEST), _LONGEST))
        passed = time.monotonic() - self.looked
        if passed < min(_LOOK, self.limit / 4):
            return
        used = time.process_time()
        is_idle = used - self.used < _IDLE_SHARE * passed
        # A process that was stopped from outside, or a computer that slept, has not been idle.
        self.idle = self.idle + min(passed, 2 * _LOOK) if is_idle else 0.0
        self.looked, self.used = time.monotonic(), used
        if self.idle > self.limit:
            raise StalledError(f"it has used no processor time for {self.idle:.3g} seconds")


def _keep_clients(devices: Sequence[Any]) -> None:
    """Keep the clients of devices for ever: to destroy them, Python would wait at its end."""
    for client in {id(device.client): device.client for device in devices}.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _wait_done(future: "Future[Outputs]", seconds: float) -> None:
    """Wait until a call is done, but not longer than some seconds."""
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return
