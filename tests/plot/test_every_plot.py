"""Rules that every plot keeps; a new plot is one row in `PLOTS`."""

import io
from typing import Any

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from plot_cases import GRID, LOSSES, PLOTS, each, every_plot, legend

from jaxmom import plot
from jaxmom.plot._shared import style


def test_every_plot_has_a_row():
    elsewhere = {"stability_map", "spectrum", "frequency"}  # in test_theory_plots.py
    elsewhere |= {"value_grid", "CLIFF", "LAKE"}  # in test_value_grid.py
    elsewhere |= {"kernel"}  # in test_kernel_plot.py
    assert set(plot.__all__) - {"figure", "line_style"} - elsewhere == set(PLOTS)
    assert all(case.draw is getattr(plot, name) for name, case in PLOTS.items())


@every_plot
def test_draws_on_the_axes_it_is_given_and_on_no_other(case):
    _, (first, second) = plot.figure(8, 3, columns=2)
    assert case.draw(case.data, ax=second, **case.options) is second
    assert second.has_data()
    assert not first.has_data()
    assert len(plt.get_fignums()) == 1


@every_plot
def test_makes_one_figure_when_it_is_given_no_axes(case):
    ax = case.draw(case.data, **case.options)
    assert plt.get_fignums() == [ax.figure.number]


