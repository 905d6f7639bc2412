"""The explorer without a browser: sessions, selections, files and refusals."""

import importlib.util
import re
import socket
import types

import numpy as np
import pytest
import xarray
from sweeps_by_hand import make_runs

import jaxmom as jm
from jaxmom import cli
from jaxmom.explorer import extra, serve
from jaxmom.explorer.figures import outline_bins


def box(x0, x1, y0=0.0, y1=0.0, final=True):
    """What Bokeh reports of a box that was drawn with the mouse."""
    geometry = {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1}
    return types.SimpleNamespace(geometry=geometry, final=final)


@pytest.fixture(scope="module")
def opened():
    return jm.explore(make_runs(), fn="fit").open_session()


@pytest.fixture
def session(opened):
    opened.clear_selection()
    return opened


def test_a_map_shows_the_first_two_axes_and_takes_medians_over_seeds(session):
    assert (session.x.value, session.y.value, session.over.value) == (
        "beta",
        "learning_rate",
        ["seed"],
    )
    (image,) = session.board.best.image.data["image"]
    assert image.shape == (4, 5)
    cells = session.cells.value.reshape(5, 4, 2)
    best = np.where(np.isfinite(cells), cells, np.inf).min(axis=2).T
    np.testing.assert_array_equal(image, np.where(np.isinf(best), np.nan, best).astype(np.float32))
    assert set(session.sliders) == {"method"}


def test_the_outcomes_of_all_lanes_are_on_every_view(session):
    runs = make_runs()
    for code, name in enumerate(("missing", "ok", "diverged", "failed")):
        assert f"{int((runs.status == code).sum()):,} {name}" in session.status.object


def test_a_box_on_the_map_selects_the_bins_that_it_touches(session):
    session._brush_map(box(1.2, 2.9, 0.1, 0.8))
    assert session.selection.bins == {"beta": (1, 2), "learning_rate": (0, 0)}
    (veil,) = session.board.best.veil.data["image"]
    assert np.argwhere(np.isnan(veil)).tolist() == [[0, 1], [0, 2]]
    assert "4 selected" in session.status.object
    session.clear_selection()
    assert np.isnan(session.board.best.veil.data["image"][0]).all()


def test_a_range_of_an_axis_is_seen_on_all_others(session):
    session._brush_axis(box(-3.0, 0.5), "method")
    assert session.selection.bins == {"method": (0, 0)}
    assert session.board.bars["method"].selected.data["top"].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(session.board.bars["beta"].selected.data["top"], 0.2)


def test_a_range_of_values_selects_cells_in_it(session):
    assert session.bins.is_log
    session._brush_values(box(-1.0, 0.0))
    low, high = session.selection.values
    assert (low, high) == (0.1, 1.0)
    inside = (session.cells.value >= low) & (session.cells.value <= high)
    assert f"{inside.sum()} selected" in session.status.object


def test_the_table_has_the_best_cells_and_their_calls(session):
    session.best.value = 0.1
    table = session.table.object.source.data
    finite = np.sort(session.cells.score[np.isfinite(session.cells.score)])
    count = round(0.1 * len(finite))
    np.testing.assert_allclose([float(v) for v in table["value"]], finite[:count], rtol=1e-7)
    assert table["call"][0].startswith("fit(beta=")


def test_a_click_shows_the_calls_and_the_curves_of_the_best_cell(session):
    row, column = np.argwhere(np.isfinite(session.picture.view.best))[0]
    session._click_map(types.SimpleNamespace(x=column + 0.5, y=row + 0.5))
    assert "jm.sweep(fit, jm.grid(beta=[" in session.call.object
    assert "width=8, options={" in session.call.object
    assert len(session._curves) == 1
    session._click_map(types.SimpleNamespace(x=-1.0, y=0.5))
    assert len(session._curves) == 1


def test_a_held_axis_a_median_and_another_axis_change_the_map(session):
    session.sliders["method"].value = 1
    among = session.picture.among.reshape(session.cells.shape)
    assert among[..., 1].all()
    assert not among[..., 0].any()
    session.over.value = []
    assert set(session.sliders) == {"method", "seed"}
    session.x.value = "seed"
    assert session.picture.shape == (4, 3)
    session.y.value = ""
    assert session.picture.shape == (1, 3)
    session.maximize.value = True
    assert session.cells.maximize
    session.choose(maximize=False, over=["seed"], x="beta", y="learning_rate")
    assert session.picture.shape == (4, 5)
    session.sliders["method"].value = -1
    assert session.picture.among.all()


def test_boxes_cover_what_has_no_value():
    bins = np.array([[True, True, False, True], [False, False, False, False]])
    assert {name: side.tolist() for name, side in outline_bins(bins).items()} == {
        "left": [0, 3],
        "right": [2, 4],
        "bottom": [0, 0],
        "top": [1, 1],
    }


