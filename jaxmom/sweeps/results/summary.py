"""Summaries of sweeps: the best cell, and the median and spread over seeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from jaxmom._outcomes import Status, quantile

if TYPE_CHECKING:
    import xarray

Result: TypeAlias = Union["xarray.Dataset", "xarray.DataTree"]  # what a sweep returns

_BLOCK = 1 << 22  # numbers that the bootstrap holds at a time
_SPREAD = (0.025, 0.975)


def best(
    dataset: Result,
    name: str = "value",
    over: str = "seed",
    *,
    maximize: bool = False,
) -> "xarray.Dataset":
    """Return the best cell of a sweep: by the median over seeds, at the last record.

    A lane that diverged, failed or is missing, or whose value is not a finite number, counts as
    infinitely bad, so that a cell where half of the seeds diverged is never the best one. Other
    outputs do not count: they may be infinite or NaN.

    Args:
      dataset: From `sweep`; of a DataTree, one node.
      name: The variable to compare, one number for each lane and record.
      over: The dimension of the median; "" for none, which the default is without seeds.
      maximize: Whether large is good.

    Returns:
      The cell, with the seeds and records that it has, and with ``attrs["best"]``, its median. If
      no cell has a finite median, the dimensions of the cells are empty and ``attrs["best"]`` is
      infinite.

    Raises:
      ValueError: There is no such variable or dimension, or the variable has not one value for each
        lane and record; or it is a whole DataTree.

    Example:
      >>> import jaxmom as jm
      >>> def loss(beta):
      ...     return {"value": (beta - 0.6) ** 2}
      >>> runs = jm.sweep(loss, jm.grid(beta=[0.0, 0.5, 0.9]), width=3)
      >>> float(jm.best(runs).beta)
      0.5
    """
    runs = _as_dataset(dataset)
    check_over(over, runs.status.dims)
    values = last_values(runs, name).compute()  # once, where it is read from a store
    sign = -1.0 if maximize else 1.0
    is_good = (runs.status == Status.OK) & np.isfinite(values)
    score = (sign * values.astype(float)).where(is_good, np.inf)
    if over in score.dims:
        score = score.median(over)
    least = float(score.min()) if score.size else np.inf
    if np.isinf(least):
        none = dict.fromkeys(score.dims, slice(0, 0))
        return runs.isel(none).assign_attrs(best=sign * np.inf)
    place = np.unravel_index(int(np.argmin(score.data)), score.shape)
    cell = {dim: int(i) for dim, i in zip(score.dims, place, strict=True)}
    return runs.isel(cell).assign_attrs(best=sign * least)


def bands(
    dataset: Result,
    name: str = "value",
    over: str = "seed",
    *,
    quantiles: tuple[float, float] = (0.25, 0.75),
    resamples: int = 1000,
) -> "xarray.Dataset":
    """Return median, spread and uncertainty over seeds, for every cell and record.

    A seed that diverged counts as +inf from then on, so that the survivors do not flatter a cell.
    Without the steps of records, it counts as +inf. What `halving` did not run is NaN.

    Args:
      dataset: From `sweep`, with all lanes run; of a DataTree, one node.
      name: The variable.
      over: The dimension of the seeds.
      quantiles: Those of `low` and `high`; linear, as NumPy's.
      resamples: How many the bootstrap of the median takes, always from the same random numbers.

    Returns:
      A Dataset without `over`: ``middle``, ``low``, ``high``, the ends ``middle_low`` and
      ``middle_high`` of the interval that holds 95 % of the resampled medians, and the number of
      seeds that ``diverged``.

    Raises:
      ValueError: There is no such variable or dimension, lanes are missing or failed, or the
        quantiles are none.

    Example:
      >>> import jax, jaxmom as jm
      >>> def draw(seed):
      ...     return {"value": jax.random.normal(jax.random.key(seed))}
      >>> spread = jm.bands(jm.sweep(draw, jm.grid(seed=range(100)), width=100))
      >>> bool(spread.middle_low < spread.middle < spread.middle_high < spread.high)
      True
    """
    import xarray

    runs = _as_dataset(dataset)
    if over not in runs.status.dims:
        raise ValueError(
            f"over is one of the dims {list(runs.status.dims)} of lanes, not {over!r}."
        )
    _check_values(runs, name)
    _check_numbers(quantiles, resamples)
    absent = int(runs.status.isin([Status.MISSING, Status.FAILED]).sum())
    if absent:
        raise ValueError(
            f"{absent} lanes are missing or failed; run the sweep to its end, or select others."
        )
    values = _until_divergence(runs, name, over).transpose(over, ...)
    ordered, (low_share, high_share) = np.sort(values.values, axis=0), quantiles
    low, high = _resampled_medians(ordered, resamples)
    arrays = {
        "middle": quantile(ordered, 0.5, is_sorted=True),
        "low": quantile(ordered, low_share, is_sorted=True),
        "high": quantile(ordered, high_share, is_sorted=True),
        "middle_low": low,
        "middle_high": high,
    }
    template = values.isel({over: 0}, drop=True)
    attrs = {"seeds": len(ordered), "quantiles": list(quantiles), "of": name}
    variables = {label: template.copy(data=array) for label, array in arrays.items()}
    diverged = (runs.status != Status.OK).sum(over)
    return (
        xarray.Dataset(variables, attrs=attrs)
        .assign(diverged=diverged)
        .drop_vars(["status", "diverged_at", "ended_at"], errors="ignore")
    )


def _as_dataset(given: Result) -> "xarray.Dataset":
    """Return a Dataset, or that of a node of a DataTree.

    Raises:
      ValueError: It is a whole tree and not one of its nodes, or is not the result of a sweep.
    """
    import xarray

    if isinstance(given, xarray.DataTree):
        if not given.data_vars and given.children:
            raise ValueError(
                "the groups of this sweep have different outputs, and it is a DataTree; give one "
                f"of its nodes, such as runs[{next(iter(given.children))!r}], of "
                f"{list(given.children)}."
            )
        given = given.to_dataset()
    if not isinstance(given, xarray.Dataset) or "status" not in given.coords:
        raise ValueError(
            f"this needs the Dataset that a sweep returns, with its status; got "
            f"{type(given).__name__}."
        )
    return given


def check_over(over: Any, dims: Sequence[Any]) -> None:
    """Refuse a name of the seeds that no dimension has, unless it is "seed", the default, or "".

    Raises:
      ValueError: There is no such dimension, or it is not a string.
    """
    if not isinstance(over, str) or over not in ("", "seed", *dims):
        raise ValueError(
            f'over is one of the dims {list(dims)} of lanes, or "" for no median; got {over!r}.'
        )


def last_values(runs: "xarray.Dataset", name: str) -> "xarray.DataArray":
    """Return the last values of a variable that has one for each lane and record."""
    runs = _as_dataset(runs)
    _check_values(runs, name)
    values = runs[name]
    values = values.isel(step=-1) if "step" in values.dims else values
    extra = [dim for dim in values.dims if dim not in runs.status.dims]
    if extra:
        raise ValueError(f"{name!r} has several values for each lane, along {extra}; select one.")
    return values.transpose(*runs.status.dims)


def _check_values(runs: "xarray.Dataset", name: str) -> None:
    """Refuse a variable that has no values of the lanes, or none that have an order."""
    if not isinstance(name, str):
        raise ValueError(f"a variable is chosen by its name, not by {name!r}.")
    if name not in runs:
        raise ValueError(f"there is no variable {name!r}; the sweep has {list(runs)}.")
    values = runs[name]
    lacking = [dim for dim in runs.status.dims if dim not in values.dims]
    if lacking:
        raise ValueError(f"{name!r} lacks the dims {lacking} of the lanes; give all lanes.")
    if values.dtype.kind == "c":
        raise ValueError(
            f"{name!r} is complex, and complex numbers have no order; add its absolute "
            "value to the Dataset, as in runs.assign(size=abs(runs.value)), and name that."
        )


def _check_numbers(quantiles: Any, resamples: Any) -> None:
    """Refuse quantiles that are not two in order from 0 to 1, and counts below 1 or not whole."""
    is_count = isinstance(resamples, int | np.integer) and resamples >= 1
    if not is_count or np.shape(quantiles) != (2,) or not 0 <= quantiles[0] <= quantiles[1] <= 1:
        raise ValueError(
            "bands takes two quantiles in order, from 0 to 1, and a whole number of resamples, at "
            f"least 1; got {quantiles} and {resamples}."
        )


def _until_divergence(runs: "xarray.Dataset", name: str, over: str) -> "xarray.DataArray":
    """Return the values of a variable, infinite from the step on at which a lane diverged.

    The records that a halving did not run are NaN, for all seeds, if it did not run one of them.
    """
    values = runs[name].astype(float)
    step = values.coords.get("step")
    is_late = runs.status == Status.DIVERGED
    if step is not None:  # of each record, or of one that is selected
        is_late = (runs.diverged_at >= 0) & (step > runs.diverged_at)
    values = values.where(np.isfinite(values) & ~is_late, np.inf)
    if "ended_at" not in runs.coords:
        return values
    after_end = np.isnan(runs[name]) if step is None else step > runs.ended_at
    is_dropped = (runs.status == Status.OK) & after_end
    return values.where(~is_dropped.any(over))


def _resampled_medians(runs: NDArray[np.float64], resamples: int) -> list[NDArray[np.float64]]:
    """Return the ends of the middle 95 % of the medians of resampled seeds.

    Args:
      runs: [seeds, ...], sorted along the seeds.
      resamples: How many times as many seeds are drawn, with replacement.
    """
    count = len(runs)
    indices = np.sort(np.random.default_rng(0).integers(count, size=(resamples, count)), axis=1)
    flat = runs.reshape(count, -1)
    size = max(1, _BLOCK // (resamples * count))
    ends = []
    for start in range(0, flat.shape[1], size):
        # Runs are sorted, and so are the indices: each resample is sorted already.
        resampled = np.moveaxis(flat[:, start : start + size][indices], 1, 0)
        medians = np.sort(quantile(resampled, 0.5, is_sorted=True), axis=0)
        ends.append([quantile(medians, share, is_sorted=True) for share in _SPREAD])
    return [np.concatenate(end).reshape(runs.shape[1:]) for end in zip(*ends, strict=True)]
