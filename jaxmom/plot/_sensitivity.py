"""Sensitivity: a value against one hyperparameter, for one or several methods."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jaxmom.plot._shared import axis_scale, labels, series, status, style

_ROW, _STRIP = 0.045, 0.3  # of the height of the Axes: a row of marks, and all rows at most


def sensitivity(
    data: labels.SeriesLike,
    *,
    x: labels.Along,
    over: str = "seed",
    log: bool = True,
    floor: float | None = None,
    band: tuple[float, float] = (0.25, 0.75),
    x_scale: str = "auto",
    star: bool = True,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw a value, such as the final loss, against one hyperparameter, one line for each label.

    With seeds a line is their median and the band around it. A seed that diverged counts as +inf: a
    line breaks where half of them did, and a band whose upper end did is open at the top. Each line
    has a row at the top edge with a cross for a cell that diverged, a small one where only some
    seeds did, a ring where it is missing and a plus where it failed. Of neighbors
    of one kind only the first and the last are marked, and a thin line joins them. A star marks the
    smallest value of all lines.

    Args:
      data: label -> array [cells] or [seeds, cells], one such array, or a DataArray with the dim
        `x` and perhaps `over`, whose other dims (method, beta, ...) become labels. Its
        coordinates `status` (0 missing, 1 ok, 2 diverged, 3 failed) and `diverged_at` (-1 for
        never) are respected.
      x: For DataArrays the dim along the x axis, for plain arrays the coordinates of the cells.
      over: The dim of the seeds.
      log: Whether the y axis is logarithmic.
      floor: On a logarithmic axis, lower values are drawn at this height and marked with
        triangles; by default it is the smallest positive value, if some value is zero, negative or
        below 1e-200.
      band: The quantiles between which seeds are shaded; they are NumPy's linear ones.
      x_scale: "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
        beta)), or "auto" for the one that spaces the coordinates most evenly.
      star: Whether to mark the smallest value, the first of equal ones.
      ax: The Axes; a new figure by default.
      title: The title of the Axes.
      legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes.

    Raises:
      ValueError: Wrong dims, lengths or scales, lines over different coordinates, or a
        logarithmic axis where no value is positive.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = sensitivity({"heavy ball": [1.0, 0.1, float("inf")]}, x=[0.01, 0.1, 1.0])
      >>> ax.get_legend_handles_labels()[1]
      ['heavy ball', 'best: 0.1', 'diverged']
      >>> plt.close(ax.figure)
    """
    status.check_band(band)
    coordinate, lines = series.read_series(data, x, over, band)
    scale = axis_scale.fit_scale(coordinate, x_scale)
    values = np.concatenate([line.cells.runs.ravel() for line in lines])
    chosen = status.choose_floor(values, floor) if log else None
    lowest = -np.inf if chosen is None else chosen
    ax = style.get_axes(ax, 6.6, 3.8)
    if log:
        axis_scale.make_y_log(ax)
    looks = [style.line_style(index, ax) for index in range(len(lines))]
    for line, look in zip(lines, looks, strict=True):
        _draw_medians(ax, scale.centers, line, lowest, look)
    _draw_rows(ax, scale.centers, lines, looks, lowest)
    for line, look in zip(lines, looks, strict=True):
        _draw_band(ax, scale.centers, line, lowest, look.color)
    if star:
        _mark_best(ax, scale.centers, lines, lowest)
    axis_scale.apply_scale(ax, "x", scale)
    names = scale.name, series.name_values(data, lines, band)
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _draw_medians(
    ax: Axes, x: NDArray, line: series.Line, floor: float, look: style.LineStyle
) -> None:
    """Draw the line of medians with a marker for each cell; if there are many, for some of them."""
    middle = line.cells.middle
    shown = np.isfinite(middle)
    isolated = shown & ~np.pad(shown, 1)[:-2] & ~np.pad(shown, 1)[2:]
    some = np.arange(len(x)) % max(1, len(x) // 25) == 0
    heights = np.where(shown, np.maximum(middle, floor), np.nan)
    every: Any = isolated | some
    ax.plot(x, heights, label=line.label, markersize=4, markevery=every, **look._asdict())
    lifted = shown & (middle < floor)
    if lifted.any():
        style.draw_mark(ax, "at or below the floor", (x[lifted], heights[lifted]), look.color)


def _draw_rows(
    ax: Axes, x: NDArray, lines: list[series.Line], looks: list[style.LineStyle], floor: float
) -> None:
    """Draw a row of marks above all lines and bands, for each line that has cells without value."""
    for line in lines:
        for end in np.where(np.isfinite(line.cells.middle), line.ends, np.inf):
            ax.update_datalim(np.column_stack([x, np.maximum(end, floor)])[np.isfinite(end)])
    ax.autoscale_view()
    rows = [i for i, line in enumerate(lines) if np.any(list(line.cells.kinds.values()))]
    height = min(_STRIP, _ROW * len(rows))
    transform, limits = ax.yaxis.get_transform(), np.array(ax.get_ylim())
    low, high = transform.transform(limits)
    top = transform.inverted().transform(np.array([high + (high - low) * height / (1 - height)]))
    ax.set_ylim(limits[0], top[0])
    for row, index in enumerate(rows):
        y = 1 - height * (row + 0.5) / len(rows)
        for kind, cells in lines[index].cells.kinds.items():
            if cells.any():
                heights = np.where(cells, y, np.nan)  # NaN ends the line between two marks
                look = {"linestyle": "-", "linewidth": 0.8, "markevery": _find_ends(cells)}
                look |= {"transform": ax.get_xaxis_transform()}
                style.draw_mark(ax, kind, (x, heights), looks[index].color, **look)


def _find_ends(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the first and the last of neighbors that are marked."""
    neighbors = np.pad(cells, 1)
    return cells & ~(neighbors[:-2] & neighbors[2:])


def _draw_band(ax: Axes, x: NDArray, line: series.Line, floor: float, color: str) -> None:
    """Shade between two quantiles of the seeds, up to the top where the upper one has diverged."""
    if len(line.cells.runs) > 1:
        top, shown = ax.get_ylim()[1], np.isfinite(line.cells.middle)
        low, high = np.maximum(np.where(np.isinf(line.ends), top, line.ends), floor)
        ax.fill_between(x, low, high, where=shown, color=color, alpha=0.18, linewidth=0)


def _mark_best(ax: Axes, x: NDArray, lines: list[series.Line], floor: float) -> None:
    """Draw a star on the smallest median of all lines, if there is one."""
    middles = np.ma.masked_invalid(np.stack([line.cells.middle for line in lines]))
    if middles.count():
        line, cell = np.unravel_index(int(middles.argmin()), middles.shape)
        value = float(middles[line, cell])
        style.draw_star(ax, x[cell], max(value, floor), value)
