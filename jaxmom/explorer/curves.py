"""The records of the lanes of one cell."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.explorer.cells import Cells
from jaxmom.plot._shared import status

if TYPE_CHECKING:
    import xarray

_LINES = 20


class CellCurves(NamedTuple):
    """The curves of a cell.

    Attributes:
      steps: [records]
      runs: [lanes, records] the values until a lane diverged, NaN after it.
      diverged: [lanes] whether it did.
    """

    steps: NDArray[np.float64]
    runs: NDArray[np.float64]
    diverged: NDArray[np.bool_]


def read_curves(runs: "xarray.Dataset", cells: Cells, cell: int) -> CellCurves | None:
    """Read the records of the lanes of one cell, up to 20 lanes; None if there are no records.

    Example:
      >>> import jaxmom as jm
      >>> problem = jm.problems.tutorial_quadratic()
      >>> def train(beta):
      ...     return jm.optimize(problem.loss, problem.params, jm.heavy_ball(0.1, beta), 4)
      >>> runs = jm.sweep(train, jm.grid(beta=[0.0, 0.5]), width=2, progress=False)
      >>> from jaxmom.explorer.cells import read_cells
      >>> read_curves(runs, read_cells(runs, "value"), 1).steps
      array([0., 1., 2., 3., 4.])
    """
    if "step" not in runs[cells.variable].dims:
        return None
    place = np.unravel_index(cell, cells.shape)
    lanes = runs.isel(dict(zip(cells.dims, map(int, place), strict=True)))
    values = lanes[cells.variable].transpose(*cells.over, "step").compute()
    steps = np.asarray(values["step"].values, float)
    table = np.array(values.values, float).reshape(-1, len(steps))[:_LINES]
    fates = lanes.status.transpose(*cells.over).values.reshape(-1)[:_LINES]
    ends = lanes.diverged_at.transpose(*cells.over).values.reshape(-1)[:_LINES]
    is_late = (ends[:, None] >= 0) & (steps > ends[:, None])
    is_lost = np.logical_or.accumulate(is_late | ~status.is_drawable(table), axis=1)
    table[is_lost] = np.nan
    return CellCurves(steps, table, fates == status.DIVERGED)
