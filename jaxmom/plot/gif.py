"""Figures in motion, written as a GIF."""

import os
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

File = str | os.PathLike | IO[bytes]
HOLD = 1500  # milliseconds that the last frame stays


def write(file: File, ax: Axes, moving: Sequence[Artist], scenes: Iterable[None], fps: int) -> None:
    """Write what a figure looks like in every scene.

    What stands still is drawn once, which makes a frame many times faster than a figure; what moves
    does not push the layout.

    Args:
        file: where to write.
        ax: of the figure.
        moving: the artists that change, in the order to draw them.
        scenes: iterating over them makes the artists show one scene after the other.
        fps: frames per second.
    """
    figure = ax.figure.figure  # of a part of a figure, the whole
    shown, canvas, frames = figure.canvas, FigureCanvasAgg(figure), []
    _let_move(moving, True)
    try:
        canvas.draw()
        still = canvas.copy_from_bbox(figure.bbox)
        for _ in scenes:
            canvas.restore_region(still)
            for artist in moving:
                figure.draw_artist(artist)
            frames.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    finally:
        _let_move(moving, False)
        figure.set_canvas(shown)
    first, *rest = _reduced(frames)
    durations = [round(1000 / fps)] * len(rest) + [HOLD]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _let_move(artists: Sequence[Artist], moving: bool) -> None:
    """Leave artists out when their figure is drawn, or have them back."""
    for artist in artists:
        artist.set_animated(moving)
        artist.set_in_layout(False)


def _reduced(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in 256 colors, the same for all and undithered: what stands still is still."""
    width, height = frames[0].size
    sample = Image.new("RGB", (3 * width, height))
    for place, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        sample.paste(frame, (place * width, 0))
    palette = sample.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
