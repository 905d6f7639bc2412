"""The figures of the explorer in Bokeh: each is made once, and then given new data."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from bokeh.models import (
    BoxAnnotation,
    ColorBar,
    ColumnDataSource,
    CustomJSHover,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Quad,
)
from bokeh.plotting import figure
from bokeh.transform import stack
from numpy.typing import NDArray

from jaxmom.explorer.axes import Axis
from jaxmom.explorer.cells import OUTCOMES, Cells
from jaxmom.explorer.curves import CellCurves
from jaxmom.explorer.views import MapView, ValueBins
from jaxmom.plot._shared import style

Source: TypeAlias = Any  # a ColumnDataSource, whose types refuse a dict of NumPy arrays

# Outcome -> its fill, the pattern of hatches and their color, as in `jaxmom.plot.heatmap`.
LOOKS = {
    "ok": ("#21918c", " ", "#21918c"),
    "some seeds diverged": ("#21918c", "left_diagonal_line", "#ffffff"),
    "diverged": ("#b5b5b5", "right_diagonal_line", "#707070"),
    "failed": ("#f3c9b5", "cross", "#d55e00"),
    "missing": ("#ffffff", "dot", "#9a9a9a"),
}
STACK = ("ok", "some seeds diverged", "diverged", "failed", "missing")
_HATCHED = ("some seeds diverged", "diverged", "failed", "missing")
_SELECTED = "#d55e00"
_CROWDED = 40  # letters of all tick labels below an axis, beyond which they are slanted
_TOOLS = "box_select,tap,box_zoom,wheel_zoom,reset,save"
_HOVER = """
const bin = Math.round(value)
const counted = outcomes
    .map((name, i) => [counts[i][bin], name]).filter(([count]) => count > 0)
    .map(([count, name]) => `${count} ${name}`).join(", ")
