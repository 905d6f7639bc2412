"""Scales are the most even ones, and ticks stand at round values."""

import numpy as np
import pytest
import xarray

from jaxmom.plot._shared import axis_scale


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
    cells, _ = axis_scale.place_on_scale(xarray.DataArray(values, dims="lane", name="a"), scale)
    places, texts = axis_scale.choose_ticks(cells)
    assert texts == expected
    assert ((places > 0) & (places < 1)).all()


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
    assert axis_scale.fit_scale(coordinate, "auto").kind == scale
