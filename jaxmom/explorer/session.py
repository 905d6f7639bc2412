"""One open explorer: its widgets, and what is shown when one of them changes."""

import html
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from bokeh.events import SelectionGeometry, Tap

from jaxmom.explorer import board, calls, figures, files, views
from jaxmom.explorer.board import Choice
from jaxmom.explorer.cells import list_variables, read_cells
from jaxmom.explorer.curves import CellCurves, read_curves
from jaxmom.explorer.status_bar import write_status
from jaxmom.explorer.views import Selection

if TYPE_CHECKING:
    import xarray

_BEST = {"all": None, "10 %": 0.1, "1 %": 0.01, "0.1 %": 0.001}
_ALL = "best of all"
_CURVES = 5  # cells whose curves are shown at a time
_SECONDS = 5
_WIDTH = 230  # of the widgets at the side


class Session:
    """The widgets and figures of one browser tab or notebook cell.

    Args:
      read: Returns the result of the sweep as it is now.
      fn: The name of the swept function in the calls that are shown.

    Attributes:
      cells: What is shown.
      selection: Which of them are selected.
      layout: All of it, as Panel shows it.
    """

    def __init__(self, read: Callable[[], "xarray.Dataset"], fn: str):
        self._read, self.fn, self.runs = read, fn, read()
        self.selection = Selection()
        self._curves: list[tuple[str, CellCurves]] = []
        self._is_busy = False
        self._make_widgets()
        self.status, self.call = (pn.pane.HTML(sizing_mode="stretch_width") for _ in range(2))
        self.sliders: dict[str, Any] = {}  # of the axes that the map does not have
        self.held, self.figures = pn.Column(), pn.Column()
        self.table = pn.pane.Bokeh()
        self.curves = pn.pane.Bokeh(figures.draw_curves([]))
        self.reload()
        self.layout = self._lay_out()

    def _make_widgets(self) -> None:
        """Make the widgets that do not depend on the cells."""
        runs, w = self.runs, pn.widgets
        dims = [str(dim) for dim in runs.status.dims]
        seeds = ["seed"] if "seed" in dims and len(dims) > 1 else []
        self.variable = w.Select(label="value", options=list_variables(runs))
        steps = runs["step"].values.tolist() if "step" in runs.coords else [0]
        records = {str(step): number for number, step in enumerate(steps)}
        self.record = w.DiscreteSlider(label="record at update", options=records)
        self.record.value = len(steps) - 1
        self.over = w.MultiChoice(label="median over", options=dims, value=seeds)
        self.maximize = w.Checkbox(label="large is good")
        self.log = w.Checkbox(label="logarithmic colors")
        self.x, self.y = w.Select(label="x"), w.Select(label="y")
        self.best = w.RadioButtonGroup(label="select the best", options=_BEST)
        self.clear = w.Button(label="clear the selection")
        self.refresh = w.Button(label="read again")
        self.watch = w.Checkbox(label=f"read again every {_SECONDS} s")
        for widget in (self.variable, self.record, self.over, self.x, self.y):
            widget.width = _WIDTH
        for widget in (self.variable, self.record, self.over, self.maximize):
            widget.param.watch(lambda event: self.reload(), "value")
        self.log.param.watch(lambda event: self._draw(), "value")
        for widget in (self.x, self.y):
            widget.param.watch(lambda event: self._choose_axes(), "value")
        self.best.param.watch(lambda event: self.select(best=event.new), "value")
        self.clear.on_click(lambda event: self.clear_selection())
        self.refresh.on_click(lambda event: self.reload(anew=True))
        self.watch.param.watch(self._watch, "value")
        self._timer: Any = None

    def _watch(self, event: Any) -> None:
        """Start or stop reading the sweep every few seconds."""
        if event.new:
            self._timer = pn.state.add_periodic_callback(
                lambda: self.reload(anew=True), period=1000 * _SECONDS
            )
        elif self._timer is not None:
            self._timer.stop()

    def reload(self, anew: bool = False) -> None:
        """Read the cells and show them.

        Args:
          anew: Whether to look for lanes that have run since.
        """
        if self._is_busy:
            return
        if anew:
            self.runs = self._read()
        over = [dim for dim in self.over.value if dim in self.runs.status.dims]
        self.cells = read_cells(
            self.runs,
            self.variable.value,
            record=self.record.value,
            over=over,
            maximize=self.maximize.value,
        )
        self.bins = views.bin_values(self.cells)
        self.selection = self.selection._replace(
            bins={n: ends for n, ends in self.selection.bins.items() if n in self.cells.axes}
        )
        self._is_busy = True
        self.log.disabled = not self.bins.is_log
        self.log.value = self.bins.is_log
        self._offer_axes()
        self._is_busy = False
        self._draw()

    def _offer_axes(self) -> None:
        """Let the axes of the map be chosen among those of the cells, and others be held."""
        names = list(self.cells.axes)
        if not names:
            raise ValueError("a map needs an axis over which no median is taken; there is none.")
        x = self.x.value if self.x.value in names else names[0]
        others = [name for name in names if name != x]
        y = self.y.value if self.y.value in (*others, "") else [*others, ""][0]
        self.x.options, self.y.options = names, {**{n: n for n in others}, "(none)": ""}
        self.x.value, self.y.value = x, y
        known = {name: slider.value for name, slider in self.sliders.items()}
        self.sliders = {
            name: self._make_slider(name, known.get(name, -1))
            for name in names
            if name not in (x, y)
        }
        self.held[:] = list(self.sliders.values())

    def _make_slider(self, name: str, value: int) -> Any:
        """Return the slider that holds an axis at a bin, or at none."""
        texts = self.cells.axes[name].texts
        numbers = {text: number for number, text in enumerate(texts)}
        options = {_ALL: -1, **numbers}
        slider = pn.widgets.DiscreteSlider(label=name, options=options, width=_WIDTH)
        slider.value = value if value < len(texts) else -1
        slider.param.watch(lambda event: self._show(), "value")
        return slider

    def _choose_axes(self) -> None:
        """Show another pair of axes."""
        if not self._is_busy:
            self._is_busy = True
            self._offer_axes()
            self._is_busy = False
            self._show()

    def choose(self, **choices: Any) -> None:
        """Set widgets by their names.

        Args:
          **choices: Any of `x`, `y`, `variable`, `record`, `over`, `maximize`, `log`, `best`.

        Raises:
          ValueError: There is no such widget, or it does not have the value.
        """
        names = ("variable", "record", "over", "maximize", "log", "x", "y", "best")
        unknown = sorted(set(choices) - set(names))
        if unknown:
            raise ValueError(f"a view has the choices {list(names)}, not {unknown}.")
        for name in names:  # in this order: the axes that there are depend on the medians
            if name in choices:
                _set_widget(name, getattr(self, name), choices[name])

    def choice(self) -> Choice:
        """Return what the widgets say."""
        held = {name: one.value for name, one in self.sliders.items() if one.value >= 0}
        return Choice(self.x.value, self.y.value, held, self.log.value)

    def _draw(self) -> None:
        """Make all figures anew."""
        if self._is_busy:
            return
        self.board = board.make_board(self.cells, self.log.value)
        for plot in (self.board.best, self.board.share):
            plot.figure.on_event(SelectionGeometry, self._brush_map)
            plot.figure.on_event(Tap, self._click_map)
        for name, bars in self.board.bars.items():
            bars.figure.on_event(
                SelectionGeometry, lambda event, name=name: self._brush_axis(event, name)
            )
        self.board.values.figure.on_event(SelectionGeometry, self._brush_values)
        self._show()
        wrapped = [pn.pane.Bokeh(one) for one in (self.board.best.figure, self.board.share.figure)]
        bars = [self.board.values, *self.board.bars.values()]
        self.figures[:] = [
            pn.Row(*wrapped),
            pn.GridBox(*(pn.pane.Bokeh(one.figure) for one in bars), ncols=4),
            self.table,
        ]

    def _show(self) -> None:
        """Show the chosen axes and the held values."""
        if self._is_busy:
            return
        choice = self.choice()
        self.picture = board.compute_picture(self.cells, self.bins, choice)
        board.show_picture(self.board, self.runs, self.cells, self.picture, choice, self.fn)
        self._show_selection()

    def _show_selection(self) -> None:
        """Show the selection in all figures."""
        mask, top = board.show_selection(self.board, self.cells, self.picture, self.selection)
        table = self._make_table(top)
        table.source.selected.on_change("indices", self._click_table)
        self.table.object, self._top = table, top
        self.status.object = self.write_status(mask)

    def _make_table(self, top: Any) -> Any:
        """Return the table of some cells."""
        return board.make_table(board.list_top(self.runs, self.cells, top, self.fn))

    def write_status(self, mask: Any) -> str:
        """Return the bar of outcomes, with the number of selected cells [cells]."""
        selected = None if self.selection.is_empty else int(np.count_nonzero(mask))
        shown = views.count_outcomes(self.cells, self.picture.among)
        return write_status(
            self.cells.lanes, shown, selected, f"read at {time.strftime('%H:%M:%S')}"
        )

    def select(self, **changes: Any) -> None:
        """Change conditions of the selection, the fields of `Selection`, and show it."""
        self.selection = self.selection._replace(**changes)
        self._show_selection()

    def clear_selection(self) -> None:
        """Select nothing."""
        self.selection = Selection(best=None)
        self.best.value = None
        self._show_selection()

    def _brush_map(self, event: Any) -> None:
        """Select the bins in a box on a map."""
        box = event.geometry
        if event.final and box["type"] == "rect":
            brushed = self._bins_between(self.x.value, box["x0"], box["x1"])
            if self.y.value:
                brushed |= self._bins_between(self.y.value, box["y0"], box["y1"])
            self.select(bins={**self.selection.bins, **brushed})

    def _brush_axis(self, event: Any, name: str) -> None:
        """Select a range of an axis."""
        if event.final:
            brushed = self._bins_between(name, event.geometry["x0"], event.geometry["x1"])
            self.select(bins={**self.selection.bins, **brushed})

    def _brush_values(self, event: Any) -> None:
        """Select a range of values."""
        if event.final:
            low, high = sorted((event.geometry["x0"], event.geometry["x1"]))
            ends = (10.0**low, 10.0**high) if self.bins.is_log else (low, high)
            self.select(values=ends)

    def _bins_between(self, name: str, start: float, stop: float) -> dict[str, tuple[int, int]]:
        """Return the bins of an axis that a box touches."""
        low, high = sorted((start, stop))
        last = self.cells.axes[name].size - 1
        return {name: (max(0, int(np.floor(low))), min(last, int(np.floor(high))))}

    def _click_map(self, event: Any) -> None:
        """Show the curves of the best cell of a bin."""
        row, column = int(np.floor(event.y)), int(np.floor(event.x))
        rows, columns = self.picture.shape
        if 0 <= row < rows and 0 <= column < columns and self.picture.view.cell[row, column] >= 0:
            self.show_cell(int(self.picture.view.cell[row, column]))

    def _click_table(self, name: str, old: Any, new: list[int]) -> None:
        """Show the curves of the cell in a row of the table."""
        if new:
            self.show_cell(int(self._top[new[0]]))

    def show_cell(self, cell: int) -> None:
        """Show the calls of a cell, and its curves beside those of the cells before it."""
        arguments = calls.lane_arguments(self.runs, self.cells, cell)
        lines = [
            calls.write_call(self.fn, arguments),
            calls.write_sweep(self.fn, arguments, self.runs.attrs),
        ]
        text = "\n".join(map(html.escape, lines))
        found = read_curves(self.runs, self.cells, cell)
        if found is None:
            text += "\n(this value has no records, so there is no curve)"
        else:
            named = {name: values for name, values in arguments.items() if name in self.cells.axes}
            label = ", ".join(f"{name} = {_shorten(of[0])}" for name, of in named.items())
            self._curves = [*self._curves, (label, found)][-_CURVES:]
            self.curves.object = figures.draw_curves(self._curves)
        self.call.object = f'<pre style="white-space: pre-wrap; font-size: 11px">{text}</pre>'

    def write_html(self) -> str:
        """Return what is shown as a page that needs no server."""
        copy = board.make_board(self.cells, self.log.value)
        choice = self.choice()
        board.show_picture(copy, self.runs, self.cells, self.picture, choice, self.fn)
        mask, top = board.show_selection(copy, self.cells, self.picture, self.selection)
        curves = figures.draw_curves(self._curves) if self._curves else None
        held = ", ".join(
            f"{name} = {self.cells.axes[name].texts[at]}" for name, at in choice.held.items()
        )
        text = self.write_status(mask) + html.escape(held)
        return files.write_html(
            copy, self._make_table(top), curves, text, f"jaxmom: {self.cells.variable}"
        )

    def write_png(self) -> bytes:
        """Return the map of the best values as a PNG."""
        return files.write_png(self.cells, self.picture, self.choice())

    def _lay_out(self) -> Any:
        """Return the layout of all parts."""
        controls = [self.x, self.y, self.held, self.variable, self.over, self.maximize, self.log]
        if "step" in self.runs.coords:
            controls.insert(4, self.record)
        controls += [pn.pane.HTML("select the best"), self.best, self.clear]
        controls += [self.refresh, self.watch]
        save = pn.widgets.FileDownload
        page = save(
            callback=lambda: io.StringIO(self.write_html()), filename="view.html", width=_WIDTH
        )
        picture = save(
            callback=lambda: io.BytesIO(self.write_png()), filename="view.png", width=_WIDTH
        )
        controls += [page, picture]
        side = pn.Column(*controls, width=260)
        below = pn.Row(self.curves, pn.Column(pn.pane.HTML("<b>the clicked cell</b>"), self.call))
        return pn.Row(side, pn.Column(self.status, self.figures, below))


def _set_widget(name: str, widget: Any, value: Any) -> None:
    """Set a widget to one of its values, if it has a list of them.

    Raises:
      ValueError: It does not have the value.
    """
    options = getattr(widget, "options", None)
    known = list(options.values()) if isinstance(options, dict) else options
    for one in value if isinstance(value, list | tuple) else [value]:
        if known is not None and one not in known:
            raise ValueError(f"{name} is one of {known}, not {one!r}.")
    widget.value = value


def _shorten(value: Any) -> str:
    """Return a value as a short text for a legend."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
