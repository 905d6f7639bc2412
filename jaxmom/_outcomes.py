"""The outcomes of lanes, and quantiles over lanes: what sweeps and plots share."""

import enum

import numpy as np
from numpy.typing import NDArray


class Status(enum.IntEnum):
    """The outcome of a lane; the numbers are those of the coordinate `status`."""

    MISSING = 0
    OK = 1
    DIVERGED = 2
    FAILED = 3


def quantile(
    runs: NDArray[np.float64], share: float, *, is_sorted: bool = False
) -> NDArray[np.float64]:
    """Return the linear quantile over the first axis, with infinities as values.

    It is inf if either interpolation endpoint is inf, where NumPy's would be NaN. NaN stands for a
    run that is not there; where there is none, the quantile is NaN.

    Args:
      runs: [runs, ...] in any order.
      share: The quantile, from 0 to 1.
      is_sorted: Whether the runs are in ascending order, with NaN last, and need no sorting.

    Example:
      >>> quantile(np.array([[1.0, 1.0], [2.0, np.inf], [np.inf, np.nan]]), 0.5)
      array([ 2., inf])
    """
    ordered = runs if is_sorted else np.sort(runs, axis=0)  # NaN last
    place = share * np.maximum((~np.isnan(ordered)).sum(axis=0, keepdims=True) - 1, 0)
    ends = (np.floor(place).astype(int), np.ceil(place).astype(int))
    low, high = (np.take_along_axis(ordered, end, axis=0) for end in ends)
    step = np.where(np.isfinite(high), high, 0.0) - np.where(np.isfinite(high), low, 0.0)
    return np.where(np.isfinite(high), low + (place - ends[0]) * step, high)[0]
