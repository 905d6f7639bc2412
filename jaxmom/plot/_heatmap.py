"""Heatmaps: one value over two hyperparameters; cells without a value show why they have none."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import axis_scale, colors, labels, series, style

# Of the cells without a value: the fill, the hatch and its color.
_FILLS = {
    "diverged": ("#b5b5b5", "////", "#707070"),
    "missing": ("#ffffff", "....", "#9a9a9a"),
    "failed": ("#f3c9b5", "xxxx", "#D55E00"),
}


def heatmap(
    data: xarray.DataArray | ArrayLike,
    *,
    x: labels.Along = None,
    y: labels.Along = None,
    over: str = "seed",
    status: xarray.DataArray | ArrayLike | None = None,
    log: bool = True,
    limits: colors.Limits = (None, None),
    x_scale: str = "auto",
    y_scale: str = "auto",
    star: bool = True,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw a value, such as the final loss, over two hyperparameters as colored cells.

    With seeds, a cell has their median. A seed that diverged counts as +inf: a cell where half of
    the seeds diverged has diverged, and one where fewer did is striped in white over its color.
    Cells that diverged are gray and striped, missing ones white and dotted, failed ones orange and
    crossed; the legend names those there are. A star marks the smallest value. The edges of the
    cells lie midway between their centers on the scale of the axis.

    Fifty thousand cells take a third of a second.

    Args:
      data: A DataArray with two dims and perhaps `over`, or an array [rows of y, columns of x] or
        [seeds, rows, columns]. `Dataset.median` drops the status of lanes: give all seeds instead.
      x: For a DataArray the dim along the x axis, by default its last; for an array the
        coordinates of the columns, by default 0, 1, 2, ...
      y: Likewise for the y axis, the first dim and the rows.
      over: The dim of the seeds.
      status: The status of each cell, 0 missing, 1 ok, 2 diverged, 3 failed, shaped as the data; by
        default the coordinate of that name, else all ok. An ok cell that is not finite is diverged.
      log: Whether colors are logarithmic. Values at or below zero have the lowest color.
      limits: The values of the lowest and of the highest color; None is the data's own. The
        color bar is pointed where there are values beyond.
      x_scale: "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
        beta)), or "auto" for the one that spaces the coordinates most evenly.
      y_scale: Likewise.
      star: Whether to mark the smallest value, the first of equal ones.
      ax: The Axes; a new figure by default. The color bar takes its space from it.
      title: The title of the Axes; given here, it stands clear of the legend above them.
      legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes, whose limits are the edges of the map: lines may be drawn over it.

    Raises:
      ValueError: Other than two dims, unknown dims or scales, coordinates of a wrong length or
        repeated, or a logarithm of values of which none is positive.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = heatmap([[1.0, 0.1], [0.01, float("inf")]], x=[0.1, 0.2], y=[0.0, 0.9])
      >>> ax.get_legend_handles_labels()[1]
      ['diverged', 'best: 0.01']
      >>> plt.close(ax.figure)
    """
    table = labels.read_table(data, x, y, status, over)
    cells = series.reduce_seeds(table, 2)
    kinds = dict(zip(table.dims[-2:], (y_scale, x_scale), strict=True))
    rows, columns = (axis_scale.fit_scale(table[dim], kind) for dim, kind in kinds.items())
    ax = style.get_axes(ax, 5.4, 3.8)
    shown = np.ma.masked_invalid(cells.middle)
    if shown.count():
        norm = colors.make_norm(shown, limits, log)
        # As pixels, because viewers of vector figures draw seams between fifty thousand cells.
        look: dict[str, Any] = {"norm": norm, "cmap": style.HEAT, "rasterized": True}
        clipped = np.ma.clip(shown, norm.vmin, norm.vmax)
        mesh = ax.pcolormesh(columns.edges, rows.edges, clipped, **look)
        colors.draw_color_bar(ax, mesh, shown, _name_value(table, len(cells.runs)))
    _draw_kinds(ax, cells.kinds, columns.edges, rows.edges)
    if star and shown.count():
        row, column = np.unravel_index(int(shown.argmin()), shown.shape)
        style.draw_star(ax, columns.centers[column], rows.centers[row], float(shown[row, column]))
    axis_scale.apply_scale(ax, "x", columns)
    axis_scale.apply_scale(ax, "y", rows)
    names = (columns.name, rows.name)
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _name_value(table: xarray.DataArray, seeds: int) -> str:
    """Return the name of the value, with the number of seeds if there are several."""
    name = labels.name_axis(table) or "value"
    return f"{name} (median of {seeds} seeds)" if seeds > 1 else name


def _draw_kinds(
    ax: Axes, kinds: dict[str, NDArray[np.bool_]], columns: NDArray, rows: NDArray
) -> None:
    """Draw the cells without a value, and stripes where some seeds have none."""
    for kind, (fill, hatch, color) in _FILLS.items():
        if kinds[kind].any():
            look: dict[str, Any] = {"facecolor": fill, "hatch": hatch, "edgecolor": color}
            outline = _outline_cells(kinds[kind], columns, rows)
            ax.add_patch(PathPatch(outline, label=kind, linewidth=0, **look))
    partly = "some seeds diverged"
    if kinds[partly].any():
        stripes: dict[str, Any] = {"hatch": "\\\\\\", "edgecolor": "white", "linewidth": 0}
        outline = _outline_cells(kinds[partly], columns, rows)
        ax.add_patch(PathPatch(outline, facecolor="none", label=f"_{partly}", **stripes))
        nowhere = Path(np.empty((0, 2)))  # for the legend, where white needs a color beneath it
        ax.add_patch(PathPatch(nowhere, facecolor="#21918c", label=partly, **stripes))


def _outline_cells(cells: NDArray[np.bool_], columns: NDArray, rows: NDArray) -> Path:
    """Return all these cells as one path of boxes: one for each run of neighbors in a row."""
    change = np.diff(np.pad(cells.astype(int), ((0, 0), (1, 1))), axis=1)
    (row, start), (_, stop) = np.nonzero(change == 1), np.nonzero(change == -1)
    left, right, bottom, top = columns[start], columns[stop], rows[row], rows[row + 1]
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.array(corners).transpose(2, 0, 1).reshape(-1, 2), codes * len(row))
