"""The codes of `status` are those of a sweep, and lanes that a halving dropped are missing."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxmom as jm
from jaxmom.plot._shared import status as codes
from jaxmom.plot._shared.series import reduce_seeds


def test_the_codes_are_those_of_a_sweep():
    runs = jm.sweep(lambda beta: {"value": beta}, jm.grid(beta=[0.0]), progress=False, width=1)
    names = dict(enumerate(codes.NAMES))
    attrs = runs.status.attrs
    assert dict(zip(attrs["flag_values"], attrs["flag_meanings"].split(), strict=True)) == names


def halved(state, steps, learning_rate, seed):
    problem = jm.problems.tutorial_quadratic()
    start = problem.params * (1.0 + seed.astype(float)) if state is None else state
    run = jm.optimize(problem.loss, start, jm.heavy_ball(learning_rate, 0.5), steps)
    return run, run


@pytest.fixture(scope="module")
def dropped():
    """The first rate survives, the second is dropped, and the third diverges in a seed or both."""
    space = jm.grid(learning_rate=[0.1, 0.01, 3.0], seed=range(2))
    return jm.halving(halved, space, [10, 10], 0.2, width=6)


def legend(ax):
    texts = ax.get_legend_handles_labels()[1]
    plt.close(ax.figure)
    return " ".join(texts)


def test_lanes_that_a_halving_dropped_are_missing_and_not_diverged(dropped):
    assert dropped.rungs.values.tolist() == [[2, 2], [1, 1], [1, 1]]
    expected = [[codes.OK] * 2, [codes.MISSING] * 2, [codes.DIVERGED] * 2]
    whole = dropped.value.isel(step=-1)
    for last in (whole, whole.drop_vars("step"), dropped.value.sel(step=20)):
        np.testing.assert_array_equal(codes.read_statuses(last), expected)
    first = codes.read_statuses(dropped.value.isel(step=0))
    np.testing.assert_array_equal(first, [[codes.OK] * 2] * 2 + [[codes.DIVERGED] * 2])
    turned = codes.read_statuses(whole.T)
    np.testing.assert_array_equal(turned, np.transpose(expected))


@pytest.mark.parametrize("status", [codes.OK, codes.DIVERGED])
def test_a_cell_that_a_halving_dropped_is_missing_whichever_seed_diverged(dropped, status):
    last = dropped.value.isel(step=-1).copy()
    last.coords["status"] = dropped.status.copy()
    last.status[1, 0] = status
    kinds = reduce_seeds(last.T, 1).kinds
    assert kinds["missing"].tolist() == [False, True, False]
    assert kinds["diverged"].tolist() == [False, False, True]


PLOTS = {
    "heatmap": lambda last: jm.plot.heatmap(last),
    "parallel": lambda last: jm.plot.parallel(last),
    "sensitivity": lambda last: jm.plot.sensitivity(last, x="learning_rate"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_of_a_halving_without_divergence_speak_of_none(dropped, name):
    last = dropped.value.isel(step=-1, learning_rate=slice(0, 2))
    text = legend(PLOTS[name](last))
    assert "missing" in text
    assert "diverged" not in text
