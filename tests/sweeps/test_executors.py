"""Sweeps whose chunks are computed elsewhere: the same bits, and workers may die."""

import concurrent.futures
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripts.launch import finish, output_of, start
from scripts.workload import CHUNKS, parts, run

from jaxmom._jaxpr import jaxlib_version
from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.compile.program import Program
from jaxmom.sweeps.results.dataset import FAILED, OK
from jaxmom.sweeps.run.executors import count_workers
from jaxmom.sweeps.run.worker import PackedGroup, PackedSweep, Payload, run_chunk

SPACE = grid(x=np.linspace(0, 1, 12), seed=range(5), double=[False, True])


def make(length=200):
    """A function that no worker can import, so that it travels whole."""

    def fn(x, seed, double):
        noise = jax.random.normal(jax.random.key(seed), ())

        def step(y, _):
            return jnp.sin((2 if double else 1) * y) + x * noise, None

        return {"y": jax.lax.scan(step, x, length=length)[0]}

    return fn


@pytest.fixture(scope="module")
def expected():
    return sweep(make(), SPACE, width=8)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_gives_the_same_bits(kind, expected):
    if kind == "threads":
        executor = concurrent.futures.ThreadPoolExecutor(2)
    else:
        context = multiprocessing.get_context("spawn")
        executor = concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
    with executor:
        runs = sweep(make(), SPACE, width=8, executor=executor)
    np.testing.assert_array_equal(runs.y, expected.y)
    np.testing.assert_array_equal(runs.status, expected.status)


def test_a_worker_that_dies_ends_the_sweep_and_what_is_done_stays(tmp_path, expected):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(os.getpid).result()

        def kill_soon():
            while len(list(tmp_path.glob("parts/*.npz"))) < 2:
                time.sleep(0.01)
            for process in list(executor._processes.values()):
                os.kill(process.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_soon)
        killer.start()
        with pytest.raises(concurrent.futures.BrokenExecutor) as caught:
            sweep(make(100_000), SPACE, width=8, store=tmp_path, executor=executor)
        killer.join()
    assert "of 16 chunks are done" in caught.value.__notes__[-1]
    done = int((open_sweep(tmp_path).status == OK).sum())
    assert 16 <= done < SPACE.size
    runs = sweep(make(100_000), SPACE, store=tmp_path)
    np.testing.assert_array_equal(runs.y, sweep(make(100_000), SPACE, width=8).y)


def test_a_worker_with_other_versions_is_refused():
    versions = {"jax": "0.0.1", "jaxlib": "0.0.1"}
    group = PackedGroup(make(), {"double": True}, ("x", "seed"), "fingerprint", 4)
    content = cloudpickle.dumps(PackedSweep([group], {}, {}, versions, jax.default_backend()))
    with pytest.raises(RuntimeError, match=r"0\.0\.1"):
        run_chunk(Payload("digest", ""), content, 0, {"x": np.zeros(4), "seed": np.arange(4)})


def fails_at(bad):
    def fn(x):
        def check(value):
            if (value == bad).any():
                raise ArithmeticError(f"{bad} is refused")
            return value

        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": 2 * jax.pure_callback(check, spec, x, vmap_method="expand_dims")}

    return fn


def test_failures_of_workers_are_recorded():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        space = grid(x=np.arange(12.0))
        runs = sweep(fails_at(5.0), space, width=4, executor=executor, on_error="record")
    assert runs.status.values.tolist() == [OK] * 4 + [FAILED] * 4 + [OK] * 4


def make_large(length=200):
    """The same function, which takes 400 kB of data with it."""
    zeros, fn = np.zeros(50_000), make(length)
    return lambda x, seed, double: fn(x + zeros[3:5].sum(), seed, double)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("make", [make, make_large])
def test_dask_survives_a_worker_that_is_killed_with_the_same_bits(tmp_path, make):
    distributed = pytest.importorskip("distributed")
    fn = make(300_000)
    local = sweep(fn, SPACE, width=8)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = client.run(os.getpid)
        assert len(set(workers.values()) | {os.getpid()}) == 3
        victim = next(iter(workers.values()))

        def kill_soon():
            while len(list(tmp_path.glob("parts/*.npz"))) < 3:
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill_soon)
        killer.start()
        runs = sweep(fn, SPACE, width=8, store=tmp_path, executor=client.get_executor())
        killer.join()
        assert victim not in client.run(os.getpid).values()
    for name in ("y", "status", "diverged_at"):
        np.testing.assert_array_equal(runs[name], local[name])


@pytest.mark.slow
def test_a_driver_that_is_killed_loses_what_was_in_flight_alone(tmp_path):
    process = start("run_in_a_pool", tmp_path / "killed")
    end = time.monotonic() + 120
    while len(parts(tmp_path / "killed")) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)  # the workers would wait for it forever
    finish(process)
    safe = parts(tmp_path / "killed")
    assert 2 <= len(safe) < CHUNKS
    run(tmp_path / "killed", length=1_000_000)
    run(tmp_path / "whole", length=1_000_000)
    assert parts(tmp_path / "killed") == parts(tmp_path / "whole")
    assert safe.items() <= parts(tmp_path / "whole").items()


