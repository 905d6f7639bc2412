"""The progress bar."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.results.dataset import DIVERGED, OK

ProgressFn: TypeAlias = Callable[[Arrays], None]  # called with the results of each chunk


@contextlib.contextmanager
def progress_bar(
    total: int, done: int, is_shown: bool, notes: Sequence[str] = ()
) -> Iterator[ProgressFn]:
    """Show a bar with lanes per second, the time left, the share diverged, and the best value.

    Args:
      total: The lanes of the sweep.
      done: Those that a store has already.
      is_shown: If not, there is no bar; nor is there one if the standard error is neither a
        terminal nor a notebook, or tqdm is not installed.
      notes: Sentences to print above it.
    """
    tqdm = None
    if is_shown:  # in a notebook without widgets the import alone warns
        with contextlib.suppress(ImportError):  # nobody should lose a sweep for want of a bar
            from tqdm.auto import tqdm
    if tqdm is None:
        yield lambda arrays: None
        return
    # None disables a bar without a terminal, and a notebook has none.
    is_disabled = False if _is_in_notebook() else None
    bar_fn = functools.partial(tqdm, unit=" lanes", unit_scale=True, disable=is_disabled)
    with bar_fn(total=total, initial=done) as bar:
        for note in () if bar.disable else notes:
            bar.write(note, file=bar.fp)
        yield _Counter(bar)


def _is_in_notebook() -> bool:
    """Whether a Jupyter kernel shows what is written."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


class _Counter:
    """Counts the lanes that are done and updates the bar."""

    def __init__(self, bar: Any):
        self.bar, self.lanes, self.diverged, self.best = bar, 0, 0, np.inf

    def __call__(self, arrays: Arrays) -> None:
        status = arrays["status"]
        if not self.bar.disable:
            self.lanes += len(status)
            self.diverged += int((status == DIVERGED).sum())
            self.best = min(self.best, _least_value(arrays, status == OK))
            postfix = {"diverged": f"{self.diverged / self.lanes:.0%}"}
            if np.isfinite(self.best):
                postfix["best"] = f"{self.best:.4g}"
            self.bar.set_postfix(postfix, refresh=False)
        self.bar.update(len(status))


def _least_value(arrays: Arrays, is_ok: NDArray[np.bool_]) -> float:
    """Return the smallest last "value" of the lanes that are ok."""
    if "value" not in arrays or not is_ok.any():
        return np.inf
    values = arrays["value"][is_ok]
    last = values.reshape(len(values), -1)[:, -1]
    return float(np.min(last[np.isfinite(last)], initial=np.inf))
