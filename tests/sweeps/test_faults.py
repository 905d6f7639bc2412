"""Faults of the world around a sweep: full disks, forks, signals, little memory, odd arguments.

The list of tests in section 5 of the reference on sweeps is kept by this file and its neighbors,
test_store.py, test_engine.py, test_executors.py, test_space.py and
test_results.py. What is left out, and why:

* 2, workers that share a store: the design has one driver, which writes, and an executor; so a
  worker that dies or is late is the executor's, and a second driver is refused.
* 3, a disk that fails while it is read: the error of the system names the file, and that is all.
* 9, a width that shrinks after the first part: it would change the bits; such a chunk fails.
* 15, a second Ctrl-C within a chunk: XLA cannot be interrupted, and it ends with the chunk.
* 16, several processes in one SPMD program: the design has an executor in place of it, since one
  process that dies would end all others.
* 17, pytest-xdist: it is no dependency; processes that are spawned are tested here.
"""

import builtins
import concurrent.futures
import errno
import fcntl
import importlib
import itertools
import json
import multiprocessing
import os
import pathlib
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxmom as jm
from jaxmom import cli
from jaxmom.sweeps import explain, grid, halving, open_sweep, paired, sample, sweep, uniform
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, MISSING, OK
from jaxmom.sweeps.space.axes import RESERVED
from jaxmom.sweeps.store.files import Store

HERE = pathlib.Path(__file__).parent
WIDTH = 8


