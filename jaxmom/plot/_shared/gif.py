"""Animated figures, written as a GIF."""

import os
from collections.abc import Iterable, Sequence
from typing import IO, TypeAlias, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

File: TypeAlias = str | os.PathLike[str] | IO[bytes]
_HOLD = 1500  # milliseconds that the last frame stays


def write_gif(
    file: File, ax: Axes, moving: Sequence[Artist], scenes: Iterable[None], fps: int
) -> None:
    """Write one frame of a figure for every scene.

    The background is drawn once, and only the moving artists are drawn again in each scene: this is
    many times faster than drawing the figure. Moving artists do not affect the layout.

    Args:
      file: A path or a binary file.
      ax: An Axes of the figure.
      moving: The artists that change, in the order to draw them.
      scenes: An iterable whose every step makes the artists show the next scene.
      fps: Frames per second.
    """
    figure = cast(Figure, ax.figure.figure)  # the root, if the Axes is in a SubFigure
    shown, canvas, frames = figure.canvas, FigureCanvasAgg(figure), []
    _set_moving(moving, True)
    try:
        canvas.draw()
        background = canvas.copy_from_bbox(figure.bbox)
        for _ in scenes:
            canvas.restore_region(background)
            for artist in moving:
                figure.draw_artist(artist)
            frames.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    finally:
        _set_moving(moving, False)
        figure.set_canvas(shown)
    first, *rest = _quantize_frames(frames)
    durations = [round(1000 / fps)] * len(rest) + [_HOLD]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _set_moving(artists: Sequence[Artist], moving: bool) -> None:
    """Exclude artists from the drawing of their figure, or include them again."""
    for artist in artists:
        artist.set_animated(moving)
        artist.set_in_layout(False)


def _quantize_frames(frames: list[Image.Image]) -> list[Image.Image]:
    """Return the frames in one palette, undithered so that the background is still."""
    width, height = frames[0].size
    sample = Image.new("RGB", (3 * width, height))
    for place, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        sample.paste(frame, (place * width, 0))
    palette = sample.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
