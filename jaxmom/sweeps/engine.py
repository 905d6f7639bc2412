"""The sweep: a plain loop over chunks of one compiled program for each group."""

import contextlib
import functools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import jax

from jaxmom._choices import check_choice, check_flag
from jaxmom.sweeps.compile.autotune import Autotuner
from jaxmom.sweeps.compile.batching import NARROW
from jaxmom.sweeps.compile.first_choice import default_options
from jaxmom.sweeps.compile.options import check_options
from jaxmom.sweeps.compile.program import SweptFn, TracedGroup
from jaxmom.sweeps.compile.watchdog import STALL_SECONDS, Dispatcher, StalledError, describe_stall
from jaxmom.sweeps.compile.widths import plan_widths
from jaxmom.sweeps.estimate import (
    as_devices,
    as_options,
    as_width,
    largest_group,
    trace_groups,
)
from jaxmom.sweeps.results.collect import InMemoryResults, ResultWriter
from jaxmom.sweeps.run.compaction import LaneStore, run_segments
from jaxmom.sweeps.run.driver import Driver, SweepConfig, WriterFn
from jaxmom.sweeps.run.executors import ExecutorRunner, as_executor
from jaxmom.sweeps.run.forks import refuse_fork
from jaxmom.sweeps.run.interrupts import describe_interrupts
from jaxmom.sweeps.run.live import LiveMetrics, OnChunkFn
from jaxmom.sweeps.run.runners import LocalRunner, Task
from jaxmom.sweeps.run.segmented import SegmentedSweep
from jaxmom.sweeps.run.segments import as_lengths
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.extensions import part_name
from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.job_array import Share, as_share, require_width
from jaxmom.sweeps.store.lanes import PartPlace, StoredLanes
from jaxmom.sweeps.store.reader import open_store
from jaxmom.sweeps.store.writer import Resume, StoreWriter, read_choice

if TYPE_CHECKING:
    import xarray

OnError: TypeAlias = Literal["raise", "record"]

_UNTIMED_WIDTH = 128  # where the lanes that would be timed fail


