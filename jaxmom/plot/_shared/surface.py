"""The contours of a function of two coordinates, over which paths are drawn."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import style

# (x, y) -> value of whole arrays, or (point [2]) -> value, or the values themselves.
LossLike: TypeAlias = Callable[..., Any] | xarray.DataArray | ArrayLike
Box: TypeAlias = NDArray[np.float64]  # [2, 2]: the lower and the upper corner
_SIDE = 200  # points along each side of the grid on which a function is evaluated


def choose_frame(
    extent: Any, loss: LossLike | None, finished: list[NDArray], diverged: list[NDArray]
) -> Box:
    """Return the frame: as given, or that of the loss, or a box around the paths that finished.

    Args:
      extent: (left, right, bottom, top), or None.
      loss: The function of the contours, or None.
      finished: The points [n, 2] of each path that did not diverge.
      diverged: Those of each that did. The box holds only the start of these; or, if all paths
        diverged, the points within five times the first step from the start.

    Raises:
      ValueError: The extent is not a frame, or is missing where values of the loss need it.
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
    near = [points[:1] if finished else _points_near_start(points) for points in diverged]
    visible = np.concatenate([np.empty((0, 2)), *finished, *near])
    visible = visible if len(visible) else np.zeros((1, 2))
    low, high = visible.min(axis=0), visible.max(axis=0)
    margin = np.where(high > low, 0.1 * (high - low), 1.0)
    return np.array([low - margin, high + margin])


def _points_near_start(points: NDArray) -> NDArray:
    """Return the points of a path within five times its first step from its start."""
    distance = np.abs(points - points[:1]).max(axis=1)
    return points[distance <= 5 * distance[1:2].sum()]


def draw_contours(ax: Axes, loss: LossLike, box: Box, levels: int) -> None:
    """Draw contours at logarithmic heights, on a relief that is pale, so that paths stand out.

    Args:
      ax: The Axes.
      loss: A function, its values [rows of y, columns of x], or a DataArray with dims (y, x) and
        their coordinates.
      box: The corners between which a function is evaluated, and plain values are spread.
      levels: The number of contours, over four decades; a constant function has none.

    Raises:
      ValueError: The values do not form a grid over x and y.
    """
    x, y, values = evaluate_loss(loss, box)
    heights = style.log_levels(values, levels + 1)
    if len(heights) < 2:
        return
    values, relief = np.ma.masked_invalid(values), style.make_relief(ax)
    norm = BoundaryNorm(heights, relief.N, extend="min")
    ax.contourf(x, y, values, heights, cmap=relief, norm=norm, extend="min", zorder=0)
    # The last height is the maximum: a point and not a line.
    color = style.ensure_contrast(style.CONTOUR, ax)
    ax.contour(x, y, values, heights[:-1], colors=color, linewidths=0.5, zorder=0.5)


def evaluate_loss(loss: LossLike, box: Box) -> tuple[NDArray, NDArray, NDArray]:
    """Return the coordinates x [columns] and y [rows], and the values [rows, columns].

    Example:
      >>> box = np.array([[0, 0], [1, 10]])
      >>> x, y, values = evaluate_loss([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], box)
      >>> x.tolist(), y.tolist()
      ([0.0, 0.5, 1.0], [0.0, 10.0])
    """
    if isinstance(loss, xarray.DataArray):
        x, y = (loss[dim].values for dim in reversed(loss.dims))
        return x, y, np.asarray(loss.values, float)
    shape = (_SIDE, _SIDE) if callable(loss) else np.shape(loss)
    if len(shape) != 2:
        raise ValueError(f"values of loss must be [rows of y, columns of x]; these have {shape}")
    x, y = (np.linspace(box[0, i], box[1, i], shape[1 - i]) for i in (0, 1))
    values = _call_loss(loss, *np.meshgrid(x, y)) if callable(loss) else np.asarray(loss, float)
    if values.shape != shape:
        raise ValueError(
            f"loss must map arrays x and y of shape {shape} to values of that shape, but gave "
            f"{values.shape}; a function of one point has one argument, and is vectorized here"
        )
    return x, y, values


def _call_loss(loss: Callable[..., Any], x: NDArray, y: NDArray) -> NDArray:
    """Return the values of a function of (x, y), or of one point [2], on a grid."""
    if _takes_one_point(loss):
        return _map_points(loss, np.stack([x, y], axis=-1))
    try:
        return np.asarray(loss(x, y), float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"loss(x, y) failed on arrays of shape {x.shape}: {error}. Give a function (x, y) -> "
            "values of whole arrays, or a function of one point [2], such as `problem.full_loss`"
        ) from error


def _takes_one_point(loss: Callable[..., Any]) -> bool:
    """Return whether a function needs exactly one positional argument."""
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):  # built-in functions may have no signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters) == 1


def _map_points(loss: Callable[..., Any], points: NDArray) -> NDArray:
    """Return the values of a function of one point at all points [rows, columns, 2]."""
    import jax

    try:
        return np.asarray(jax.vmap(jax.vmap(loss))(jax.numpy.asarray(points)), float)
    except jax.errors.JAXTypeError:  # the function is written in NumPy
        return np.apply_along_axis(loss, -1, points).astype(float)
