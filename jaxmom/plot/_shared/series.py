"""Values over seeds reduced to medians, bands and statuses; and the lines over one coordinate."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom._outcomes import quantile
from jaxmom.plot._shared import labels, status
from jaxmom.plot._shared.status import DIVERGED, FAILED, MISSING


class Cells(NamedTuple):
    """Values over seeds, reduced to one for each cell."""

    runs: NDArray[np.float64]  # [seeds, cells ...], +inf where diverged, NaN where there is none
    middle: NDArray[np.float64]  # [cells ...], the median over the seeds that ran
    absent: dict[str, int]  # how many lanes are missing or failed
    kinds: dict[str, NDArray[np.bool_]]  # kind of mark -> at which cells


class Line(NamedTuple):
    """One line over the coordinate, as it is drawn."""

    label: str
    cells: Cells
    ends: NDArray[np.float64]  # [2, cells], of the band


def reduce_seeds(array: xarray.DataArray, rank: int) -> Cells:
    """Reduce values over seeds to their medians, where a diverged seed counts as infinite.

    Args:
      array: The values, [cells ...] or [seeds, cells ...], with the coordinates `status` and
        `diverged_at` if there are any.
      rank: The number of dims of the cells.

    Returns:
      The medians, and which cells diverged, are missing, failed, or have some seeds that diverged.
      A cell that a halving dropped is missing.

    Example:
      >>> two_seeds = xarray.DataArray([[1.0, 5.0], [2.0, np.inf]], dims=("seed", "x"))
      >>> reduce_seeds(two_seeds, 1).middle
      array([1.5, inf])
    """
    runs = np.array(array.values, float)
    statuses, dropped = status.read_statuses(array), status.read_dropped(array)
    if runs.ndim == rank:
        runs, statuses, dropped = runs[None], statuses[None], dropped[None]
    runs[statuses == DIVERGED] = np.inf
    runs[(statuses == MISSING) | (statuses == FAILED)] = np.nan
    runs[:, dropped.any(axis=0)] = np.nan  # a halving drops all seeds of a cell, diverged or not
    middle = quantile(runs, 0.5)
    failed = (statuses == FAILED).any(axis=0)
    kinds = {
        "diverged": np.isposinf(middle),
        "some seeds diverged": np.isfinite(middle) & np.isposinf(runs).any(axis=0),
        "missing": np.isnan(middle) & ~failed,
        "failed": np.isnan(middle) & failed,
    }
    return Cells(runs, middle, status.count_absent(statuses), kinds)


def read_series(
    data: Any, x: Any, over: str, band: tuple[float, float]
) -> tuple[xarray.DataArray, list[Line]]:
    """Return the sorted coordinate along `x`, and the lines over it.

    Args:
      data: label -> array [cells] or [seeds, cells], one such array, or a DataArray.
      x: The dim of the cells, or the coordinates of those of plain arrays.
      over: The dim of the seeds.
      band: Two quantiles of the seeds.

    Raises:
      ValueError: Wrong dims or lengths, or lines over different coordinates.

    Example:
      >>> runs = [[1.0, 5.0], [2.0, np.inf]]
      >>> coordinate, (line,) = read_series(runs, [0.9, 0.5], "seed", (0.25, 0.75))
      >>> coordinate.values, line.cells.middle
      (array([0.5, 0.9]), array([inf, 1.5]))
    """
    arrays = _sort_arrays(data, x, over)
    array = arrays[0][1]
    return array[array.dims[-1]], [_make_line(label, array, band) for label, array in arrays]


def _sort_arrays(data: Any, x: Any, over: str) -> list[tuple[str, xarray.DataArray]]:
    """Return labels with arrays [cells] or [seeds, cells], sorted along the same coordinate."""
    dim = x if isinstance(x, str) else "x"
    arrays = []
    for label, array in labels.label_arrays(data, (over, dim), required=1):
        if not isinstance(x, str):
            if np.shape(x) != array[dim].shape:
                shape = np.shape(x)
                raise ValueError(f"{label!r} has {array.sizes[dim]} cells, but x has shape {shape}")
            array = array.assign_coords({dim: np.asarray(x)})
        is_number = np.issubdtype(array[dim].dtype, np.number)
        arrays.append((label, array.sortby(dim) if is_number else array))
    first = arrays[0][1][dim].values
    if any(not np.array_equal(array[dim].values, first) for _, array in arrays):
        raise ValueError(f"the lines have different coordinates along {dim!r}; draw them apart")
    return arrays


def _make_line(label: str, array: xarray.DataArray, band: tuple[float, float]) -> Line:
    """Return the medians and the band along one line; its label counts absent lanes."""
    cells = reduce_seeds(array, 1)
    note = status.list_counts(cells.absent)
    label = f"{label} ({note})" if label and note else label or note
    return Line(label, cells, np.stack([quantile(cells.runs, share) for share in band]))


def name_values(data: Any, lines: list[Line], band: tuple[float, float]) -> str:
    """Return the name of the values, with the number of seeds and the quantiles that are drawn."""
    data = labels.select_variable(data)
    value = (labels.name_axis(data) if isinstance(data, xarray.DataArray) else "") or "value"
    seeds = {len(line.cells.runs) for line in lines} - {1}
    if not seeds:
        return value
    count = f"{seeds.pop()} " if len(seeds) == 1 else ""
    return f"{value}\n(median, {100 * band[0]:g}–{100 * band[1]:g} % of {count}seeds)"
