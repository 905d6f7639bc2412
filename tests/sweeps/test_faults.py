"""Faults of the world around a sweep: drivers, order, odd arguments, functions that fail, paths.

The list of tests in section 5 of the reference on sweeps is kept by this file and its neighbors:
test_store.py, test_kills.py, test_disks.py, test_memory.py, test_forks.py, test_terminals.py,
test_engine.py, test_executors.py, test_job_arrays.py, test_properties.py, test_space.py and
test_results.py. What is left out, and why:

* 3, a disk that fails while it is read: the error of the system names the file, and that is all.
* 9, a width that shrinks after the first part: it would change the bits; such a chunk fails.
* 15, a second Ctrl-C within a chunk: XLA cannot be interrupted; the sweep ends at once, and its
  process with the chunk.
* 16, several processes in one SPMD program: the design has an executor in place of it, since one
  process that dies would end all others.
"""

import concurrent.futures
import errno
import fcntl
import json
import shutil
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scripts.launch import finish, output_of, start
from scripts.workload import CHUNKS, WIDTH, parts, refuse, run

import jaxmom as jm
from jaxmom import cli
from jaxmom.sweeps import grid, halving, open_sweep, paired, sample, sweep, uniform
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, MISSING, OK
from jaxmom.sweeps.space.axes import RESERVED
from jaxmom.sweeps.store.files import Store


def same(ours, theirs):
    return ours.load().drop_attrs().identical(theirs.load().drop_attrs())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("expected")
    run(path)
    assert len(parts(path)) == CHUNKS
    return path


# Drivers


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


def test_two_drivers_where_there_are_no_locks_do_the_same_twice(tmp_path):
    arguments = (tmp_path / "store", "--length=20_000", "--wait", "--without", "fcntl")
    twins = [start("run_sweep", *arguments, stdin=subprocess.PIPE) for _ in range(2)]
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


# Neighbors and order


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
        future.done = lambda: self._finish() or concurrent.futures.Future.done(future)
        self.left.append((future, fn, args))
        return future

    def _finish(self):
        while self.left:
            future, fn, args = self.left.pop()
            self.order.append(float(args[3]["x"][0]))
            future.set_result(fn(*args))


def test_bits_do_not_depend_on_the_order_of_the_chunks(tmp_path, expected):
    executor = Backwards()
    run(tmp_path, executor=executor)
    assert executor.order == sorted(executor.order, reverse=True)
    assert len(executor.order) == CHUNKS
    assert parts(tmp_path) == parts(expected)


def test_bits_do_not_depend_on_which_chunks_are_computed_together(tmp_path, expected):
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    for chunk in (0, 2, 4):
        (tmp_path / f"parts/0-{chunk}.npz").unlink()
    output_of(start("run_sweep", tmp_path, "--devices=3"))
    assert parts(tmp_path) == parts(expected)


# Segments and records


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


# Odd arguments


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


# Functions that fail


def test_a_chunk_that_fails_alone_is_in_the_exit_code_or_in_the_store(tmp_path, capsys):
    process = start("failing_chunk", tmp_path)
    _, errors = finish(process)
    assert process.returncode == 1
    assert "29.0 is refused" in errors
    assert "This was chunk 7 of all lanes; 7 of 10 chunks are done" in errors
    assert sorted(parts(tmp_path)) == [f"0-{chunk}.npz" for chunk in range(7)]
    fn = refuse(29.0)
    runs = sweep(fn, grid(x=np.arange(40.0)), width=4, store=tmp_path, on_error="record")
    np.testing.assert_array_equal(runs.status == FAILED, runs.x // 4 == 7)
    assert sorted(parts(tmp_path)) == [f"0-{chunk}.npz" for chunk in range(10) if chunk != 7]
    failure = json.loads((tmp_path / "failed/0-7.json").read_text())
    assert "29.0 is refused" in failure["message"]
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "9 of 10 chunks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outputs", "message"),
    [(lambda x: {"y": "text"}, "which is not an array"), (lambda x: None, "needs a Trajectory")],
)
def test_what_is_no_array_is_refused_at_once(outputs, message):
    with pytest.raises(TypeError, match=message) as caught:
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


# Another sweep


def affine(offset):
    return lambda x, seed: {"y": x, "seed_squared": seed**2, "sum": jnp.sum(jnp.asarray(offset))}


SAME = {"x": [1.0, 2.0], "seed": range(2)}


@pytest.fixture(scope="module")
def affine_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("affine")
    sweep(affine(np.arange(5000.0)), grid(**SAME), width=4, store=path)
    return path


@pytest.mark.parametrize(
    ("offset", "axes", "message"),
    [
        (0.0, {"seed": range(1, 3)}, "space.seed: was 2 values, 0 ... 1"),
        (0.0, {"x": np.float32([1, 2])}, r"space.x: was 2 values, 1 ... 2 \(float64"),
        (1e-9, {}, r"function \(all lanes\): was"),
    ],
)
def test_another_seed_or_dtype_or_number_in_the_function_is_refused(
    affine_store, offset, axes, message
):
    numbers = np.arange(5000.0)
    numbers[2500] += offset
    space = grid(**{**SAME, **axes})
    with pytest.raises(ValueError, match=message):
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
    (tmp_path / "sweep.json").unlink()
    Store(tmp_path).add_manifest(0, manifest)
    with pytest.raises(ValueError, match=f"{table}.{field}: was 0.0.1, is {now}"):
        sweep(affine(np.arange(5000.0)), grid(**SAME), width=4, store=tmp_path)


# Paths


def test_a_relative_path_is_that_of_the_folder_where_it_was_given(tmp_path, monkeypatch, expected):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    runs = run("store")
    opened = open_sweep("store")
    monkeypatch.chdir("elsewhere")
    assert same(runs, open_sweep(expected))
    assert same(opened, open_sweep(expected))


# Executors


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
