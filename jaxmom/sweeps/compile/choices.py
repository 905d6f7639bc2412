"""Widths and programs that searches have found, remembered for the next sweep of the same function.

A choice is kept for this process, and as a small file in the cache folder of the user for the next
one. Its key has all that the speed depends on: the operations of a lane and their shapes, the
machine, the devices and the versions of JAX. What is remembered only takes the place of a search:
the width and the options are part of the identity of a sweep, whoever chose them.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import platform
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxmom.sweeps.compile.identity import read_settings, read_versions
from jaxmom.sweeps.compile.program import TracedGroup

_FOLDER_VARIABLE = "JAXMOM_CACHE_DIR"
_KEPT = 1000  # files; older ones are deleted
_SEARCHES = 3  # changes with what a search tries, so that older choices count for nothing


class Choice(NamedTuple):
    """The width of a sweep and the options of its program.

    Attributes:
      width: Lanes at a time on each device.
      options: As for `jaxmom.sweep`.
    """

    width: int
    options: Mapping[str, Any]


def cache_folder() -> pathlib.Path:
    """Return the folder of what is remembered: that of the environment variable, or the user's.

    Returns:
      The folder that ``JAXMOM_CACHE_DIR`` names, or else the one that the platform has for the
      caches of a user, such as ``~/.cache/jaxmom``. It need not exist.
    """
    given = os.environ.get(_FOLDER_VARIABLE)
    if given:
        return pathlib.Path(given)
    import platformdirs

    return pathlib.Path(platformdirs.user_cache_dir("jaxmom"))


def recall_choice(group: TracedGroup, devices: Sequence[Any]) -> Choice | None:
    """Return what an earlier search found for a group on such devices, or None.

    Args:
      group: The group whose lanes the search ran.
      devices: To run on.

    Returns:
      The choice, for any number of lanes. A file that cannot be read, or is damaged, counts as
      none.
    """
    try:
        content = json.loads(_choice_path(group, devices).read_text())
        width, options = content["width"], content["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_choice = isinstance(width, int) and width > 0 and isinstance(options, dict)
    return Choice(width, options) if is_choice else None


def remember_choice(
    group: TracedGroup, devices: Sequence[Any], width: int, options: Mapping[str, Any]
) -> None:
    """Keep what a search found; a folder that cannot be written to is left as it is.

    Args:
      group: The group whose lanes the search ran.
      devices: On which it ran them.
      width: The fastest.
      options: Of the fastest program.
    """
    path = _choice_path(group, devices)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump({"width": width, "options": dict(options)}, file)
        os.replace(file.name, path)
        _delete_oldest(path.parent)


def _choice_path(group: TracedGroup, devices: Sequence[Any]) -> pathlib.Path:
    """Return the file of a choice, named after all that the speed of a program depends on.

    That is the program of a lane, without the values of its data, the processor and how much of it
    this process may use, the devices, the versions of JAX and its settings.
    """
    machine = [platform.machine(), _read_processor(), count_cores()]
    kinds = [len(devices), len(set(devices)), devices[0].platform, devices[0].device_kind]
    versions = [_SEARCHES, *sorted(read_versions().items())]
    parts = [group.text, machine, kinds, versions, read_settings()]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / "choices" / f"{digest[:32]}.json"


@functools.cache
def _read_processor() -> str:
    """Return the name of the processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _delete_oldest(folder: pathlib.Path) -> None:
    """Delete the files that were written first, if there are more than are kept."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in files[:-_KEPT]:
        path.unlink(missing_ok=True)
