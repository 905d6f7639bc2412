"""Run a sweep whose width does not fit into memory, with or without a store."""

import resource
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom.sweeps import grid, open_sweep, sweep


def fn(x):
    wave = jnp.arange(2.0**20) * x  # a carry of 4 MB in each lane
    return {"y": jax.lax.fori_loop(0, 3, lambda i, y: jnp.roll(y, i), wave)[5]}


def main(*store):
    options = {"store": store[0]} if store else {}
    small = sweep(fn, grid(x=np.arange(1.0, 5.0)), width=1)
    with open("/proc/self/statm") as file:
        free = int(file.read().split()[0]) * resource.getpagesize()
    limit = free + (200 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = sweep(fn, grid(x=np.arange(1.0, 65.0)), width=64, progress=False, **options)
    if store:
        runs = open_sweep(store[0])
    assert (runs.status == 1).all()
    np.testing.assert_array_equal(runs.y[:4], small.y)
    np.testing.assert_array_equal(runs.y, 2 * runs.x)
    print(runs.attrs["width"], len(caught), caught[0].message)


if __name__ == "__main__":
    main(*sys.argv[1:])
