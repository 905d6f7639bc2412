"""A value over more than two hyperparameters: one line for each lane, across parallel axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot import colors, labels, lanes, scales, style

LANE, FEW = "lane", 16
# The lines of the lanes without a value, beneath those that have one.
LOST: dict[int, dict[str, Any]] = {
    lanes.DIVERGED: {"colors": "#9a9a9a", "linewidths": 0.5},
    lanes.MISSING: {"colors": "#9a9a9a", "linewidths": 0.7, "linestyles": "dotted"},
    lanes.FAILED: {"colors": "#D55E00", "linewidths": 0.7, "linestyles": "dashed"},
}
AROUND = [withStroke(linewidth=2.5, foreground="white")]


def parallel(
    data: xarray.DataArray | xarray.Dataset | ArrayLike,
    *,
    axes: Mapping[str, ArrayLike] | Sequence[str] | None = None,
    log: bool = True,
    limits: tuple[float | None, float | None] = (None, None),
    scale: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw every lane as one line across an axis for each hyperparameter, colored by its value.

    The smaller the value, the further in front its line is; the smallest is black and has stars.
    Where lanes share one of less than 16 values of an axis, their lines fan out around it, from the
    smallest value at the bottom to those without one at the top, so that they do not hide others.
    Lanes that diverged are gray beneath all others, missing ones dotted, failed ones orange and
    dashed; the legend names those there are. Ten thousand lanes take a second.

    Args:
        data: a DataArray with the dim "lane" and coordinates along it, or with a dim for each
            hyperparameter, or with both; a Dataset of one such variable; or an array [lanes]. The
            coordinates `status` (0 missing, 1 ok, 2 diverged, 3 failed) and `diverged_at` (-1 for
            never) are respected. A value that is not finite has diverged.
        axes: of a DataArray the names of the coordinates to draw, in order, by default all; of an
            array name -> [lanes].
        log: colors by the logarithm. Values at or below zero have the lowest color.
        limits: the values of the lowest and of the highest color; None is the data's own. The
            color bar is pointed where there are values beyond.
        scale: name -> "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
            beta)), or "auto", as without it: logarithmic where that spaces values more evenly.
        ax: where to draw; a new figure by default. The color bar takes its room from it.
        title: of the Axes; given here, it stands clear of the legend above them.
        legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes. The axes stand at x = 0, 1, 2, ...; y goes from 0 to 1.

    Raises:
        ValueError: fewer than two axes, unknown names or scales, coordinates of a wrong length or
            not finite, or a logarithm of values of which none is positive.

    >>> import matplotlib.pyplot as plt
    >>> tried = {"beta": [0.0, 0.9, 0.99], "learning_rate": [0.1, 0.1, 1.0]}
    >>> ax = parallel([1.0, 0.01, float("inf")], axes=tried)
    >>> ax.get_legend_handles_labels()[1]
    ['diverged', 'best: 0.01']
    >>> plt.close(ax.figure)
    """
    table = _table(data, axes)
    names = _names(table, axes, scale or {})
    values, fates = np.ravel(np.asarray(table.values, float)), lanes.fates(table).ravel()
    shown = np.ma.masked_where(fates != lanes.OK, values)
    sides, lines = _lines(table, names, scale or {}, np.argsort(np.argsort(shown)))
    ax = style.axes(ax, 1.5 * len(sides) + 2.0, 3.8)
    for fate, look in LOST.items():
        if (fates == fate).any():
            lost = LineCollection(list(lines[fates == fate]), label=lanes.FATES[fate], **look)
            ax.add_collection(lost)
    if (fates == lanes.OK).any():
        _draw(ax, lines, shown, colors.norm(shown, limits, log), labels.axis_name(table) or "value")
    _frame(ax, sides)
    count = lanes.tally(len(fates), {lanes.FATES[k]: int((fates == k).sum()) for k in LOST})
    return style.finish(ax, names=(count, ""), title=title, legend=legend)


