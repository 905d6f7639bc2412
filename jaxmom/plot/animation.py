"""Many lanes at once, moving over the contours of what they minimize, as a GIF."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot import gif, lanes, scales, style, surface, swarm

LOST = ("diverged", "outside the frame")
SHADES = 32  # of a color bar: lanes of one shade are drawn as one line
FRAMES = 120  # at most


class Pen(NamedTuple):
    """The lanes of one color, and the artists that draw them."""

    lanes: NDArray[np.int_]  # which they are
    tails: Line2D
    marks: dict[str, Line2D]  # of those that move, diverged, or are outside the frame


def animate(
    paths: Any,
    file: gif.File,
    *,
    loss: surface.Loss | None = None,
    color: str | ArrayLike | None = None,
    scale: str = "auto",
    extent: tuple[float, float, float, float] | None = None,
    levels: int = 30,
    tail: int | None = None,
    fps: int = 20,
    ax: Axes | None = None,
    title: str = "",
    names: tuple[str, str] = ("x", "y"),
    legend: str = "above",
) -> Axes:
    """Write a GIF of many lanes at once that move over the contours of a function.

    Each lane is a dot. One that diverges becomes a cross where it did so, and one that is outside
    the frame a square on its boundary; a text in the corner counts the steps, and the lanes that
    diverged, are missing or failed. Long runs are shown in 120 frames. Three thousand lanes take
    two seconds, or ten with tails.

    Args:
        paths: label -> array [steps + 1, 2] or [lanes, steps + 1, 2], one such array, or a
            DataArray with the dims "step" and "coordinate", whose other dims are lanes. Its
            coordinates `status` (0 missing, 1 ok, 2 diverged, 3 failed) and `diverged_at` (-1 for
            never, in the units of the coordinate "step") are respected.
        file: where to write, a path or a binary file.
        loss: what to draw contours of, as for `trajectories`.
        color: what lanes are colored by: of a DataArray the name of a coordinate, of an array
            [lanes]. Numbers have a color bar, names such as those of methods a legend. The lanes
            of a mapping have the colors of their labels.
        scale: of the color bar: "linear", "log", "memory" (for beta near 1: even in the logarithm
            of 1 / (1 - beta)), or "auto": logarithmic where that spaces values more evenly.
        extent: the frame as (left, right, bottom, top); its default is that of `trajectories`.
        levels: the number of contours.
        tail: the number of records that trail behind each lane; by default 8, and none if there
            are more than 100 lanes, whose tails would hide them.
        fps: frames per second.
        ax: where to draw; a new figure by default. The GIF shows the whole figure.
        title: of the Axes.
        names: of the two coordinates.
        legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes, which show the last frame.

    Raises:
        ValueError: paths or color have another shape, an unknown name or scale, or there is no
            frame to spread plain `loss` over.

    >>> import io
    >>> import matplotlib.pyplot as plt
    >>> halving = np.array([1.0, -2.0])[:, None, None] * 0.5 ** np.arange(5)[:, None] * [1, 1]
    >>> ax = animate(halving, io.BytesIO(), loss=lambda x, y: x**2 + y**2, color=[0.1, 0.2])
    >>> ax.texts[0].get_text()
    'step 4, 2 lanes'
    >>> plt.close(ax.figure)
    """
    herd = swarm.gather(paths, color)
    box = herd.box(extent, loss)
    ax = style.axes(ax, 5.6, 4.4)
    if loss is not None:
        surface.contours(ax, loss, box, levels)
    ax.set(xlim=box[:, 0], ylim=box[:, 1])
    pens = _pens(ax, herd, scale)
    count = len(herd.steps)
    records = np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int))
    ran_on = ~herd.diverged[:, None] | (records < herd.ends[:, None])
    outside = _outside(herd.points[:, records], box) & ran_on
    for kind, befallen in zip(LOST, (herd.diverged, outside), strict=True):
        if befallen.any():
            style.mark(ax, kind, ([], []), style.GRAY)
    style.finish(ax, names=names, title=title, legend=legend)
    tail = 8 * (len(herd.points) <= 100) if tail is None else tail
    text = ax.text(0.02, 0.03, "", transform=ax.transAxes, fontsize="small", zorder=6)
    text.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2})
    moving = [pen.tails for pen in pens]
    moving += [pen.marks[kind] for kind in (*LOST, "moves") for pen in pens] + [text]
    gif.write(file, ax, moving, _scenes(herd, pens, text, box, records, tail), fps)
    return ax


def _outside(points: NDArray, box: surface.Box) -> NDArray[np.bool_]:
    """Which points [..., 2] lie outside the frame."""
    return ((points < box[0]) | (points > box[1])).any(axis=-1)


def _pens(ax: Axes, herd: swarm.Swarm, scale: str) -> list[Pen]:
    """Artists for the lanes of each color, with a legend or a color bar of these."""
    size = float(np.clip(90 / np.sqrt(len(herd.points) + 1), 2.5, 6))
    marks = {kind: style.MARKS[kind] | {"markersize": size, "clip_on": False} for kind in LOST}
    marks["moves"] = {"marker": "o", "markersize": size, "markeredgewidth": 0}
    pens = []
    shades, shade = _shades(ax, herd, scale)
    for number, color in enumerate(shades):
        chosen = np.flatnonzero(shade == number)
        (tails,) = ax.plot([], [], color=color, linewidth=size / 5, alpha=0.5, zorder=2)
        look = {"color": color, "linestyle": "none", "zorder": 3}
        drawn = {kind: ax.plot([], [], **look | own)[0] for kind, own in marks.items()}
        pens.append(Pen(chosen, tails, drawn))
    return pens


def _shades(ax: Axes, herd: swarm.Swarm, scale: str) -> tuple[list[Any], NDArray[np.int_]]:
    """The colors, explained beside the Axes, and which of them each lane has."""
    if herd.color is None or not len(herd.points):
        return [style.look(0).color], np.zeros(len(herd.points), int)
    cells, places = scales.places(herd.color, scale)
    ticks = scales.ticks(cells)
    if cells.ticks is None:
        shades = list(colormaps[style.HEAT](np.linspace(0, 1, SHADES)))
        bar = ax.figure.colorbar(ScalarMappable(cmap=style.HEAT), ax=ax, label=cells.name)
        bar.set_ticks(ticks[0].tolist(), labels=ticks[1])
    else:
        shades = [style.look(number).color for number in range(len(cells.ticks))]
        for color, name in zip(shades, cells.ticks, strict=True):
            ax.plot([], [], "o", color=color, label=name)
    return shades, np.minimum((places * len(shades)).astype(int), len(shades) - 1)


def _scenes(
    herd: swarm.Swarm,
    pens: list[Pen],
    text: Text,
    box: surface.Box,
    records: NDArray[np.int_],
    tail: int,
) -> Iterator[None]:
    """Make the artists show one record after the other."""
    for record in records:
        here = herd.points[:, record]
        gone = herd.diverged & (record >= herd.ends)
        outside = _outside(here, box) & ~gone
        kinds = {"diverged": gone, "outside the frame": outside, "moves": ~gone & ~outside}
        for pen in pens:
            _move(pen, herd.points[pen.lanes, max(0, record - tail) : record + 1], box, kinds)
        counts = {"diverged": int(gone.sum())} | herd.absent
        text.set_text(f"step {herd.steps[record]}, {lanes.tally(len(here), counts)}")
        yield


def _move(pen: Pen, way: NDArray, box: surface.Box, kinds: dict[str, NDArray[np.bool_]]) -> None:
    """Put the lanes of one color at the end of their way [lanes, records, 2], inside the frame."""
    gaps = np.full((len(way), 1, 2), np.nan)
    pen.tails.set_data(*np.concatenate([way, gaps], axis=1).reshape(-1, 2).T)
    places = np.clip(way[:, -1], *box)
    for kind, line in pen.marks.items():
        line.set_data(*places[kinds[kind][pen.lanes]].T)
