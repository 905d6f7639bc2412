"""Many lanes in the plane at once: where each is at every record, and what befell it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom.plot import labels, lanes, surface

LANE, STEP, COORDINATE = "lane", "step", "coordinate"


class Swarm(NamedTuple):
    """The lanes that ran, as they are drawn; a lane that diverged rests where it did."""

    points: NDArray[np.float64]  # [lanes, records, 2]
    ends: NDArray[np.int_]  # [lanes], the last record of each that is drawn
    diverged: NDArray[np.bool_]  # [lanes]
    steps: NDArray[np.int_]  # [records]
    absent: dict[str, int]  # how many lanes are missing or failed
    color: xarray.DataArray | None  # [lanes], what they are colored by

    def box(self, extent: Any, loss: surface.Loss | None) -> surface.Box:
        """The frame in which they are drawn."""
        pairs = zip(self.points, self.ends + 1, strict=True)
        paths = [points[:end] for points, end in pairs]
        kept, lost = (
            [path for path, diverged in zip(paths, self.diverged, strict=True) if diverged == fate]
            for fate in (False, True)
        )
        return surface.frame(extent, loss, kept, lost)


def gather(paths: Any, color: Any) -> Swarm:
    """Read what an animation is given.

    Args:
        paths: label -> array [steps + 1, 2] or [lanes, steps + 1, 2], one such array, or a
            DataArray with the dims "step" and "coordinate", whose other dims are lanes.
        color: the name of a coordinate of a DataArray, or an array [lanes] for an array.

    Raises:
        ValueError: there are no paths, they have another shape, or color is not one of them.

    >>> herd = gather([[2.0, 2.0], [1.0, 1.0], [np.nan, 0.5]], None)
    >>> herd.points[0].tolist(), herd.ends, herd.diverged
    ([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0]], array([1]), array([ True]))
    """
    if isinstance(paths, xarray.DataArray):
        labels.require(paths, (STEP, COORDINATE))
        table = paths.transpose(..., STEP, COORDINATE)
    else:
        table, color = _table(paths, color)
    if table.sizes[COORDINATE] != 2:
        have = table.sizes[COORDINATE]
        raise ValueError(f"paths have two coordinates, these {have}; select two of them")
    one = table.isel({STEP: 0, COORDINATE: 0}, drop=True)
    if color is not None and (not isinstance(color, str) or color not in [*one.dims, *one.coords]):
        raise ValueError(f"no coordinate {color!r} to color by; there are {[*one.coords]}")
    status = lanes.told(one, "status", lanes.OK).ravel()
    flags = lanes.told(one, "diverged_at", -1).ravel()
    points = np.asarray(table.values, float).reshape(-1, table.sizes[STEP], 2)
    steps, ran = table[STEP].values, np.isin(status, (lanes.OK, lanes.DIVERGED))
    hue = None if color is None else one[color].broadcast_like(one).transpose(*one.dims)
    if hue is not None:
        hue = xarray.DataArray(hue.values.ravel()[ran], dims=LANE, name=color, attrs=hue.attrs)
    told = status[ran] == lanes.DIVERGED, flags[ran]
    return Swarm(*_resting(points[ran], steps, *told), steps, lanes.counts(status), hue)


def _resting(
    points: NDArray, steps: NDArray, diverged: NDArray[np.bool_], flags: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.bool_]]:
    """The points with every lane at rest from its last one on, the records of these, who diverged.

    A lane ends before its first point that cannot be drawn, and where it is flagged to diverge.
    """
    bad = ~lanes.drawable(points).all(axis=2) | ((flags >= 0)[:, None] & (steps > flags[:, None]))
    lost = bad.any(axis=1)
    ends = np.where(lost, np.maximum(bad.argmax(axis=1) - 1, 0), len(steps) - 1)
    place = np.minimum(np.arange(len(steps)), ends[:, None])[:, :, None]
    return np.take_along_axis(points, place, axis=1), ends, lost | diverged | (flags >= 0)


def _table(paths: Any, color: Any) -> tuple[xarray.DataArray, str | None]:
    """Plain arrays as one DataArray with lanes; the name of the coordinate that colors them."""
    named = paths if isinstance(paths, Mapping) else {"": paths}
    if not named:
        raise ValueError("there is nothing to draw: the mapping is empty; give label -> array")
    arrays = {str(label): np.asarray(array, float) for label, array in named.items()}
    for label, array in arrays.items():
        if array.ndim not in (2, 3):
            raise ValueError(
                f"each array must be [step, coordinate] or [lane, step, coordinate], but {label!r} "
                f"has shape {array.shape}"
            )
    herds = [array.reshape(-1, *array.shape[-2:]) for array in arrays.values()]
    longest = max(herd.shape[1] for herd in herds)
    rest = [((0, 0), (0, longest - herd.shape[1]), (0, 0)) for herd in herds]
    points = np.concatenate([np.pad(h, r, "edge") for h, r in zip(herds, rest, strict=True)])
    table = xarray.DataArray(points, dims=(LANE, STEP, COORDINATE))
    if isinstance(paths, Mapping):
        if color is not None:
            raise ValueError("a mapping is colored by its labels; color is for arrays [lanes]")
        color = np.repeat(list(arrays), [len(herd) for herd in herds])
    if color is None:
        return table, None
    if np.shape(color) != (len(points),):
        raise ValueError(f"color has shape {np.shape(color)}, but there are {len(points)} lanes")
    return table.assign_coords(color=(LANE, np.asarray(color))), "color"
