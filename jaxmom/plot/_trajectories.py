"""Trajectories: the paths of optimizers in the plane, over the contours of a function."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jaxmom.plot._shared import labels, particles, status, style, surface

_DIMS = (particles.STEP, particles.COORDINATE)


class Path(NamedTuple):
    """One path as it is drawn, and its outcome, which is empty if it finished normally."""

    label: str
    points: NDArray[np.float64]  # [n, 2]
    diverged: bool
    outcome: str


def trajectories(
    paths: labels.SeriesLike,
    *,
    loss: surface.LossLike | None = None,
    extent: tuple[float, float, float, float] | None = None,
    levels: int = 30,
    diverged_at: labels.StepLike = None,
    ax: Axes | None = None,
    title: str = "",
    names: tuple[str, str] = ("x", "y"),
    legend: str = "right",
) -> Axes:
    """Draw paths through a plane, with the contours of a function of its two coordinates.

    A hollow ring marks each start, a filled marker each end, a dot each step (of a path longer
    than 60 steps, 60 of them), and arrowheads the direction. A path that leaves the frame gets a
    triangle on the boundary where it last does so. A path that turns non-finite (or goes beyond
    1e200) ends in a cross at its last finite point, or on the boundary if that point lies outside;
    its label gives the step.

    Args:
      paths: label -> array [steps + 1, 2], one such array, or a DataArray with the dims "step" and
        "coordinate" (or "params_0", as a sweep names the dim of recorded `params`), whose other
        dims (method, seed, ...) become labels. Its coordinate `status` (0 missing, 1 ok, 2
        diverged, 3 failed) is respected.
      loss: The function of the contours: a function (x, y) -> value of whole arrays; a function of
        one point [2], such as `problem.loss`; its values [rows of y, columns of x], spread evenly
        over `extent`; or a DataArray with dims (y, x) and their coordinates. Without it there are
        no contours.
      extent: The frame as (left, right, bottom, top). By default that of a `loss` with
        coordinates, else a box around all paths that stay finite and all starts; if no path
        does, around the points within five times the first step from its start.
      levels: The number of contours, evenly spaced in the logarithm of the height above the
        lowest value, over the four decades below the highest.
      diverged_at: For paths that were frozen when they diverged, the step at which each did,
        -1 for never: label -> step, or a DataArray. By default the coordinate of that name.
      ax: The Axes; a new figure by default.
      title: The title of the Axes.
      names: The names of the two coordinates.
      legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes, whose limits are those of the frame.

    Raises:
      ValueError: A path has another shape, the loss fails on the grid, or there is no frame over
        which to spread plain values of `loss`.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> path = [[2, 2], [1, 1], [0.5, 0.5]]
      >>> ax = trajectories({"descent": path}, loss=lambda x, y: x**2 + y**2)
      >>> ax.get_legend_handles_labels()[1]
      ['descent', 'start', 'end']
      >>> plt.close(ax.figure)
    """
    paths = labels.select_variable(paths)
    named = particles.name_coordinate_dims(paths)
    arrays = labels.label_arrays(named, _DIMS, required=2, diverged_at=diverged_at)
    drawn = [_make_path(label, array) for label, array in arrays]
    finished = [path.points for path in drawn if not path.diverged]
    diverged = [path.points for path in drawn if path.diverged]
    box = surface.choose_frame(extent, loss, finished, diverged)
    ax = style.get_axes(ax, 6.4, 4.2)
    if loss is not None:
        surface.draw_contours(ax, loss, box, levels)
    for index, path in enumerate(drawn):
        _draw_path(ax, path, box, style.line_style(index, ax))
    ax.set(xlim=box[:, 0], ylim=box[:, 1])
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _make_path(label: str, path: xarray.DataArray) -> Path:
    """Return the points of one path that can be drawn, and its outcome."""
    points = np.asarray(path.values, float)
    if points.shape[1] != 2:
        raise ValueError(
            f"a path has two coordinates, but {label!r} has {points.shape[1]}; select two of them"
        )
    code = int(path.coords.get("status", status.OK))
    flag = int(path.coords.get("diverged_at", -1))
    if code in (status.MISSING, status.FAILED):
        return Path(label, points[:0], False, status.NAMES[code])
    finite = status.is_drawable(points).all(axis=1)
    end = len(points) if finite.all() else int(finite.argmin())
    if flag >= 0 or end < len(points):
        step = end if flag < 0 else min(end, flag)
        return Path(label, points[: min(end, step + 1)], True, f"diverged at step {step}")
    lost = code == status.DIVERGED
    return Path(label, points, lost, "diverged" if lost else "")


def _draw_path(ax: Axes, path: Path, box: surface.Box, look: style.LineStyle) -> None:
    """Draw one path with its dots, arrowheads, start and end."""
    points = path.points
    inside = ((points >= box[0]) & (points <= box[1])).all(axis=1)
    ends_inside = bool(inside[-1:].any())
    outcome = path.outcome or ("" if ends_inside else "ends outside the frame")
    label = f"{path.label} ({outcome})" if outcome else path.label
    line: dict[str, Any] = {"linestyle": look.linestyle, "color": look.color, "linewidth": 1.4}
    line |= {"marker": ".", "markersize": 3.5, "markevery": max(1, -(-len(points) // 60))}
    ax.plot(*points.T, label=label, **line)
    if not inside.any():
        return
    _draw_arrowheads(ax, points, inside, box, look.color)
    style.draw_mark(ax, "start", points[0], look.color)
    leaves = np.flatnonzero(inside[:-1] & ~inside[1:])
    if len(leaves):
        last, beyond = points[leaves[-1]], points[leaves[-1] + 1]
        _mark_exit(ax, last, beyond, box, look.color, path.diverged and not ends_inside)
    if ends_inside and path.diverged:
        style.draw_mark(ax, "diverged", points[-1], look.color)
    elif ends_inside:
        style.draw_mark(ax, "end", points[-1], look.color, marker=look.marker)


def _draw_arrowheads(
    ax: Axes, points: NDArray, inside: NDArray, box: surface.Box, color: str
) -> None:
    """Draw heads in the middle of the steps at a fifth, a half and four fifths of the path."""
    steps = np.diff(points / (box[1] - box[0]), axis=0)
    lengths = np.where(inside[:-1] & inside[1:], np.hypot(*steps.T), 0.0)
    distance = np.cumsum(lengths)
    if len(distance) == 0 or distance[-1] == 0:
        return
    head: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": color}
    head |= {"linewidth": 0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    for at in np.unique(np.searchsorted(distance, np.array([0.2, 0.5, 0.8]) * distance[-1])):
        tip = (points[at] + points[at + 1]) / 2
        ax.annotate("", xy=tuple(tip), xytext=tuple(points[at]), arrowprops=head, zorder=4)


def _mark_exit(
    ax: Axes, last: NDArray, beyond: NDArray, box: surface.Box, color: str, diverged: bool
) -> None:
    """Draw a mark where the step from `last`, inside, to `beyond` crosses the boundary."""
    step = beyond - last
    wall = np.where(step > 0, box[1], box[0])
    shares = np.divide(wall - last, step, out=np.full(2, np.inf), where=step != 0)
    side = int(shares.argmin())
    shape = (("<", ">"), ("v", "^"))[side][int(step[side] > 0)]
    at = last + shares[side] * step
    if diverged:
        style.draw_mark(ax, "diverged", at, color, clip_on=False)
    else:
        style.draw_mark(ax, "leaves the frame", at, color, clip_on=False, marker=shape)
