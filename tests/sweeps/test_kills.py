"""Processes that are killed or interrupted: what is done stays, and the rest is the same bytes."""

import signal
import time

import numpy as np
import pytest
from scripts.launch import finish, output_of, start
from scripts.workload import CHUNKS, LONG_CHUNKS, parts, run, run_long

from jaxmom.sweeps import open_sweep
from jaxmom.sweeps.results.dataset import MISSING, OK


def arrays_of(store):
    runs = open_sweep(store).load()
    return {name: runs[name].values.tobytes() for name in [*runs, "status", "diverged_at"]}


def wait_for_parts(store, count, process):
    deadline = time.monotonic() + 60
    while len(parts(store)) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted")
    output_of(start("run_long", path))
    assert len(parts(path)) == LONG_CHUNKS
    return arrays_of(path)


@pytest.mark.slow
def test_twenty_kills_at_random_leave_the_same_bytes(tmp_path, uninterrupted):
    out = output_of(start("nursery", tmp_path, 7, 20), 300)
    lines = [line.split() for line in out.splitlines()]
    assert [killed for killed, _ in lines] == ["True"] * 20
    assert len({done for _, done in lines}) > 5  # at different places
    assert arrays_of(tmp_path) == uninterrupted


# The first file is the manifest, which is linked into its place; the following ones are parts,
# which are renamed. Each has two fsyncs.
STEPS = [
    ("write", 1, "half"),  # in the manifest
    ("link", 1, "before"),
    ("link", 1, "after"),  # between the manifest and the first part
    ("write", 2, "half"),  # in the first part
    ("fsync", 3, "before"),  # of its content
    ("fsync", 3, "after"),
    ("replace", 1, "before"),
    ("replace", 1, "after"),  # before the folder is forced to the disk
    ("fsync", 4, "before"),
    ("fsync", 4, "after"),
    ("write", 30, "half"),
]


@pytest.mark.slow
def test_death_at_any_step_of_writing_leaves_the_same_bytes(tmp_path, uninterrupted):
    for call, turn, moment in STEPS:
        store = tmp_path / f"{call}-{turn}-{moment}"
        process = start("die_at_step", store, call, turn, moment)
        _, errors = finish(process)
        assert process.returncode == -signal.SIGKILL, errors
        assert len(parts(store)) < LONG_CHUNKS
        output_of(start("run_long", store))
        assert arrays_of(store) == uninterrupted, (call, turn, moment)
        assert not list(store.rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_how_to_go_on_and_loses_nothing(tmp_path, uninterrupted, number):
    process = start("run_long", tmp_path)
    wait_for_parts(tmp_path, 3, process)
    process.send_signal(number)
    _, errors = finish(process, 60)
    assert process.returncode != 0
    done = len(parts(tmp_path))
    word = "interrupted" if number == signal.SIGINT else "terminated"
    message = f"{word}: {done} of {LONG_CHUNKS} chunks are in {tmp_path}; run the same call again"
    assert message in errors
    assert "This process ends when the chunk that is running has ended" in errors
    output_of(start("run_long", tmp_path))
    assert arrays_of(tmp_path) == uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_upon_signal_ends_it_and_loses_nothing(tmp_path, number):
    process = start("run_sweep", tmp_path / "store", "--length=100_000")
    wait_for_parts(tmp_path / "store", 2, process)
    sent, deadline = 0, time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline
        process.send_signal(number)
        sent += 1
        time.sleep(0.01)
    finish(process, 60)
    assert process.returncode != 0
    assert sent >= 1
    assert len(parts(tmp_path / "store")) < CHUNKS
    run(tmp_path / "store", 100_000)
    run(tmp_path / "alone", 100_000)
    assert parts(tmp_path / "store") == parts(tmp_path / "alone")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_second_driver_is_refused_and_the_first_goes_on(tmp_path, uninterrupted):
    process = start("run_long", tmp_path)
    wait_for_parts(tmp_path, 1, process)
    with pytest.raises(RuntimeError, match=rf"process {process.pid} on .* is running the sweep"):
        run_long(tmp_path)
    runs = open_sweep(tmp_path)  # readers are welcome
    assert set(np.unique(runs.status)) <= {MISSING, OK}
    output_of(process)
    assert (runs.status == OK).all()  # and see what has been done since
    assert arrays_of(tmp_path) == uninterrupted
