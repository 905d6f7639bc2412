"""Frequency responses: the gain of a method for gradients that oscillate."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import labels, status, style


def frequency(
    data: labels.SeriesLike,
    *,
    frequencies: ArrayLike | None = None,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw the gain of a method for a wave in the gradients against the frequency of the wave.

    A low-pass filter falls to the right: it averages noise away. The gain at the left end is the
    effective learning rate; that at the right end, pi, bounds the stable curvature by 2 / gain.
    A gain of zero has no place on the logarithmic axis: it is drawn at the smallest positive gain
    and marked with a triangle. The label counts gains that are not finite.

    Args:
      data: label -> response [frequencies], complex or its modulus; one such array; or a
        DataArray with the dim "frequency", whose other dims become labels.
      frequencies: The frequencies in radians per step, [frequencies]; by default the coordinate, or
        evenly spaced over (0, pi].
      ax: The Axes; a new figure by default.
      title: The title of the Axes.
      legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes.

    Raises:
      ValueError: Wrong dims or lengths, or no gain is positive.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = frequency({"average": [1.0, 0.5, 0.1]}, frequencies=[0.01, 0.1, 1.0])
      >>> ax.get_yscale()
      'log'
      >>> plt.close(ax.figure)
    """
    arrays = labels.label_arrays(_take_moduli(data), ("frequency",), required=1)
    gains = np.concatenate([np.asarray(array.values, float) for _, array in arrays])
    floor = status.choose_floor(gains, None) or 0.0
    ax = style.get_axes(ax, 6.4, 3.6)
    for index, (label, array) in enumerate(arrays):
        at, values = _read_frequencies(array, frequencies), np.asarray(array.values, float)
        infinite = int((~np.isfinite(values)).sum())
        label = f"{label} ({infinite} not finite)".strip() if infinite else label
        color, dashes, _ = style.line_style(index, ax)
        heights = np.where(np.isfinite(values), np.maximum(values, floor), np.nan)
        ax.loglog(at, heights, color=color, linestyle=dashes, label=label or None)
        low = values < floor
        if low.any():
            style.draw_mark(ax, "at or below the floor", (at[low], heights[low]), color)
    ax.axvline(np.pi, color=style.ensure_contrast(style.GRAY, ax), linewidth=0.8)
    names = ("frequency of the gradients [radians per step]", "step per gradient")
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _take_moduli(data: Any) -> Any:
    """Return the same data with complex responses as their moduli."""
    data = labels.select_variable(data)
    if isinstance(data, xarray.DataArray):
        return abs(data)
    if isinstance(data, dict):
        return {label: _take_moduli(value) for label, value in data.items()}
    return np.abs(np.asarray(data))


def _read_frequencies(array: xarray.DataArray, given: ArrayLike | None) -> NDArray[np.float64]:
    """Return the frequencies of the responses: as given, those of the coordinate, or even ones."""
    if given is None and "frequency" in array.coords:
        given = array["frequency"].values
    count = array.sizes["frequency"]
    at = np.pi * np.arange(1, count + 1) / count if given is None else np.asarray(given, float)
    if at.shape != (count,):
        raise ValueError(f"there are {count} responses, but frequencies has shape {at.shape}")
    return at
