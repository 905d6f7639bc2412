"""Collectors of chunk results: the protocol of writers, and the one that keeps them in memory."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.identity import collect_provenance
from jaxmom.sweeps.compile.memory import available_memory
from jaxmom.sweeps.compile.program import Arrays, TracedGroup
from jaxmom.sweeps.results.checks import read_steps
from jaxmom.sweeps.results.dataset import (
    FAILED,
    DatasetLayout,
    assemble_dataset,
    dataset_layouts,
    missing_values,
)
from jaxmom.sweeps.space.index_maps import Index, IndexMap, ceil_div
from jaxmom.sweeps.space.space import Space


class LaneSet(NamedTuple):
    """Lanes of one group that are divided into chunks.

    Attributes:
      extension_index: The number of the manifest that lists them, 0 for the first.
      group_index: The number of their group in that manifest.
      group: The number of their group in this sweep.
      rows: The lanes.
      width: How many of them are in every chunk but the last.
    """

    extension_index: int
    group_index: int
    group: int
    rows: IndexMap
    width: int

    @property
    def chunks(self) -> int:
        """How many chunks the lanes are divided into."""
        return ceil_div(self.rows.size, self.width)

    def count(self, chunk: int) -> int:
        """Return how many lanes a chunk has."""
        return min(self.width, self.rows.size - chunk * self.width)

    def places(self, chunk: int) -> Index:
        """Return which of the lanes a chunk has."""
        return np.arange(chunk * self.width, chunk * self.width + self.count(chunk))


class ResultWriter(Protocol):
    """Takes the results of chunks.

    Attributes:
      lane_sets: The lanes to run; chunks are numbered within each.
    """

    lane_sets: list[LaneSet]

    @property
    def is_settled(self) -> bool:
        """Whether something is kept that fixes the width."""
        ...

    def begin(self) -> None:
        """Prepare for the first chunk."""
        ...

    def done(self) -> dict[tuple[int, int], int]:
        """Return the finished chunks (number of the lane set, index in it) with their lanes."""
        ...

    def is_left(self, number: int, chunk: int) -> bool:
        """Return whether a chunk that is not done is for this process to compute, as of now."""
        ...

    def count(self) -> int:
        """Return how many chunks would survive the end of the process now."""
        ...

    def write_chunk(self, number: int, chunk: int, arrays: Arrays) -> None:
        """Keep the lanes of a chunk.

        Args:
          number: The number of the lane set.
          chunk: The number of the chunk in its lane set.
          arrays: The outputs with their status, [lanes, ...].
        """
        ...

    def mark_failed(self, number: int, chunk: int, message: str) -> None:
        """Record that a chunk failed.

        Args:
          number: The number of the lane set.
          chunk: The number of the chunk in its lane set.
          message: What the error says.
        """
        ...

    def result(self, attrs: dict[str, Any]) -> Any:
        """Return the Dataset or DataTree of all chunks, with attributes of the run."""
        ...


class InMemoryResults:
    """A writer that holds the whole result in the memory of the host.

    Args:
      space: What is swept.
      traced: Its groups.
      widths: The width of each group.

    Raises:
      MemoryError: The result does not fit.
    """

    def __init__(self, space: Space, traced: Sequence[TracedGroup], widths: Sequence[int]):
        self.traced, groups = traced, [one.group for one in traced]
        self.lane_sets = [
            LaneSet(0, n, n, group.rows, width)
            for n, (group, width) in enumerate(zip(groups, widths, strict=True))
        ]
        self.layouts = dataset_layouts(space, groups, [one.outputs for one in traced])
        self.failed: dict[str, str] = {}
        self.steps: dict[str, NDArray[Any]] = {}
        needed, free = sum(map(_layout_bytes, self.layouts)), available_memory()
        if needed > free:
            raise MemoryError(
                f"the result needs {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free; give "
                "store=folder, and the result is read from there as it is used."
            )
        self.arrays = {
            layout.name: {
                name: missing_values(output, (math.prod(layout.shape),))
                for name, output in layout.outputs.items()
                if name != "step"
            }
            for layout in self.layouts
        }

    @property
    def is_settled(self) -> bool:
        """False: the width may change until the first chunk is done."""
        return False

    def begin(self) -> None:
        """Do nothing: what is in memory needs no preparation."""

    def done(self) -> dict[tuple[int, int], int]:
        """Return none: a sweep in memory starts empty."""
        return {}

    def is_left(self, number: int, chunk: int) -> bool:
        """Return True: no other process computes anything."""
        return True

    def count(self) -> int:
        """Return 0: nothing in memory survives the process."""
        return 0

    def write_chunk(self, number: int, chunk: int, arrays: Arrays) -> None:
        """Put the lanes in their places."""
        layout, places = self._places(number, chunk)
        arrays = dict(arrays)
        steps = arrays.pop("step", None)
        if steps is not None:
            known = self.steps.setdefault(layout.name, steps)
            if not np.array_equal(known, steps):
                raise ValueError(
                    "two groups have the same number of records at different steps, which have no "
                    "common coordinate; use separate sweeps, or return a dict of arrays."
                )
        for name, array in arrays.items():
            self.arrays[layout.name][name][places] = array

    def mark_failed(self, number: int, chunk: int, message: str) -> None:
        """Give the lanes of a chunk the status "failed"."""
        layout, places = self._places(number, chunk)
        self.arrays[layout.name]["status"][places] = FAILED
        self.failed[f"{number}-{chunk}"] = message

    def result(self, attrs: dict[str, Any]) -> Any:
        """Return the Dataset or DataTree."""

        def variable(layout: DatasetLayout, name: str) -> NDArray[Any]:
            array = self.arrays[layout.name][name]
            return array.reshape(*layout.shape, *array.shape[1:])

        def steps(layout: DatasetLayout) -> NDArray[Any]:
            if layout.name in self.steps:
                return self.steps[layout.name]
            known = read_steps(self.traced[min(layout.members)])  # no chunk came to its end
            return np.full(layout.outputs["step"].shape, np.nan) if known is None else known

        failures = {"failed": self.failed} if self.failed else {}
        return assemble_dataset(
            self.layouts, variable, steps, attrs | collect_provenance() | failures
        )

    def _places(self, number: int, chunk: int) -> tuple[DatasetLayout, Any]:
        """Return the layout that has the lanes of a chunk, and where in its arrays they are."""
        layout = next(layout for layout in self.layouts if number in layout.members)
        positions = self.lane_sets[number].places(chunk)
        return layout, layout.members[number].at(positions)


def _layout_bytes(layout: DatasetLayout) -> int:
    """Return the memory that the arrays of a layout need, all lanes together."""
    lanes = math.prod(layout.shape)
    sizes = (np.dtype(o.dtype).itemsize * math.prod(o.shape) for o in layout.outputs.values())
    return lanes * sum(sizes)
