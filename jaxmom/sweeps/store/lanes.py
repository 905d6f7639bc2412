"""Lanes between two segments, in a store: a file for each chunk that is not done."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.store.archive import Damaged, pack, unpack
from jaxmom.sweeps.store.files import Store


class PartPlace(NamedTuple):
    """Where the part of a chunk will be.

    Attributes:
      extension_index: Of its manifest.
      name: Of the part.
      digest: Of the identity of its sweep.
    """

    extension_index: int
    name: str
    digest: str


class StoredLanes:
    """Lanes of chunks that are not done, each chunk in a file that its next segment replaces.

    Args:
      store: A locked folder.
      place_of: Tells where the part of a chunk will be.
    """

    def __init__(self, store: Store, place_of: Callable[[Any], PartPlace]):
        self.store, self.place_of = store, place_of
        if store.write_error is None:
            self._forget_done()

    def _forget_done(self) -> None:
        """Delete the lanes of chunks that were done before a kill."""
        for path in self.store.path.glob("lanes*/*.npz"):
            if (self.store.path / path.parent.name.replace("lanes", "parts") / path.name).exists():
                self._unlink(path)

    def _name(self, task: Any) -> str:
        place = self.place_of(task)
        end = f"-{place.extension_index}" if place.extension_index else ""
        return f"lanes{end}/{place.name}.npz"

    def load(self, task: Any) -> Arrays | None:
        """Return what was saved of a chunk; None if there is nothing, or of another sweep."""
        path = self.store.path / self._name(task)
        try:
            arrays, meta = unpack(path.read_bytes(), path)
        except (FileNotFoundError, Damaged):
            return None
        return arrays if meta.get("sweep") == self.place_of(task).digest else None

    def save(self, task: Any, arrays: Arrays) -> None:
        """Keep the lanes of a chunk as they are now."""
        place = self.place_of(task)
        self.store._write(self._name(task), pack(arrays, {"sweep": place.digest}))

    def remove(self, task: Any) -> None:
        """Forget the lanes of a chunk, which is done."""
        self._unlink(self.store.path / self._name(task))

    def _unlink(self, path: pathlib.Path) -> None:
        path.unlink(missing_ok=True)
        if self.store.share is None:  # others of a job array may be about to write into the folder
            with contextlib.suppress(OSError):  # it has other lanes
                path.parent.rmdir()
