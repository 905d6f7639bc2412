"""Rules that every plot keeps; a new plot is one row in `PLOTS`."""

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from plot_cases import GRID, PLOTS, each, every_plot, legend

from jaxmom import plot


def test_every_plot_has_a_row():
    elsewhere = {"stability_map", "spectrum", "frequency"}  # in test_theory_plots.py
    elsewhere |= {"value_grid", "CLIFF", "LAKE"}  # in test_value_grid.py
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
