"""Sweeps whose chunks are computed elsewhere: the same bits, and workers may die."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.results.dataset import FAILED, OK
from jaxmom.sweeps.run.executors import run_chunk

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
    payload = cloudpickle.dumps((make(), {"double": True}, ("x", "seed"), 4, {}, {}, versions))
    with pytest.raises(RuntimeError, match=r"0\.0\.1"):
        run_chunk(payload, {"x": np.zeros(4), "seed": np.arange(4)})


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_dask_survives_a_worker_that_is_killed_and_gives_the_same_bits(tmp_path):
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
