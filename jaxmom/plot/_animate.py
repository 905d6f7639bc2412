"""Animation: many lanes at once, over the contours of a function, as a GIF."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import axis_scale, gif, labels, particles, status, style, surface

_LOST = ("diverged", "outside the frame")
_SHADES = 32  # of a color bar: lanes of one shade are drawn as one line
_FRAMES = 120  # at most


class Pen(NamedTuple):
    """The lanes of one color, and the artists that draw them."""

    lanes: NDArray[np.int_]  # their indices
    tails: Line2D
    marks: dict[str, Line2D]  # of those that move, diverged, or are outside the frame


def animate(
    paths: labels.SeriesLike,
    file: gif.File,
    *,
    loss: surface.LossLike | None = None,
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
    """Write a GIF of many lanes that move over the contours of a function.

    Each lane is a dot. A lane that diverges becomes a cross at its last point, and a lane outside
    the frame a square on its boundary. A text in the corner counts the steps, and the lanes that
    diverged, are missing or failed. Long runs are shown in 120 frames. Three thousand lanes take
    two seconds, or ten with tails.

    Args:
      paths: label -> array [steps + 1, 2] or [lanes, steps + 1, 2], one such array, or a DataArray
        with the dims "step" and "coordinate" (or "params_0", as a sweep names the dim of recorded
        `params`), whose other dims are lanes. Its coordinates `status` (0 missing, 1 ok, 2
        diverged, 3 failed) and `diverged_at` (-1 for never, in the units of the coordinate "step")
        are respected.
      file: A path or a binary file.
      loss: The function of the contours, as for `trajectories`.
      color: What colors the lanes: for a DataArray the name of a coordinate, for an array values
        [lanes]. Numbers have a color bar, names such as those of methods a legend. The lanes of a
        mapping have the colors of their labels.
      scale: The scale of the color bar: "linear", "log", "memory" (for beta near 1: even in the
        logarithm of 1 / (1 - beta)), or "auto" for the one that spaces the values most evenly.
      extent: The frame as (left, right, bottom, top); its default is that of `trajectories`.
      levels: The number of contours.
      tail: The number of records that trail behind each lane; by default 8, and none if there are
        more than 100 lanes, whose tails would hide them.
      fps: Frames per second.
      ax: The Axes; a new figure by default. The GIF shows the whole figure.
      title: The title of the Axes.
      names: The names of the two coordinates.
      legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes, which show the last frame.

    Raises:
      ValueError: Paths or color of another shape, an unknown name or scale, or no frame over which
        to spread plain values of `loss`.

    Example:
      >>> import io
      >>> import matplotlib.pyplot as plt
      >>> halving = np.array([1.0, -2.0])[:, None, None] * 0.5 ** np.arange(5)[:, None] * [1, 1]
      >>> ax = animate(halving, io.BytesIO(), loss=lambda x, y: x**2 + y**2, color=[0.1, 0.2])
      >>> ax.texts[0].get_text()
      'step 4, 2 lanes'
      >>> plt.close(ax.figure)
    """
    lanes = particles.read_particles(paths, color)
    box = lanes.choose_frame(extent, loss)
    ax = style.get_axes(ax, 5.6, 4.4)
    if loss is not None:
        surface.draw_contours(ax, loss, box, levels)
    ax.set(xlim=box[:, 0], ylim=box[:, 1])
    pens = _make_pens(ax, lanes, scale)
    count = len(lanes.steps)
    records = np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).round().astype(int))
    running = ~lanes.diverged[:, None] | (records < lanes.ends[:, None])
    outside = _is_outside(lanes.points[:, records], box) & running
    for kind, lost in zip(_LOST, (lanes.diverged, outside), strict=True):
        if lost.any():
            style.draw_mark(ax, kind, ([], []), style.ensure_contrast(style.GRAY, ax))
    style.finish_axes(ax, names=names, title=title, legend=legend)
    tail = 8 * (len(lanes.points) <= 100) if tail is None else tail
    text = _make_counter(ax)
    moving = [pen.tails for pen in pens]
    moving += [pen.marks[kind] for kind in (*_LOST, "moves") for pen in pens]
    scenes = _show_records(lanes, pens, text, box, records, tail)
    gif.write_gif(file, ax, [*moving, text], scenes, fps)
    return ax


def _is_outside(points: NDArray, box: surface.Box) -> NDArray[np.bool_]:
    """Return which points [..., 2] lie outside the frame."""
    return ((points < box[0]) | (points > box[1])).any(axis=-1)


def _make_counter(ax: Axes) -> Text:
    """Draw an empty text in the corner, on the background of the Axes."""
    text = ax.text(0.02, 0.03, "", transform=ax.transAxes, fontsize="small", zorder=6)
    text.set_color(style.get_ink(ax))
    background = style.get_background(ax)
    text.set_bbox({"facecolor": background, "alpha": 0.8, "edgecolor": "none", "pad": 2})
    return text


def _make_pens(ax: Axes, lanes: particles.Particles, scale: str) -> list[Pen]:
    """Return artists for the lanes of each color, with a legend or a color bar of these."""
    size = float(np.clip(90 / np.sqrt(len(lanes.points) + 1), 2.5, 6))
    looks: dict[str, dict[str, Any]] = {
        kind: style.MARKS[kind] | {"markersize": size, "clip_on": False} for kind in _LOST
    }
    looks["moves"] = {"marker": "o", "markersize": size, "markeredgewidth": 0}
    pens = []
    shades, shade = _choose_shades(ax, lanes, scale)
    for number, color in enumerate(shades):
        (tails,) = ax.plot([], [], color=color, linewidth=size / 5, alpha=0.5, zorder=2)
        shared: dict[str, Any] = {"color": color, "linestyle": "none", "zorder": 3}
        marks = {kind: ax.plot([], [], **shared | look)[0] for kind, look in looks.items()}
        pens.append(Pen(np.flatnonzero(shade == number), tails, marks))
    return pens


def _choose_shades(
    ax: Axes, lanes: particles.Particles, scale: str
) -> tuple[list[Any], NDArray[np.int_]]:
    """Return the colors, explained beside the Axes, and the index of the color of each lane."""
    if lanes.color is None or not len(lanes.points):
        return [style.line_style(0, ax).color], np.zeros(len(lanes.points), int)
    fitted, places = axis_scale.place_on_scale(lanes.color, scale)
    shades: list[Any]
    if fitted.categories is None:
        shades = list(colormaps[style.HEAT](np.linspace(0, 1, _SHADES)))
        bar = ax.figure.colorbar(ScalarMappable(cmap=style.HEAT), ax=ax, label=fitted.name)
        ticks, texts = axis_scale.choose_ticks(fitted)
        bar.set_ticks(ticks.tolist(), labels=texts)
    else:
        shades = [style.line_style(number, ax).color for number in range(len(fitted.categories))]
        for color, name in zip(shades, fitted.categories, strict=True):
            ax.plot([], [], "o", color=color, label=name)
    return shades, np.minimum((places * len(shades)).astype(int), len(shades) - 1)


def _show_records(
    lanes: particles.Particles,
    pens: list[Pen],
    text: Text,
    box: surface.Box,
    records: NDArray[np.int_],
    tail: int,
) -> Iterator[None]:
    """Make the artists show one record after the other."""
    for record in records:
        points = lanes.points[:, record]
        diverged = lanes.diverged & (record >= lanes.ends)
        outside = _is_outside(points, box) & ~diverged
        moving = ~diverged & ~outside
        kinds = {"diverged": diverged, "outside the frame": outside, "moves": moving}
        for pen in pens:
            trail = lanes.points[pen.lanes, max(0, record - tail) : record + 1]
            _move_pen(pen, trail, box, kinds)
        counts = {"diverged": int(diverged.sum())} | lanes.absent
        text.set_text(f"step {lanes.steps[record]}, {status.summarize_lanes(len(points), counts)}")
        yield


def _move_pen(
    pen: Pen, trail: NDArray, box: surface.Box, kinds: dict[str, NDArray[np.bool_]]
) -> None:
    """Put the lanes of one color at the end of their trails [lanes, records, 2], in the frame."""
    gaps = np.full((len(trail), 1, 2), np.nan)
    pen.tails.set_data(*np.concatenate([trail, gaps], axis=1).reshape(-1, 2).T)
    points = np.clip(trail[:, -1], *box)
    for kind, line in pen.marks.items():
        line.set_data(*points[kinds[kind][pen.lanes]].T)
