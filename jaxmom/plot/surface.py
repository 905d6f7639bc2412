"""A function of two coordinates as the ground on which paths are drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot import style

Loss = Callable[..., Any] | xarray.DataArray | ArrayLike
Box = NDArray[np.float64]  # [2, 2]: the lower and the upper corner


def contours(ax: Axes, loss: Loss, box: Box, levels: int) -> None:
    """Draw contours at logarithmic heights, on a relief pale enough for paths to stand out.

    Args:
        ax: where to draw.
        loss: a function (x, y) -> value of whole arrays, its values [rows of y, columns of x], or
            a DataArray with dims (y, x) and their coordinates.
        box: the corners between which a function is evaluated, and plain values are spread.
        levels: how many, over four decades; a constant function has none.

    Raises:
        ValueError: the values do not form a grid over x and y.
    """
    x, y, values = sample(loss, box)
    heights = style.log_levels(values, levels + 1)
    if len(heights) < 2:
        return
    values = np.ma.masked_invalid(values)
    norm = BoundaryNorm(heights, style.RELIEF.N, extend="min")
    ax.contourf(x, y, values, heights, cmap=style.RELIEF, norm=norm, extend="min", zorder=0)
    # The last height is the summit: a point, and no line.
    ax.contour(x, y, values, heights[:-1], colors=style.CONTOUR, linewidths=0.5, zorder=0.5)


def sample(loss: Loss, box: Box) -> tuple[NDArray, NDArray, NDArray]:
    """The coordinates x [columns] and y [rows], and the values [rows, columns].

    >>> x, y, values = sample([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.array([[0, 0], [1, 10]]))
    >>> x.tolist(), y.tolist()
    ([0.0, 0.5, 1.0], [0.0, 10.0])
    """
    if isinstance(loss, xarray.DataArray):
        x, y = (loss[dim].values for dim in reversed(loss.dims))
        return x, y, np.asarray(loss.values, float)
    shape = (200, 200) if callable(loss) else np.shape(loss)
    if len(shape) != 2:
        raise ValueError(f"values of loss must be [rows of y, columns of x]; these have {shape}")
    x, y = (np.linspace(box[0, i], box[1, i], shape[1 - i]) for i in (0, 1))
    values = np.asarray(loss(*np.meshgrid(x, y)) if callable(loss) else loss, float)
    if values.shape != shape:
        raise ValueError(
            f"loss must map arrays x and y of shape {shape} to values of that shape, but gave "
            f"{values.shape}; a function of one point is vectorized by jax.vmap, twice"
        )
    return x, y, values