const call = names.map((_, i) => texts[i][codes[i][bin]]).filter((text) => text).join(", ")
const shown = isNaN(values[bin]) ? "no value" : `${variable} = ${values[bin].toPrecision(6)}`
return counted ? `${shown}\n${counted}\n${fn}(${call})${note}` : "no lane here"
"""
_TOOLTIP = (
    '<div style="white-space: pre-line; max-width: 340px; font-size: 12px">@bin{custom}</div>'
)


def new_source(data: Mapping[str, Any]) -> Source:
    """Return a source of columns."""
    return ColumnDataSource(dict(data))


def new_figure(**options: Any) -> Any:
    """Return a figure whose properties are those of `bokeh.plotting.figure`."""
    plot = figure(**options)
    plot.grid.visible = False
    return plot


class MapPlot(NamedTuple):
    """A map and what changes on it.

    Attributes:
      figure: The figure.
      image: Its colors: the columns `image`, and those that its tooltip names.
      veil: White over what is not selected.
      boxes: Outcome -> the boxes of the bins that show it.
      mapper: The color mapper.
      best: The mark of the best cell.
      hover: The tool that names a cell and its call.
    """

    figure: Any
    image: Source
    veil: Source
    boxes: dict[str, Source]
    mapper: Any
    best: Source
    hover: HoverTool


def make_map(
    title: str, *, log: bool = False, limits: tuple[float, float] | None = None
) -> MapPlot:
    """Make an empty map of two axes.

    Args:
      title: Above it.
      log: Whether its colors are logarithmic.
      limits: The values of the first and the last color; those of the data if None.
    """
    plot = new_figure(
        title=title,
        tools=_TOOLS,
        active_drag="box_select",
        width=560,
        height=420,
        x_range=(0, 1),
        y_range=(0, 1),
        name="map",
    )
    low, high = limits or (None, None)
    mapper = (LogColorMapper if log else LinearColorMapper)(
        palette="Viridis256", low=low, high=high, nan_color="rgba(0, 0, 0, 0)"
    )
    names = ("image", "bin", "x", "y", "dw", "dh")
    image = new_source({name: [] for name in names})
    drawn = plot.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=image)
    boxes = {name: _add_boxes(plot, name) for name in _HATCHED}
    veil = new_source({name: [] for name in names})
    white = LinearColorMapper(palette=["#ffffff"], nan_color="rgba(0, 0, 0, 0)", low=0, high=1)
    plot.image("image", "x", "y", "dw", "dh", color_mapper=white, source=veil, global_alpha=0.8)
    best = new_source({"x": [], "y": []})
    look: dict[str, Any] = {"fill_color": "white", "line_color": "black", "size": 14}
    plot.scatter("x", "y", source=best, marker="star", **look)
    plot.add_layout(ColorBar(color_mapper=mapper, width=12), "right")
    hover = HoverTool(renderers=[drawn], tooltips=_TOOLTIP)
    plot.add_tools(hover)
    return MapPlot(plot, image, veil, boxes, mapper, best, hover)


def _add_boxes(plot: Any, outcome: str) -> Source:
    """Add the boxes of the bins that show an outcome, one for each run of neighbors in a row."""
    source = new_source({name: [] for name in ("left", "right", "bottom", "top")})
    fill, pattern, color = LOOKS[outcome]
    alpha = 0 if outcome == "some seeds diverged" else 1
    look: dict[str, Any] = {"fill_color": fill, "fill_alpha": alpha, "line_color": None}
    look |= {"hatch_pattern": pattern, "hatch_color": color, "hatch_scale": 8, "hatch_weight": 1}
    _add_quads(plot, source, **look)
    return source


def _add_quads(plot: Any, source: Source, **look: Any) -> None:
    """Add boxes to a figure. One glyph is enough: `plot.quad` makes four, in 20 ms."""
    sides: dict[str, Any] = {side: side for side in ("left", "right", "bottom", "top")}
    plot.add_glyph(source, Quad(**sides | look))


def show_map(plot: MapPlot, view: MapView, values: NDArray[np.float64], x: Axis, y: Axis) -> None:
    """Show a view on a map.

    Args:
      plot: From `make_map`.
      view: What the bins hold.
      values: [rows, columns] the values to color.
      x: The axis of the columns.
      y: The axis of the rows.
    """
    rows, columns = values.shape
    frame = {"x": [0], "y": [0], "dw": [columns], "dh": [rows]}
    _set_axis(plot.figure.xaxis[0], plot.figure.x_range, x, is_below=True)
    _set_axis(plot.figure.yaxis[0], plot.figure.y_range, y, is_below=False)
    number = np.arange(values.size, dtype=np.float32).reshape(values.shape)
    plot.image.data = frame | {"image": [values.astype(np.float32)], "bin": [number]}
    hide_unselected(plot, np.ones(values.shape, bool))
    for name, source in plot.boxes.items():
        source.data = outline_bins(view.outcome == OUTCOMES.index(name))
    score = values[np.isfinite(values)]
    if len(score):
        usable = score[score > 0] if isinstance(plot.mapper, LogColorMapper) else score
        plot.mapper.update(low=float(usable.min()), high=float(usable.max()))


def hide_unselected(plot: MapPlot, selected: NDArray[np.bool_]) -> None:
    """Cover the bins [rows, columns] of a map in which no cell is selected with a veil."""
    rows, columns = selected.shape
    frame = {"x": [0], "y": [0], "dw": [columns], "dh": [rows]}
    plot.veil.data = frame | {"image": [np.where(selected, np.nan, 0.5).astype(np.float32)]}


def explain_bins(
    cells: Cells, view: MapView, encoded: dict[str, tuple[NDArray[np.int32], list[str]]], fn: str
) -> CustomJSHover:
    """Return the text of a bin for a hover tool: its value, outcomes and the call of its best lane.

    Args:
      cells: All cells.
      view: What the bins hold.
      encoded: From `calls.encode_arguments`.
      fn: The name of the swept function.
    """
    codes, texts = zip(*encoded.values(), strict=True)
    note = f"\n(the first lane of the cell over {', '.join(cells.over)})" if cells.over else ""
    arguments = {
        "values": view.best.ravel(),
        "counts": list(view.counts.reshape(len(OUTCOMES), -1).astype(np.int32)),
        "outcomes": list(OUTCOMES),
        "variable": cells.variable,
        "names": list(encoded),
        "codes": list(codes),
        "texts": list(texts),
        "fn": fn,
        "note": note,
    }
    return CustomJSHover(args=arguments, code=_HOVER)


def outline_bins(bins: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    """Return the boxes that cover some bins [rows, columns], one for each run in a row.

    Example:
      >>> outline_bins(np.array([[True, True, False]]))["right"].tolist()
      [2]
    """
    change = np.diff(np.pad(bins.astype(int), ((0, 0), (1, 1))), axis=1)
    (row, left), (_, right) = np.nonzero(change == 1), np.nonzero(change == -1)
    return {"left": left, "right": right, "bottom": row, "top": row + 1}


def _set_axis(axis: Any, span: Any, of: Axis, *, is_below: bool) -> None:
    """Give an axis of a figure the ticks, the name and the range of an axis of the sweep."""
    ticks = {round(at, 6): text for at, text in of.ticks.items()}
    axis.ticker = FixedTicker(ticks=list(ticks))
    axis.major_label_overrides = ticks
    crowded = is_below and sum(map(len, ticks.values())) > _CROWDED
    axis.major_label_orientation = 0.7 if crowded else "horizontal"
    note = {"listed": "", "linear": ""}.get(of.scale, f" ({of.scale} scale)")
    axis.axis_label = of.name.replace("_", " ") + note
    span.update(start=0, end=of.size)


def _sum(names: Sequence[str]) -> Any:
    """Return the sum of columns, as a glyph has it."""
    return stack(*names) if names else 0


class BarsPlot(NamedTuple):
    """A histogram: the outcomes of all cells as stacked bars, and what is selected as an outline.

    Attributes:
      figure: The figure.
      all: Its stacked bars.
      selected: Its outline.
      box: The brushed range.
    """

    figure: Any
    all: Source
    selected: Source
    box: BoxAnnotation


def make_bars(name: str, *, width: int = 270) -> BarsPlot:
    """Make an empty histogram over an axis, or over the values."""
    plot = new_figure(
        title=name.replace("_", " "),
        tools="xbox_select,reset,save",
        active_drag="xbox_select",
        width=width,
        height=190,
        x_range=(0, 1),
        name=name,
    )
    bars = new_source({name: [] for name in ("left", "right", *STACK)})
    for number, outcome in enumerate(STACK):
        fill, pattern, color = LOOKS[outcome]
        ends: tuple[Any, Any] = (_sum(STACK[:number]), _sum(STACK[: number + 1]))
        look: dict[str, Any] = {"fill_color": fill, "line_color": "#999999", "line_width": 0.2}
        look |= {"hatch_pattern": pattern, "hatch_color": color, "hatch_scale": 6}
        look |= {"fill_alpha": 0.55 if outcome == "ok" else 1.0}
        _add_quads(plot, bars, bottom=ends[0], top=ends[1], **look)
    chosen = new_source({"left": [], "right": [], "top": []})
    outline: dict[str, Any] = {"fill_color": _SELECTED, "fill_alpha": 0.35}
    _add_quads(plot, chosen, bottom=0, line_color=_SELECTED, **outline)
    box = BoxAnnotation(visible=False, fill_color=_SELECTED, fill_alpha=0.1, line_color=_SELECTED)
    plot.add_layout(box)
    plot.y_range.start = 0
    plot.yaxis.axis_label = "share"
    plot.toolbar.autohide = True
    return BarsPlot(plot, bars, chosen, box)


def show_bars(plot: BarsPlot, edges: NDArray[np.float64], counts: Mapping[str, Any]) -> None:
    """Show the share of the cells in each bin, by outcome.

    Args:
      plot: From `make_bars`.
      edges: [bins + 1] of the bins.
      counts: Outcome -> [bins] numbers of cells.
    """
    total = max(1, sum(int(np.sum(of)) for of in counts.values()))
    shares = {name: np.asarray(counts.get(name, 0 * edges[1:])) / total for name in STACK}
    plot.all.data = {"left": edges[:-1], "right": edges[1:]} | shares


def show_selected_bars(
    plot: BarsPlot, edges: NDArray[np.float64], counts: NDArray[np.intp] | None
) -> None:
    """Show the share of the selected cells in each bin, or nothing if none is selected."""
    if counts is None:
        plot.selected.data = {"left": [], "right": [], "top": []}
        return
    top = counts / max(1, counts.sum())
    plot.selected.data = {"left": edges[:-1], "right": edges[1:], "top": top}


def show_axis_ticks(plot: BarsPlot, axis: Axis) -> None:
    """Give a histogram the ticks of an axis of the sweep."""
    _set_axis(plot.figure.xaxis[0], plot.figure.x_range, axis, is_below=True)
    plot.figure.title.text = plot.figure.xaxis[0].axis_label
    plot.figure.xaxis[0].axis_label = ""


def show_value_ticks(plot: BarsPlot, bins: ValueBins, name: str) -> None:
    """Give a histogram the ticks of values, at powers of ten if the bins are logarithmic."""
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    plot.figure.x_range.update(start=low, end=high)
    plot.figure.title.text = name.replace("_", " ") + (" (log scale)" if bins.is_log else "")
    if bins.is_log:
        step = max(1, round((high - low) / 6))
        ticks = range(int(np.ceil(low)), int(np.floor(high)) + 1, step)
        plot.figure.xaxis[0].ticker = FixedTicker(ticks=list(ticks))
        plot.figure.xaxis[0].major_label_overrides = {tick: f"{10.0**tick:g}" for tick in ticks}


def draw_curves(found: Sequence[tuple[str, CellCurves]]) -> Any:
    """Draw the curves of some cells, those of each cell in one color.

    The axis of the values is logarithmic if all of them are positive.
    """
    values = np.concatenate([np.empty(0), *(curves.runs.ravel() for _, curves in found)])
    is_log = bool((values[np.isfinite(values)] > 0).all())
    plot = new_figure(
        title="" if found else "click a cell of the map, or a row of the table, for its curves",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        width=560,
        height=320,
        y_axis_type="log" if is_log and len(values) else "linear",
        name="curves",
        **({} if found else {"x_range": (0, 1), "y_range": (0, 1)}),
    )
    plot.xaxis.axis_label = "updates"
    named: dict[str, Any] = {"legend_group": "label"} if found else {}
    source = new_source(list_lines(found))
    lines = plot.multi_line("xs", "ys", color="color", source=source, line_alpha=0.8, **named)
    plot.add_tools(HoverTool(renderers=[lines], tooltips="@label"))
    if found:
        plot.add_layout(plot.legend[0], "above")
        plot.legend.label_text_font_size = "8pt"
    return plot


def list_lines(found: Sequence[tuple[str, CellCurves]]) -> dict[str, list[Any]]:
    """Return the lines of the curves of some cells; the label counts lanes that diverged."""
    lines: dict[str, list[Any]] = {"xs": [], "ys": [], "color": [], "label": []}
    for number, (label, curves) in enumerate(found):
        count = int(curves.diverged.sum())
        text = f"{label}: {count} of {len(curves.runs)} diverged" if count else label
        for run in curves.runs:
            lines["xs"].append(curves.steps)
            lines["ys"].append(run)
            lines["color"].append(style.COLORS[number % len(style.COLORS)])
            lines["label"].append(text)
    return lines
