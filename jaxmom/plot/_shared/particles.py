"""Many lanes in the plane at once: the position of each at every record, and its status."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom.plot._shared import labels, status, surface

LANE, STEP, COORDINATE = "lane", "step", "coordinate"


class Particles(NamedTuple):
    """The lanes that ran, as they are drawn; a lane that diverged stays at its last point."""

    points: NDArray[np.float64]  # [lanes, records, 2]
    ends: NDArray[np.int_]  # [lanes], the last record of each that is drawn
    diverged: NDArray[np.bool_]  # [lanes]
    steps: NDArray[np.int_]  # [records]
    absent: dict[str, int]  # how many lanes are missing or failed
    color: xarray.DataArray | None  # [lanes], the values that color them

    def choose_frame(self, extent: Any, loss: surface.LossLike | None) -> surface.Box:
        """Return the frame in which they are drawn."""
        pairs = zip(self.points, self.ends + 1, strict=True)
        paths = [points[:end] for points, end in pairs]
        finished = [path for path, lost in zip(paths, self.diverged, strict=True) if not lost]
        diverged = [path for path, lost in zip(paths, self.diverged, strict=True) if lost]
        return surface.choose_frame(extent, loss, finished, diverged)


def name_coordinate_dims(paths: Any) -> Any:
    """Return the paths with their dims of two coordinates named "coordinate".

    A sweep that records an array `params` names its dim "params_0"; so it is the dim of that name,
    or else the only one that ends in "_0". Arrays without names of dims stay as they are.

    Example:
      >>> paths = xarray.DataArray(np.zeros((5, 2)), dims=("step", "params_0"), name="params")
      >>> name_coordinate_dims(paths).dims
      ('step', 'coordinate')
    """
    if isinstance(paths, Mapping):
        return {label: name_coordinate_dims(path) for label, path in paths.items()}
    if not isinstance(paths, xarray.DataArray):
        return paths
    own = [dim for dim in paths.dims if dim == f"{paths.name}_0"]
    own = own or [dim for dim in paths.dims if str(dim).endswith("_0")]
    if COORDINATE in paths.dims or len(own) != 1:
        return paths
    return paths.rename({own[0]: COORDINATE})


def read_particles(paths: Any, color: Any) -> Particles:
    """Read the data of an animation.

    Args:
      paths: label -> array [steps + 1, 2] or [lanes, steps + 1, 2], one such array, or a
        DataArray with the dims "step" and "coordinate", whose other dims are lanes.
      color: The name of a coordinate of a DataArray, or an array [lanes] for an array.

    Raises:
      ValueError: There are no paths, they have another shape, or color is not one of them.

    Example:
      >>> particles = read_particles([[2.0, 2.0], [1.0, 1.0], [np.nan, 0.5]], None)
      >>> particles.points[0].tolist(), particles.ends, particles.diverged
      ([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0]], array([1]), array([ True]))
    """
    paths = name_coordinate_dims(labels.select_variable(paths))
    if isinstance(paths, xarray.DataArray):
        labels.require_dims(paths, (STEP, COORDINATE))
        table = paths.transpose(..., STEP, COORDINATE)
    else:
        table, color = _tabulate_paths(paths, color)
    if table.sizes[COORDINATE] != 2:
        have = table.sizes[COORDINATE]
        raise ValueError(f"paths have two coordinates, these {have}; select two of them")
    labels.require_values(table)
    one = table.isel({STEP: 0, COORDINATE: 0}, drop=True)
    statuses = status.read_coordinate(one, "status", status.OK).ravel()
    flags = status.read_coordinate(one, "diverged_at", -1).ravel()
    points = np.asarray(table.values, float).reshape(-1, table.sizes[STEP], 2)
    steps, ran = table[STEP].values, np.isin(statuses, (status.OK, status.DIVERGED))
    diverged = statuses[ran] == status.DIVERGED
    resting, ends, diverged = _freeze_diverged(points[ran], steps, diverged, flags[ran])
    absent, hue = status.count_absent(statuses), _read_color(one, color, ran)
    return Particles(resting, ends, diverged, steps, absent, hue)


def _read_color(one: xarray.DataArray, color: Any, ran: NDArray) -> xarray.DataArray | None:
    """Return the coordinate that colors the lanes that ran, or None."""
    if color is None:
        return None
    if not isinstance(color, str) or color not in [*one.dims, *one.coords]:
        raise ValueError(f"no coordinate {color!r} to color by; there are {[*one.coords]}")
    hue = one[color].broadcast_like(one).transpose(*one.dims)
    return xarray.DataArray(hue.values.ravel()[ran], dims=LANE, name=color, attrs=hue.attrs)


def _freeze_diverged(
    points: NDArray, steps: NDArray, diverged: NDArray[np.bool_], flags: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.bool_]]:
    """Return the points with every lane held at its last one, the record of it, and which diverged.

    A lane ends before its first point that cannot be drawn, and at the step in its flag.
    """
    late = (flags >= 0)[:, None] & (steps > flags[:, None])
    bad = ~status.is_drawable(points).all(axis=2) | late
    lost = bad.any(axis=1)
    ends = np.where(lost, np.maximum(bad.argmax(axis=1) - 1, 0), len(steps) - 1)
    place = np.minimum(np.arange(len(steps)), ends[:, None])[:, :, None]
    return np.take_along_axis(points, place, axis=1), ends, lost | diverged | (flags >= 0)


def _tabulate_paths(paths: Any, color: Any) -> tuple[xarray.DataArray, str | None]:
    """Return plain arrays as one DataArray with lanes, and the name of the coloring coordinate."""
    named = paths if isinstance(paths, Mapping) else {"": paths}
    if not named:
        raise ValueError("there is nothing to draw: the data are empty; give label -> array")
    arrays = {str(label): labels.to_floats(array) for label, array in named.items()}
    for label, array in arrays.items():
        if array.ndim not in (2, 3):
            raise ValueError(
                f"each array must be [step, coordinate] or [lane, step, coordinate], but {label!r} "
                f"has shape {array.shape}"
            )
        if array.size == 0:
            raise ValueError(f"there is nothing to draw: {label!r} has shape {array.shape}")
    lanes = [array.reshape(-1, *array.shape[-2:]) for array in arrays.values()]
    longest = max(array.shape[1] for array in lanes)
    rest = [((0, 0), (0, longest - array.shape[1]), (0, 0)) for array in lanes]
    points = np.concatenate([np.pad(a, r, "edge") for a, r in zip(lanes, rest, strict=True)])
    table = xarray.DataArray(points, dims=(LANE, STEP, COORDINATE))
    if isinstance(paths, Mapping):
        if color is not None:
            raise ValueError("a mapping is colored by its labels; color is for arrays [lanes]")
        color = np.repeat(list(arrays), [len(array) for array in lanes])
    if color is None:
        return table, None
    if np.shape(color) != (len(points),):
        raise ValueError(f"color has shape {np.shape(color)}, but there are {len(points)} lanes")
    return table.assign_coords(color=(LANE, np.asarray(color))), "color"
