"""Curves draw runs, medians and bands, and where runs end."""

import numpy as np
import pytest
import xarray
from matplotlib.collections import PolyCollection
from plot_cases import LOSSES, legend, line, marks, spoiled

from jaxmom import plot


def test_seeds_are_drawn_as_median_and_band():
    ax = plot.curves({"a": LOSSES}, band=(0.1, 0.8))
    np.testing.assert_allclose(line(ax, "a (5 seeds)")[:, 1], np.median(LOSSES, axis=0))
    (band,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    corners = band.get_paths()[0].vertices
    at_start = corners[corners[:, 0] == 0, 1]
    at_end = corners[corners[:, 0] == 30, 1]
    for drawn, values in ((at_start, LOSSES[:, 0]), (at_end, LOSSES[:, -1])):
        np.testing.assert_allclose(
            [drawn.min(), drawn.max()], np.quantile(values, [0.1, 0.8]), rtol=1e-12
        )
    assert ax.get_ylabel() == "value (median, 10–80 % of seeds)"


def test_a_diverged_seed_counts_and_is_seen():
    losses = spoiled(LOSSES, 1, slice(9, None))
    ax = plot.curves({"a": losses})
    expected = np.median(np.where(np.isnan(losses), np.inf, losses), axis=0)
    np.testing.assert_allclose(line(ax, "a (5 seeds, 1 diverged)")[:, 1], expected)
    np.testing.assert_array_equal(line(ax, "_diverged"), [[8, LOSSES[1, 8]]])
    (thin,) = (found for found in ax.lines if found.get_linewidth() == 0.7)
    np.testing.assert_array_equal(thin.get_ydata(), LOSSES[1, :9])


def test_a_median_that_diverges_ends():
    losses = spoiled(LOSSES, slice(0, 3), slice(9, None))
    ax = plot.curves({"a": losses})
    assert len(line(ax, "a (5 seeds, 3 diverged)")) == 9
    (band,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    assert band.get_paths()[0].vertices[:, 0].max() == 8


def test_a_band_whose_upper_end_diverged_reaches_the_largest_value():
    losses = spoiled(LOSSES, slice(0, 2), slice(9, None))
    (band,) = (c for c in plot.curves({"a": losses}).collections if isinstance(c, PolyCollection))
    corners = band.get_paths()[0].vertices
    assert corners[corners[:, 0] == 30, 1].max() == np.nanmax(losses)


def test_a_run_ends_in_a_cross():
    ax = plot.curves({"a": [1.0, 2.0, np.nan, 4.0], "b": [1.0, 1.0, 1.0, 1.0]})
    np.testing.assert_array_equal(line(ax, "a (diverged)"), [[0, 1], [1, 2]])
    np.testing.assert_array_equal(line(ax, "_diverged"), [[1, 2]])


def test_records_after_a_flag_are_not_drawn():
    ax = plot.curves({"a": [1, 5, 9, 9, 9]}, steps=[0, 10, 20, 30, 40], diverged_at={"a": 20})
    np.testing.assert_array_equal(line(ax, "a (diverged)"), [[0, 1], [10, 5], [20, 9]])
    np.testing.assert_array_equal(line(ax, "_diverged"), [[20, 9]])


@pytest.mark.parametrize("floor", [None, 0.5])
def test_a_logarithmic_axis_lifts_what_is_too_low_and_says_so(floor):
    ax = plot.curves({"run": [4.0, 1.0, 0.0, -3.0]}, floor=floor)
    lowest = floor or 1.0
    np.testing.assert_array_equal(line(ax, "run")[:, 1], [4, 1, lowest, lowest])
    np.testing.assert_array_equal(line(ax, "_at or below the floor"), [[2, lowest], [3, lowest]])
    assert "at or below the floor" in legend(ax)
    assert ax.get_yscale() == "log"


def test_a_linear_axis_draws_values_as_they_are():
    ax = plot.curves({"a": [4.0, 1.0, 0.0, -3.0]}, log=False)
    np.testing.assert_array_equal(line(ax, "a")[:, 1], [4, 1, 0, -3])
    assert legend(ax) == ["a"]


def test_labeled_curves_bring_names_steps_and_status():
    data = xarray.DataArray(
        np.stack([LOSSES, 2 * LOSSES]),
        {
            "method": ["sgd", "adam"],
            "step": 10 * np.arange(31),
            "status": (("method", "seed"), [[1, 1, 0, 3, 1], [1, 1, 1, 1, 2]]),
        },
        ("method", "seed", "step"),
        name="final_loss",
    )
    ax = plot.curves(data.transpose("step", "seed", "method"))
    drawn = line(ax, "sgd (5 seeds, 1 missing, 1 failed)")
    np.testing.assert_array_equal(drawn[:, 0], 10 * np.arange(31))
    np.testing.assert_allclose(drawn[:, 1], np.median(LOSSES[[0, 1, 4]], axis=0))
    np.testing.assert_array_equal(line(ax, "_diverged"), [[300, 2 * LOSSES[4, -1]]])
    assert any(text.startswith("adam (5 seeds, 1 diverged") for text in legend(ax))
    assert ax.get_xlabel() == "step"
    assert ax.get_ylabel().startswith("final loss")


def test_a_group_that_is_missing_keeps_its_place_in_the_legend():
    data = xarray.DataArray(LOSSES[:2], {"status": ("seed", [0, 0])}, ("seed", "step"))
    assert legend(plot.curves(data)) == ["2 seeds, 2 missing"]


def test_curves_of_a_sweep_end_where_each_lane_was_frozen():
    runs = np.stack([LOSSES, 2 * LOSSES])
    runs[1, :3, 10:] = runs[1, :3, 9:10]
    at = [[-1] * 5, [90, 90, 90, -1, -1]]
    lanes_ = ("beta", "seed")
    coords = {"beta": [0.0, 0.9], "seed": range(5), "step": 10 * np.arange(31)}
    coords |= {"diverged_at": (lanes_, at), "status": (lanes_, np.where(np.array(at) < 0, 1, 2))}
    ax = plot.curves(xarray.DataArray(runs, coords, (*lanes_, "step"), name="value"))
    assert legend(ax)[:2] == ["beta = 0 (5 seeds)", "beta = 0.9 (5 seeds, 3 diverged)"]
    np.testing.assert_allclose(line(ax, "beta = 0 ")[:, 1], np.median(LOSSES, axis=0))
    assert line(ax, "beta = 0.9")[-1, 0] == 90
    crosses = [found for found in ax.lines if found.get_label() == "_diverged"]
    assert {float(np.max(cross.get_xdata())) for cross in crosses} == {90.0}


@pytest.mark.parametrize("low", [0.0, -1.0, 1e-250])
def test_every_record_on_the_floor_has_a_mark(low):
    values = np.array([1.0, 0.1, low, 0.2, *[low] * 500])
    ax = plot.curves({"a": values})
    np.testing.assert_array_equal(line(ax, "_at or below the floor")[:, 0], [2, *range(4, 504)])
    mark = marks(ax, "at or below the floor")
    assert 10 < 501 / mark.get_markevery() < 50


def test_labels_keep_betas_apart_from_each_other_and_from_one():
    betas = [0.9, 0.9999999, 0.99999999, 1.0]
    data = xarray.DataArray(np.ones((4, 3)), {"beta": betas}, ("beta", "step"))
    expected = ["beta = 0.9", "beta = 0.9999999", "beta = 0.99999999", "beta = 1"]
    assert legend(plot.curves(data)) == expected
    single = data.assign_coords(beta=np.float32([0.9, 0.1, 0.3, 0.7]))
    assert legend(plot.curves(single)) == ["beta = 0.9", "beta = 0.1", "beta = 0.3", "beta = 0.7"]


def test_seeds_that_a_halving_dropped_end_without_having_diverged():
    values = np.array([[4.0, 3.0, 2.0], [5.0, 4.0, np.nan], [6.0, np.nan, np.nan]])
    coords = {
        "step": [0, 4, 8],
        "status": ("seed", [1, 1, 1]),
        "diverged_at": ("seed", [-1, -1, -1]),
        "ended_at": ("seed", [8, 4, 0]),
    }
    ax = plot.curves(xarray.DataArray(values, coords, ("seed", "step")))
    assert legend(ax) == ["3 seeds"]
    np.testing.assert_allclose(line(ax, "3 seeds")[:, 1], [5.0, 3.5, 2.0])
    alone = plot.curves(xarray.DataArray(values, coords, ("seed", "step")).isel(seed=2))
    assert not any("diverged" in text for text in legend(alone))
