"""The lock of a store: one driver at a time, until it is done or its process ends."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO

_HELD: set[IO[str]] = set()  # by this process


@contextlib.contextmanager
def hold_lock(path: pathlib.Path) -> Iterator[bool]:
    """Hold a lock file, and yield whether this is surely the only driver.

    Without locks (Windows, some network folders) two drivers do the same work twice and no harm:
    parts are immutable.

    Raises:
      RuntimeError: Another driver holds it.
      ValueError: The file is not a lock.
      OSError: It cannot be written.
    """
    with open(path, "a+", encoding="utf8") as file:
        is_alone = _acquire(file, path)
        _HELD.add(file)
        try:
            yield is_alone
        finally:
            _HELD.discard(file)
            if is_alone:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked may have a copy


def _acquire(file: IO[str], path: pathlib.Path) -> bool:
    file.seek(0)
    holder = file.read().strip()
    if not re.fullmatch(r"(\d+ on .*)?", holder):
        raise ValueError(
            f"{path} is a file of something else, and a store needs one of this name; choose "
            "another folder."
        )
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(
            f"process {holder or '(unknown)'} is running the sweep in {path.parent}; wait for it "
            "or stop it. More workers are given by executor=, not by a second driver."
        ) from None
    except (ImportError, OSError):
        return False
    file.truncate(0)
    with contextlib.suppress(OSError):  # on a full disk, writing a part will say what to do
        os.write(file.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
    return True


def _drop_inherited() -> None:
    """Close the locks of the parent in a forked child, so that they end with the parent."""
    for file in _HELD:
        with contextlib.suppress(OSError):
            file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited)
