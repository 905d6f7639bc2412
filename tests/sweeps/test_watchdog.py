"""The watchdog: a sweep that stands still ends with a sentence, and no other sweep does."""

import dataclasses
import math
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripts.launch import finish, start
from scripts.workload import parts

from jaxmom._jaxpr import jaxlib_version
from jaxmom.sweeps import explain, grid, halving, open_sweep, sweep
from jaxmom.sweeps.compile import watchdog
from jaxmom.sweeps.compile.program import compile_group
from jaxmom.sweeps.estimate import as_devices, trace_groups
from jaxmom.sweeps.results.dataset import OK

SPACE = grid(x=np.arange(10.0))


def call_back(function, x):
    spec = jax.ShapeDtypeStruct((), x.dtype)
    return jax.pure_callback(function, spec, x, vmap_method="expand_dims")


@pytest.fixture
def blocked():
    """Return a function of a lane that waits at x = 6 until the test ends."""
    released = threading.Event()

    def look(x):
        if (x == 6).any():
            released.wait()
        return x

    yield lambda x: {"value": call_back(look, x)}
    released.set()


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_a_sweep_that_stands_still_ends_with_what_is_safe(tmp_path, blocked, on_error):
    with pytest.raises(RuntimeError, match="stands still at chunk 3 of all lanes") as caught:
        sweep(blocked, SPACE, width=2, store=tmp_path, stall_seconds=0.5, on_error=on_error)
    message = str(caught.value)
    for part in ("3 of 5 chunks are safe in the store", "no processor time", "smaller width"):
        assert part in message
    assert int((open_sweep(tmp_path).status == OK).sum()) == 6
    whole = sweep(lambda x: {"value": x}, SPACE, width=2)  # and JAX goes on working
    np.testing.assert_array_equal(whole.value, np.arange(10.0))


def test_without_a_store_it_says_that_nothing_is_kept(blocked):
    with pytest.raises(RuntimeError, match="none is kept without store="):
        sweep(blocked, SPACE, width=2, stall_seconds=0.5)


def test_a_width_that_is_tried_may_stand_still_as_well(monkeypatch, blocked):
    with pytest.raises(RuntimeError, match="stands still while it tries widths"):
        sweep(blocked, SPACE, stall_seconds=0.5)
    monkeypatch.setattr(watchdog.Dispatcher.__init__, "__defaults__", (0.5,))
    with pytest.raises(RuntimeError, match="stands still while it tries widths"):
        explain(blocked, grid(x=np.arange(1000.0)), width=10)


def test_programs_of_two_threads_run_at_the_same_time():
    both = threading.Barrier(2)

    def meet(x):
        both.wait(60)
        return x

    (group,) = trace_groups(lambda x: {"value": call_back(meet, x)}, SPACE)
    (program,) = compile_group(group, 2, jax.devices()[:1], {})
    dispatcher = watchdog.Dispatcher(jax.devices()[:1])
    columns = {"x": np.arange(2.0)}
    started = [
        dispatcher.start(dataclasses.replace(program, thread=thread), columns) for thread in (0, 1)
    ]
    for one in started:
        np.testing.assert_array_equal(dispatcher.wait(one)["value"], columns["x"])


def test_a_segment_that_stands_still_ends_with_those_that_are_done(tmp_path, blocked):
    def segment(state, steps, x):
        return (x, {"value": x}) if state is None else (x, blocked(x))

    with pytest.raises(RuntimeError, match="stands still in segment 2, after 1 that"):
        halving(segment, SPACE, [1, 2], 1.0, width=2, store=tmp_path, stall_seconds=0.5)
    assert len(parts(tmp_path)) == 1


def test_a_program_that_computes_or_is_given_the_time_does_not_stand_still():
    def rest(x):
        time.sleep(0.8)
        return x

    def compute(x):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            x = np.sort(x)
        return x

    for function, seconds in ((rest, math.inf), (rest, 10), (compute, 0.5)):
        runs = sweep(
            lambda x, function=function: {"value": call_back(function, x)},
            grid(x=np.arange(2.0)),
            width=2,
            stall_seconds=seconds,
        )
        assert runs.value.values.tolist() == [0.0, 1.0]


def test_a_process_that_was_stopped_has_not_stood_still(monkeypatch):
    """Time that passes while this process cannot look counts as one look."""
    clock = watchdog._IdleClock(limit=20.0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    clock.wait_once(lambda pause: None)
    assert clock.idle <= 2.0


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_the_time_to_wait_is_positive(seconds):
    with pytest.raises(ValueError, match="stall_seconds"):
        sweep(lambda x: {"value": x}, SPACE, width=2, stall_seconds=seconds)


def test_settings_of_a_thread_hold_in_the_thread_that_dispatches():
    with jax.enable_x64(False):
        runs = sweep(lambda x: {"value": x / 3}, grid(x=np.float32([1, 2])), width=2)
        assert runs.value.dtype == np.float32
    with jax.enable_x64(True):
        runs = sweep(lambda x: {"value": x / 3}, grid(x=[1.0, 2.0]), width=2)
    assert runs.value.dtype == np.float64
    np.testing.assert_array_equal(runs.value, np.array([1.0, 2.0]) / 3)


@pytest.mark.parametrize("kind", ["callback", "lapack"])
def test_the_process_ends_as_well(tmp_path, kind):
    """XLA's threads still wait; neither they nor Python's own end may keep the process."""
    process = start("stall", kind, tmp_path)
    output, errors = finish(process, 60)
    if kind == "lapack" and output == "done\n":
        assert process.returncode == 0  # the jaxlib or this number of cores has no deadlock
        if (0, 10) <= jaxlib_version() < (0, 11):
            pytest.skip("these calls did not meet")
        return
    assert process.returncode == 1
    assert "RuntimeError: the sweep stands still" in errors


def test_an_error_in_flight_does_not_abort_the_process(tmp_path):
    """Chunks that were started after the one that failed end before Python does."""
    for turn in range(3):
        process = start("failing_chunk", tmp_path / str(turn))
        _, errors = finish(process)
        assert process.returncode == 1, errors
        assert "29.0 is refused" in errors


def test_a_thousand_chunks_wait_in_no_thread_of_their_own():
    before = threading.active_count()
    sweep(lambda x: {"value": x + jnp.ones(())}, grid(x=np.arange(1000.0)), width=1)
    assert threading.active_count() <= before + len(as_devices(None))


def test_a_callback_sees_the_settings_of_the_thread_that_sweeps():
    seen = []

    def host(x):
        context = (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision)
        seen.append((*context, jnp.asarray(x).dtype))
        return np.asarray(x) / 3

    def fn(a):
        spec = jax.ShapeDtypeStruct((), a.dtype)
        return {"y": jax.pure_callback(host, spec, a, vmap_method="expand_dims")}

    given = np.array([0.1, 0.2, 0.7])
    with jax.enable_x64(True), jax.default_matmul_precision("float32"):
        runs = sweep(fn, grid(a=given), width=3)
        halved = halving(lambda _, n, a: (a, fn(a)), grid(a=given), [1], by="y", width=3)
    np.testing.assert_array_equal(runs.y, given / 3)
    np.testing.assert_array_equal(halved.y[:, 0], given / 3)
    assert set(seen) == {(True, "float32", np.dtype(np.float64))}


@pytest.mark.parametrize("given", ["20", None, True, 0, -1.0, float("nan")])
def test_what_is_no_time_to_wait_is_refused(given):
    with pytest.raises(ValueError, match="stall_seconds is a positive number"):
        sweep(lambda a: {"y": a}, grid(a=[1.0]), width=1, stall_seconds=given)
