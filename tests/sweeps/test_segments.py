"""Sweeps in segments: the bits of whole runs, compaction, and what is safe within a lane."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripts.launch import finish, start
from scripts.run_segments import run as run_long
from scripts.workload import parts

import jaxmom as jm
from jaxmom.sweeps import grid, halving, open_sweep, sweep
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, OK
from jaxmom.sweeps.store.lanes import StoredLanes

SPACE = grid(rate=np.linspace(0.1, 3.0, 7), beta=[0.0, 0.5, 0.9], seed=range(2))
SEGMENTS = [10, 10, 20]


def optimize(begin, steps, rate, beta, nesterov=False):
    """Batches and a schedule, whose counts go on from segment to segment."""
    make = jm.nesterov if nesterov else jm.heavy_ball
    optimizer = make(jm.schedules.linear(rate, 0.5 * rate, steps=40), beta)

    def loss(x, batch):
        return jnp.sum(x**2) + batch @ x

    def batches(key, count):
        return 0.01 * jax.random.normal(key, (2,))

    return jm.optimize(
        loss, begin, optimizer, steps, batches=batches, key=jax.random.key(1), every=5
    )


def begin(seed):
    return jax.random.normal(jax.random.key(seed), (2,))


def segment(run, steps, rate, beta, seed, nesterov=False):
    run = optimize(begin(seed) if run is None else run, steps, rate, beta, nesterov)
    return run, run


@pytest.fixture(scope="module")
def whole():
    def fn(rate, beta, seed):
        return optimize(begin(seed), sum(SEGMENTS), rate, beta)

    return sweep(fn, SPACE, width=4)


@pytest.fixture(scope="module")
def expected():
    return sweep(segment, SPACE, width=4, segments=SEGMENTS)


def test_lanes_have_the_bits_of_whole_runs_until_they_leave(expected, whole):
    for name in ("status", "diverged_at", "step"):
        np.testing.assert_array_equal(expected[name], whole[name])
    ran = (expected.step <= expected.ended_at).transpose(*expected.value.dims).values
    is_frozen = (expected.diverged_at >= 0) & (expected.step > expected.diverged_at)
    kept = ran & ~is_frozen.transpose(*expected.value.dims).values
    np.testing.assert_array_equal(expected.value.values[kept], whole.value.values[kept])
    assert np.isnan(expected.value.values[~ran]).all()
    assert expected.value.dtype == whole.value.dtype
    ends = np.cumsum(SEGMENTS)
    at = expected.diverged_at.values
    ended = np.where(at < 0, ends[-1], ends[np.searchsorted(ends, np.maximum(at, 1))])
    np.testing.assert_array_equal(expected.ended_at.values, ended)
    assert 0 < (expected.status == DIVERGED).sum() < SPACE.size


def test_where_two_segments_meet_the_record_is_that_of_the_later_one():
    """It has the digits of a whole run's loop; the end of a segment is another program."""

    def marked(run, steps, rate):
        start = jnp.ones(()) if run is None else run
        run = jm.optimize(lambda x: x**2, start, jm.heavy_ball(rate), steps, every=2)
        ends = run.history["value"].at[-1].add(100.0)
        return run, run._replace(history={"value": ends})

    runs = sweep(marked, grid(rate=[0.1, 40.0]), width=2, segments=[4, 4, 4])
    assert runs.status.values.tolist() == [OK, DIVERGED]
    assert runs.step.values.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert (runs.value[0] > 50).values.tolist() == [False] * 6 + [True]
    plain = jm.optimize(lambda x: x**2, jnp.ones(()), jm.heavy_ball(40.0), 4, every=2)
    np.testing.assert_allclose(runs.value[1, :3] - plain.history["value"], [0, 0, 100], atol=1e-9)
    assert np.isnan(runs.value[1, 3:]).all()


