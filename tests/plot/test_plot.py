"""Laws that every plot keeps, and what each of them draws.

A new plot is one row in `PLOTS`: laws below then cover it.
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.colors import LogNorm, to_hex
from matplotlib.patches import PathPatch
from PIL import Image

from jaxmom import plot
from jaxmom.plot import lanes, scales, style


def descent(learning_rate: float, beta: float, steps: int = 30) -> np.ndarray:
    """Heavy ball on f = (4 x^2 + y^2) / 2 from (2, 2), as a plain loop."""
    theta, velocity, path = np.full(2, 2.0), np.zeros(2), [np.full(2, 2.0)]
    for _ in range(steps):
        velocity = beta * velocity - learning_rate * np.array([4.0, 1.0]) * theta
        theta = theta + velocity
        path.append(theta)
    return np.array(path)


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (4 * x**2 + y**2) / 2


def spoiled(values: np.ndarray, *where: Any) -> np.ndarray:
    values = np.array(values, float)
    values[where] = np.nan
    return values


def each(change: Callable[[np.ndarray], Any], data: Any) -> Any:
    """The change of one array, or of every array of a mapping."""
    return {k: change(v) for k, v in data.items()} if isinstance(data, dict) else change(data)


LOSSES = np.exp(-0.1 * np.arange(31.0)) * np.linspace(1, 2, 5)[:, None]
GRID = np.geomspace(1e-3, 1.0, 12).reshape(3, 4)


class Case(NamedTuple):
    """A plot, data all of which can be drawn, and the same with a part that diverged."""

    draw: Callable[..., Axes]
    data: Any
    spoiled: Any
    options: dict[str, Any]


PLOTS = {
    "trajectories": Case(
        plot.trajectories,
        {"descent": descent(0.1, 0.0), "heavy ball": descent(0.1, 0.9)},
        {"descent": descent(0.1, 0.0), "heavy ball": spoiled(descent(0.1, 0.9), slice(9, None))},
        {"loss": bowl},
    ),
    "animate": Case(
        plot.animate,
        {"descent": descent(0.1, 0.0), "heavy ball": descent(0.1, 0.9)},
        {"descent": descent(0.1, 0.0), "heavy ball": spoiled(descent(0.1, 0.9), slice(9, None))},
        {"file": io.BytesIO(), "loss": bowl},
    ),
    "curves": Case(
        plot.curves,
        {"descent": LOSSES[0], "heavy ball": LOSSES},
        {"descent": LOSSES[0], "heavy ball": spoiled(LOSSES, 2, slice(9, None))},
        {},
    ),
    "sensitivity": Case(
        plot.sensitivity,
        {"descent": LOSSES[0], "heavy ball": LOSSES},
        {"descent": LOSSES[0], "heavy ball": spoiled(LOSSES, slice(0, 3), slice(25, None))},
        {"x": np.geomspace(1e-3, 1, 31)},
    ),
    "parallel": Case(
        plot.parallel,
        GRID.ravel(),
        spoiled(GRID.ravel(), 5),
        {"axes": {"beta": np.tile([0, 0.5, 0.9, 0.99], 3), "rate": np.repeat([0.01, 0.1, 1], 4)}},
    ),
    "heatmap": Case(
        plot.heatmap, GRID, spoiled(GRID, 1, 2), {"x": [0, 0.5, 0.9, 0.99], "y": [0.01, 0.1, 1]}
    ),
}
every_plot = pytest.mark.parametrize("case", PLOTS.values(), ids=PLOTS)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def legend(ax: Axes) -> list[str]:
    box = ax.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def line(ax: Axes, label: str) -> np.ndarray:
    """The points [n, 2] of the only line whose label begins so."""
    (found,) = (line for line in ax.lines if str(line.get_label()).startswith(label))
    return np.asarray(found.get_xydata())


# Laws of every plot


def test_every_plot_has_a_row():
    elsewhere = {"stability_map", "spectrum", "frequency"}  # in test_theory_plots.py
    elsewhere |= {"value_grid", "CLIFF", "LAKE"}  # in test_rl_plots.py
    assert set(plot.__all__) - {"figure"} - elsewhere == set(PLOTS)
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
def test_says_in_the_legend_what_diverged(case, bad):
    data = each(lambda values: np.where(np.isnan(values), bad, values), case.spoiled)
    ax = case.draw(data, **case.options)
    ax.figure.canvas.draw()
    assert "diverged" in legend(ax)
    assert not any("diverged" in text for text in legend(case.draw(case.data, **case.options)))


@every_plot
def test_the_caller_can_move_or_drop_the_legend(case):
    ax = case.draw(case.spoiled, **case.options)
    told = legend(ax)
    ax.legend(loc="lower left")
    assert legend(ax) == told
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


# Style


def test_looks_differ():
    looks = {style.look(i) for i in range(35)}
    assert len(looks) == 35
    assert len({style.look(i).color for i in range(7)}) == 7
    assert style.look(35) == style.look(0)


def test_levels_are_even_in_the_logarithm_of_the_height():
    heights = style.log_levels([[-3.0, np.nan], [0.0, 97.0]], 5) + 3
    np.testing.assert_allclose(heights, [1e-2, 1e-1, 1, 1e1, 1e2])
    assert style.log_levels([2.0, 2.0], 5).size == 0


# Trajectories


def test_a_path_is_drawn_whole_with_its_ends_marked():
    paths = PLOTS["trajectories"].data
    ax = plot.trajectories({"ball": paths["heavy ball"]}, loss=bowl, extent=(-2.5, 2.5, -2.5, 2.5))
    np.testing.assert_array_equal(line(ax, "ball"), paths["heavy ball"])
    np.testing.assert_array_equal(line(ax, "_start"), [[2.0, 2.0]])
    np.testing.assert_allclose(line(ax, "_end"), [[0.16401923, -0.40114981]], rtol=1e-6)
    assert legend(ax) == ["ball", "start", "end"]
    np.testing.assert_array_equal([*ax.get_xlim(), *ax.get_ylim()], [-2.5, 2.5, -2.5, 2.5])


def test_arrowheads_lie_on_the_path_and_point_along_it():
    path = descent(0.1, 0.9)
    ax = plot.trajectories({"ball": path})
    middles = (path[1:] + path[:-1]) / 2
    assert len(ax.texts) == 3
    for arrow in ax.texts:
        (step,) = np.flatnonzero((middles == arrow.xy).all(axis=1))
        np.testing.assert_array_equal(arrow.xyann, path[step])


def test_contours_are_as_many_as_asked_for_and_logarithmic():
    ax = plot.trajectories({"a": descent(0.1, 0)}, loss=bowl, extent=(-2, 2, -2, 2), levels=12)
    contours = [c for c in ax.collections if not getattr(c, "filled", True)]
    assert len(contours) == 1
    (levels,) = (c.levels for c in contours)
    ratios = np.diff(np.log(levels - bowl(*np.meshgrid(*[np.linspace(-2, 2, 200)] * 2)).min()))
    assert len(levels) == 12
    np.testing.assert_allclose(ratios, ratios[0])


def test_values_of_the_loss_may_be_given_instead_of_a_function():
    x, y = np.linspace(-2, 2, 200), np.linspace(-1, 5, 200)
    values = bowl(*np.meshgrid(x, y))
    labeled = xarray.DataArray(values, {"b": y, "a": x}, ("b", "a"))
    drawn = [
        plot.trajectories({"a": descent(0.1, 0)}, loss=loss, extent=extent)
        for loss, extent in ((bowl, (-2, 2, -1, 5)), (values, (-2, 2, -1, 5)), (labeled, None))
    ]
    reference, *others = ([p.vertices for p in ax.collections[1].get_paths()] for ax in drawn)
    assert sum(map(len, reference)) > 100
    for other in others:
        np.testing.assert_allclose(np.concatenate(other), np.concatenate(reference))
    assert (drawn[2].get_xlim(), drawn[2].get_ylim()) == ((-2, 2), (-1, 5))


def test_a_path_that_leaves_the_frame_is_marked_on_the_boundary():
    path = [[0.0, 0.0], [0.5, 0.0], [1.5, 0.5]]
    ax = plot.trajectories({"a": path}, extent=(-1, 1, -1, 1))
    np.testing.assert_allclose(line(ax, "_leaves the frame"), [[1.0, 0.25]])
    assert legend(ax) == ["a (ends outside the frame)", "start", "leaves the frame"]
    assert ax.get_xlim() == (-1, 1)


@pytest.mark.parametrize(
    ("beyond", "marker"), [((2, 0), ">"), ((-2, 0), "<"), ((0, 2), "^"), ((0, -2), "v")]
)
def test_the_mark_of_leaving_points_outward(beyond, marker):
    ax = plot.trajectories({"a": [[0.0, 0.0], beyond]}, extent=(-1, 1, -1, 1))
    (mark,) = (found for found in ax.lines if found.get_label() == "_leaves the frame")
    assert mark.get_marker() == marker
    np.testing.assert_array_equal(mark.get_xydata(), [np.array(beyond) / 2])


def test_a_path_that_comes_back_has_both_marks():
    ax = plot.trajectories({"a": [[0, 0], [2, 0], [0.5, 0.5]]}, extent=(-1, 1, -1, 1))
    np.testing.assert_array_equal(line(ax, "_leaves the frame"), [[1, 0]])
    np.testing.assert_array_equal(line(ax, "_end"), [[0.5, 0.5]])
    assert "a" in legend(ax)
    twice = plot.trajectories({"a": [[0, 0], [2, 0], [0.5, 0], [0.5, 2]]}, extent=(-1, 1, -1, 1))
    np.testing.assert_array_equal(line(twice, "_leaves the frame"), [[0.5, 1]])


def test_a_path_stops_where_it_turns_non_finite():
    path = spoiled(descent(0.1, 0.9), slice(9, None))
    ax = plot.trajectories({"a": path})
    np.testing.assert_array_equal(line(ax, "a (diverged at step 9)"), path[:9])
    np.testing.assert_array_equal(line(ax, "_diverged"), path[8:9])
    assert "end" not in legend(ax)


def test_a_path_that_diverges_outside_has_its_cross_on_the_boundary():
    ax = plot.trajectories({"a": descent(0.9, 0.0, steps=600)}, extent=(-2.5, 2.5, -2.5, 2.5))
    ((x, y),) = line(ax, "_diverged")
    assert x == -2.5
    assert 0 < y < 2
    assert "leaves the frame" not in legend(ax)


def test_a_frozen_path_is_drawn_up_to_where_it_diverged():
    path = descent(0.1, 0.9)
    frozen = np.where(np.arange(31)[:, None] > 4, path[4], path)
    ax = plot.trajectories({"a": frozen, "b": path}, diverged_at={"a": 4})
    np.testing.assert_array_equal(line(ax, "a (diverged at step 4)"), path[:5])
    np.testing.assert_array_equal(line(ax, "_diverged"), path[4:5])
    np.testing.assert_array_equal(line(ax, "_end"), path[-1:])


def test_the_dims_of_labeled_paths_become_labels():
    paths = np.stack([[descent(0.1, beta), descent(0.05, beta)] for beta in (0.0, 0.9)])
    data = xarray.DataArray(
        paths,
        {
            "beta": [0.0, 0.9],
            "method": ["x", "y"],
            "status": (("beta", "method"), [[1, 1], [1, 0]]),
        },
        ("beta", "method", "step", "coordinate"),
    ).transpose("coordinate", "beta", "step", "method")
    ax = plot.trajectories(data, names=("u", "v"))
    np.testing.assert_array_equal(line(ax, "beta = 0.9, x"), descent(0.1, 0.9))
    assert len(line(ax, "beta = 0.9, y (missing)")) == 0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u", "v")


def test_a_path_that_diverged_does_not_set_the_frame():
    ax = plot.trajectories({"a": descent(0.1, 0), "b": descent(0.9, 0, steps=600)})
    assert ax.get_xlim()[1] < 3
    alone = plot.trajectories({"b": descent(0.9, 0, steps=600)})
    assert alone.get_xlim()[0] < -5.2
    assert alone.get_xlim()[1] < 50


# Curves


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


def test_a_quantile_is_numpys_until_it_leans_on_an_infinity():
    rng = np.random.default_rng(0)
    finite = rng.normal(size=(6, 40))
    runs = finite.copy()
    runs[4:, 20:] = np.inf
    for share in (0.0, 0.25, 0.5, 0.6, 0.7, 1.0):
        ours = lanes.quantile(runs, share)
        np.testing.assert_allclose(ours[:20], np.quantile(finite[:, :20], share, axis=0))
        below = np.sort(finite[:4, 20:], axis=0)
        place = share * 5
        if place <= 3:
            low, high = below[int(place)], below[min(int(np.ceil(place)), 3)]
            np.testing.assert_allclose(ours[20:], low + (place - int(place)) * (high - low))
        else:
            assert np.isinf(ours[20:]).all()


def test_a_quantile_leaves_out_what_is_not_there():
    runs = np.array([[np.nan, 1.0, np.nan], [np.nan, np.nan, 4.0], [np.nan, 3.0, np.inf]])
    np.testing.assert_array_equal(lanes.quantile(runs, 0.5), [np.nan, 2.0, np.inf])
    np.testing.assert_array_equal(lanes.quantile(runs, 0.0), [np.nan, 1.0, 4.0])


def test_a_run_ends_in_a_cross():
    ax = plot.curves({"a": [1.0, 2.0, np.nan, 4.0], "b": [1.0, 1.0, 1.0, 1.0]})
    np.testing.assert_array_equal(line(ax, "a (diverged)"), [[0, 1], [1, 2]])
    np.testing.assert_array_equal(line(ax, "_diverged"), [[1, 2]])


def test_what_follows_a_flag_is_not_drawn():
    ax = plot.curves({"a": [1, 5, 9, 9, 9]}, steps=[0, 10, 20, 30, 40], diverged_at={"a": 20})
    np.testing.assert_array_equal(line(ax, "a (diverged)"), [[0, 1], [10, 5], [20, 9]])
    np.testing.assert_array_equal(line(ax, "_diverged"), [[20, 9]])


@pytest.mark.parametrize("floor", [None, 0.5])
def test_a_logarithmic_axis_lifts_what_is_too_low_and_says_so(floor):
    ax = plot.curves({"run": [4.0, 1.0, 0.0, -3.0]}, floor=floor)
    lowest = floor or 1.0
    np.testing.assert_array_equal(line(ax, "run")[:, 1], [4, 1, lowest, lowest])
    np.testing.assert_array_equal(line(ax, "_at or below the floor"), [[2, lowest]])
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


# Sensitivity

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
    status[1, :, 0], status[1, :, 2], status[1, 0, 1] = lanes.MISSING, lanes.FAILED, lanes.MISSING
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
        np.testing.assert_allclose(found.get_xydata(), places)
        assert found.get_transform() == ax.get_xaxis_transform()
    drawn = line(ax, "beta = 0.9 (4 missing, 3 failed)")
    np.testing.assert_array_equal(drawn[:, 1], [np.nan, 24.5, np.nan, 24, 25])
    assert set(legend(ax)) > {"diverged", "some seeds diverged", "missing", "failed", "best: 6"}
    assert (ax.get_xlabel(), ax.get_ylabel()[:10]) == ("learning rate", "final loss")


def test_lines_and_bands_stay_below_the_rows_but_for_a_band_that_is_open_at_the_top():
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


# Parallel coordinates


def strands(ax: Axes) -> dict[str, LineCollection]:
    """The lines by their label; those that are colored have none."""
    found = [c for c in ax.collections if isinstance(c, LineCollection)][:-1]  # the axes are last
    return {"" if "_child" in str(c.get_label()) else str(c.get_label()): c for c in found}


def test_each_lane_is_a_line_across_its_coordinates_on_their_scales():
    rng = np.random.default_rng(0)
    betas, rates = 1 - 1 / rng.uniform(1, 1e3, 20), 10.0 ** rng.uniform(-3, 0, 20)
    values = rng.permutation(np.geomspace(1e-3, 1, 20))
    axes = {"beta": betas, "rate": rates}
    ax = plot.parallel(values, axes=axes, scale={"beta": "memory", "rate": "log"})
    lines = strands(ax)[""]
    order = np.argsort(-values)
    for place, coordinate in enumerate((-np.log(1 - betas), np.log(rates))):
        heights = np.array([path.vertices[place, 1] for path in lines.get_paths()])
        line_ = np.polyfit(coordinate[order], heights, 1)
        np.testing.assert_allclose(np.polyval(line_, coordinate[order]), heights)
        assert 0 < heights.min() < 0.2
        assert 0.8 < heights.max() < 1
    np.testing.assert_array_equal(lines.get_array(), values[order])
    assert isinstance(lines.norm, LogNorm)
    best = line(ax, "best: 0.001")
    np.testing.assert_array_equal(best, lines.get_paths()[-1].vertices)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["beta", "rate"]


def test_lines_that_share_a_value_fan_out_in_the_order_of_their_values():
    case = PLOTS["parallel"]
    ax = plot.parallel(case.spoiled, **case.options)
    heights = np.array([path.vertices[1, 1] for path in strands(ax)[""].get_paths()])
    ticks = {text.get_text(): text.xy[1] for text in ax.texts if text.xy[0] == 1}
    rates, values = (np.delete(a, 5) for a in (np.repeat([0, 1, 2], 4), GRID.ravel()))
    order = np.argsort(-values)
    for rate, tick in zip(rates[order], heights, strict=True):
        assert abs(tick - (2 * rate + 1) / 6) <= 0.3 / 3 + 1e-12
    assert (np.diff(heights[rates[order] == 0]) < 0).all()
    (lost,) = strands(ax)["diverged"].get_paths()
    assert lost.vertices[1, 1] > heights[rates[order] == 1].max()
    np.testing.assert_allclose(list(ticks.values()), [1 / 6, 1 / 2, 5 / 6])
    assert list(ticks) == ["0.01 –", "0.1 –", "1 –"]


def test_a_grid_is_stacked_and_lanes_keep_their_coordinates():
    coords = {
        "beta": [0.0, 0.9],
        "learning_rate": [0.01, 0.1, 1.0],
        "method": ("learning_rate", list("abb")),
    }
    status = (("beta", "learning_rate"), [[1, 0, 3], [1, 1, 2]])
    data = xarray.DataArray(GRID[:2, :3], coords | {"status": status}, status[0], name="final_loss")
    ax = plot.parallel(data)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["beta", "learning rate", "method"]
    assert set(strands(ax)) == {"", "diverged", "missing", "failed"}
    assert legend(ax) == ["diverged", "missing", "failed", "best: 0.001"]
    assert ax.get_xlabel() == "6 lanes, 1 diverged, 1 missing, 1 failed"
    stacked = data.stack(lane=data.dims).reset_index("lane")
    again = plot.parallel(stacked.to_dataset(), axes=["beta", "learning_rate", "method"])
    for kind, lines in strands(ax).items():
        for ours, theirs in zip(lines.get_paths(), strands(again)[kind].get_paths(), strict=True):
            np.testing.assert_allclose(ours.vertices, theirs.vertices)
    assert lines.axes.collections[-2].colorbar is None
    assert ax.figure.axes[1].get_ylabel() == "final loss"


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        (np.linspace(0.003, 0.997, 50), "linear", ["0.2", "0.4", "0.6", "0.8"]),
        (np.geomspace(0.002, 0.9, 50), "log", ["0.01", "0.1"]),
        (1 - np.geomspace(1, 1e-3, 50), "memory", ["0", "0.9", "0.99", "0.999"]),
        (1 - np.geomspace(1, 0.04, 50), "memory", ["0", "0.5", "0.8", "0.9", "0.95"]),
        (np.linspace(-1, 1, 3), "linear", ["−1", "0", "1"]),
    ],
)
def test_ticks_stand_at_round_values(values, scale, expected):
    cells, _ = scales.places(xarray.DataArray(values, dims="lane", name="a"), scale)
    places, texts = scales.ticks(cells)
    assert texts == expected
    assert ((places > 0) & (places < 1)).all()


# Animations


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
    data = MOVING.expand_dims(beta=[0.0, 0.9]).assign_coords(status=("beta", [0, 3]))
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


# Heat maps


def mesh(ax: Axes) -> QuadMesh:
    (found,) = (c for c in ax.collections if isinstance(c, QuadMesh))
    return found


def edges(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    corners = mesh(ax).get_coordinates()
    return corners[0, :, 0], corners[:, 0, 1]


def regions(ax: Axes) -> dict[str, PathPatch]:
    return {str(p.get_label()): p for p in ax.patches if isinstance(p, PathPatch)}


def covered(patch: PathPatch, x: Any, y: Any) -> np.ndarray:
    """Which centers of cells lie in the region [rows, columns]: those in an odd number of boxes."""
    boxes = patch.get_path().vertices.reshape(-1, 5, 2)
    x, y = np.meshgrid(x, y)
    inside = [
        (low[0] < x) & (x < high[0]) & (low[1] < y) & (y < high[1])
        for low, high in zip(boxes.min(axis=1), boxes.max(axis=1), strict=True)
    ]
    assert np.sum(inside, axis=0).max() == 1
    return np.any(inside, axis=0)


def test_cells_have_their_values_and_edges_midway_on_each_scale():
    rates, betas = np.geomspace(1e-3, 1, 4), np.linspace(0, 0.9, 3)
    values = np.arange(1.0, 13.0).reshape(3, 4)
    ax = plot.heatmap(values, x=rates, y=betas)
    x, y = edges(ax)
    np.testing.assert_allclose(np.sqrt(x[1:] * x[:-1]), rates)
    np.testing.assert_allclose(x[1:] / x[:-1], 10)
    np.testing.assert_allclose(y, [-0.225, 0.225, 0.675, 1.125])
    np.testing.assert_array_equal(mesh(ax).get_array(), values)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    np.testing.assert_allclose([*ax.get_xlim(), *ax.get_ylim()], [x[0], x[-1], y[0], y[-1]])


def test_memory_makes_betas_near_one_even_and_keeps_them_as_coordinates():
    betas = 1 - 1 / np.array([1.0, 10.0, 100.0, 1000.0])
    ax = plot.heatmap(np.ones((1, 4)), x=betas, x_scale="memory")
    x, _ = edges(ax)
    np.testing.assert_allclose(1 / (1 - x), np.sqrt(10) * 10.0 ** np.arange(-1, 4))
    places = ax.transData.transform(np.column_stack([betas, np.zeros(4)]))[:, 0]
    np.testing.assert_allclose(np.diff(places), places[1] - places[0])
    ax.figure.canvas.draw()
    texts = [text.get_text() for text in ax.get_xticklabels()]
    assert {"0", "0.9", "0.99", "0.999"} <= set(texts)


@pytest.mark.parametrize(
    ("centers", "scale"),
    [
        ([1.0, 10.0, 100.0], "log"),
        ([0.01, 0.03, 0.1, 0.3], "log"),
        ([1.0, 2.0, 3.0], "linear"),
        ([0.0, 0.01, 0.1], "linear"),
        ([1.0, 10.0], "linear"),
    ],
)
def test_the_scale_is_the_one_that_is_more_even(centers, scale):
    coordinate = xarray.DataArray(centers, dims="rate")
    assert scales.side(coordinate, "auto").scale == scale


def test_the_star_is_on_the_smallest_value_that_is_ok():
    values = np.array([[3.0, 1e-9, 2.0], [np.nan, 0.5, 7.0]])
    status = [[1, 0, 1], [1, 1, 1]]
    ax = plot.heatmap(values, x=[1, 2, 3], y=[10, 20], status=status)
    np.testing.assert_array_equal(line(ax, "best: 0.5"), [[2, 20]])
    assert not any("best" in text for text in legend(plot.heatmap(values, star=False)))


def test_cells_without_value_are_hatched_each_in_its_way():
    values = np.arange(1.0, 13.0).reshape(3, 4)
    values[0, 0], values[2, 3] = np.inf, np.nan
    status = np.array([[1, 1, 0, 0], [2, 2, 1, 0], [3, 1, 3, 1]])
    ax = plot.heatmap(values, status=status)
    drawn = regions(ax)
    diverged = (status == lanes.DIVERGED) | ~np.isfinite(values)
    expected = {"diverged": diverged, "missing": status == 0, "failed": status == 3}
    assert set(drawn) == set(expected)
    for name, cells in expected.items():
        np.testing.assert_array_equal(covered(drawn[name], range(4), range(3)), cells)
    np.testing.assert_array_equal(
        np.ma.getmaskarray(mesh(ax).get_array()), np.any(list(expected.values()), axis=0)
    )
    assert len({to_hex(patch.get_facecolor()) for patch in drawn.values()}) == 3
    assert len({patch.get_hatch() for patch in drawn.values()}) == 3


def test_a_cell_that_is_flagged_has_diverged_though_it_was_frozen():
    flags = {"diverged_at": (("y", "x"), [[-1, 3], [-1, -1]])}
    ax = plot.heatmap(xarray.DataArray([[1.0, 1e6], [2.0, 3.0]], flags, ("y", "x")))
    assert covered(regions(ax)["diverged"], range(2), range(2)).tolist() == [[0, 1], [0, 0]]


def test_colors_are_logarithmic_and_what_lies_beyond_is_pointed_at():
    values = [[0.0, 1.0], [10.0, 1000.0]]
    ax = plot.heatmap(values, limits=(None, 100))
    norm = mesh(ax).norm
    assert isinstance(norm, LogNorm)
    assert (norm.vmin, norm.vmax) == (1.0, 100.0)
    assert mesh(ax).colorbar.extend == "both"
    np.testing.assert_array_equal(mesh(ax).get_array(), [[1, 1], [10, 100]])
    assert "best: 0" in legend(ax)
    linear = mesh(plot.heatmap(values, log=False))
    assert not isinstance(linear.norm, LogNorm)
    np.testing.assert_array_equal(linear.get_array(), values)


def test_a_labeled_map_is_sorted_and_transposed():
    data = xarray.DataArray(
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        {
            "learning_rate": [0.2, 0.1],
            "beta": [0.5, 0.9, 0.0],
            "status": (("learning_rate", "beta"), [[1, 1, 1], [1, 1, 2]]),
        },
        ("learning_rate", "beta"),
        name="final_loss",
    )
    ax = plot.heatmap(data, x="learning_rate")
    np.testing.assert_array_equal(mesh(ax).get_array().filled(-1), [[-1, 3], [4, 1], [5, 2]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "beta")
    assert mesh(ax).colorbar.ax.get_ylabel() == "final loss"
    assert plot.heatmap(data).get_xlabel() == "beta"
    flipped = data.coords["status"].transpose()
    again = plot.heatmap(data.drop_vars("status"), x="learning_rate", status=flipped)
    np.testing.assert_array_equal(mesh(again).get_array().mask, mesh(ax).get_array().mask)


def test_methods_stand_side_by_side():
    data = xarray.DataArray(
        [[1.0, 2.0], [3.0, 4.0]], {"method": ["sgd", "adam"], "beta": [0, 0.9]}, ("method", "beta")
    )
    ax = plot.heatmap(data)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["sgd", "adam"]
    np.testing.assert_array_equal(mesh(ax).get_array(), data)


def test_a_map_where_all_diverged_is_a_map():
    ax = plot.heatmap(np.full((2, 3), np.inf))
    assert legend(ax) == ["diverged"]
    assert covered(regions(ax)["diverged"], range(3), range(2)).all()
    assert ax.get_xlim() == (-0.5, 2.5)


def test_a_line_drawn_over_a_map_does_not_move_its_frame():
    ax = plot.heatmap(GRID)
    before = ax.get_xlim(), ax.get_ylim()
    ax.plot([-50, 50], [-50, 50])
    assert (ax.get_xlim(), ax.get_ylim()) == before


def test_fifty_thousand_cells_are_one_mesh_and_few_boxes():
    betas, rates = np.linspace(0, 0.999, 1000), np.geomspace(1e-3, 10, 50)
    diverged = rates[:, None] > (1 + betas) / 2
    ax = plot.heatmap(np.where(diverged, np.nan, 1.0 + betas), x=betas, y=rates)
    assert mesh(ax).get_array().shape == (50, 1000)
    boxes = len(regions(ax)["diverged"].get_path().vertices) // 5
    assert boxes == diverged.any(axis=1).sum()


# Words for what cannot be drawn

GIVEN = np.ones((2, 3))
NAMED = xarray.DataArray(GIVEN, dims=("seed", "time"))
MOVING = xarray.DataArray(GIVEN[:, :2], dims=("step", "coordinate"))
GIF = {"file": io.BytesIO()}


@pytest.mark.parametrize(
    ("draw", "data", "options", "words"),
    [
        (plot.trajectories, {}, {}, "nothing to draw"),
        (plot.trajectories, {"a": GIVEN}, {}, "two coordinates, but 'a' has 3"),
        (plot.trajectories, {"a": GIVEN[0]}, {}, r"\[step, coordinate\], but 'a'"),
        (plot.trajectories, NAMED, {}, "no dimension 'step'; the data have seed, time"),
        (plot.trajectories, GIVEN[:, :2], {"loss": GIVEN}, "need extent"),
        (plot.trajectories, GIVEN[:, :2], {"loss": lambda x, y: 1.0}, "vectorized"),
        (plot.trajectories, GIVEN[:, :2], {"extent": (0, 1)}, "left, right, bottom, top"),
        (plot.trajectories, GIVEN[:, :2], {"loss": GIVEN[0], "extent": (0, 1, 0, 1)}, "rows of y"),
        (plot.trajectories, {"a": GIVEN[:, :2]}, {"diverged_at": {"b": 1}}, "names .'b'."),
        (plot.curves, {}, {}, "nothing to draw"),
        (plot.curves, {"a": np.ones((2, 2, 2))}, {}, r"\[step\] or \[seed, step\]"),
        (plot.curves, NAMED, {}, "no dimension 'step'; the data have seed, time"),
        (plot.curves, {"a": NAMED}, {}, "'time': 3"),
        (plot.curves, {"a": GIVEN}, {"steps": [1, 2]}, "3 records"),
        (plot.curves, {"a": -GIVEN}, {}, "pass log=False"),
        (plot.curves, {"a": GIVEN}, {"floor": 0.0}, "positive one"),
        (plot.curves, {"a": GIVEN}, {"band": (25, 75)}, "from 0 to 1"),
        (plot.sensitivity, {"a": GIVEN}, {"x": [1, 2]}, "'a' has 3 cells"),
        (plot.sensitivity, {"a": GIVEN}, {"x": [1, 2, 2]}, "distinct"),
        (plot.sensitivity, -GIVEN, {"x": [1, 2, 3]}, "pass log=False"),
        (plot.sensitivity, GIVEN, {"x": [1, 2, 3], "band": (25, 75)}, "from 0 to 1"),
        (plot.sensitivity, NAMED, {"x": "beta"}, "no dimension 'beta'; the data have seed, time"),
        (plot.sensitivity, {"a": NAMED, "b": NAMED[:, :2]}, {"x": "time"}, "draw them apart"),
        (plot.parallel, GIVEN, {"axes": {"a": [1, 2]}}, r"must be \[lanes\]"),
        (plot.parallel, GIVEN[0], {}, "have axes, a mapping"),
        (plot.parallel, GIVEN[0], {"axes": {"a": [1, 2]}}, r"'a' has shape \(2,\)"),
        (plot.parallel, GIVEN[0], {"axes": {"a": [1, 2, 3]}}, "two or more"),
        (plot.parallel, NAMED, {"axes": ["seed", "beta"]}, "no coordinate 'beta'; .* seed, time"),
        (plot.parallel, NAMED, {"scale": {"beta": "log"}}, "no coordinate 'beta'"),
        (plot.parallel, NAMED, {"scale": {"seed": "logit"}}, "auto, linear, log, memory"),
        (plot.parallel, NAMED, {"scale": {"seed": "log"}}, "positive coordinates"),
        (plot.parallel, -NAMED, {}, "pass log=False"),
        (plot.parallel, xarray.Dataset({"a": NAMED, "b": NAMED}), {}, "select one"),
        (plot.animate, {}, GIF, "nothing to draw"),
        (plot.animate, {"a": GIVEN[0]}, GIF, r"\[step, coordinate\] or \[lane, step"),
        (plot.animate, {"a": GIVEN}, GIF, "two coordinates, these 3"),
        (plot.animate, {"a": GIVEN[:, :2]}, GIF | {"color": [1]}, "colored by its labels"),
        (plot.animate, GIVEN[:, :2], GIF | {"color": [1, 2]}, "there are 1 lanes"),
        (plot.animate, NAMED, GIF, "no dimension 'step'; the data have seed, time"),
        (plot.animate, MOVING, GIF | {"color": "beta"}, "no coordinate 'beta'"),
        (plot.animate, GIVEN[:, :2], GIF | {"loss": GIVEN}, "need extent"),
        (plot.heatmap, GIVEN[0], {}, "two dims"),
        (plot.heatmap, GIVEN, {"x": [1, 2]}, r"x has shape \(2,\)"),
        (plot.heatmap, GIVEN, {"x": [1, 2, 2]}, "distinct"),
        (plot.heatmap, GIVEN, {"x_scale": "logit"}, "auto, linear, log, memory"),
        (plot.heatmap, GIVEN, {"x_scale": "log"}, "positive coordinates"),
        (plot.heatmap, GIVEN, {"y_scale": "memory"}, "below 1"),
        (plot.heatmap, GIVEN, {"status": [1, 1, 1]}, "status has shape"),
        (plot.heatmap, GIVEN, {"status": 7 * GIVEN}, "0 missing, 1 ok"),
        (plot.heatmap, GIVEN, {"limits": (3.0, 2.0)}, "leave no color"),
        (plot.heatmap, GIVEN, {"limits": (0.0, 2.0)}, "at zero or below"),
        (plot.heatmap, -GIVEN, {}, "pass log=False"),
        (plot.heatmap, NAMED, {"x": "beta"}, "no dimension 'beta'; the data have seed, time"),
        (plot.heatmap, NAMED, {"x": "time", "y": "time"}, "both 'time'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(draw, data, options, words):
    with pytest.raises(ValueError, match=words):
        draw(data, **options)
