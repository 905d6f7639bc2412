"""What Python loads while XLA compiles: xarray, which is needed for the results."""

import contextlib
import functools
import threading
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def loading_xarray() -> Iterator[None]:
    """Load xarray in a thread of its own, the first time in a process, and wait for it at the end.

    That takes 0.3 s, and as long again if dask is installed, which xarray loads with its first
    array. XLA needs no Python while it compiles. It is waited for, because two threads that import
    parts of one package at a time may each find the other's half done.
    """
    thread = _start_once()
    try:
        yield
    finally:
        thread.join()


@functools.cache
def _start_once() -> threading.Thread:
    thread = threading.Thread(target=_load_xarray, name="jaxmom-loads-xarray")
    thread.start()
    return thread


def _load_xarray() -> None:
    """Make a Dataset; what is wrong with xarray is raised where the results need one."""
    with contextlib.suppress(Exception):
        import xarray

        xarray.Dataset({"value": ("lane", np.zeros(1))})
