"""Sensitivity draws medians over a coordinate, and a mark for each cell without one."""

import numpy as np
import xarray
from matplotlib.collections import PolyCollection
from plot_cases import LOSSES, legend, line, marks

from jaxmom import plot
from jaxmom.plot._shared import status as codes

RATES = np.geomspace(1e-3, 1, 31)


def test_the_median_over_seeds_is_drawn_over_the_sorted_coordinate():
    order = np.random.default_rng(0).permutation(31)
    ax = plot.sensitivity({"a": LOSSES[:, order]}, x=RATES[order], band=(0.1, 0.8))
    np.testing.assert_allclose(line(ax, "a"), np.column_stack([RATES, np.median(LOSSES, axis=0)]))
    (band,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    corners = band.get_paths()[0].vertices
    at_start = corners[np.isclose(corners[:, 0], RATES[0]), 1]
    expected = np.quantile(LOSSES[:, 0], [0.1, 0.8])
    np.testing.assert_allclose([at_start.min(), at_start.max()], expected)
    assert ax.get_ylabel() == "value\n(median, 10–80 % of 5 seeds)"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def sown() -> xarray.DataArray:
    """Losses [2 betas, 3 seeds, 5 rates] of which some diverged, are missing or failed."""
    values = np.arange(1.0, 31.0).reshape(2, 3, 5)
    values[0, :2, 4] = np.nan  # most seeds
    values[0, 2, 3] = np.inf  # one seed
    status = np.ones((2, 3, 5), int)
    status[1, :, 0], status[1, :, 2], status[1, 0, 1] = codes.MISSING, codes.FAILED, codes.MISSING
    dims = ("beta", "seed", "learning_rate")
    coords = {
        "beta": [0.0, 0.9],
        "learning_rate": [0.01, 0.1, 1, 10, 100],
        "status": (dims, status),
    }
    return xarray.DataArray(values, coords, dims, name="final_loss")


def test_each_line_has_a_row_at_the_top_for_its_cells_without_a_value():
    ax = plot.sensitivity(sown().transpose("learning_rate", "beta", "seed"), x="learning_rate")
    first, second = 1 - 0.0225, 1 - 0.0675
    expected = {
        "_diverged": [[100, first]],
        "_some seeds diverged": [[10, first]],
        "_missing": [[0.01, second]],
        "_failed": [[1, second]],
    }
    for kind, places in expected.items():
        (found,) = (mark for mark in ax.lines if mark.get_label() == kind and len(mark.get_xdata()))
        drawn = found.get_xydata()[found.get_markevery()]
        np.testing.assert_allclose(drawn, places)
        assert found.get_transform() == ax.get_xaxis_transform()
    drawn = line(ax, "beta = 0.9 (4 missing, 3 failed)")
    np.testing.assert_array_equal(drawn[:, 1], [np.nan, 24.5, np.nan, 24, 25])
    assert set(legend(ax)) > {"diverged", "some seeds diverged", "missing", "failed", "best: 6"}
    assert (ax.get_xlabel(), ax.get_ylabel()[:10]) == ("learning rate", "final loss")


def test_lines_and_bands_stay_below_the_rows_unless_open_at_the_top():
    ax = plot.sensitivity(sown(), x="learning_rate", band=(0.0, 1.0))
    rows = ax.transAxes.transform([(0, 1 - 2 * 0.045)])[0, 1]
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = np.concatenate([path.vertices for band in bands for path in band.get_paths()])
    heights = ax.transData.transform(corners)[:, 1]
    top = ax.bbox.y1
    assert set(corners[heights > rows, 0]) == {10.0}
    np.testing.assert_allclose(heights[heights > rows], top)
    assert 30 in corners[:, 1]


def test_the_star_is_on_the_smallest_median():
    ax = plot.sensitivity({"a": [3.0, 2.0, np.nan], "b": [5.0, -1.0, 1.0]}, x=[1, 2, 3], log=False)
    np.testing.assert_array_equal(line(ax, "best: -1"), [[2, -1]])
    lifted = plot.sensitivity({"b": [5.0, -1.0, 1.0]}, x=[1, 2, 3])
    np.testing.assert_array_equal(line(lifted, "best: -1"), [[2, 1]])
    np.testing.assert_array_equal(line(lifted, "_at or below the floor"), [[2, 1]])
    plain = plot.sensitivity({"a": [3.0, 2.0]}, x=[1, 2], star=False)
    assert legend(plain) == ["a"]


def test_a_sensitivity_may_be_over_memory_or_over_names():
    betas = [0.0, 0.9, 0.99, 0.999]
    ax = plot.sensitivity({"a": np.ones(4)}, x=betas, x_scale="memory")
    places = ax.transData.transform(np.column_stack([betas, np.ones(4)]))[:, 0]
    np.testing.assert_allclose(np.diff(places), places[1] - places[0])
    named = plot.sensitivity({"a": [2.0, 1.0]}, x=["sgd", "adam"])
    assert [text.get_text() for text in named.get_xticklabels()] == ["sgd", "adam"]


def test_a_lone_cell_between_diverged_ones_has_its_marker():
    values = np.ones(100)
    values[[50, 52]] = np.inf
    ax = plot.sensitivity({"a": values}, x=np.arange(100))
    (drawn,) = (found for found in ax.lines if found.get_label() == "a")
    assert np.flatnonzero(drawn.get_markevery())[:2].tolist() == [0, 4]
    assert drawn.get_markevery()[51]


def test_a_sensitivity_where_all_diverged_is_a_row_of_crosses():
    ax = plot.sensitivity(np.full((3, 4), np.nan), x=[1, 2, 3, 4])
    ax.figure.canvas.draw()
    assert legend(ax) == ["diverged"]


def test_neighbors_that_diverged_are_two_crosses_joined_by_a_line():
    values = np.ones(200)
    values[[*range(40, 45), 60, *range(101, 200)]] = np.inf
    ax = plot.sensitivity({"a": values}, x=np.arange(200))
    found = marks(ax, "diverged")
    cells, heights = found.get_data()
    np.testing.assert_array_equal(np.isfinite(heights), np.isinf(values))
    np.testing.assert_array_equal(cells[found.get_markevery()], [40, 44, 60, 101, 199])
    assert found.get_linestyle() == "-"