def test_lanes_that_diverged_cost_no_more_than_their_first_segment():
    """Of 100 lanes 90 diverge at once: 10 % of the lane-steps, and the first segment."""
    ran = []

    def counting(state, steps, x):
        jax.debug.callback(lambda _: ran.append(steps), x)  # once for each lane of a program
        return x, {"value": jnp.where(x % 10 == 0, x, jnp.nan)}

    space, lengths = grid(x=np.arange(100.0)), [10] * 20
    runs = sweep(counting, space, width=5, segments=lengths)
    jax.effects_barrier()
    assert int((runs.status == OK).sum()) == 10
    assert sum(ran) == 100 * 10 + 10 * 190
    assert sum(ran) < 0.15 * 100 * 200
    assert runs.ended_at.values.tolist() == [200, *[10] * 9] * 10

    ran.clear()
    halving(counting, space, lengths, keep=1.0, width=5)
    jax.effects_barrier()
    assert sum(ran) == 100 * 10 + 10 * 190


def test_a_program_is_filled_with_lanes_of_other_chunks():
    sizes = []

    def watched(state, steps, x):
        spec = jax.ShapeDtypeStruct((), x.dtype)

        def look(x):
            sizes.append(len(np.unique(x)))
            return x

        state = jax.pure_callback(look, spec, x, vmap_method="expand_dims")
        return state, {"value": jnp.where(x % 3 == 1, x, jnp.nan)}

    sweep(watched, grid(x=np.arange(24.0)), width=4, segments=[1, 1])
    assert sorted(sizes) == [4] * 8  # six chunks, and two of the eight lanes that go on


def segment_of_many_kinds(state, steps, x, word, seed):
    count, y = (0, x) if state is None else state
    y = y + steps * (2.0 if word == "b" else 1.0)
    history = jnp.full((3,), y)
    return (count + 1, y), {"value": y, "own": history, "count": jnp.asarray(count), "seed": seed}


def test_other_outputs_have_their_last_values_in_every_group():
    def with_counts(state, steps, x, word):
        (count, y), outputs = segment_of_many_kinds(state, steps, x, word, 0)
        return (count, y), {name: outputs[name] for name in ("value", "own", "count")}

    runs = sweep(with_counts, grid(x=[1.0, 2.0, 3.0], word=["a", "b"]), width=2, segments=[2, 3])
    np.testing.assert_array_equal(runs.value, [[6.0, 11.0], [7.0, 12.0], [8.0, 13.0]])
    np.testing.assert_array_equal(runs["count"], np.ones((3, 2)))
    assert runs.own.dims == ("x", "word", "own_0")
    np.testing.assert_array_equal(runs.own, np.repeat(runs.value.values[..., None], 3, axis=-1))
    assert (runs.ended_at == 5).all()


class Killed(BaseException):
    """What no one catches."""


CLIMBED = grid(x=np.arange(14.0))


def climb(ran=None):
    """A segment that counts how often its program runs; every second lane diverges at once."""

    def fn(state, steps, x):
        if ran is not None:
            jax.debug.callback(lambda: ran.append(1))
        state = x if state is None else state + steps
        return state, {"value": jnp.where(x % 2 == 1, jnp.nan, state)}

    return fn


