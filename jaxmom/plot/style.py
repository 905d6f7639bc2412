"""What the plots share for the eye: colors, lines, marks, levels and the frame of an Axes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's colors, which color-blind readers can tell apart, less the yellow that white
# paper swallows. Seven colors and five dashes share no factor: 35 looks before one returns.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (9, 2)))
SHAPES = ("o", "s", "D", "P", "h")
GRAY = "#666666"

HEAT = "viridis"
RELIEF = LinearSegmentedColormap.from_list("relief", ["#ffffff", "#c6d2dc"])
CONTOUR = "#94a5b3"

MARKS: dict[str, dict[str, Any]] = {
    "start": {"marker": "o", "markerfacecolor": "white", "markersize": 6},
    "end": {"marker": "o", "markersize": 6, "markeredgecolor": "white"},
    "diverged": {"marker": "x", "markersize": 7, "markeredgewidth": 1.8},
    "some seeds diverged": {"marker": "x", "markersize": 4, "markeredgewidth": 0.9},
    "missing": {"marker": "o", "markersize": 4, "markerfacecolor": "white"},
    "failed": {"marker": "+", "markersize": 7, "markeredgewidth": 1.4},
    "leaves the frame": {"marker": ">", "markersize": 8, "markeredgecolor": "white"},
    "outside the frame": {"marker": "s", "markersize": 5, "markerfacecolor": "white"},
    "at or below the floor": {"marker": "v", "markerfacecolor": "white", "markersize": 6},
}


class Look(NamedTuple):
    """The color, the dashes and the shape of the marker by which one line is told from others."""

    color: str
    linestyle: Any
    marker: str


def look(index: int) -> Look:
    """The look of line number `index`; the first 35 differ, any seven in a row in color too."""
    place = index % len(COLORS), index % len(DASHES), index % len(SHAPES)
    return Look(COLORS[place[0]], DASHES[place[1]], SHAPES[place[2]])


def figure(
    width: float = 5.0, height: float = 3.6, *, rows: int = 1, columns: int = 1
) -> tuple[Figure, Any]:
    """A figure whose margins make room for the legends and color bars that plots put outside.

    Args:
        width: of the whole figure, in inches.
        height: of the whole figure, in inches.
        rows: of panels.
        columns: of panels.

    Returns:
        The figure and its Axes: one, or an array of them as `plt.subplots` gives.

    >>> fig, axes = figure(7, 3, columns=2)
    >>> axes.shape
    (2,)
    >>> plt.close(fig)
    """
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained")


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The Axes that was given, or that of a new figure, whose size is in inches."""
    return figure(width, height)[1] if ax is None else ax


def mark(ax: Axes, kind: str, at: Any, color: str, **changes: Any) -> None:
    """Put one of the `MARKS` at a point (x, y); `finish` then names its kind in the legend, once.

    The marks themselves stay out of the legend, by the underscore that begins their label.
    """
    look = {"label": f"_{kind}", "linestyle": "none", "color": color, "zorder": 5}
    ax.plot(*at, **look | MARKS[kind] | changes)


def star(ax: Axes, x: float, y: float, value: float) -> None:
    """A star on the best, with its value for the legend."""
    look = {"marker": "*", "markersize": 13, "color": "white", "markeredgecolor": "black"}
    ax.plot(x, y, linestyle="none", zorder=6, label=f"best: {value:.3g}", **look)


def finish(ax: Axes, *, names: Sequence[str], title: str, legend: str) -> Axes:
    """Name the axes, explain the marks that were drawn, and place the legend and the title.

    Args:
        ax: what was drawn on.
        names: of the x axis and of the y axis.
        title: of the Axes; an empty one leaves what is there.
        legend: "right" or "above" (both outside the Axes), a location of matplotlib inside it
            such as "upper right", or "" for none.
    """
    ax.set(xlabel=names[0], ylabel=names[1])
    labels = {str(line.get_label()) for line in ax.lines}
    for kind in MARKS:
        if f"_{kind}" in labels and kind not in labels:
            mark(ax, kind, ([], []), GRAY, label=kind)
    rows = _place_legend(ax, legend)
    if title:
        ax.set_title(title, fontsize="medium", pad=6 + 15 * rows)
    return ax


def _place_legend(ax: Axes, location: str) -> int:
    """Draw the legend where it is asked for, and return how many rows it has above the Axes.

    matplotlib's own "best" place is never sought: on large data it is slow, and warns.
    """
    labels = ax.get_legend_handles_labels()[1]
    if not (location and labels):
        return 0
    needed = sum(0.06 * len(label) + 0.4 for label in labels)  # inches, for small letters
    rows = math.ceil(needed * ax.figure.dpi / ax.get_window_extent().width)
    columns = max(1, len(labels) // rows)
    outside: dict[str, dict[str, Any]] = {
        "right": {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)},
        "above": {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": columns},
    }
    tight = {"borderaxespad": 0.2, "columnspacing": 1.0, "handletextpad": 0.5, "frameon": False}
    place: dict[str, Any] = outside[location] | tight if location in outside else {"loc": location}
    ax.legend(fontsize="small", **place)
    return math.ceil(len(labels) / columns) if location == "above" else 0


def log_levels(values: ArrayLike, count: int, decades: float = 4.0) -> NDArray[np.float64]:
    """Levels whose heights above the lowest finite value are evenly spaced in the logarithm.

    Heights, and not the values themselves: a landscape may have a negative minimum. There are
    `count` levels over that many `decades` up to the highest value, and none where all is flat.

    >>> log_levels([-1.0, 99.0], 3, decades=2).tolist()
    [0.0, 9.0, 99.0]
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0 or finite.max() == finite.min():
        return np.empty(0)
    heights = (finite.max() - finite.min()) * np.geomspace(10.0**-decades, 1.0, count)
    return finite.min() + heights
