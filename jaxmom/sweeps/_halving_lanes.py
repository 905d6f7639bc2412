"""The lanes of a halving: their states on the host, and the segments that they run."""

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.first_choice import default_options
from jaxmom.sweeps.compile.identity import Identity, collect_provenance, sweep_identity
from jaxmom.sweeps.compile.outputs import STEP, Output
from jaxmom.sweeps.compile.program import Arguments, Arrays
from jaxmom.sweeps.compile.watchdog import StalledError, describe_stall
from jaxmom.sweeps.compile.widths import group_width
from jaxmom.sweeps.results.checks import DIVERGED_AT, check_divergence
from jaxmom.sweeps.results.dataset import (
    DIVERGED,
    LANE_OUTPUTS,
    DatasetLayout,
    add_status,
    label_dataset,
    missing_values,
)
from jaxmom.sweeps.run.dispatch import run_tasks
from jaxmom.sweeps.run.runners import ChunkRunner, Task
from jaxmom.sweeps.run.segments import (
    STATE,
    Leaves,
    SegmentFn,
    SegmentPrograms,
    numbered,
    split_results,
)
from jaxmom.sweeps.space.groups import group_key, label_groups
from jaxmom.sweeps.space.index_maps import Index, ceil_div
from jaxmom.sweeps.space.space import Space

if TYPE_CHECKING:
    import xarray

_DIGITS = 12  # of a fingerprint, as a diff of identities shows them
_BELOW_ONE = 1 - 1e-12  # 0.07 * 100 is above 7, and a share of 0.07 of 100 lanes is 7
MADE_BY_HALVING = ("rungs", "ended_at")  # beside what every sweep makes