@every_plot
def test_changes_no_setting_and_shows_nothing(case, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a plot called show"))
    before = dict(mpl.rcParams)
    case.draw(case.spoiled, **case.options).figure.canvas.draw()
    assert dict(mpl.rcParams) == before


@every_plot
def test_leaves_its_data_as_they_were(case):
    before = each(np.array, case.spoiled)
    case.draw(case.spoiled, **case.options)
    np.testing.assert_equal(case.spoiled, before)


@every_plot
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_the_legend_names_divergence(case, bad):
    data = each(lambda values: np.where(np.isnan(values), bad, values), case.spoiled)
    ax = case.draw(data, **case.options)
    ax.figure.canvas.draw()
    assert "diverged" in legend(ax)
    assert not any("diverged" in text for text in legend(case.draw(case.data, **case.options)))


@every_plot
def test_the_caller_can_move_or_drop_the_legend(case):
    ax = case.draw(case.spoiled, **case.options)
    texts = legend(ax)
    ax.legend(loc="lower left")
    assert legend(ax) == texts
    assert case.draw(case.spoiled, legend="", **case.options).get_legend() is None


@every_plot
@pytest.mark.parametrize("place", ["above", "right"])
def test_nothing_is_cut_off_and_the_title_stands_clear_of_the_legend(case, place):
    ax = case.draw(case.spoiled, title="A title", legend=place, **case.options)
    ax.figure.canvas.draw()
    box, title = ax.get_legend().get_window_extent(), ax.title.get_window_extent()
    page = ax.figure.bbox
    for inner in (box, title, ax.xaxis.label.get_window_extent(), ax.get_window_extent()):
        assert page.x0 <= inner.x0
        assert inner.x1 <= page.x1
        assert page.y0 <= inner.y0
        assert inner.y1 <= page.y1
    assert not box.overlaps(title)
    assert not box.overlaps(ax.get_window_extent().padded(-2))


def test_a_legend_above_narrow_axes_has_several_rows():
    _, axes = plot.figure(8, 3, columns=3)
    status = [[0, 1, 2, 3]] * 3
    ax = plot.heatmap(GRID, status=status, ax=axes[0])
    ax.figure.canvas.draw()
    assert legend(ax) == ["diverged", "missing", "failed", "best: 0.00187"]
    assert ax.get_legend().get_window_extent().width < 1.1 * ax.get_window_extent().width


@every_plot
def test_takes_jax_arrays(case):
    data = each(lambda values: jnp.asarray(values, jnp.bfloat16), case.data)
    assert case.draw(data, **case.options).has_data()


def colors_of(ax: Axes) -> list[Any]:
    """The colors of what stands before the background: lines, ticks and texts inside the Axes."""
    lines = [line.get_color() for line in ax.lines if line.get_linestyle() != "None"]
    texts = [text.get_color() for text in ax.texts if text.get_text()]
    return lines + texts


BACKGROUNDS = [(color, color) for color in ("white", "black", "0.5", "#222222", *style.COLORS)]
BACKGROUNDS += [("black", "white"), ("white", "black"), ("none", "black"), ("none", "none")]


@every_plot
@pytest.mark.parametrize(("background", "page"), BACKGROUNDS)
def test_no_line_and_no_text_has_the_color_of_the_background(case, background, page):
    figure, ax = plot.figure()
    ax.set_facecolor(background)
    figure.set_facecolor(page)
    page = "white" if page == "none" else page
    background = page if background == "none" else background
    data = case.data
    if case.draw in (plot.curves, plot.sensitivity):
        data = {f"line {i}": LOSSES[0] * (i + 1) for i in range(7)}
    options = {name: value for name, value in case.options.items() if name != "loss"}
    ax = case.draw(data, ax=ax, **options)
    assert all(style._contrast(color, background) > 1.2 for color in colors_of(ax))
    colors = [found.get_color() for found in ax.lines if found.get_linestyle() != "None"]
    if case.draw is not plot.parallel:  # whose best line has a stroke around it
        assert all(style._contrast(color, page) > 1.2 for color in colors)
    if case.draw in (plot.curves, plot.sensitivity):
        assert len({to_hex(found.get_color()) for found in ax.lines if found.get_marker()}) >= 7
    for text in ax.texts:
        for effect in text.get_path_effects() or ():
            stroke = effect._gc["foreground"]
            assert style._contrast(stroke, text.get_color()) > 3


@every_plot
@pytest.mark.parametrize("sheet", ["dark_background", "ggplot", "Solarize_Light2"])
def test_every_style_sheet_shows_all_lines(case, sheet):
    with plt.style.context(sheet):
        ax = case.draw(case.spoiled, **case.options)
        background = style.get_background(ax)
        assert all(style._contrast(color, background) > 1.2 for color in colors_of(ax))
        box = ax.texts[0].get_bbox_patch() if ax.texts else None
        if box is not None and box.get_visible() and ax.texts[0].get_text():
            assert style._contrast(box.get_facecolor(), ax.texts[0].get_color()) > 3


EMPTY = {
    "trajectories": np.empty((0, 2)),
    "animate": np.empty((3, 0, 2)),
    "curves": np.empty((3, 0)),
    "sensitivity": np.empty((3, 0)),
    "parallel": np.empty(0),
    "heatmap": np.empty((0, 4)),
}


@pytest.mark.parametrize("name", PLOTS)
def test_empty_data_are_refused_in_a_sentence(name):
    case, empty = PLOTS[name], EMPTY[name]
    options = dict(case.options)
    if name == "parallel":
        options = {"axes": {"beta": [], "rate": []}}
    elif name == "heatmap":
        options = {}
    elif name == "sensitivity":
        options = {"x": []}
    with pytest.raises(ValueError, match="nothing to draw"):
        case.draw(empty, **options)
    if isinstance(case.data, dict):
        with pytest.raises(ValueError, match="nothing to draw"):
            case.draw({"a": empty}, **options)


ONE = {
    "trajectories": [[1.0, 2.0]],
    "animate": [[1.0, 2.0]],
    "curves": [3.0],
    "sensitivity": [3.0],
    "parallel": [3.0],
    "heatmap": [[3.0]],
}


@pytest.mark.parametrize("name", PLOTS)
def test_one_point_is_drawn(name):
    options = {"sensitivity": {"x": [0.9]}, "parallel": {"axes": {"a": [1.0], "b": [2.0]}}}
    options["animate"] = {"file": io.BytesIO()}
    ax = PLOTS[name].draw(ONE[name], **options.get(name, {}))
    ax.figure.canvas.draw()
    assert ax.has_data()


@pytest.mark.parametrize("name", PLOTS)
def test_a_dataset_of_one_variable_is_that_variable(name):
    dims = {"trajectories": ("step", "coordinate"), "animate": ("step", "coordinate")}
    dims |= {"curves": ("seed", "step"), "heatmap": ("beta", "rate")}
    dims |= {"sensitivity": ("seed", "rate"), "parallel": ("beta", "rate")}
    options = {"sensitivity": {"x": "rate"}, "animate": {"file": io.BytesIO()}}.get(name, {})
    data = xarray.DataArray(np.ones((3, 2)), dims=dims[name], name="a")
    assert PLOTS[name].draw(data.to_dataset(), **options).has_data()
    several = xarray.Dataset({"a": data, "b": data})
    with pytest.raises(ValueError, match=r"one variable, this has \['a', 'b'\]"):
        PLOTS[name].draw(several, **options)


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("labeled", [False, True])
def test_complex_values_are_refused_in_a_sentence(name, labeled):
    case, options = PLOTS[name], dict(PLOTS[name].options)
    data = each(lambda values: values * (1 + 2j), case.data)
    if labeled:
        values = next(iter(data.values())) if isinstance(data, dict) else data
        dims = {"heatmap": ("y", "x"), "sensitivity": ("x",), "parallel": ("lane",)}
        dims |= {"curves": ("step",)}
        data = xarray.DataArray(values, dims=dims.get(name, ("step", "coordinate")))
        data = data.assign_coords(a=("lane", values.real)) if name == "parallel" else data
        data = data.assign_coords(b=("lane", values.real)) if name == "parallel" else data
        options = {"animate": {"file": io.BytesIO()}, "sensitivity": {"x": "x"}}.get(name, {})
    with pytest.raises(ValueError, match="complex"):
        case.draw(data, **options)
