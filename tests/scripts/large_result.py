"""Run a sweep whose result is larger than the memory that the process may have."""

import resource
import sys

import jax.numpy as jnp
import numpy as np
import workload  # noqa: F401

from jaxmom.sweeps import grid, open_sweep, sweep


def fn(x):
    return {"history": x + jnp.arange(20_000.0)}


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(lanes, **where):
    return sweep(fn, grid(x=np.arange(lanes)), width=50, progress=False, **where)


def main(store):
    run(100.0, store=store + "/small").load()
    before = peak_memory()
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    limit = size + (700 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    runs = run(10_000.0, store=store + "/large")
    assert (runs.status == 1).all()
    run(10_000.0, store=store + "/large")  # which looks at every part
    runs = open_sweep(store + "/large")
    last, one = runs.history.isel(history_0=-1), runs.history.sel(x=7_777.0)
    np.testing.assert_array_equal(last, np.arange(10_000) + 19_999.0)
    np.testing.assert_array_equal(one, 7_777 + np.arange(20_000.0))
    print(runs.history.nbytes, limit - size, peak_memory() - before)
    try:
        run(10_000.0)
    except MemoryError:
        print("too large")


if __name__ == "__main__":
    main(*sys.argv[1:])
