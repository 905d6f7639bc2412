"""Run ten million lanes into a store, and print how much the memory grew."""

import resource
import sys

import numpy as np
import workload  # noqa: F401

from jaxmom.sweeps import grid, sweep


def fn(a, b):
    return {"y": a + 1e-4 * b}


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(many, store):
    space = grid(a=np.arange(many), b=np.arange(4000.0))
    return sweep(fn, space, width=2**15, store=store, progress=False)


def main(folder):
    run(20.0, folder + "/few").load()
    before = peak_memory()
    runs = run(2500.0, folder + "/many")
    np.testing.assert_allclose(runs.y.isel(b=7), np.arange(2500) + 7e-4, rtol=1e-14)
    print(runs.y.size, runs.y.nbytes, peak_memory() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
