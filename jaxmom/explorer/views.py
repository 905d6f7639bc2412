"""What the explorer shows of cells: selections, maps, histograms and the best ones."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.explorer.axes import Axis
from jaxmom.explorer.cells import OUTCOMES, Cells
from jaxmom.plot._shared import status

VALUE_BINS = 60
_NO_VALUE = (status.DIVERGED, status.FAILED, status.MISSING)


class Selection(NamedTuple):
    """Which cells are selected: those that satisfy all conditions.

    Attributes:
      bins: Axis -> its first and last selected bin.
      values: The lowest and the highest value, or None for all, also those without a value.
      best: The share of the cells that is selected, the best ones, or None for all.
    """

    bins: Mapping[str, tuple[int, int]] = {}
    values: tuple[float, float] | None = None
    best: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no condition."""
        return not self.bins and self.values is None and self.best is None


class MapView(NamedTuple):
    """Cells over two axes; a bin of the map shows the best of its cells.

    Attributes:
      best: [rows, columns] the best value, NaN where no cell has one.
      cell: [rows, columns] the number of the best cell, of any cell where none has a value, or -1.
      outcome: [rows, columns] that of the best cell, or of one without a value; -1 for no cell.
      counts: [outcomes, rows, columns] the number of cells by outcome.
    """

    best: NDArray[np.float64]
    cell: NDArray[np.intp]
    outcome: NDArray[np.int8]
    counts: NDArray[np.intp]

    @property
    def share_ok(self) -> NDArray[np.float64]:
        """[rows, columns] the share of cells that ended well in all their lanes, NaN for none."""
        total = self.counts.sum(axis=0)
        return np.where(total > 0, self.counts[status.OK] / np.maximum(total, 1), np.nan)


def spread_bins(cells: Cells, axis: Axis) -> NDArray[np.intp]:
    """Return the bin of each cell along an axis, broadcastable to the shape of the cells."""
    shape = [1] * len(cells.dims)
    shape[cells.dims.index(axis.dim)] = -1
    return axis.bins.reshape(shape)


