"""The apps in headless Chromium: they load, answer a brush, and leave no error in the console."""

import contextlib
import pathlib
import shutil
import subprocess
import sys

import pytest
from sweeps_by_hand import make_runs

import jaxmom as jm

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address):
    """A page, and the errors that it logs."""
    page, errors = browser.new_page(viewport={"width": 1500, "height": 1500}), []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, timeout=120_000)
    page.wait_for_selector(".bk-Figure", timeout=60_000)
    yield page, errors
    page.close()


@contextlib.contextmanager
def served(*arguments):
    """The address of an app that a command serves."""
    command = [sys.executable, "-m", "jaxmom", *arguments, "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert "(this machine only; Ctrl-C ends it)" in line
            yield line.split("http://")[1].split()[0]
        finally:
            process.kill()


@pytest.fixture
def store(tmp_path):
    def train(beta, learning_rate, seed):
        problem = jm.problems.tutorial_quadratic()
        optimizer = jm.heavy_ball(learning_rate, beta)
        return jm.optimize(problem.loss, problem.params * (1 + seed), optimizer, 20, every=10)

    space = jm.grid(beta=[0.0, 0.5, 0.9], learning_rate=[0.01, 0.1, 9.0], seed=[0.0, 1.0])
    jm.sweep(train, space, width=18, store=tmp_path / "store", progress=False)
    return tmp_path / "store"


def test_the_explorer_loads_answers_a_brush_and_shows_curves(browser, store):
    with served("explore", str(store)) as address, opened(browser, f"http://{address}") as found:
        page, errors = found
        page.get_by_text("18 lanes").wait_for(timeout=60_000)
        assert page.get_by_text("6 diverged").count() >= 1
        boxes = [figure.bounding_box() for figure in page.locator(".bk-Figure").all()]
        left, top = boxes[0]["x"], boxes[0]["y"]
        page.mouse.move(left + 100, top + 200)
        page.get_by_text("train(beta=").first.wait_for(timeout=60_000)
        page.mouse.down()
        page.mouse.move(left + 160, top + 330, steps=5)
        page.mouse.up()
        page.get_by_text("selected").first.wait_for(timeout=60_000)
        page.mouse.click(left + 100, top + 300)
        page.get_by_text("jm.sweep(train, jm.grid(beta=[").first.wait_for(timeout=60_000)
        page.get_by_text("clear the selection").click()
        assert errors == []


def test_the_table_follows_a_brush(browser, tmp_path):
    """Also where it has as many rows as before."""

    def train(beta, learning_rate):
        return {"value": beta + learning_rate}

    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    space, store = jm.grid(beta=values, learning_rate=values), tmp_path / "store"
    jm.sweep(train, space, width=64, store=store, progress=False)
    with served("explore", str(store)) as address, opened(browser, f"http://{address}") as found:
        page, errors = found
        page.get_by_text("train(beta=0.1, learning_rate=0.1)").wait_for(timeout=60_000)
        box = page.locator(".bk-Figure").first.bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 440, box["y"] + 330, steps=3)
        page.mouse.up()
        page.locator("b", has_text="selected").first.wait_for(timeout=60_000)
        page.get_by_text("train(beta=0.1, learning_rate=0.1)").wait_for(
            state="detached", timeout=60_000
        )
        assert page.locator(".slick-row").count() >= 5
        assert errors == []


def test_a_sweep_that_runs_is_watched(browser, tmp_path):
    def train(beta):
        return {"value": beta**2}

    space = jm.grid(beta=[0.0, 0.1, 0.2, 0.3])
    store = tmp_path / "store"
    jm.sweep(train, space, width=2, store=store, part=(0, 2), progress=False)
    with served("explore", str(store)) as address, opened(browser, f"http://{address}") as found:
        page, errors = found
        page.get_by_text("2 missing").first.wait_for(timeout=60_000)
        page.locator("input[type=checkbox]").last.check()  # "read again every 5 s"
        jm.sweep(train, space, width=2, store=store, part=(1, 2), progress=False)
        page.get_by_text("4 ok").first.wait_for(timeout=60_000)
        assert errors == []


def test_a_saved_view_needs_no_server(browser, tmp_path):
    jm.explore(make_runs()).save(tmp_path / "view.html", best=0.1)
    with opened(browser, (tmp_path / "view.html").as_uri()) as (page, errors):
        page.get_by_text("120 lanes").first.wait_for(timeout=60_000)
        assert errors == []


def test_the_playground_loads_and_follows_a_slider(browser):
    with served("playground") as address, opened(browser, f"http://{address}") as (page, errors):
        page.get_by_text("jm.heavy_ball(learning_rate=0.1, beta=0.9)").wait_for(timeout=60_000)
        page.locator("select").first.select_option("gradient descent")
        page.get_by_text("jm.gradient_descent(learning_rate=0.1)").wait_for(timeout=120_000)
        page.get_by_text("copy as code").click()
        assert errors == []


def test_a_saved_playground_needs_no_server(browser, tmp_path):
    kinds = {"methods": ["heavy ball"], "betas": [0.0, 0.9], "learning_rates": [0.1, 0.2]}
    jm.playground().save(tmp_path / "page.html", **kinds)
    with opened(browser, (tmp_path / "page.html").as_uri()) as (page, errors):
        page.get_by_text("beta = 0.9").first.wait_for(timeout=60_000)
        page.get_by_text("jm.heavy_ball(learning_rate=0.2, beta=0.9)").wait_for(timeout=60_000)
        handle = page.locator(".noUi-handle").first
        handle.focus()
        handle.press("ArrowLeft")
        page.get_by_text("jm.heavy_ball(learning_rate=0.2, beta=0.0)").wait_for(timeout=60_000)
        assert errors == []


def test_the_server_answers_on_localhost_only(store):
    with served("explore", str(store)) as address:
        port = address.rstrip("/").split(":")[1]
        assert address.startswith("127.0.0.1:")
        tables = [pathlib.Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
        lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
        listening = {line[1] for line in lines if line[3] == "0A"}
        assert {at.split(":")[0] for at in listening if at.endswith(f":{int(port):04X}")} == {
            "0100007F"
        }
