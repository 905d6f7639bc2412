"""The explorer of sweeps, as a function of a result or of the folder of a store."""

import os
from typing import TYPE_CHECKING, Any, Union

from jaxmom.explorer.extra import require_extra

if TYPE_CHECKING:
    import xarray


def explore(
    runs: Union["xarray.Dataset", "xarray.DataTree", str, os.PathLike[str]],
    *,
    fn: str = "train",
) -> Any:
    """Explore a sweep in a browser or a notebook.

    A map shows the best value over any two axes; the other axes are held at a value by a slider, or
    reduced: the best of all, or the median over seeds. A second map and a bar show how many lanes
    diverged, failed or are missing. A selection in any map or histogram, or of the best lanes, is
    shown on all axes. Hovering shows a cell and the call that runs its lane again; a click shows
    its curves. A store is read anew by a button or every few seconds, so that a sweep can be
    watched while it runs.

    Args:
      runs: What `sweep`, `halving` or `open_sweep` returned, or the folder of a store. Each group
        of a DataTree has a tab.
      fn: The name of the swept function in the calls that are shown, which a store does not know.

    Returns:
      A Panel viewer. A notebook shows it as the last value of a cell; ``.show()`` opens a browser,
      ``.servable()`` serves it in ``panel serve``, and ``.save("view.html")`` or
      ``.save("view.png")`` writes a view as a file; those of a DataTree are in ``.explorers``.

    Raises:
      ImportError: The extra `explore` is not installed.
      FileNotFoundError: The folder holds no sweep.
      ValueError: The data are not the result of a sweep, or have no real number for each lane.

    Example:
      >>> explore("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: there is no sweep in ...no/such/folder: it has no sweep.json.
    """
    require_extra("jm.explore")
    from jaxmom.explorer.app import open_explorer

    return open_explorer(runs, fn)
