"""The playground as a Panel viewer, and as one page with embedded states."""

import html
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.layouts import column, gridplot, row
from bokeh.models import CustomJS, Div, Select, Slider

from jaxmom.explorer import files
from jaxmom.explorer import momentum_figures as figures
from jaxmom.explorer.momentum_views import (
    LANDSCAPES,
    METHODS,
    Setting,
    view_landscape,
    view_momentum,
    write_code,
)
from jaxmom.explorer.viewer import App

_BETAS = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99]
_RATES = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5]
_COLUMNS = 4  # of figures side by side


class Playground(App):
    """The playground of momentum."""

    def __panel__(self) -> Any:
        """Return the widgets and figures of a new session."""
        return self.open_session().layout

    def open_session(self) -> "Session":
        """Return a new session."""
        return Session()

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        methods: Sequence[str] = tuple(METHODS),
        betas: Sequence[float] = tuple(_BETAS),
        learning_rates: Sequence[float] = tuple(_RATES),
        mu: float = 1.0,
        L: float = 10.0,
        noise: float = 0.3,
    ) -> None:
        """Write a page that needs no server, with every combination of some values in it.

        Args:
          path: Of the page, which ends in ".html".
          methods: Of the playground.
          betas: The values of the slider of beta.
          learning_rates: Those of the learning rate.
          mu: The smallest curvature.
          L: The largest curvature.
          noise: The standard deviation of the gradient's noise.

        Raises:
          ValueError: Another ending, an unknown method, or too few values.
        """
        if os.path.splitext(path)[1] != ".html":
            raise ValueError(f"the playground is saved as .html; got {os.fspath(path)!r}.")
        unknown = sorted(set(methods) - set(METHODS))
        if unknown or not methods or min(len(betas), len(learning_rates)) < 2:
            raise ValueError(
                f"a page needs methods of {list(METHODS)}, and two betas and learning rates at "
                f"least; got {list(methods)}, {list(betas)} and {list(learning_rates)}."
            )
        setting = Setting(mu=mu, L=L, noise=noise)
        page = write_page(setting, methods, betas, learning_rates)
        with open(path, "w", encoding="utf8") as file:
            file.write(page)


class Session:
    """The widgets and figures of one browser tab or notebook cell.

    Attributes:
      panels: The figures.
      layout: All of it, as Panel shows it.
    """

    def __init__(self) -> None:
        w = pn.widgets
        memory = {f"{1 - 1 / m:.4g}": 1 - 1 / m for m in np.geomspace(1, 1000, 61).round(4)}
        rates = {f"{a:.3g}": float(f"{a:.3g}") for a in np.geomspace(1e-4, 10, 101)}
        sizes = {f"{c:.3g}": float(f"{c:.3g}") for c in np.geomspace(0.1, 1000, 41)}
        self.widgets: dict[str, Any] = {
            "method": w.Select(label="method", options=list(METHODS)),
            "learning_rate": w.DiscreteSlider(label="learning rate", options=rates, value=0.1),
            "beta": w.DiscreteSlider(label="beta (memory scale)", options=memory, value=0.9),
            "mu": w.DiscreteSlider(label="smallest curvature mu", options=sizes, value=1.0),
            "L": w.DiscreteSlider(label="largest curvature L", options=sizes, value=10.0),
            "noise": w.FloatSlider(label="noise", start=0.0, end=2.0, step=0.05, value=0.3),
            "batch": w.IntSlider(label="batch size, in the risk", start=1, end=256, value=32),
            "landscape": w.Select(label="landscape of the path", options=list(LANDSCAPES)),
        }
        self.panels = figures.make_panels()
        self.code, self.copy = pn.pane.Str(), w.Button(label="copy as code")
        self.copy.js_on_click(
            args={"pane": self.code}, code="navigator.clipboard.writeText(pane.text)"
        )
        self.note = pn.pane.HTML()
        for widget in self.widgets.values():
            widget.param.watch(lambda event: self.show(), "value")
        self.show()
        rows = _in_rows([pn.pane.Bokeh(one) for one in self.panels.figures.values()])
        side = pn.Column(*self.widgets.values(), self.copy, self.note, width=320)
        plots = pn.Column(*(pn.Row(*some) for some in rows), self.code)
        self.layout = pn.Row(side, plots)

    @property
    def setting(self) -> Setting:
        """What the widgets say."""
        return Setting(**{name: widget.value for name, widget in self.widgets.items()})

    def show(self) -> None:
        """Compute and show what the widgets say, if the curvatures are in order."""
        setting = self.setting
        if setting.mu > setting.L:
            self.note.object = "mu is larger than L: nothing is drawn until it is smaller."
            return
        self.note.object = ""
        figures.show_view(self.panels, setting, view_momentum(setting))
        figures.show_landscape(self.panels, view_landscape(setting))
        self.code.object = write_code(setting)


