"""Processes that are forked or spawned: JAX does not survive a fork, and a lock must not."""

import concurrent.futures
import multiprocessing
import os
import signal

import numpy as np
from scripts.launch import finish, output_of, start
from scripts.workload import run

from jaxmom.sweeps import open_sweep
from jaxmom.sweeps.results.dataset import OK


def run_elsewhere(length):
    return run(length=length).y.values


def test_a_process_that_is_spawned_sweeps_with_the_same_bits():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        y = executor.submit(run_elsewhere, 20).result(timeout=120)
    np.testing.assert_array_equal(y, run().y)


def test_a_fork_after_jax_has_started_says_so_and_keeps_no_lock(tmp_path):
    early, own, *messages, again = output_of(start("forks", tmp_path), 60).splitlines()
    assert float(early) == float(own) == float(again)
    assert len(messages) == 2  # of the driver, and of the worker
    hint = 'start processes by multiprocessing.get_context("spawn")'
    assert all(hint in message for message in messages)
    assert (open_sweep(tmp_path).status == OK).all()


def test_a_lock_ends_with_its_process_though_a_child_lives_on(tmp_path):
    from scripts.workload import WIDTH, refuse

    from jaxmom.sweeps import grid, sweep

    process = start("orphan_lock", tmp_path)
    child = int(process.stdout.readline())
    try:
        process.wait(60)
        assert process.returncode == -signal.SIGKILL
        fn = refuse()
        runs = sweep(fn, grid(x=np.arange(16.0)), width=WIDTH, store=tmp_path)
        assert (runs.status == OK).all()
    finally:
        os.kill(child, signal.SIGKILL)
        finish(process, 60)
