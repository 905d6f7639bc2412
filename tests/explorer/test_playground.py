"""The playground shows what the library computes, and its code runs what is shown."""

import json
import re

import chex
import numpy as np
import pytest

import jaxmom as jm
from jaxmom.explorer import momentum_figures, momentum_views
from jaxmom.explorer.momentum_app import Playground, Session
from jaxmom.explorer.momentum_views import Setting, view_momentum, write_code

HEAVY_BALL = Setting("heavy ball", learning_rate=0.1, beta=0.8, mu=1.0, L=10.0, noise=0.3)


@pytest.fixture(scope="module")
def view():
    return view_momentum(HEAVY_BALL)


def test_heavy_ball_has_its_closed_forms(view):
    alpha, beta = 0.1, 0.8
    np.testing.assert_allclose(view.kernel, alpha * beta ** np.arange(50), rtol=1e-12)
    assert view.limit == pytest.approx(2 * (1 + beta) / alpha, rel=1e-12)
    assert view.mean_age == pytest.approx(beta / (1 - beta), rel=1e-12)
    response = alpha / (1 - beta * np.exp(-1j * view.frequencies))
    np.testing.assert_allclose(view.response, response, rtol=1e-10)
    for curvature, rate in zip(view.curvatures, view.rates, strict=True):
        trace = 1 + beta - alpha * curvature
        assert rate == pytest.approx(np.abs(np.roots([1, -trace, beta])).max(), abs=1e-7)
    floor = alpha * (1 + beta) * 0.3**2
    floor /= (1 - beta) * view.curvatures * (2 * (1 + beta) - alpha * view.curvatures)
    np.testing.assert_allclose(view.floor, floor, rtol=1e-7)


def test_the_path_is_that_of_a_plain_loop():
    setting = HEAVY_BALL._replace(noise=0.0)
    point, velocity = np.array(momentum_views.START), np.zeros(2)
    points = [point]
    for _ in range(momentum_views.STEPS):
        velocity = 0.8 * velocity - 0.1 * np.array([1.0, 10.0]) * point
        point = point + velocity
        points.append(point)
    np.testing.assert_allclose(view_momentum(setting).path, points, atol=1e-12)


@pytest.mark.parametrize("landscape", momentum_views.LANDSCAPES)
def test_the_code_runs_what_is_shown(landscape):
    setting = HEAVY_BALL._replace(landscape=landscape)
    scope = {}
    exec(write_code(setting), scope)
    shown = view_momentum(setting).path[-1]
    np.testing.assert_allclose(scope["run"].params, shown, rtol=1e-12)


@pytest.mark.parametrize("method", momentum_views.METHODS)
def test_the_call_makes_the_optimizer_that_is_shown(method):
    setting = Setting(method, learning_rate=0.1, beta=0.8)
    line = re.search(r"^optimizer = (.*)$", write_code(setting), re.MULTILINE)[1]
    made = momentum_views.make_optimizer(setting)
    chex.assert_trees_all_equal(eval(line, {"jm": jm}), made)


def test_a_run_that_diverges_ends(view):
    wild = view_momentum(HEAVY_BALL._replace(learning_rate=1.0))
    assert wild.diverged_at > 0
    assert np.isnan(wild.path[wild.diverged_at + 1 :]).all()
    titles = momentum_figures.write_titles(HEAVY_BALL, wild)
    assert titles["path"] == f"diverged at update {wild.diverged_at}"
    assert titles["risk"].endswith("it grows")
    assert re.search(r"\d+ beyond the frame", titles["poles"])
    columns = momentum_figures.list_columns(wild)
    count = sum(len(columns[name]["x"]) for name in ("poles", "outside"))
    assert count == wild.poles.size
    assert "diverged" not in momentum_figures.write_titles(HEAVY_BALL, view)["path"]


def test_a_session_shows_what_its_widgets_say(view):
    session = Session()
    for name, value in HEAVY_BALL._asdict().items():
        if name != "beta":
            session.widgets[name].value = value
    session.widgets["beta"].value = session.widgets["beta"].values[30]
    assert session.setting == HEAVY_BALL._replace(beta=session.widgets["beta"].value)
    shown = view_momentum(session.setting)
    np.testing.assert_array_equal(session.panels.sources["kernel"].data["y"], shown.kernel)
    assert session.panels.limit.location == shown.limit
    assert f"beta={session.setting.beta!r}" in session.code.object
    before = session.code.object
    session.widgets["mu"].value = session.widgets["mu"].values[-1]
    assert "mu is larger than L" in session.note.object
    assert session.code.object == before


def test_a_page_has_every_state(tmp_path):
    app = jm.playground()
    app.save(
        tmp_path / "page.html",
        methods=["heavy ball"],
        betas=[0.5, 0.8],
        learning_rates=[0.05, 0.1, 0.2],
    )
    page = (tmp_path / "page.html").read_text()
    text = re.search(r'"states","((?:[^"\\]|\\.)*)"', page)[1]
    shared, ((first, second),) = json.loads(json.loads(f'"{text}"'))
    assert [len(first), len(second)] == [3, 3]
    assert shared["kernel"]["x"] == list(range(50))
    expected = view_momentum(HEAVY_BALL)
    np.testing.assert_allclose(second[1]["columns"]["kernel"]["y"], expected.kernel, rtol=1e-3)
    assert second[1]["limit"] == pytest.approx(expected.limit, rel=1e-5)


@pytest.mark.parametrize(
    ("path", "choices", "message"),
    [
        ("page.pdf", {}, r"saved as \.html; got"),
        ("page.html", {"methods": ["adam"]}, "a page needs methods of"),
        ("page.html", {"betas": [0.9]}, "two betas and learning rates at least"),
    ],
    ids=["ending", "method", "beta"],
)
def test_a_page_that_cannot_be_is_refused(tmp_path, path, choices, message):
    with pytest.raises(ValueError, match=message):
        Playground().save(tmp_path / path, **choices)
