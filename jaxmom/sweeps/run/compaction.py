"""The lanes of a sweep in segments: those that diverge leave, and others take their places.

A lane has the same bits whatever its neighbors, so that any lanes of a group that have run as many
segments may run the next one together. Chunks, by which results are stored, are those of any sweep;
which lanes share a program is decided here, as they come.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.program import Arguments, Arrays
from jaxmom.sweeps.results.dataset import DIVERGED, add_status
from jaxmom.sweeps.run.dispatch import Outcome, fill_up, run_tasks
from jaxmom.sweeps.run.runners import ChunkRunner, Task
from jaxmom.sweeps.run.segmented import SegmentedSweep
from jaxmom.sweeps.run.segments import STATE, Leaves, numbered, split_results
from jaxmom.sweeps.space.index_maps import Index


class LaneStore(Protocol):
    """Keeps lanes that are between two segments, safe from the end of the process."""

    def load(self, task: Task) -> Arrays | None:
        """Return what was saved of the lanes of a chunk, or None."""
        ...

    def save(self, task: Task, arrays: Arrays) -> None:
        """Keep the lanes of a chunk as they are now."""
        ...

    def remove(self, task: Task) -> None:
        """Forget the lanes of a chunk, which is done."""
        ...


def run_segments(
    sweep: SegmentedSweep,
    runner: ChunkRunner,
    widths: Sequence[int],
    tasks: Iterable[Task],
    columns: Callable[[Task], Arguments],
    saved: LaneStore | None = None,
) -> Generator[Outcome]:
    """Run the chunks of a sweep in segments, and yield each once its last lane has ended.

    After a segment, lanes that diverged leave. The others wait until there are enough of them, of
    whatever chunks, to fill a program; so what is computed is what lanes need, and a chunk more for
    each segment. Lanes that are further along go first, so that few chunks are open at a time.

    Args:
      sweep: The segments.
      runner: What runs its programs.
      widths: Of each lane set: how many lanes a program takes.
      tasks: The chunks.
      columns: The arguments of the lanes of a chunk, [lanes, ...].
      saved: Where lanes are safe between two segments; None for nowhere.

    Yields:
      Pairs of a chunk and its results, or the error of a segment of one of its lanes.
    """
    scheduler = _Scheduler(sweep, widths, iter(tasks), columns, saved)
    batches = run_tasks(runner, scheduler.batches(), scheduler.batch_columns, scheduler.batch_data)
    with contextlib.closing(batches) as outcomes:
        for batch, outcome in outcomes:
            for task, result in scheduler.finish(batch, outcome):
                yield task, result
                if saved is not None and not isinstance(result, Exception):
                    saved.remove(task)


class _Chunk:
    """A chunk of which some lanes have not ended.

    Args:
      sweep: The segments.
      task: The chunk.
      columns: The arguments of its lanes.

    Attributes:
      failed: Whether a segment of one of its lanes has failed, so that none goes on.
      ended: How many segments each lane has run.
      is_over: Whether it runs no more.
      leaves: The leaves of its states.
      pieces: The outputs of each segment; None where no lane has run it.
    """

    def __init__(self, sweep: SegmentedSweep, task: Task, columns: Arguments):
        self.sweep, self.task, self.columns, self.failed = sweep, task, columns, False
        lanes = len(jax.tree.leaves(columns)[0]) if columns else 1
        self.ended, self.is_over = np.zeros(lanes, np.int32), np.zeros(lanes, bool)
        self.leaves: Leaves | None = None
        self.pieces: list[Arrays | None] = [None] * len(sweep.lengths)

    def keep(self, level: int, rows: Index, outputs: Arrays, leaves: Leaves) -> Index:
        """Keep what a segment has computed of some lanes, and return those that go on.

        Args:
          level: The number of the segment, from 0.
          rows: The lanes.
          outputs: By name, [rows, ...].
          leaves: Of their states.
        """
        lanes = len(self.ended)
        piece = self.pieces[level] or self.sweep.missing(self.task.group, level, lanes)
        for name, array in piece.items():
            array[rows] = outputs[name]
        self.pieces[level] = piece
        self.leaves = self.leaves or [np.zeros((lanes, *x.shape[1:]), x.dtype) for x in leaves]
        for whole, leaf in zip(self.leaves, leaves, strict=True):
            whole[rows] = leaf
        self.ended[rows] = level + 1
        has_diverged = add_status(outputs)["status"] == DIVERGED
        self.is_over[rows] = has_diverged | (level + 1 == len(self.pieces))
        return rows[~self.is_over[rows]]

    def join(self) -> Arrays:
        """Return the outputs of its lanes, as a program of whole runs returns them."""
        group, lanes = self.task.group, len(self.ended)
        pieces = [
            self.sweep.missing(group, level, lanes) if piece is None else piece
            for level, piece in enumerate(self.pieces)
        ]
        return self.sweep.join(group, pieces, self.ended)

    def snapshot(self) -> Arrays:
        """Return its lanes as arrays, for `restore`."""
        arrays: Arrays = {"ended": self.ended, "is_over": self.is_over}
        arrays |= {f"leaves{i}": leaf for i, leaf in enumerate(self.leaves or [])}
        for level, piece in enumerate(self.pieces):
            arrays |= {f"outputs{level}.{name}": array for name, array in (piece or {}).items()}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Take its lanes from a snapshot, of this sweep and this chunk."""
        self.ended, self.is_over = arrays["ended"], arrays["is_over"]
        self.leaves = numbered(arrays, "leaves")
        for level in range(self.ended.max(initial=0)):
            prefix = f"outputs{level}."
            names = [name for name in arrays if name.startswith(prefix)]
            self.pieces[level] = {name.removeprefix(prefix): arrays[name] for name in names}


