"""What the maps share: where the cells of a coordinate begin and end, and on which scale."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from jaxmom.plot import labels

Warp = Callable[[Any], Any]


def _memory(beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 / (1 - beta)), clipped so that a limit or a tick at beta = 1 stays finite."""
    return -np.log(np.maximum(1 - np.asarray(beta), 1e-16))


# Each scale as the function that makes it linear, and the inverse.
SCALES: dict[str, tuple[Warp, Warp]] = {
    "linear": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "memory": (_memory, lambda memory: -np.expm1(-np.asarray(memory))),
}


class Side(NamedTuple):
    """One axis of a map: where its cells stand, and on which scale."""

    name: str
    centers: NDArray[np.float64]  # [cells]
    edges: NDArray[np.float64]  # [cells + 1]
    scale: str
    ticks: list[str] | None  # of categories, such as methods, their names


def side(coordinate: xarray.DataArray, scale: str) -> Side:
    """The cells along a coordinate whose values, if they are numbers, are sorted.

    Args:
        coordinate: [cells] numbers, or names such as those of methods, which stand side by side.
        scale: one of the `SCALES`, or "auto".

    Raises:
        ValueError: an unknown scale, or coordinates that are equal, not finite, or off the scale.

    >>> edges = side(xarray.DataArray([0.01, 0.1, 1.0], dims="learning_rate"), "auto").edges
    >>> (edges**2).round(6).tolist()
    [1e-05, 0.001, 0.1, 10.0]
    """
    name = labels.axis_name(coordinate) or str(coordinate.dims[0])
    if not np.issubdtype(coordinate.dtype, np.number):
        places = np.arange(coordinate.size, dtype=float)
        ticks = [str(value) for value in coordinate.values]
        return Side(name, places, edges(places, "linear"), "linear", ticks)
    centers = np.asarray(coordinate.values, float)
    if not np.isfinite(centers).all() or (np.diff(centers) <= 0).any():
        raise ValueError(
            f"the cells along {name!r} need distinct finite coordinates; got {centers}"
        )
    scale = _evenest(centers) if scale == "auto" else scale
    _check(name, centers, scale)
    return Side(name, centers, edges(centers, scale), scale, None)


def _check(name: str, centers: NDArray[np.float64], scale: str) -> None:
    """Refuse a scale that is unknown or has no place for some coordinate."""
    if scale not in SCALES:
        raise ValueError(f"no scale {scale!r} for {name!r}; there are auto, {', '.join(SCALES)}")
    if scale == "log" and centers[0] <= 0:
        raise ValueError(f"a log scale needs positive coordinates; {name!r} has {centers[0]:g}")
    if scale == "memory" and centers[-1] >= 1:
        raise ValueError(f"a memory scale needs coordinates below 1; {name!r} has {centers[-1]:g}")


def _evenest(centers: NDArray[np.float64]) -> str:
    """Logarithmic if the coordinates are spaced more evenly so, else linear."""
    if len(centers) < 3 or centers[0] <= 0:
        return "linear"
    linear, log = (np.diff(SCALES[scale][0](centers)) for scale in ("linear", "log"))
    return "log" if log.std() / log.mean() < linear.std() / linear.mean() else "linear"


