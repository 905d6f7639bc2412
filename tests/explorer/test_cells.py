"""Cells hold the medians and outcomes that a plain loop over lanes finds."""

import statistics

import numpy as np
import pytest
from sweeps_by_hand import make_runs

from jaxmom.explorer.cells import OUTCOMES, list_axes, list_variables, read_cells


def describe(values, statuses):
    """The median of one cell and its outcome, by the definition."""
    ran = [v if s == 1 else np.inf for v, s in zip(values, statuses, strict=True) if s in (1, 2)]
    if not ran:
        return np.nan, "failed" if 3 in statuses else "missing"
    middle = statistics.median(ran)
    if np.isinf(middle):
        return middle, "diverged"
    return middle, "some seeds diverged" if np.inf in ran else "ok"


@pytest.mark.parametrize("maximize", [False, True])
def test_a_cell_has_the_median_of_its_seeds(maximize):
    runs = make_runs()
    cells = read_cells(runs, "value", over=("seed",), maximize=maximize)
    assert cells.shape == (5, 4, 2)
    assert cells.dims == ("beta", "learning_rate", "method")
    last = runs.value.isel(step=-1).values
    for number, place in enumerate(np.ndindex(cells.shape)):
        values, statuses = last[place].tolist(), runs.status.values[place].tolist()
        middle, outcome = describe([-v if maximize else v for v in values], statuses)
        assert OUTCOMES[cells.outcome[number]] == outcome
        expected = -middle if maximize and np.isfinite(middle) else middle
        np.testing.assert_equal(cells.value[number], expected)
        np.testing.assert_equal(cells.score[number], middle if np.isfinite(middle) else np.inf)


def test_lanes_are_counted_by_outcome():
    runs = make_runs()
    counts = {name: int((runs.status == code).sum()) for code, name in enumerate(OUTCOMES[:4])}
    assert read_cells(runs, "value").lanes == counts
    assert read_cells(runs, "value", over=("seed", "beta")).lanes == counts


def test_medians_over_two_dims_are_those_of_all_their_lanes():
    runs = make_runs()
    cells = read_cells(runs, "value", over=("method", "seed"))
    assert cells.runs.shape == (6, 20)
    place = (2, 3)
    values = runs.value.isel(step=-1).values[place].ravel().tolist()
    middle, _ = describe(values, runs.status.values[place].ravel().tolist())
    found = cells.value[np.ravel_multi_index(place, (5, 4))]
    np.testing.assert_allclose(found, middle, rtol=1e-15)


def test_an_earlier_record_can_be_read():
    cells = read_cells(make_runs(), "value", record=0)
    assert set(cells.value[np.isfinite(cells.value)]) == {9.0}


def test_variables_with_other_dims_are_not_offered():
    runs = make_runs()
    assert list_variables(runs) == ["value"]
    assert list_axes(runs) == {name: name for name in ("beta", "learning_rate", "method", "seed")}
    with pytest.raises(ValueError, match="one real number for each lane and record, and none of"):
        list_variables(runs[["norms"]])
