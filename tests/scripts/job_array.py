"""Fork the processes of a job array, kill some of them at random, and start those again.

The process forks before JAX starts its threads. The first half die whenever it is, most of them
while they compile, and each of the others when there are new parts. However fast the processes
are, the parts do not all come at once: after each chunk, a process waits for a byte in a pipe that
never holds more than one until all deaths are over. Prints how many were killed, and how often the
number of parts was another one then.
"""

import os
import random
import select
import signal
import sys
import time

from workload import parts, run_long


def start(store, part, gate):
    pid = os.fork()
    if pid == 0:
        run_long(store, part=part, on_chunk=lambda *_: os.read(gate, 1))
        os._exit(0)
    return pid


def main(store, seed, processes, deaths):
    draw, killed, seen, early = random.Random(int(seed)), 0, {0}, int(deaths) // 2
    shares = [(i, int(processes)) for i in range(int(processes))]
    gate, opener = os.pipe()
    running = {start(store, part, gate): part for part in shares}
    while running:
        time.sleep(draw.uniform(0, 0.5 if killed < early else 0.01))
        may_kill = killed < early or len(parts(store)) > max(seen)
        if killed < int(deaths) and may_kill:
            victim = draw.choice(sorted(running))
            os.kill(victim, signal.SIGKILL)
            _, status = os.waitpid(victim, 0)
            part = running.pop(victim)
            killed += os.WIFSIGNALED(status)
            seen.add(len(parts(store)))
            running[start(store, part, gate)] = part
        is_empty = not select.select([gate], [], [], 0)[0]
        if is_empty and killed >= early:
            os.write(opener, bytes(1 if killed < int(deaths) else 100))
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                assert status == 0, status
                del running[pid]
    print(killed, len(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
