"""Sweep by the processes that mpiexec has started; the first one drives."""

import sys

from mpi4py.futures import MPICommExecutor
from workload import run

from jaxmom.sweeps.run.executors import count_workers


def main(store):
    with MPICommExecutor() as executor:
        if executor is not None:
            print(count_workers(executor), "workers")
            run(store, executor=executor)


if __name__ == "__main__":
    main(sys.argv[1])
