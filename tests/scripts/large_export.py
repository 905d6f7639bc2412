"""Export a sweep that is larger than the memory that the process may have."""

import resource
import sys

import h5netcdf  # noqa: F401
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet  # noqa: F401
import workload  # noqa: F401
import xarray
import zarr  # noqa: F401

from jaxmom.sweeps import grid, sweep
from jaxmom.sweeps.compile import memory
from jaxmom.sweeps.store import slabs
from jaxmom.sweeps.store.export import export
from jaxmom.sweeps.store.files import Store

ALLOWED = 400 << 20


def fn(x):
    return {"history": x + jnp.arange(20_000.0)}


def main(folder):
    store = folder + "/store"
    runs = sweep(fn, grid(x=np.arange(6_000.0)), width=50, store=store, progress=False)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWED, size + ALLOWED))
    slabs.SLAB_BYTES //= 8
    print(runs.nbytes, ALLOWED)
    for to, engine, options in (
        ("netcdf", "h5netcdf", {}),
        ("zarr", "zarr", {"consolidated": False}),
    ):
        path = export(Store(store), to, f"{folder}/{to}")
        with xarray.open_dataset(path, engine=engine, **options) as data:
            assert (data.status == 1).all()
            for x in (0, 1_234, 5_999):
                np.testing.assert_array_equal(data.history[x], x + np.arange(20_000.0))
        print(to)
    slabs.available_memory = lambda: min(memory.available_memory(), ALLOWED)
    try:
        export(Store(store), "parquet")
    except MemoryError:
        print("too large")


if __name__ == "__main__":
    main(*sys.argv[1:])
