"""Data that cannot be drawn are refused in a sentence."""

import io

import numpy as np
import pytest
import xarray

from jaxmom import plot

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
def test_bad_data_are_refused_in_a_sentence(draw, data, options, words):
    with pytest.raises(ValueError, match=words):
        draw(data, **options)
