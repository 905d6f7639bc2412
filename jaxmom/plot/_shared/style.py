"""Colors, line styles, marks, legends and the frame of an Axes, for all plots."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# The colors of Okabe and Ito, which color-blind readers can tell apart, without the yellow that is
# hard to see on white. Seven colors and five dashes share no factor: 35 line styles differ.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (9, 2)))
SHAPES = ("o", "s", "D", "P", "h")
GRAY = "#666666"
HEAT = "viridis"
CONTOUR = "#94a5b3"
_CONTRAST = 1.6  # at least, between a line and its background; see `_contrast`

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


class LineStyle(NamedTuple):
    """The properties by which one line differs from the others."""

    color: str
    linestyle: Any
    marker: str


def line_style(index: int, ax: Axes | None = None) -> LineStyle:
    """Return the style of line number `index`, as all plots draw it.

    The first 35 styles differ, and any seven in a row differ in color too.

    Args:
      index: The number of the line, from 0.
      ax: The Axes, so that no color is that of its background; by default the background is white.

    Returns:
      The color, the dashes and the shape of the marker.

    Example:
      >>> line_style(0)
      LineStyle(color='#0072B2', linestyle='-', marker='o')
    """
    color = COLORS[index % len(COLORS)]
    visible = color if ax is None else ensure_contrast(color, ax)
    return LineStyle(visible, DASHES[index % len(DASHES)], SHAPES[index % len(SHAPES)])


def get_background(ax: Axes) -> str:
    """Return the color behind the lines of an Axes: its own, or that of its figure."""
    return _list_backgrounds(ax)[0]


def get_ink(ax: Axes) -> str:
    """Return black or white, whichever stands out from the background of an Axes."""
    background = get_background(ax)
    return max(("#000000", "#ffffff"), key=lambda color: _contrast(color, background))


def ensure_contrast(color: str, ax: Axes) -> str:
    """Return the color, or one near it that stands out from the background.

    It stands out from the Axes as well as from the figure, on which legends lie. A gray becomes
    black, white or another gray; other colors are mixed with these, so that they keep their hue.
    """
    backgrounds, neutrals = _list_backgrounds(ax), ["#000000", "#ffffff", "#808080"]
    is_gray = len(set(to_rgb(color))) == 1
    near = neutrals if is_gray else [mix_colors(color, neutral) for neutral in neutrals]
    choices = [color, *near, *neutrals]
    clear = (c for c in choices if min(_contrast(c, back) for back in backgrounds) >= _CONTRAST)
    return next(clear, color)


def _list_backgrounds(ax: Axes) -> list[str]:
    """Return the visible colors behind an Axes, the nearest first; white if there are none."""
    parts = [part for part in (ax, ax.figure, ax.figure.figure) if part.patch.get_visible()]
    colors = [to_rgba(part.get_facecolor()) for part in parts]
    return [to_hex(color) for color in colors if color[3] > 0.5] or ["#ffffff"]


def mix_colors(first: str, second: str, share: float = 0.5) -> str:
    """Return a color between two others, of which the second has the given share."""
    return to_hex(tuple((1 - share) * np.array(to_rgb(first)) + share * np.array(to_rgb(second))))


def _contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors, as WCAG defines it: from 1 to 21."""
    rgb = np.array([to_rgb(first), to_rgb(second)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def make_relief(ax: Axes) -> LinearSegmentedColormap:
    """Return a color map so close to the background of an Axes that lines stand out from it."""
    background = get_background(ax)
    return LinearSegmentedColormap.from_list(
        "relief", [background, mix_colors(background, CONTOUR)]
    )


def figure(
    width: float = 5.0, height: float = 3.6, *, rows: int = 1, columns: int = 1
) -> tuple[Figure, Any]:
    """Return a figure whose margins make room for legends and color bars outside of the Axes.

    Args:
      width: The width of the whole figure in inches.
      height: The height of the whole figure in inches.
      rows: The number of rows of panels.
      columns: The number of columns of panels.

    Returns:
      The figure and its Axes: one, or an array of them as `plt.subplots` gives.

    Example:
      >>> fig, axes = figure(7, 3, columns=2)
      >>> axes.shape
      (2,)
      >>> plt.close(fig)
    """
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained")


def get_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given Axes, or that of a new figure, whose size is in inches."""
    return figure(width, height)[1] if ax is None else ax


def draw_mark(ax: Axes, kind: str, at: Any, color: str, **changes: Any) -> None:
    """Draw one of the `MARKS` at points (x, y); `finish_axes` names its kind in the legend, once.

    The label begins with an underscore, which keeps the marks themselves out of the legend.
    """
    look: dict[str, Any] = {"label": f"_{kind}", "linestyle": "none", "color": color, "zorder": 5}
    ax.plot(*at, **look | MARKS[kind] | changes)


def draw_star(ax: Axes, x: float, y: float, value: float) -> None:
    """Draw a star on the best cell, with its value for the legend."""
    look: dict[str, Any] = {"marker": "*", "markersize": 13, "linestyle": "none", "zorder": 6}
    look |= {"color": "white", "markeredgecolor": "black"}
    ax.plot(x, y, label=f"best: {value:.3g}", **look)


def finish_axes(ax: Axes, *, names: Sequence[str], title: str, legend: str) -> Axes:
    """Name the axes, explain the marks that were drawn, and place the legend and the title.

    Args:
      ax: The Axes.
      names: The names of the x axis and of the y axis.
      title: The title of the Axes; an empty one leaves the present one.
      legend: "right" or "above" (both outside the Axes), a location of matplotlib inside it
        such as "upper right", or "" for none.

    Returns:
      The Axes.
    """
    ax.set(xlabel=names[0], ylabel=names[1])
    labels = {str(line.get_label()) for line in ax.lines}
    for kind in MARKS:
        if f"_{kind}" in labels and kind not in labels:
            draw_mark(ax, kind, ([], []), ensure_contrast(GRAY, ax), label=kind)
    rows = _place_legend(ax, legend)
    if title:
        ax.set_title(title, fontsize="medium", pad=6 + 15 * rows)
    return ax


def _place_legend(ax: Axes, location: str) -> int:
    """Draw the legend, and return how many rows it has above the Axes.

    The location "best" of matplotlib is not used: on large data it is slow, and warns.
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
    """Return levels whose heights above the lowest finite value are evenly spaced in the logarithm.

    Heights and not values, because the minimum of a landscape may be negative.

    Args:
      values: The values of the landscape.
      count: The number of levels, of which the last is the highest value.
      decades: The decades of heights that the levels span.

    Returns:
      The levels [count], or none if all finite values are equal.

    Example:
      >>> log_levels([-1.0, 99.0], 3, decades=2).tolist()
      [0.0, 9.0, 99.0]
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0 or finite.max() == finite.min():
        return np.empty(0)
    heights = (finite.max() - finite.min()) * np.geomspace(10.0**-decades, 1.0, count)
    return finite.min() + heights
