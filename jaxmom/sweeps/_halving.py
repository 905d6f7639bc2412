"""Successive halving: run all lanes a little, the better ones more."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweeps.compile.autotune import default_options
from jaxmom.sweeps.compile.identity import Identity, collect_provenance, sweep_identity
from jaxmom.sweeps.compile.outputs import is_key, is_run
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    compile_group,
    trace_group,
)
from jaxmom.sweeps.results.dataset import (
    DIVERGED,
    LANE_OUTPUTS,
    DatasetLayout,
    Output,
    add_status,
    label_dataset,
    missing_values,
)
from jaxmom.sweeps.run.executors import LocalRunner, Task
from jaxmom.sweeps.space.components import Group
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.checkpoint import Checkpoint
from jaxmom.sweeps.store.files import Store

if TYPE_CHECKING:
    import xarray


def halving(
    segment: Callable[..., Any],
    space: Space,
    rungs: Sequence[int],
    keep: float = 0.5,
    *,
    by: str = "value",
    over: str = "seed",
    width: int,
    devices: Sequence[Any] | None = None,
    store: str | os.PathLike[str] | None = None,
) -> "xarray.Dataset":
    """Run lanes in segments, and after each one go on with the better part of them only.

    The survivors are packed into chunks of the same width, so that their bits are those of a run
    without any selection, and nothing is computed for the lanes that were dropped.

    Args:
      segment: ``segment(state, steps, **axes) -> (state, outputs)``: continue a lane by `steps`
        updates (a Python number). At first the state is None; later it is what was returned, any
        pytree of arrays (runs in it come without their history). Outputs are a dict of arrays or a
        Trajectory; a `diverged_at` in them counts from the first update of the lane, as that of a
        run that goes on does.
      space: As for `sweep`.
      rungs: The lengths of the segments, in updates.
      keep: The share of the lanes that goes on after each segment but the last, in (0, 1].
      by: The output to compare, small is good; of several records the last one.
      over: Lanes that differ in this dimension alone stay together and are compared by their
        median, if the space has it.
      width: As for `sweep`.
      devices: As for `sweep`.
      store: A folder where the lanes are safe after each segment; the same call goes on from the
        last one that is there. With ``keep=1`` this is a sweep that is saved within its lanes.

    Returns:
      A Dataset like that of `sweep`, with the output `by` along the dimension ``rung`` (NaN where a
      lane did not run), the coordinate ``step``, and ``rungs``, how many segments each lane ran.

    Raises:
      ValueError: keep is no such share, there are no rungs, or the store holds something else.

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
    if not 0 < keep <= 1 or not rungs:
        raise ValueError(f"keep is in (0, 1], with one rung at least; got {keep} and {rungs}.")
    race = _Race(segment, space, by, width, list(devices or jax.local_devices()))
    with contextlib.ExitStack() as stack:
        saved = None
        if store is not None:
            folder = Store(store)
            stack.enter_context(folder.locked())
            saved = Checkpoint(folder, race.identity(rungs, keep, over))
        done, arrays = saved.load() if saved else (0, {})
        if done:
            race.restore(arrays)
        for number, steps in enumerate(rungs[done:], done + 1):
            values = race.run(steps)
            if number < len(rungs):
                race.alive = _survivors(space, race.alive, values, keep, over)
            if saved:
                saved.save(number, race.snapshot())
    return race.result(np.cumsum(rungs))


