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


def frame(extent: Any, loss: Loss | None, kept: list[NDArray], lost: list[NDArray]) -> Box:
    """The frame of paths: as given, or that of the loss, or a box around what did not diverge.

    Args:
        extent: (left, right, bottom, top), or None.
        loss: what contours are drawn of, or None.
        kept: the points [n, 2] of each path that did not diverge.
        lost: those of each that did: of them only the start has room, or, if all diverged, what
            lies within five times the first step from it.

    Raises:
        ValueError: extent is no frame, or is missing where values of the loss need it.
    """
    if extent is not None:
        if np.shape(extent) != (4,):
            raise ValueError(f"extent must be (left, right, bottom, top); got {extent}")
        return np.asarray(extent, float).reshape(2, 2).T
    if isinstance(loss, xarray.DataArray):
        x, y = (loss[dim].values for dim in reversed(loss.dims))
        return np.array([[x.min(), y.min()], [x.max(), y.max()]])
    if loss is not None and not callable(loss):
        raise ValueError("plain values of loss need extent=(left, right, bottom, top)")
    near = [points[:1] if kept else _near(points) for points in lost]
    seen = np.concatenate([np.empty((0, 2)), *kept, *near])
    seen = seen if len(seen) else np.zeros((1, 2))
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = np.where(high > low, 0.1 * (high - low), 1.0)
    return np.array([low - margin, high + margin])


def _near(points: NDArray) -> NDArray:
    """The points of a path within five times its first step from its start."""
    away = np.abs(points - points[:1]).max(axis=1)
    return points[away <= 5 * away[1:2].sum()]


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
