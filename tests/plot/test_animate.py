"""Animations draw every lane at every record, and what became of it."""

import io

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from PIL import Image
from plot_cases import PLOTS, bowl, descent, legend

from jaxmom import plot


def pens(ax: Axes, kind: str) -> np.ndarray:
    """Where the marks of a kind stand [n, 2], of all colors."""
    shape = {"moves": "o", "diverged": "x", "outside the frame": "s"}[kind]
    marks = [found for found in ax.lines if found.get_marker() == shape]
    return np.concatenate([np.asarray(found.get_xydata()) for found in marks])


def test_a_gif_has_a_frame_for_each_record_and_rests_at_the_end(tmp_path):
    path = tmp_path / "paths.gif"
    plot.animate(PLOTS["animate"].spoiled, path, loss=bowl, fps=25)
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
    assert durations == [40] * 30 + [1500]


def test_the_axes_show_the_last_frame_and_are_what_the_gif_ends_with():
    file = io.BytesIO()
    ax = plot.animate(PLOTS["animate"].data, file, loss=bowl)
    expected = [descent(0.1, 0.0)[-1], descent(0.1, 0.9)[-1]]
    np.testing.assert_array_equal(pens(ax, "moves"), expected)
    assert ax.texts[0].get_text() == "step 30, 2 lanes"
    assert not any(artist.get_animated() for artist in ax.get_children())
    ax.figure.canvas.draw()
    drawn = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)
    with Image.open(file) as gif:
        gif.seek(gif.n_frames - 1)
        last = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(drawn - last).mean() < 2


def test_lanes_that_diverge_or_leave_are_marked_where_they_do():
    walks = np.zeros((4, 5, 2))
    walks[0, :, 0] = [0, 1, 2, np.nan, 0]  # diverges inside
    walks[1, :, 1] = [0, 1, 9, 99, 999]  # leaves
    walks[2, :, 0] = [0, -9, -99, np.inf, 0]  # diverges outside
    coords = {"step": [0, 10, 20, 30, 40], "diverged_at": ("beta", [-1, -1, -1, 20])}
    walks[3, :, 1] = [0, -1, -2, -3, -3]  # is flagged
    data = xarray.DataArray(walks, coords, ("beta", "step", "coordinate"))
    ax = plot.animate(data, io.BytesIO(), extent=(-3, 3, -3, 3))
    np.testing.assert_array_equal(pens(ax, "diverged")[:3], [[2, 0], [-3, 0], [0, -2]])
    np.testing.assert_array_equal(pens(ax, "outside the frame")[:1], [[0, 3]])
    assert len(pens(ax, "moves")) == 0
    assert legend(ax) == ["diverged", "outside the frame"]
    assert ax.texts[0].get_text() == "step 40, 4 lanes, 3 diverged"


def test_lanes_are_colored_by_a_coordinate_that_is_explained():
    betas, methods = [0.0, 0.5, 0.9], ["sgd", "adam"]
    walks = [[descent(0.1, beta) for beta in betas] for _ in methods]
    dims = ("method", "beta", "step", "coordinate")
    status = (("method", "beta"), [[1, 1, 1], [1, 0, 3]])
    coords = {"method": methods, "beta": betas, "status": status}
    data = xarray.DataArray(walks, coords, dims).transpose("step", "coordinate", "beta", "method")
    ax = plot.animate(data, io.BytesIO(), color="beta", scale="memory")
    assert ax.figure.axes[1].get_ylabel() == "beta"
    ticks = [text.get_text() for text in ax.figure.axes[1].get_yticklabels()]
    assert ticks == ["0", "0.5", "0.9"]
    dots = [found for found in ax.lines if found.get_marker() == "o" and len(found.get_xdata())]
    assert len({to_hex(found.get_color()) for found in dots}) == 3
    assert ax.texts[0].get_text() == "step 30, 4 lanes, 1 missing, 1 failed"
    named = plot.animate(data, io.BytesIO(), color="method")
    assert legend(named) == ["sgd", "adam"]
    plain = plot.animate(np.array(walks[0]), io.BytesIO(), color=betas)
    assert plain.figure.axes[1].get_ylabel() == "color"


def test_lanes_none_of_which_ran_are_counted():
    moving = xarray.DataArray(np.ones((2, 2)), dims=("step", "coordinate"))
    data = moving.expand_dims(beta=[0.0, 0.9]).assign_coords(status=("beta", [0, 3]))
    ax = plot.animate(data, io.BytesIO(), color="beta")
    assert ax.texts[0].get_text() == "step 1, 0 lanes, 1 missing, 1 failed"


def test_a_long_run_of_many_lanes_is_few_frames_and_few_artists():
    file = io.BytesIO()
    walks = np.cumsum(np.random.default_rng(0).normal(size=(2000, 1000, 2)), axis=1)
    ax = plot.animate(walks, file, color=np.linspace(0, 1, 2000), fps=50)
    with Image.open(file) as gif:
        assert gif.n_frames == 120
    assert len(ax.lines) < 150


def test_lanes_of_a_label_share_its_color_and_shorter_ones_wait():
    both = {"ball": np.stack([descent(0.1, 0.9)] * 2), "descent": descent(0.1, 0.0, steps=5)}
    ax = plot.animate(both, io.BytesIO())
    expected = [descent(0.1, 0.9)[-1]] * 2 + [descent(0.1, 0.0, steps=5)[-1]]
    np.testing.assert_array_equal(pens(ax, "moves"), expected)
    assert legend(ax) == ["ball", "descent"]


def test_tails_are_the_last_records_and_are_left_out_of_a_swarm():
    walk = descent(0.1, 0.9)
    found = plot.animate({"a": walk}, io.BytesIO(), tail=3).lines
    tails = [np.asarray(tail.get_xydata()) for tail in found if tail.get_linestyle() == "-"]
    np.testing.assert_array_equal(tails, [[*walk[-4:], [np.nan, np.nan]]])
    swarm = plot.animate(np.stack([walk] * 101), io.BytesIO()).lines
    (tails,) = (np.asarray(tail.get_xydata()) for tail in swarm if tail.get_linestyle() == "-")
    assert len(tails) == 2 * 101


def test_a_panel_of_a_part_of_a_figure_can_move():
    part, _ = plt.figure(layout="constrained").subfigures(1, 2)
    canvas = part.figure.canvas
    plot.animate(PLOTS["animate"].data, io.BytesIO(), ax=part.subplots())
    assert part.figure.canvas is canvas