@contextlib.contextmanager
def killed_between_segments(monkeypatch, saves):
    """End what runs within at a number of saves between two segments, as a kill would."""
    save, left = StoredLanes.save, [saves]

    def saving(self, task, arrays):
        save(self, task, arrays)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StoredLanes, "save", saving)
        with pytest.raises(Killed):
            yield


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Return a store with lanes between two segments, and how often programs have run for it."""
    ran = []
    with killed_between_segments(monkeypatch, 6):
        sweep(climb(ran), CLIMBED, width=4, segments=[1] * 5, store=tmp_path / "killed")
    jax.effects_barrier()
    assert list((tmp_path / "killed" / "lanes").glob("*.npz"))
    return tmp_path / "killed", len(ran)


def test_what_ran_within_a_lane_is_safe_and_is_not_run_again(killed, tmp_path):
    store, before = killed
    ran, whole = [], []
    runs = sweep(climb(ran), CLIMBED, width=4, segments=[1] * 5, store=store)
    sweep(climb(whole), CLIMBED, width=4, segments=[1] * 5, store=tmp_path / "whole")
    jax.effects_barrier()
    assert len(whole) == 4 + 4 * 2
    assert before + len(ran) <= len(whole) + 3  # those that were in flight, and one not full
    np.testing.assert_array_equal(runs.value[::2], np.arange(0.0, 14.0, 2) + 4)
    assert parts(store) == parts(tmp_path / "whole")
    assert not (store / "lanes").exists()
    opened = open_sweep(store)
    assert opened.ended_at.values.tolist() == [5, 1] * 7


@pytest.mark.parametrize("how", ["cut", "empty", "other"])
def test_lanes_that_are_damaged_or_of_another_sweep_run_again(killed, how):
    store, _ = killed
    for path in store.glob("lanes/*.npz"):
        if how != "other":
            path.write_bytes(path.read_bytes()[:-3] if how == "cut" else b"")
    lengths = [1] * 5
    if how == "other":
        (store / "sweep.json").unlink(missing_ok=True)
        lengths = [2] * 5
    runs = sweep(climb(), CLIMBED, width=4, segments=lengths, store=store)
    np.testing.assert_array_equal(runs.value[::2], np.arange(0.0, 14.0, 2) + sum(lengths[1:]))
    assert not (store / "lanes").exists()


def test_lanes_of_a_chunk_that_is_done_are_forgotten(killed):
    store, _ = killed
    left = next(store.glob("lanes/*.npz"))
    content = left.read_bytes()
    sweep(climb(), CLIMBED, width=4, segments=[1] * 5, store=store)
    left.parent.mkdir()
    left.write_bytes(content)
    sweep(climb(), CLIMBED, width=4, segments=[1] * 5, store=store)
    assert not left.exists()
    left.parent.mkdir()
    left.write_bytes(content)
    sweep(lambda x: {"y": x}, CLIMBED, width=4, store=store, resume="fresh")
    assert not left.exists()


def test_lanes_of_another_extension_run_again(tmp_path, monkeypatch):
    """Two extensions of a store have the same number until one of them has a manifest."""
    rest = {"width": 4, "segments": [1] * 5, "store": tmp_path}
    sweep(climb(), grid(x=np.arange(4.0)), **rest)
    with killed_between_segments(monkeypatch, 2):
        sweep(climb(), CLIMBED, resume="extend", **rest)
    assert list(tmp_path.glob("lanes-1/*.npz"))
    other = grid(x=np.r_[np.arange(4.0), np.arange(20.0, 26.0)])
    runs = sweep(climb(), other, resume="extend", **rest)
    np.testing.assert_array_equal(runs.value[::2], other.labels(np.arange(10))["x"][::2] + 4)
    assert not list(tmp_path.glob("lanes*"))


def test_more_lanes_and_shares_of_a_job_array_run_in_segments(tmp_path):
    rest = {"width": 4, "segments": [1] * 3, "store": tmp_path}
    few = grid(x=np.arange(6.0))
    sweep(climb(), few, **rest)
    runs = sweep(climb(), CLIMBED, resume="extend", **rest)
    shared = rest | {"store": tmp_path / "shared"}
    for number in range(2):
        sweep(climb(), CLIMBED, part=(number, 2), **shared)
    for found in (runs, open_sweep(tmp_path / "shared")):
        np.testing.assert_array_equal(found.value[::2], np.arange(0.0, 14.0, 2) + 2)
        assert found.ended_at.values.tolist() == [3, 1] * 7


def test_kills_within_lanes_lose_a_segment_and_no_bit(tmp_path):
    expected = run_long(tmp_path / "whole")
    assert 0 < int((expected.status == DIVERGED).sum()) < 12
    for turn in range(2):
        process = start("run_segments", tmp_path / "killed")
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if len(list((tmp_path / "killed").glob("lanes/*.npz"))) > turn:
                break
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        finish(process)
    run_long(tmp_path / "killed")
    assert parts(tmp_path / "killed") == parts(tmp_path / "whole")


def by_threads():
    return concurrent.futures.ThreadPoolExecutor(2)


def by_processes():
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


@pytest.mark.parametrize("make", [by_threads, pytest.param(by_processes, marks=pytest.mark.slow)])
def test_any_executor_gives_the_same_bits_in_segments(make, expected):
    with make() as executor:
        runs = sweep(segment, SPACE, width=4, segments=SEGMENTS, executor=executor)
        halved = halving(segment, SPACE, SEGMENTS, width=4, executor=executor)
    for name in ("value", "status", "diverged_at", "ended_at"):
        np.testing.assert_array_equal(runs[name], expected[name])
    local = halving(segment, SPACE, SEGMENTS, width=4)
    for name in ("value", "status", "diverged_at", "rungs"):
        np.testing.assert_array_equal(halved[name], local[name])


def test_chunks_with_lanes_that_fail_are_recorded_and_others_go_on():
    def check(x, count):
        if (np.asarray(count) == 1).any() and (np.asarray(x) == 5).any():
            raise ArithmeticError("5 is refused")
        return x

    def failing(state, steps, x):
        count = jnp.zeros(()) if state is None else state + 1
        spec = jax.ShapeDtypeStruct((), x.dtype)
        x = jax.pure_callback(check, spec, x, count, vmap_method="expand_dims")
        return count, {"value": x}

    space = grid(x=np.arange(12.0))
    runs = sweep(failing, space, width=4, segments=[1, 1, 1], on_error="record")
    assert runs.status.values.tolist() == [OK] * 4 + [FAILED] * 4 + [OK] * 4
    with pytest.raises(Exception, match="5 is refused"):
        sweep(failing, space, width=4, segments=[1, 1, 1])


def test_chunks_are_shown_once_their_last_lane_has_ended(expected):
    seen = []
    sweep(segment, SPACE, width=4, segments=SEGMENTS, on_chunk=lambda *given: seen.append(given))
    assert sum(dataset.sizes["lane"] for dataset, _ in seen) == SPACE.size
    for dataset, _ in seen:
        there = expected.sel({name: dataset[name] for name in ("rate", "beta", "seed")})
        np.testing.assert_array_equal(dataset.value, there.value)
    assert seen[-1][1].lanes == SPACE.size


def other_outputs(state, steps, x):
    return x, {"value": x} if state is None else {"value": x, "more": x}


def other_state(state, steps, x):
    return (0 if state is None else 0.5), {"value": x}


def own_end(state, steps, x):
    return x, {"value": x, "ended_at": x}


def new_runs(state, steps, x):
    return x, jm.optimize(lambda y: y**2, x, jm.heavy_ball(0.1), steps)


REFUSED = {
    "auto": ({"width": "auto"}, "needs a number of lanes as width"),
    "narrow": ({"options": {"narrow": 3}}, "the option 'narrow' would let"),
    "none": ({"segments": []}, "segments are one positive number of updates"),
    "number": ({"segments": 3}, "segments are one positive number of updates"),
    "outputs": ({"fn": other_outputs}, "return the same outputs each time"),
    "state": ({"fn": other_state}, "the same structure, shapes and dtypes"),
    "ended_at": ({"fn": own_end}, "itself makes 'ended_at'"),
    "runs": ({"fn": new_runs}, "let each segment go on with the run of the one before"),
    "axis": ({"space": grid(ended_at=[1.0])}, r"the axes \['ended_at'\]"),
    "state as axis": ({"space": grid(state=[1.0])}, r"the axes \['state'\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_run_of_segments_is_refused_before_anything_runs(name):
    changed, message = REFUSED[name]
    given = {"fn": other_outputs, "space": grid(x=[1.0]), "width": 2, "segments": [2, 2]} | changed
    with pytest.raises(ValueError, match=message):
        sweep(**given)
