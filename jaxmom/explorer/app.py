"""The explorer as a Panel viewer, which opens a session for each browser tab."""

import os
from collections.abc import Callable
from typing import Any

import panel as pn
import xarray

from jaxmom.explorer.cells import list_variables
from jaxmom.explorer.session import Session
from jaxmom.explorer.viewer import App
from jaxmom.sweeps.store.reader import open_sweep


class Explorer(App):
    """The explorer of one Dataset.

    Args:
      read: Returns the result of the sweep as it is now.
      fn: The name of the swept function in the calls that are shown.
    """

    def __init__(self, read: Callable[[], xarray.Dataset], fn: str):
        super().__init__()
        self._read, self._fn = read, fn

    def __panel__(self) -> Any:
        """Return the widgets and figures of a new session."""
        return self.open_session().layout

    def open_session(self) -> Session:
        """Return a new session."""
        return Session(self._read, self._fn)

    def save(self, path: str | os.PathLike[str], **choices: Any) -> None:
        """Write a view as a file.

        Args:
          path: Ending in ".html" for a page with all figures that needs no network, or in ".png"
            for the map of the best values.
          **choices: `x`, `y`, `variable`, `record` (an index), `over` (a list of dims), `maximize`,
            `log` and `best` (a share), as the widgets have them.

        Raises:
          ValueError: The path has another ending, or a choice does not exist.
        """
        kind = os.path.splitext(path)[1]
        if kind not in (".html", ".png"):
            raise ValueError(f"a view is saved as .html or .png; got {os.fspath(path)!r}.")
        session = self.open_session()
        session.choose(**choices)
        content = session.write_html().encode() if kind == ".html" else session.write_png()
        with open(path, "wb") as file:
            file.write(content)


class ExplorerTabs(App):
    """An explorer for each group of a DataTree.

    Args:
      explorers: Group -> its explorer.

    Attributes:
      explorers: The argument.
    """

    def __init__(self, explorers: dict[str, Explorer]):
        super().__init__()
        self.explorers = explorers

    def __panel__(self) -> Any:
        """Return the tabs; each is filled when it is first chosen."""
        return pn.Tabs(*self.explorers.items(), dynamic=True)


def open_explorer(runs: Any, fn: str) -> Explorer | ExplorerTabs:
    """Return the explorer of a result or of the folder of a store; tabs if it is a DataTree.

    Raises:
      FileNotFoundError: The folder holds no sweep.
      ValueError: The data are not the result of a sweep, or have no real number for each lane.
    """
    read = (lambda: open_sweep(runs)) if isinstance(runs, str | os.PathLike) else (lambda: runs)
    result = read()
    if isinstance(result, xarray.DataTree) and result.children:
        groups = [node.path for node in result.leaves]
        return ExplorerTabs({path.strip("/"): _open_node(read, path, fn) for path in groups})
    return _open_node(read, "/", fn)


def _open_node(read: Callable[[], Any], path: str, fn: str) -> Explorer:
    """Return the explorer of one node of a result."""

    def read_node() -> xarray.Dataset:
        result = read()
        return result[path].to_dataset() if isinstance(result, xarray.DataTree) else result

    _check(read_node())
    return Explorer(read_node, fn)


def _check(runs: Any) -> None:
    """Refuse data that are not the result of a sweep, or cannot be shown."""
    if not isinstance(runs, xarray.Dataset) or "status" not in runs.coords:
        raise ValueError(
            "the explorer shows what jm.sweep, jm.halving or jm.open_sweep returned, with its "
            f"status, or the folder of a store; got {type(runs).__name__}."
        )
    if not runs.status.size:
        raise ValueError("the sweep has no lanes, so that there is nothing to explore.")
    if not runs.status.dims:
        raise ValueError("the sweep has one lane and no axis; there is nothing to explore.")
    list_variables(runs)