class _Lanes(NamedTuple):
    """Some lanes of a chunk."""

    chunk: _Chunk
    rows: Index


class _Stage(NamedTuple):
    """What lanes must share to run together.

    Attributes:
      group: Their group.
      width: How many lanes a program takes. A group that has grown has two, if lanes from before
        are left.
      level: How many segments they have run.
    """

    group: int
    width: int
    level: int


class _Batch(NamedTuple):
    """Lanes that run their next segment together, as many as a program takes."""

    stage: _Stage
    lanes: list[_Lanes]


class _Scheduler:
    """Chooses which lanes of open chunks run their next segment together.

    Args:
      sweep: The segments.
      widths: Of each lane set: how many lanes a program takes.
      tasks: The chunks, of which one is opened when no program can be filled otherwise.
      columns: The arguments of the lanes of a chunk.
      saved: Where lanes are safe between two segments.

    Attributes:
      waiting: Lanes that do not run, by stage.
      counts: The counts of the runs in the states, common to the lanes of a group and a level.
      running: The batches that have been started.
    """

    def __init__(
        self,
        sweep: SegmentedSweep,
        widths: Sequence[int],
        tasks: Iterator[Task],
        columns: Callable[[Task], Arguments],
        saved: LaneStore | None,
    ):
        self.sweep, self.widths, self.tasks = sweep, widths, tasks
        self.columns, self.saved = columns, saved
        self.waiting: dict[_Stage, list[_Lanes]] = {}
        self.counts: dict[tuple[int, int], list[NDArray[Any]]] = {}
        self.running: dict[Task, _Batch] = {}
        self.numbers = itertools.count()

    def batches(self) -> Iterator[Task | None]:
        """Yield the batches to run; None if the next one depends on those that run.

        A stage with enough lanes to fill a program is first, and the one of most segments among
        them; then a new chunk; then stages whose lanes nothing can join any more.
        """
        upcoming = next(self.tasks, None)
        while True:
            stage = self._find_full()
            if stage is None and upcoming is not None and not self._has_left(upcoming):
                self._open(upcoming)
                upcoming = next(self.tasks, None)
                continue
            stage = stage or self._find_last(upcoming)
            if stage is not None:
                yield self._make_batch(stage)
            elif self.running:
                yield None
            else:
                return

    def batch_columns(self, batch: Task) -> Arguments:
        """Return the arguments of the lanes of a batch; it is filled up with its last lane."""
        stage, lanes = self.running[batch]
        parts = []
        for chunk, rows in lanes:
            columns = chunk.columns | ({STATE: chunk.leaves} if stage.level else {})
            parts.append(jax.tree.map(lambda array, rows=rows: array[rows], columns))
        missing = stage.width - sum(len(rows) for _, rows in lanes)
        return jax.tree.map(lambda *arrays: fill_up(np.concatenate(arrays), missing), *parts)

    def batch_data(self, batch: Task) -> list[NDArray[Any]] | None:
        """Return the counts that the lanes of a batch share."""
        stage = self.running[batch].stage
        return self.counts[stage.group, stage.level] if stage.level else None

    def finish(self, batch: Task, outcome: Arrays | Exception) -> Iterator[Outcome]:
        """Keep the results of a batch, and yield the chunks whose last lanes were in it.

        Args:
          batch: From `batches`.
          outcome: Its results, or its error.
        """
        stage, lanes = self.running.pop(batch)
        group, _, level = stage
        if isinstance(outcome, Exception):
            yield from self._fail(lanes, outcome)
            return
        outputs, leaves, self.counts[group, level + 1] = split_results(outcome)
        outputs = {name: array for name, array in outputs.items() if name != "step"}
        start = 0
        for chunk, rows in lanes:
            here = slice(start, start + len(rows))
            start += len(rows)
            if chunk.failed:
                continue
            own = {name: array[here] for name, array in outputs.items()}
            left = chunk.keep(level, rows, own, [leaf[here] for leaf in leaves])
            if len(left):
                self._wait(stage._replace(level=level + 1), _Lanes(chunk, left))
            if chunk.is_over.all():
                yield chunk.task, chunk.join()
            elif self.saved is not None:
                self.saved.save(chunk.task, chunk.snapshot() | self._number_counts(group))

    def _fail(self, lanes: list[_Lanes], error: Exception) -> Iterator[Outcome]:
        """Yield the chunks of lanes that failed, of which no lane goes on."""
        for chunk, _ in lanes:
            if not chunk.failed:
                chunk.failed = True
                yield chunk.task, error
        for stage, waiting in self.waiting.items():
            self.waiting[stage] = [some for some in waiting if not some.chunk.failed]

    def _open(self, task: Task) -> None:
        """Let the lanes of a chunk wait for their next segments."""
        chunk = _Chunk(self.sweep, task, self.columns(task))
        before = None if self.saved is None else self.saved.load(task)
        if before is not None:
            chunk.restore(before)
            for level in range(1, len(self.sweep.lengths)):
                self.counts[task.group, level] = numbered(before, f"counts{level}.")
        for level in np.unique(chunk.ended[~chunk.is_over]).tolist():
            rows = np.flatnonzero((chunk.ended == level) & ~chunk.is_over)
            self._wait(_Stage(*self._program_of(task), level), _Lanes(chunk, rows))

    def _wait(self, stage: _Stage, lanes: _Lanes) -> None:
        self.waiting.setdefault(stage, []).append(lanes)

    def _program_of(self, task: Task) -> tuple[int, int]:
        """Return the group and the width of a chunk."""
        return task.group, self.widths[task.number]

    def _number_counts(self, group: int) -> Arrays:
        """Return the counts of a group as arrays of a snapshot."""
        levels = {level: counts for (own, level), counts in self.counts.items() if own == group}
        return {f"counts{n}.{i}": c for n, some in levels.items() for i, c in enumerate(some)}

    def _count(self, stage: _Stage) -> int:
        """Return how many lanes of a stage wait."""
        return sum(len(rows) for _, rows in self.waiting.get(stage, ()))

    def _find_full(self) -> _Stage | None:
        """Return the stage of most segments of which enough lanes wait to fill a program."""
        full = [stage for stage in self.waiting if self._count(stage) >= stage.width]
        return max(full, key=lambda stage: stage.level, default=None)

    def _has_left(self, upcoming: Task) -> bool:
        """Return whether lanes of other programs wait, to which no more will come."""
        program = self._program_of(upcoming)
        return any(stage[:2] != program and self._count(stage) for stage in self.waiting)

    def _find_last(self, upcoming: Task | None) -> _Stage | None:
        """Return a stage whose lanes no others can join, the one of fewest segments first."""
        running = [batch.stage for batch in self.running.values()]
        present = [stage for stage in self.waiting if self._count(stage)]
        for stage in sorted(present):
            program = stage[:2]
            if upcoming is not None and program == self._program_of(upcoming):
                continue
            if not any(p[:2] == program and p.level < stage.level for p in (*running, *present)):
                return stage
        return None

    def _make_batch(self, stage: _Stage) -> Task:
        """Take lanes that wait, as many as a program has room for."""
        lanes, room, waiting = [], stage.width, self.waiting[stage]
        while waiting and room:
            chunk, rows = waiting.pop(0)
            if len(rows) > room:
                waiting.insert(0, _Lanes(chunk, rows[room:]))
            lanes.append(_Lanes(chunk, rows[:room]))
            room -= len(rows[:room])
        program = self.sweep.program_index(stage.group, stage.level)
        task = Task(next(self.numbers), stage.level, program)
        self.running[task] = _Batch(stage, lanes)
        return task