def sweep(
    fn: SweptFn,
    space: Space,
    *,
    width: int | Literal["auto"] = "auto",
    segments: Sequence[int] | None = None,
    devices: Sequence[Any] | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: Resume = "strict",
    part: tuple[int, int] | None = None,
    on_error: OnError = "raise",
    on_chunk: OnChunkFn | None = None,
    progress: bool = True,
    stall_seconds: float = STALL_SECONDS,
    options: Mapping[str, Any] | None = None,
) -> "xarray.Dataset | xarray.DataTree":
    """Run a function on every lane of a space, thousands at a time, and name the results.

    The lanes run in chunks of a fixed width over one compiled program for each group. A lane's bits
    depend on that width and on `options` alone: not on its neighbors, on the order of the lanes,
    the number of devices, the executor, or interruptions. A group that has at most a quarter as
    many lanes runs at a smaller width, which a store records; lanes that join it later run at the
    width of the group as it is then.

    Args:
      fn: ``fn(**axes)``, pure and traceable: it gets a scalar array for each axis of numbers (make
        keys from the value of a seed, ``jax.random.key(seed)``), a slice of its values for each
        labeled axis, and the plain object for anything else. It returns a `Trajectory`, whose
        history is kept, or a dict of arrays; or both, as a pair or with the Trajectory as one
        value of the dict. The status of a lane is that of the Trajectory; from a dict of arrays
        of a run, return ``"diverged_at": run.diverged_at`` too, as without it only numbers that are
        not finite mark a lane as diverged. Data that a `jax.tree_util.Partial` binds to it are
        passed to the program once, for all lanes.
      space: From `grid`, `paired` or `sample`.
      width: Lanes at a time on each device. "auto" takes that of the store if the sweep is in it,
        and else chooses one and a program (see `options`) by the work of a lane; a sweep of more
        than about 3 seconds tries others for at most a tenth of its time, keeps what they computed
        if they win, and remembers the choice. A number is repeatable everywhere.
      segments: The lengths, in updates, of the parts in which lanes run, for lanes that take long;
        `fn` is then ``fn(state, steps, **axes) -> (state, outputs)``, as for `halving`, and the
        width is a number. Between two segments lanes are safe in the store, those that diverged
        leave, and others take their places, so that only lanes that go on cost time. Records go on
        from segment to segment and are NaN after a lane has left; of other outputs the last value
        counts. ``ended_at`` is the number of updates that a lane ran. The states of lanes that wait
        for a segment are on the host.
      devices: Those of this process to use, or one; they take chunks in turn. By default all of
        them, and a CPU runs as many chunks at a time as it has cores. One that is given runs one at
        a time, or n if it is in the list n times.
      executor: A `concurrent.futures.Executor` to compute the chunks in other processes or on other
        machines, such as ``distributed.Client(...).get_executor()``; what has its `submit` and
        returns futures will do. `fn` travels by cloudpickle, once to each worker, and chunks are
        kept in the order in which they are done.
      workers: How many chunks the executor runs at a time, if it does not tell; twice as many are
        submitted. Pools, loky, mpi4py and Dask tell; for others, 64 are assumed.
      store: A folder where each chunk is safe once it is done. The result is read from there as it
        is used, so that it may be larger than the memory. Other files of the folder stay as they
        are, and a folder that can only be read will do if the sweep in it is complete.
      resume: If the folder has a sweep: "strict" goes on with it if it is this one and refuses
        otherwise, saying what differs; "fresh" deletes it; "extend" runs the lanes of this space
        that it does not have, all else being the same. Only the versions of JAX may differ: each
        part records those that it was computed with.
      part: ``(i, n)``: this process is number i, from 0, of n that share the store and need no
        driver, such as those of a job array. It computes every n-th chunk and returns the sweep as
        it is then. Any of them may die and be started again, and others may come with another n;
        the same call without part computes what is missing. Give a `width`, as "auto" is refused
        until one of them has begun, and from then on is theirs.
      on_error: What to do when a chunk fails: "raise", or "record" it (its lanes have status
        "failed") and go on. What cannot be traced or compiled is raised at once in any case.
      on_chunk: ``on_chunk(dataset, progress)``, called in this process after each chunk that is
        kept, for live metrics. The Dataset has the lanes of the chunk along the dimension ``lane``,
        with their arguments and ``status`` as coordinates; `progress` has ``lanes``, ``total``,
        ``diverged``, ``failed``, ``seconds`` and ``seconds_left``. If it raises, the sweep ends.
      progress: Show a bar, if the standard error is a terminal.
      stall_seconds: On CPU devices, how long to wait for a chunk while this process uses no
        processor time. A program that stands still for so long never ends, and the sweep ends with
        an error; give more, or ``math.inf``, if the function itself waits for something outside.
      options: How the program is made. ``{"lanes_last": n}`` lets the lanes be the last axis of
        every array within it, where `jax.vmap` has them first, and unrolls innermost loops n times:
        faster where a step is a handful of operations on small arrays. With ``{"block": n}``, the
        lanes of a chunk run in blocks of n, one block after the other. With ``{"in_turn": True}``
        they run one by one, without `jax.vmap` and an axis of lanes, so it goes with neither of
        these two: faster on CPUs where a lane is large by itself. With ``{"narrow": n}``, chunks
        of few lanes (a small group, or the last chunk of one) run in programs of half the width, a
        quarter and so on, halved n times at most; their bits then depend on how many lanes they
        have, too. With ``{"narrow": 0}`` all chunks have the whole width. Others are those of the
        compiler, as in `jax.jit`; one whose value is None counts as not given. They belong to the
        width: without options, "auto" chooses both, and what it chose is in the attribute
        ``options`` of the result, as JSON.

    Returns:
      A Dataset whose dims are the axes (``lane`` for a list or sample) and then ``step`` and those
      of the arrays; with the coordinates ``status`` (0 missing, 1 ok, 2 diverged, 3 failed) and
      ``diverged_at``. A DataTree, with a Dataset for each group, if their outputs differ.

    Raises:
      ValueError: The store holds another sweep, or an argument is inadmissible.
      RuntimeError: Another process drives the sweep in the store, or a program stands still.
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
    check_choice("resume", resume, get_args(Resume))
    check_choice("on_error", on_error, get_args(OnError))
    asked = _Asked(as_width(width), as_options(options), on_error)
    share = as_share(part, store, resume)
    executor = as_executor(executor, workers)
    live = LiveMetrics(on_chunk, space)
    refuse_fork()
    used = as_devices(devices)
    check_options(asked.options, used[0])
    check_flag("progress", progress)
    dispatcher = Dispatcher(used, stall_seconds)
    segmented = None if segments is None else _segment_sweep(fn, segments, space, asked)
    traced = trace_groups(fn, space) if segmented is None else segmented.whole
    with contextlib.ExitStack() as stack:
        folder = None if store is None else stack.enter_context(_lock_folder(store, resume, share))
        start = time.perf_counter()
        config = _choose_config(space, traced, used, asked, folder, dispatcher)
        driver = Driver(config, _writer_fn(folder, resume), on_error, progress, live)
        with describe_interrupts(store, driver.count_safe):
            made, functions, loop = traced, [fn] * len(traced), None
            if segmented is not None:
                made, functions = segmented.programs.traced, segmented.programs.functions
                loop = functools.partial(run_segments, segmented, saved=_lane_store(folder, driver))
            chosen = made, _program_widths(driver.config, segmented)
            if executor is not None:
                rest = driver.config.options, stall_seconds, workers
                runner = ExecutorRunner(executor, functions, *chosen, *rest)
                stack.enter_context(runner)
            elif segmented is not None:
                runner = LocalRunner(*chosen, used, driver.config.options, dispatcher)
            else:
                runner = driver.first_runner_that_fits(dispatcher)
            driver.run(runner, loop)
        attrs = {
            "width": driver.config.width,
            "options": json.dumps(dict(driver.config.options)),
            "seconds": time.perf_counter() - start,
            "compile_seconds": config.compile_seconds + runner.compile_seconds,  # of these
            "device": used[0].device_kind if executor is None else _name_workers(executor),
            "devices": len(set(used)),
        }
        return driver.writer.result(attrs)


class _Asked(NamedTuple):
    """The arguments of `sweep` that choose the program."""

    width: int | Literal["auto"]
    options: Mapping[str, Any] | None
    on_error: OnError


def _segment_sweep(
    segment: SweptFn, segments: Sequence[int], space: Space, asked: _Asked
) -> SegmentedSweep:
    """Return the segments of a sweep, whose programs have one width that is given."""
    if asked.width == "auto":
        raise ValueError(
            'segments= needs a number of lanes as width, not "auto": its programs change from '
            "segment to segment, so that there is none to time."
        )
    if (asked.options or {}).get(NARROW):
        raise ValueError(
            f"a lane has other neighbors in each segment, and the option {NARROW!r} would let its "
            "bits depend on their number; leave it out."
        )
    return SegmentedSweep(segment, as_lengths("segments", segments), space)


def _program_widths(config: SweepConfig, segmented: SegmentedSweep | None) -> list[int]:
    """Return the width of each program: one for each group, or several in segments."""
    widths = config.group_widths()
    return widths if segmented is None else [widths[n] for n in segmented.programs.groups]


def _lane_store(folder: Store | None, driver: Driver) -> LaneStore | None:
    """Return where lanes are safe between segments."""
    writer = driver.writer
    if folder is None or not isinstance(writer, StoreWriter):
        return None

    def place_of(task: Task) -> PartPlace:
        lane_set = writer.lane_sets[task.number]
        name = part_name(lane_set.group_index, task.chunk)
        return PartPlace(lane_set.extension_index, name, writer.digests[lane_set.extension_index])

    return StoredLanes(folder, place_of)


def _name_workers(executor: Executor) -> str:
    return f"workers of {type(executor).__name__}"


@contextlib.contextmanager
def _lock_folder(
    store: str | os.PathLike[str], resume: Resume, share: Share | None
) -> Iterator[Store]:
    folder = Store(store)
    with folder.locked(share):
        if resume == "fresh":
            folder.clear()
        yield folder


def _writer_fn(folder: Store | None, resume: Resume) -> WriterFn:
    """Return what makes the writer of a sweep: in memory, or in a store."""

    def open_writer(config: SweepConfig) -> ResultWriter:
        if folder is None:
            return InMemoryResults(config.space, config.traced, config.group_widths())
        identity = config.identity()
        return StoreWriter(folder, config.traced, identity, config.options, resume, open_store)

    return open_writer


def _choose_config(
    space: Space,
    traced: Sequence[TracedGroup],
    devices: Sequence[Any],
    asked: _Asked,
    folder: Store | None,
    dispatcher: Dispatcher,
) -> SweepConfig:
    """Take the width and the options as given, from the store, or from probes."""
    width, options, on_error = asked
    stored = None if folder is None else read_choice(folder)
    require_width(width, stored, None if folder is None else folder.share)
    if stored is not None:
        width = stored.width if width == "auto" else width
        options = stored.options if options is None else options
    tuner = Autotuner(space, largest_group(traced), devices, dispatcher)
    if width == "auto":
        try:
            width, options = tuner.search(options)
        except StalledError as error:
            raise RuntimeError(describe_stall("while it tries widths", error)) from None
        except jax.errors.JaxRuntimeError:
            if on_error == "raise":
                raise
            # Lanes that are timed fail; the driver records them, as it does those of any chunk.
            width = min(_UNTIMED_WIDTH, tuner.lanes_per_device)
            if tuner.tried:
                width, options = tuner.best.choice
    options = default_options(devices) if options is None else options
    number = traced.index(tuner.group)
    computed = {(number, chunk): arrays for chunk, arrays in tuner.computed.items()}
    found = computed, tuple(tuner.notes), tuner.compile_seconds
    has_widths = stored is None or stored.has_group_widths
    widths = plan_widths(traced, width, options) if has_widths else None
    return SweepConfig(space, traced, devices, width, options, widths, *found)
