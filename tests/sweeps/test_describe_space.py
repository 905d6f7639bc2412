"""What a space and a sweep show of themselves in a console and in a notebook."""

import pytest

import jaxmom as jm


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (jm.grid(beta=[0.0, 0.9]), "grid(beta=[0.0, 0.9])  # 2 lanes"),
        (
            jm.grid(beta=jm.memory(1, 1000).points(10_000)) * jm.grid(nesterov=[False, True]),
            "grid(beta=[0.0, ... 10,000 values ..., 0.999]) * grid(nesterov=[False, True])"
            "  # 20,000 lanes",
        ),
        (jm.paired(a=[1, 2], b=[3.0, 4.0]), "paired(a=[1, 2], b=[3.0, 4.0])  # 2 lanes"),
        (
            jm.sample(64, beta=jm.memory(1, 1e4), rate=[1, 2]),
            "sample(64, beta=memory(1, 10000), rate=[1, 2])  # 64 lanes",
        ),
        (
            jm.grid(a=[1.0]) + jm.grid(a=[2.0]) * jm.grid(b=[1, 2]),
            "(grid(a=[1.0]) + grid(a=[2.0]) * grid(b=[1, 2]))  # 3 lanes",
        ),
        (jm.grid(fn={"first": max, "second": min}), "grid(fn=['first', 'second'])  # 2 lanes"),
    ],
    ids=["short", "long", "paired", "sample", "union", "labels"],
)
def test_a_space_prints_as_it_was_made(space, shown):
    assert repr(space) == shown
    assert f"<td>{space.components[0].dim}</td>" in space._repr_html_()


_CELL = """
import jaxmom as jm
jm.sweep(lambda beta: {"value": beta}, jm.grid(beta=[0.1, 0.2, 0.3]), width=1)
"""


@pytest.mark.slow
def test_a_sweep_in_a_notebook_shows_a_bar():
    nbclient = pytest.importorskip("nbclient", reason="the extra docs runs notebooks")
    nbformat = pytest.importorskip("nbformat", reason="the extra docs runs notebooks")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_CELL)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = str(notebook.cells[0].outputs)
    assert "3.00/3.00" in outputs
    assert "lanes/s" in outputs
