"""The call that runs a lane again, as text."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jaxmom.explorer.axes import is_given
from jaxmom.explorer.cells import Cells, list_axes
from jaxmom.explorer.views import MapView

if TYPE_CHECKING:
    import xarray


def lane_arguments(runs: "xarray.Dataset", cells: Cells, cell: int) -> dict[str, list[Any]]:
    """Return the values of each argument in the lanes of a cell.

    An argument that the lane of a union does not have is left out. An axis of objects, such as a
    stack of methods, has its label.

    Returns:
      Argument -> its value in a list, or all values of an argument that the median is over.
    """
    place = dict(zip(cells.dims, np.unravel_index(cell, cells.shape), strict=True))
    found = {
        name: axis.values[[place[axis.dim]]]
        for name, axis in cells.axes.items()
        if is_given(axis.values[[place[axis.dim]]])[0]
    }
    found |= {name: runs[name].values for name, dim in list_axes(runs).items() if dim in cells.over}
    found |= {  # what tells a group from others, in the Dataset of one group
        str(name): coordinate.values[None]
        for name, coordinate in runs.coords.items()
        if coordinate.ndim == 0 and name != "step"
    }
    return {name: values.tolist() for name, values in found.items()}


def write_call(fn: str, arguments: Mapping[str, Sequence[Any]]) -> str:
    """Return the call of the swept function with the first value of each argument.

    Example:
      >>> write_call("train", {"beta": [0.9], "seed": [0, 1, 2]})
      'train(beta=0.9, seed=0)'
    """
    return f"{fn}({', '.join(f'{name}={values[0]!r}' for name, values in arguments.items())})"


def write_sweep(
    fn: str, arguments: Mapping[str, Sequence[Any]], attrs: Mapping[str, Any] | None = None
) -> str:
    """Return the sweep of the lanes of a cell, which has the bits of the whole sweep.

    Args:
      fn: The name of the swept function.
      arguments: From `lane_arguments`.
      attrs: Those of the sweep, of which the width and the options decide about bits.

    Example:
      >>> write_sweep("train", {"beta": [0.9], "seed": [0, 1, 2]}, {"width": 64, "options": "{}"})
      'jm.sweep(train, jm.grid(beta=[0.9], seed=range(3)), width=64)'
    """
    axes = ", ".join(f"{name}={_write_list(values)}" for name, values in arguments.items())
    settings = ""
    if attrs and "width" in attrs:
        settings += f", width={int(attrs['width'])}"
    if attrs and "options" in attrs:
        options = json.loads(attrs["options"])
        settings += f", options={options!r}" if options else ""
    return f"jm.sweep({fn}, jm.grid({axes}){settings})"


def _write_list(values: Sequence[Any]) -> str:
    """Return a list, or a range of consecutive integers."""
    if len(values) > 2 and all(type(value) is int for value in values):
        first = values[0]
        if list(values) == list(range(first, first + len(values))):
            return f"range({len(values)})" if first == 0 else f"range({first}, {values[-1] + 1})"
    return repr(list(values))


def encode_arguments(
    runs: "xarray.Dataset", cells: Cells, view: MapView
) -> dict[str, tuple[NDArray[np.int32], list[str]]]:
    """Return the arguments of the best cell of each bin of a map, as a browser looks them up.

    Returns:
      Argument -> for each bin [rows * columns] the index of its text, and the texts, as in
      "beta=0.9". The text of an argument that a lane does not have is empty.
    """
    shown = np.maximum(view.cell.ravel(), 0)
    place = dict(zip(cells.dims, np.unravel_index(shown, cells.shape), strict=True))
    first = lane_arguments(runs, cells, 0)
    encoded = {
        name: (np.zeros(len(shown), np.int32), [f"{name}={values[0]!r}"])
        for name, values in first.items()
        if name not in cells.axes
    }
    for name, axis in cells.axes.items():
        distinct, codes = np.unique(axis.values[place[axis.dim]], return_inverse=True)
        pairs = zip(distinct.tolist(), is_given(distinct).tolist(), strict=True)
        encoded[name] = (
            codes.astype(np.int32),
            [f"{name}={value!r}" if there else "" for value, there in pairs],
        )
    order = [*cells.axes, *(name for name in encoded if name not in cells.axes)]
    return {name: encoded[name] for name in order}
