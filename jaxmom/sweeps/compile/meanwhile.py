"""The import of xarray, which the results need, while XLA compiles."""

import contextlib
import functools
import threading
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def loading_xarray() -> Iterator[None]:
    """Load xarray in a thread of its own, the first time in a process, and wait for it at the end.

    The import takes 0.3 s, and as long again if dask is installed, which xarray loads with its
    first array. XLA needs no Python while it compiles. The thread is waited for, because two
    threads that import parts of one package may each see a module of the other half imported.
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
    """Import xarray and make a Dataset; errors are raised where the results need one."""
    with contextlib.suppress(Exception):
        import xarray

        xarray.Dataset({"value": ("lane", np.zeros(1))})
