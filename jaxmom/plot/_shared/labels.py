"""Arrays, mappings and xarray read as labeled arrays with known dims."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import status as statuses

# One array, or label -> array.
SeriesLike: TypeAlias = xarray.DataArray | ArrayLike | Mapping[Any, "xarray.DataArray | ArrayLike"]
# The step of divergence of one array, or label -> step.
StepLike: TypeAlias = "xarray.DataArray | ArrayLike | Mapping[Any, ArrayLike] | None"
# The name of a dim, or the coordinates of a plain array.
Along: TypeAlias = "str | ArrayLike | None"


def name_axis(array: xarray.DataArray) -> str:
    """Return the text beside an axis: `long_name` and `units` if given, else the plain name.

    Example:
      >>> name_axis(xarray.DataArray(0.0, name="learning_rate"))
      'learning rate'
    """
    name = str(array.attrs.get("long_name", array.name or "")).replace("_", " ")
    return f"{name} [{array.attrs['units']}]" if "units" in array.attrs else name


def format_numbers(values: ArrayLike) -> list[str]:
    """Return numbers as short strings, with enough digits to tell them from each other and from 1.

    Both the value and 1 - value are kept to a thousandth, because a beta of 0.9999999 is not 1.
    There are no more digits than that, so that 0.9 in float32 is written 0.9.

    Example:
      >>> format_numbers([0.9, 0.9999999, np.float32(0.3)])
      ['0.9', '0.9999999', '0.3']
    """
    numbers = np.atleast_1d(np.asarray(values, float)).tolist()
    texts = [_format_number(number) for number in numbers]
    if len(set(texts)) < len(set(numbers)):
        return [f"{number:.17g}" for number in numbers]
    return texts


def _format_number(number: float) -> str:
    """Return the shortest of some strings that keeps the number and its distance from 1."""
    texts = [f"{number:.{digits}g}" for digits in (6, 9, 12, 17)]
    error = 1e-3 * min(abs(number), abs(1 - number))
    return next((text for text in texts if abs(float(text) - number) <= error), texts[-1])


def select_variable(data: Any) -> Any:
    """Return the only variable of a Dataset; other data as they are.

    Raises:
      ValueError: A Dataset has several variables, or none.
    """
    if not isinstance(data, xarray.Dataset):
        return data
    if len(data) != 1:
        raise ValueError(f"a Dataset must have one variable, this has {list(data)}; select one")
    return data[next(iter(data))]


def label_arrays(
    data: Any, dims: tuple[str, ...], *, required: int, diverged_at: Any = None
) -> list[tuple[str, xarray.DataArray]]:
    """Read a mapping, an array or a DataArray as labels with arrays whose dims are known.

    Args:
      data: label -> array, one array, or a DataArray, whose further dims become labels.
      dims: The dims of one array in order; of a plain array, the last ones are present.
      required: How many of the last `dims` an array must have.
      diverged_at: The step at which each diverged, -1 for never, shaped as the data's other
        dims; it becomes the coordinate of that name, which a DataArray may bring itself.

    Returns:
      Each label with its array, the dims in the order of `dims`. A label of several dims names
      the position along each: "nesterov, beta = 0.9".

    Raises:
      ValueError: There are no data, or an array has other dims than these.

    Example:
      >>> runs = xarray.DataArray([[4.0, 2.0], [4.0, 1.0]], {"beta": [0.0, 0.9]}, ("beta", "step"))
      >>> [label for label, _ in label_arrays(runs, ("seed", "step"), required=1)]
      ['beta = 0', 'beta = 0.9']
    """
    data = select_variable(data)
    if isinstance(data, xarray.DataArray):
        named = data if diverged_at is None else data.assign_coords(diverged_at=diverged_at)
        arrays = list(_split_dims(named, dims, required))
    else:
        data = data if isinstance(data, Mapping) else {"": data}
        if isinstance(diverged_at, Mapping) and not set(diverged_at) <= set(data):
            raise ValueError(f"diverged_at names {list(diverged_at)}, but the data {list(data)}")
        flags = (
            diverged_at if isinstance(diverged_at, Mapping) else dict.fromkeys(data, diverged_at)
        )
        arrays = [
            (str(label), _name_dims(label, value, dims, required, flags.get(label)))
            for label, value in data.items()
        ]
    if not arrays:
        raise ValueError("there is nothing to draw: the data are empty; give label -> array")
    for label, array in arrays:
        require_values(array, label)
    return arrays


def require_values(array: xarray.DataArray, label: str = "") -> None:
    """Raise a ValueError if an array has no values, or complex ones."""
    if array.size == 0:
        name = f"{label!r}" if label else "the array"
        raise ValueError(f"there is nothing to draw: {name} is empty, {dict(array.sizes)}")
    to_floats(array.values)


def to_floats(values: Any) -> NDArray[np.float64]:
    """Return real numbers as float64.

    Raises:
      ValueError: They are complex, so that a part of them would be lost.
    """
    if np.iscomplexobj(values):
        raise ValueError("the values are complex; draw their modulus, real or imaginary part")
    return np.asarray(values, float)


def require_dims(data: xarray.DataArray, dims: Iterable[Any]) -> None:
    """Raise a ValueError if the data lack one of these dims."""
    for dim in dims:
        if dim not in data.dims:
            have = ", ".join(map(str, data.dims))
            raise ValueError(f"no dimension {dim!r}; the data have {have}")


def _name_dims(
    label: object, value: Any, dims: tuple[str, ...], required: int, diverged_at: Any
) -> xarray.DataArray:
    """Return one array of a mapping with the expected dims in the expected order."""
    admitted = [dims[-rank:] for rank in range(required, len(dims) + 1)]
    if not isinstance(value, xarray.DataArray):
        value = to_floats(value)
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


def _split_dims(
    data: xarray.DataArray, dims: tuple[str, ...], required: int
) -> Iterator[tuple[str, xarray.DataArray]]:
    """Yield every array along the dims that are not in `dims`, labeled by its position there."""
    require_dims(data, dims[-required:])
    others = [dim for dim in data.dims if dim not in dims]
    texts = [_label_positions(data[dim]) for dim in others]
    for place in itertools.product(*(range(data.sizes[dim]) for dim in others)):
        label = ", ".join(text[at] for text, at in zip(texts, place, strict=True))
        array = data.isel(dict(zip(others, place, strict=True)))
        yield label, array.transpose(*(dim for dim in dims if dim in array.dims))


def _label_positions(coordinate: xarray.DataArray) -> Sequence[str]:
    """Return a label for each position: a name stands alone, a number needs that of its dim."""
    if not np.issubdtype(coordinate.dtype, np.number):
        return [str(value) for value in coordinate.values]
    name = name_axis(coordinate)
    return [f"{name} = {text}" for text in format_numbers(coordinate.values)]


def read_table(data: Any, x: Along, y: Along, status: Any, over: str = "") -> xarray.DataArray:
    """Read the data of a map as one DataArray.

    Args:
      data: A DataArray with two dims, and perhaps `over`; or an array [rows of y, columns of x] or
        [seeds, rows, columns].
      x: The name of a dim, or the coordinates of the columns of an array; None for its last dim.
      y: Likewise, of the first dim and the rows.
      status: The status of every cell, shaped as the data; None for the coordinate of that name, or
        else all ok.
      over: The name of the dim of seeds; "" if there may be none.

    Returns:
      The data with dims (y, x) or (over, y, x), sorted along those whose coordinates are numbers,
      with the coordinate `status`.

    Raises:
      ValueError: Other dims, or coordinates of another length.

    Example:
      >>> read_table([[1.0, 2.0, 3.0]], [0.9, 0.0, 0.5], None, None).values
      array([[2., 3., 1.]])
    """
    data = select_variable(data)
    labeled = isinstance(data, xarray.DataArray)
    seeds = [over] if over and np.ndim(data) == 3 else []
    if np.ndim(data) != 2 + len(seeds) or (labeled and not set(seeds) <= set(data.dims)):
        got = getattr(data, "dims", np.shape(data))
        raise ValueError(f"a heatmap has two dims, these data {got}; reduce or select the others")
    if not labeled:
        data, x, y = _assign_coordinates(to_floats(data), x, y, seeds), "x", "y"
    require_values(data)
    x, y = _choose_dims(data, x, y, seeds)
    if status is None:
        status = data.coords.get("status", statuses.OK)
    elif not isinstance(status, xarray.DataArray):
        status = (data.dims, _require_shape(status, data.shape))
    data = data.assign_coords(status=status).transpose(*seeds, y, x)
    return data.sortby([dim for dim in (y, x) if np.issubdtype(data[dim].dtype, np.number)])


def _require_shape(status: Any, shape: tuple[int, ...]) -> NDArray[np.int_]:
    """Return the status as an array, if it has the shape of the data."""
    if np.shape(status) != shape:
        raise ValueError(f"status has shape {np.shape(status)}, but the data have {shape}")
    return np.asarray(status)


def _assign_coordinates(
    data: NDArray[np.float64], x: Any, y: Any, seeds: list[str]
) -> xarray.DataArray:
    """Return a plain array with the coordinates of its rows and columns."""
    coordinates = {}
    for dim, given, size in (("y", y, data.shape[-2]), ("x", x, data.shape[-1])):
        coordinates[dim] = np.arange(size) if given is None else np.asarray(given)
        if coordinates[dim].shape != (size,):
            shape = coordinates[dim].shape
            raise ValueError(
                f"{dim} has shape {shape}, but data [rows of y, columns of x] {data.shape}"
            )
    return xarray.DataArray(data, coordinates, (*seeds, "y", "x"))


def _choose_dims(data: xarray.DataArray, x: Any, y: Any, seeds: list[str]) -> tuple[Any, Any]:
    """Return the dims along x and y: those named, and for one not named the other one."""
    require_dims(data, (dim for dim in (x, y) if dim is not None))
    first, last = (dim for dim in data.dims if dim not in seeds)
    x = x or (first if y == last else last)
    y = y or (first if x == last else last)
    if x == y or {x, y} & set(seeds):
        raise ValueError(f"x and y are both {x!r}; the data have {first}, {last}")
    return x, y
