"""The sweep: a plain loop over chunks of one compiled program for each group."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax

from jaxmom.sweeps.compile.autotune import Autotuner, default_options
from jaxmom.sweeps.compile.program import TracedGroup
from jaxmom.sweeps.estimate import largest_group, trace_groups
from jaxmom.sweeps.results.collect import InMemoryResults, ResultWriter
from jaxmom.sweeps.run.driver import Driver, SweepConfig
from jaxmom.sweeps.run.executors import ExecutorRunner, refuse_forked
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.writer import StoreWriter

if TYPE_CHECKING:
    import xarray


def sweep(
    fn: Callable[..., Any],
    space: Space,
    *,
    width: int | Literal["auto"] = "auto",
    devices: Sequence[Any] | None = None,
    executor: Any = None,
    store: str | os.PathLike[str] | None = None,
    resume: Literal["strict", "fresh", "extend"] = "strict",
    on_error: Literal["raise", "record"] = "raise",
    progress: bool = True,
    options: Mapping[str, Any] | None = None,
) -> "xarray.Dataset | xarray.DataTree":
    """Run a function on every lane of a space, thousands at a time, and name the results.

    The lanes run in chunks of a fixed width over one compiled program for each group. A lane's bits
    depend on that width and on `options` alone: not on its neighbors, on the order of the lanes,
    the number of devices, the executor, or interruptions.

    Args:
      fn: ``fn(**axes)``, pure and traceable: it gets a scalar array for each axis of numbers (make
        keys from the value of a seed, ``jax.random.key(seed)``), a slice of its values for each
        labeled axis, and the plain object for anything else. It returns a `Trajectory`, of which
        the history is kept, or a dict of arrays. Data that a `jax.tree_util.Partial` binds to it
        are passed to the program once, for all lanes.
      space: From `grid`, `paired` or `sample`.
      width: Lanes at a time on each device. "auto" takes that of the store if the sweep is in it,
        and else tries a few, by memory and by time, and programs too (see `options`); a number is
        faster to start and repeatable.
      devices: Those of this process to use; all of them by default. Each compiles the program for
        itself, and they take chunks in turn.
      executor: A `concurrent.futures.Executor` to compute the chunks in other processes or on other
        machines, such as ``distributed.Client(...).get_executor()``; `fn` travels by cloudpickle.
      store: A folder where each chunk is safe once it is done. The result is read from there as it
        is used, so that it may be larger than the memory.
      resume: If the folder has a sweep: "strict" goes on with it if it is this one and refuses
        otherwise, saying what differs; "fresh" deletes it; "extend" runs the lanes of this space
        that it does not have, all else being the same.
      on_error: What to do when a chunk fails: "raise", or "record" it (its lanes have status
        "failed") and go on. What cannot be traced is raised at once in any case.
      progress: Show a bar, if the standard error is a terminal.
      options: How the program is made. ``{"lanes_last": n}`` lets the lanes be the last axis of
        every array within it, where `jax.vmap` has them first, and unrolls innermost loops n times:
        several times as fast where a step is a handful of operations on small arrays. With
        ``{"block": n}``, the lanes of a chunk run in turns, n at a time. Others are those of the
        compiler, as in `jax.jit`. They belong to the width: "auto" chooses both, and what it chose
        is in the attribute ``options`` of the result, as JSON.

    Returns:
      A Dataset whose dims are the axes (``lane`` for a list or sample) and then ``step`` and those
      of the arrays; with the coordinates ``status`` (0 missing, 1 ok, 2 diverged, 3 failed) and
      ``diverged_at``. A DataTree, with a Dataset for each group, if their outputs differ.

    Raises:
      ValueError: The store holds another sweep, or an argument is inadmissible.
      MemoryError: The result does not fit into memory, and there is no store.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def train(beta, learning_rate):
      ...     optimizer = jm.heavy_ball(learning_rate, beta)
      ...     return jm.optimize(lambda x: x**2, jnp.array(1.0), optimizer, steps=20)
      >>> space = jm.grid(beta=[0.0, 0.5], learning_rate=[0.1, 0.5, 2.5])
      >>> runs = jm.sweep(train, space, width=4)
      >>> dict(runs.value.sizes)
      {'beta': 2, 'learning_rate': 3, 'step': 21}
      >>> print(runs.status.values)
      [[1 1 2]
       [1 1 2]]
    """
    _check(width, resume, on_error)
    refuse_forked()
    lanes = trace_groups(fn, space)
    used = list(devices or jax.local_devices())
    with contextlib.ExitStack() as stack:
        if store is None:
            sink = InMemoryResults(space, lanes)
        else:
            folder = Store(store)
            stack.enter_context(folder.locked())
            if resume == "fresh":
                folder.clear()
            sink = StoreWriter(folder, lanes)
        setup = _setup(space, lanes, used, width, options, sink)
        if isinstance(sink, StoreWriter):
            sink.settle(setup.identity(), resume)
        job = Driver(setup, sink, on_error, progress)
        start = time.perf_counter()
        with _stoppable(job, store):
            if executor is None:
                runner = job.fitting()
            else:
                runner = ExecutorRunner(executor, fn, lanes, setup.width, setup.options)
            job.run(runner)
        told = {"width": job.setup.width, "options": json.dumps(dict(job.setup.options))}
        told["seconds"] = time.perf_counter() - start
        told["compile_seconds"] = runner.compile_seconds  # of these seconds
        kind = used[0].device_kind if executor is None else f"workers of {type(executor).__name__}"
        return sink.result(told | {"device": kind, "devices": len(used)})


def _setup(
    space: Space,
    lanes: Sequence[TracedGroup],
    devices: Sequence[Any],
    width: int | Literal["auto"],
    options: Mapping[str, Any] | None,
    sink: ResultWriter,
) -> SweepConfig:
    """Take the width and the options as given, from the store, or from probes."""
    manifests = sink.store.manifests() if isinstance(sink, StoreWriter) else []
    if manifests:
        known = manifests[-1]["identity"]
        width = known["width"] if width == "auto" else width
        options = known["options"] if options is None else options
    if width != "auto":
        chosen = default_options(devices) if options is None else options
        return SweepConfig(space, lanes, devices, width, chosen)
    search = Autotuner(space, largest_group(lanes), devices)
    search.search(options)
    best = search.best
    return SweepConfig(space, lanes, devices, best.width, best.options, search.programs)


def _check(width: Any, resume: str, on_error: str) -> None:
    whole = isinstance(width, int) and not isinstance(width, bool) and width >= 1
    if width != "auto" and not whole:
        raise ValueError(f'width is "auto" or a positive number of lanes, not {width!r}.')
    if resume not in ("strict", "fresh", "extend"):
        raise ValueError(f'resume is "strict", "fresh" or "extend", not {resume!r}.')
    if on_error not in ("raise", "record"):
        raise ValueError(f'on_error is "raise" or "record", not {on_error!r}.')


@contextlib.contextmanager
def _stoppable(job: Driver, store: Any) -> Iterator[None]:
    """Stop between two instructions, and say how to go on: Ctrl-C, and SIGTERM as Slurm sends it.

    Parts are written whole or not at all, so that there is nothing else to do.
    """
    if store is None:
        yield
        return

    def told(what: str) -> str:
        return (
            f"{what}: {job.sink.count()} of {job.chunks} chunks are in {store}; run the same call "
            "again to go on from there."
        )

    def terminate(number: int, frame: Any) -> None:
        raise SystemExit(told("terminated"))

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(told("interrupted")) from None
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
