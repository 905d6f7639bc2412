"""Run a share of the long sweep of `workload` into a store."""

import sys

from workload import run_long

if __name__ == "__main__":
    store, process, processes = sys.argv[1:]
    run_long(store, part=(int(process), int(processes)))
