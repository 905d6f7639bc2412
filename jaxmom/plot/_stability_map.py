"""Stability maps: theoretical rates and the boundary of stability over a measured heatmap."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jaxmom.plot._heatmap import heatmap
from jaxmom.plot._shared import colors, labels, style

_BOUNDARY = "#D55E00"


def stability_map(
    measured: xarray.DataArray | ArrayLike,
    radius: xarray.DataArray | ArrayLike,
    *,
    x: labels.Along = None,
    y: labels.Along = None,
    levels: ArrayLike = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
    limits: colors.Limits = (None, 1.0),
    x_scale: str = "auto",
    y_scale: str = "auto",
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw measured rates as a heatmap, and theoretical rates over it as contours.

    The cells are colored by the measured rate, as in `heatmap`; those that diverged are striped. A
    thick line over them is the boundary, where the spectral radius is 1; thin lines are where it is
    one of the `levels`. Where theory is right, the stripes begin at the thick line and the colors
    change along the thin ones.

    Args:
      measured: The rate per step in every cell, a DataArray with two dims or an array [rows of
        y, columns of x]; not finite where the run diverged.
      radius: The spectral radius, with the same dims or shape; a DataArray may have finer
        coordinates of its own. One that is NaN counts as infinite, so as unstable.
      x: As in `heatmap`.
      y: As in `heatmap`.
      levels: The radii at which a thin line is drawn and labeled.
      limits: The rates of the lowest and of the highest color; None is the data's own.
      x_scale: As in `heatmap`.
      y_scale: As in `heatmap`.
      ax: The Axes; a new figure by default. The color bar takes its space from it.
      title: The title of the Axes.
      legend: As in `heatmap`.

    Returns:
      The Axes.

    Raises:
      ValueError: As `heatmap`, for either of the two.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> measured = [[0.9, 0.9, 0.95], [0.5, 0.9, np.inf], [np.inf, np.inf, np.inf]]
      >>> radius = [[0.9, 0.9, 0.95], [0.5, 0.9, 1.1], [1.2, 1.3, 1.5]]
      >>> ax = stability_map(measured, radius, x=[0.0, 0.5, 0.9], y=[0.1, 0.5, 2.5])
      >>> ax.get_legend_handles_labels()[1]
      ['diverged', 'theory: rates below 1', 'theory: rate 1, the boundary']
      >>> plt.close(ax.figure)
    """
    theory = labels.read_table(radius, x, y, None)
    ax = heatmap(
        measured, x=x, y=y, log=False, limits=limits, x_scale=x_scale, y_scale=y_scale,
        star=False, ax=ax, legend="",
    )  # fmt: skip
    rows, columns = (np.asarray(theory[dim].values, float) for dim in theory.dims)
    values = np.nan_to_num(np.asarray(theory.values, float), nan=np.inf, posinf=1e9)
    within = sorted(level for level in np.ravel(levels) if values.min() < level < values.max())
    if within:
        thin = ax.contour(columns, rows, values, within, colors="white", linewidths=0.8)
        ax.clabel(thin, fmt="%g", fontsize="x-small")
        ax.plot([], [], color="#bbbbbb", linewidth=0.8, label="theory: rates below 1")
    if values.min() < 1 < values.max():
        ax.contour(columns, rows, values, [1.0], colors=_BOUNDARY, linewidths=2.2)
        ax.plot([], [], color=_BOUNDARY, linewidth=2.2, label="theory: rate 1, the boundary")
    names = (ax.get_xlabel(), ax.get_ylabel())
    return style.finish_axes(ax, names=names, title=title, legend=legend)
