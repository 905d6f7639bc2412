"""Heatmaps draw cells on their scales, and hatch those without a value."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, to_hex
from matplotlib.patches import PathPatch
from plot_cases import GRID, legend, line

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
