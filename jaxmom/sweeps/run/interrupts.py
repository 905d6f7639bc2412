"""Interruptions of a sweep with a store: Ctrl-C and SIGTERM end it with a word on how to go on."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def describe_interrupts(
    store: str | os.PathLike[str] | None, count_done: Callable[[], str]
) -> Iterator[None]:
    """Say on Ctrl-C, and on SIGTERM as Slurm sends it, what is in the store.

    Parts are written whole or not at all, so that there is nothing else to do.

    Args:
      store: The folder; if there is none, signals do what they always do.
      count_done: Tells how much is done, as in "3 of 5 chunks".
    """
    if store is None:
        yield
        return

    def describe(event: str) -> str:
        return (
            f"{event}: {count_done()} are in {os.fspath(store)}; run the same call again to go on "
            "from there. This process ends when the chunk that is running has ended."
        )

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(describe("terminated"))

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe("interrupted")) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
