"""The figures of the playground: made once, then given the columns and titles of each setting."""

from typing import Any, NamedTuple

import numpy as np
from bokeh.models import BoxAnnotation, LinearColorMapper, Span
from numpy.typing import NDArray

from jaxmom.explorer.figures import Source, new_figure, new_source
from jaxmom.explorer.momentum_views import FRAME, LAGS, STEPS, MomentumView, Setting
from jaxmom.plot._shared import status, style

_BLUE, _RED, _GREEN = style.COLORS[:3]
_EDGE = 1.3  # of the frame of the poles
_SIZE: dict[str, Any] = {"frame_width": 235, "frame_height": 235, "toolbar_location": "above"}
_SIZE |= {"tools": "pan,wheel_zoom,box_zoom,reset,save"}


class Panels(NamedTuple):
    """The figures of the playground, and what changes on them.

    Attributes:
      figures: Name -> figure.
      sources: Name -> the source whose columns `list_columns` gives.
      limit: The line of the largest stable curvature.
      span: The box of the curvatures from mu to L.
    """

    figures: dict[str, Any]
    sources: dict[str, Source]
    limit: Span
    span: BoxAnnotation


def make_panels() -> Panels:
    """Make the figures, with nothing on them yet."""
    figures: dict[str, Any] = {
        "path": new_figure(**_SIZE, x_range=FRAME, y_range=FRAME),
        "poles": new_figure(**_SIZE, x_range=(-_EDGE, _EDGE), y_range=(-_EDGE, _EDGE)),
        "kernel": new_figure(**_SIZE),
        "gain": new_figure(**_SIZE, x_axis_type="log", y_axis_type="log"),
        "phase": new_figure(**_SIZE, x_axis_type="log", y_range=(-190, 100)),
        "rate": new_figure(**_SIZE, x_axis_type="log", y_range=(0, 1.5)),
        "floor": new_figure(**_SIZE, x_axis_type="log", y_axis_type="log"),
        "risk": new_figure(**_SIZE, y_axis_type="log"),
    }
    names = {
        "path": ("parameter of curvature mu", "parameter of curvature L"),
        "poles": ("real part", "imaginary part"),
        "kernel": ("age of a gradient [updates]", "weight in a step"),
        "gain": ("frequency [radians per update]", "gain"),
        "phase": ("frequency [radians per update]", "phase of a step [degrees]"),
        "rate": ("curvature", "rate: factor per update"),
        "floor": ("curvature", "variance of a parameter"),
        "risk": ("updates", "expected loss"),
    }
    for name, (below, beside) in names.items():
        figures[name].toolbar.autohide = True
        figures[name].xaxis.axis_label, figures[name].yaxis.axis_label = below, beside
    sources = {name: new_source({"x": [], "y": []}) for name in (*_LINES, *_MARKS)}
    sources["landscape"] = new_source({"image": [], "x": [], "y": [], "dw": [], "dh": []})
    limit = Span(dimension="height", line_color=_RED, line_dash="dashed", line_width=2)
    span = BoxAnnotation(fill_color=_GREEN, fill_alpha=0.12)
    _draw(figures, sources)
    figures["rate"].add_layout(limit)
    figures["rate"].add_layout(span)
    return Panels(figures, sources, limit, span)


# Source -> its figure, and how it is drawn.
_LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "path": ("path", {"line_color": _RED, "line_width": 1.5}),
    "gain": ("gain", {"line_color": _BLUE, "line_width": 2}),
    "phase": ("phase", {"line_color": _BLUE, "line_width": 2}),
    "rate": ("rate", {"line_color": _BLUE, "line_width": 2}),
    "floor": ("floor", {"line_color": _BLUE, "line_width": 2}),
    "risk": ("risk", {"line_color": _BLUE, "line_width": 2}),
}
_MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "kernel": ("kernel", {"color": _BLUE, "size": 5}),
    "poles": ("poles", {"color": _BLUE, "size": 4, "alpha": 0.5}),
    "outside": ("poles", {"color": _BLUE, "size": 7, "marker": "square"}),
    "poles_mu": ("poles", {"color": _GREEN, "size": 9}),
    "poles_L": ("poles", {"color": _RED, "size": 9}),
}