def _in_rows(parts: list[Any]) -> list[list[Any]]:
    """Return the parts in rows."""
    return [parts[at : at + _COLUMNS] for at in range(0, len(parts), _COLUMNS)]


# `shared` holds the columns that are the same in all states, in which they are null.
_UPDATE = """
window.jaxmom_states ??= JSON.parse(states)
const [shared, all] = window.jaxmom_states
const state = all[methods.indexOf(method.value)][beta.value][rate.value]
for (const [name, columns] of Object.entries(state.columns)) {
    const data = {}
    for (const [column, values] of Object.entries(columns))
        data[column] = (values ?? shared[name][column]).map((v) => v ?? NaN)
    sources[name].data = data
}
for (const [name, text] of Object.entries(state.titles)) plots[name].title.text = text
limit.location = state.limit
code.text = "<pre>" + state.code + "</pre>"
beta.title = "beta = " + betas[beta.value]
rate.title = "learning rate = " + rates[rate.value]
"""


def write_page(
    setting: Setting,
    methods: Sequence[str],
    betas: Sequence[float],
    learning_rates: Sequence[float],
) -> str:
    """Return a page whose sliders choose among states that were computed before.

    Args:
      setting: The numbers that do not change.
      methods: Of `METHODS`.
      betas: The values of the slider of beta.
      learning_rates: Those of the learning rate.
    """
    settings = [
        setting._replace(method=m, beta=float(b), learning_rate=float(a))
        for m, b, a in itertools.product(methods, betas, learning_rates)
    ]
    states = [_make_state(one) for one in settings]
    shared = _share_columns(states)
    nested = iter(states)
    tree = [[[next(nested) for _ in learning_rates] for _ in betas] for _ in methods]
    panels = figures.make_panels()
    figures.show_landscape(panels, view_landscape(setting))
    middle = (len(betas) // 2, len(learning_rates) // 2)
    shown = settings[middle[0] * len(learning_rates) + middle[1]]
    figures.show_view(panels, shown, view_momentum(shown))
    method = Select(title="method", options=list(methods), value=methods[0])
    beta = _make_slider("beta", betas, middle[0])
    rate = _make_slider("learning rate", learning_rates, middle[1])
    code = Div(text=f"<pre>{html.escape(write_code(shown))}</pre>")
    arguments = {
        "states": json.dumps([shared, tree], separators=(",", ":")),
        "methods": list(methods),
        "betas": [f"{b:g}" for b in betas],
        "rates": [f"{a:g}" for a in learning_rates],
        "sources": panels.sources,
        "plots": panels.figures,
        "limit": panels.limit,
        "method": method,
        "beta": beta,
        "rate": rate,
        "code": code,
    }
    update = CustomJS(args=arguments, code=_UPDATE)
    for widget in (method, beta, rate):
        widget.js_on_change("value", update)
    fixed = f"curvatures from {setting.mu:g} to {setting.L:g}, noise {setting.noise:g}"
    grid: Any = gridplot(list(panels.figures.values()), ncols=_COLUMNS, merge_tools=False)
    page = column(row(method, beta, rate), Div(text=fixed), grid, code)
    return files.write_page(page, "jaxmom: the playground of momentum")


def _make_slider(name: str, values: Sequence[float], at: int) -> Slider:
    """Return a slider of the places in a list, whose title has the value."""
    title = f"{name} = {values[at]:g}"
    return Slider(title=title, start=0, end=len(values) - 1, step=1, value=at, show_value=False)


def _make_state(setting: Setting) -> dict[str, Any]:
    """Return the columns, the titles and the code of a setting, as JSON has them."""
    view = view_momentum(setting)
    columns = {
        name: {column: _round(values) for column, values in both.items()}
        for name, both in figures.list_columns(view).items()
    }
    limit = float(f"{view.limit:.6g}") if np.isfinite(view.limit) and view.limit > 0 else None
    titles = figures.write_titles(setting, view)
    code = html.escape(write_code(setting))
    return {"columns": columns, "titles": titles, "limit": limit, "code": code}


def _round(values: Any) -> list[float | None]:
    """Return numbers with four digits, which no screen can tell from all; NaN as None."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in np.asarray(values).tolist()]


def _share_columns(states: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Take the columns that are the same in all states out of them, and return them."""
    shared: dict[str, dict[str, Any]] = {}
    for name, columns in states[0]["columns"].items():
        for column_name, values in list(columns.items()):
            if all(state["columns"][name][column_name] == values for state in states):
                shared.setdefault(name, {})[column_name] = values
                for state in states[1:]:
                    state["columns"][name][column_name] = None
                columns[column_name] = None
    return shared
