"""Programs of lanes that run in segments: each continues a lane from its state.

A state comes to a program as arrays, one of its arguments, and leaves it as outputs. The first
segment begins without a state and is a program of its own; the later ones of the same length share
one. How many updates the runs in a state have made is common to all lanes, so that these counts are
not among the arguments of the lanes but data of the program.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweeps.compile.outputs import PyTree, name_outputs
from jaxmom.sweeps.compile.program import Arguments, Arrays, SweptFn, TracedGroup, trace_group
from jaxmom.sweeps.run.lane_states import StateFormat, describe_state, pack_state, read_format
from jaxmom.sweeps.space.groups import Group
from jaxmom.sweeps.space.index_maps import as_index
from jaxmom.sweeps.space.space import Space

# ``segment(state, steps, **axes) -> (state, outputs)``, see `jaxmom.halving`.
SegmentFn: TypeAlias = Callable[..., tuple[PyTree, PyTree]]
CheckFn: TypeAlias = Callable[[Mapping[str, tuple[Any, int]]], Any]  # of outputs by name

STATE = "_state"  # the argument with the leaves of a state; with a number, an output
_COUNT = "_count"  # with a number: an output that all lanes share
Leaves: TypeAlias = list[NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentCall:
    """A segment as a function to sweep: its state comes and goes as arrays.

    Attributes:
      segment: What the user wrote.
      steps: The updates to make.
      format: The format of the state before it; None for the first segment.
      check: Is called with the outputs while the segment is traced.
    """

    segment: SegmentFn
    steps: int
    format: StateFormat | None
    check: CheckFn

    def __call__(self, *counts: Any, **axes: Any) -> PyTree:
        """Run the segment.

        Args:
          counts: The counts of the runs in the state, which lanes share.
          axes: The arguments of a lane, with the leaves of its state after the first segment.

        Returns:
          The outputs with those that carry the state.
        """
        state = None
        if self.format is not None:
            state = self.format.unpack(axes.pop(STATE), counts)
        state, outputs = call_segment(self.segment, state, self.steps, axes)
        self.check(name_outputs(outputs))
        packed = pack_state(state)
        carried = {f"{STATE}{i}": leaf for i, leaf in enumerate(packed.leaves)}
        carried |= {f"{_COUNT}{i}": leaf for i, leaf in enumerate(packed.counts)}
        return _join_outputs(outputs, carried)


class SegmentPrograms:
    """The programs that the lanes of a space need: the first segment, and each length after it.

    They are traced here, so that nothing has run when an error comes to light.

    Args:
      segment: What the user wrote.
      space: The lanes.
      first: The updates of the first segment.
      later: Those of the others.
      check: Is called with the outputs of a segment while it is traced.

    Attributes:
      traced: The programs of all groups.
      functions: What each of them was traced from, to be sent to workers.
      groups: The number of the group of each.

    Raises:
      TypeError: The segment does not return a state and outputs.
      ValueError: The state changes its structure, shapes or dtypes.
    """

    def __init__(
        self,
        segment: SegmentFn,
        space: Space,
        first: int,
        later: Sequence[int],
        check: CheckFn = lambda named: None,
    ):
        self.traced: list[TracedGroup] = []
        self.functions: list[SweptFn] = []
        self.groups: list[int] = []
        self._indices: dict[tuple[int, int | None], int] = {}  # group, length after the first
        for number, group in enumerate(space.groups()):
            taken = space.take(group.rows.at(np.zeros(1, np.int64)))
            sample = {name: taken[name] for name in group.names}
            self._trace(number, None, SegmentCall(segment, first, None, check), group, sample)
            arguments = self.traced[-1].arguments
            state = _state_after(segment, first, group, arguments)
            for steps in dict.fromkeys(later):
                after = _state_after(segment, steps, group, arguments, state)
                _check_same_format(state, after)
                call = SegmentCall(segment, steps, read_format(state), check)
                self._trace(number, steps, call, group, sample, state)

    def program_index(self, group: int, steps: int | None) -> int:
        """Return the index of a program.

        Args:
          group: The number of the group.
          steps: The length of a segment after the first one; None for the first.
        """
        return self._indices[group, steps]

    def _trace(
        self,
        number: int,
        steps: int | None,
        call: SegmentCall,
        group: Group,
        sample: Arguments,
        state: PyTree = None,
    ) -> None:
        counts: list[Any] = []
        if steps is not None:
            packed = jax.eval_shape(pack_state, state)
            counts = [np.zeros(count.shape, count.dtype) for count in packed.counts]
            leaves = [np.zeros((1, *leaf.shape), leaf.dtype) for leaf in packed.leaves]
            group = group._replace(names=(*group.names, STATE))
            sample = sample | {STATE: leaves}
        function = Partial(call, *counts)
        self._indices[number, steps] = len(self.traced)
        self.functions.append(function)
        self.groups.append(number)
        self.traced.append(trace_group(function, group, sample))


def as_lengths(name: str, given: Any) -> list[int]:
    """Return the lengths of segments as Python numbers.

    Args:
      name: What they are called, for the message.
      given: What the user gave.

    Raises:
      ValueError: They are not positive integers in a list.

    Example:
      >>> as_lengths("segments", (100, 200))
      [100, 200]
    """
    try:
        is_list = not isinstance(given, Mapping | bytes)
        lengths = [as_index(length) for length in given] if is_list else []
    except TypeError:
        lengths = []
    if not lengths or min(lengths) < 1:
        raise ValueError(
            f"{name} are one positive number of updates at least, in a list such as "
            f"[100, 100, 200]; got {given!r}."
        )
    return lengths


def check_axes(segment: SegmentFn, space: Space, made: Sequence[str]) -> None:
    """Refuse axes that have the name of the state, of the steps, or of what is made beside.

    Args:
      segment: Its first two arguments are the state and the steps.
      space: With the axes.
      made: The names of what the result has beside the outputs.

    Raises:
      TypeError: The segment is not a function.
      ValueError: An axis has one of these names.
    """
    if not callable(segment):
        raise TypeError(f"a segment is a function (state, steps, **axes), not {segment!r}.")
    parameters = list(inspect.signature(segment).parameters.values())[:2]
    own = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    taken = sorted({*made, *own} & set(space.names))
    if taken:
        raise ValueError(
            f"the axes {taken} have names of the first two arguments of the segment, the state and "
            f"the steps, or of {list(made)}, which the result has too; rename them."
        )


def call_segment(
    segment: SegmentFn, state: PyTree, steps: int, axes: Arguments
) -> tuple[PyTree, PyTree]:
    """Return the state of a lane after a segment, and its outputs.

    Args:
      segment: What the user wrote.
      state: The state of the lane; None at first.
      steps: The updates to make.
      axes: The arguments of the lane.

    Raises:
      TypeError: The segment returned something else.
    """
    result = segment(state, steps, **axes)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise TypeError(
            f"the segment returned {type(result).__name__}; it returns two things, the state "
            'of the lane and its outputs, as in `return state, {"value": value}`.'
        )
    _check_state(result[0])
    return result[0], result[1]


def _check_state(state: PyTree) -> None:
    """Refuse a state with leaves that are not arrays."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        is_number = isinstance(leaf, bool | int | float | complex | jax.Array | np.generic)
        if not is_number and getattr(getattr(leaf, "dtype", None), "kind", "O") in "OSUMm":
            raise TypeError(
                f"the state of a lane is a pytree of arrays, and that of this segment has "
                f"{leaf!r} at state{jax.tree_util.keystr(path)}; leave out what is not an "
                "array, or let the segment make it anew."
            )


