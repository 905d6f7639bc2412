"""What the plots share about single values: which can be drawn, and how several are summarized."""

import numpy as np
from numpy.typing import NDArray

# The codes of `status` that a sweep gives to each lane.
MISSING, OK, DIVERGED, FAILED = range(4)
FATES = ("missing", "ok", "diverged", "failed")

# Runs that diverge pass through 1e300 before they overflow; an axis that long overflows itself.
TINY, HUGE = 1e-200, 1e200


def drawable(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where values are finite, and not so huge that no axis has room for them.

    >>> drawable(np.array([1.0, -1e300, np.inf, np.nan]))
    array([ True, False, False, False])
    """
    return np.abs(values) < HUGE


def quantile(runs: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """NumPy's linear quantile over the first axis, infinite as soon as it leans on an infinity.

    NumPy's own would be NaN there.

    >>> quantile(np.array([[1.0, 1.0], [2.0, np.inf], [np.inf, np.inf]]), 0.5)
    array([ 2., inf])
    """
    finite = np.isfinite(runs)
    top = runs[finite].max(initial=0.0)
    linear = np.quantile(np.where(finite, runs, top), share, axis=0)
    leans_on = np.quantile(runs, share, axis=0, method="higher")
    return np.where(np.isfinite(leans_on), linear, np.inf)
