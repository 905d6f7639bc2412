"""The paths of optimizers in the plane, over the contours of what they minimize."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jaxmom.plot import labels, lanes, style, surface

DIMS = ("step", "coordinate")


class Walk(NamedTuple):
    """What there is to draw of one path: its finite points [n, 2], and what befell it if aught."""

    label: str
    points: NDArray[np.float64]
    diverged: bool
    fate: str


def trajectories(
    paths: Any,
    *,
    loss: surface.Loss | None = None,
    extent: tuple[float, float, float, float] | None = None,
    levels: int = 30,
    diverged_at: Any = None,
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
    its label says when.

    Args:
        paths: label -> array [steps + 1, 2], one such array, or a DataArray with the dims
            "step" and "coordinate", whose other dims (method, seed, ...) become labels.
            Its coordinate `status` (0 missing, 1 ok, 2 diverged, 3 failed) is respected.
        loss: what to draw contours of: a function (x, y) -> value of whole arrays; its values
            [rows of y, columns of x], spread evenly over `extent`; or a DataArray with dims
            (y, x) and their coordinates. Without it there are no contours.
        extent: the frame as (left, right, bottom, top). By default that of a `loss` with
            coordinates, else a box around all paths that stay finite and all starts; if no path
            does, around what lies within five times the first step from its start.
        levels: the number of contours, evenly spaced in the logarithm of the height above the
            lowest value, over the four decades below the highest.
        diverged_at: for paths that were frozen when they diverged, the step at which each did,
            -1 for never: label -> step, or a DataArray. By default the coordinate of that name.
        ax: where to draw; a new figure by default.
        title: of the Axes.
        names: of the two coordinates.
        legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes. Draw over it as you like; its limits stay those of the frame.

    Raises:
        ValueError: a path has another shape, or there is no frame to spread plain `loss` over.

    >>> import matplotlib.pyplot as plt
    >>> ax = trajectories({"descent": [[2, 2], [1, 1], [0.5, 0.5]]}, loss=lambda x, y: x**2 + y**2)
    >>> ax.get_legend_handles_labels()[1]
    ['descent', 'start', 'end']
    >>> plt.close(ax.figure)
    """
    arrays = labels.labeled(paths, DIMS, required=2, diverged_at=diverged_at)
    walks = [_walk(label, array) for label, array in arrays]
    kept, lost = ([w.points for w in walks if w.diverged == fate] for fate in (False, True))
    box = surface.frame(extent, loss, kept, lost)
    ax = style.axes(ax, 6.4, 4.2)
    if loss is not None:
        surface.contours(ax, loss, box, levels)
    for index, walk in enumerate(walks):
        _draw(ax, walk, box, style.look(index))
    ax.set(xlim=box[:, 0], ylim=box[:, 1])
    return style.finish(ax, names=names, title=title, legend=legend)


def _walk(label: str, path: xarray.DataArray) -> Walk:
    """What there is of one path, and what befell it."""
    points = np.asarray(path.values, float)
    if points.shape[1] != 2:
        raise ValueError(
            f"a path has two coordinates, but {label!r} has {points.shape[1]}; select two of them"
        )
    status = int(path.coords.get("status", lanes.OK))
    flag = int(path.coords.get("diverged_at", -1))
    if status in (lanes.MISSING, lanes.FAILED):
        return Walk(label, points[:0], False, lanes.FATES[status])
    finite = lanes.drawable(points).all(axis=1)
    end = len(points) if finite.all() else int(finite.argmin())
    if flag >= 0 or end < len(points):
        step = end if flag < 0 else min(end, flag)
        return Walk(label, points[: min(end, step + 1)], True, f"diverged at step {step}")
    return Walk(label, points, status == lanes.DIVERGED, "diverged" * (status == lanes.DIVERGED))


def _draw(ax: Axes, walk: Walk, box: surface.Box, look: style.Look) -> None:
    """One path with its dots, arrowheads, start and end."""
    points = walk.points
    inside = ((points >= box[0]) & (points <= box[1])).all(axis=1)
    ends_inside = bool(inside[-1:].any())
    fate = walk.fate or ("" if ends_inside else "ends outside the frame")
    line = {"linestyle": look.linestyle, "color": look.color, "marker": ".", "markersize": 3.5}
    line |= {"linewidth": 1.4, "markevery": max(1, -(-len(points) // 60))}
    ax.plot(*points.T, label=f"{walk.label} ({fate})" if fate else walk.label, **line)
    if not inside.any():
        return
    _arrowheads(ax, points, inside, box, look.color)
    style.mark(ax, "start", points[0], look.color)
    leaves = np.flatnonzero(inside[:-1] & ~inside[1:])
    if len(leaves):
        last, beyond = points[leaves[-1]], points[leaves[-1] + 1]
        _exit(ax, last, beyond, box, look.color, walk.diverged and not ends_inside)
    if ends_inside and walk.diverged:
        style.mark(ax, "diverged", points[-1], look.color)
    elif ends_inside:
        style.mark(ax, "end", points[-1], look.color, marker=look.marker)


def _arrowheads(ax: Axes, points: NDArray, inside: NDArray, box: surface.Box, color: str) -> None:
    """Heads in the middle of the steps at a fifth, a half and four fifths of the visible way."""
    steps = np.diff(points / (box[1] - box[0]), axis=0)
    lengths = np.where(inside[:-1] & inside[1:], np.hypot(*steps.T), 0.0)
    way = np.cumsum(lengths)
    if len(way) == 0 or way[-1] == 0:
        return
    head = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": color, "linewidth": 0}
    head |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    for at in np.unique(np.searchsorted(way, np.array([0.2, 0.5, 0.8]) * way[-1])):
        tip = (points[at] + points[at + 1]) / 2
        ax.annotate("", xy=tuple(tip), xytext=tuple(points[at]), arrowprops=head, zorder=4)


def _exit(
    ax: Axes, last: NDArray, beyond: NDArray, box: surface.Box, color: str, diverged: bool
) -> None:
    """A mark where the step from `last`, inside, to the point `beyond` crosses the boundary."""
    step = beyond - last
    wall = np.where(step > 0, box[1], box[0])
    shares = np.divide(wall - last, step, out=np.full(2, np.inf), where=step != 0)
    side = int(shares.argmin())
    shape = (("<", ">"), ("v", "^"))[side][int(step[side] > 0)]
    kind, changes = ("diverged", {}) if diverged else ("leaves the frame", {"marker": shape})
    style.mark(ax, kind, last + shares[side] * step, color, clip_on=False, **changes)