def hold(cells: Cells, held: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return which cells [cells] are in the given bin of each axis of `held`."""
    return _within_bins(cells, {name: (number, number) for name, number in held.items()})


def select(cells: Cells, selection: Selection, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which cells [cells] are selected, among some.

    Of equal values at the threshold of the best share, all are selected.
    """
    mask = among & _within_bins(cells, selection.bins)
    if selection.values is not None:
        low, high = selection.values
        mask &= (cells.value >= low) & (cells.value <= high) & np.isfinite(cells.value)
    if selection.best is not None:
        scores = cells.score[among & np.isfinite(cells.score)]
        count = max(1, round(selection.best * len(scores)))
        limit = np.partition(scores, count - 1)[count - 1] if len(scores) else -np.inf
        mask &= cells.score <= limit
    return mask


def _within_bins(cells: Cells, bins: Mapping[str, tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which cells [cells] are between two bins of each of some axes."""
    mask = np.ones(cells.shape, bool)
    for name, (low, high) in bins.items():
        of_cell = spread_bins(cells, cells.axes[name])
        mask &= (of_cell >= low) & (of_cell <= high)
    return mask.ravel()


def pair_bins(cells: Cells, x: str, y: str) -> NDArray[np.intp]:
    """Return the bin of each cell [cells] on a map, rows of y after each other; "" for one row."""
    columns, rows = cells.axes[x], cells.axes.get(y)
    flat = spread_bins(cells, columns)
    if rows is not None:
        flat = flat + columns.size * spread_bins(cells, rows)
    return np.broadcast_to(flat, cells.shape).ravel()


def map_shape(cells: Cells, x: str, y: str) -> tuple[int, int]:
    """Return the numbers of rows and of columns of a map."""
    return (cells.axes[y].size if y else 1), cells.axes[x].size


def view_map(
    cells: Cells, places: NDArray[np.intp], shape: tuple[int, int], mask: NDArray[np.bool_]
) -> MapView:
    """Return the best value, the best cell and the outcomes in each bin of a map.

    Args:
      cells: All cells.
      places: From `pair_bins`.
      shape: From `map_shape`.
      mask: [cells] The cells to show.
    """
    chosen = np.flatnonzero(mask)
    size, at, score = shape[0] * shape[1], places[chosen], cells.score[chosen]
    least = np.full(size, np.inf)
    np.minimum.at(least, at, score)
    is_best = np.flatnonzero(score == least[at])[::-1]  # of equal cells the first is written last
    cell = np.full(size, -1, np.intp)
    cell[at[is_best]] = chosen[is_best]
    counts = np.bincount(
        cells.outcome[chosen].astype(np.intp) * size + at, minlength=len(OUTCOMES) * size
    )
    counts = counts.reshape(-1, size)
    has_value = np.isfinite(least)
    absent = np.select([counts[code] > 0 for code in _NO_VALUE], _NO_VALUE, -1)
    outcome = np.where(has_value, cells.outcome[cell], absent).astype(np.int8)
    best = np.where(has_value, cells.value[cell], np.nan)
    return MapView(
        best.reshape(shape), cell.reshape(shape), outcome.reshape(shape), counts.reshape(-1, *shape)
    )


def count_along(cells: Cells, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    """Return the number of cells of the mask [cells] in each bin of each axis."""
    table = mask.reshape(cells.shape)
    along = {}
    for number, dim in enumerate(cells.dims):
        others = tuple(other for other in range(len(cells.dims)) if other != number)
        along[dim] = np.count_nonzero(table, axis=others) if others else table.astype(int)
    return {
        name: np.bincount(axis.bins, along[axis.dim], axis.size).astype(np.intp)
        for name, axis in cells.axes.items()
    }


class ValueBins(NamedTuple):
    """The bins of a histogram of values.

    Attributes:
      edges: [bins + 1] their edges, as exponents of 10 if `is_log`.
      bins: [cells] the bin of each cell, -1 of one that has no value.
      is_log: Whether they are even in the logarithm.
    """

    edges: NDArray[np.float64]
    bins: NDArray[np.intp]
    is_log: bool


def bin_values(cells: Cells) -> ValueBins:
    """Divide the range of the values into bins.

    They are even in the logarithm if all values are positive and span a decade, and outer bins hold
    what is beyond the middle 99.8 % of the values, so that single values do not flatten the rest.
    """
    there = np.isfinite(cells.value)
    found = cells.value[there]
    if not len(found):
        return ValueBins(np.linspace(0, 1, VALUE_BINS + 1), np.full(cells.size, -1), False)
    is_log = bool(found.min() > 0 and found.max() > 10 * found.min())
    places = np.log10(found) if is_log else found
    low, high = np.quantile(places, [0.001, 0.999])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    share = (places - low) / (high - low) * VALUE_BINS
    bins = np.full(cells.size, -1, np.intp)
    bins[there] = np.clip(share, 0, VALUE_BINS - 1).astype(np.intp)
    return ValueBins(np.linspace(low, high, VALUE_BINS + 1), bins, is_log)


def count_values(value_bins: ValueBins, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of cells of the mask [cells] in each bin of values."""
    return np.bincount(value_bins.bins[mask] + 1, minlength=VALUE_BINS + 1)[1:]


def best_cells(cells: Cells, mask: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Return the numbers of the best cells of the mask [cells] that have a value, best first."""
    chosen = np.flatnonzero(mask & np.isfinite(cells.score))
    if len(chosen) > count:
        limit = np.partition(cells.score[chosen], count - 1)[count - 1]
        chosen = chosen[cells.score[chosen] <= limit]
    return chosen[np.argsort(cells.score[chosen], kind="stable")][:count]


def count_outcomes(cells: Cells, mask: NDArray[np.bool_]) -> dict[str, int]:
    """Return outcome -> number of cells of the mask [cells]."""
    counts = np.bincount(cells.outcome[mask], minlength=len(OUTCOMES))
    return dict(zip(OUTCOMES, counts.tolist(), strict=True))
