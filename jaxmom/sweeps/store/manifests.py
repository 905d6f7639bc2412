"""The manifests of a store: what was swept, as JSON with a checksum.

The manifest of an extension has a copy of the one before it, by which that can be written again if
it is damaged.
"""

import hashlib
import json
import pathlib
import re
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]

FORMAT = 3  # from which on groups have widths of their own
HALVING = "halving"  # the key of a manifest whose folder holds a halving and no sweep
MANIFEST = re.compile(r"sweep(-\d+)?\.json")

_PREVIOUS = "previous"  # the key of the copy
_CHECKSUM = "checksum"
_IDENTITY = {"space", "labels", "programs", "width", "options", "settings", "versions", "backend"}
_ADVICE = (
    "The same call of jm.sweep writes it again, if a later manifest or parts of that sweep are "
    'there; resume="fresh" starts over.'
)


class DamagedManifest(ValueError):
    """A manifest that does not have the content that was written.

    Args:
      problem: What is wrong with which file.
      extension_index: The number of the manifest.
      advice: What to do about it.
    """

    def __init__(self, problem: str, extension_index: int, advice: str = _ADVICE):
        super().__init__(f"{problem} {advice}")
        self.problem, self.extension_index = problem, extension_index


def manifest_name(extension_index: int) -> str:
    """Return the name of the file of a manifest."""
    return f"sweep-{extension_index}.json" if extension_index else "sweep.json"


def encode_manifest(manifest: Manifest, previous: Manifest | None = None) -> bytes:
    """Return the content of a file.

    Args:
      manifest: Of a sweep or of an extension.
      previous: The one that it extends.
    """
    manifest = {"format": FORMAT, **manifest}
    if previous is not None:
        manifest[_PREVIOUS] = _leave_out(previous, _PREVIOUS)
    return json.dumps(manifest | {_CHECKSUM: _digest(manifest)}, indent=1).encode()


def read_manifest(folder: pathlib.Path, extension_index: int) -> Manifest:
    """Return a manifest of a folder.

    Raises:
      DamagedManifest: It is not what was written, or is not there.
      ValueError: It is of a later format than this version reads.
    """
    path = folder / manifest_name(extension_index)
    refuse_folder(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf8"))
        is_later = manifest["format"] > FORMAT
        if not is_later:
            _check(manifest)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        problem = f"{path} is not the manifest of a sweep, or is damaged: {error}."
        raise DamagedManifest(problem, extension_index) from error
    if is_later:
        raise ValueError(
            f"{path} has format {manifest['format']}, and this version of jaxmom reads formats up "
            f"to {FORMAT}; install a later one."
        )
    return manifest


def read_copy(folder: pathlib.Path, extension_index: int) -> Manifest | None:
    """Return the copy of a manifest in the next one; None if there is none."""
    try:
        copy = read_manifest(folder, extension_index + 1)[_PREVIOUS]
    except (KeyError, ValueError):
        return None
    return _leave_out(copy, _CHECKSUM)


def unlink_manifest(path: pathlib.Path) -> None:
    """Delete a manifest; a file that is none, or that is damaged, is kept as ``.bad``."""
    try:
        _check(json.loads(path.read_text(encoding="utf8")))
    except (ValueError, KeyError, TypeError):
        path.replace(path.with_suffix(".bad"))
    else:
        path.unlink()


def refuse_folder(path: pathlib.Path) -> None:
    """Refuse a folder that has the name of a file of the store."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder, and a store keeps a file of this name; move it away, or choose "
            "another store."
        )


def _leave_out(manifest: Manifest, key: str) -> Manifest:
    return {name: value for name, value in manifest.items() if name != key}


def _digest(manifest: Manifest) -> str:
    content = _leave_out(manifest, _CHECKSUM)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check(manifest: Manifest) -> None:
    """Raise an error if a manifest is incomplete, or not what was written."""
    if not set(manifest["identity"]) >= _IDENTITY:
        raise ValueError("its identity is incomplete")
    if manifest["format"] > 1 and manifest[_CHECKSUM] != _digest(manifest):
        raise ValueError("its checksum is not that of its content")
