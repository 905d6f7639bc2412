"""Momentum kernels: the weights of past gradients in a step."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from jaxmom.plot._shared import labels, status, style


def kernel(
    data: labels.SeriesLike,
    *,
    scale: Literal["linear", "log"] = "linear",
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw the weights of past gradients in a step against their age.

    With `scale` "log" both axes are logarithmic: exponentials bend down, and a power law is
    straight. Ages then count from 1, for the gradient of the step itself, because a log axis has
    no 0. Weights are drawn by their modulus; those below zero have a dot, and those that are
    zero or too small are drawn at the floor and marked with a triangle. The label counts weights
    that are not finite, whose place stays empty.

    Args:
      data: label -> weights [lags], as `jaxmom.theory.kernel` returns them; one such array; or a
        DataArray with the dim "lag", whose other dims become labels.
      scale: "linear" or "log".
      ax: The Axes; a new figure by default.
      title: The title of the Axes.
      legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes.

    Raises:
      ValueError: Wrong dims, another `scale`, or no weight that a logarithmic axis could show.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = kernel({"heavy ball": [0.1, 0.09, 0.081]})
      >>> ax.get_xlabel()
      'age of the gradient [steps]'
      >>> plt.close(ax.figure)
    """
    if scale not in ("linear", "log"):
        raise ValueError(f'scale is "linear" or "log", not {scale!r}.')
    arrays = labels.label_arrays(data, ("lag",), required=1)
    ax = style.get_axes(ax, 6.4, 3.6)
    sizes = np.concatenate([np.abs(np.asarray(array.values, float)) for _, array in arrays])
    is_log = scale == "log"
    if is_log and not np.any(sizes > 0):
        raise ValueError('no weight is above zero in size; draw them with scale="linear".')
    floor = (status.choose_floor(sizes, None) or 0.0) if is_log else -np.inf
    for index, (label, array) in enumerate(arrays):
        weights = np.asarray(array.values, float)
        infinite = int((~np.isfinite(weights)).sum())
        label = f"{label} ({infinite} not finite)".strip() if infinite else label
        lags = array["lag"].values if "lag" in array.coords else np.arange(len(weights))
        _draw_weights(ax, index, label, lags + int(is_log), weights, floor)
    if is_log:
        ax.set(xscale="log", yscale="log")
    else:
        ax.axhline(0, color=style.ensure_contrast(style.GRAY, ax), linewidth=0.8)
    age = "age of the gradient [steps]" + ", 1 for the newest" * is_log
    names = (age, "weight in the step")
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _draw_weights(ax: Axes, index: int, label: str, ages: Any, weights: Any, floor: float) -> None:
    """Draw one kernel: as it is if the floor is -inf, else by its modulus, with marks."""
    color, dashes, _ = style.line_style(index, ax)
    is_log = np.isfinite(floor)
    finite = np.isfinite(weights)
    heights = np.maximum(np.abs(weights), floor) if is_log else weights
    heights = np.where(finite, heights, np.nan)
    ax.plot(ages, heights, color=color, linestyle=dashes, label=label or None)
    if not is_log:
        return
    negative, low = (weights < 0) & finite, finite & (np.abs(weights) < floor)
    if negative.any():
        below = "negative" if not label else f"{label}, below zero"
        ax.plot(ages[negative], heights[negative], ".", color=color, markersize=4, label=below)
    if low.any():
        style.draw_mark(ax, "at or below the floor", (ages[low], heights[low]), color)
