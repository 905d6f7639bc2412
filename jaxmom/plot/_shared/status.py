"""The status of lanes and which values can be drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom._outcomes import Status

MISSING, OK, DIVERGED, FAILED = map(int, Status)
NAMES = tuple(status.name.lower() for status in Status)

# Runs that diverge pass through 1e300 before they overflow; an axis that long overflows itself.
TINY, HUGE = 1e-200, 1e200


def is_drawable(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where values are finite and small enough for an axis.

    Example:
      >>> is_drawable(np.array([1.0, -1e300, np.inf, np.nan]))
      array([ True, False, False, False])
    """
    return np.abs(values) < HUGE


def read_coordinate(array: xarray.DataArray, name: str, default: int) -> NDArray[np.int_]:
    """Return an integer coordinate such as `status`, broadcast to the shape of the array."""
    coordinate: Any = array.coords.get(name, default)
    return (xarray.zeros_like(array, int) + coordinate).values


def read_dropped(array: xarray.DataArray) -> NDArray[np.bool_]:
    """Return which values a halving did not compute: NaN, after the update `ended_at` of a lane.

    Example:
      >>> coords = {"ended_at": ("beta", [9, 5]), "step": 9}
      >>> read_dropped(xarray.DataArray([1.0, np.nan], coords, ("beta",)))
      array([False,  True])
    """
    if "ended_at" not in array.coords:
        return np.zeros(array.shape, bool)
    after_end = array.coords.get("step", np.inf) > array.ended_at
    status: Any = array.coords.get("status", OK)
    return (array.isnull() & after_end & (status == OK)).transpose(*array.dims).values


def read_statuses(array: xarray.DataArray) -> NDArray[np.int_]:
    """Return the status of every value, from its coordinates `status` and `diverged_at`.

    A value whose status is "ok" counts as diverged if `diverged_at` is not -1 or if it cannot be
    drawn, and as missing if a halving did not compute it. Without a coordinate `status`, every lane
    is "ok".

    Raises:
      ValueError: There is an unknown status.

    Example:
      >>> status = {"status": ("beta", [1, 1, 0])}
      >>> read_statuses(xarray.DataArray([1.0, np.nan, np.nan], status, ("beta",)))
      array([1, 2, 0])
    """
    status = read_coordinate(array, "status", OK)
    if not np.isin(status, range(len(NAMES))).all():
        codes = ", ".join(f"{code} {name}" for code, name in enumerate(NAMES))
        raise ValueError(f"status must be one of {codes}; got {np.unique(status)}")
    flagged = read_coordinate(array, "diverged_at", -1) >= 0
    diverged = flagged | ~is_drawable(np.asarray(array.values, float))
    statuses = np.where((status == OK) & diverged, DIVERGED, status)
    return np.where(read_dropped(array), MISSING, statuses)


def count_absent(statuses: NDArray[np.int_]) -> dict[str, int]:
    """Return how many lanes are missing, and how many failed."""
    return {NAMES[code]: int((statuses == code).sum()) for code in (MISSING, FAILED)}


def list_counts(counts: Mapping[str, int]) -> str:
    """Return the counts that are not zero as a list.

    Example:
      >>> list_counts({"diverged": 7000, "missing": 0, "failed": 1})
      '7,000 diverged, 1 failed'
    """
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def summarize_lanes(total: int, counts: Mapping[str, int]) -> str:
    """Return the number of lanes, and how many of them have which status.

    Example:
      >>> summarize_lanes(2000, {"diverged": 7, "missing": 0})
      '2,000 lanes, 7 diverged'
    """
    lanes = f"{total:,} lane{'s' * (total != 1)}"
    return ", ".join(part for part in (lanes, list_counts(counts)) if part)


def check_band(band: tuple[float, float]) -> None:
    """Raise a ValueError unless the band is two quantiles in order."""
    if not 0 <= band[0] <= band[1] <= 1:
        raise ValueError(f"band={band} must be two shares from 0 to 1, such as (0.25, 0.75)")


def choose_floor(values: NDArray[np.float64], given: float | None) -> float | None:
    """Return the lowest value that a logarithmic axis shows, or None if it needs no floor.

    Args:
      values: The values to draw; those that are not finite are ignored.
      given: The floor that the caller asks for; by default the smallest positive value, if some
        value is too low for a logarithmic axis.

    Raises:
      ValueError: The given floor is not positive, or no value is positive.

    Example:
      >>> choose_floor(np.array([1.0, 0.5, 0.0]), None)
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