def edges(centers: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """The edges [cells + 1] midway between the centers [cells] on that scale.

    The outer cells reach as far outward as inward. A single cell is one unit of the scale wide.

    >>> edges(np.array([0.0, 0.9]), "memory").round(4).tolist()
    [-2.1623, 0.6838, 0.9684]
    """
    forward, inverse = SCALES[scale]
    places = forward(centers)
    half = np.diff(places) / 2 if len(places) > 1 else np.array([0.5])
    first, last = places[0] - half[0], places[-1] + half[-1]
    return inverse(np.concatenate([[first], places[:-1] + half[: len(places) - 1], [last]]))


def apply(ax: Axes, x: Side, y: Side) -> None:
    """Give an Axes the scales, the ticks and the limits of two sides.

    The limits are fixed, so that what is drawn over the map later does not move its frame.
    """
    apply_one(ax, "x", x)
    apply_one(ax, "y", y)


def apply_one(ax: Axes, which: str, cells: Side) -> None:
    """Give the "x" or the "y" axis of an Axes the scale, the ticks and the limits of a side."""
    memory, axis = cells.scale == "memory", getattr(ax, f"{which}axis")
    ax.set(**{f"{which}scale": FuncScale(axis, SCALES["memory"]) if memory else cells.scale})
    if memory:
        _memory_ticks(axis, cells.edges[-1])
    if cells.ticks is not None:
        ax.set(**{f"{which}ticks": cells.centers, f"{which}ticklabels": cells.ticks})
    ax.set(**{f"{which}lim": cells.edges[[0, -1]]})


def _memory_ticks(axis: Axis, top: float) -> None:
    """Ticks where 1 / (1 - beta) is 1, 10, 100, ...; small ones at its other round values.

    A map that ends below 0.99 has room, and need, for a tick at 0.5 as well.
    """
    decades = 10.0 ** np.arange(16)
    memories = decades if top > 0.99 else np.array([1.0, 2.0, 10.0])
    axis.set_major_locator(FixedLocator((1 - 1 / memories).tolist()))
    axis.set_minor_locator(FixedLocator((1 - 1 / np.outer(decades, range(2, 10))).ravel().tolist()))
    axis.set_major_formatter(FuncFormatter(lambda beta, _: f"{beta:.15g}"))


def places(coordinate: xarray.DataArray, scale: str) -> tuple[Side, NDArray[np.float64]]:
    """The side of the values of a coordinate [lanes], and where on it, from 0 to 1, each is.

    >>> rates = xarray.DataArray([0.1, 1.0, 0.1, 0.01], dims="lane", name="learning_rate")
    >>> places(rates, "log")[1].round(6).tolist()
    [0.5, 0.833333, 0.5, 0.166667]
    """
    if np.issubdtype(coordinate.dtype, np.number):
        distinct, index = np.unique(coordinate.values, return_inverse=True)
    else:
        names = [str(value) for value in coordinate.values]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        distinct, index = np.array(list(numbers)), np.array([numbers[name] for name in names])
    one = xarray.DataArray(distinct, None, coordinate.dims, coordinate.name, coordinate.attrs)
    cells = side(one, scale)
    return cells, _share(cells, cells.centers)[index]


def _share(cells: Side, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far along a side values stand, from 0 to 1."""
    first, last, *places = SCALES[cells.scale][0](np.array([*cells.edges[[0, -1]], *values]))
    return (np.array(places) - first) / (last - first)


def ticks(cells: Side) -> tuple[NDArray[np.float64], list[str]]:
    """Where along a side, from 0 to 1, ticks belong, and their texts: round, if over six values."""
    if cells.ticks is not None:
        return _share(cells, cells.centers), cells.ticks
    few, (low, high) = len(cells.centers) <= 6, cells.centers[[0, -1]]
    values = cells.centers if few else _round(low, high, cells.scale)
    values = values[(values >= low) & (values <= high)]
    texts = [f"{value:{'.6g' if few else '.15g'}}".replace("-", "−") for value in values]
    return _share(cells, values), texts


def _round(low: float, high: float, scale: str) -> NDArray[np.float64]:
    """Round numbers on a scale, some of which may lie beyond these ends."""
    if scale == "memory" and high > 0.9:
        steps = [1, 2, 5] if 1 - low < 300 * (1 - high) else [1]
        return 1 - 1 / np.outer(10.0 ** np.arange(16), steps).ravel()
    if scale == "log" and high >= 30 * low:
        return np.asarray(LogLocator(numticks=7).tick_values(low, high))
    return np.asarray(MaxNLocator(5).tick_values(low, high))
