"""Sweeps: a function on every lane of a space, in chunks of one compiled program.

`grid`, `paired` and `sample` make spaces, `sweep` runs them and ends in xarray.
"""

from jaxmom.sweeps._ask_tell import ask_tell
from jaxmom.sweeps._halving import halving
from jaxmom.sweeps._log_to import log_to
from jaxmom.sweeps.engine import sweep
from jaxmom.sweeps.estimate import explain
from jaxmom.sweeps.results.summary import bands, best
from jaxmom.sweeps.space.scales import half_life, log_uniform, memory, uniform
from jaxmom.sweeps.space.space import Space, grid, paired, sample
from jaxmom.sweeps.store.reader import open_sweep

__all__ = [
    "Space",
    "ask_tell",
    "bands",
    "best",
    "explain",
    "grid",
    "half_life",
    "halving",
    "log_to",
    "log_uniform",
    "memory",
    "open_sweep",
    "paired",
    "sample",
    "sweep",
    "uniform",
]
