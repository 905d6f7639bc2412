"""Maps, selections and histograms equal plain loops over the cells."""

import numpy as np
import pytest
from sweeps_by_hand import make_runs

from jaxmom.explorer import views
from jaxmom.explorer.axes import MAX_BINS
from jaxmom.explorer.cells import OUTCOMES, read_cells
from jaxmom.explorer.views import Selection


@pytest.fixture(scope="module")
def cells():
    return read_cells(make_runs(), "value", over=("seed",))


def bin_of(cells, number, name):
    place = np.unravel_index(number, cells.shape)
    axis = cells.axes[name]
    return int(axis.bins[place[cells.dims.index(axis.dim)]])


@pytest.mark.parametrize(
    ("x", "y"), [("beta", "method"), ("method", "learning_rate"), ("beta", "")]
)
def test_a_map_has_the_best_cell_of_each_bin(cells, x, y):
    mask = views.hold(cells, {})
    places, shape = views.pair_bins(cells, x, y), views.map_shape(cells, x, y)
    view = views.view_map(cells, places, shape, mask)
    for row, column in np.ndindex(shape):
        inside = [
            n
            for n in range(cells.size)
            if bin_of(cells, n, x) == column and (not y or bin_of(cells, n, y) == row)
        ]
        best = min(inside, key=lambda n: cells.score[n])
        if np.isfinite(cells.score[best]):
            assert view.cell[row, column] == best
            assert view.best[row, column] == cells.value[best]
            assert view.outcome[row, column] == cells.outcome[best]
        else:
            assert np.isnan(view.best[row, column])
            assert view.outcome[row, column] in {cells.outcome[n] for n in inside}
        for code in range(len(OUTCOMES)):
            assert view.counts[code, row, column] == sum(cells.outcome[n] == code for n in inside)


def test_a_held_axis_shows_its_bin_alone(cells):
    mask = views.hold(cells, {"method": 1})
    assert mask.tolist() == [bin_of(cells, n, "method") == 1 for n in range(cells.size)]


def test_conditions_of_a_selection_are_joined(cells):
    among = views.hold(cells, {"method": 0})
    mask = views.select(cells, Selection({"beta": (1, 3)}, (0.5, 2.0), None), among)
    expected = [
        bool(among[n]) and 1 <= bin_of(cells, n, "beta") <= 3 and 0.5 <= cells.value[n] <= 2.0
        for n in range(cells.size)
    ]
    assert mask.tolist() == expected
    assert any(expected)


def test_the_best_share_counts_cells_that_have_a_value(cells):
    among = views.hold(cells, {})
    mask = views.select(cells, Selection(best=0.25), among)
    finite = np.sort(cells.score[np.isfinite(cells.score)])
    assert mask.sum() == round(0.25 * len(finite))
    assert cells.score[mask].max() == finite[mask.sum() - 1]
    top = views.best_cells(cells, among, 5)
    np.testing.assert_array_equal(cells.score[top], finite[:5])


def test_histograms_count_every_selected_cell_once(cells):
    mask = views.select(cells, Selection({"beta": (0, 2)}), views.hold(cells, {}))
    for name, counts in views.count_along(cells, mask).items():
        numbers = [bin_of(cells, n, name) for n in np.flatnonzero(mask)]
        assert counts.tolist() == np.bincount(numbers, minlength=cells.axes[name].size).tolist()
    bins = views.bin_values(cells)
    counts = views.count_values(bins, mask)
    assert counts.sum() == np.isfinite(cells.value[mask]).sum()
    assert sum(views.count_outcomes(cells, mask).values()) == mask.sum()


def test_nothing_is_best_where_all_lanes_diverged():
    runs = make_runs()
    runs["status"][:] = 2
    cells = read_cells(runs, "value", over=("seed",))
    among = views.hold(cells, {})
    assert not views.select(cells, Selection(best=0.01), among).any()
    assert views.best_cells(cells, among, 3).tolist() == []
    assert views.bin_values(cells).bins.max() == -1
    view = views.view_map(cells, views.pair_bins(cells, "beta", ""), (1, 5), among)
    assert (view.outcome == OUTCOMES.index("diverged")).all()
    assert (view.share_ok == 0).all()


def test_ten_thousand_values_of_a_sample_make_a_map():
    import xarray

    rng = np.random.default_rng(1)
    status = np.ones(10_000, np.int8)
    coords = {
        "beta": ("lane", rng.random(10_000)),
        "learning_rate": ("lane", 10 ** rng.uniform(-3, 0, 10_000)),
        "status": ("lane", status),
        "diverged_at": ("lane", -status.astype(np.int32)),
    }
    runs = xarray.Dataset({"value": ("lane", rng.random(10_000))}, coords)
    cells = read_cells(runs, "value")
    places = views.pair_bins(cells, "beta", "learning_rate")
    shape = views.map_shape(cells, "beta", "learning_rate")
    assert shape == (MAX_BINS, MAX_BINS)
    view = views.view_map(cells, places, shape, views.hold(cells, {}))
    assert view.counts.sum() == 10_000
    assert np.nanmin(view.best) == runs.value.values.min()
    assert (view.outcome[view.cell < 0] == -1).all()
