"""The result of a sweep: a labeled Dataset, or one for each group where they differ in kind."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.identity import group_label
from jaxmom.sweeps.compile.program import Output
from jaxmom.sweeps.space.components import Group, IndexMap, all_indices
from jaxmom.sweeps.space.space import Dim, Space

if TYPE_CHECKING:
    import xarray

MISSING, OK, DIVERGED, FAILED = range(4)
LANE_OUTPUTS = {  # what every lane has, whatever the function returns
    "status": Output((), (), "int8"),
    "diverged_at": Output((), (), "int32"),
}
_FILL = {"f": np.nan, "c": np.nan, "V": np.nan}
_ATTRS = {
    "status": {
        "long_name": "what became of the lane",
        "flag_values": [MISSING, OK, DIVERGED, FAILED],
        "flag_meanings": "missing ok diverged failed",
    },
    "diverged_at": {"long_name": "first count with a bad value, -1 if none", "units": "updates"},
    "step": {"long_name": "updates made before the record", "units": "updates"},
}


class DatasetLayout(NamedTuple):
    """Lanes that have the same outputs: one Dataset."""

    name: str
    dims: list[Dim]
    outputs: dict[str, Output]
    members: dict[int, IndexMap]  # number of a group -> its lanes among those of the frame

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the lanes."""
        return tuple(dim.size for dim in self.dims)


def dataset_layouts(
    space: Space, groups: Sequence[Group], outputs: Sequence[Mapping[str, Output]]
) -> list[DatasetLayout]:
    """One frame for all groups if they have the same outputs, else one for each."""
    complete = [dict(own) | LANE_OUTPUTS for own in outputs]
    if all(own == complete[0] for own in complete):
        rows = {number: group.rows for number, group in enumerate(groups)}
        return [DatasetLayout("", space.dims(), complete[0], rows)]
    return [
        DatasetLayout(
            group_label(g.labels), space.dims(g.parts), own, {n: all_indices(g.rows.size)}
        )
        for n, (g, own) in enumerate(zip(groups, complete, strict=True))
    ]


def add_status(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Add what became of each lane to the outputs of a chunk.

    Without a `diverged_at` among them, a lane with a number that is not finite has diverged.
    """
    lanes = {name: array for name, array in arrays.items() if name != "step"}
    size = len(next(iter(lanes.values())))
    if "diverged_at" in lanes:
        at = lanes["diverged_at"].astype(np.int32)
        bad = at >= 0
    else:
        at, bad = np.full(size, -1, np.int32), np.zeros(size, bool)
        for array in lanes.values():
            if array.dtype.kind in "fcV":
                bad |= ~np.isfinite(array.reshape(size, -1).astype(complex)).all(axis=1)
    status = np.where(bad, DIVERGED, OK).astype(np.int8)
    return arrays | {"diverged_at": at, "status": status}


def missing_values(output: Output, lanes: tuple[int, ...]) -> NDArray[Any]:
    """The array of an output for lanes that have not run: NaN, or 0 where there is none."""
    if output == LANE_OUTPUTS["diverged_at"]:
        return np.full(lanes, -1, np.int32)
    dtype = np.dtype(output.dtype)
    return np.full((*lanes, *output.shape), _FILL.get(dtype.kind, 0), dtype)


def assemble_dataset(
    frame_list: Sequence[DatasetLayout],
    variable: Callable[[DatasetLayout, str], Any],
    steps: Callable[[DatasetLayout], NDArray[Any]],
    attrs: Mapping[str, Any],
) -> "xarray.Dataset | xarray.DataTree":
    """Put names on the arrays of a sweep.

    Args:
      frame_list: From `dataset_layouts`.
      variable: The array of an output of a frame, of the frame's shape and then the output's.
      steps: The coordinate of the records of a frame.
      attrs: Of the result; what netCDF has no type for becomes JSON.

    Returns:
      A Dataset, or a DataTree with one for each group if their outputs differ.
    """
    import xarray

    nodes = {frame.name: label_dataset(frame, variable, steps, attrs) for frame in frame_list}
    if len(nodes) == 1 and "" in nodes:
        return nodes[""]
    return xarray.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()})


def label_dataset(
    frame: DatasetLayout,
    variable: Callable[[DatasetLayout, str], Any],
    steps: Callable[[DatasetLayout], NDArray[Any]],
    attrs: Mapping[str, Any],
) -> "xarray.Dataset":
    """The Dataset of one frame; the arguments are those of `assemble_dataset`."""
    import xarray

    told = {n: v if isinstance(v, str | int | float) else json.dumps(v) for n, v in attrs.items()}
    arrays, dims = {}, tuple(dim.name for dim in frame.dims)
    for name, output in frame.outputs.items():
        if name != "step":
            own = _ATTRS.get(name, {"long_name": name.replace("_", " ")})
            arrays[name] = (dims + output.dims, variable(frame, name), own)
    coords: dict[str, Any] = {}
    for dim in frame.dims:
        coords |= {name: (dim.name, column) for name, column in dim.coordinates.items()}
    if "step" in frame.outputs:
        coords["step"] = ("step", steps(frame), _ATTRS["step"])
    coords |= {name: arrays.pop(name) for name in LANE_OUTPUTS}
    return _squeezed(xarray.Dataset(arrays, coords, told), frame)


def _squeezed(dataset: Any, frame: DatasetLayout) -> Any:
    """Make the axes that tell a group from another plain coordinates of it."""
    alone = [d.name for d in frame.dims if d.size == 1 and f"{d.name}=" in frame.name]
    return dataset.squeeze(alone)
