"""What the plots share about single values: which can be drawn, and how several are summarized."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
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


def told(array: xarray.DataArray, name: str, default: int) -> NDArray[np.int_]:
    """What a coordinate such as `status` says of every value of an array, shaped as that."""
    coordinate: Any = array.coords.get(name, default)
    return (xarray.zeros_like(array, int) + coordinate).values


def fates(array: xarray.DataArray) -> NDArray[np.int_]:
    """The status of every value; one said to be ok has diverged if flagged so, or not finite.

    It comes from the coordinates `status` and `diverged_at` (-1 for never), where there are any.

    >>> status = {"status": ("beta", [1, 1, 0])}
    >>> fates(xarray.DataArray([1.0, np.nan, np.nan], status, ("beta",)))
    array([1, 2, 0])
    """
    status = told(array, "status", OK)
    if not np.isin(status, range(len(FATES))).all():
        codes = ", ".join(f"{code} {fate}" for code, fate in enumerate(FATES))
        raise ValueError(f"status must be one of {codes}; got {np.unique(status)}")
    diverged = (told(array, "diverged_at", -1) >= 0) | ~drawable(np.asarray(array.values, float))
    return np.where((status == OK) & diverged, DIVERGED, status)


def counts(status: NDArray[np.int_]) -> dict[str, int]:
    """How many are missing, and how many failed."""
    return {FATES[code]: int((status == code).sum()) for code in (MISSING, FAILED)}


def tally(total: int, befell: Mapping[str, int]) -> str:
    """How many lanes there are, and what befell how many.

    >>> tally(2000, {"diverged": 7, "missing": 0})
    '2,000 lanes, 7 diverged'
    """
    fates = "".join(f", {count:,} {fate}" for fate, count in befell.items() if count)
    return f"{total:,} lane{'s' * (total != 1)}{fates}"


def quantile(runs: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The linear quantile over the first axis, infinite as soon as it leans on an infinity.

    A NaN is a run that is not there; where none is, the quantile is NaN. Else it is NumPy's, which
    would be NaN beside an infinity.

    >>> quantile(np.array([[1.0, 1.0], [2.0, np.inf], [np.inf, np.nan]]), 0.5)
    array([ 2., inf])
    """
    ordered = np.sort(runs, axis=0)  # NaN last
    place = share * np.maximum((~np.isnan(runs)).sum(axis=0, keepdims=True) - 1, 0)
    ends = (np.floor(place).astype(int), np.ceil(place).astype(int))
    low, high = (np.take_along_axis(ordered, end, axis=0) for end in ends)
    step = np.where(np.isfinite(high), high, 0.0) - np.where(np.isfinite(high), low, 0.0)
    return np.where(np.isfinite(high), low + (place - ends[0]) * step, high)[0]


def check_band(band: tuple[float, float]) -> None:
    """Refuse what are not two quantiles in order."""
    if not 0 <= band[0] <= band[1] <= 1:
        raise ValueError(f"band={band} must be two shares from 0 to 1, such as (0.25, 0.75)")


def floor(values: NDArray[np.float64], given: float | None) -> float | None:
    """The lowest value a logarithmic axis shows: as given, else set only if zeros need one.

    Args:
        values: those to show; the ones that are not finite do not matter.
        given: by the caller, or None.

    Raises:
        ValueError: the given floor is not positive, or there are values of which none is.

    >>> floor(np.array([1.0, 0.5, 0.0]), None)
    0.5
    """
    values = values[np.isfinite(values)]
    if given is not None and given <= 0:
        raise ValueError(f"floor={given} has no place on a logarithmic axis; give a positive one")
    if given is not None or (values >= TINY).all():
        return given
    if not (values > 0).any():
        raise ValueError("no value is positive, so a logarithmic axis is empty; pass log=False")
    return max(float(values[values > 0].min()), TINY)
