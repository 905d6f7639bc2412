"""Successive halving: run all lanes a little, the better ones more."""

import contextlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmom._choices import check_flag
from jaxmom.sweeps._halving_lanes import MADE_BY_HALVING, HalvingLanes
from jaxmom.sweeps.compile.first_choice import default_options
from jaxmom.sweeps.compile.watchdog import STALL_SECONDS, Dispatcher
from jaxmom.sweeps.estimate import as_devices, as_width
from jaxmom.sweeps.results.summary import check_over
from jaxmom.sweeps.run.executors import ExecutorRunner, as_executor
from jaxmom.sweeps.run.runners import LocalRunner
from jaxmom.sweeps.run.segments import SegmentFn, as_lengths, check_axes
from jaxmom.sweeps.space.space import Space, check_space
from jaxmom.sweeps.store.checkpoint import Checkpoint
from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.writer import read_choice

if TYPE_CHECKING:
    import xarray


def halving(
    segment: SegmentFn,
    space: Space,
    rungs: Sequence[int],
    keep: float = 0.5,
    *,
    by: str = "value",
    over: str = "seed",
    maximize: bool = False,
    width: int,
    devices: Sequence[Any] | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    store: str | os.PathLike[str] | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> "xarray.Dataset":
    """Run lanes in segments, and after each one go on with the better part of them only.

    The survivors are packed into chunks of the same width, so that their bits are those of a run
    without any selection, and nothing is computed for the lanes that were dropped.

    Args:
      segment: ``segment(state, steps, **axes) -> (state, outputs)``: continue a lane by `steps`
        updates (a Python number). At first the state is None; later it is what was returned, any
        pytree of arrays whose shapes and dtypes stay the same (runs in it come without history).
        Outputs are those of a function for `sweep`; a `diverged_at` in them counts from the first
        update of the lane, as that of a run that goes on does.
      space: As for `sweep`.
      rungs: The lengths of the segments, in updates.
      keep: The share of the lanes that goes on after each segment but the last, in (0, 1].
      by: The output to compare, one real number for each lane; of several records the last one.
      over: Lanes that differ in this dimension alone stay together and are compared by their
        median; "" for none, which the default is without seeds.
      maximize: Whether large is good; small is by default.
      width: As for `sweep`, but always a number: each segment is another program.
      devices: As for `sweep`.
      executor: As for `sweep`; the states of lanes come and go with each segment.
      workers: As for `sweep`.
      store: A folder where the lanes are safe after each segment; the same call goes on from the
        last one that is there, and a call with more rungs after the same ones from their end. With
        ``keep=1`` this is a sweep that is saved within its lanes.
      stall_seconds: As for `sweep`.

    Returns:
      A Dataset like that of `sweep`, with the output `by` along the dimension ``step``, the updates
      made so far (NaN where a lane did not run), ``rungs``, how many segments each lane ran, and
      the coordinate ``ended_at``, how many updates these are.

    Raises:
      ValueError: An argument is inadmissible, there is no output `by` or it has no order, the state
        changes its shapes or dtypes, or the store holds something else.
      TypeError: The segment does not return a state and outputs.
      RuntimeError: Another process drives what is in the store, or a program stands still.

    Example:
      >>> import jaxmom as jm
      >>> problem = jm.problems.tutorial_quadratic()
      >>> def segment(run, steps, learning_rate):
      ...     start = problem.params if run is None else run
      ...     run = jm.optimize(problem.loss, start, jm.heavy_ball(learning_rate, 0.5), steps)
      ...     return run, run
      >>> space = jm.grid(learning_rate=[0.01, 0.1, 0.4, 3.0])
      >>> runs = jm.halving(segment, space, rungs=[10, 10, 10], keep=0.5, width=4)
      >>> runs.rungs.values.tolist(), runs.diverged_at.values.tolist()
      ([1, 3, 2, 1], [-1, -1, -1, 3])
    """
    check_space(space)
    check_over(over, [dim.name for dim in space.dims()])
    check_flag("maximize", maximize)
    check_axes(segment, space, MADE_BY_HALVING)
    lengths = as_lengths("rungs", rungs)
    share = _read_share(keep)
    lanes_at_a_time = as_width(width)
    if lanes_at_a_time == "auto":
        raise ValueError(
            'halving takes a number of lanes as width, not "auto": its programs change from '
            "segment to segment, so that there is none to time."
        )
    executor = as_executor(executor, workers)
    used = as_devices(devices)
    dispatcher = Dispatcher(used, stall_seconds)
    # What a store has may be continued, so that how it goes on belongs to its identity.
    traced = lengths if store is None else [*lengths, lengths[0]]
    lanes = HalvingLanes(segment, space, traced, by, bool(maximize), lanes_at_a_time)
    with contextlib.ExitStack() as stack:
        saved = None
        if store is not None:
            folder = Store(store)
            stack.enter_context(folder.locked())
            begun = read_choice(folder)
            if begun is not None and not begun.has_group_widths:
                lanes.fill_up()
            saved = Checkpoint(folder, lanes.identity(used, lengths[0], share, over))
            lanes.restore(*saved.load(), lengths)
        made = lanes.programs.traced, lanes.program_widths()
        if executor is None:
            runner = LocalRunner(*made, used, default_options(used), dispatcher)
        else:
            rest = (*made, default_options(used), stall_seconds, workers)
            runner = stack.enter_context(ExecutorRunner(executor, lanes.programs.functions, *rest))
        for number in range(len(lanes.lengths), len(lengths)):
            if number:
                lanes.select(share, over)
            lanes.run(runner, lengths[number])
            if saved:
                saved.save(number + 1, lanes.snapshot())
    return lanes.result()


def _read_share(keep: Any) -> float:
    """Return the share as a Python number, so that 1 and 1.0 are one halving."""
    try:
        share = math.nan if isinstance(keep, bool | np.bool_) else float(keep)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"keep is in (0, 1], the share of the lanes that goes on; got {keep!r}.")
    return share
