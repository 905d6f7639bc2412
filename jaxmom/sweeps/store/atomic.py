"""Files that are written whole or not at all, whatever happens to the process or the machine."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

# ``place(temporary, path)`` gives a file its name.
PlaceFn: TypeAlias = Callable[[pathlib.Path, pathlib.Path], None]

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


def write_atomically(path: pathlib.Path, content: bytes, writer: str, place: PlaceFn) -> None:
    """Put a file in its place whole; if the power goes, it is there or it is not.

    Args:
      path: Its place.
      content: All of it.
      writer: The name of this process in that of the temporary file, which lies beside it.
      place: `rename` or `link_new`.

    Raises:
      OSError: It cannot be written; nothing of it is left.
    """
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        place(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself
    finally:
        os.close(folder)


def rename(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Give a file its name, in the place of any file that has it."""
    os.replace(temporary, path)


def link_new(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Give a file its name, unless another file has it: of several processes, the first counts.

    On disks without links the last one counts.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            os.replace(temporary, path)
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locate_errors(path: pathlib.Path, problem: str) -> Iterator[None]:
    """Say in errors of the system what was done to which file, and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{problem} {path} ({error.strerror}); the chunks that are done stay as they are. Make "
            "room or choose another folder, and run the same call again",
        ) from error