class _Race:
    """The lanes that are still running, with their states on the host."""

    def __init__(
        self, segment: Callable[..., Any], space: Space, by: str, width: int, devices: list[Any]
    ):
        self.segment, self.space, self.by = segment, space, by
        self.width, self.devices = width, devices
        self.alive: Index = np.arange(space.size)
        self.states: dict[int, list[NDArray[Any]]] = {}  # of a group: leaves [its lanes, ...]
        self.counts: dict[int, tuple[NDArray[Any], ...]] = {}  # of the runs in a group's states
        self.unpack: dict[int, Callable[..., Any]] = {}  # of a group: leaves, counts -> state
        self.programs: dict[tuple[int, bool, int], list[Program]] = {}  # group, if first, length
        self.records: list[NDArray[Any]] = []
        self.rungs = np.zeros(space.size, np.int32)
        self.lanes = {
            name: missing_values(output, (space.size,)) for name, output in LANE_OUTPUTS.items()
        }

    def run(self, steps: int) -> NDArray[Any]:
        """One segment of all lanes that are alive; their values, +inf for those that diverged."""
        record = np.full(self.space.size, np.nan)
        for number, group in enumerate(self.space.groups()):
            position = group.rows.find(self.alive)
            mine = self.alive[position >= 0]
            if len(mine):
                arrays = self._run_group(number, group, mine, position[position >= 0], steps)
                last = arrays[self.by].reshape(len(mine), -1)[:, -1]
                record[mine] = last
                self._note(mine, arrays)
        self.rungs[self.alive] += 1
        self.records.append(record)
        fine = np.isfinite(record) & (self.lanes["status"] != DIVERGED)
        return np.where(fine, record, np.inf)[self.alive]

    def identity(self, rungs: Sequence[int], keep: float, over: str) -> Identity:
        """What the bits of all segments depend on, as far as the first one shows it."""
        lanes = []
        for number, group in enumerate(self.space.groups()):
            first = self.space.take(group.rows.at(np.zeros(1, np.int64)))
            sample = {name: first[name] for name in group.names}
            lanes.append(self._traced(number, group, rungs[0], sample))
        rules = {"rungs": list(rungs), "keep": keep, "by": self.by, "over": over}
        options = {**default_options(self.devices), **rules}
        return sweep_identity(self.space, self.width, lanes, options, self.devices[0].platform)

    def snapshot(self) -> Arrays:
        """All that the next segment needs, and the result so far."""
        arrays = {"alive": self.alive, "rungs": self.rungs, "records": np.stack(self.records)}
        arrays |= {f"lanes.{name}": array for name, array in self.lanes.items()}
        for kind, groups in (("states", self.states), ("counts", self.counts)):
            for number, leaves in groups.items():
                arrays |= {f"{kind}.{number}.{i}": leaf for i, leaf in enumerate(leaves)}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Be as at a snapshot."""
        self.alive, self.rungs, self.records = (
            arrays["alive"],
            arrays["rungs"],
            [*arrays["records"]],
        )
        self.lanes = {name: arrays[f"lanes.{name}"] for name in self.lanes}
        for number, _ in enumerate(self.space.groups()):
            self.states[number] = _numbered(arrays, f"states.{number}.")
            self.counts[number] = tuple(_numbered(arrays, f"counts.{number}."))

    def result(self, steps: NDArray[Any]) -> "xarray.Dataset":
        """The records with their names."""
        outputs = dict(LANE_OUTPUTS)
        outputs[self.by] = Output(("step",), (len(steps),), "float64")
        outputs |= {"rungs": Output((), (), "int32"), "step": Output(("step",), (), "int64")}
        arrays = self.lanes | {self.by: np.stack(self.records, axis=-1), "rungs": self.rungs}

        def variable(frame: DatasetLayout, name: str) -> NDArray[Any]:
            return arrays[name].reshape(*frame.shape, *arrays[name].shape[1:])

        frame = DatasetLayout("", self.space.dims(), outputs, {})
        told = collect_provenance() | {"width": self.width}
        return label_dataset(frame, variable, lambda _: steps, told)

    def _run_group(
        self, number: int, group: Group, mine: Index, position: Index, steps: int
    ) -> Arrays:
        """Chunks of some lanes of a group, each with its state."""
        first = number not in self.states
        leaves = [] if first else [leaf[position] for leaf in self.states[number]]

        def columns(chunk: int) -> Arguments:
            rows = np.minimum(chunk * self.width + np.arange(self.width), len(mine) - 1)
            taken = self.space.take(mine[rows])
            taken = {name: taken[name] for name in group.names}
            return taken if first else taken | {_STATE: [leaf[rows] for leaf in leaves]}

        programs = self._compiled(number, group, steps, columns)
        runner = LocalRunner([programs[0].group], self.width, self.devices, {}, programs)
        chunks, parts = -(-len(mine) // self.width), []
        for start in range(0, chunks, len(self.devices)):
            some = range(start, min(start + len(self.devices), chunks))
            handles = [runner.start(Task(0, chunk, 0), columns(chunk)) for chunk in some]
            parts += [handle.result() for handle in handles]
        arrays = {n: np.concatenate([p[n] for p in parts])[: len(mine)] for n in parts[0]}
        self._keep(number, group, position, arrays)
        return {n: array for n, array in arrays.items() if not n.startswith((_STATE, _COUNT))}

    def _compiled(
        self, number: int, group: Group, steps: int, columns: Callable[[int], Arguments]
    ) -> list[Program]:
        """For each device, a group and a length; the counts are data that all lanes share."""
        first, counts = number not in self.states, self.counts.get(number, ())
        key = (number, first, steps)
        if key not in self.programs:
            sample = jax.tree.map(lambda leaf: leaf[:1], columns(0))
            lanes, options = (
                self._traced(number, group, steps, sample),
                default_options(self.devices),
            )
            self.programs[key] = compile_group(lanes, self.width, self.devices, options)
        return [
            dataclasses.replace(program, data=jax.device_put(counts, program.device))
            for program in self.programs[key]
        ]

    def _traced(self, number: int, group: Group, steps: int, sample: Arguments) -> TracedGroup:
        first, counts = number not in self.states, self.counts.get(number, ())

        def call(*counts: Any, **axes: Any) -> dict[str, Any]:
            carried = axes.pop(_STATE, ())
            state = None if first else self.unpack[number](carried, counts)
            state, outputs = self.segment(state, steps, **axes)
            leaves, now, self.unpack[number] = _packed(state)
            kept = outputs
            if is_run(outputs):
                kept = {**outputs.history, "diverged_at": outputs.diverged_at}
            states = {f"{_STATE}{i}": leaf for i, leaf in enumerate(leaves)}
            return {**kept, **states, **{f"{_COUNT}{i}": leaf for i, leaf in enumerate(now)}}

        names = group.names if first else (*group.names, _STATE)
        return trace_group(Partial(call, *counts), group._replace(names=names), sample)

    def _keep(self, number: int, group: Group, position: Index, arrays: Arrays) -> None:
        """The states of the lanes that ran, for the next segment."""
        carried, counts = _numbered(arrays, _STATE), _numbered(arrays, _COUNT)
        self.counts[number] = tuple(count[0] for count in counts)  # all lanes run equally long
        if number not in self.states:
            shapes = [(group.rows.size, *leaf.shape[1:]) for leaf in carried]
            zeros = [np.zeros(s, leaf.dtype) for s, leaf in zip(shapes, carried, strict=True)]
            self.states[number] = zeros
        for whole, leaf in zip(self.states[number], carried, strict=True):
            whole[position] = leaf

    def _note(self, mine: Index, arrays: Arrays) -> None:
        """What became of the lanes in this segment."""
        told = add_status(arrays)
        before = self.lanes["diverged_at"][mine]
        self.lanes["diverged_at"][mine] = np.where(before >= 0, before, told["diverged_at"])
        self.lanes["status"][mine] = np.maximum(self.lanes["status"][mine], told["status"])


_STATE, _COUNT = "_state", "_count"


def _numbered(arrays: Arrays, prefix: str) -> list[NDArray[Any]]:
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(count)]


def _packed(state: Any) -> tuple[list[Any], list[Any], Callable[..., Any]]:
    """The arrays of a state, the counts of the runs in it, and what makes a state of them again.

    A run goes on from its end, so its history stays behind. Its count is apart from the rest since
    all lanes share it: in a batch of counts, runs with a common key would not share their batches.
    """
    counts = []

    def end(node: Any) -> Any:
        if not is_run(node):
            return node
        counts.append(node.steps[..., -1:])
        return node._replace(steps=None, history={})

    leaves, tree = jax.tree.flatten(jax.tree.map(end, state, is_leaf=is_run))
    impls = [jax.random.key_impl(leaf) if is_key(leaf) else None for leaf in leaves]

    def unpack(arrays: Sequence[Any], counts: Sequence[Any]) -> Any:
        left, pairs = iter(counts), zip(arrays, impls, strict=True)
        leaves = [a if i is None else jax.random.wrap_key_data(a, impl=i) for a, i in pairs]
        return jax.tree.map(
            lambda node: node._replace(steps=next(left)) if is_run(node) else node,
            jax.tree.unflatten(tree, leaves),
            is_leaf=is_run,
        )

    arrays = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]
    return arrays, counts, unpack


def _survivors(space: Space, alive: Index, values: NDArray[Any], keep: float, over: str) -> Index:
    """The better share of the lanes, whole cells at a time; none that diverged."""
    names = [dim.name for dim in space.dims()]
    cells = alive
    if over in names:
        places = list(np.unravel_index(alive, space.shape))
        places[names.index(over)] = np.zeros_like(alive)
        cells = np.ravel_multi_index(places, space.shape)
    distinct, member = np.unique(cells, return_inverse=True)
    together = np.argsort(member, kind="stable")  # cells are whole, so all are of one size
    scores = np.median(values[together].reshape(len(distinct), -1), axis=1)
    order = np.argsort(scores, kind="stable")[: math.ceil(keep * len(distinct))]
    chosen = order[np.isfinite(scores[order])]
    return alive[np.isin(member, chosen)]
