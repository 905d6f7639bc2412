"""How far a sweep is, for whoever watches it; nothing here touches a result."""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.results.dataset import DIVERGED, OK


class Progress(Protocol):
    """What is told of each chunk."""

    def __call__(self, arrays: Arrays) -> None:
        """Some lanes are done."""
        ...


@contextlib.contextmanager
def progress_bar(total: int, done: int, shown: bool) -> Iterator[Progress]:
    """A bar with lanes per second, the time left, the share diverged, and the best value so far.

    Args:
      total: The lanes of the sweep.
      done: Those that a store has already.
      shown: If not, or if the standard error is no terminal or tqdm is not there, there is none.
    """
    try:
        from tqdm import tqdm
    except ImportError:  # nobody should lose a sweep for want of a bar
        shown = False
    if not shown:
        yield lambda arrays: None
        return
    with tqdm(total=total, initial=done, unit=" lanes", unit_scale=True, disable=None) as bar:
        yield _Counter(bar)


class _Counter:
    """Sums up what has come in."""

    def __init__(self, bar: Any):
        self.bar, self.lanes, self.diverged, self.best = bar, 0, 0, np.inf

    def __call__(self, arrays: Arrays) -> None:
        status = arrays["status"]
        if not self.bar.disable:
            self.lanes += len(status)
            self.diverged += int((status == DIVERGED).sum())
            self.best = min(self.best, _least(arrays, status == OK))
            told = {"diverged": f"{self.diverged / self.lanes:.0%}"}
            if np.isfinite(self.best):
                told["best"] = f"{self.best:.4g}"
            self.bar.set_postfix(told, refresh=False)
        self.bar.update(len(status))


def _least(arrays: Arrays, ok: Any) -> float:
    """The smallest last "value" of the lanes that are ok."""
    if "value" not in arrays or not ok.any():
        return np.inf
    values = arrays["value"][ok]
    last = values.reshape(len(values), -1)[:, -1]
    return float(np.min(last[np.isfinite(last)], initial=np.inf))
