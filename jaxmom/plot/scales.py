"""What the maps share: where the cells of a coordinate begin and end, and on which scale."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, FuncFormatter
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
    for which, cells, axis in (("x", x, ax.xaxis), ("y", y, ax.yaxis)):
        memory = cells.scale == "memory"
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
