"""Fork drivers of one sweep, one after the other, and kill each at random.

The process forks before JAX starts its threads; each child is a driver of its own. After each chunk
it takes a byte from a pipe, which has so few that no child ends before it is killed, however fast.
"""

import os
import random
import signal
import sys
import time

from workload import run_long


def list_parts(store):
    listed = os.listdir(store + "/parts") if os.path.isdir(store + "/parts") else []
    return sorted(name for name in listed if name.endswith(".npz"))


def main(store, seed, deaths):
    draw = random.Random(int(seed))
    for _ in range(int(deaths)):
        gate, opener = os.pipe()
        pid = os.fork()
        if pid == 0:
            run_long(store, on_chunk=lambda *_, gate=gate: os.read(gate, 1))
            os._exit(0)
        new = draw.randrange(5)
        os.write(opener, bytes(new + 4))
        aim, deadline = len(list_parts(store)) + new, time.monotonic() + 60
        while len(list_parts(store)) < aim and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.015))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(gate)
        os.close(opener)
        print(os.WIFSIGNALED(status), len(list_parts(store)), flush=True)
        if len(list_parts(store)) > 40:  # all but done: go on from the first ten
            for name in list_parts(store)[10:]:
                os.unlink(store + "/parts/" + name)
    run_long(store)


if __name__ == "__main__":
    main(*sys.argv[1:])
