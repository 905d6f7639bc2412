"""The table of plots, data for them, and readers of what was drawn; for all tests of plots."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jaxmom import plot


def descent(learning_rate: float, beta: float, steps: int = 30) -> np.ndarray:
    """Heavy ball on f = (4 x^2 + y^2) / 2 from (2, 2), as a plain loop."""
    theta, velocity, path = np.full(2, 2.0), np.zeros(2), [np.full(2, 2.0)]
    for _ in range(steps):
        velocity = beta * velocity - learning_rate * np.array([4.0, 1.0]) * theta
        theta = theta + velocity
        path.append(theta)
    return np.array(path)


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (4 * x**2 + y**2) / 2


def spoiled(values: np.ndarray, *where: Any) -> np.ndarray:
    values = np.array(values, float)
    values[where] = np.nan
    return values


def each(change: Callable[[np.ndarray], Any], data: Any) -> Any:
    """The change of one array, or of every array of a mapping."""
    return {k: change(v) for k, v in data.items()} if isinstance(data, dict) else change(data)


LOSSES = np.exp(-0.1 * np.arange(31.0)) * np.linspace(1, 2, 5)[:, None]
GRID = np.geomspace(1e-3, 1.0, 12).reshape(3, 4)


class Case(NamedTuple):
    """A plot, data all of which can be drawn, and the same with a part that diverged."""

    draw: Callable[..., Axes]
    data: Any
    spoiled: Any
    options: dict[str, Any]


PLOTS = {
    "trajectories": Case(
        plot.trajectories,
        {"descent": descent(0.1, 0.0), "heavy ball": descent(0.1, 0.9)},
        {"descent": descent(0.1, 0.0), "heavy ball": spoiled(descent(0.1, 0.9), slice(9, None))},
        {"loss": bowl},
    ),
    "animate": Case(
        plot.animate,
        {"descent": descent(0.1, 0.0), "heavy ball": descent(0.1, 0.9)},
        {"descent": descent(0.1, 0.0), "heavy ball": spoiled(descent(0.1, 0.9), slice(9, None))},
        {"file": io.BytesIO(), "loss": bowl},
    ),
    "curves": Case(
        plot.curves,
        {"descent": LOSSES[0], "heavy ball": LOSSES},
        {"descent": LOSSES[0], "heavy ball": spoiled(LOSSES, 2, slice(9, None))},
        {},
    ),
    "sensitivity": Case(
        plot.sensitivity,
        {"descent": LOSSES[0], "heavy ball": LOSSES},
        {"descent": LOSSES[0], "heavy ball": spoiled(LOSSES, slice(0, 3), slice(25, None))},
        {"x": np.geomspace(1e-3, 1, 31)},
    ),
    "parallel": Case(
        plot.parallel,
        GRID.ravel(),
        spoiled(GRID.ravel(), 5),
        {"axes": {"beta": np.tile([0, 0.5, 0.9, 0.99], 3), "rate": np.repeat([0.01, 0.1, 1], 4)}},
    ),
    "heatmap": Case(
        plot.heatmap, GRID, spoiled(GRID, 1, 2), {"x": [0, 0.5, 0.9, 0.99], "y": [0.01, 0.1, 1]}
    ),
}
every_plot = pytest.mark.parametrize("case", PLOTS.values(), ids=PLOTS)


def legend(ax: Axes) -> list[str]:
    box = ax.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def line(ax: Axes, label: str) -> np.ndarray:
    """The points [n, 2] of the only line whose label begins so."""
    (found,) = (line for line in ax.lines if str(line.get_label()).startswith(label))
    return np.asarray(found.get_xydata())


def marks(ax: Axes, kind: str) -> Line2D:
    """The only marks of a kind, without those in the legend."""
    (found,) = (m for m in ax.lines if m.get_label() == f"_{kind}" and len(np.ravel(m.get_xdata())))
    return found
