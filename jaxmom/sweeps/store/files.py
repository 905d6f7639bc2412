"""The folder that holds a sweep, written so that no interruption loses any of its content.

    STORE/sweep.json             the identity of the sweep; written once, with a checksum
    STORE/parts/<group>-<chunk>.npz    the results of one chunk; written once, with checksums
    STORE/failed/<group>-<chunk>.json  the error of a chunk that failed; it is tried again
    STORE/lanes/<group>-<chunk>.npz    the lanes of a chunk between two segments
    STORE/lock                   held while a driver writes
    STORE/locks/<i>-<n>          held while process i of a job array of n writes

A chunk is done if and only if its part is there and its checksum is right; nothing else counts.
Files are written beside their place, forced to the disk, and renamed into it. Processes of a job
array write beside each other: of two manifests the first stays, and two parts of one name have the
same bytes. An extended sweep adds ``sweep-1.json`` and ``parts-1`` with the new lanes alone, and so
on; older files stay. A store deletes files of these names only: the folder may hold anything else.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import platform
import re
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.store.archive import Damaged, is_part, pack, read_arrays, unpack
from jaxmom.sweeps.store.atomic import (
    PlaceFn,
    link_new,
    locate_errors,
    rename,
    write_atomically,
)
from jaxmom.sweeps.store.job_array import Share
from jaxmom.sweeps.store.lock import hold_lock
from jaxmom.sweeps.store.manifests import (
    MANIFEST,
    Manifest,
    encode_manifest,
    manifest_name,
    read_copy,
    read_manifest,
    refuse_folder,
    unlink_manifest,
)

_FOLDER = re.compile(r"(parts|failed|lanes)(-\d+)?")
_FILE = re.compile(r"\d+-\d+\.(npz|bad|json)")
# Of a process, in new stores with its machine and its share: .0-3.npz.123-0f1e2d-2-8.tmp
_TEMPORARY = re.compile(
    r"\.(sweep(-\d+)?\.json|\d+-\d+\.(npz|json))\.\d+(-[0-9a-f]{6}(-\d+-\d+)?)?\.tmp"
)
_SHARE_LOCK = re.compile(r"\d+-\d+")
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

Failure: TypeAlias = dict[str, Any]  # message, attempts


class Store:
    """One folder; reading needs no lock, writing is inside of ``with store.locked()``.

    Args:
      path: Of the folder; ``~`` is the home folder.

    Attributes:
      path: The same, as an absolute path.
      write_error: That of a folder that can only be read; None if it can be written.
      share: Of a job array, while the store is locked for one.

    Raises:
      ValueError: It is not a path, or that of a file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not text or not isinstance(text, str) or "\0" in text:
            raise ValueError(f"a store is the path of a folder, such as 'runs'; got {path!r}.")
        # Absolute, since a result that is read later may be read from another folder.
        self.path = pathlib.Path(path).expanduser().absolute()
        if self.path.is_file():
            raise ValueError(f"a store is a folder, and {self.path} is a file; give its folder.")
        self.write_error: OSError | None = None
        self.share: Share | None = None

    def read_manifests(self) -> list[Manifest]:
        """Return the manifest of the sweep, then those of its extensions; none if it is empty.

        Raises:
          DamagedManifest: One is not what was written, or is not there and the next one is.
          ValueError: One is of a later format than this version reads.
        """
        found = []
        while self.has_manifest(len(found)) or self.has_manifest(len(found) + 1):
            found.append(read_manifest(self.path, len(found)))
        return found

    def add_manifest(self, extension_index: int, manifest: Manifest) -> None:
        """Write the manifest of a sweep or of an extension; one that is there stays as it is.

        Args:
          extension_index: 0 for that of a sweep, then the numbers of its extensions.
          manifest: What was swept, as JSON.

        Raises:
          OSError: It cannot be written.
        """
        previous = read_manifest(self.path, extension_index - 1) if extension_index else None
        content = encode_manifest(manifest, previous)
        self._write(manifest_name(extension_index), content, link_new)

    def restore_manifest(self, extension_index: int) -> bool:
        """Write a damaged manifest again from its copy in the next one, and return if there is one.

        Those before it are whole.
        """
        copy = read_copy(self.path, extension_index)
        if copy is None:
            return False
        self.set_manifest_aside(extension_index)
        self.add_manifest(extension_index, copy)
        return True

    def set_manifest_aside(self, extension_index: int) -> None:
        """Move a damaged manifest out of the way, and keep it as ``.bad``."""
        self.require_writable()
        path = self.path / manifest_name(extension_index)
        if path.exists():
            path.replace(path.with_suffix(".bad"))

    def clear(self) -> None:
        """Delete the sweep: manifests first, so that an interruption leaves orphaned parts only."""
        self.require_writable()
        with locate_errors(self.path, "cannot delete the sweep in"):
            files = filter(pathlib.Path.is_file, self.path.iterdir())
            manifests = [path for path in files if MANIFEST.fullmatch(path.name)]
            for path in sorted(manifests, key=lambda p: (len(p.name), p.name), reverse=True):
                unlink_manifest(path)  # the last extension first
            for folder in self._folders():
                for path in filter(pathlib.Path.is_file, folder.iterdir()):
                    if _TEMPORARY.fullmatch(path.name) or _is_of_store(path):
                        path.unlink()
                with contextlib.suppress(OSError):  # it holds files of others
                    folder.rmdir()

    def write_part(
        self, extension_index: int, name: str, arrays: Arrays, meta: dict[str, Any]
    ) -> None:
        """Write the results of a chunk, all of them or nothing.

        Args:
          extension_index: Of its manifest.
          name: Of the part.
          arrays: The outputs of its lanes.
          meta: What `read_part` returns with them, as JSON; ``sweep`` and ``chunk`` say what it is.

        Raises:
          OSError: It cannot be written, as there is no room; nothing of it is left.
        """
        self._write(f"{_folder_name(extension_index)}/{name}.npz", pack(arrays, meta))
        self._failure_path(extension_index, name).unlink(missing_ok=True)

    def read_part(
        self, extension_index: int, name: str, digest: str, only: Collection[str] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Return the arrays of a chunk and its metadata.

        Args:
          extension_index: Of its manifest.
          name: Of the part.
          digest: Of the identity that it must have been written for.
          only: Names of arrays; no others are read. By default all are, and the whole is verified.

        Raises:
          FileNotFoundError: It is not done.
          Damaged: It is not what was written, or belongs to another sweep.
          ValueError: There is a folder in its place.
        """
        path = self._part_path(extension_index, name)
        refuse_folder(path)
        read = unpack(path.read_bytes(), path) if only is None else read_arrays(path, only)
        _, meta = read
        if (meta.get("sweep"), meta.get("chunk")) != (digest, name):
            raise Damaged(
                f"{path} belongs to chunk {meta.get('chunk')} of another sweep or extension"
            )
        return read

    def read_meta(self, extension_index: int, name: str) -> dict[str, Any] | None:
        """Return the metadata of a part, whatever sweep it is of; None if it is damaged."""
        path = self._part_path(extension_index, name)
        refuse_folder(path)
        try:
            return read_arrays(path, ())[1]
        except Damaged:
            return None

    def list_parts(self, extension_index: int) -> set[str]:
        """Return the names of the parts that are there, whole or not, without opening them."""
        folder = self.path / _folder_name(extension_index)
        return {path.stem for path in folder.glob("*-*.npz") if _FILE.fullmatch(path.name)}

    def part_version(self, extension_index: int, name: str) -> tuple[int, int] | None:
        """Return what changes when a part is written anew; None if it is not there."""
        try:
            stat = self._part_path(extension_index, name).stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def set_aside(self, extension_index: int, name: str) -> None:
        """Move a part that is not right out of the way, and keep it as ``.bad``.

        Nothing happens in a folder that can only be read, or if another process has moved it.
        """
        path = self._part_path(extension_index, name)
        if self.write_error is None:
            with contextlib.suppress(FileNotFoundError):  # another process was first
                path.replace(path.with_suffix(".bad"))

    def remove_part(self, extension_index: int, name: str) -> None:
        """Delete a part that another one replaces."""
        self._part_path(extension_index, name).unlink()

    def write_failure(self, extension_index: int, name: str, message: str) -> None:
        """Record that a chunk failed, and how often."""
        before = self.read_failures(extension_index).get(name, {"attempts": 0})
        text = json.dumps({"message": message, "attempts": before["attempts"] + 1})
        self._write(f"{_folder_name(extension_index, 'failed')}/{name}.json", text.encode())

    def has_failed(self, extension_index: int, name: str) -> bool:
        """Return whether the last attempt of a chunk failed."""
        return self._failure_path(extension_index, name).exists()

    def read_failures(self, extension_index: int) -> dict[str, Failure]:
        """Return the errors of the chunks that failed, by their names."""
        folder = self.path / _folder_name(extension_index, "failed")
        paths = [path for path in sorted(folder.glob("*-*.json")) if _FILE.fullmatch(path.name)]
        return {path.stem: _read_failure(path) for path in paths}

    @contextlib.contextmanager
    def locked(self, share: Share | None = None) -> Iterator[None]:
        """Be the only driver, or the only process of a share; a lock ends with its process.

        A folder that holds a sweep and can only be read is not locked: `require_writable` raises
        the error if something has to be written after all.

        Args:
          share: Of a job array, whose other shares may be written at the same time.

        Raises:
          RuntimeError: Another process drives this sweep, or this share of it.
          OSError: The folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                with locate_errors(self.path, "cannot write to"):
                    self.path.mkdir(parents=True, exist_ok=True)
                    is_alone = stack.enter_context(self._hold_lock(share))
            except OSError as error:
                if error.errno not in _READ_ONLY or not (self.path / manifest_name(0)).exists():
                    raise
                is_alone, self.write_error = False, error
            self.share = share
            if is_alone:  # another process may be writing them
                self._delete_leftovers()
            yield

    @contextlib.contextmanager
    def _hold_lock(self, share: Share | None) -> Iterator[bool]:
        """Hold the lock of the sweep, or share it and hold that of a share."""
        running = f"the sweep in {self.path}"
        if share is None:
            with hold_lock(self.path / "lock", running) as is_alone:
                yield is_alone
            return
        with hold_lock(self.path / "lock", running, is_shared=True):
            path = self.path / "locks" / share.name
            path.parent.mkdir(exist_ok=True)
            with hold_lock(path, f"part={tuple(share)} of {running}") as is_alone:
                yield is_alone

    def require_writable(self) -> None:
        """Raise the error of a folder that can only be read."""
        if self.write_error is not None:
            raise self.write_error

    def _delete_leftovers(self) -> None:
        """Delete what a writer of this store, or of this share, left behind when it was killed."""
        end = f"-{self.share.name}.tmp" if self.share else ".tmp"
        for folder in (self.path, *self._folders()):
            for path in folder.glob(f".*{end}"):
                if _TEMPORARY.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)
        locks = self.path / "locks"
        if self.share is None and locks.is_dir():  # nobody holds them
            for path in locks.iterdir():
                if _SHARE_LOCK.fullmatch(path.name) and path.is_file():
                    path.unlink()
            with contextlib.suppress(OSError):  # it holds files of others
                locks.rmdir()

    def _folders(self) -> list[pathlib.Path]:
        """Return the folders in which a store keeps files; others may have some there as well."""
        return [p for p in self.path.iterdir() if _FOLDER.fullmatch(p.name) and p.is_dir()]

    def has_manifest(self, extension_index: int) -> bool:
        """Return whether there is a manifest, whole or not."""
        return (self.path / manifest_name(extension_index)).exists()

    def _part_path(self, extension_index: int, name: str) -> pathlib.Path:
        return self.path / _folder_name(extension_index) / f"{name}.npz"

    def _failure_path(self, extension_index: int, name: str) -> pathlib.Path:
        return self.path / _folder_name(extension_index, "failed") / f"{name}.json"

    def _write(self, name: str, content: bytes, place: PlaceFn = rename) -> None:
        """Write a file of this folder, by its relative path, and the folder that it is in."""
        self.require_writable()
        path = self.path / name
        with locate_errors(path, "cannot write"):
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content, self._writer_name(), place)

    def _writer_name(self) -> str:
        """Return what no other process or thread that writes this store is called."""
        machine = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
        end = f"-{self.share.name}" if self.share else ""
        return f"{os.getpid()}-{machine}{end}"


def _folder_name(extension_index: int, kind: str = "parts") -> str:
    """Return the name of a folder of parts or failures of an extension."""
    return f"{kind}-{extension_index}" if extension_index else kind


def _is_of_store(path: pathlib.Path) -> bool:
    """Return whether a file in a folder of parts or failures is one that a store made."""
    if not _FILE.fullmatch(path.name):
        return False
    if path.parent.name.startswith("failed"):
        return path.suffix == ".json" and _parse_failure(path) is not None
    return path.suffix == ".bad" or (path.suffix == ".npz" and is_part(path))


def _parse_failure(path: pathlib.Path) -> Failure | None:
    """Return the record of a failure, or None if the file is damaged or of others."""
    try:
        record = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, IsADirectoryError):
        return None
    is_record = isinstance(record, dict) and set(record) == {"message", "attempts"}
    return record if is_record else None


def _read_failure(path: pathlib.Path) -> Failure:
    """Return the record of a failure, also if nothing else is known of it."""
    return _parse_failure(path) or {"message": "the record of it is damaged", "attempts": 0}
