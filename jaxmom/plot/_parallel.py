"""Parallel coordinates: a value over more than two hyperparameters, one line for each lane."""

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

from jaxmom.plot._shared import axis_scale, colors, labels, status, style

_LANE, _FEW = "lane", 16
# The lines of the lanes without a value, beneath those that have one.
_LOST: dict[int, dict[str, Any]] = {
    status.DIVERGED: {"colors": "#9a9a9a", "linewidths": 0.5},
    status.MISSING: {"colors": "#9a9a9a", "linewidths": 0.7, "linestyles": "dotted"},
    status.FAILED: {"colors": "#D55E00", "linewidths": 0.7, "linestyles": "dashed"},
}


def parallel(
    data: xarray.DataArray | xarray.Dataset | ArrayLike,
    *,
    axes: Mapping[str, ArrayLike] | Sequence[str] | None = None,
    log: bool = True,
    limits: colors.Limits = (None, None),
    scale: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw every lane as one line across an axis for each hyperparameter, colored by its value.

    The smaller the value, the further in front its line is; the smallest one has stars. Where lanes
    share one of fewer than 16 values of an axis, their lines fan out around it, from the smallest
    value at the bottom to those without one at the top, so that they do not hide others. Lanes that
    diverged are gray beneath all others, missing ones dotted, failed ones orange and dashed; the
    legend names those there are. Ten thousand lanes take a second.

    Args:
      data: A DataArray with the dim "lane" and coordinates along it, or with a dim for each
        hyperparameter, or with both; a Dataset of one such variable; or an array [lanes]. The
        coordinates `status` (0 missing, 1 ok, 2 diverged, 3 failed) and `diverged_at` (-1 for
        never) are respected. A value that is not finite has diverged.
      axes: For a DataArray the names of the coordinates to draw, in order, by default all; for an
        array name -> [lanes].
      log: Whether colors are logarithmic. Values at or below zero have the lowest color.
      limits: The values of the lowest and of the highest color; None is the data's own. The
        color bar is pointed where there are values beyond.
      scale: name -> "linear", "log", "memory" (for beta near 1: even in the logarithm of 1 / (1 -
        beta)), or "auto", the default, for the one that spaces the values most evenly.
      ax: The Axes; a new figure by default. The color bar takes its space from it.
      title: The title of the Axes; given here, it stands clear of the legend above them.
      legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes. The axes stand at x = 0, 1, 2, ...; y goes from 0 to 1.

    Raises:
      ValueError: Fewer than two axes, unknown names or scales, coordinates of a wrong length or
        not finite, or a logarithm of values of which none is positive.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> tried = {"beta": [0.0, 0.9, 0.99], "learning_rate": [0.1, 0.1, 1.0]}
      >>> ax = parallel([1.0, 0.01, float("inf")], axes=tried)
      >>> ax.get_legend_handles_labels()[1]
      ['diverged', 'best: 0.01']
      >>> plt.close(ax.figure)
    """
    table = _read_lanes(data, axes)
    labels.require_values(table)
    names = _choose_axes(table, axes, scale or {})
    values = np.ravel(np.asarray(table.values, float))
    statuses = status.read_statuses(table).ravel()
    shown = np.ma.masked_where(statuses != status.OK, values)
    scales, lines = _place_lanes(table, names, scale or {}, np.argsort(np.argsort(shown)))
    ax = style.get_axes(ax, 1.5 * len(scales) + 2.0, 3.8)
    for code, look in _LOST.items():
        if (statuses == code).any():
            lost = LineCollection(list(lines[statuses == code]), label=status.NAMES[code], **look)
            ax.add_collection(lost)
    if (statuses == status.OK).any():
        norm = colors.make_norm(shown, limits, log)
        _draw_lanes(ax, lines, shown, norm, labels.name_axis(table) or "value")
    _draw_frame(ax, scales)
    counts = {status.NAMES[code]: int((statuses == code).sum()) for code in _LOST}
    summary = status.summarize_lanes(len(statuses), counts)
    return style.finish_axes(ax, names=(summary, ""), title=title, legend=legend)


def _read_lanes(data: Any, axes: Any) -> xarray.DataArray:
    """Return the data as a DataArray, with the coordinates that a plain array does not bring."""
    data = labels.select_variable(data)
    if isinstance(data, xarray.DataArray):
        return data
    values = labels.to_floats(data)
    if values.ndim != 1 or not isinstance(axes, Mapping):
        raise ValueError(f"an array must be [lanes] and have axes, a mapping; got {values.shape}")
    for name, coordinate in axes.items():
        if np.shape(coordinate) != values.shape:
            shape = np.shape(coordinate)
            raise ValueError(f"axis {name!r} has shape {shape}, but the data have {values.shape}")
    coordinates = {name: (_LANE, np.asarray(given)) for name, given in axes.items()}
    return xarray.DataArray(values, coordinates, (_LANE,))


def _choose_axes(table: xarray.DataArray, axes: Any, scale: Mapping[str, str]) -> list[str]:
    """Return the names of the axes: as given, else all coordinates that there are for lanes."""
    known = [name for name in dict.fromkeys([*table.dims, *table.coords]) if table[name].ndim]
    names = [str(name) for name in known if name not in (_LANE, "status", "diverged_at")]
    unknown = [name for name in [*(axes or ()), *scale] if name not in names]
    if unknown:
        raise ValueError(f"no coordinate {unknown[0]!r}; the data have {', '.join(names)}")
    names = list(axes or names)
    if len(names) < 2:
        raise ValueError(f"parallel axes are two or more; got {names}")
    return names


def _place_lanes(
    table: xarray.DataArray, names: list[str], scale: Mapping[str, str], ranks: NDArray[np.int_]
) -> tuple[list[axis_scale.AxisScale], NDArray[np.float64]]:
    """Return the axes, and the points [lanes, axes, 2] of the lines across them."""
    scales, points = [], np.empty((table.size, len(names), 2))
    for place, name in enumerate(names):
        values = table[name].broadcast_like(table).transpose(*table.dims).values.ravel()
        coordinate = xarray.DataArray(values, dims=_LANE, name=name, attrs=table[name].attrs)
        fitted, heights = axis_scale.place_on_scale(coordinate, scale.get(name, "auto"))
        if len(fitted.centers) < min(_FEW, table.size):
            gap = np.diff(np.unique(heights)).min(initial=0.5)
            heights = heights + 0.6 * gap * (ranks / (table.size - 1) - 0.5)
        scales.append(fitted)
        points[:, place] = np.column_stack([np.full(table.size, place), heights])
    return scales, points


def _draw_lanes(
    ax: Axes, lines: NDArray, shown: np.ma.MaskedArray, norm: Normalize, name: str
) -> None:
    """Draw the lines of the lanes that have a value, the smallest last, with their color bar."""
    order = np.argsort(-shown)[: shown.count()]  # masked ones last
    clipped = np.ma.clip(shown[order], norm.vmin, norm.vmax)
    look: dict[str, Any] = {"linewidths": 0.9, "cmap": style.HEAT, "rasterized": True}
    look["alpha"] = float(np.clip(300 / len(order), 0.3, 0.9))
    drawn = LineCollection(list(lines[order]), norm=norm, **look)
    drawn.set_array(clipped)
    ax.add_collection(drawn)
    colors.draw_color_bar(ax, ScalarMappable(norm, style.HEAT), shown, name)
    best: dict[str, Any] = {"color": style.get_ink(ax), "linewidth": 1.8, "zorder": 5}
    best |= {"marker": "*", "markersize": 11, "markerfacecolor": style.get_background(ax)}
    first = int(shown.argmin())
    effects = [withStroke(linewidth=3.5, foreground=style.get_background(ax))]
    ax.plot(*lines[first].T, label=f"best: {shown[first]:.3g}", path_effects=effects, **best)


def _draw_frame(ax: Axes, scales: Sequence[axis_scale.AxisScale]) -> None:
    """Draw the axes with their ticks and names, in place of the frame."""
    ink = style.get_ink(ax)
    ax.vlines(range(len(scales)), 0, 1, colors=ink, linewidth=0.8, zorder=3)
    effects = [withStroke(linewidth=2.5, foreground=style.get_background(ax))]
    look: dict[str, Any] = {"fontsize": "small", "color": ink, "path_effects": effects, "zorder": 6}
    look |= {"xytext": (-3, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    for place, scale in enumerate(scales):
        for height, text in zip(*axis_scale.choose_ticks(scale), strict=True):
            ax.annotate(f"{text} –", (place, height), **look)
    ax.set(xlim=(-0.05, len(scales) - 0.95), ylim=(-0.02, 1.02), yticks=[])
    ax.set_xticks(range(len(scales)), [scale.name for scale in scales])
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
