"""Die in the middle of one call of the system, the `turn`-th of its kind, while a sweep runs."""

import builtins
import os
import signal
import sys
from types import SimpleNamespace

from workload import run_long

from jaxmom.sweeps.store import atomic


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Counts calls, and dies before or after the one that is meant."""

    def __init__(self, turn, moment):
        self.turn, self.moment, self.seen = turn, moment, 0

    def wrap(self, function):
        def wrapped(*args, **kwargs):
            self.seen += 1
            if self.seen == self.turn and self.moment == "before":
                die()
            result = function(*args, **kwargs)
            if self.seen == self.turn:
                die()
            return result

        return wrapped


class HalfWritten:
    """A file that writes half of its content at the turn."""

    def __init__(self, file, countdown):
        self.file, self.countdown = file, countdown

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.file.close()

    def write(self, content):
        self.countdown.seen += 1
        if self.countdown.seen == self.countdown.turn:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            die()
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


def main(store, call, turn, moment):
    countdown = Countdown(int(turn), moment)
    if call == "write":

        def open_half(path, mode="r", **kwargs):
            file = builtins.open(path, mode, **kwargs)  # noqa: SIM115
            return HalfWritten(file, countdown) if mode == "wb" else file

        atomic.open = open_half
    else:
        names = {name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
        deadly = {call: countdown.wrap(getattr(os, call))}
        atomic.os = SimpleNamespace(**(names | deadly))
    run_long(store)


if __name__ == "__main__":
    main(*sys.argv[1:])
