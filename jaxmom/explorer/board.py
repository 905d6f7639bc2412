"""All figures of one view of a sweep: a session updates them, and a file holds them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from bokeh.models import DataTable, TableColumn
from numpy.typing import NDArray

from jaxmom.explorer import calls, figures, views
from jaxmom.explorer.axes import Axis
from jaxmom.explorer.cells import OUTCOMES, Cells
from jaxmom.explorer.views import MapView, Selection, ValueBins

if TYPE_CHECKING:
    import xarray

TOP = 20
_ONE_ROW = Axis("", "", np.zeros(1), np.zeros(1, np.intp), [""], np.array([""]), {}, "listed")


class Choice(NamedTuple):
    """What a view shows.

    Attributes:
      x: The axis of the columns of the map.
      y: That of its rows, or "" for one row.
      held: Axis -> the bin at which it is held.
      log: Whether colors are logarithmic.
    """

    x: str
    y: str
    held: Mapping[str, int]
    log: bool


class Board(NamedTuple):
    """The figures of a view.

    Attributes:
      best: The map of the best values.
      share: The map of the share of cells that ended well.
      bars: Axis -> its histogram.
      values: The histogram of the values.
    """

    best: figures.MapPlot
    share: figures.MapPlot
    bars: dict[str, figures.BarsPlot]
    values: figures.BarsPlot


class Picture(NamedTuple):
    """What is computed for a choice, whatever is selected.

    Attributes:
      among: [cells] those that are shown.
      places: [cells] their bins on the map.
      shape: The rows and columns of the map.
      view: What its bins hold.
      bins: The bins of the values.
    """

    among: NDArray[np.bool_]
    places: NDArray[np.intp]
    shape: tuple[int, int]
    view: MapView
    bins: ValueBins


def compute_picture(cells: Cells, bins: ValueBins, choice: Choice) -> Picture:
    """Return what a choice shows of the cells."""
    among = views.hold(cells, choice.held)
    places = views.pair_bins(cells, choice.x, choice.y)
    shape = views.map_shape(cells, choice.x, choice.y)
    return Picture(among, places, shape, views.view_map(cells, places, shape, among), bins)


def make_board(cells: Cells, log: bool) -> Board:
    """Make the empty figures for some cells."""
    name = cells.variable.replace("_", " ")
    best = figures.make_map(f"best {name}", log=log)
    share = figures.make_map("share of cells whose lanes all ended well", limits=(0, 1))
    bars = {axis: figures.make_bars(axis) for axis in cells.axes}
    return Board(best, share, bars, figures.make_bars("values"))


def show_picture(
    board: Board,
    runs: "xarray.Dataset",
    cells: Cells,
    picture: Picture,
    choice: Choice,
    fn: str,
) -> None:
    """Show a picture in all figures, without a selection."""
    x, y = cells.axes[choice.x], cells.axes.get(choice.y, _ONE_ROW)
    view = picture.view
    hover = figures.explain_bins(cells, view, calls.encode_arguments(runs, cells, view), fn)
    for plot, values in ((board.best, view.best), (board.share, view.share_ok)):
        figures.show_map(plot, view, values, x, y)
        plot.hover.formatters = {"@bin": hover}
    by_outcome = {
        name: views.count_along(cells, picture.among & (cells.outcome == code))
        for code, name in enumerate(OUTCOMES)
    }
    for name, axis in cells.axes.items():
        counts = {outcome: along[name] for outcome, along in by_outcome.items()}
        figures.show_axis_ticks(board.bars[name], axis)
        figures.show_bars(board.bars[name], np.arange(axis.size + 1.0), counts)
    figures.show_value_ticks(board.values, picture.bins, cells.variable)
    counts = {
        outcome: views.count_values(picture.bins, picture.among & (cells.outcome == code))
        for code, outcome in enumerate(OUTCOMES)
    }
    figures.show_bars(board.values, picture.bins.edges, counts)


def show_selection(
    board: Board,
    cells: Cells,
    picture: Picture,
    selection: Selection,
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Show a selection in all figures.

    Returns:
      The selected cells [cells], and the numbers of the best of them.
    """
    mask, empty = picture.among, selection.is_empty
    if not empty:
        mask = views.select(cells, selection, picture.among)
    counts = np.bincount(picture.places[mask], minlength=picture.view.best.size)
    is_shown = np.ones(picture.shape, bool) if empty else (counts > 0).reshape(picture.shape)
    for plot in (board.best, board.share):
        figures.hide_unselected(plot, is_shown)
    along = None if empty else views.count_along(cells, mask)
    for name, axis in cells.axes.items():
        plot, edges = board.bars[name], np.arange(axis.size + 1.0)
        figures.show_selected_bars(plot, edges, None if along is None else along[name])
        low, high = selection.bins.get(name, (0, -1))
        plot.box.update(visible=name in selection.bins, left=low, right=high + 1)
    chosen = None if empty else views.count_values(picture.bins, mask)
    figures.show_selected_bars(board.values, picture.bins.edges, chosen)
    _show_range(board.values, picture.bins, selection)
    top = views.best_cells(cells, mask, TOP)
    _mark_best(board.best, picture, top)
    return mask, top


def _show_range(plot: figures.BarsPlot, bins: ValueBins, selection: Selection) -> None:
    """Show the selected range of values on their histogram."""
    if selection.values is None:
        plot.box.visible = False
        return
    ends = np.array(selection.values)
    low, high = np.log10(np.maximum(ends, 10.0 ** bins.edges[0])) if bins.is_log else ends
    plot.box.update(visible=True, left=float(low), right=float(high))


def _mark_best(plot: figures.MapPlot, picture: Picture, top: NDArray[np.intp]) -> None:
    """Put a star on the bin of the best selected cell, if there is one."""
    rows, columns = np.unravel_index(picture.places[top[:1]], picture.shape)
    plot.best.data = {"x": columns + 0.5, "y": rows + 0.5}


def make_table(rows: dict[str, list[Any]]) -> Any:
    """Return the table of the best cells.

    It is made anew for each selection: Bokeh does not draw rows anew that remain as many.

    Args:
      rows: From `list_top`.
    """
    widths = {"rank": 40, "call": 600}
    return DataTable(
        source=figures.new_source(rows),
        columns=[
            TableColumn(field=column, title=column, width=widths.get(column, 90)) for column in rows
        ],
        index_position=None,
        height=240,
        width=1150,
        sortable=False,
        reorderable=False,
        autosize_mode="none",
        name="table",
    )


def list_top(
    runs: "xarray.Dataset", cells: Cells, top: NDArray[np.intp], fn: str
) -> dict[str, list[Any]]:
    """Return the table of some cells, with the call of the first lane of each."""
    rows = []
    for rank, cell in enumerate(top.tolist(), 1):
        arguments = calls.lane_arguments(runs, cells, cell)
        row = {"rank": rank, cells.variable: f"{cells.value[cell]:.8g}"}
        row |= {"outcome": OUTCOMES[cells.outcome[cell]]}
        row |= {name: str(arguments[name][0]) for name in cells.axes if name in arguments}
        rows.append(row | {"call": calls.write_call(fn, arguments)})
    columns = ("rank", cells.variable, "outcome", *cells.axes, "call")
    return {column: [row.get(column, "") for row in rows] for column in columns}
