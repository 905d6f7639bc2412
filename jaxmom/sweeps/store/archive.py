"""The npz files of a store: arrays with a checksum each, and one for the whole file."""

import contextlib
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Collection, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.program import Arrays

# The last bytes of a file: the comment of the zip archive, so that `numpy.load` reads the file.
_MARK = b"sha256:"
_TAIL = len(_MARK) + 64
_META = "meta.json"  # a name that no array has: theirs end in .npy
_OLD_META = "meta.npy"  # of format 1, without checksums of arrays


class Damaged(Exception):
    """A file of a store does not have the content that was written."""


def is_part(path: pathlib.Path) -> bool:
    """Return whether a file ends in the mark of a part, so that it is not a file of others."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL, 0))
        return file.read(len(_MARK)) == _MARK


def pack(arrays: Arrays, meta: dict[str, Any]) -> bytes:
    """Return arrays and their metadata as an npz file that ends in its own checksum.

    The bytes depend on the arguments alone, not on the time. A reader of one array verifies it by
    its own checksum, and need not read the file whole.

    Args:
      arrays: By name.
      meta: Anything that is JSON.

    Example:
      >>> content = pack({"a": np.arange(3.0)}, {"chunk": "0-0"})
      >>> unpack(content, pathlib.Path("0-0.npz"))[0]
      {'a': array([0., 1., 2.])}
    """
    buffer, digests = io.BytesIO(), {}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            digests[name] = hashlib.sha256(content.getbuffer()).hexdigest()
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer())
        # npy files know bfloat16 as two bytes without a type.
        dtypes = {name: array.dtype.name for name, array in arrays.items() if _is_opaque(array)}
        text = json.dumps(meta | {"sha256": digests, "dtypes": dtypes})
        archive.writestr(zipfile.ZipInfo(_META), text)
    body = buffer.getvalue()[:-2] + _TAIL.to_bytes(2, "little")  # the length of the comment
    return body + _MARK + hashlib.sha256(body).hexdigest().encode()


def _is_opaque(array: NDArray[Any]) -> bool:
    """Return whether NumPy has no type of its own for an array, as for bfloat16."""
    return array.dtype.kind == "V"


def unpack(content: bytes, path: pathlib.Path) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the metadata of a file, all of it verified.

    Args:
      content: All bytes of the file.
      path: Its path, for the error.

    Raises:
      Damaged: The checksum is not that of the content.
    """
    body, tail = content[:-_TAIL], content[-_TAIL:]
    if tail != _MARK + hashlib.sha256(body).hexdigest().encode():
        raise Damaged(f"{path} is damaged: its checksum is not that of its content")
    with _open_zip(io.BytesIO(content), path) as archive:
        return _read(archive)


def read_arrays(path: pathlib.Path, names: Collection[str]) -> tuple[Arrays, dict[str, Any]]:
    """Return some arrays of a file and its metadata, reading and verifying nothing else.

    A file of format 1 is read whole, since it has one checksum only.

    Args:
      path: Of the file.
      names: Of arrays; those that are not there are left out.

    Raises:
      FileNotFoundError: There is no file.
      Damaged: What was read is not what was written.
    """
    with open(path, "rb") as file:
        with _open_zip(file, path) as archive:
            if _META in archive.namelist():
                return _read(archive, names)
        file.seek(0)
        return unpack(file.read(), path)


@contextlib.contextmanager
def _open_zip(file: IO[bytes], path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Open a file, and say of any error in it that the file is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (Damaged, zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error


def _read(
    archive: zipfile.ZipFile, names: Collection[str] | None = None
) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays of these names, or all, and the metadata of an open file of any format."""
    members = archive.namelist()
    meta_name = _META if _META in members else _OLD_META
    meta = _read_meta(archive, meta_name)
    there = [name.removesuffix(".npy") for name in members if name != meta_name]
    wanted = there if names is None else [name for name in there if name in names]
    return {name: _read_array(archive, name, meta) for name in wanted}, meta


def _read_meta(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """Return the metadata, which is text in format 2 and an array with a text in format 1."""
    content = archive.read(name)  # which verifies the checksum that zip itself has
    if name == _META:
        return json.loads(content)
    return json.loads(str(np.lib.format.read_array(io.BytesIO(content))))


def _read_array(archive: zipfile.ZipFile, name: str, meta: dict[str, Any]) -> Any:
    """Return an array in its own type, verified if the file has a checksum of it."""
    content = archive.read(f"{name}.npy")
    known = meta.get("sha256", {}).get(name)
    if known is not None and hashlib.sha256(content).hexdigest() != known:
        raise Damaged(f"the checksum of {name!r} is not that of its content")
    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    dtype = meta.get("dtypes", {}).get(name)
    return array if dtype is None else array.view(dtype)
