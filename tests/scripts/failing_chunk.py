"""Run a sweep whose chunk 7 fails."""

import sys

import numpy as np
from workload import refuse

from jaxmom.sweeps import grid, sweep

if __name__ == "__main__":
    fn = refuse(29.0)
    sweep(fn, grid(x=np.arange(40.0)), width=4, store=sys.argv[1])
