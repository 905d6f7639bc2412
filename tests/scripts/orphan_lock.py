"""Be killed while a sweep runs, with a forked child that lives on."""

import os
import signal
import sys
import time
import warnings

import numpy as np
from workload import WIDTH, refuse

from jaxmom.sweeps import grid, sweep


def main(store):
    warnings.simplefilter("ignore")

    def fork_and_die():
        pid = os.fork()
        if pid == 0:
            print(os.getpid(), flush=True)
            os.close(1)
            os.close(2)
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    class Deadly:
        def submit(self, *_):
            fork_and_die()

    fn = refuse()
    sweep(fn, grid(x=np.arange(16.0)), width=WIDTH, store=store, executor=Deadly())


if __name__ == "__main__":
    main(*sys.argv[1:])
