"""Exports of a stored sweep: netCDF, zarr and parquet."""

import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.reader import open_sweep
from jaxmom.sweeps.store.slabs import require_memory, write_netcdf, write_zarr

if TYPE_CHECKING:
    import xarray

_ORIGIN = "jaxmom_store"  # the attribute of an export with the path of its store


def export(store: Store, to: str, out: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Write a sweep as one file or folder that others can read.

    It is written beside the target and renamed, so that a file of that name is a whole one.

    Args:
      store: The sweep.
      to: A key of `FORMATS`.
      out: Where to; beside the store, with a suffix after its whole name, by default.

    Returns:
      Where it is.

    Raises:
      ValueError: The target is something else than an earlier export of this store, or the format
        cannot hold the sweep.
      ImportError: A package is missing.
    """
    form = FORMATS[to]
    form.require()
    here = store.path.resolve()
    target = pathlib.Path(out or here.with_name(here.name + form.suffix)).expanduser().absolute()
    _check_target(target, here, form)
    data = open_sweep(store.path)
    data.attrs[_ORIGIN] = str(here)
    with tempfile.TemporaryDirectory(prefix=".jaxmom-export-", dir=target.parent) as folder:
        temporary = pathlib.Path(folder, "export")
        form.write(data, temporary)
        _check_target(target, here, form)  # nobody has been here meanwhile
        if target.is_dir():
            target.replace(pathlib.Path(folder, "earlier"))
        temporary.replace(target)
    return target


class _Format(NamedTuple):
    """A format of exports.

    Attributes:
      package: That writes it.
      extra: Of jaxmom, which installs the package.
      suffix: Of the name of an export.
      write: ``write(data, path)`` writes a Dataset or DataTree.
      read_origin: ``read_origin(path)`` returns the path of the store that an export is of, and
        None for other files of this format. It raises what it likes for files of other formats.
    """

    package: str
    extra: str
    suffix: str
    write: Callable[[Any, pathlib.Path], None]
    read_origin: Callable[[pathlib.Path], str | None]

    def require(self) -> None:
        """Say which extra is missing, if its package is not installed.

        Raises:
          ImportError: It is not.
        """
        try:
            __import__(self.package)
        except ImportError as error:
            raise ImportError(
                f'this needs {self.package}: pip install "jaxmom[{self.extra}]"'
            ) from error


def _check_target(target: pathlib.Path, store: pathlib.Path, form: _Format) -> None:
    """Refuse a target that is not an earlier export of the same store.

    Args:
      target: Where the export is to be.
      store: Where the store is, without links.
      form: Of the export.

    Raises:
      ValueError: It is something else, or it would be in the store or around it.
    """
    resolved = target.resolve()
    if resolved == store or store in resolved.parents or resolved in store.parents:
        raise ValueError(f"{target} is the store itself, in it or around it; give another --out.")
    if not target.parent.is_dir():
        raise ValueError(
            f"{target.parent} is not a folder that exists, and the export is to lie in it; make it "
            "first, or give another --out."
        )
    if not os.path.lexists(target):
        return
    try:
        origin = form.read_origin(target)
    except Exception:  # of a file of any other kind
        origin = None
    if origin is None:
        raise ValueError(
            f"{target} exists and is not an earlier export of this kind; give another --out."
        )
    if origin != str(store):
        raise ValueError(f"{target} is the export of another store, {origin}; give another --out.")


def _write_netcdf(data: Any, path: pathlib.Path) -> None:
    """Write a netCDF file, which has no complex numbers and reads names with a slash as paths."""
    _refuse_slashes(data)
    write_netcdf(data, path, _without_complex)


def _read_netcdf_origin(path: pathlib.Path) -> str | None:
    """Return the store that a netCDF file is of, by its attributes."""
    import xarray

    with xarray.open_dataset(path, engine="h5netcdf") as data:
        return data.attrs.get(_ORIGIN)


def _write_zarr(data: Any, path: pathlib.Path) -> None:
    """Write a zarr folder, which reads names with a slash as paths."""
    _refuse_slashes(data)
    write_zarr(data, path, _with_plain_types)


def _read_zarr_origin(path: pathlib.Path) -> str | None:
    """Return the store that a zarr folder is of; None if it has a file that zarr did not write."""
    import zarr

    files = [p.relative_to(path) for p in path.rglob("*") if not p.is_dir()]
    if any(file.name != "zarr.json" and "c" not in file.parts for file in files):
        return None  # someone has put other files into it
    origin = zarr.open_group(path, mode="r").attrs.get(_ORIGIN)
    return None if origin is None else str(origin)


def _write_parquet(data: Any, path: pathlib.Path) -> None:
    """Write a row for each lane and record; what has more dimensions is a list in each row.

    Raises:
      ValueError: The groups have different outputs.
      MemoryError: The table, of which pandas and Arrow have copies, does not fit into memory.
    """
    import pyarrow
    import pyarrow.parquet

    if not hasattr(data, "to_dataframe"):
        raise ValueError("groups with different outputs do not fit into one table; use netcdf.")
    require_memory(data.nbytes, "the table")
    data = _without_complex(data)
    dims = (*data.status.dims, *(("step",) if "step" in data.dims else ()))
    nested = [str(name) for name, one in data.data_vars.items() if not set(one.dims) <= set(dims)]
    frame = data.drop_vars(nested).to_dataframe(dim_order=list(dims)).reset_index()
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    like = data.status
    if "step" in data.dims:
        like = like.broadcast_like(data["step"])
    for name in nested:
        inner = [dim for dim in data[name].dims if dim not in dims]
        array = data[name].broadcast_like(like).transpose(*dims, *inner).load().data
        table = table.append_column(name, _nest(array, len(dims)))
    origin = {_ORIGIN: data.attrs[_ORIGIN]}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **origin})
    pyarrow.parquet.write_table(table, path)


def _nest(array: Any, dims: int) -> Any:
    """Return an array as a column with a row for each index of its first dims, lists in lists.

    Args:
      array: The values.
      dims: How many of its dimensions are rows.
    """
    import pyarrow

    column = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    for axis in reversed(range(dims, array.ndim)):
        count, size = int(np.prod(array.shape[:axis])), array.shape[axis]
        ends = pyarrow.array(np.arange(count + 1) * size, pyarrow.int64())
        column = pyarrow.LargeListArray.from_arrays(ends, column)
    return column


def _read_parquet_origin(path: pathlib.Path) -> str | None:
    """Return the store that a parquet file is of, by the metadata of its schema."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_schema(path).metadata or {}
    origin = metadata.get(_ORIGIN.encode())
    return None if origin is None else origin.decode()


def _with_plain_floats(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Write bfloat16 and its like as float32, which holds them exactly."""
    opaque = [name for name, array in dataset.variables.items() if array.dtype.kind == "V"]
    return dataset.assign({name: dataset[name].astype(np.float32) for name in opaque})


def _with_plain_types(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Write labels as strings of any length, since zarr has no lasting format for fixed ones."""
    dataset = _with_plain_floats(dataset)
    fixed = [name for name, array in dataset.variables.items() if array.dtype.kind == "U"]
    return dataset.assign_coords({name: dataset[name].astype(object) for name in fixed})


def _without_complex(dataset: "xarray.Dataset") -> "xarray.Dataset":
    """Write complex numbers as two variables, and bfloat16 as float32.

    Raises:
      ValueError: Another output has the name of such a variable.
    """
    dataset = _with_plain_floats(dataset)
    for name in [n for n, array in dataset.data_vars.items() if array.dtype.kind == "c"]:
        array = dataset[name]
        taken = sorted({f"{name}.real", f"{name}.imag"} & set(map(str, dataset.variables)))
        if taken:
            raise ValueError(
                f"{name!r} is complex and would be written as {name}.real and {name}.imag, but "
                f"there are other outputs {taken}; rename them, or export to zarr."
            )
        dataset = dataset.drop_vars([name]).assign(
            {f"{name}.real": array.real, f"{name}.imag": array.imag}
        )
    return dataset


def _refuse_slashes(data: Any) -> None:
    """Refuse names that zarr and netCDF read as folders."""
    import xarray

    datasets = [data] if isinstance(data, xarray.Dataset) else [n.ds for n in data.subtree]
    names = sorted({str(n) for dataset in datasets for n in dataset.variables if "/" in str(n)})
    if names:
        renamed = {name: name.replace("/", ".") for name in names}
        raise ValueError(
            f"the names {names} have a slash, which this format reads as a folder; export to "
            f"parquet, or rename them, as in jm.open_sweep(store).rename({renamed}).to_netcdf(...)."
        )


FORMATS: dict[str, _Format] = {
    "netcdf": _Format("h5netcdf", "experiments", ".nc", _write_netcdf, _read_netcdf_origin),
    "zarr": _Format("zarr", "zarr", ".zarr", _write_zarr, _read_zarr_origin),
    "parquet": _Format("pyarrow", "parquet", ".parquet", _write_parquet, _read_parquet_origin),
}
