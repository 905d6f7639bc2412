"""Value grids: values and policies on the cells of a grid world such as a frozen lake."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import colors, labels, status, style

# Steps (right, down) of the actions, in the order of each of Gymnasium's environments.
LAKE = ((-1, 0), (0, 1), (1, 0), (0, -1))
CLIFF = ((0, -1), (1, 0), (0, 1), (-1, 0))


def value_grid(
    q: ArrayLike,
    shape: tuple[int, int],
    *,
    moves: Sequence[tuple[int, int]] = LAKE,
    acted: ArrayLike | None = None,
    limits: colors.Limits = (None, None),
    tolerance: float = 1e-9,
    numbers: bool = True,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw the best value of each cell as its color, and the best actions in it as arrows.

    Each of several best actions has its own arrow. Cells without actions (holes, goals, cliffs)
    are gray; those whose values are not finite are marked as diverged.

    Args:
      q: Action values [states, actions], the cells row by row.
      shape: Rows and columns, as `Mdp.grid` has them.
      moves: The step (right, down) of each action: `LAKE` or `CLIFF`.
      acted: [states] booleans, where an agent acts, as `jaxmom.rl.reachable` finds; by default all.
      limits: The values of the lowest and of the highest color; None is the data's own. The
        color bar is pointed where there are values beyond.
      tolerance: Actions whose values are this close to the best one count as equal.
      numbers: Whether to write the values into the cells.
      ax: The Axes; a new figure by default. The color bar takes its space from it.
      title: The title of the Axes.

    Returns:
      The Axes; its x axis is the column, its y axis the row, downward.

    Raises:
      ValueError: q does not have rows x columns states, or does not have one action per move.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = value_grid([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 2.0]], (1, 2))
      >>> [text.get_text() for text in ax.texts]
      ['1', '2']
      >>> plt.close(ax.figure)
    """
    table = labels.to_floats(q)
    rows, columns = shape
    if table.shape != (rows * columns, len(moves)):
        raise ValueError(
            f"q has shape {table.shape}, but {rows} x {columns} cells and {len(moves)} moves need "
            f"{(rows * columns, len(moves))}"
        )
    acting = np.ones(len(table), bool) if acted is None else np.asarray(acted, bool)
    finite: NDArray[np.bool_] = np.all(status.is_drawable(table), axis=1)
    best = np.where(finite, np.where(finite[:, None], table, 0.0).max(axis=1), np.nan)
    shown = np.ma.masked_where(~(acting & finite), best)
    ax = style.get_axes(ax, 1.6 + 0.75 * columns, 0.9 + 0.75 * rows)
    ax.set_facecolor("#dddddd")
    norm = _fit_norm(shown, limits)
    mesh = ax.pcolormesh(shown.reshape(shape), cmap=style.HEAT, norm=norm, lw=0)
    colors.draw_color_bar(ax, mesh, shown, "value of the best action")
    ties = table >= best[:, None] - tolerance
    _draw_actions(ax, ties & (acting & finite)[:, None], columns, moves)
    if numbers:
        _write_values(ax, shown, columns, mesh)
    for cell in np.flatnonzero(acting & ~finite):
        at = ([cell % columns + 0.5], [cell // columns + 0.5])
        style.draw_mark(ax, "diverged", at, style.COLORS[1])
    ax.set(aspect="equal", xlim=(0, columns), ylim=(rows, 0))
    ax.set(xticks=np.arange(columns) + 0.5, yticks=np.arange(rows) + 0.5)
    ax.set(xticklabels=range(columns), yticklabels=range(rows))
    return style.finish_axes(ax, names=("column", "row"), title=title, legend="above")


def _fit_norm(shown: np.ma.MaskedArray, limits: colors.Limits) -> Normalize:
    """Return the norm between the limits, or between the extremes of the values shown."""
    values = shown.compressed() if shown.count() else np.zeros(1)
    low, high = limits
    return Normalize(values.min() if low is None else low, values.max() if high is None else high)


def _draw_actions(
    ax: Axes, drawn: NDArray[np.bool_], columns: int, moves: Sequence[tuple[int, int]]
) -> None:
    """Draw one arrow for each best action, from the middle of its cell."""
    cell, action = np.nonzero(drawn)
    right, down = np.asarray(moves, float)[action].T
    x, y = cell % columns + 0.5 + 0.08 * right, cell // columns + 0.5 + 0.08 * down
    look: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "x"}
    look |= {"width": 0.06, "color": "white", "edgecolor": "black", "lw": 0.6}
    look |= {"headwidth": 3.2, "headlength": 3.0, "headaxislength": 3.0}
    ax.quiver(x, y, 0.3 * right, 0.3 * down, **look)


def _write_values(ax: Axes, shown: np.ma.MaskedArray, columns: int, mesh: ScalarMappable) -> None:
    """Write the value into the corner of its cell, dark on light colors and light on dark ones."""
    for cell in np.flatnonzero(~np.ma.getmaskarray(shown)):
        red, green, blue, _ = np.ravel(mesh.to_rgba(shown[cell]))
        color = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
        at = (cell % columns + 0.05, cell // columns + 0.2)
        ax.text(*at, f"{shown[cell]:.2g}", fontsize=6, color=color)