def make(length=20):
    def fn(x, seed):
        def step(y, _):
            return jnp.sin(y) + x + 0.1 * seed.astype(y.dtype), y

        y, history = jax.lax.scan(step, x, length=length)
        return {"y": y, "history": history[:: length // 10]}

    return fn


SPACE = grid(x=np.linspace(0, 1, 20), seed=range(2))
CHUNKS = 5


def run(store=None, length=20, **options):
    return sweep(make(length), SPACE, width=WIDTH, store=store, progress=False, **options)


def parts(store):
    """The bytes of what is done."""
    return {path.name: path.read_bytes() for path in pathlib.Path(store).glob("parts/*.npz")}


def same(ours, theirs):
    return ours.load().drop_attrs().identical(theirs.load().drop_attrs())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("expected")
    run(path)
    assert len(parts(path)) == CHUNKS
    return path


SETTING = f"""
import os, sys, time
sys.path.insert(0, {str(HERE)!r})
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
"""


def start_script(body, *arguments, **options):
    command = [sys.executable, "-c", SETTING + body, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, text=True, start_new_session=True, **streams)


def output_of(process, timeout=120):
    """What a process printed; if it hangs, it and its children are killed."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"it hangs:\n{out}\n{err}")
    assert process.returncode == 0, err
    return out


# 2. Drivers


def test_a_driver_that_starts_late_finds_all_done(tmp_path, expected):
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert same(run(tmp_path), run())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == times


def without_locks(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")  # as some network folders say


def test_a_folder_without_locks_is_written_and_nobody_loses_a_file(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(fcntl, "flock", without_locks)
    run(tmp_path)
    assert parts(tmp_path) == parts(expected)
    of_another = tmp_path / "parts/.0-0.npz.123.tmp"
    of_another.write_bytes(b"half a part")
    run(tmp_path)
    assert of_another.exists()


TWIN = """
from test_faults import run
sys.modules["fcntl"] = None
print("ready", flush=True)
sys.stdin.readline()
run(sys.argv[1], 20_000)
"""


def test_two_drivers_where_there_are_no_locks_do_the_same_twice(tmp_path):
    twins = [start_script(TWIN, tmp_path / "store", stdin=subprocess.PIPE) for _ in range(2)]
    for twin in twins:
        assert twin.stdout.readline() == "ready\n"
    for twin in twins:
        twin.stdin.write("go\n")
        twin.stdin.flush()
    for twin in twins:
        output_of(twin)
    run(tmp_path / "alone", 20_000)
    assert parts(tmp_path / "store") == parts(tmp_path / "alone")
    assert len(list((tmp_path / "store").glob("sweep*.json"))) == 1


# 3. Disks


def file_names(store):
    """In the order of writing."""
    return [store / "sweep.json", *(store / f"parts/0-{chunk}.npz" for chunk in range(CHUNKS))]


def assert_whole(store, count):
    assert len(parts(store)) == count
    assert not list(store.rglob("*.tmp"))
    if count:
        assert int((open_sweep(store).status == OK).sum()) == count * WIDTH


@pytest.mark.parametrize(("number", "on_error"), [(0, "raise"), (1, "record"), (3, "raise")])
def test_a_full_device_is_told_by_name_and_nothing_partial_is_seen(
    tmp_path, monkeypatch, expected, number, on_error
):
    turns = itertools.count()

    def opened(path, mode="r", **options):
        if mode == "wb" and next(turns) == number:
            os.symlink("/dev/full", path)
        return builtins.open(path, mode, **options)

    store_module = importlib.import_module("jaxmom.sweeps.store.files")
    monkeypatch.setattr(store_module, "open", opened, raising=False)
    with pytest.raises(OSError, match="Make room or choose another folder") as caught:
        run(tmp_path, on_error=on_error)
    assert caught.value.errno == errno.ENOSPC
    assert f"cannot write {file_names(tmp_path)[number]} (No space left" in str(caught.value)
    assert_whole(tmp_path, max(number - 1, 0))
    run(tmp_path)
    assert parts(tmp_path) == parts(expected)
    assert os.path.exists("/dev/full")


@pytest.mark.parametrize(
    ("turn", "number", "done"),
    # Two turns for each file: its content, and then the folder, when the file is there and whole.
    [
        (0, errno.ENOSPC, 0),
        (1, errno.EIO, 0),
        (2, errno.EIO, 0),
        (3, errno.ENOSPC, 1),
        (6, errno.ENOSPC, 2),
        (7, errno.EIO, 3),
    ],
)
def test_a_disk_that_cannot_be_forced_is_told_by_name_and_nothing_partial_is_seen(
    tmp_path, monkeypatch, expected, turn, number, done
):
    turns, fsync, seen = itertools.count(), os.fsync, []

    def failing(descriptor):
        if next(turns) == turn:
            seen.append(len(parts(tmp_path)))
            raise OSError(number, os.strerror(number))
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="run the same call again") as caught:
        run(tmp_path)
    assert caught.value.errno == number
    assert f"{file_names(tmp_path)[turn // 2]} ({os.strerror(number)})" in str(caught.value)
    assert_whole(tmp_path, done)
    assert seen == [done]  # what is not on the disk yet has another name
    run(tmp_path)
    assert parts(tmp_path) == parts(expected)


SMALL_DISK = """
import subprocess
from test_faults import parts, run
disk, beside = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20k", "none", disk], check=True)
store = disk + "/store"
for _ in range(2):  # the second time there is no room from the beginning
    try:
        run(store)
    except OSError as error:
        print(error.errno, len(parts(store)), error)
subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
run(store)
run(beside)
print(parts(store) == parts(beside))
"""


def can_mount():
    try:
        command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="a disk of one's own needs user namespaces")
def test_a_real_disk_that_is_full_loses_nothing(tmp_path):
    (tmp_path / "disk").mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", SETTING + SMALL_DISK]
    process = subprocess.Popen(
        [*command, tmp_path / "disk", tmp_path / "beside"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first, second, equal = output_of(process).splitlines()
    number, done, told = first.split(maxsplit=2)
    assert int(number) == errno.ENOSPC
    assert 0 < int(done) < CHUNKS
    assert f"cannot write {tmp_path}/disk/store/parts/0-{done}.npz" in told
    assert second == first
    assert equal == "True"


def test_what_is_done_is_returned_even_if_nothing_can_be_written(tmp_path, expected):
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        runs = run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(runs, open_sweep(expected))


# 5 and 6. Neighbors and order


def test_infinite_neighbors_change_no_bit():
    def descend(x, rate):
        return jm.optimize(lambda p: p**2, x, jm.heavy_ball(rate, 0.5), 10, every=5)

    x, rate = np.linspace(1, 2, 20), np.linspace(0.1, 0.3, 20)
    well = np.arange(20) % 3 > 0
    healthy = sweep(descend, paired(x=x, rate=rate), width=WIDTH)
    runs = sweep(descend, paired(x=x, rate=np.where(well, rate, np.inf)), width=WIDTH)
    np.testing.assert_array_equal(runs.value[well], healthy.value[well])
    np.testing.assert_array_equal(runs.status, np.where(well, OK, DIVERGED))


class Backwards(concurrent.futures.Executor):
    """Does what it was given last first, once someone waits."""

    def __init__(self):
        self.left, self.order = [], []

    def submit(self, fn, *args):
        future = concurrent.futures.Future()
        future.result = lambda: self._finish() or concurrent.futures.Future.result(future)
        self.left.append((future, fn, args))
        return future

    def _finish(self):
        while self.left:
            future, fn, args = self.left.pop()
            self.order.append(float(args[1]["x"][0]))
            future.set_result(fn(*args))


def test_bits_do_not_depend_on_the_order_of_the_chunks(tmp_path, expected):
    executor = Backwards()
    run(tmp_path, executor=executor)
    assert executor.order == sorted(executor.order, reverse=True)
    assert len(executor.order) == CHUNKS
    assert parts(tmp_path) == parts(expected)


SPLIT = """
jax.config.update("jax_num_cpu_devices", 3)
from test_faults import run
assert run(sys.argv[1]).attrs["devices"] == 3
"""


def test_bits_do_not_depend_on_which_chunks_are_computed_together(tmp_path, expected):
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    for chunk in (0, 2, 4):
        (tmp_path / f"parts/0-{chunk}.npz").unlink()
    output_of(start_script(SPLIT, tmp_path))
    assert parts(tmp_path) == parts(expected)


# 7. Segments and records


def segment(carry, steps, beta, learning_rate):
    optimizer = jm.heavy_ball(learning_rate, beta)
    params, state = (jnp.ones(3), optimizer.init(jnp.ones(3))) if carry is None else carry

    def value(x):
        return jnp.sum(jnp.array([4.0, 1.0, 0.1]) * x**4)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(value)(params), state, params)
        return (params + updates, state), None

    carry, _ = jax.lax.scan(step, (params, state), length=steps)
    return carry, {"value": value(carry[0])}


SEGMENTED = paired(beta=np.linspace(0, 0.9, 11), learning_rate=np.linspace(0.01, 0.05, 11))


def test_segments_with_the_state_on_the_host_in_between_are_one_scan():
    whole = halving(segment, SEGMENTED, [24], keep=1.0, width=4)
    runs = halving(segment, SEGMENTED, [3, 8, 12, 1], keep=1.0, width=4)
    np.testing.assert_array_equal(runs.value.isel(step=-1), whole.value.isel(step=-1))
    other = halving(segment, SEGMENTED, [23], keep=1.0, width=4)
    assert (runs.value.isel(step=-1) != other.value.isel(step=-1)).all()


def test_thinned_records_are_slices_of_all_records_to_the_last_bit():
    def train(every, beta, learning_rate):
        def value(x):
            return jnp.sum(jnp.array([4.0, 1.0, 0.1]) * x**4)

        optimizer = jm.nesterov(learning_rate, beta)
        return jm.optimize(value, jnp.ones(3), optimizer, 24, every=every)

    everything = sweep(lambda **axes: train(1, **axes), SEGMENTED, width=4)
    for every in (4, 5):
        thinned = sweep(lambda every=every, **axes: train(every, **axes), SEGMENTED, width=4)
        at = thinned.step.values
        np.testing.assert_array_equal(thinned.value, everything.value.sel(step=at))
        assert at[-1] == 24


# 9. Memory


LITTLE_MEMORY = """
import resource
from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.compile.memory import is_out_of_memory
from test_faults import parts
def fn(x):
    wave = jnp.arange(2.0**19) * x  # a carry of 4 MB in each lane
    return {"y": jax.lax.fori_loop(0, 3, lambda i, y: jnp.roll(y, i), wave)[5]}
store, space = sys.argv[1], grid(x=np.arange(1.0, 129.0))
sweep(fn, space, width=64, store=store, progress=False)
whole = parts(store)
os.unlink(f"{store}/parts/0-1.npz")
free = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (free + (200 << 20), before[1]))
try:
    sweep(fn, space, width=64, store=store, progress=False)
except jax.errors.JaxRuntimeError as error:
    print(is_out_of_memory(error), error.__notes__[-1])
print(np.unique(open_sweep(store).status[:64]), np.unique(open_sweep(store).status[64:]))
print(sweep(fn, grid(x=[2.0, 3.0]), width=2).y.values)
resource.setrlimit(resource.RLIMIT_AS, before)
runs = sweep(fn, space, width=64, store=store, progress=False)
print(parts(store) == whole, runs.attrs["width"])
"""


def test_out_of_memory_after_the_first_part_keeps_the_width_and_what_is_done(tmp_path):
    told, status, usable, end = output_of(start_script(LITTLE_MEMORY, tmp_path)).splitlines()
    assert told.startswith("True This was chunk 1 of all lanes; 1 of 2 chunks are done")
    assert status == f"[{OK}] [{MISSING}]"
    assert usable == "[4. 6.]"
    assert end == "True 64"


LARGE_RESULT = """
import resource
from jaxmom.sweeps import grid, open_sweep, sweep
def fn(x):
    return {"history": x + jnp.arange(20_000.0)}
def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(lanes, **where):
    return sweep(fn, grid(x=np.arange(lanes)), width=50, progress=False, **where)
store = sys.argv[1]
run(100.0, store=store + "/small").load()
before = rss()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = size + (700 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
runs = run(10_000.0, store=store + "/large")
assert (runs.status == 1).all()
again = run(10_000.0, store=store + "/large")  # which looks at every part
runs = open_sweep(store + "/large")
np.testing.assert_array_equal(runs.history.isel(history_0=-1), np.arange(10_000) + 19_999.0)
np.testing.assert_array_equal(runs.history.sel(x=7_777.0), 7_777 + np.arange(20_000.0))
print(runs.history.nbytes, limit - size, rss() - before)
try:
    run(10_000.0)
except MemoryError:
    print("too large")
"""


@pytest.mark.slow
def test_a_result_that_is_larger_than_the_memory_runs_with_a_store(tmp_path):
    try:
        numbers, control = output_of(start_script(LARGE_RESULT, tmp_path), 500).splitlines()
    finally:
        shutil.rmtree(tmp_path)
    size, limit, grown = map(int, numbers.split())
    assert size >= 1.5e9
    assert size > 2 * limit
    assert grown < 200e6
    assert control == "too large"


STREAM = """
import resource
from jaxmom.sweeps import grid, open_sweep, sweep
def fn(a, b):
    return {"y": a + 1e-4 * b}
def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(many, store):
    space = grid(a=np.arange(many), b=np.arange(4000.0))
    return sweep(fn, space, width=2**15, store=store, progress=False)
run(20.0, sys.argv[1] + "/few").load()
before = rss()
runs = run(2500.0, sys.argv[1] + "/many")
np.testing.assert_allclose(runs.y.isel(b=7), np.arange(2500) + 7e-4, rtol=1e-14)
print(runs.y.size, runs.y.nbytes, rss() - before)
"""


@pytest.mark.slow
def test_ten_million_lanes_stream_into_a_store(tmp_path):
    try:
        numbers = output_of(start_script(STREAM, tmp_path), 500)
    finally:
        shutil.rmtree(tmp_path)
    lanes, size, grown = map(int, numbers.split())
    assert lanes == 10**7
    assert grown < size / 2


def test_a_hundred_million_lanes_are_planned_without_a_list_of_them():
    fn = make()
    explain(fn, SPACE, width=WIDTH)  # imports and caches are not the plan's
    tracemalloc.start()
    plan = explain(fn, grid(x=np.linspace(0, 1, 10_000), seed=range(10_000)), width=WIDTH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (plan.lanes, plan.chunks) == (10**8, 10**8 // WIDTH)
    assert peak < 20e6


# 10. Odd arguments


def descent(beta, learning_rate):
    optimizer = jm.heavy_ball(learning_rate, beta)
    return jm.optimize(lambda x: jnp.sum(x**2), jnp.ones(2), optimizer, 30, every=10)


def test_inadmissible_hyperparameters_diverge_or_not_as_in_a_plain_loop():
    space = grid(beta=[1.0, -0.5, -2.0, np.nan], learning_rate=[0.0, 0.1, np.inf])
    runs = sweep(descent, space, width=5)
    alone = jax.jit(descent)
    at = [int(alone(**lane).diverged_at) for lane in space]
    np.testing.assert_array_equal(runs.diverged_at.values.ravel(), at)
    assert runs.status.sel(learning_rate=np.inf).values.tolist() == [DIVERGED] * 4
    assert runs.status.sel(learning_rate=0.0, beta=[1.0, -0.5]).values.tolist() == [OK] * 2
    assert int(runs.status.sel(learning_rate=0.1, beta=-2.0)) == DIVERGED


def test_integers_where_floats_are_meant_are_those_floats():
    ints = sweep(descent, grid(beta=[0, 1], learning_rate=[1, 2]), width=4)
    floats = sweep(descent, grid(beta=[0.0, 1.0], learning_rate=[1.0, 2.0]), width=4)
    np.testing.assert_array_equal(ints.value, floats.value)
    np.testing.assert_array_equal(ints.status, floats.status)


def test_an_axis_of_strings_makes_groups_and_arrives_as_strings():
    def fn(x, rule):
        return {"y": {"double": 2, "halve": 0.5}[rule] * x}

    runs = sweep(fn, grid(x=[1.0, 2.0], rule=["halve", "double"]), width=2)
    np.testing.assert_array_equal(runs.y.sel(rule="double"), [2, 4])
    np.testing.assert_array_equal(runs.y.sel(rule="halve"), [0.5, 1])
    with pytest.raises(KeyError, match="treble") as caught:
        sweep(fn, grid(x=[1.0], rule=["halve", "treble"]), width=1)
    assert any("'rule': 'treble'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", [*RESERVED, "not a name"])
def test_names_that_the_result_needs_are_no_axes(name):
    for space in (grid, paired):
        with pytest.raises(ValueError, match="name of an argument and none of"):
            space(**{name: [1.0]})
    with pytest.raises(ValueError, match="name of an argument and none of"):
        sample(4, **{name: [1.0, 2.0]})
    with pytest.raises(ValueError, match=f"none of .*{name}"):
        sample(4, **{name: uniform(0, 1)})


# 11. Functions that fail


def refuse_29(x):
    if (x == 29).any():
        raise ArithmeticError("29 is refused")
    return x


def run_to_29(store, on_error):
    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": 2 * jax.pure_callback(refuse_29, spec, x, vmap_method="expand_dims")}

    return sweep(fn, grid(x=np.arange(40.0)), width=4, store=store, on_error=on_error)


SEVENTH = """
from test_faults import run_to_29
run_to_29(sys.argv[1], "raise")
"""


def test_a_chunk_that_fails_alone_is_in_the_exit_code_or_in_the_store(tmp_path, capsys):
    process = start_script(SEVENTH, tmp_path)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "29 is refused" in told
    assert "This was chunk 7 of all lanes; 7 of 10 chunks are done" in told
    assert sorted(parts(tmp_path)) == [f"0-{chunk}.npz" for chunk in range(7)]
    runs = run_to_29(tmp_path, "record")
    np.testing.assert_array_equal(runs.status == FAILED, runs.x // 4 == 7)
    assert sorted(parts(tmp_path)) == [f"0-{chunk}.npz" for chunk in range(10) if chunk != 7]
    failure = json.loads((tmp_path / "failed/0-7.json").read_text())
    assert "29 is refused" in failure["message"]
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "9 of 10 chunks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outputs", "told"),
    [(lambda x: {"y": "text"}, "not a valid JAX type"), (lambda x: None, "needs a Trajectory")],
)
def test_what_is_no_array_is_refused_at_once(outputs, told):
    with pytest.raises(TypeError, match=told) as caught:
        sweep(outputs, grid(x=[1.0, 2.0]), width=2, on_error="record")
    assert any("tracing lanes of {'x'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float32", "complex64", "bool", "uint8", "int64"]
)
def test_every_dtype_comes_back_from_a_store(tmp_path, dtype):
    def fn(x):
        return {"y": jnp.stack([x, x + 1]).astype(dtype), "none": jnp.zeros((0,))}

    space = grid(x=[0.0, 1.0, 2.0])
    runs = sweep(fn, space, width=2, store=tmp_path)
    assert runs.y.dtype == jnp.dtype(dtype)
    kept = sweep(fn, space, width=2)
    assert runs.load().y.values.tobytes() == kept.y.values.tobytes()
    assert runs.drop_vars("y").drop_attrs().identical(kept.drop_vars("y").drop_attrs())
    (tmp_path / "parts/0-1.npz").unlink()
    missing = open_sweep(tmp_path)
    assert missing.status.values.tolist() == [OK, OK, MISSING]
    assert missing.y.load().dtype == jnp.dtype(dtype)


# 13. Another sweep


def affine(offset):
    return lambda x, seed: {"y": x, "seed_squared": seed**2, "sum": jnp.sum(jnp.asarray(offset))}


SAME = {"x": [1.0, 2.0], "seed": range(2)}


@pytest.fixture(scope="module")
def affine_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("affine")
    sweep(affine(np.arange(5000.0)), grid(**SAME), width=4, store=path)
    return path


@pytest.mark.parametrize(
    ("offset", "axes", "told"),
    [
        (0.0, {"seed": range(1, 3)}, "space.seed: was 2 values, 0 ... 1"),
        (0.0, {"x": np.float32([1, 2])}, r"space.x: was 2 values, 1 ... 2 \(float64"),
        (1e-9, {}, r"function \(all lanes\): was"),
    ],
)
def test_another_seed_or_dtype_or_number_in_the_function_is_refused(
    affine_store, offset, axes, told
):
    numbers = np.arange(5000.0)
    numbers[2500] += offset
    space = grid(**{**SAME, **axes})
    with pytest.raises(ValueError, match=told):
        sweep(affine(numbers), space, width=4, store=affine_store)
    sweep(affine(np.arange(5000.0)), grid(**SAME), width=4, store=affine_store)


def test_other_data_in_a_partial_are_refused(tmp_path):
    def fn(data, x):
        return {"y": jnp.sum(data) * x}

    space, data = grid(x=[1.0, 2.0]), np.arange(5.0)
    sweep(Partial(fn, data), space, width=2, store=tmp_path)
    with pytest.raises(ValueError, match=r"function \(all lanes\): was"):
        sweep(Partial(fn, data + 1e-9), space, width=2, store=tmp_path)


@pytest.mark.parametrize(
    ("table", "field"), [("versions", "jaxlib"), ("settings", "jax_default_prng_impl")]
)
def test_another_version_or_setting_is_refused_by_name(tmp_path, affine_store, table, field):
    shutil.copytree(affine_store, tmp_path, dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "sweep.json").read_text())
    now = manifest["identity"][table][field]
    manifest["identity"][table][field] = "0.0.1"
    Store(tmp_path).add_manifest(0, manifest)
    with pytest.raises(ValueError, match=f"{table}.{field}: was 0.0.1, is {now}"):
        sweep(affine(np.arange(5000.0)), grid(**SAME), width=4, store=tmp_path)


# 14. Paths


def test_a_relative_path_is_that_of_the_folder_in_which_it_was_said(
    tmp_path, monkeypatch, expected
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    runs = run("store")
    opened = open_sweep("store")
    monkeypatch.chdir("elsewhere")
    assert same(runs, open_sweep(expected))
    assert same(opened, open_sweep(expected))


# 15. Signals


STORM = """
from test_faults import run
run(sys.argv[1], 100_000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_upon_signal_ends_it_and_loses_nothing(tmp_path, number):
    process = start_script(STORM, tmp_path / "store")
    deadline = time.monotonic() + 60
    while len(parts(tmp_path / "store")) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    sent = 0
    while process.poll() is None:
        assert time.monotonic() < deadline
        process.send_signal(number)
        sent += 1
        time.sleep(0.01)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert sent >= 1
    assert len(parts(tmp_path / "store")) < CHUNKS
    run(tmp_path / "store", 100_000)
    run(tmp_path / "alone", 100_000)
    assert parts(tmp_path / "store") == parts(tmp_path / "alone")
    assert not list(tmp_path.rglob("*.tmp"))


CALLS = []


def refuse_the_first(x):
    CALLS.append(x)
    if len(CALLS) == 1:
        raise ArithmeticError("the first is refused")
    time.sleep(0.1)
    return x


def test_after_an_error_an_executor_does_not_go_on_with_what_is_left():
    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": jax.pure_callback(refuse_the_first, spec, x, vmap_method="expand_dims")}

    with (
        concurrent.futures.ThreadPoolExecutor(1) as executor,
        pytest.raises(jax.errors.JaxRuntimeError, match="first is refused"),
    ):
        sweep(fn, grid(x=np.arange(30.0)), width=1, executor=executor)
    assert 1 <= len(CALLS) < 10


# 17. Processes


def swept_elsewhere(length):
    jax.config.update("jax_enable_x64", True)
    return run(length=length).y.values


def test_a_process_that_is_spawned_sweeps_with_the_same_bits(expected):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        y = executor.submit(swept_elsewhere, 20).result(timeout=120)
    np.testing.assert_array_equal(y, open_sweep(expected).y)


FORKS = """
import concurrent.futures, multiprocessing, warnings
from test_faults import run

def in_a_fork():
    pid = os.fork()
    if pid == 0:
        try:
            print(run().y.values[1, 1], flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

in_a_fork()  # before JAX has threads
print(run().y.values[1, 1], flush=True)
warnings.simplefilter("ignore")  # JAX itself warns
in_a_fork()
context = multiprocessing.get_context("fork")
with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
    try:
        run(executor=executor)
    except RuntimeError as error:
        print(error)
"""


def test_what_is_forked_after_jax_has_started_says_so_and_does_not_hang():
    early, own, *told = output_of(start_script(FORKS), 60).splitlines()
    assert float(early) == float(own)
    assert len(told) == 2  # of the driver, and of the worker
    assert all('start processes by multiprocessing.get_context("spawn")' in one for one in told)


# 18. Any space


def any_space(rng):
    """A product of two to four factors, of which one is a union."""
    names = iter("abcdefgh")

    def numbers():
        return np.unique(rng.normal(size=rng.integers(1, 5)))

    def factor():
        kind = rng.integers(4)
        if kind == 0:
            return paired(**dict.fromkeys((next(names), next(names)), numbers()))
        if kind == 1:
            count = int(rng.integers(1, 9))
            return sample(count, method="halton", **{next(names): uniform(-1, 1)})
        if kind == 2:
            name = next(names)
            return grid(**{name: numbers()}) + grid(**{name: numbers()})
        return grid(**{next(names): numbers()})

    space = factor()
    for _ in range(rng.integers(1, 3)):
        space = space * factor()
    return space * grid(flag=[True, False]) if rng.integers(2) else space


@pytest.mark.parametrize("seed", range(6))
def test_lanes_of_any_space_come_back_each_in_its_place(seed, tmp_path):
    rng = np.random.default_rng(seed)
    space = any_space(rng)

    def fn(flag=None, **axes):
        return {f"of_{name}": value for name, value in axes.items()}

    width = int(rng.integers(1, space.size + 3))
    labels = space.labels(np.arange(space.size))
    for runs in (sweep(fn, space, width=width), sweep(fn, space, width=width, store=tmp_path)):
        assert runs.status.size == space.size
        assert (runs.status == OK).all()
        for name in set(space.names) - {"flag"}:
            np.testing.assert_array_equal(runs[f"of_{name}"].values.ravel(), labels[name])
    sizes = [len(np.load(path)["status"]) for path in (tmp_path / "parts").glob("*.npz")]
    assert sum(sizes) == space.size


# 20. Bars


NO_TQDM = """
sys.modules["tqdm"] = None
from test_faults import run
for shown in (False, True):
    from jaxmom.sweeps import sweep
    from test_faults import SPACE, WIDTH, make
    runs = sweep(make(), SPACE, width=WIDTH, progress=shown, store=sys.argv[1] + str(shown))
print("done")
"""
BAR = """
from jaxmom.sweeps import sweep
from test_faults import SPACE, WIDTH, make
sweep(make(), SPACE, width=WIDTH, store=sys.argv[1])
print("done")
"""


def on_a_terminal(script, *arguments):
    """What a script shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    try:
        process = start_script(script, *arguments, stderr=theirs)
        assert output_of(process) == "done\n"
        os.set_blocking(ours, False)
        try:
            return os.read(ours, 1 << 16).decode()
        except BlockingIOError:
            return ""
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bar_on_a_terminal_tells_the_rate_and_changes_no_bit(tmp_path, expected):
    shown = on_a_terminal(BAR, tmp_path)
    assert "40.0/40.0" in shown
    assert "lanes/s" in shown
    assert parts(tmp_path) == parts(expected)


def test_without_tqdm_there_is_no_bar_and_the_same_result(tmp_path, expected):
    assert on_a_terminal(NO_TQDM, tmp_path / "store") == ""
    for shown in (False, True):
        assert parts(tmp_path / f"store{shown}") == parts(expected)