def split_results(arrays: Arrays) -> tuple[Arrays, Leaves, list[NDArray[Any]]]:
    """Return what a segment has computed as outputs, leaves of states, and counts.

    Args:
      arrays: The results of its program, [lanes, ...].

    Returns:
      The outputs by name, the leaves [lanes, ...] in the order of the state, and the counts [1].
    """
    leaves, counts = numbered(arrays, STATE), numbered(arrays, _COUNT)
    outputs = {n: array for n, array in arrays.items() if not n.startswith((STATE, _COUNT))}
    return outputs, leaves, [count[0] for count in counts]  # all lanes have made as many updates


def numbered(arrays: Arrays, prefix: str) -> list[NDArray[Any]]:
    """Return the arrays whose names are a prefix and a number, in their order.

    Example:
      >>> numbered({"leaf1": "b", "leaf0": "a", "other": "c"}, "leaf")
      ['a', 'b']
    """
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(count)]


def _join_outputs(outputs: PyTree, carried: Mapping[str, Any]) -> PyTree:
    """Return the outputs of a segment with those that carry its state."""
    if isinstance(outputs, Mapping):
        return {**outputs, **carried}
    if isinstance(outputs, tuple) and len(outputs) == 2 and isinstance(outputs[1], Mapping):
        return outputs[0], {**outputs[1], **carried}
    return outputs, dict(carried)


def _state_after(
    segment: SegmentFn, steps: int, group: Group, arguments: Arguments, state: PyTree = None
) -> PyTree:
    """Return the shapes and dtypes of the state after a segment."""

    def run(state: PyTree, arguments: Arguments) -> PyTree:
        before = state
        if state is not None:
            before = read_format(state).unpack(*pack_state(state))
        return call_segment(segment, before, steps, group.static | arguments)[0]

    return jax.eval_shape(run, state, arguments)


def _check_same_format(state: PyTree, later: PyTree) -> None:
    before, after = describe_state(state), describe_state(later)
    if before != after:
        raise ValueError(
            f"the state of a lane is {before} after the first segment and {after} after the next; "
            "return the same structure, shapes and dtypes each time, such as 0.0 in place of 0."
        )
