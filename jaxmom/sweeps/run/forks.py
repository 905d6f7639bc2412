"""Refusal to use JAX in a forked process, where it would wait forever."""

import os

_JAX_PROCESSES: set[int] = set()  # ids of processes that use JAX; a forked child inherits the set


def refuse_fork() -> None:
    """Refuse to use JAX in a forked process, where it waits for threads that are not there.

    Raises:
      RuntimeError: This process was forked from one that has used JAX.
    """
    if _JAX_PROCESSES and os.getpid() not in _JAX_PROCESSES:
        raise RuntimeError(
            "this process was forked from one that uses JAX, and JAX would wait in it forever; "
            'start processes by multiprocessing.get_context("spawn"), as in '
            "ProcessPoolExecutor(mp_context=...)."
        )
    _JAX_PROCESSES.add(os.getpid())
