"""The plot of kernels: what is drawn at which age, and what has no place on the axes."""

import numpy as np
import pytest
import xarray as xr
from plot_cases import legend, line, marks

from jaxmom import plot

K = np.arange(20.0)


def test_the_weights_are_drawn_over_their_age():
    data = {"heavy ball": 0.9**K, "delay": 1.5 * (K == 0) - 0.5 * (K == 1)}
    ax = plot.kernel(data)
    np.testing.assert_array_equal(line(ax, "heavy ball"), np.column_stack([K, 0.9**K]))
    np.testing.assert_array_equal(line(ax, "delay")[:3, 1], [1.5, -0.5, 0.0])
    assert legend(ax) == ["heavy ball", "delay"]
    assert (ax.get_xlabel(), ax.get_xscale()) == ("age of the gradient [steps]", "linear")


def test_logarithmic_axes_begin_at_age_one_and_mark_what_they_cannot_show():
    weights = np.where(K < 5, -(2.0**-K), 2.0**-K) * (K != 7)
    ax = plot.kernel({"w": weights}, scale="log")
    drawn = np.asarray(ax.lines[0].get_xydata())
    np.testing.assert_array_equal(drawn[:, 0], K + 1)
    np.testing.assert_allclose(drawn[K != 7, 1], (2.0**-K)[K != 7])
    np.testing.assert_array_equal(marks(ax, "at or below the floor").get_xdata(), [8])
    np.testing.assert_array_equal(line(ax, "w, below zero")[:, 0], [1, 2, 3, 4, 5])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "1 for the newest" in ax.get_xlabel()


def test_a_data_array_brings_its_lags_and_labels():
    rows = xr.DataArray(
        [[1.0, 0.5], [1.0, np.inf]], {"beta": [0.5, 2.0], "lag": [0, 3]}, ("beta", "lag")
    )
    ax = plot.kernel(rows)
    np.testing.assert_array_equal(line(ax, "beta = 0.5"), [[0, 1.0], [3, 0.5]])
    np.testing.assert_array_equal(line(ax, "beta = 2 (1 not finite)"), [[0, 1.0], [3, np.nan]])


@pytest.mark.parametrize(
    ("words", "data", "scale"),
    [
        ("not 'loglog'", [1.0], "loglog"),
        ("above zero", [0.0, np.nan], "log"),
        ("each array must be .lag.", np.ones((2, 2, 2)), "log"),
    ],
)
def test_wrong_use_gets_a_sentence(words, data, scale):
    with pytest.raises(ValueError, match=words):
        plot.kernel(data, scale=scale)
