"""Datasets that are written slab after slab, so that they may be larger than the memory."""

import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxmom.sweeps.compile.memory import available_memory

if TYPE_CHECKING:
    import xarray

ConvertFn: TypeAlias = "Callable[[xarray.Dataset], xarray.Dataset]"

SLAB_BYTES = 256 << 20  # of all variables of a slab together
_COPIES = 3  # of a slab or table that are in memory while it is encoded and written


def require_memory(needed: float, what: str) -> None:
    """Refuse to load what does not fit into memory.

    Args:
      needed: Bytes.
      what: Has them, for the error.

    Raises:
      MemoryError: There is less.
    """
    free = available_memory()
    if _COPIES * needed > free:
        raise MemoryError(
            f"{what} has {needed / 1e9:.3g} GB, of which {_COPIES} copies are made at a time, and "
            f"{free / 1e9:.3g} GB are free; select less of jm.open_sweep(store) and write that."
        )


def write_netcdf(data: Any, path: pathlib.Path, convert: ConvertFn) -> None:
    """Write a Dataset or DataTree to a netCDF file, its groups into groups of it.

    Args:
      data: Its arrays are read slab after slab.
      path: Of the new file.
      convert: Turns a slab into what the format can hold.

    Raises:
      MemoryError: A slab does not fit into memory.
    """
    for group, dataset, dim, first, others in _convert_first(data, convert):
        options: dict[str, Any] = {"unlimited_dims": [dim]} if others else {}
        mode: Any = "a" if path.exists() else "w"
        first.to_netcdf(path, mode=mode, group=group, engine="h5netcdf", **options)
        for slab in others:
            _append_netcdf(path, group, dim, slab, convert(dataset.isel({dim: slab})))


def write_zarr(data: Any, path: pathlib.Path, convert: ConvertFn) -> None:
    """Write a Dataset or DataTree to a zarr folder, its groups into groups of it.

    Args:
      data: Its arrays are read slab after slab.
      path: Of the new folder.
      convert: Turns a slab into what the format can hold.

    Raises:
      MemoryError: A slab does not fit into memory.
    """
    for group, dataset, dim, first, others in _convert_first(data, convert):
        mode: Any = "a" if path.exists() else "w"
        first.to_zarr(path, mode=mode, group=group, consolidated=False)
        fixed = [name for name, array in dataset.variables.items() if dim not in array.dims]
        for slab in others:
            part = dataset.isel({dim: slab}).drop_vars(fixed)
            convert(part).to_zarr(path, group=group, append_dim=dim, consolidated=False)


def _convert_first(
    data: Any, convert: ConvertFn
) -> Iterator[tuple[str | None, "xarray.Dataset", str, "xarray.Dataset", list[slice]]]:
    """Yield each Dataset as its group, itself, its dimension, the first slab, and the others."""
    for group, dataset in _nodes(data):
        dim, slabs = _divide(dataset)
        first = convert(dataset.isel({dim: slabs[0]}) if dim else dataset)
        yield group, dataset, dim, first, slabs[1:]


def _nodes(data: Any) -> Iterator[tuple[str | None, "xarray.Dataset"]]:
    """Yield the Datasets of a DataTree with their groups, the root first; a Dataset is a root.

    The group of a root is None, as xarray has it.
    """
    import xarray

    if isinstance(data, xarray.Dataset):
        yield None, data
        return
    for node in data.subtree:
        yield (None if node.path == "/" else node.path), node.to_dataset()


def _divide(dataset: "xarray.Dataset") -> tuple[str, list[slice]]:
    """Return the longest dimension of the lanes, and its slices of at most `SLAB_BYTES` each.

    A Dataset that is small, or that has no lanes, is one slab, along no dimension.

    Raises:
      MemoryError: One index along the dimension is more than the memory.
    """
    if "status" not in dataset.variables:
        return "", [slice(None)]
    dim = max(map(str, dataset["status"].dims), key=lambda name: dataset.sizes[name], default="")
    along = [array for array in dataset.variables.values() if dim in array.dims]
    if not along or sum(array.nbytes for array in along) <= SLAB_BYTES:
        return "", [slice(None)]
    size = dataset.sizes[dim]
    each = sum(array.nbytes for array in along) / size
    length = max(1, int(SLAB_BYTES // each))
    require_memory(length * each, f"a slab of {length} along {dim!r}")
    return dim, [slice(start, min(start + length, size)) for start in range(0, size, length)]


def _append_netcdf(
    path: pathlib.Path, group: str | None, dim: str, slab: slice, part: "xarray.Dataset"
) -> None:
    """Write the variables that extend along a dimension, as xarray encoded those of the first.

    Args:
      path: Of the file.
      group: In the file; None for the root.
      dim: The dimension, which grows.
      slab: Along it.
      part: The Dataset of the slab.
    """
    import h5netcdf
    from xarray.conventions import cf_encoder

    variables, _ = cf_encoder({k: v for k, v in part.variables.items() if dim in v.dims}, {})
    with h5netcdf.File(path, "a") as file:
        node: Any = file if group is None else file[group]
        node.resize_dimension(dim, slab.stop)
        for name, variable in variables.items():
            values = variable.values
            place = tuple(slab if one == dim else slice(None) for one in variable.dims)
            node[name][place] = values.astype(object) if values.dtype.kind == "U" else values
