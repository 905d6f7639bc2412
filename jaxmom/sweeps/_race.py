"""The lanes of a halving: their states on the host, and the segments that they run."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweeps._lane_states import (
    StateFormat,
    describe_state,
    pack_state,
    read_format,
)
from jaxmom.sweeps.compile.autotune import default_options
from jaxmom.sweeps.compile.identity import Identity, collect_provenance, sweep_identity
from jaxmom.sweeps.compile.outputs import STEP, Output, PyTree, name_outputs
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    TracedGroup,
    compile_group,
    trace_group,
)
from jaxmom.sweeps.compile.watchdog import (
    Dispatcher,
    StalledError,
    describe_stall,
)
from jaxmom.sweeps.results.checks import DIVERGED_AT, check_divergence
from jaxmom.sweeps.results.dataset import (
    DIVERGED,
    LANE_OUTPUTS,
    DatasetLayout,
    add_status,
    label_dataset,
    missing_values,
)
from jaxmom.sweeps.run.runners import LocalRunner, Task
from jaxmom.sweeps.space.groups import Group, label_groups
from jaxmom.sweeps.space.index_maps import Index, ceil_div
from jaxmom.sweeps.space.space import Space

if TYPE_CHECKING:
    import xarray

# ``segment(state, steps, **axes) -> (state, outputs)``, see `halving`.
SegmentFn: TypeAlias = Callable[..., tuple[PyTree, PyTree]]

_STATE, _COUNT = "_state", "_count"  # with a number: names of outputs that carry a state
_DIGITS = 12  # of a fingerprint, as a diff of identities shows them
_BELOW_ONE = 1 - 1e-12  # 0.07 * 100 is above 7, and a share of 0.07 of 100 lanes is 7
MADE_BY_HALVING = ("rungs", "ended_at")  # beside what every sweep makes


class Race:
    """The lanes of a halving, with their states on the host.

    Attributes:
      alive: The lanes that still run.
      lengths: Of the segments that are done.
      records: The output to compare [lanes], after each of them.
    """

    def __init__(
        self,
        segment: SegmentFn,
        space: Space,
        by: str,
        maximize: bool,
        width: int,
        devices: list[Any],
        dispatcher: Dispatcher,
    ):
        self.segment, self.space, self.by, self.maximize = segment, space, by, maximize
        self.width, self.devices, self.dispatcher = width, devices, dispatcher
        self.groups = space.groups()
        self.formats: list[StateFormat] = []  # of the state of each group
        self.states: dict[int, list[NDArray[Any]]] = {}  # of a group: leaves [its lanes, ...]
        self.counts: dict[int, tuple[NDArray[Any], ...]] = {}  # of the runs in a group's states
        self.programs: dict[tuple[int, bool, int], list[Program]] = {}  # group, if first, length
        self.alive: Index = np.arange(space.size)
        self.lengths: list[int] = []
        self.records: list[NDArray[Any]] = []
        self.rungs = np.zeros(space.size, np.int32)
        self.lanes = {
            name: missing_values(output, (space.size,)) for name, output in LANE_OUTPUTS.items()
        }

    def check(self, lengths: Sequence[int]) -> list[TracedGroup]:
        """Trace the first two segments, so that nothing has run when an error comes to light."""
        first = []
        for number, group in enumerate(self.groups):
            taken = self.space.take(group.rows.at(np.zeros(1, np.int64)))
            sample = {name: taken[name] for name in group.names}
            traced = self._trace(number, group, lengths[0], sample)
            state = self._state_after(group, lengths[0], traced.arguments)
            self.formats.append(read_format(state))
            if len(lengths) > 1:
                later = self._state_after(group, lengths[1], traced.arguments, state)
                _check_same_format(state, later)
            first.append(traced)
        return first

    def identity(
        self, first: Sequence[TracedGroup], steps: int, keep: float, over: str
    ) -> Identity:
        """Return all that the bits of all segments depend on.

        Rungs may be appended, so their lengths are no part of it: the program of a first segment
        and that of a later one stand for all of them, both at the length of the first.
        """
        rules = {"keep": keep, "by": self.by, "over": over, "maximize": self.maximize}
        labels = label_groups(self.groups)
        for number, (label, traced) in enumerate(zip(labels, first, strict=True)):
            later = self._trace_continuation(number, traced, steps)
            rules[f"later segments ({label})"] = later.fingerprint[:_DIGITS]
        options = {**default_options(self.devices), **rules}
        return sweep_identity(self.space, self.width, first, options, self.devices[0].platform)

    def run(self, steps: int) -> None:
        """Run one segment of all lanes that are alive."""
        record = np.full(self.space.size, np.nan)
        for number, group in enumerate(self.groups):
            position = group.rows.find(self.alive)
            mine = self.alive[position >= 0]
            if len(mine):
                arrays = self._run_group(number, group, mine, position[position >= 0], steps)
                record[mine] = arrays[self.by].reshape(len(mine), -1)[:, -1]
                self._record_status(mine, arrays)
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
        self.alive, self.rungs = arrays["alive"], arrays["rungs"]
        self.records = [*arrays["records"]]
        self.lanes = {name: arrays[f"lanes.{name}"] for name in self.lanes}
        for number, _ in enumerate(self.groups):  # all have run, so a state may be empty, not None
            self.states[number] = _numbered(arrays, f"states.{number}.")
            self.counts[number] = tuple(_numbered(arrays, f"counts.{number}."))

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

    def _run_group(
        self, number: int, group: Group, mine: Index, position: Index, steps: int
    ) -> Arrays:
        """Run the chunks of some lanes of a group, each with its state."""
        is_first = number not in self.states
        leaves = [] if is_first else [leaf[position] for leaf in self.states[number]]

        def columns(chunk: int) -> Arguments:
            rows = np.minimum(chunk * self.width + np.arange(self.width), len(mine) - 1)
            taken = self.space.take(mine[rows])
            taken = {name: taken[name] for name in group.names}
            return taken if is_first else taken | {_STATE: [leaf[rows] for leaf in leaves]}

        programs = self._compile(number, group, steps, columns(0))
        runner = LocalRunner(
            [programs[0].group], self.width, self.devices, {}, self.dispatcher, programs
        )
        chunks, parts = ceil_div(len(mine), self.width), []
        try:
            for start in range(0, chunks, len(self.devices)):
                some = range(start, min(start + len(self.devices), chunks))
                handles = [runner.start(Task(0, chunk, 0), columns(chunk)) for chunk in some]
                parts += [handle.result() for handle in handles]
        except StalledError as error:
            segment = f"in segment {len(self.lengths) + 1}, after {len(self.lengths)} that are done"
            raise RuntimeError(describe_stall(segment, error)) from None
        arrays = {n: np.concatenate([p[n] for p in parts])[: len(mine)] for n in parts[0]}
        self._keep_states(number, group, position, arrays)
        return {n: array for n, array in arrays.items() if not n.startswith((_STATE, _COUNT))}

    def _compile(self, number: int, group: Group, steps: int, columns: Arguments) -> list[Program]:
        """Return the programs of a group and a length; the counts are data that lanes share."""
        key = (number, number not in self.states, steps)
        if key not in self.programs:
            sample = jax.tree.map(lambda leaf: leaf[:1], columns)
            counts = self.counts.get(number)
            traced = self._trace(number, group, steps, sample, counts)
            options = default_options(self.devices)
            self.programs[key] = compile_group(traced, self.width, self.devices, options)
        counts = self.counts.get(number, ())
        return [
            dataclasses.replace(program, data=jax.device_put(counts, program.device))
            for program in self.programs[key]
        ]

    def _trace(
        self,
        number: int,
        group: Group,
        steps: int,
        sample: Arguments,
        counts: Sequence[Any] | None = None,
    ) -> TracedGroup:
        """Trace a segment that takes and returns the state in its arguments and outputs.

        Args:
          number: Of the group.
          group: The lanes.
          steps: The length of the segment.
          sample: The arguments of some lanes, with the leaves of their states after the first one.
          counts: Of the runs in a state; None for the first segment.
        """

        def call(*counts: Any, **axes: Any) -> dict[str, Any]:
            state = None
            if _STATE in axes:
                state = self.formats[number].unpack(axes.pop(_STATE), counts)
            state, kept = self._call_segment(state, steps, axes)
            packed = pack_state(state)
            carried = {f"{_STATE}{i}": leaf for i, leaf in enumerate(packed.leaves)}
            carried |= {f"{_COUNT}{i}": leaf for i, leaf in enumerate(packed.counts)}
            return kept | carried

        names = group.names if counts is None else (*group.names, _STATE)
        bound = Partial(call, *(counts or ()))
        return trace_group(bound, group._replace(names=names), sample)

    def _trace_continuation(self, number: int, first: TracedGroup, steps: int) -> TracedGroup:
        """Trace a segment that follows a first one, before any has run."""
        group = self.groups[number]
        state = jax.eval_shape(pack_state, self._state_after(group, steps, first.arguments))
        leaves = [np.zeros((1, *leaf.shape), leaf.dtype) for leaf in state.leaves]
        counts = [np.zeros(count.shape, count.dtype) for count in state.counts]
        taken = self.space.take(group.rows.at(np.zeros(1, np.int64)))
        sample = {name: taken[name] for name in group.names} | {_STATE: leaves}
        return self._trace(number, group, steps, sample, counts)

    def _state_after(
        self, group: Group, steps: int, arguments: Arguments, state: PyTree = None
    ) -> PyTree:
        """Return the shapes and dtypes of the state after a segment."""

        def run(state: PyTree, arguments: Arguments) -> PyTree:
            before = state
            if state is not None:
                before = read_format(state).unpack(*pack_state(state))
            return self._call_segment(before, steps, group.static | arguments)[0]

        return jax.eval_shape(run, state, arguments)

    def _call_segment(self, state: PyTree, steps: int, axes: Arguments) -> tuple[PyTree, PyTree]:
        """Return the state after a segment of a lane and its outputs by name, once checked."""
        result = self.segment(state, steps, **axes)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(
                f"the segment returned {type(result).__name__}; it returns two things, the state "
                'of the lane and its outputs, as in `return state, {"value": value}`.'
            )
        named = name_outputs(result[1])
        named.pop(STEP, None)
        _check_outputs(named, self.by)
        return result[0], {name: leaf for name, (leaf, _) in named.items()}

    def _keep_states(self, number: int, group: Group, position: Index, arrays: Arrays) -> None:
        """Keep the states of the lanes that ran, for the next segment."""
        leaves, counts = _numbered(arrays, _STATE), _numbered(arrays, _COUNT)
        self.counts[number] = tuple(count[0] for count in counts)  # all lanes run equally long
        if number not in self.states:
            shapes = [(group.rows.size, *leaf.shape[1:]) for leaf in leaves]
            zeros = [np.zeros(s, leaf.dtype) for s, leaf in zip(shapes, leaves, strict=True)]
            self.states[number] = zeros
        for whole, leaf in zip(self.states[number], leaves, strict=True):
            whole[position] = leaf

    def _record_status(self, mine: Index, arrays: Arrays) -> None:
        """Record the outcome of the lanes in a segment."""
        outcome = add_status(arrays)
        before = self.lanes["diverged_at"][mine]
        self.lanes["diverged_at"][mine] = np.where(before >= 0, before, outcome["diverged_at"])
        self.lanes["status"][mine] = np.maximum(self.lanes["status"][mine], outcome["status"])


def _numbered(arrays: Arrays, prefix: str) -> list[NDArray[Any]]:
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(count)]


def _check_outputs(named: Mapping[str, tuple[Any, int]], by: str) -> None:
    """Refuse outputs by which lanes cannot be compared, and names that the halving uses."""
    taken = sorted(set(named) & set(MADE_BY_HALVING))
    if taken:
        raise ValueError(f"a halving itself makes {taken}; rename these outputs.")
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


def _check_same_format(state: PyTree, later: PyTree) -> None:
    before, after = describe_state(state), describe_state(later)
    if before != after:
        raise ValueError(
            f"the state of a lane is {before} after the first segment and {after} after the next; "
            "return the same structure, shapes and dtypes each time, such as 0.0 in place of 0."
        )


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
