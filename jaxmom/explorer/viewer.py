"""The base of the apps: a Panel viewer that a notebook shows without `pn.extension()`."""

from typing import Any

import panel as pn


class App(pn.viewable.Viewer):
    """A viewer that loads the scripts of Panel when a notebook shows it for the first time."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not pn.extension._loaded:
            pn.extension()
        return super()._repr_mimebundle_(include, exclude)