class HalvingLanes:
    """The lanes of a halving, with their states on the host.

    Args:
      segment: As for `halving`.
      space: As for `halving`.
      lengths: Of the segments that are traced: the first, and the others.
      by: As for `halving`.
      maximize: As for `halving`.
      width: Lanes at a time.

    Attributes:
      widths: Of each group.
      programs: Of the segments.
      alive: The lanes that still run.
      lengths: Of the segments that are done.
      records: The output to compare [lanes], after each of them.

    Raises:
      TypeError: The segment does not return a state and outputs.
      ValueError: Its outputs cannot be compared, or its state changes its shapes or dtypes.
    """

    def __init__(
        self,
        segment: SegmentFn,
        space: Space,
        lengths: Sequence[int],
        by: str,
        maximize: bool,
        width: int,
    ):
        self.space, self.by, self.maximize, self.width = space, by, maximize, width
        self.groups = space.groups()
        self.widths = [group_width(width, {}, group.rows.size) for group in self.groups]
        self.is_filled_up = False
        check = functools.partial(_check_outputs, by)
        self.programs = SegmentPrograms(segment, space, lengths[0], lengths[1:], check)
        self.states: dict[int, Leaves] = {}  # of a group: leaves [its lanes, ...]
        self.counts: dict[int, list[NDArray[Any]]] = {}  # of the runs in a group's states
        self.alive: Index = np.arange(space.size)
        self.lengths: list[int] = []
        self.records: list[NDArray[Any]] = []
        self.rungs = np.zeros(space.size, np.int32)
        self.lanes = {
            name: missing_values(output, (space.size,)) for name, output in LANE_OUTPUTS.items()
        }

    def identity(self, devices: Sequence[Any], steps: int, keep: float, over: str) -> Identity:
        """Return all that the bits of all segments depend on.

        Rungs may be appended, so their lengths are not part of it: the program of a first segment
        and that of a later one stand for all of them, both at the length of the first. A segment
        may do something else at another length; `restore` compares those that have run.
        """
        rules = {"keep": keep, "by": self.by, "over": over, "maximize": self.maximize}
        traced, index_of = self.programs.traced, self.programs.program_index
        for number, label in enumerate(label_groups(self.groups)):
            later = traced[index_of(number, steps)]
            rules[f"later segments ({label})"] = later.fingerprint[:_DIGITS]
        first = [traced[index_of(number, None)] for number in range(len(self.groups))]
        options = {**default_options(devices), **rules}
        chosen = self.width, first, options, devices[0].platform
        keys = map(group_key, self.groups)
        widths = None if self.is_filled_up else dict(zip(keys, self.widths, strict=True))
        return sweep_identity(self.space, *chosen, widths)

    def fill_up(self) -> None:
        """Run small groups at the whole width, as a store of an earlier version began."""
        self.is_filled_up, self.widths = True, [self.width] * len(self.groups)

    def program_widths(self) -> list[int]:
        """Return the width of each program."""
        return [self.widths[number] for number in self.programs.groups]

    def run(self, runner: ChunkRunner, steps: int) -> None:
        """Run one segment of all lanes that are alive.

        Raises:
          RuntimeError: A program stands still.
        """
        mine = [group.rows.find(self.alive) for group in self.groups]
        positions = {n: position[position >= 0] for n, position in enumerate(mine)}
        done = self._compute(runner, steps, positions)
        record = np.full(self.space.size, np.nan)
        for number, position in positions.items():
            parts = [done[task] for task in sorted(done) if task.number == number]
            if parts:
                names = [name for name in parts[0] if name != STEP]
                arrays = {n: np.concatenate([p[n] for p in parts])[: len(position)] for n in names}
                outputs, leaves, self.counts[number] = split_results(arrays)
                self._keep_states(number, position, leaves)
                lanes = self.groups[number].rows.at(position)
                record[lanes] = outputs[self.by].reshape(len(lanes), -1)[:, -1]
                self._record_status(lanes, outputs)
        self.rungs[self.alive] += 1
        self.records.append(record)
        self.lengths.append(steps)

    def select(self, keep: float, over: str) -> None:
        """Leave the better share of the lanes, whole cells at a time, and none that diverged."""
        record = -self.records[-1] if self.maximize else self.records[-1]
        is_good = np.isfinite(record) & (self.lanes["status"] != DIVERGED)
        values = np.where(is_good, record, np.inf)[self.alive]
        self.alive = _select_survivors(self.space, self.alive, values, keep, over)

    def snapshot(self) -> Arrays:
        """Return all that the next segment needs, and the result so far."""
        arrays = {"alive": self.alive, "rungs": self.rungs, "records": np.stack(self.records)}
        arrays["lengths"] = np.array(self.lengths)
        arrays["programs"] = np.array(self._fingerprints(self.lengths))
        arrays |= {f"lanes.{name}": array for name, array in self.lanes.items()}
        for kind, groups in (("states", self.states), ("counts", self.counts)):
            for number, leaves in groups.items():
                arrays |= {f"{kind}.{number}.{i}": leaf for i, leaf in enumerate(leaves)}
        return arrays

    def restore(self, done: int, arrays: Arrays, lengths: Sequence[int]) -> None:
        """Restore the state of a snapshot, after which segments of these lengths are to follow."""
        if not done:
            return
        self.lengths = arrays["lengths"].tolist()
        if self.lengths != list(lengths[:done]):
            raise ValueError(
                f"the store has segments of {self.lengths} updates, and rungs={list(lengths)} "
                "does not go on from there; begin with the same rungs, or choose another store."
            )
        programs = self._fingerprints(self.lengths)
        stored = arrays.get("programs", programs)  # older stores do not have them
        for number, (was, now) in enumerate(zip(stored, programs, strict=True), 1):
            if was != now:
                raise ValueError(
                    f"segment {number}, of {self.lengths[number - 1]} updates, would not compute "
                    "what the store has of it: at this length the function has changed; give the "
                    "function that made the store, or choose another store."
                )
        self.alive, self.rungs = arrays["alive"], arrays["rungs"]
        self.records = [*arrays["records"]]
        self.lanes = {name: arrays[f"lanes.{name}"] for name in self.lanes}
        for number, _ in enumerate(self.groups):  # all have run, so a state may be empty, not None
            self.states[number] = numbered(arrays, f"states.{number}.")
            self.counts[number] = numbered(arrays, f"counts.{number}.")

    def _fingerprints(self, lengths: Sequence[int]) -> list[str]:
        """Return the fingerprint of each segment from the first on, of all groups together."""
        indices = [
            [
                self.programs.program_index(group, steps if number else None)
                for group, _ in enumerate(self.groups)
            ]
            for number, steps in enumerate(lengths)
        ]
        traced = self.programs.traced
        return [" ".join(traced[i].fingerprint[:_DIGITS] for i in some) for some in indices]

    def result(self) -> "xarray.Dataset":
        """Return the records with their names."""
        count = len(self.lengths)
        outputs = dict(LANE_OUTPUTS)
        outputs[self.by] = Output((STEP,), (count,), "float64")
        outputs |= {"rungs": Output((), (), "int32"), "ended_at": Output((), (), "int64")}
        outputs[STEP] = Output((STEP,), (count,), "int64")
        updates = np.cumsum(self.lengths)
        arrays = self.lanes | {self.by: np.stack(self.records, axis=-1), "rungs": self.rungs}
        arrays["ended_at"] = updates[self.rungs - 1]

        def variable(layout: DatasetLayout, name: str) -> NDArray[Any]:
            return arrays[name].reshape(*layout.shape, *arrays[name].shape[1:])

        layout = DatasetLayout("", self.space.dims(), outputs, {})
        attrs = collect_provenance() | {"width": self.width}
        return label_dataset(layout, variable, lambda _: updates, attrs).set_coords("ended_at")

    def _compute(
        self, runner: ChunkRunner, steps: int, positions: Mapping[int, Index]
    ) -> dict[Task, Arrays]:
        """Return the results of a segment, by chunks of the lanes at some positions of groups."""

        def columns(task: Task) -> Arguments:
            position, width = positions[task.number], self.widths[task.number]
            rows = np.minimum(task.chunk * width + np.arange(width), len(position) - 1)
            group = self.groups[task.number]
            taken = self.space.take(group.rows.at(position[rows]))
            state = {}
            if task.number in self.states:
                state = {STATE: [leaf[position[rows]] for leaf in self.states[task.number]]}
            return {name: taken[name] for name in group.names} | state

        tasks = [
            Task(n, chunk, self.programs.program_index(n, steps if n in self.states else None))
            for n, position in positions.items()
            for chunk in range(ceil_div(len(position), self.widths[n]))
        ]
        done: dict[Task, Arrays] = {}
        jobs = run_tasks(runner, tasks, columns, lambda task: self.counts.get(task.number))
        with contextlib.closing(jobs) as outcomes:
            for task, outcome in outcomes:
                if isinstance(outcome, StalledError):
                    count = len(self.lengths)
                    where = f"in segment {count + 1}, after {count} that are done"
                    raise RuntimeError(describe_stall(where, outcome)) from None
                if isinstance(outcome, Exception):
                    raise outcome
                done[task] = outcome
        return done

    def _keep_states(self, number: int, position: Index, leaves: Leaves) -> None:
        """Keep the states of the lanes of a group that ran, for the next segment."""
        if number not in self.states:
            size = self.groups[number].rows.size
            self.states[number] = [np.zeros((size, *x.shape[1:]), x.dtype) for x in leaves]
        for whole, leaf in zip(self.states[number], leaves, strict=True):
            whole[position] = leaf

    def _record_status(self, mine: Index, arrays: Arrays) -> None:
        """Record the outcome of the lanes in a segment."""
        outcome = add_status(arrays)
        before = self.lanes["diverged_at"][mine]
        self.lanes["diverged_at"][mine] = np.where(before >= 0, before, outcome["diverged_at"])
        self.lanes["status"][mine] = np.maximum(self.lanes["status"][mine], outcome["status"])


