"""A view of the explorer as a file: one page of HTML that needs no network, or a PNG."""

import io
import re
from typing import Any

import numpy as np
import xarray
from bokeh.embed import file_html
from bokeh.layouts import column, gridplot, row
from bokeh.models import Div
from bokeh.resources import INLINE
from matplotlib.figure import Figure

from jaxmom.explorer.board import Board, Choice, Picture
from jaxmom.explorer.cells import Cells
from jaxmom.plot import heatmap
from jaxmom.plot._shared import status


def write_html(board: Board, table: Any, curves: Any, text: str, title: str) -> str:
    """Return a page with the figures of a view, whose tooltips and zoom work without a server.

    Args:
      board: The figures, in no document yet.
      table: The best cells.
      curves: The figure of the curves, or None.
      text: The bar of outcomes and what else is to be said, as HTML.
      title: Of the page.
    """
    bars = [plot.figure for plot in (board.values, *board.bars.values())]
    grid: Any = gridplot(bars, ncols=4, merge_tools=False)
    maps = row(board.best.figure, board.share.figure)
    parts = [Div(text=text, width=1100), maps, grid, table, *([curves] if curves else [])]
    return write_page(column(parts), title)


def write_page(parts: Any, title: str) -> str:
    """Return a page of HTML with Bokeh's scripts in it, which needs no network.

    Args:
      parts: The layout.
      title: Of the page.
    """
    # Panel registers a script of its server for all pages, which these neither need nor find.
    return re.sub(
        r'<script [^>]*src="static/extensions/[^>]*></script>', "", file_html(parts, INLINE, title)
    )


def write_png(cells: Cells, picture: Picture, choice: Choice) -> bytes:
    """Return the map of the best values as `jaxmom.plot.heatmap` draws it, as a PNG.

    Of each bin it has the lanes of the best cell, so that seeds that diverged are marked.
    """
    figure = draw_map(cells, picture, choice)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def draw_map(cells: Cells, picture: Picture, choice: Choice) -> Figure:
    """Draw the map of the best values with matplotlib."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    table = _lanes_of_best(cells, picture, choice)
    held = [f"{name} = {cells.axes[name].texts[at]}" for name, at in choice.held.items()]
    has_holes = bool((picture.view.cell < 0).any())
    notes = [", ".join(held)] * bool(held) + ["missing: or no lane there"] * has_holes
    log = choice.log and bool(np.isfinite(picture.view.best).any())
    star = not cells.maximize
    ax = figure.add_subplot()
    heatmap(table, over="lanes", log=log, star=star, ax=ax, title="; ".join(notes))
    if len(figure.axes) > 1:
        median = f" (median over {', '.join(cells.over)})" if cells.over else ""
        figure.axes[1].set_ylabel(f"best {cells.variable.replace('_', ' ')}{median}")
    return figure


def _lanes_of_best(cells: Cells, picture: Picture, choice: Choice) -> xarray.DataArray:
    """Return the lanes of the best cell of each bin [lanes, rows, columns], with their outcomes."""
    cell = picture.view.cell
    values = np.where(cell >= 0, cells.runs[:, cell], np.nan)
    outcomes = np.where(cell >= 0, cells.status[:, cell], status.MISSING)
    rows = cells.axes[choice.y].centers if choice.y else np.array([""])
    dims = ("lanes", choice.y or "all", choice.x)
    coords: dict[str, Any] = {dims[1]: rows, dims[2]: cells.axes[choice.x].centers}
    coords["status"] = (dims, outcomes)
    table = xarray.DataArray(values, coords, dims)
    return table if len(values) > 1 else table[0]