def test_a_view_is_saved_as_a_page_and_as_a_picture(tmp_path):
    explorer = jm.explore(make_runs())
    explorer.save(tmp_path / "view.html", x="method", y="", best=0.1)
    explorer.save(tmp_path / "view.png", maximize=True, over=[])
    page = (tmp_path / "view.html").read_text()
    assert len(page) < 5e6
    assert "selected" in page
    assert not re.search(r"<script [^>]*src=", page)  # it needs no network
    assert (tmp_path / "view.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"saved as \.html or \.png; got"):
        explorer.save(tmp_path / "view.pdf")
    with pytest.raises(ValueError, match=r"x is one of .*, not 'gamma'"):
        explorer.save(tmp_path / "view.png", x="gamma")
    with pytest.raises(ValueError, match="has the choices"):
        explorer.save(tmp_path / "view.png", color=1)


def test_a_sweep_that_runs_is_read_anew(tmp_path):
    def train(beta):
        return {"value": beta**2}

    space = jm.grid(beta=np.linspace(0, 1, 6))
    jm.sweep(train, space, width=2, store=tmp_path / "s", part=(0, 2), progress=False)
    session = jm.explore(tmp_path / "s").open_session()
    missing = session.cells.lanes["missing"]
    assert missing == 2
    assert (session.picture.view.outcome == 0).sum() == missing
    jm.sweep(train, space, width=2, store=tmp_path / "s", part=(1, 2), progress=False)
    session.reload(anew=True)
    assert session.cells.lanes == {"missing": 0, "ok": 6, "diverged": 0, "failed": 0}


def test_groups_with_other_outputs_have_a_tab_each():
    def train(beta, kind):
        return {"value": beta} if kind == "plain" else {"value": beta, "square": beta**2}

    tree = jm.sweep(train, jm.grid(beta=[0.1, 0.2], kind=["plain", "more"]), width=2)
    assert isinstance(tree, xarray.DataTree)
    tabs = jm.explore(tree)
    groups = [path.strip("/") for path in tree.groups if path != "/"]
    assert list(tabs.explorers) == groups
    assert tabs.__panel__()._names == groups
    assert tabs.explorers[groups[0]].open_session().cells.lanes["ok"] == 2


def test_halvings_and_unions_can_be_explored():
    problem = jm.problems.tutorial_quadratic()

    def segment(run, steps, beta, learning_rate=0.2):
        start = problem.params if run is None else run
        run = jm.optimize(problem.loss, start, jm.heavy_ball(learning_rate, beta), steps, every=2)
        return run, run

    space = jm.grid(beta=[0.1, 0.5], learning_rate=[0.1, 4.0]) + jm.grid(beta=[0.2])
    runs = jm.halving(segment, space, rungs=[4, 4], keep=0.2, width=5)
    session = jm.explore(runs).open_session()
    assert session.cells.lanes["diverged"] == 2
    assert session.cells.lanes["missing"] >= 1  # what the halving did not run to the end
    assert session.cells.axes["learning_rate"].texts[-1] == "not given"
    session.show_cell(4)
    assert "train(beta=0.2)" in session.call.object


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (xarray.Dataset({"value": ("x", [1.0])}), "with its status, or the folder of a store"),
        (make_runs()[["norms"]], "one real number for each lane"),
        (make_runs().isel(beta=slice(0, 0)), "has no lanes"),
        (make_runs().isel(beta=0, learning_rate=0, method=0, seed=0), "has one lane and no axis"),
    ],
    ids=["no sweep", "no number", "no lanes", "one lane"],
)
def test_what_cannot_be_explored_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        jm.explore(given)


def test_an_absent_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "panel" else find(name)
    )
    with pytest.raises(ImportError, match=r'needs panel.*pip install "jaxmom\[explore\]"'):
        extra.require_extra("jm.explore")


def test_the_command_refuses_other_folders_and_busy_ports(tmp_path, capsys):
    assert cli.main(["explore", str(tmp_path)]) == 2
    assert "there is no sweep in" in capsys.readouterr().out
    store = tmp_path / "store"
    space = jm.grid(beta=[0.1, 0.2])
    jm.sweep(lambda beta: {"value": beta}, space, width=2, store=store, progress=False)
    with socket.socket() as busy:
        busy.bind((serve.ADDRESS, 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        assert cli.main(["explore", str(store), "--port", port, "--no-browser"]) == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err
    assert cli.main(["explore", str(store), "--port", "-1"]) == 2
    assert "a port is a number from 0 to 65535" in capsys.readouterr().err