def _check_outputs(by: str, outputs: Mapping[str, tuple[Any, int]]) -> None:
    """Refuse outputs by which lanes cannot be compared, and names that the halving uses."""
    named = {name: output for name, output in outputs.items() if name != STEP}
    taken = sorted(set(named) & set(MADE_BY_HALVING))
    if taken:
        raise ValueError(f"a halving itself makes {taken}; rename these outputs.")
    if not isinstance(by, str):
        raise ValueError(f"by is the name of an output, not {by!r}.")
    if by in LANE_OUTPUTS:
        raise ValueError(f"{by!r} is the outcome of a lane, which has no order; name another.")
    if by not in named:
        raise ValueError(f"there is no output {by!r}; the segment returns {list(named)}.")
    leaf, records = named[by]
    if jnp.ndim(leaf) > records:
        raise ValueError(
            f"the output {by!r} has several values for each lane, of shape "
            f"{jnp.shape(leaf)[records:]}; return one number that lanes are compared by."
        )
    if jnp.iscomplexobj(leaf):
        raise ValueError(
            f"the output {by!r} is complex, and complex numbers have no order; return its "
            "absolute value, and name that."
        )
    if DIVERGED_AT in named:
        check_divergence(jnp.result_type(named[DIVERGED_AT][0]))


def _select_survivors(
    space: Space, alive: Index, values: NDArray[Any], keep: float, over: str
) -> Index:
    """Return the better share of the lanes, whole cells at a time; values are inf for bad lanes."""
    if not len(alive):
        return alive
    names = [dim.name for dim in space.dims()]
    cells = alive
    if over in names:
        places = list(np.unravel_index(alive, space.shape))
        places[names.index(over)] = np.zeros_like(alive)
        cells = np.ravel_multi_index(places, space.shape)
    distinct, member = np.unique(cells, return_inverse=True)
    together = np.argsort(member, kind="stable")  # cells are whole, so all are of one size
    scores = np.median(values[together].reshape(len(distinct), -1), axis=1)
    order = np.argsort(scores, kind="stable")[: math.ceil(keep * len(distinct) * _BELOW_ONE)]
    chosen = order[np.isfinite(scores[order])]
    return alive[np.isin(member, chosen)]
