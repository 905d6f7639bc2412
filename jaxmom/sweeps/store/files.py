"""A folder that holds a sweep, such that no interruption loses what is in it.

    STORE/sweep.json             what the sweep is; written once
    STORE/parts/<group>-<chunk>.npz    the results of one chunk; written once, with a checksum
    STORE/failed/<group>-<chunk>.json  what a chunk that failed said; it is tried again
    STORE/lock                   held while a driver writes

A chunk is done if and only if its part is there and its checksum is right; nothing else counts.
Files are written beside their place, forced to the disk, and renamed into it. An extended sweep
adds ``sweep-1.json`` and ``parts-1`` with the new lanes alone, and so on; what is there stays.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
HALVING = "halving"  # the key by which a manifest says that the folder holds one, and no sweep
_MARK = b"sha256:"
_TAIL = len(_MARK) + 64

Manifest = dict[str, Any]


class Damaged(Exception):
    """A file of a store is not what was written."""


class Store:
    """One folder; reading needs no lock, writing is inside of ``with store.locked()``."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path).absolute()  # what is lazy may be read from elsewhere

    def manifests(self) -> list[Manifest]:
        """What the sweep is, then its extensions; empty if there is none.

        Raises:
          ValueError: They are of a later format than this program knows, or no manifests at all.
        """
        found = []
        while (path := self.path / _manifest_name(len(found))).exists():
            try:
                manifest = json.loads(path.read_text(encoding="utf8"))
                later = manifest["format"] > FORMAT
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is no manifest of a sweep: {error}.") from error
            if later:
                raise ValueError(
                    f"{path} has format {manifest['format']}, and this version of jaxmom reads "
                    f"formats up to {FORMAT}; install a later one."
                )
            found.append(manifest)
        return found

    def add_manifest(self, generation: int, manifest: Manifest) -> None:
        """Write the manifest of a sweep or of its extensions; it is never changed afterwards."""
        text = json.dumps({"format": FORMAT, **manifest}, indent=1)
        self._write(_manifest_name(generation), text.encode())

    def clear(self) -> None:
        """Forget the sweep: first what it is, so that a kill in between leaves strange parts."""
        for number in reversed(range(len(self.manifests()))):
            (self.path / _manifest_name(number)).unlink()
        for folder in [*self.path.glob("parts*"), *self.path.glob("failed*")]:
            shutil.rmtree(folder, ignore_errors=True)

    def write_part(
        self, generation: int, name: str, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]
    ) -> None:
        """Write the results of a chunk, all of them or nothing."""
        # The files of NumPy know bfloat16 as two bytes of anything.
        dtypes = {n: array.dtype.name for n, array in arrays.items() if array.dtype.kind == "V"}
        told = meta | ({"dtypes": dtypes} if dtypes else {})
        packed = pack(arrays | {"meta": np.array(json.dumps(told))})
        self._write(f"{_folder(generation)}/{name}.npz", packed)
        (self.path / _folder(generation, "failed") / f"{name}.json").unlink(missing_ok=True)

    def read_part(
        self, generation: int, name: str, digest: str
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The arrays of a chunk and what is told about it.

        Raises:
          FileNotFoundError: It is not done.
          Damaged: It is not what was written, or belongs to another sweep.
        """
        path = self.path / _folder(generation) / f"{name}.npz"
        arrays = unpack(path.read_bytes(), path)
        meta = json.loads(str(arrays.pop("meta")))
        if (meta["sweep"], meta["chunk"]) != (digest, name):
            raise Damaged(f"{path} belongs to chunk {meta['chunk']} of another sweep or extension")
        for array, dtype in meta.get("dtypes", {}).items():
            arrays[array] = arrays[array].view(dtype)
        return arrays, meta

    def parts(self, generation: int) -> set[str]:
        """The names of the parts that are there, whole or not."""
        return {path.stem for path in (self.path / _folder(generation)).glob("*-*.npz")}

    def set_aside(self, generation: int, name: str) -> pathlib.Path:
        """Take a part that is not right out of the way, and keep it for those who want to see."""
        path = self.path / _folder(generation) / f"{name}.npz"
        return path.replace(path.with_suffix(".bad"))

    def remove_part(self, generation: int, name: str) -> None:
        """Forget a part that another one has replaced."""
        (self.path / _folder(generation) / f"{name}.npz").unlink()

    def write_failure(self, generation: int, name: str, message: str) -> None:
        """Record that a chunk failed, and how often."""
        attempts = self.failures(generation).get(name, {"attempts": 0})["attempts"] + 1
        text = json.dumps({"message": message, "attempts": attempts})
        self._write(f"{_folder(generation, 'failed')}/{name}.json", text.encode())

    def failures(self, generation: int) -> dict[str, dict[str, Any]]:
        """What the chunks that failed said, by their names."""
        paths = sorted((self.path / _folder(generation, "failed")).glob("*-*.json"))
        return {path.stem: json.loads(path.read_text(encoding="utf8")) for path in paths}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only driver; the lock ends with the process, however it ends.

        Raises:
          RuntimeError: Another process drives this sweep.
          OSError: The folder cannot be written.
        """
        with _told_where(self.path, "cannot write to"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / "lock", "a+", encoding="utf8")  # noqa: SIM115
        with lock:
            if _lock(lock, self.path):  # else another driver may be writing them
                for leftover in self.path.rglob("*.tmp"):
                    leftover.unlink()
            yield

    def _write(self, name: str, content: bytes) -> None:
        path = self.path / name
        with _told_where(path, "cannot write"):
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content)


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Put a file in its place whole; if the power goes, either it is there or it is not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as an npz file that ends in the checksum of all that is before it.

    The checksum stands in the comment of the zip archive, so that `numpy.load` reads the file.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    body = buffer.getvalue()[:-2] + _TAIL.to_bytes(2, "little")  # the length of the comment
    return body + _MARK + hashlib.sha256(body).hexdigest().encode()


def unpack(content: bytes, path: pathlib.Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file with a checksum.

    Raises:
      Damaged: The checksum is not that of the content.
    """
    body, tail = content[:-_TAIL], content[-_TAIL:]
    if tail != _MARK + hashlib.sha256(body).hexdigest().encode():
        raise Damaged(f"{path} is damaged: its checksum is not that of its content")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def _manifest_name(generation: int) -> str:
    return f"sweep-{generation}.json" if generation else "sweep.json"


def _folder(generation: int, kind: str = "parts") -> str:
    return f"{kind}-{generation}" if generation else kind


def _lock(lock: IO[str], path: pathlib.Path) -> bool:
    """Whether this is the only driver; if no one can know, it is not.

    Without locks (Windows, some network folders) two drivers do the same work twice and no harm:
    parts are immutable.
    """
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise RuntimeError(
            f"process {lock.read().strip() or '(unknown)'} is running the sweep in {path}; wait "
            "for it or stop it. More workers are given by executor=, not by a second driver."
        ) from None
    except (ImportError, OSError):
        return False
    lock.truncate(0)
    with contextlib.suppress(OSError):  # of a full disk, a part will say where and what to do
        os.write(lock.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
    return True


@contextlib.contextmanager
def _told_where(path: pathlib.Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} {path} ({error.strerror}); the chunks that are done stay as they are. Make "
            "room or choose another folder, and run the same call again",
        ) from error
