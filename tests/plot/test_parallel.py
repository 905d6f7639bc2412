"""Parallel coordinates draw each lane as one line."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from plot_cases import GRID, PLOTS, legend, line

from jaxmom import plot


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
