"""One value over two hyperparameters: what is best, what diverged, what is missing."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot import colors, labels, lanes, scales, style

# Of the cells without a value: the fill, the hatch and its color.
FILLS = {
    lanes.DIVERGED: ("#b5b5b5", "////", "#707070"),
    lanes.MISSING: ("#ffffff", "....", "#9a9a9a"),
    lanes.FAILED: ("#f3c9b5", "xxxx", "#D55E00"),
}


def heatmap(
    data: xarray.DataArray | ArrayLike,
    *,
    x: Any = None,
    y: Any = None,
    status: Any = None,
    log: bool = True,
    limits: tuple[float | None, float | None] = (None, None),
    x_scale: str = "auto",
    y_scale: str = "auto",
    star: bool = True,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw a value, such as the final loss, over two hyperparameters as colored cells.

    Cells that diverged are gray and striped, missing ones white and dotted, failed ones orange and
    crossed; the legend names those there are. A star marks the smallest value. The edges of the
    cells lie midway between their centers on the scale of the axis.

    Fifty thousand cells take a third of a second. Reduce over seeds first, and say so in `title`.

    Args:
        data: a DataArray with two dims, or an array [rows of y, columns of x].
        x: of a DataArray the dim along the x axis, by default its last; of an array the
            coordinates of the columns, by default 0, 1, 2, ...
        y: likewise for the y axis, the first dim and the rows.
        status: of each cell, 0 missing, 1 ok, 2 diverged, 3 failed, shaped as the data; by default
            the coordinate of that name, else all ok. An ok cell that is not finite is diverged.
        log: colors by the logarithm. Values at or below zero have the lowest color.
        limits: the values of the lowest and of the highest color; None is the data's own. The
            color bar is pointed where there are values beyond.
        x_scale: "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
            beta)), or "auto": logarithmic where that makes the coordinates more evenly spaced.
        y_scale: likewise.
        star: mark the smallest value, the first of equal ones.
        ax: where to draw; a new figure by default. The color bar takes its room from it.
        title: of the Axes; given here, it stands clear of the legend above them.
        legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes, whose limits are the edges of the map: lines may be drawn over it.

    Raises:
        ValueError: other than two dims, unknown dims or scales, coordinates of a wrong length or
            repeated, or a logarithm of values of which none is positive.

    >>> import matplotlib.pyplot as plt
    >>> ax = heatmap([[1.0, 0.1], [0.01, float("inf")]], x=[0.1, 0.2], y=[0.0, 0.9])
    >>> ax.get_legend_handles_labels()[1]
    ['diverged', 'best: 0.01']
    >>> plt.close(ax.figure)
    """
    table = labels.table(data, x, y, status)
    values, fates = np.asarray(table.values, float), lanes.fates(table)
    scale = dict(zip(table.dims, (y_scale, x_scale), strict=True))
    rows, columns = (scales.side(table[dim], scale[dim]) for dim in table.dims)
    ax = style.axes(ax, 5.4, 3.8)
    shown = np.ma.masked_where(fates != lanes.OK, values)
    if shown.count():
        norm = colors.norm(shown, limits, log)
        # As pixels, because viewers of vector figures draw seams between fifty thousand cells.
        look = {"norm": norm, "cmap": style.HEAT, "rasterized": True}
        clipped = np.ma.clip(shown, norm.vmin, norm.vmax)
        mesh = ax.pcolormesh(columns.edges, rows.edges, clipped, **look)
        colors.bar(ax, mesh, shown, labels.axis_name(table) or "value")
    for fate, (fill, hatch, line) in FILLS.items():
        if (fates == fate).any():
            region = _region(fates == fate, columns.edges, rows.edges)
            look = {"facecolor": fill, "hatch": hatch, "edgecolor": line, "linewidth": 0}
            ax.add_patch(PathPatch(region, label=lanes.FATES[fate], **look))
    if star and shown.count():
        row, column = np.unravel_index(int(shown.argmin()), shown.shape)
        style.star(ax, columns.centers[column], rows.centers[row], float(shown[row, column]))
    scales.apply(ax, columns, rows)
    return style.finish(ax, names=(columns.name, rows.name), title=title, legend=legend)


def _region(cells: NDArray[np.bool_], columns: NDArray, rows: NDArray) -> Path:
    """All these cells as one outline of many boxes: one for each run of neighbors in a row."""
    change = np.diff(np.pad(cells.astype(int), ((0, 0), (1, 1))), axis=1)
    (row, start), (_, stop) = np.nonzero(change == 1), np.nonzero(change == -1)
    left, right, bottom, top = columns[start], columns[stop], rows[row], rows[row + 1]
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.array(corners).transpose(2, 0, 1).reshape(-1, 2), codes * len(row))
