"""Executors: chunks for the workers of other processes and machines, whichever is done first."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from types import TracebackType
from typing import Any

import numpy as np

from jaxmom.sweeps.compile.program import Arguments, Arrays, SweptFn, TracedGroup
from jaxmom.sweeps.compile.watchdog import STALL_SECONDS
from jaxmom.sweeps.run.forks import refuse_fork
from jaxmom.sweeps.run.runners import Handle, Task
from jaxmom.sweeps.run.worker import Payload, UnknownPayload, pack_sweep, run_chunk

_ASSUMED_WORKERS = 64  # of an executor that does not tell how many it has
_SMALL = 100_000  # bytes of a function that goes with every chunk
_RECOUNT = 1.0  # seconds after which workers are counted again
_POLL = 0.05  # seconds between two looks at futures that call nobody back


def as_executor(given: Any, workers: Any = None) -> Any:
    """Return an executor, once it has proved to be one; a Dask client stands for its executor.

    Args:
      given: As for `jaxmom.sweep`, or None.
      workers: As for `jaxmom.sweep`; checked only.

    Returns:
      What has `submit`, or None.

    Raises:
      ValueError: There is nothing that takes tasks, or no positive number of workers.
    """
    is_whole = isinstance(workers, int | np.integer) and not isinstance(workers, bool)
    if workers is not None and not (is_whole and workers > 0):
        raise ValueError(f"workers is a positive number, or None to ask, not {workers!r}.")
    if given is None:
        if workers is not None:
            raise ValueError("workers are those of an executor: give executor= too.")
        return None
    if hasattr(given, "get_executor"):
        return given.get_executor()
    if not callable(getattr(given, "submit", None)):
        raise ValueError(
            "executor is a concurrent.futures.Executor, or another object with submit(fn, *args) "
            f"that returns a future; got {given!r}."
        )
    return given


def count_workers(executor: Any) -> int:
    """Return how many tasks an executor runs at a time.

    Args:
      executor: Pools of `concurrent.futures`, loky, mpi4py and executorlib know their size, and
        Dask's client counts the threads of its workers. For others, 64 is assumed.

    Example:
      >>> import concurrent.futures
      >>> with concurrent.futures.ThreadPoolExecutor(3) as executor:
      ...     count_workers(executor)
      3
    """
    client = _dask_client(executor)
    if client is not None:
        return max(1, sum(client.nthreads().values()))
    for name in ("_max_workers", "max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return _ASSUMED_WORKERS


def has_ended(error: Exception) -> bool:
    """Return whether an error is that of the executor, which computes no more chunks.

    Args:
      error: With which a chunk ended: a chunk that fails by itself says nothing about others.
    """
    return isinstance(error, BrokenExecutor | CancelledError)


class ExecutorRunner:
    """Any `concurrent.futures.Executor`; each worker uses the first of its own devices.

    The function with its data travels once to each worker. A small one goes with every chunk. A
    large one lies in a file, which chunks name by its digest; a worker that cannot read the file
    says so, and gets the bytes with its chunk. Dask has means of its own.

    Use it as a context manager: at its end the file is removed.

    Args:
      executor: From `as_executor`.
      functions: What is swept, for each group.
      traced: The groups.
      widths: Of each group: how many lanes a chunk has.
      options: The options of the programs.
      stall_seconds: As for `jaxmom.sweep`.
      workers: As for `jaxmom.sweep`.

    Attributes:
      carrier: Brings the function to the workers.
      unknown: The tasks whose workers have asked for it.
      has_results: Whether a task has been computed, so that its worker has the function.

    Raises:
      ImportError: cloudpickle is not installed.
      RuntimeError: This process was forked from one that has used JAX.
    """

    compile_seconds = 0.0  # the workers compile

    def __init__(
        self,
        executor: Any,
        functions: Sequence[SweptFn],
        traced: Sequence[TracedGroup],
        widths: Sequence[int],
        options: Mapping[str, Any],
        stall_seconds: float = STALL_SECONDS,
        workers: int | None = None,
    ):
        refuse_fork()
        self.executor, self.stall_seconds, self.workers = executor, stall_seconds, workers
        self.carrier = _Carrier(executor, pack_sweep(functions, traced, widths, options))
        self.has_results, self.unknown = False, set[Task]()
        self.counted, self.count_at = 1, 0.0
        self.is_called, self.called = True, threading.Event()  # when a future is done

    def __enter__(self) -> "ExecutorRunner":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.carrier.close()

    @property
    def capacity(self) -> int:
        """Twice the number of workers, that none waits for the next task.

        Before the first result it is the number of workers: each of those that lack the function
        asks for it with one task, not with two.
        """
        if self.workers is not None:
            self.counted = self.workers
        elif time.monotonic() >= self.count_at:  # for Dask, a question to the scheduler
            with contextlib.suppress(OSError):  # of a scheduler that is lost; its tasks will say so
                self.counted = count_workers(self.executor)
            self.count_at = time.monotonic() + _RECOUNT
        return 2 * self.counted if self.has_results else self.counted

    def start(self, task: Task, columns: Arguments, data: Sequence[Any] | None = None) -> Handle:
        """Submit a task.

        Args:
          task: Which it is.
          columns: The arguments of its lanes.
          data: What the lanes share, as for `ChunkRunner.start`.

        Returns:
          The future of the executor.

        Raises:
          BrokenExecutor: The executor takes no tasks.
        """
        payload, content = self.carrier.arguments(task in self.unknown)
        try:
            arguments = (payload, content, task.group, columns, self.stall_seconds, data)
            future = self.executor.submit(run_chunk, *arguments)
        except BrokenExecutor:
            raise
        except Exception as error:
            raise BrokenExecutor(f"the executor takes no tasks: {error}") from error
        if hasattr(future, "add_done_callback"):
            future.add_done_callback(lambda _: self.called.set())
        else:
            self.is_called = False
        return future

    def first_done(self, handles: Sequence[Handle]) -> int:
        """Wait until one of the futures is done, and return its index.

        Futures that call back wake this process up; others are asked every 50 milliseconds. If they
        cannot be asked either, the first one is waited for.
        """
        if not all(hasattr(handle, "done") for handle in handles):
            return 0
        while True:
            self.called.clear()
            for index, handle in enumerate(handles):
                if handle.done():  # type: ignore[attr-defined]
                    return index
            self.called.wait(1.0 if self.is_called else _POLL)

    def should_restart(self, task: Task, outcome: Arrays | Exception) -> bool:
        """Return whether a worker has asked for the function: it gets it with the same task."""
        if isinstance(outcome, UnknownPayload) and task not in self.unknown:
            self.unknown.add(task)
            return True
        self.unknown.discard(task)
        self.has_results = True
        return False


class _Carrier:
    """Brings a pickled sweep to workers, in the way that an executor admits.

    Args:
      executor: What the workers belong to.
      content: The pickle.
    """

    def __init__(self, executor: Any, content: bytes):
        self.content, self.folder, self.scattered, path = content, None, None, ""
        digest = hashlib.sha256(content).hexdigest()
        client = _dask_client(executor)
        if len(content) > _SMALL and client is not None:
            self.scattered = _scatter(client, content)
        elif len(content) > _SMALL:
            self.folder = tempfile.TemporaryDirectory(
                prefix="jaxmom-", dir=_shared_folder(executor), ignore_cleanup_errors=True
            )
            path = os.path.join(self.folder.name, digest)
            pathlib.Path(path).write_bytes(content)
        self.payload = Payload(digest, path)

    def arguments(self, is_asked: bool) -> tuple[Payload, Any]:
        """Return the name of the sweep, and what goes with a task: bytes, their future, or None.

        Args:
          is_asked: Whether the worker has asked for the bytes.
        """
        if self.scattered is not None:
            return self.payload, self.scattered
        return self.payload, self.content if is_asked or not self.payload.path else None

    def close(self) -> None:
        """Remove the file, and let go of the future."""
        self.scattered = None
        if self.folder is not None:
            self.folder.cleanup()


def _shared_folder(executor: Any) -> str | None:
    """Return a folder that workers can read if there is one, as submitit has for its jobs.

    Args:
      executor: That may have a `folder`, in which "%j" stands for a job.
    """
    folder = getattr(executor, "folder", None)
    if not isinstance(folder, str | os.PathLike):
        return None
    parts = pathlib.Path(folder).absolute().parts
    fixed = next((n for n, part in enumerate(parts) if "%" in part), len(parts))  # "%j" is a job
    path = pathlib.Path(*parts[:fixed])
    path.mkdir(parents=True, exist_ok=True)
    return os.fspath(path)


def _dask_client(executor: Any) -> Any:
    """Return the client of an executor of Dask, or None."""
    if type(executor).__module__.partition(".")[0] != "distributed":
        return None
    return executor._client


def _scatter(client: Any, content: bytes) -> Any:
    """Put bytes on the workers of Dask, and return their future.

    They are the result of a task, which is done again when all workers die that held it; workers
    that join later copy it from others.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # once, and not with each chunk
        future = client.submit(_return_bytes, content, pure=False)
    if len(client.nthreads()) > 1:
        client.replicate([future])
    return future


def _return_bytes(content: bytes) -> bytes:
    return content
