"""Axes are divided into bins on the scale that their values have."""

import numpy as np
import pytest
import xarray

from jaxmom.explorer.axes import ABSENT, MAX_BINS, make_axis


def axis_of(values, name="beta"):
    return make_axis(xarray.DataArray(values, dims="lane", name=name))


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.linspace(0, 1, 7), "linear"),
        (np.geomspace(1e-4, 1, 9), "log"),
        (1 - np.geomspace(1, 1e-3, 13), "memory"),
        ([0.0, 0.1, 0.2, 5.0], "listed"),
        (["nesterov", "heavy ball"], "listed"),
        ([True, False], "listed"),
    ],
    ids=["linear", "log", "memory", "uneven", "labels", "booleans"],
)
def test_few_values_have_a_bin_each(values, scale):
    axis = axis_of(values)
    assert axis.scale == scale
    assert axis.size == len(values)
    assert axis.bins.tolist() == list(range(len(values)))  # labels keep their order


@pytest.mark.parametrize("scale", ["linear", "log", "memory"])
def test_many_values_are_put_into_bins_that_are_even_on_their_scale(scale):
    place = np.linspace(0, 1, 5000)
    values = {"linear": place, "log": 10 ** (3 * place), "memory": 1 - 10 ** (-3 * place)}[scale]
    axis = axis_of(np.random.default_rng(0).permutation(values))
    assert (axis.scale, axis.size) == (scale, MAX_BINS)
    assert (np.bincount(axis.bins) == 25).all()
    bins = axis.bins[np.argsort(axis.values)]
    assert (np.diff(bins) >= 0).all()
    distance = np.abs(axis.centers[axis.bins] - axis.values)
    assert (distance <= np.gradient(axis.centers)[axis.bins]).all()


def test_ticks_stand_where_their_values_are():
    axis = axis_of(1 - np.geomspace(1, 1e-3, 4))
    assert {round(at, 9): text for at, text in axis.ticks.items()} == {
        0.5: "0",
        1.5: "0.9",
        2.5: "0.99",
        3.5: "0.999",
    }


def test_lanes_of_a_union_without_the_argument_stand_apart():
    axis = axis_of([0.5, np.nan, 0.9])
    assert axis.texts == ["0.5", "0.9", ABSENT]
    assert axis.bins.tolist() == [0, 2, 1]
    assert axis_of(["a", "", "b"]).texts == ["a", "b", ABSENT]


def test_thousands_of_labels_share_bins():
    axis = axis_of([f"m{i:04d}" for i in range(1000)])
    assert axis.size == MAX_BINS
    assert axis.texts[0] == "m0000 … m0004"
    assert axis.bins[[0, 4, 5, 999]].tolist() == [0, 0, 1, 199]


def test_large_integers_that_float64_would_merge_are_labels():
    axis = axis_of(np.array([2**60, 2**60 + 1]))
    assert axis.texts == [str(2**60), str(2**60 + 1)]
