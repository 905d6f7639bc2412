"""Layouts of results as labeled arrays: one Dataset, or one for each group if outputs differ."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxmom._outcomes import Status
from jaxmom.sweeps.compile.outputs import Output
from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.space.groups import Group, label_groups
from jaxmom.sweeps.space.index_maps import IndexMap, all_indices
from jaxmom.sweeps.space.space import Dim, Space

if TYPE_CHECKING:
    import xarray


MISSING, OK, DIVERGED, FAILED = Status

LANE_OUTPUTS = {  # what every lane has, whatever the function returns
    "status": Output((), (), "int8"),
    "diverged_at": Output((), (), "int32"),
}
_FILL = {"f": np.nan, "c": np.nan, "V": np.nan}
_ATTRS = {
    "status": {
        "long_name": "outcome of the lane",
        "flag_values": [int(status) for status in Status],
        "flag_meanings": " ".join(status.name.lower() for status in Status),
    },
    "diverged_at": {"long_name": "first count with a bad value, -1 if none", "units": "updates"},
    "ended_at": {"long_name": "updates that a halving ran", "units": "updates"},
    "step": {"long_name": "updates made before the record", "units": "updates"},
}


class DatasetLayout(NamedTuple):
    """Lanes that have the same outputs: one Dataset.

    Attributes:
      name: That of the group, if the result is a tree of groups; else empty.
      dims: The dimensions of the lanes.
      outputs: The arrays of one lane, by name.
      members: For the number of each group, its lanes among those of the layout.
      labels: The axes that tell the group from the others, if it has a name.
    """

    name: str
    dims: list[Dim]
    outputs: dict[str, Output]
    members: dict[int, IndexMap]
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the lanes."""
        return tuple(dim.size for dim in self.dims)


VariableFn: TypeAlias = Callable[[DatasetLayout, str], Any]  # an output of all lanes of a layout
StepsFn: TypeAlias = Callable[[DatasetLayout], NDArray[Any]]  # the coordinate of its records


def dataset_layouts(
    space: Space, groups: Sequence[Group], outputs: Sequence[Mapping[str, Output]]
) -> list[DatasetLayout]:
    """Return one layout for all groups if they have the same outputs, else one for each.

    Args:
      space: What is swept.
      groups: The groups of the space, in its order.
      outputs: The outputs of each group.
    """
    complete = [dict(own) | LANE_OUTPUTS for own in outputs]
    if all(own == complete[0] for own in complete):
        rows = {number: group.rows for number, group in enumerate(groups)}
        return [DatasetLayout("", space.dims(), complete[0], rows)]
    named = zip(label_groups(groups), groups, complete, strict=True)
    return [
        DatasetLayout(
            name, space.dims(group.parts), own, {n: all_indices(group.rows.size)}, (*group.labels,)
        )
        for n, (name, group, own) in enumerate(named)
    ]


def add_status(arrays: Arrays) -> Arrays:
    """Add the outcome of each lane to the outputs of a chunk.

    A lane has diverged if its `diverged_at` says so. Without that output, it has diverged if its
    "value" is not finite, and without a "value", if none of its outputs is finite: an output that
    may be infinite or NaN says nothing about the others.

    Args:
      arrays: The outputs by name, [lanes, ...]; ``step`` is common to all lanes.

    Returns:
      These, and ``status`` and ``diverged_at`` [lanes].
    """
    lanes = {name: array for name, array in arrays.items() if name != "step"}
    size = len(next(iter(lanes.values())))
    if "diverged_at" in lanes:
        at = lanes["diverged_at"].astype(np.int32)
        is_bad = at >= 0
    else:
        at = np.full(size, -1, np.int32)
        judged = [lanes["value"]] if "value" in lanes else list(lanes.values())
        judged = [array for array in judged if array.dtype.kind in _FILL]
        bad = [~np.isfinite(a.reshape(size, -1).astype(complex)).all(axis=1) for a in judged]
        is_bad = np.all(bad, axis=0) if bad else np.zeros(size, bool)
    status = np.where(is_bad, DIVERGED, OK).astype(np.int8)
    return arrays | {"diverged_at": at, "status": status}


def missing_values(output: Output, lanes: tuple[int, ...]) -> NDArray[Any]:
    """Return the array of an output for lanes that have not run: NaN, or 0 for integers.

    Args:
      output: For one lane.
      lanes: The shape of the lanes.
    """
    if output == LANE_OUTPUTS["diverged_at"]:
        return np.full(lanes, -1, np.int32)
    dtype = np.dtype(output.dtype)
    return np.full((*lanes, *output.shape), _FILL.get(dtype.kind, 0), dtype)


def assemble_dataset(
    layouts: Sequence[DatasetLayout],
    variable: VariableFn,
    steps: StepsFn,
    attrs: Mapping[str, Any],
) -> "xarray.Dataset | xarray.DataTree":
    """Put names on the arrays of a sweep.

    Args:
      layouts: From `dataset_layouts`.
      variable: The array of an output, of the shape of the layout and then the output's.
      steps: The coordinate of the records of a layout.
      attrs: The attributes of the result; what netCDF has no type for becomes JSON.

    Returns:
      A Dataset, or a DataTree with one for each group if their outputs differ.
    """
    import xarray

    nodes = {layout.name: label_dataset(layout, variable, steps, attrs) for layout in layouts}
    if len(nodes) == 1 and "" in nodes:
        return nodes[""]
    return xarray.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()})


def label_dataset(
    layout: DatasetLayout, variable: VariableFn, steps: StepsFn, attrs: Mapping[str, Any]
) -> "xarray.Dataset":
    """Return the Dataset of one layout.

    Args:
      layout: From `dataset_layouts`.
      variable: As for `assemble_dataset`.
      steps: As for `assemble_dataset`.
      attrs: As for `assemble_dataset`.

    Returns:
      A Dataset with the axes of the lanes as its first dimensions, and the outcome of the lanes as
      coordinates.
    """
    import xarray

    plain = {n: v if isinstance(v, str | int | float) else json.dumps(v) for n, v in attrs.items()}
    arrays, dims = {}, tuple(dim.name for dim in layout.dims)
    for name, output in layout.outputs.items():
        if name != "step":
            own = _ATTRS.get(name, {"long_name": name.replace("_", " ")})
            arrays[name] = (dims + output.dims, variable(layout, name), own)
    coords: dict[str, Any] = {}
    for dim in layout.dims:
        coords |= {name: (dim.name, column) for name, column in dim.coordinates.items()}
    if "step" in layout.outputs:
        coords["step"] = ("step", steps(layout), _ATTRS["step"])
    coords |= {name: arrays.pop(name) for name in LANE_OUTPUTS}
    return _squeeze_labels(xarray.Dataset(arrays, coords, plain), layout)


def _squeeze_labels(dataset: "xarray.Dataset", layout: DatasetLayout) -> "xarray.Dataset":
    """Make the axes that distinguish groups plain coordinates of the group.

    In the Dataset of one group such an axis has one value, and a dimension of it would only be in
    the way.
    """
    alone = [d.name for d in layout.dims if d.size == 1 and d.name in layout.labels]
    return dataset.squeeze(alone)
