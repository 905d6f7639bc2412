"""Axis scales: linear, logarithmic or memory; the edges of cells, and round ticks."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from jaxmom.plot._shared import labels

WarpFn: TypeAlias = Callable[[Any], NDArray[np.float64]]  # coordinates -> coordinates


def _log_memory(beta: Any) -> NDArray[np.float64]:
    """Return log(1 / (1 - beta)), clipped so that a limit or a tick at beta = 1 stays finite."""
    return -np.log(np.maximum(1 - np.asarray(beta), 1e-16))


# Each scale as the function that makes it linear, and the inverse.
SCALES: dict[str, tuple[WarpFn, WarpFn]] = {
    "linear": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "memory": (_log_memory, lambda memory: -np.expm1(-np.asarray(memory))),
}


class AxisScale(NamedTuple):
    """One axis of a map: the positions of its cells, and their scale."""

    name: str
    centers: NDArray[np.float64]  # [cells]
    edges: NDArray[np.float64]  # [cells + 1]
    kind: str  # one of the `SCALES`
    categories: list[str] | None  # names such as those of methods, if these are not numbers


def fit_scale(coordinate: xarray.DataArray, kind: str) -> AxisScale:
    """Return the scale of a coordinate whose values, if they are numbers, are sorted.

    Args:
      coordinate: [cells] numbers, or names such as those of methods, which stand side by side.
      kind: One of the `SCALES`, or "auto" for the one that spaces the coordinates most evenly.

    Raises:
      ValueError: An unknown scale, or coordinates that are equal, not finite, or off the scale.

    Example:
      >>> rates = xarray.DataArray([0.01, 0.1, 1.0], dims="learning_rate")
      >>> (fit_scale(rates, "auto").edges**2).round(6).tolist()
      [1e-05, 0.001, 0.1, 10.0]
    """
    name = labels.name_axis(coordinate) or str(coordinate.dims[0])
    if not np.issubdtype(coordinate.dtype, np.number):
        positions = np.arange(coordinate.size, dtype=float)
        categories = [str(value) for value in coordinate.values]
        return AxisScale(name, positions, find_edges(positions, "linear"), "linear", categories)
    centers = np.asarray(coordinate.values, float)
    if not np.isfinite(centers).all() or (np.diff(centers) <= 0).any():
        raise ValueError(
            f"the cells along {name!r} need distinct finite coordinates; got {centers}"
        )
    kind = _choose_kind(centers) if kind == "auto" else kind
    _check_kind(name, centers, kind)
    return AxisScale(name, centers, find_edges(centers, kind), kind, None)


def _check_kind(name: str, centers: NDArray[np.float64], kind: str) -> None:
    """Raise a ValueError if a scale is unknown or has no place for some coordinate."""
    if kind not in SCALES:
        raise ValueError(f"no scale {kind!r} for {name!r}; there are auto, {', '.join(SCALES)}")
    if kind == "log" and centers[0] <= 0:
        raise ValueError(f"a log scale needs positive coordinates; {name!r} has {centers[0]:g}")
    if kind == "memory" and centers[-1] >= 1:
        raise ValueError(f"a memory scale needs coordinates below 1; {name!r} has {centers[-1]:g}")


def _choose_kind(centers: NDArray[np.float64]) -> str:
    """Return the scale on which the coordinates are spaced most evenly; of equal ones the first.

    The memory scale is for coordinates in [0, 1) whose memories span a decade: over less than that
    it hardly differs from the linear one.
    """
    if len(centers) < 3:
        return "linear"
    kinds = ["linear"]
    kinds += ["log"] if centers[0] > 0 else []
    is_memory = centers[0] >= 0 and centers[-1] < 1 and 1 - centers[0] >= 10 * (1 - centers[-1])
    kinds += ["memory"] if is_memory else []
    steps = {kind: np.diff(SCALES[kind][0](centers)) for kind in kinds}
    return min(kinds, key=lambda kind: steps[kind].std() / steps[kind].mean())


def find_edges(centers: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the edges [cells + 1] midway between the centers [cells] on that scale.

    The outer cells reach as far outward as inward. A single cell is one unit of the scale wide.

    Example:
      >>> find_edges(np.array([0.0, 0.9]), "memory").round(4).tolist()
      [-2.1623, 0.6838, 0.9684]
    """
    forward, inverse = SCALES[kind]
    positions = forward(centers)
    half = np.diff(positions) / 2 if len(positions) > 1 else np.array([0.5])
    inner = positions[:-1] + half[: len(positions) - 1]
    return inverse(np.concatenate([[positions[0] - half[0]], inner, [positions[-1] + half[-1]]]))


def apply_scale(ax: Axes, which: str, scale: AxisScale) -> None:
    """Give the "x" or the "y" axis of an Axes the scale, its ticks and its limits.

    The limits are fixed, so that a line that is drawn over a map later does not move its frame.
    """
    memory, axis = scale.kind == "memory", getattr(ax, f"{which}axis")
    ax.set(**{f"{which}scale": FuncScale(axis, SCALES["memory"]) if memory else scale.kind})
    if scale.kind != "linear":
        _set_ticks(axis, scale.edges[0], scale.edges[-1], scale.kind)
    if scale.categories is not None:
        ax.set(**{f"{which}ticks": scale.centers, f"{which}ticklabels": scale.categories})
    ax.set(**{f"{which}lim": scale.edges[[0, -1]]})