@pytest.mark.slow
def test_loky_gives_the_same_bits_and_has_the_function_in_a_file(expected):
    loky = pytest.importorskip("loky", reason="pip install loky, to test it")
    executor = loky.get_reusable_executor(max_workers=2)
    assert count_workers(executor) == 2
    try:
        runs = sweep(make_large(), SPACE, width=8, executor=executor)
    finally:
        executor.shutdown(kill_workers=True)
    np.testing.assert_array_equal(runs.y, expected.y)


@pytest.mark.slow
def test_jobs_of_submitit_give_the_same_bits(tmp_path, expected):
    """Its futures call nobody back, and each job is a process of its own."""
    submitit = pytest.importorskip("submitit", reason="pip install submitit, to test it")
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs" / "%j", cluster="local")
    executor.update_parameters(timeout_min=5)
    runs = sweep(make_large(), SPACE, width=30, executor=executor, workers=2)
    np.testing.assert_allclose(runs.y, expected.y, rtol=1e-9)
    np.testing.assert_array_equal(runs.y, sweep(make_large(), SPACE, width=30).y)
    assert not list(tmp_path.glob("jobs/jaxmom-*"))


@pytest.mark.slow
def test_processes_of_mpi_give_the_same_bits(tmp_path):
    pytest.importorskip("mpi4py", reason="pip install mpi4py mpich, to test it")
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    mpiexec = shutil.which("mpiexec", path=places)
    if mpiexec is None:
        pytest.skip("there is no mpiexec: pip install mpich, to test it")
    run(tmp_path / "local")
    process = start("mpi_sweep", tmp_path / "mpi", before=[mpiexec, "-n", "3"])
    assert output_of(process) == "2 workers\n"
    assert parts(tmp_path / "mpi") == parts(tmp_path / "local")


def one_process():
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


def test_a_worker_with_an_older_function_is_refused(tmp_path, monkeypatch):
    module = tmp_path / "a_module_that_changes.py"
    monkeypatch.syspath_prepend(tmp_path)
    module.write_text("def fn(x):\n    return {'y': x}\n")
    space = grid(x=[1.0, 2.0])
    with one_process() as executor:
        imported = importlib.import_module(module.stem)
        runs = sweep(imported.fn, space, width=2, executor=executor)
        assert runs.y.values.tolist() == [1, 2]
        module.write_text("def fn(x):\n    return {'y': 1000 * x}\n")
        importlib.invalidate_caches()
        importlib.reload(imported)
        with pytest.raises(RuntimeError, match="another version of the function"):
            sweep(imported.fn, space, width=2, executor=executor, store=tmp_path / "store")
    assert not list((tmp_path / "store").glob("parts/*"))


def test_an_executor_of_threads_leaves_the_settings_and_follows_them():
    def fn(x):
        return {"y": x / 3}

    space, before = grid(x=np.array([0.1, 0.7])), jax.config.jax_enable_x64
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        for is_wide in (False, True, False, True):
            with jax.enable_x64(is_wide):
                runs = sweep(fn, space, width=2, executor=executor)
            assert runs.y.dtype == (np.float64 if is_wide else np.float32)
        assert executor.submit(lambda: jax.config.jax_enable_x64).result() == before
    assert jax.config.jax_enable_x64 == before


def test_a_worker_that_stands_still_ends_with_an_error():
    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": jax.pure_callback(wait, spec, x, vmap_method="expand_dims")}

    def wait(x):
        time.sleep(3)
        return x

    with (
        concurrent.futures.ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match="stands still"),
    ):
        sweep(fn, grid(x=[1.0]), width=1, executor=executor, stall_seconds=0.5)


@pytest.mark.skipif(not (0, 10) <= jaxlib_version() < (0, 11), reason="jaxlib has no deadlock")
def test_threads_run_one_program_with_lapack_at_a_time(monkeypatch):
    """Two at a time wait for each other's threads, now and then."""
    running, most = [], []
    start, finish = Program.start, Program.finish

    def start_counted(self, columns):
        running.append(self)
        most.append(len(running))
        return start(self, columns)

    def finish_counted(self, outputs):
        arrays = finish(self, outputs)
        time.sleep(0.01)
        running.pop()
        return arrays

    monkeypatch.setattr(Program, "start", start_counted)
    monkeypatch.setattr(Program, "finish", finish_counted)

    def fn(x):
        return {"y": jnp.linalg.cholesky(jnp.eye(3) * (1 + x))}

    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        sweep(fn, grid(x=np.arange(12.0)), width=1, executor=executor)
    assert set(most) == {1}
