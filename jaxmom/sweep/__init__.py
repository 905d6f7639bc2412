"""Sweeps: a function on every lane of a space, in chunks of one compiled program.

`grid`, `paired` and `sample` make spaces, `sweep` runs them and ends in xarray.
"""

from jaxmom.sweep.engine import sweep
from jaxmom.sweep.halving import halving
from jaxmom.sweep.lazy import open_sweep
from jaxmom.sweep.plan import explain
from jaxmom.sweep.scales import half_life, log_uniform, memory, uniform
from jaxmom.sweep.space import Space, grid, paired, sample
from jaxmom.sweep.summary import bands, best

__all__ = [
    "Space",
    "bands",
    "best",
    "explain",
    "grid",
    "half_life",
    "halving",
    "log_uniform",
    "memory",
    "open_sweep",
    "paired",
    "sample",
    "sweep",
    "uniform",
]
