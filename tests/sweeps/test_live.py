"""Live metrics: what a function sees after each chunk, and what becomes of a sweep if it fails."""

import concurrent.futures

import jax.numpy as jnp
import numpy as np
import pytest
from scripts.workload import refuse

import jaxmom as jm
from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.results.dataset import FAILED, OK

SPACE = grid(rate=[0.1, 0.2, 3.0], beta=[0.0, 0.5, 0.9])


def train(rate, beta):
    optimizer = jm.heavy_ball(rate, beta)
    return jm.optimize(lambda x: jnp.sum(x**2), jnp.ones(()), optimizer, 6, every=3)


def on_threads():
    return concurrent.futures.ThreadPoolExecutor(2)


@pytest.mark.parametrize("executor", [None, on_threads])
def test_the_chunks_are_the_lanes_of_the_result_with_their_names(executor):
    chunks, progress = [], []

    def on_chunk(dataset, now):
        chunks.append(dataset)
        progress.append(now)

    with (executor or concurrent.futures.ThreadPoolExecutor)() as workers:
        given = workers if executor else None
        runs = sweep(train, SPACE, width=4, executor=given, on_chunk=on_chunk)
    assert sorted(chunk.sizes["lane"] for chunk in chunks) == [1, 4, 4]
    for chunk in chunks:
        assert chunk.value.dims == ("lane", "step")
        there = runs.sel(rate=chunk.rate, beta=chunk.beta)
        for name in ("value", "status", "diverged_at", "step"):
            np.testing.assert_array_equal(chunk[name], there[name])
    assert [now.lanes for now in progress] == np.cumsum([c.sizes["lane"] for c in chunks]).tolist()
    assert {now.total for now in progress} == {9}
    assert progress[-1].diverged == int((runs.diverged_at >= 0).sum()) > 0
    assert progress[-1].seconds_left == 0 < progress[-1].seconds
    assert progress[0].seconds < progress[-1].seconds


def test_static_arguments_and_labels_are_coordinates_too():
    seen = []
    space = grid(x=[1.0, 2.0], twice=[True, False]) * grid(word=["a", "b"])

    def fn(x, twice, word):
        return {"y": x * (2 if twice else 1) + float(word == "b")}

    sweep(fn, space, width=2, on_chunk=lambda dataset, _: seen.append(dataset))
    rows = {(*map(str, (d.x[i].item(), d.twice[i].item(), d.word[i].item())),): d.y[i].item()
            for d in seen for i in range(d.sizes["lane"])}  # fmt: skip
    assert len(rows) == space.size
    assert rows["2.0", "True", "b"] == 5.0
    assert rows["1.0", "False", "a"] == 1.0


def test_an_error_in_it_ends_the_sweep_once_the_chunk_is_safe(tmp_path):
    def on_chunk(dataset, now):
        if now.lanes >= 8:
            raise OSError("the disk of the logs is full")

    with pytest.raises(OSError, match="the disk of the logs") as caught:
        sweep(train, SPACE, width=4, store=tmp_path, on_chunk=on_chunk, on_error="record")
    assert "This was on_chunk, after chunk 1" in caught.value.__notes__[-1]
    assert "2 of 3 chunks are done" in caught.value.__notes__[-1]
    assert int((open_sweep(tmp_path).status != 0).sum()) == 8
    seen = []
    sweep(train, SPACE, width=4, store=tmp_path, on_chunk=lambda *given: seen.append(given[1]))
    assert [(now.lanes, now.total) for now in seen] == [(9, 9)]


def test_chunks_that_fail_are_counted_and_not_shown():
    seen = []
    runs = sweep(
        refuse(5.0),
        grid(x=np.arange(12.0)),
        width=4,
        on_error="record",
        on_chunk=lambda dataset, now: seen.append((dataset.x.values.tolist(), now.failed)),
    )
    assert runs.status.values.tolist() == [OK] * 4 + [FAILED] * 4 + [OK] * 4
    assert [failed for _, failed in seen] == [0, 4]
    assert [lanes[0] for lanes, _ in seen] == [0.0, 8.0]


def test_what_cannot_be_called_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="on_chunk is a function"):
        sweep(lambda rate, beta: 1 / 0, SPACE, on_chunk="print")