def _set_ticks(axis: Axis, low: float, high: float, kind: str) -> None:
    """Set ticks at decades or at their first, second and fifth parts, whichever has four to seven.

    The decades of the memory scale are 0, 0.9, 0.99, ... A log axis of more than three decades
    keeps the ticks of matplotlib.
    """
    decades = 10.0 ** np.arange(-20, 20)
    fine = np.outer(decades, [1, 2, 5]).ravel()
    small = np.outer(decades, range(1, 10)).ravel()
    if kind == "memory":
        decades, fine, small = (
            1 - 1 / memories[memories >= 1] for memories in (decades, fine, small)
        )
        axis.set_minor_locator(FixedLocator(small[small < 1].tolist()))
    elif high > 1000 * low:
        return
    choices = [ticks[(ticks >= low) & (ticks <= high)] for ticks in (decades, fine)]
    ticks = next((ticks for ticks in choices if 4 <= len(ticks) <= 7), choices[0])
    if len(ticks) < 3:
        ticks = np.asarray(MaxNLocator(5).tick_values(low, high))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
    axis.set_major_locator(FixedLocator(ticks.tolist()))
    axis.set_major_formatter(FixedFormatter(labels.format_numbers(ticks)))
    axis.set_minor_formatter(NullFormatter())


class RoundDecades(LogLocator):
    """Ticks at powers of ten whose exponents are multiples of 1, 2, 5, 10, 20, 50, ...

    Matplotlib's own locator takes strides such as 24, from any exponent, over 200 decades.
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two limits, which are positive."""
        low, high = np.log10(sorted((vmin, vmax)))
        strides = np.outer(10.0 ** np.arange(3), [1, 2, 5]).ravel()
        stride = strides[np.argmax(high - low <= 7 * strides)]
        if stride == 1:
            return super().tick_values(vmin, vmax)
        return 10.0 ** (stride * np.arange(np.ceil(low / stride), np.floor(high / stride) + 1))


def make_y_log(ax: Axes) -> None:
    """Make the y axis of an Axes logarithmic, with ticks at round powers of ten."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(RoundDecades())


def place_on_scale(
    coordinate: xarray.DataArray, kind: str
) -> tuple[AxisScale, NDArray[np.float64]]:
    """Return the scale of the values of a coordinate [lanes], and the place of each, from 0 to 1.

    Example:
      >>> rates = xarray.DataArray([0.1, 1.0, 0.1, 0.01], dims="lane", name="learning_rate")
      >>> place_on_scale(rates, "log")[1].round(6).tolist()
      [0.5, 0.833333, 0.5, 0.166667]
    """
    if np.issubdtype(coordinate.dtype, np.number):
        distinct, index = np.unique(coordinate.values, return_inverse=True)
    else:
        names = [str(value) for value in coordinate.values]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        distinct, index = np.array(list(numbers)), np.array([numbers[name] for name in names])
    one = xarray.DataArray(distinct, None, coordinate.dims, coordinate.name, coordinate.attrs)
    scale = fit_scale(one, kind)
    return scale, _share_along(scale, scale.centers)[index]


def _share_along(scale: AxisScale, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far along a scale values stand, from 0 to 1."""
    warp = SCALES[scale.kind][0]
    first, last, *positions = warp(np.array([*scale.edges[[0, -1]], *values]))
    return (np.array(positions) - first) / (last - first)


def choose_ticks(scale: AxisScale) -> tuple[NDArray[np.float64], list[str]]:
    """Return the places of ticks along a scale, from 0 to 1, and their labels.

    Up to six values have a tick each; more have ticks at round numbers.
    """
    if scale.categories is not None:
        return _share_along(scale, scale.centers), scale.categories
    values = scale.centers
    if len(values) > 6:
        values = round_values(values[0], values[-1], scale.kind)
    texts = [text.replace("-", "−") for text in labels.format_numbers(values)]
    return _share_along(scale, values), texts


def round_values(low: float, high: float, kind: str) -> NDArray[np.float64]:
    """Return round numbers on a scale between two values, or these two if there are too few.

    Example:
      >>> round_values(0.0, 0.9995, "memory").tolist()
      [0.0, 0.9, 0.99, 0.999]
    """
    if kind == "memory" and high > 0.9:
        steps = [1, 2, 5] if 1 - low < 300 * (1 - high) else [1]
        values = 1 - 1 / np.outer(10.0 ** np.arange(16), steps).ravel()
    elif kind == "log" and high >= 30 * low:
        values = np.asarray(LogLocator(numticks=7).tick_values(low, high))
    else:
        values = np.asarray(MaxNLocator(5).tick_values(low, high))
    inside = values[(values >= low) & (values <= high)]
    return inside if len(inside) > 1 else np.unique([low, high])
