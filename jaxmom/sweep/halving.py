"""Successive halving: run all lanes a little, the better ones more."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweep.factors import Group, Index
from jaxmom.sweep.identity import provenance
from jaxmom.sweep.program import Arguments, Arrays, trace
from jaxmom.sweep.result import DIVERGED, LANE_OUTPUTS, Frame, Output, missing, named, with_status
from jaxmom.sweep.runners import Local, Task
from jaxmom.sweep.space import Space

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
) -> "xarray.Dataset":
    """Run lanes in segments, and after each one go on with the better part of them only.

    The survivors are packed into chunks of the same width, so that their bits are those of a run
    without any selection, and nothing is computed for the lanes that were dropped.

    Args:
      segment: ``segment(state, steps, **axes) -> (state, outputs)``: continue a lane by `steps`
        updates (a Python number). At first the state is None; later it is what was returned, any
        pytree of arrays. Outputs are a dict of arrays or a Trajectory.
      space: As for `sweep`.
      rungs: The lengths of the segments, in updates.
      keep: The share of the lanes that goes on after each segment but the last, in (0, 1].
      by: The output to compare, small is good; of several records the last one.
      over: Lanes that differ in this dimension alone stay together and are compared by their
        median, if the space has it.
      width: As for `sweep`.
      devices: As for `sweep`.

    Returns:
      A Dataset like that of `sweep`, with the output `by` along the dimension ``rung`` (NaN where a
      lane did not run), the coordinate ``step``, and ``rungs``, how many segments each lane ran.

    Raises:
      ValueError: keep is no such share, or there are no rungs.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def descend(x, steps, learning_rate):
      ...     x = jnp.array(1.0) if x is None else x
      ...     for _ in range(steps):
      ...         x = x - learning_rate * 2 * x
      ...     return x, {"value": x**2}
      >>> space = jm.grid(learning_rate=[0.01, 0.1, 0.4, 3.0])
      >>> runs = jm.halving(descend, space, rungs=[2, 2, 2], keep=0.5, width=4)
      >>> runs.rungs.values.tolist()
      [1, 2, 3, 1]
    """
    if not 0 < keep <= 1 or not rungs:
        raise ValueError(f"keep is in (0, 1], with one rung at least; got {keep} and {rungs}.")
    race = _Race(segment, space, by, width, list(devices or jax.local_devices()))
    for number, steps in enumerate(rungs):
        values = race.run(steps)
        if number + 1 < len(rungs):
            race.alive = _survivors(space, race.alive, values, keep, over)
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
        self.trees: dict[int, Any] = {}
        self.runners: dict[tuple[int, bool, int], Local] = {}  # by group, whether first, and length
        self.records: list[NDArray[Any]] = []
        self.updates = 0
        self.rungs = np.zeros(space.size, np.int32)
        self.lanes = {name: missing(output, (space.size,)) for name, output in LANE_OUTPUTS.items()}

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
        self.updates += steps
        self.rungs[self.alive] += 1
        self.records.append(record)
        fine = np.isfinite(record) & (self.lanes["status"] != DIVERGED)
        return np.where(fine, record, np.inf)[self.alive]

    def result(self, steps: NDArray[Any]) -> "xarray.Dataset":
        """The records with their names."""
        outputs = dict(LANE_OUTPUTS)
        outputs[self.by] = Output(("step",), (len(steps),), "float64")
        outputs |= {"rungs": Output((), (), "int32"), "step": Output(("step",), (), "int64")}
        arrays = self.lanes | {self.by: np.stack(self.records, axis=-1), "rungs": self.rungs}

        def variable(frame: Frame, name: str) -> NDArray[Any]:
            return arrays[name].reshape(*frame.shape, *arrays[name].shape[1:])

        frame = Frame("", self.space.dims(), outputs, {})
        told = provenance() | {"width": self.width}
        return named(frame, variable, lambda _: steps, told)

    def _run_group(
        self, number: int, group: Group, mine: Index, position: Index, steps: int
    ) -> Arrays:
        """Chunks of some lanes of a group, each with its state."""
        first = number not in self.states
        leaves = [] if first else [leaf[position] for leaf in self.states[number]]

        def call(**axes: Any) -> dict[str, Any]:
            carried = axes.pop(_STATE, ())
            state = None if first else jax.tree.unflatten(self.trees[number], carried)
            state, outputs = self.segment(state, steps, **axes)
            carried, self.trees[number] = jax.tree.flatten(state)
            kept = getattr(outputs, "history", outputs)
            if hasattr(outputs, "diverged_at"):
                kept = {**kept, "diverged_at": outputs.diverged_at}
            return {**kept, **{f"{_STATE}{i}": leaf for i, leaf in enumerate(carried)}}

        def columns(chunk: int) -> Arguments:
            rows = np.minimum(chunk * self.width + np.arange(self.width), len(mine) - 1)
            taken = self.space.take(mine[rows])
            taken = {name: taken[name] for name in group.names}
            return taken if first else taken | {_STATE: [leaf[rows] for leaf in leaves]}

        key = (number, first, steps)
        if key not in self.runners:
            names = group.names if first else (*group.names, _STATE)
            sample = jax.tree.map(lambda leaf: leaf[:1], columns(0))
            lanes = trace(call, group._replace(names=names), sample)
            self.runners[key] = Local([lanes], self.width, self.devices, {})
        runner = self.runners[key]
        chunks, parts = -(-len(mine) // self.width), []
        for start in range(0, chunks, runner.together):
            some = tuple(range(start, min(start + runner.together, chunks)))
            parts += runner.start(Task(0, 0, some), columns).result()
        arrays = {n: np.concatenate([p[n] for p in parts])[: len(mine)] for n in parts[0]}
        carried = [arrays.pop(f"{_STATE}{i}") for i in range(self.trees[number].num_leaves)]
        if first:
            shapes = ((group.rows.size, *leaf.shape[1:]) for leaf in carried)
            zeros = (np.zeros(s, leaf.dtype) for s, leaf in zip(shapes, carried, strict=True))
            self.states[number] = list(zeros)
        for whole, leaf in zip(self.states[number], carried, strict=True):
            whole[position] = leaf
        return arrays

    def _note(self, mine: Index, arrays: Arrays) -> None:
        """What became of the lanes in this segment."""
        told = with_status(arrays)
        count = np.where(told["diverged_at"] >= 0, told["diverged_at"] + self.updates, -1)
        before = self.lanes["diverged_at"][mine]
        self.lanes["diverged_at"][mine] = np.where(before >= 0, before, count)
        self.lanes["status"][mine] = np.maximum(self.lanes["status"][mine], told["status"])


_STATE = "state"


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
