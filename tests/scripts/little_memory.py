"""Go on with a sweep where there is too little memory for a chunk, then where there is enough."""

import os
import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np
from workload import parts

from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.compile.memory import is_out_of_memory


def fn(x):
    wave = jnp.arange(2.0**19) * x  # a carry of 4 MB in each lane
    return {"y": jax.lax.fori_loop(0, 3, lambda i, y: jnp.roll(y, i), wave)[5]}


def main(store):
    space = grid(x=np.arange(1.0, 129.0))
    sweep(fn, space, width=64, store=store, progress=False)
    whole = parts(store)
    os.unlink(f"{store}/parts/0-1.npz")
    with open("/proc/self/statm") as file:
        free = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (free + (200 << 20), before[1]))
    try:
        sweep(fn, space, width=64, store=store, progress=False)
    except jax.errors.JaxRuntimeError as error:
        print(is_out_of_memory(error), error.__notes__[-1])
    status = open_sweep(store).status
    print(np.unique(status[:64]), np.unique(status[64:]))
    print(sweep(fn, grid(x=[2.0, 3.0]), width=2).y.values)
    resource.setrlimit(resource.RLIMIT_AS, before)
    runs = sweep(fn, space, width=64, store=store, progress=False)
    print(parts(store) == whole, runs.attrs["width"])
    share_without_room(store + "/array", space, (free + (200 << 20), before[1]), before)
    print(parts(store + "/array") == whole)


def share_without_room(store, space, limit, before):
    """Be a process of a job array where another one has settled the width."""
    options = {"width": 64, "store": store, "progress": False}
    sweep(fn, space, part=(0, 2), **options)
    resource.setrlimit(resource.RLIMIT_AS, limit)
    try:
        sweep(fn, space, part=(1, 2), **options)
    except jax.errors.JaxRuntimeError as error:
        print(is_out_of_memory(error), error.__notes__[-1])
    resource.setrlimit(resource.RLIMIT_AS, before)
    sweep(fn, space, part=(1, 2), **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
