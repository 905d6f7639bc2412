"""Sweeps in segments: what a whole run returns, and the outputs of segments put together to it.

A run of all segments is traced as one function and never compiled. Its outputs are those of the
sweep, its fingerprint is that of the store, and its records say which of those of the segments to
keep: each segment begins with the record at which the one before has ended.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.outputs import STEP, Output, PyTree, name_outputs
from jaxmom.sweeps.compile.program import Arrays, TracedGroup, trace_group
from jaxmom.sweeps.results.checks import DIVERGED_AT, check_result, read_steps
from jaxmom.sweeps.results.dataset import missing_values
from jaxmom.sweeps.run.lane_states import pack_state, read_format
from jaxmom.sweeps.run.segments import SegmentFn, SegmentPrograms, call_segment, check_axes
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.space import Space, check_space

ENDED_AT = "ended_at"  # the output that says how many updates a lane ran


class SegmentedSweep:
    """A function that continues lanes, as the function of a sweep that runs them whole.

    Args:
      segment: ``segment(state, steps, **axes) -> (state, outputs)``, as for `jaxmom.halving`.
      lengths: How many updates each segment makes.
      space: What is swept.

    Attributes:
      whole: For each group, a run of all segments: its outputs, their steps, its fingerprint.
      programs: The programs of the segments.

    Raises:
      TypeError: The segment does not return a state and outputs.
      ValueError: The state changes its shapes or dtypes, segments have different outputs, or the
        steps of their records do not go on.
    """

    def __init__(self, segment: SegmentFn, lengths: Sequence[int], space: Space):
        check_space(space)
        check_axes(segment, space, [ENDED_AT])
        self.lengths = list(lengths)
        self.programs = SegmentPrograms(segment, space, lengths[0], lengths[1:])
        self.whole, self.records = [], list[_Records]()
        for group in space.groups():
            taken = space.take(group.rows.at(np.zeros(1, np.int64)))
            sample = {name: taken[name] for name in group.names}
            repeated = trace_group(_WholeRun(segment, self.lengths), group, sample)
            records = _find_records(repeated)
            run = _WholeRun(segment, self.lengths, records.first)
            self.records.append(records)
            self.whole.append(trace_group(run, group, sample))
        check_result(space, self.whole)
        self.steps = [read_steps(one) if STEP in one.outputs else None for one in self.whole]

    def program_index(self, group: int, level: int) -> int:
        """Return the index of the program of a segment.

        Args:
          group: The number of the group of its lanes.
          level: How many segments they have run before.
        """
        return self.programs.program_index(group, self.lengths[level] if level else None)

    def missing(self, group: int, level: int, lanes: int) -> Arrays:
        """Return the outputs of a segment that no lane has run.

        Args:
          group: The number of the group.
          level: The number of the segment, from 0.
          lanes: How many lanes there are.

        Returns:
          By name [lanes, ...], NaN or 0.
        """
        outputs = self.programs.traced[self.program_index(group, level)].outputs
        kept = {n: o for n, o in outputs.items() if n in self.whole[group].outputs and n != STEP}
        return {name: _missing(name, output, lanes) for name, output in kept.items()}

    def join(self, group: int, pieces: Sequence[Arrays], ended: NDArray[np.int32]) -> Arrays:
        """Return the outputs of whole runs.

        Args:
          group: The number of the group.
          pieces: The outputs of each segment, [lanes, ...]; missing where a lane did not run.
          ended: How many segments each lane ran.

        Returns:
          The outputs by name. Records go on from segment to segment; of other outputs the value is
          that of the last segment that the lane ran.
        """
        arrays: Arrays = {}
        lanes = np.arange(len(ended))
        for name, output in self.whole[group].outputs.items():
            if name == STEP:
                arrays[name] = np.asarray(self.steps[group])
            elif name == ENDED_AT:
                arrays[name] = np.cumsum(self.lengths)[ended - 1].astype(output.dtype)
            elif name == DIVERGED_AT:
                arrays[name] = _first_divergence([piece[name] for piece in pieces])
            elif output.dims[:1] == (STEP,):
                arrays[name] = self._join_records(group, [piece[name] for piece in pieces], ended)
            else:
                arrays[name] = np.stack([piece[name] for piece in pieces])[ended - 1, lanes]
        return arrays

    def _join_records(
        self, group: int, pieces: Sequence[NDArray[Any]], ended: NDArray[np.int32]
    ) -> NDArray[Any]:
        """Return the records of all segments; those at which two meet are of the later one.

        There a program of a whole run computes within its loop what ends the loop of a segment, and
        only the program that goes on has the same last digits.
        """
        first, later = self.records[group]
        records = np.concatenate(pieces, axis=1)
        owner = np.repeat(np.arange(len(pieces)), [piece.shape[1] for piece in pieces])[later]
        has_run = ended[:, None] > owner
        has_run = has_run.reshape(has_run.shape + (1,) * (records.ndim - 2))
        return np.where(has_run, records[:, later], records[:, first])


class _Records(NamedTuple):
    """Which records of all segments to keep, one for each step.

    Attributes:
      first: Where a step is for the first time.
      later: Where it is for the last time, in the segment that begins with it.
    """

    first: Index
    later: Index


class _JoinedRun(NamedTuple):
    """The records of all segments, with the fields by which a sweep knows a run."""

    steps: Any
    history: dict[str, Any]
    diverged_at: Any


class _WholeRun(NamedTuple):
    """All segments of a lane one after another, as a function to trace and never to run.

    Attributes:
      segment: What the user wrote.
      lengths: How many updates each segment makes.
      records: Which records to keep of all; None for all of them.
    """

    segment: SegmentFn
    lengths: Sequence[int]
    records: Index | None = None

    def __call__(self, **axes: Any) -> PyTree:
        pieces: list[Mapping[str, tuple[Any, int]]] = []
        calls: dict[int | None, Any] = {}  # by length; each is traced once
        kinds: dict[int | None, dict[str, int]] = {}  # name -> axes of records
        state: tuple[Any, Any] | None = None
        formats = []

        def trace(steps: int, key: int | None) -> Any:
            def run(state: Any) -> Any:
                before = None if state is None else formats[0].unpack(*state)
                after, outputs = call_segment(self.segment, before, steps, axes)
                named = name_outputs(outputs)
                kinds[key] = {name: records for name, (_, records) in named.items()}
                formats.append(read_format(after))
                packed = pack_state(after)
                kept = {name: leaf for name, (leaf, _) in named.items()}
                return (packed.leaves, [count[0] for count in packed.counts]), kept

            return jax.jit(run)

        for number, steps in enumerate(self.lengths):
            key = steps if number else None
            if key not in calls:
                calls[key] = trace(steps, key)
            if state is not None:
                state = (state[0], [count[None] for count in state[1]])
            state, kept = calls[key](state)
            pieces.append({name: (leaf, kinds[key][name]) for name, leaf in kept.items()})
        return self._join(pieces)

    def _join(self, pieces: Sequence[Mapping[str, tuple[Any, int]]]) -> PyTree:
        """Return the outputs of all segments as those of one run.

        Args:
          pieces: The outputs of each segment by name, with their axes of records.

        Returns:
          A run and a dict if there are records, and else the dict.
        """
        _check_names(pieces)
        last = pieces[-1]
        joined = {name: [piece[name][0] for piece in pieces] for name in last}
        others: dict[str, Any] = {ENDED_AT: jnp.full((), sum(self.lengths), jnp.int32)}
        at = joined.pop(DIVERGED_AT, None)
        history = {name: self._records(joined[name]) for name, (_, axes) in last.items() if axes}
        others |= {n: x[-1] for n, x in joined.items() if n != STEP and n not in history}
        if at is not None:
            others[DIVERGED_AT] = at[-1]
        if STEP not in joined:
            return others
        run = _JoinedRun(self._records(joined[STEP]), history, others.pop(DIVERGED_AT))
        return run, others

    def _records(self, pieces: Sequence[Any]) -> Any:
        whole = jnp.concatenate(pieces)
        return whole if self.records is None else whole[self.records]


def _find_records(traced: TracedGroup) -> _Records:
    """Return which records of all segments to keep: not again the one at which a segment begins.

    Raises:
      ValueError: The steps of a segment do not follow those of the one before.
    """
    if STEP not in traced.outputs:
        return _Records(np.zeros(0, np.int64), np.zeros(0, np.int64))
    steps = read_steps(traced)
    if steps is None or (np.diff(steps) < 0).any():
        raise ValueError(
            "the records of a segment begin at an earlier step than those before it end, or at "
            "steps that are not known; let each segment go on with the run of the one before, as "
            "in jm.optimize(loss, run, ...), and return that run as the state."
        )
    first = np.flatnonzero(np.diff(steps, prepend=-1) > 0)
    return _Records(first, np.searchsorted(steps, steps[first], side="right") - 1)


def _check_names(pieces: Sequence[Mapping[str, Any]]) -> None:
    """Refuse segments that do not return the same outputs."""
    for number, piece in enumerate(pieces):
        if set(piece) != set(pieces[0]):
            raise ValueError(
                f"the first segment returns {sorted(pieces[0])}, and segment {number + 1} returns "
                f"{sorted(piece)}; return the same outputs each time."
            )
    if ENDED_AT in pieces[0]:
        raise ValueError(f"a sweep in segments itself makes {ENDED_AT!r}; rename this output.")


def _missing(name: str, output: Output, lanes: int) -> NDArray[Any]:
    """Return the values of an output where no lane has run: NaN, 0, or -1 if it is a divergence."""
    array = missing_values(output, (lanes,))
    if name == DIVERGED_AT:
        array[...] = -1
    return array


def _first_divergence(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the first update that is no -1 among the segments of each lane.

    Args:
      pieces: `diverged_at` after each segment [lanes], from the first update of the lane.
    """
    at = pieces[0]
    for piece in pieces[1:]:
        at = np.where(at >= 0, at, piece)
    return at