def _draw(figures: dict[str, Any], sources: dict[str, Source]) -> None:
    """Draw the landscape, the unit circle, the lines and the marks."""
    mapper = LinearColorMapper(palette=[f"#{v:02x}{v:02x}{v:02x}" for v in range(150, 256, 7)])
    figures["path"].image(
        "image", "x", "y", "dw", "dh", color_mapper=mapper, source=sources["landscape"]
    )
    around = np.linspace(0, 2 * np.pi, 100)
    figures["poles"].line(np.cos(around), np.sin(around), line_color="#888888")
    figures["rate"].add_layout(Span(location=1, dimension="width", line_color="#888888"))
    for name, (figure, look) in _LINES.items():
        figures[figure].line("x", "y", source=sources[name], **look)
    figures["path"].scatter("x", "y", source=sources["path"], color=_RED, size=4)
    for name, (figure, look) in _MARKS.items():
        figures[figure].scatter("x", "y", source=sources[name], **look)
    figures["kernel"].add_layout(Span(location=0, dimension="width", line_color="#888888"))


def show_view(panels: Panels, setting: Setting, view: MomentumView) -> None:
    """Show what was computed of a setting."""
    for name, columns in list_columns(view).items():
        panels.sources[name].data = columns
    for name, text in write_titles(setting, view).items():
        panels.figures[name].title.text = text
    panels.limit.location = view.limit if np.isfinite(view.limit) and view.limit > 0 else None
    panels.span.update(left=setting.mu, right=setting.L)


def show_landscape(panels: Panels, loss: NDArray[np.float64]) -> None:
    """Show a loss [rows, columns] by its logarithm, in gray."""
    heights = np.log10(loss + 1e-3 * loss.max()).astype(np.float32)
    low, high = FRAME
    side = {"x": [low], "y": [low], "dw": [high - low], "dh": [high - low]}
    panels.sources["landscape"].data = {"image": [heights], **side}


def list_columns(view: MomentumView) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the columns of each source but the landscape.

    What a logarithmic axis cannot show, and what is beyond 1e200, is NaN, which leaves a gap.
    """
    outside = np.abs(view.poles) > _EDGE
    gain = np.abs(view.response)
    lines = {
        "path": (view.path[:, 0], view.path[:, 1]),
        "kernel": (np.arange(LAGS), view.kernel),
        "gain": (view.frequencies, _positive(gain)),
        "phase": (view.frequencies, np.degrees(np.angle(view.response))),
        "rate": (view.curvatures, view.rates),
        "floor": (view.curvatures, _positive(view.floor)),
        "risk": (np.arange(STEPS + 1), _positive(view.risk)),
    }
    at_edge = 0.97 * _EDGE * view.poles[outside] / np.abs(view.poles[outside])
    poles = {
        "poles": view.poles[~outside],
        "outside": at_edge,
        "poles_mu": view.ends[0],
        "poles_L": view.ends[1],
    }
    columns = {name: {"x": np.asarray(x, float), "y": y} for name, (x, y) in lines.items()}
    return columns | {name: {"x": p.real, "y": p.imag} for name, p in poles.items()}


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with NaN where a logarithmic axis has no place for them."""
    return np.where((values > 0) & status.is_drawable(values), values, np.nan)


def write_titles(setting: Setting, view: MomentumView) -> dict[str, str]:
    """Return the titles, which say what the figures cannot show."""
    end = f"diverged at update {view.diverged_at}" if view.diverged_at >= 0 else "path of a run"
    outside = np.abs(np.concatenate([view.poles.ravel(), view.ends.ravel()])) > _EDGE
    beyond = f"; {outside.sum()} beyond the frame" if outside.any() else ""
    stable = f"stable below {view.limit:.4g}" if view.limit > 0 else "never stable"
    return {
        "path": end,
        "poles": f"poles (green: mu, red: L){beyond}",
        "kernel": f"kernel, mean age {view.mean_age + 0.0:.3g}",
        "gain": "frequency response",
        "phase": "its phase",
        "rate": f"{stable}; worst rate {view.worst:.4g}",
        "floor": "noise floor" if setting.noise > 0 else "noise floor: no noise, so it is 0",
        "risk": "risk of least squares" + ("" if view.worst < 1 else ": it grows"),
    }
