"""A value over one hyperparameter: how far from its best each setting still works."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jaxmom.plot import cells, lanes, scales, style

ROW, STRIP = 0.045, 0.3  # of the height of the Axes: a row of marks, and all rows at most


def sensitivity(
    data: Any,
    *,
    x: Any,
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
    """Draw a value, such as the final loss, over one hyperparameter, one line for each label.

    With seeds a line is their median and the band around it. A seed that diverged counts as +inf:
    a line breaks where half of them did, and a band whose upper end did is open at the top. Each
    line has a row at the top edge with a cross for a cell that diverged, a small one where only
    some seeds did, a ring where it is missing and a plus where it failed. A star marks the smallest
    value of all lines.

    Args:
        data: label -> array [cells] or [seeds, cells], one such array, or a DataArray with the dim
            `x` and perhaps `over`, whose other dims (method, beta, ...) become labels. Its
            coordinates `status` (0 missing, 1 ok, 2 diverged, 3 failed) and `diverged_at` (-1 for
            never) are respected.
        x: of DataArrays the dim along the x axis, of plain arrays the coordinates of the cells.
        over: the dim of the seeds.
        log: a logarithmic y axis.
        floor: on a logarithmic axis, what is lower is drawn here and marked with a triangle; by
            default the smallest positive value, if some value is zero, negative or below 1e-200.
        band: the quantiles between which seeds are shaded; they are NumPy's linear ones.
        x_scale: "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
            beta)), or "auto": logarithmic where that makes the coordinates more evenly spaced.
        star: mark the smallest value, the first of equal ones.
        ax: where to draw; a new figure by default.
        title: of the Axes.
        legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes.

    Raises:
        ValueError: wrong dims, lengths or scales, lines over different coordinates, or a
            logarithmic axis where no value is positive.

    >>> import matplotlib.pyplot as plt
    >>> ax = sensitivity({"heavy ball": [1.0, 0.1, float("inf")]}, x=[0.01, 0.1, 1.0])
    >>> ax.get_legend_handles_labels()[1]
    ['heavy ball', 'best: 0.1', 'diverged']
    >>> plt.close(ax.figure)
    """
    lanes.check_band(band)
    coordinate, lines = cells.read(data, x, over, band)
    side = scales.side(coordinate, x_scale)
    values = np.concatenate([line.runs.ravel() for line in lines])
    floor = lanes.floor(values, floor) if log else None
    lowest = -np.inf if floor is None else floor
    ax = style.axes(ax, 6.6, 3.8)
    ax.set_yscale("log" if log else "linear")
    for index, line in enumerate(lines):
        _draw(ax, side.centers, line, lowest, style.look(index))
    _rows(ax, side.centers, lines, lowest)
    for index, line in enumerate(lines):
        _band(ax, side.centers, line, lowest, style.look(index).color)
    if star:
        _star(ax, side.centers, lines, lowest)
    scales.apply_one(ax, "x", side)
    names = side.name, cells.value_name(data, lines, band)
    return style.finish(ax, names=names, title=title, legend=legend)


def _draw(ax: Axes, x: NDArray, line: cells.Line, floor: float, look: style.Look) -> None:
    """The line of the medians with a marker for each cell; if there are many, for some of them."""
    shown = np.isfinite(line.middle)
    alone = shown & ~np.pad(shown, 1)[:-2] & ~np.pad(shown, 1)[2:]
    some = np.arange(len(x)) % max(1, len(x) // 25) == 0
    middle = np.where(shown, np.maximum(line.middle, floor), np.nan)
    ax.plot(x, middle, label=line.label, markersize=4, markevery=alone | some, **look._asdict())
    lifted = shown & (line.middle < floor)
    if lifted.any():
        at = x[lifted], middle[lifted]
        style.mark(ax, "at or below the floor", at, look.color)


def _rows(ax: Axes, x: NDArray, lines: list[cells.Line], floor: float) -> None:
    """Above all lines and bands, a row of marks for each line that has cells without a value."""
    for line in lines:
        for end in np.where(np.isfinite(line.middle), line.ends, np.inf):
            ax.update_datalim(np.column_stack([x, np.maximum(end, floor)])[np.isfinite(end)])
    ax.autoscale_view()
    rows = [i for i, line in enumerate(lines) if np.any(list(line.lost.values()))]
    height = min(STRIP, ROW * len(rows))
    scale, limits = ax.yaxis.get_transform(), np.array(ax.get_ylim())
    low, high = scale.transform(limits)
    top = scale.inverted().transform(np.array([high + (high - low) * height / (1 - height)]))
    ax.set_ylim(limits[0], top[0])
    for row, index in enumerate(rows):
        y = 1 - height * (row + 0.5) / len(rows)
        for kind, there in lines[index].lost.items():
            if there.any():
                at, color = (x[there], np.full(there.sum(), y)), style.look(index).color
                style.mark(ax, kind, at, color, transform=ax.get_xaxis_transform())


def _band(ax: Axes, x: NDArray, line: cells.Line, floor: float, color: str) -> None:
    """Between two quantiles of the seeds, up to the top edge where the upper one has diverged."""
    if len(line.runs) > 1:
        top, shown = ax.get_ylim()[1], np.isfinite(line.middle)
        low, high = np.maximum(np.where(np.isinf(line.ends), top, line.ends), floor)
        ax.fill_between(x, low, high, where=shown, color=color, alpha=0.18, linewidth=0)


def _star(ax: Axes, x: NDArray, lines: list[cells.Line], floor: float) -> None:
    """A star on the smallest median of all lines, if there is one."""
    middles = np.stack([line.middle for line in lines])
    middles = np.ma.masked_invalid(middles)
    if middles.count():
        line, cell = np.unravel_index(int(middles.argmin()), middles.shape)
        value = float(middles[line, cell])
        style.star(ax, x[cell], max(value, floor), value)
