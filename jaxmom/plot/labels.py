"""What the plots share for the data: arrays, mappings and xarray read as arrays with labels."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom.plot import lanes


def axis_name(array: xarray.DataArray) -> str:
    """What to write beside an axis: `long_name` and `units` where given, else the plain name.

    >>> axis_name(xarray.DataArray(0.0, name="learning_rate"))
    'learning rate'
    """
    name = str(array.attrs.get("long_name", array.name or "")).replace("_", " ")
    return f"{name} [{array.attrs['units']}]" if "units" in array.attrs else name


def labeled(
    data: Any, dims: tuple[str, ...], *, required: int, diverged_at: Any = None
) -> Iterator[tuple[str, xarray.DataArray]]:
    """Read a mapping, an array or a DataArray as labels with arrays whose dims are known.

    Args:
        data: label -> array, one array, or a DataArray, whose further dims become labels.
        dims: the dims of one array in order; of a plain array, the last ones are present.
        required: how many of the last `dims` an array must have.
        diverged_at: the step at which each diverged, -1 for never, shaped as the data's other
            dims; it becomes the coordinate of that name, which a DataArray may bring itself.

    Yields:
        Each label with its array, the dims in the order of `dims`. A label of several dims names
        the place in each: "nesterov, beta = 0.9".

    Raises:
        ValueError: there are no data, or an array has other dims than these.

    >>> runs = xarray.DataArray([[4.0, 2.0], [4.0, 1.0]], {"beta": [0.0, 0.9]}, ("beta", "step"))
    >>> [label for label, _ in labeled(runs, ("seed", "step"), required=1)]
    ['beta = 0', 'beta = 0.9']
    """
    if isinstance(data, xarray.DataArray):
        named = data if diverged_at is None else data.assign_coords(diverged_at=diverged_at)
        return _split(named, dims, required)
    data = data if isinstance(data, Mapping) else {"": data}
    if not data:
        raise ValueError("there is nothing to draw: the mapping is empty; give label -> array")
    if isinstance(diverged_at, Mapping) and not set(diverged_at) <= set(data):
        raise ValueError(f"diverged_at names {list(diverged_at)}, but the data are {list(data)}")
    flags = diverged_at if isinstance(diverged_at, Mapping) else dict.fromkeys(data, diverged_at)
    return ((str(k), _named(k, v, dims, required, flags.get(k))) for k, v in data.items())


def _named(
    label: object, value: Any, dims: tuple[str, ...], required: int, diverged_at: Any
) -> xarray.DataArray:
    """One array of a mapping as a DataArray with the expected dims in the expected order."""
    admitted = [dims[-rank:] for rank in range(required, len(dims) + 1)]
    if not isinstance(value, xarray.DataArray):
        value = np.asarray(value, float)
        fitting = (names for names in admitted if len(names) == value.ndim)
        value = xarray.DataArray(value, dims=next(fitting, None))
    if not any(set(value.dims) == set(names) for names in admitted):
        want = " or ".join(f"[{', '.join(names)}]" for names in admitted)
        raise ValueError(
            f"each array must be {want}, but {label!r} is {dict(value.sizes)}; select or reduce"
        )
    array = value.transpose(*(dim for dim in dims if dim in value.dims))
    if diverged_at is None:
        return array
    return array.assign_coords(diverged_at=(array.dims[:-required], np.asarray(diverged_at)))


def require(data: xarray.DataArray, dims: Iterable[str]) -> None:
    """Refuse data that lack one of these dims."""
    for dim in dims:
        if dim not in data.dims:
            have = ", ".join(map(str, data.dims))
            raise ValueError(f"no dimension {dim!r}; the data have {have}")


def _split(
    data: xarray.DataArray, dims: tuple[str, ...], required: int
) -> Iterator[tuple[str, xarray.DataArray]]:
    """Every array along the dims that are not in `dims`, labeled by where it stands in them."""
    require(data, dims[-required:])
    others = [dim for dim in data.dims if dim not in dims]
    for place in itertools.product(*(range(data.sizes[dim]) for dim in others)):
        label = ", ".join(_place(data[dim], at) for dim, at in zip(others, place, strict=True))
        array = data.isel(dict(zip(others, place, strict=True)))
        yield label, array.transpose(*(dim for dim in dims if dim in array.dims))


def _place(coordinate: xarray.DataArray, at: int) -> str:
    """A name such as a method's speaks for itself; a number needs the name of its dim."""
    value = coordinate.values[at]
    is_number = np.issubdtype(coordinate.dtype, np.number)
    return f"{axis_name(coordinate)} = {value:.6g}" if is_number else str(value)


def table(data: Any, x: Any, y: Any, status: Any) -> xarray.DataArray:
    """Read what a map is given as one DataArray.

    Args:
        data: a DataArray with two dims, or an array [rows of y, columns of x].
        x: the name of a dim, or the coordinates of the columns of an array; None for its last dim.
        y: likewise, of the first dim and the rows.
        status: of every cell, shaped as the data; None for what the data bring, or else all ok.

    Returns:
        The data with dims (y, x), sorted along those whose coordinates are numbers, with the
        coordinate `status`.

    Raises:
        ValueError: other than two dims, an unknown dim, coordinates of another length.

    >>> table([[1.0, 2.0, 3.0]], [0.9, 0.0, 0.5], None, None).values
    array([[2., 3., 1.]])
    """
    if np.ndim(data) != 2:
        got = getattr(data, "dims", np.shape(data))
        raise ValueError(f"a heatmap has two dims, these data {got}; reduce or select the others")
    if not isinstance(data, xarray.DataArray):
        data, x, y = _with_coordinates(np.asarray(data, float), x, y), "x", "y"
    x, y = _dims(data, x, y)
    if status is None:
        status = data.coords.get("status", lanes.OK)
    elif not isinstance(status, xarray.DataArray):
        status = (data.dims, _shaped(status, data.shape))
    data = data.assign_coords(status=status).transpose(y, x)
    return data.sortby([dim for dim in (y, x) if np.issubdtype(data[dim].dtype, np.number)])


def _shaped(status: Any, shape: tuple[int, ...]) -> NDArray[np.int_]:
    """The status as an array, if it has the shape of the data."""
    if np.shape(status) != shape:
        raise ValueError(f"status has shape {np.shape(status)}, but the data have {shape}")
    return np.asarray(status)


def _with_coordinates(data: NDArray[np.float64], x: Any, y: Any) -> xarray.DataArray:
    """A plain array with the coordinates of its rows and columns."""
    coordinates = {}
    for dim, given, size in (("y", y, data.shape[0]), ("x", x, data.shape[1])):
        coordinates[dim] = np.arange(size) if given is None else np.asarray(given)
        if coordinates[dim].shape != (size,):
            shape = coordinates[dim].shape
            raise ValueError(
                f"{dim} has shape {shape}, but data [rows of y, columns of x] {data.shape}"
            )
    return xarray.DataArray(data, coordinates, ("y", "x"))


def _dims(data: xarray.DataArray, x: Any, y: Any) -> tuple[Any, Any]:
    """The dims along x and y: those named, and for one not named the other one."""
    require(data, (dim for dim in (x, y) if dim is not None))
    first, last = data.dims
    x = x or (first if y == last else last)
    y = y or (first if x == last else last)
    if x == y:
        raise ValueError(f"x and y are both {x!r}; the data have {first}, {last}")
    return x, y
