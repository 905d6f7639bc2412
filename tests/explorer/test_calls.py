"""The calls that are shown run the lane again."""

import jax.numpy as jnp
import numpy as np
import pytest
from sweeps_by_hand import make_runs

import jaxmom as jm
from jaxmom.explorer import calls, views
from jaxmom.explorer.cells import read_cells
from jaxmom.explorer.curves import read_curves


def train(beta, learning_rate=0.5, seed=0):
    return {"value": jnp.sin(100 * beta) + learning_rate + 0.1 * jnp.asarray(seed, float)}


@pytest.fixture(scope="module")
def runs():
    space = jm.grid(beta=jm.memory(1, 100).points(3), learning_rate=[0.1, 0.3], seed=range(3))
    return jm.sweep(train, space, width=4, progress=False)


@pytest.mark.parametrize("cell", [0, 5])
def test_the_call_of_a_sweep_has_the_bits_of_its_lanes(runs, cell):
    cells = read_cells(runs, "value", over=("seed",))
    text = calls.write_sweep("train", calls.lane_arguments(runs, cells, cell), runs.attrs)
    again = eval(text, {"jm": jm, "train": train})
    lanes = runs.value.stack(cell=("beta", "learning_rate")).isel(cell=cell)
    np.testing.assert_array_equal(again.value.values.ravel(), lanes.values)


def test_the_call_of_a_function_has_the_arguments_of_the_lane(runs):
    cells = read_cells(runs, "value")
    arguments = calls.lane_arguments(runs, cells, 7)
    value = eval(calls.write_call("train", arguments), {"train": train})["value"]
    assert float(value) == pytest.approx(float(cells.value[7]), rel=1e-12)


def test_lanes_of_a_union_have_the_arguments_that_they_were_given():
    space = jm.grid(beta=[0.1, 0.2], learning_rate=[0.3]) + jm.grid(beta=[0.9])
    union = jm.sweep(train, space, width=1, progress=False)
    cells = read_cells(union, "value")
    texts = [calls.write_call("f", calls.lane_arguments(union, cells, n)) for n in range(3)]
    assert texts == [
        "f(beta=0.1, learning_rate=0.3)",
        "f(beta=0.2, learning_rate=0.3)",
        "f(beta=0.9)",
    ]


def test_a_browser_looks_up_the_same_arguments():
    runs = make_runs()
    cells = read_cells(runs, "value", over=("seed",))
    shape = views.map_shape(cells, "beta", "learning_rate")
    places = views.pair_bins(cells, "beta", "learning_rate")
    view = views.view_map(cells, places, shape, views.hold(cells, {}))
    encoded = calls.encode_arguments(runs, cells, view)
    for number, cell in enumerate(view.cell.ravel().tolist()):
        pieces = [texts[codes[number]] for codes, texts in encoded.values()]
        expected = calls.write_call("f", calls.lane_arguments(runs, cells, max(cell, 0)))
        assert f"f({', '.join(pieces)})" == expected


def test_curves_end_where_their_lanes_diverged():
    runs = make_runs()
    cells = read_cells(runs, "value", over=("seed",))
    place = np.argwhere((runs.status == 2).any("seed").values)[0]
    curves = read_curves(runs, cells, int(np.ravel_multi_index(place, cells.shape)))
    statuses = runs.status.values[tuple(place)]
    assert curves.diverged.tolist() == (statuses == 2).tolist()
    assert np.isnan(curves.runs[:, -1]).tolist() == (statuses != 1).tolist()
    np.testing.assert_array_equal(curves.runs[:, 0], 9.0)
    assert read_curves(runs.isel(step=-1), cells, 0) is None
