"""Scales are the most even ones, and ticks stand at round values."""

import numpy as np
import pytest
import xarray

import jaxmom as jm
from jaxmom import plot
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


@pytest.mark.parametrize(
    ("centers", "kind"),
    [
        (jm.memory(1, 1000).points(20), "memory"),
        (jm.memory(2, 1e6).points(7).astype(np.float32), "memory"),
        (jm.half_life(1, 1000).points(20), "memory"),
        (
            sorted(jm.sample(64, beta=jm.memory(1, 1e4)).lane(i)["beta"] for i in range(64)),
            "memory",
        ),
        ([0.0, 0.9, 0.99, 0.999], "memory"),
        ([0.0, 0.5, 0.9, 0.99], "memory"),
        (np.linspace(0, 0.999, 1000), "linear"),
        (np.linspace(0, 0.3, 10) ** 1.01, "linear"),
        (-np.geomspace(1000, 1, 4), "linear"),
        ([0.0, 0.9, 1.0], "linear"),
        (np.geomspace(1e-4, 0.5, 9), "log"),
    ],
)
def test_auto_is_the_memory_scale_where_betas_are_spaced_so(centers, kind):
    coordinate = xarray.DataArray(np.asarray(centers), dims="beta", name="beta")
    assert axis_scale.fit_scale(coordinate, "auto").kind == kind
    ones = np.ones(len(centers))
    where = {"beta": np.asarray(centers), "b": ones}
    for ax in (
        plot.heatmap(ones[None], x=np.asarray(centers)),
        plot.sensitivity(ones, x=np.asarray(centers)),
    ):
        assert ax.get_xscale() == ("function" if kind == "memory" else kind)
    if kind == "memory":
        auto, given = (
            plot.parallel(ones, axes=where, scale=scale).collections[0].get_paths()
            for scale in (None, {"beta": "memory"})
        )
        for ours, theirs in zip(auto, given, strict=True):
            np.testing.assert_array_equal(ours.vertices, theirs.vertices)


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (0.89, 0.91, "memory", ["0.89", "0.895", "0.9", "0.905", "0.91"]),
        (0.0, 0.99, "memory", ["0", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99"]),
        (0.0, 0.999, "memory", ["0", "0.9", "0.99", "0.999"]),
        (0.02, 2.0, "log", ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (0.86, 1.04, "log", ["0.88", "0.92", "0.96", "1", "1.04"]),
    ],
)
def test_an_axis_has_several_ticks_however_narrow_it_is(low, high, kind, expected):
    warp, inverse = axis_scale.SCALES[kind]
    centers = inverse(np.linspace(*warp(np.array([low, high])), 40))
    ax = plot.heatmap(np.ones((1, 40)), x=centers, x_scale=kind)
    ax.figure.canvas.draw()
    texts = [text.get_text() for text in ax.get_xticklabels()]
    assert set(expected) <= set(texts)
    assert len(texts) <= len(expected) + 1


@pytest.mark.parametrize(
    ("low", "high", "exponents"),
    [
        (1e-7, 1e190, [0, 50, 100, 150]),
        (1e-3, 1e41, [0, 10, 20, 30, 40]),
        (1e-11, 1e11, [-10, -5, 0, 5, 10]),
        (0.05, 200.0, [-1, 0, 1, 2]),
    ],
)
def test_exponents_of_ten_are_round_however_many_there_are(low, high, exponents):
    ax = plot.curves({"a": [low, high]})
    ax.set_ylim(low, high)
    ticks = ax.get_yticks()
    shown = np.log10(ticks[(ticks >= low) & (ticks <= high)])
    np.testing.assert_allclose(shown, exponents, atol=1e-9)
