"""Live metrics: a labeled Dataset of each chunk once it is kept, and how far the sweep is."""

import inspect
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from jaxmom.sweeps.compile.outputs import STEP, Output
from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.results.dataset import DIVERGED, LANE_OUTPUTS
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.space import Space

if TYPE_CHECKING:
    import xarray


class Progress(NamedTuple):
    """How far a sweep is.

    Attributes:
      lanes: Those that are done, with those that a store had before.
      total: All lanes.
      diverged: How many diverged of those that this call has computed.
      failed: The lanes of chunks that failed in this call.
      seconds: Since the first chunk of this call was started.
      seconds_left: As long as the rest takes at this rate.
    """

    lanes: int
    total: int
    diverged: int
    failed: int
    seconds: float
    seconds_left: float


OnChunkFn: TypeAlias = Callable[["xarray.Dataset", Progress], Any]


class LiveMetrics:
    """Calls a function after each chunk.

    Args:
      on_chunk: As for `jaxmom.sweep`; None for none.
      space: What is swept.

    Raises:
      ValueError: `on_chunk` cannot be called.
    """

    def __init__(self, on_chunk: OnChunkFn | None, space: Space):
        if on_chunk is not None and not callable(on_chunk):
            raise ValueError(f"on_chunk is a function (dataset, progress), not {on_chunk!r}.")
        if on_chunk is not None:
            _check_arguments(on_chunk)
        self.on_chunk, self.space = on_chunk, space
        self.begin(0, 0)

    def begin(self, done: int, total: int) -> None:
        """Start the clock.

        Args:
          done: The lanes that a store had before.
          total: All lanes.
        """
        self.before, self.done, self.total = done, 0, total
        self.diverged = self.failed = 0
        self.start = time.perf_counter()

    def add_failed(self, lanes: int) -> None:
        """Count the lanes of a chunk that failed."""
        self.failed += lanes

    def add(self, index: Index, outputs: Mapping[str, Output], arrays: Arrays) -> None:
        """Count the lanes of a chunk that is kept, and call the function.

        Args:
          index: The lanes.
          outputs: Of each.
          arrays: Their values, with their status.
        """
        self.done += len(index)
        self.diverged += int((arrays["status"] == DIVERGED).sum())
        if self.on_chunk is not None:
            self.on_chunk(label_chunk(self.space, index, outputs, arrays), self._progress())

    def _progress(self) -> Progress:
        lanes, seconds = self.before + self.done, time.perf_counter() - self.start
        left = (self.total - lanes - self.failed) * seconds / self.done
        return Progress(lanes, self.total, self.diverged, self.failed, seconds, left)


def _check_arguments(on_chunk: OnChunkFn) -> None:
    """Refuse a function that cannot be called with two arguments, if its signature is known."""
    try:
        signature = inspect.signature(on_chunk)
    except (TypeError, ValueError):  # of some functions in C
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ValueError(
            "on_chunk is called with two arguments, on_chunk(dataset, progress), and the one that "
            f"was given has the arguments {signature} ({error})."
        ) from None


def label_chunk(
    space: Space, index: Index, outputs: Mapping[str, Output], arrays: Arrays
) -> "xarray.Dataset":
    """Return a Dataset of some lanes, with the dimension ``lane`` and their arguments on it.

    Args:
      space: What is swept.
      index: The lanes.
      outputs: Of each.
      arrays: Their values [lanes, ...], with their status.

    Returns:
      A Dataset with the coordinates ``status`` and ``diverged_at``, and ``step`` if there are
      records.
    """
    import xarray

    known = {**outputs, **LANE_OUTPUTS}
    variables = {n: (("lane", *known[n].dims), a) for n, a in arrays.items() if n != STEP}
    coords: dict[str, Any] = {n: ("lane", c) for n, c in space.labels(index).items()}
    coords |= {name: variables.pop(name) for name in LANE_OUTPUTS}
    if STEP in arrays:
        coords[STEP] = (STEP, np.asarray(arrays[STEP]))
    return xarray.Dataset(variables, coords)
