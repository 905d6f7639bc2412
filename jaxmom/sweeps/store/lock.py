"""The locks of a store: one driver, or one process for each part of a job array.

A driver holds the file ``lock`` alone. The processes of a job array share it, and each of them
holds a file of its own in the folder ``locks``. A lock ends with its process.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO

_HELD: set[IO[str]] = set()  # by this process


@contextlib.contextmanager
def hold_lock(path: pathlib.Path, name: str, *, is_shared: bool = False) -> Iterator[bool]:
    """Hold a lock file, and yield whether it surely keeps others out.

    Without locks (Windows, some network folders) two processes do the same work twice and no harm:
    parts are immutable.

    Args:
      path: The file.
      name: What another holder would be running, for the error.
      is_shared: Whether others may share it.

    Raises:
      RuntimeError: Another process holds it.
      ValueError: The file is not a lock.
      OSError: It cannot be written.
    """
    with open(path, "a+", encoding="utf8") as file:
        is_locked = _acquire(file, path, name, is_shared)
        _HELD.add(file)
        try:
            yield is_locked
        finally:
            _HELD.discard(file)
            if is_locked:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked may have a copy


def _acquire(file: IO[str], path: pathlib.Path, name: str, is_shared: bool) -> bool:
    """Lock an open file, and return whether it is locked; False where there are no locks.

    The process that holds a lock alone writes its name into the file, for the error of others. Who
    shares it empties the file, as that name is of a process that has ended.
    """
    file.seek(0)
    holder = file.read().strip()
    if not re.fullmatch(r"(\d+ on .*)?", holder):
        raise ValueError(
            f"{path} is a file of something else, and a store needs one of this name; choose "
            "another folder."
        )
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(
            f"{_describe_holder(holder, path)} {name}; wait for it or stop it. More workers are "
            "given by executor= or as parts of a job array, part=(i, n), not by a second driver."
        ) from None
    except (ImportError, OSError):
        return False
    file.truncate(0)
    with contextlib.suppress(OSError):  # on a full disk, writing a part will say what to do
        if not is_shared:
            os.write(file.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
    return True


def _describe_holder(holder: str, path: pathlib.Path) -> str:
    """Name who holds a lock: a process, or the parts of a job array, which write no name."""
    if holder:
        return f"process {holder} is running"
    folder = path.with_name("locks")
    if folder.is_dir():
        return f"a job array (the files in {folder} name its processes) is running"
    return "process (unknown) is running"


def _drop_inherited() -> None:
    """Close the locks of the parent in a forked child, so that they end with the parent."""
    for file in _HELD:
        with contextlib.suppress(OSError):
            file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited)
