"""The cells of a sweep as flat arrays: read once, so that each view is one pass over them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.explorer.axes import Axis, make_axis
from jaxmom.plot._shared import series, status

if TYPE_CHECKING:
    import xarray

# Outcomes of cells, by their codes; the first four are those of lanes.
OUTCOMES = (*status.NAMES, "some seeds diverged")
_PARTLY = 4
_LANE_COORDINATES = ("status", "diverged_at", "ended_at")


class Cells(NamedTuple):
    """Every cell of a sweep; `[cells]` is the product of `shape`, the last dim fastest.

    Attributes:
      variable: The name of the value.
      dims: The dims of the cells.
      shape: Their sizes.
      over: The dims over which a cell has the median of its lanes.
      maximize: Whether large values are good.
      axes: Name -> axis, of the arguments that differ from cell to cell.
      value: [cells] the median; inf if half of the lanes diverged, NaN if there is none.
      score: [cells] the value, or its negative if large is good; inf where there is none.
      outcome: [cells] index into `OUTCOMES`.
      lanes: Outcome -> number of lanes, of all lanes.
      runs: [lanes of a cell, cells] the values of all lanes.
      status: [lanes of a cell, cells] their outcomes, 0 to 3.
    """

    variable: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    over: tuple[str, ...]
    maximize: bool
    axes: dict[str, Axis]
    value: NDArray[np.float64]
    score: NDArray[np.float64]
    outcome: NDArray[np.int8]
    lanes: dict[str, int]
    runs: NDArray[np.float64]
    status: NDArray[np.int8]

    @property
    def size(self) -> int:
        """The number of cells."""
        return len(self.value)


def list_variables(runs: "xarray.Dataset") -> list[str]:
    """Return the variables that have one real number for each lane, or for each lane and record.

    Raises:
      ValueError: There is none.
    """
    lane_dims = set(runs.status.dims)
    names = [
        str(name)
        for name, array in runs.data_vars.items()
        if array.dtype.kind in "biuf"
        and lane_dims <= set(array.dims)
        and set(array.dims) - lane_dims <= {"step"}
    ]
    if not names:
        raise ValueError(
            f"the explorer shows one real number for each lane and record, and none of "
            f"{list(runs.data_vars)} is one; add one to the Dataset, as in "
            "runs.assign(size=abs(runs.value))."
        )
    return names


def list_axes(runs: "xarray.Dataset") -> dict[str, str]:
    """Return the arguments that differ from lane to lane, each with its dim."""
    dims = set(runs.status.dims)
    return {
        str(name): str(coordinate.dims[0])
        for name, coordinate in runs.coords.items()
        if coordinate.ndim == 1 and coordinate.dims[0] in dims and name not in _LANE_COORDINATES
    }


def read_cells(
    runs: "xarray.Dataset",
    variable: str,
    *,
    record: int = -1,
    over: Sequence[str] = (),
    maximize: bool = False,
) -> Cells:
    """Read one value of every lane, and take medians over some dims.

    A lane that diverged counts as infinitely bad in a median, as in `jaxmom.plot.heatmap`.

    Args:
      runs: From `jaxmom.sweep` or `jaxmom.halving`.
      variable: One of `list_variables`.
      record: The index of the record, if there are records; the last one by default.
      over: The dims of the medians, such as ("seed",).
      maximize: Whether large is good.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def loss(beta, seed):
      ...     return {"value": jnp.where(beta < 0.9, beta, jnp.inf)}
      >>> space = jm.grid(beta=[0.5, 0.9], seed=[0, 1])
      >>> runs = jm.sweep(loss, space, width=4, progress=False)
      >>> cells = read_cells(runs, "value", over=("seed",))
      >>> cells.value, [OUTCOMES[code] for code in cells.outcome]
      (array([0.5, inf]), ['ok', 'diverged'])
    """
    dims = tuple(str(dim) for dim in runs.status.dims if dim not in over)
    table = _read_table(runs, variable, record, (*over, *dims))
    flat = _flatten(table, len(over))
    reduced = series.reduce_seeds(-flat if maximize else flat, 1)
    middle = -reduced.middle if maximize else reduced.middle
    middle = np.where(np.isinf(reduced.middle), np.inf, middle)
    outcome = np.full(len(middle), status.OK, np.int8)
    for name, code in zip(OUTCOMES, (*range(4), _PARTLY), strict=True):
        if name in reduced.kinds:
            outcome[reduced.kinds[name]] = code
    statuses = status.read_statuses(flat).astype(np.int8)
    found = np.bincount(statuses.ravel(), minlength=4)
    axes = {
        name: make_axis(runs[name].compute())
        for name, dim in list_axes(runs).items()
        if dim not in over
    }
    return Cells(
        variable=variable,
        dims=dims,
        shape=tuple(runs.sizes[dim] for dim in dims),
        over=tuple(over),
        maximize=maximize,
        axes=axes,
        value=middle,
        score=np.where(np.isfinite(middle), -middle if maximize else middle, np.inf),
        outcome=outcome,
        lanes=dict(zip(status.NAMES, found.tolist(), strict=True)),
        runs=flat.values,
        status=statuses,
    )


def _read_table(
    runs: "xarray.Dataset", variable: str, record: int, dims: tuple[str, ...]
) -> "xarray.DataArray":
    """Return the values of all lanes at one record, in memory, with the outcomes of the lanes."""
    values = runs[variable]
    if "step" in values.dims:
        values = values.isel(step=record)
    keep = {"step", *_LANE_COORDINATES}
    values = values.drop_vars([name for name in values.coords if name not in keep])
    return values.transpose(*dims).astype(float).compute()


def _flatten(table: "xarray.DataArray", seeds: int) -> "xarray.DataArray":
    """Return the values [lanes of a cell, cells] of a table whose first dims are those of seeds."""
    import xarray

    count = int(np.prod(table.shape[:seeds]))

    def fold(array: Any) -> tuple[tuple[str, str], NDArray[Any]]:
        return ("seeds", "cells"), array.transpose(*table.dims).values.reshape(count, -1)

    coords = {
        name: fold(coordinate) if coordinate.ndim else coordinate.values
        for name, coordinate in table.coords.items()
    }
    return xarray.DataArray(fold(table)[1], coords, ("seeds", "cells"))
