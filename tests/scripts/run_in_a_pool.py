"""Sweep by a pool of processes, into a store."""

import concurrent.futures
import multiprocessing
import sys

from workload import run

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        run(sys.argv[1], length=1_000_000, executor=executor)
