"""Values over one coordinate, and perhaps over seeds, read as the lines of a plot."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom.plot import labels, lanes


class Line(NamedTuple):
    """The cells along one line, as they are drawn."""

    label: str
    runs: NDArray[np.float64]  # [seeds, cells], +inf where diverged, NaN where there is none
    middle: NDArray[np.float64]  # [cells], the median over the seeds that ran
    ends: NDArray[np.float64]  # [2, cells], of the band
    lost: dict[str, NDArray[np.bool_]]  # kind of mark -> at which cells


def read(
    data: Any, x: Any, over: str, band: tuple[float, float]
) -> tuple[xarray.DataArray, list[Line]]:
    """The coordinate along `x`, in order, and the lines over it.

    Args:
        data: label -> array [cells] or [seeds, cells], one such array, or a DataArray.
        x: the dim of the cells, or the coordinates of those of plain arrays.
        over: the dim of the seeds.
        band: two quantiles of the seeds.

    Raises:
        ValueError: wrong dims or lengths, or lines over different coordinates.

    >>> coordinate, (line,) = read([[1.0, 5.0], [2.0, np.inf]], [0.9, 0.5], "seed", (0.25, 0.75))
    >>> coordinate.values, line.middle
    (array([0.5, 0.9]), array([inf, 1.5]))
    """
    named = _named(data, x, over)
    array = named[0][1]
    return array[array.dims[-1]], [_line(label, array, band) for label, array in named]


def _named(data: Any, x: Any, over: str) -> list[tuple[str, xarray.DataArray]]:
    """Labels with arrays [cells] or [seeds, cells], which are sorted along the same coordinate."""
    dim = x if isinstance(x, str) else "x"
    named = []
    for label, array in labels.labeled(data, (over, dim), required=1):
        if not isinstance(x, str):
            if np.shape(x) != array[dim].shape:
                shape = np.shape(x)
                raise ValueError(f"{label!r} has {array.sizes[dim]} cells, but x has shape {shape}")
            array = array.assign_coords({dim: np.asarray(x)})
        is_number = np.issubdtype(array[dim].dtype, np.number)
        named.append((label, array.sortby(dim) if is_number else array))
    first = named[0][1][dim].values
    if any(not np.array_equal(array[dim].values, first) for _, array in named):
        raise ValueError(f"the lines have different coordinates along {dim!r}; draw them apart")
    return named


def _line(label: str, array: xarray.DataArray, band: tuple[float, float]) -> Line:
    """The cells along one line: their values, medians, and where there is nothing to draw."""
    fates = np.atleast_2d(lanes.fates(array))
    values = np.array(array.values, float, ndmin=2)
    values[fates == lanes.DIVERGED] = np.inf
    values[(fates == lanes.MISSING) | (fates == lanes.FAILED)] = np.nan
    middle = lanes.quantile(values, 0.5)
    failed = (fates == lanes.FAILED).any(axis=0)
    lost = {
        "diverged": np.isposinf(middle),
        "some seeds diverged": np.isfinite(middle) & np.isposinf(values).any(axis=0),
        "missing": np.isnan(middle) & ~failed,
        "failed": np.isnan(middle) & failed,
    }
    note = ", ".join(f"{count} {fate}" for fate, count in lanes.counts(fates).items() if count)
    label = f"{label} ({note})" if label and note else label or note
    ends = np.stack([lanes.quantile(values, share) for share in band])
    return Line(label, values, middle, ends, lost)


def value_name(data: Any, lines: list[Line], band: tuple[float, float]) -> str:
    """The name of the values, with how many seeds there are and what they are drawn as."""
    value = (labels.axis_name(data) if isinstance(data, xarray.DataArray) else "") or "value"
    seeds = {len(line.runs) for line in lines} - {1}
    if not seeds:
        return value
    count = f"{seeds.pop()} " if len(seeds) == 1 else ""
    return f"{value}\n(median, {100 * band[0]:g}–{100 * band[1]:g} % of {count}seeds)"
