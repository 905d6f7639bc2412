"""Heatmaps draw cells on their scales, and hatch those without a value."""

from typing import Any

import jax
import numpy as np
import pytest
import xarray
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, to_hex
from matplotlib.patches import PathPatch
from plot_cases import GRID, legend, line

import jaxmom as jm
from jaxmom import plot
from jaxmom.plot._shared import status as codes


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
    diverged = (status == codes.DIVERGED) | ~np.isfinite(values)
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


def seeded() -> xarray.DataArray:
    """Losses [4 seeds, 2 betas, 3 rates] of which some diverged, are missing or failed."""
    values = np.arange(24.0).reshape(4, 2, 3) ** 2 + 1
    status = np.ones((4, 2, 3), int)
    status[0, 0, 1], status[:2, 0, 2], status[:, 1, 0] = 2, 2, 0
    status[:, 1, 1], status[0, 1, 2] = 3, 0
    coords = {
        "seed": range(4),
        "beta": [0.0, 0.5],
        "learning_rate": [0.1, 0.2, 0.3],
        "status": (("seed", "beta", "learning_rate"), status),
    }
    return xarray.DataArray(values, coords, ("seed", "beta", "learning_rate"), name="loss")


def test_cells_over_seeds_are_medians_that_hide_no_divergence():
    data = seeded()
    ax = plot.heatmap(data.transpose("beta", "learning_rate", "seed"))
    values = data.values
    expected = [
        [np.median(values[:, 0, 0]), np.median([np.inf, *values[1:, 0, 1]]), np.nan],
        [np.nan, np.nan, np.median(values[1:, 1, 2])],
    ]
    np.testing.assert_allclose(mesh(ax).get_array().filled(np.nan), expected)
    drawn = regions(ax)
    kinds = {
        "diverged": [[0, 0, 1], [0, 0, 0]],
        "missing": [[0, 0, 0], [1, 0, 0]],
        "failed": [[0, 0, 0], [0, 1, 0]],
        "_some seeds diverged": [[0, 1, 0], [0, 0, 0]],
    }
    for kind, cells in kinds.items():
        found = covered(drawn[kind], [0.1, 0.2, 0.3], [0.0, 0.5])
        np.testing.assert_array_equal(found, np.array(cells, bool))
    names = ["diverged", "missing", "failed", "some seeds diverged", "best: 148"]
    assert legend(ax)[:-1] == names[:-1]
    assert mesh(ax).colorbar.ax.get_ylabel() == "loss (median of 4 seeds)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "beta")


def test_a_heatmap_of_a_sweep_over_seeds_agrees_with_bands():
    problem = jm.problems.tutorial_quadratic()

    def train(beta, learning_rate, seed):
        start = problem.params + 0.01 * jax.random.normal(jax.random.key(seed), (2,))
        return jm.optimize(problem.loss, start, jm.heavy_ball(learning_rate, beta), 100, every=50)

    space = jm.grid(beta=[0.0, 0.5], learning_rate=[0.1, 0.3, 3.0], seed=range(4))
    runs = jm.sweep(train, space, progress=False, width=24)
    ax = plot.heatmap(runs.value.isel(step=-1), x="learning_rate")
    middle = jm.bands(runs).middle.isel(step=-1)
    np.testing.assert_allclose(mesh(ax).get_array().filled(np.inf), middle.values)
    assert "diverged" in legend(ax)


def test_three_dims_without_seeds_are_refused():
    with pytest.raises(ValueError, match="two dims"):
        plot.heatmap(seeded().rename(seed="method"))
    with pytest.raises(ValueError, match="'seed'"):
        plot.heatmap(seeded(), x="seed")
    assert plot.heatmap(seeded().rename(seed="fold"), over="fold").has_data()
    assert plot.heatmap(np.ones((5, 2, 3))).has_data()
    assert plot.heatmap(seeded().isel(beta=0), x="seed").get_xlabel() == "seed"
