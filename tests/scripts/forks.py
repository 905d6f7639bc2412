"""Sweep in forked processes: before JAX has started, after it, and by a pool that forks."""

import concurrent.futures
import multiprocessing
import os
import sys
import warnings

from workload import run


def run_in_a_fork():
    pid = os.fork()
    if pid == 0:
        try:
            print(run().y.values[1, 1], flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


def main(store):
    run_in_a_fork()  # before JAX has threads
    print(run().y.values[1, 1], flush=True)
    warnings.simplefilter("ignore")  # JAX itself warns
    run_in_a_fork()
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        try:
            run(store, executor=executor)
        except RuntimeError as error:
            print(error)
        # The worker was forked while the store was locked, and it lives on.
        print(run(store).y.values[1, 1])


if __name__ == "__main__":
    main(*sys.argv[1:])
