"""Run the long sweep of `workload` into a store."""

import signal
import sys

from workload import run_long

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup has it ignored
    run_long(sys.argv[1])
