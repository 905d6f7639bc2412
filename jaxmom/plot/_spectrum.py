"""Spectra: eigenvalues in the unit circle, as a hyperparameter moves."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot._shared import axis_scale, labels, style

_EDGE = 1.15  # of the frame, on either side of the origin


def spectrum(
    data: xarray.DataArray | ArrayLike,
    *,
    parameter: ArrayLike | None = None,
    name: str = "",
    scale: str = "auto",
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw eigenvalues in the unit circle as a hyperparameter moves, colored by it.

    Inside the circle a run converges, faster the closer to the center; on the real axis it does
    not oscillate. An eigenvalue outside the frame is a square on its boundary, in the direction
    of the eigenvalue; the legend counts them and says how large they are. It counts those that are
    not finite, too.

    Args:
      data: Complex [values, n], the n eigenvalues at each value of the parameter; or a DataArray
        whose first dim is the parameter.
      parameter: The values, [values]; by default the coordinate of the first dim, or 0, 1, 2 ...
      name: The name of the parameter, for the color bar; by default the name of the dim.
      scale: The scale of the colors: "linear", "log", "memory" (for beta near 1: even in the
        logarithm of 1 / (1 - beta)), or "auto" for the one that spaces the values most evenly.
      ax: The Axes; a new figure by default. The color bar takes its space from it.
      title: The title of the Axes.
      legend: "above" or "right" of the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes.

    Raises:
      ValueError: The data are not a table, the parameter has another length or is off the scale, or
        there is no such scale.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> roots = [[0.5, 0.2], [0.3 + 0.4j, -1.5]]
      >>> ax = spectrum(roots, parameter=[0.1, 0.25], name="beta")
      >>> ax.get_legend_handles_labels()[1]
      ['1 outside the frame, modulus up to 1.5']
      >>> plt.close(ax.figure)
    """
    roots, values, name = _read_roots(data, parameter, name)
    one = xarray.DataArray(np.unique(values), dims="parameter", name=name or "parameter")
    fitted = axis_scale.fit_scale(one, scale)
    heights = axis_scale.SCALES[fitted.kind][0](values)
    norm = Normalize(heights.min(), heights.max())
    shades = np.broadcast_to(heights[:, None], roots.shape)
    ax = style.get_axes(ax, 4.6, 3.8)
    _draw_circle(ax)
    size = np.maximum(np.abs(roots.real), np.abs(roots.imag))
    inside, outside = size <= _EDGE, np.isfinite(roots) & (size > _EDGE)
    _scatter_roots(ax, roots[inside], shades[inside], norm, s=9, marker="o")
    if outside.any():
        moduli, count = np.abs(roots[outside]), int(outside.sum())
        text = f"{count:,} outside the frame, modulus up to {moduli.max():.3g}"
        edge = roots[outside] * (_EDGE / size[outside])
        _scatter_roots(ax, edge, shades[outside], norm, s=30, marker="s", label=text, clip_on=False)
    infinite = int((~np.isfinite(roots)).sum())
    if infinite:
        ax.plot([], [], linestyle="none", label=f"{infinite:,} not finite")
    _draw_parameter_bar(ax, fitted, norm)
    ax.set(xlim=(-_EDGE, _EDGE), ylim=(-_EDGE, _EDGE), aspect="equal")
    return style.finish_axes(ax, names=("real part", "imaginary part"), title=title, legend=legend)


def _read_roots(
    data: Any, parameter: ArrayLike | None, name: str
) -> tuple[NDArray[np.complex128], NDArray[np.float64], str]:
    """Return the eigenvalues [values, n], the values of the parameter, and its name."""
    data = labels.select_variable(data)
    if isinstance(data, xarray.DataArray):
        coordinate = data[data.dims[0]]
        parameter = coordinate.values if parameter is None else parameter
        name = name or labels.name_axis(coordinate)
    roots = np.asarray(data, complex)
    values = np.asarray(np.arange(len(roots)) if parameter is None else parameter, float)
    if roots.ndim != 2 or values.shape != roots.shape[:1] or roots.size == 0:
        raise ValueError(
            f"eigenvalues are [values, n], at least one, and the parameter [values]; got "
            f"{roots.shape} and {values.shape}"
        )
    return roots, values, name


def _draw_circle(ax: Axes) -> None:
    """Draw the unit circle and the two axes of the plane."""
    angles, color = np.linspace(0, 2 * np.pi, 361), style.ensure_contrast(style.GRAY, ax)
    ax.plot(np.cos(angles), np.sin(angles), color=color, linewidth=1.0)
    ax.axhline(0, color=color, linewidth=0.5)
    ax.axvline(0, color=color, linewidth=0.5)


def _scatter_roots(
    ax: Axes, roots: NDArray[np.complex128], shades: NDArray, norm: Normalize, **look: Any
) -> None:
    """Draw eigenvalues as points, colored by the parameter."""
    look |= {"c": shades, "norm": norm, "cmap": style.HEAT, "zorder": 3}
    # An edge, because the darkest color of the map is hard to see on a dark background.
    look |= {"edgecolors": style.ensure_contrast(style.GRAY, ax), "linewidths": 0.3}
    ax.scatter(roots.real, roots.imag, **look)


def _draw_parameter_bar(ax: Axes, fitted: axis_scale.AxisScale, norm: Normalize) -> None:
    """Draw the color bar of the parameter, with ticks at its round values."""
    bar = ax.figure.colorbar(ScalarMappable(norm, style.HEAT), ax=ax, label=fitted.name)
    values = fitted.centers
    if len(values) > 6:
        values = axis_scale.round_values(values[0], values[-1], fitted.kind)
    ticks = axis_scale.SCALES[fitted.kind][0](values)
    bar.set_ticks(ticks.tolist(), labels=labels.format_numbers(values))