def _table(data: Any, axes: Any) -> xarray.DataArray:
    """What is drawn, with the coordinates that an array does not bring."""
    if isinstance(data, xarray.Dataset):
        if len(data) != 1:
            raise ValueError(f"a Dataset must have one variable, this has {list(data)}; select one")
        data = data[next(iter(data))]
    if isinstance(data, xarray.DataArray):
        return data
    values = np.asarray(data, float)
    if values.ndim != 1 or not isinstance(axes, Mapping):
        raise ValueError(f"an array must be [lanes] and have axes, a mapping; got {values.shape}")
    for name, coordinate in axes.items():
        if np.shape(coordinate) != values.shape:
            shape = np.shape(coordinate)
            raise ValueError(f"axis {name!r} has shape {shape}, but the data have {values.shape}")
    coordinates = {name: (LANE, np.asarray(given)) for name, given in axes.items()}
    return xarray.DataArray(values, coordinates, (LANE,))


def _names(table: xarray.DataArray, axes: Any, scale: Mapping[str, str]) -> list[str]:
    """The names of the axes: as given, else all coordinates that there are for lanes."""
    known = [name for name in dict.fromkeys([*table.dims, *table.coords]) if table[name].ndim]
    names = [str(name) for name in known if name not in (LANE, "status", "diverged_at")]
    unknown = [name for name in [*(axes or ()), *scale] if name not in names]
    if unknown:
        raise ValueError(f"no coordinate {unknown[0]!r}; the data have {', '.join(names)}")
    names = list(axes or names)
    if len(names) < 2:
        raise ValueError(f"parallel axes are two or more; got {names}")
    return names


def _lines(
    table: xarray.DataArray, names: list[str], scale: Mapping[str, str], ranks: NDArray[np.int_]
) -> tuple[list[scales.Side], NDArray[np.float64]]:
    """The axes, and the points [lanes, axes, 2] of the lines across them."""
    sides, points = [], np.empty((table.size, len(names), 2))
    for place, name in enumerate(names):
        values = table[name].broadcast_like(table).transpose(*table.dims).values.ravel()
        coordinate = xarray.DataArray(values, dims=LANE, name=name, attrs=table[name].attrs)
        cells, heights = scales.places(coordinate, scale.get(name, "auto"))
        if len(cells.centers) < min(FEW, table.size):
            gap = np.diff(np.unique(heights)).min(initial=0.5)
            heights = heights + 0.6 * gap * (ranks / (table.size - 1) - 0.5)
        sides.append(cells)
        points[:, place] = np.column_stack([np.full(table.size, place), heights])
    return sides, points


def _draw(ax: Axes, lines: NDArray, shown: np.ma.MaskedArray, norm: Normalize, name: str) -> None:
    """The lines of the lanes that have a value, the smallest last, with their color bar."""
    order = np.argsort(-shown)[: shown.count()]  # masked ones last
    clipped = np.ma.clip(shown[order], norm.vmin, norm.vmax)
    look = {"linewidths": 0.9, "alpha": float(np.clip(300 / len(order), 0.3, 0.9))}
    drawn = LineCollection(list(lines[order]), norm=norm, cmap=style.HEAT, rasterized=True, **look)
    drawn.set_array(clipped)
    ax.add_collection(drawn)
    colors.bar(ax, ScalarMappable(norm, style.HEAT), shown, name)
    best = {"color": "black", "linewidth": 1.8, "marker": "*", "markersize": 11}
    best |= {
        "markerfacecolor": "white",
        "path_effects": [withStroke(linewidth=3.5, foreground="white")],
    }
    first = int(shown.argmin())
    ax.plot(*lines[first].T, label=f"best: {shown[first]:.3g}", zorder=5, **best)


def _frame(ax: Axes, sides: Sequence[scales.Side]) -> None:
    """The axes with their ticks and names, in place of the frame."""
    ax.vlines(range(len(sides)), 0, 1, colors="black", linewidth=0.8, zorder=3)
    for place, cells in enumerate(sides):
        for height, text in zip(*scales.ticks(cells), strict=True):
            at = {"xytext": (-3, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
            look = {"fontsize": "small", "path_effects": AROUND, "zorder": 6}
            ax.annotate(f"{text} –", (place, height), **at, **look)
    ax.set(xlim=(-0.05, len(sides) - 0.95), ylim=(-0.02, 1.02), yticks=[])
    ax.set_xticks(range(len(sides)), [cells.name for cells in sides])
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
