"""What theory says of an optimizer, drawn: over a sweep, in the unit circle, over frequencies."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from jaxmom.plot import labels, maps, scales, style

BOUNDARY = "#D55E00"


def stability_map(
    measured: xarray.DataArray | ArrayLike,
    radius: xarray.DataArray | ArrayLike,
    *,
    x: Any = None,
    y: Any = None,
    levels: ArrayLike = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
    limits: tuple[float | None, float | None] = (None, 1.0),
    x_scale: str = "auto",
    y_scale: str = "auto",
    ax: Axes | None = None,
    title: str = "",
    legend: str = "above",
) -> Axes:
    """Draw theory over a sweep: its boundary of stability and its rates over what was measured.

    The cells are colored by the measured rate, as in `heatmap`; those that diverged are striped.
    Over them run the thick line where the spectral radius is 1, and thin ones where it is one of
    the `levels`. Where theory is right, the stripes begin at the thick line and the colors change
    along the thin ones.

    Args:
        measured: the rate per step in every cell, a DataArray with two dims or an array [rows of
            y, columns of x]; not finite where the run diverged.
        radius: the spectral radius, with the same dims or shape; a DataArray may have finer
            coordinates of its own.
        x: as in `heatmap`.
        y: as in `heatmap`.
        levels: of the radius, at which a thin line is drawn and labeled.
        limits: the rates of the lowest and of the highest color; None is the data's own.
        x_scale: as in `heatmap`.
        y_scale: as in `heatmap`.
        ax: where to draw; a new figure by default. The color bar takes its room from it.
        title: of the Axes.
        legend: as in `heatmap`.

    Returns:
        The Axes.

    Raises:
        ValueError: as `heatmap`, for either of the two.

    >>> import matplotlib.pyplot as plt
    >>> measured = [[0.9, 0.9, 0.95], [0.5, 0.9, np.inf], [np.inf, np.inf, np.inf]]
    >>> radius = [[0.9, 0.9, 0.95], [0.5, 0.9, 1.1], [1.2, 1.3, 1.5]]
    >>> ax = stability_map(measured, radius, x=[0.0, 0.5, 0.9], y=[0.1, 0.5, 2.5])
    >>> ax.get_legend_handles_labels()[1]
    ['diverged', 'theory: rates below 1', 'theory: rate 1, the boundary']
    >>> plt.close(ax.figure)
    """
    theory = labels.table(radius, x, y, None)
    ax = maps.heatmap(
        measured, x=x, y=y, log=False, limits=limits, x_scale=x_scale, y_scale=y_scale,
        star=False, ax=ax, legend="",
    )  # fmt: skip
    rows, columns = (np.asarray(theory[dim].values, float) for dim in theory.dims)
    values = np.nan_to_num(np.asarray(theory.values, float), nan=np.inf, posinf=1e9)
    within = sorted(level for level in np.ravel(levels) if values.min() < level < values.max())
    if within:
        thin = ax.contour(columns, rows, values, within, colors="white", linewidths=0.8)
        ax.clabel(thin, fmt="%g", fontsize="x-small")
        ax.plot([], [], color="#bbbbbb", linewidth=0.8, label="theory: rates below 1")
    if values.min() < 1 < values.max():
        ax.contour(columns, rows, values, [1.0], colors=BOUNDARY, linewidths=2.2)
        ax.plot([], [], color=BOUNDARY, linewidth=2.2, label="theory: rate 1, the boundary")
    names = (ax.get_xlabel(), ax.get_ylabel())
    return style.finish(ax, names=names, title=title, legend=legend)


def spectrum(
    data: xarray.DataArray | ArrayLike,
    *,
    parameter: Any = None,
    name: str = "",
    scale: str = "linear",
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw eigenvalues in the unit circle as a hyperparameter moves, colored by it.

    Inside the circle a run converges, the faster the nearer to the center; on the real axis it does
    not oscillate. Eigenvalues outside of the frame are not drawn.

    Args:
        data: complex [values, n], the n eigenvalues at each value of the parameter; or a DataArray
            whose first dim is the parameter.
        parameter: the values, [values]; by default the coordinate of the first dim, or 0, 1, 2 ...
        name: of the parameter, for the color bar; by default the name of the dim.
        scale: of the colors, as in `heatmap` ("linear", "log", "memory").
        ax: where to draw; a new figure by default. The color bar takes its room from it.
        title: of the Axes.

    Returns:
        The Axes.

    Raises:
        ValueError: the data are no table, or the parameter has another length.

    >>> import matplotlib.pyplot as plt
    >>> ax = spectrum([[0.5, 0.2], [0.3 + 0.4j, 0.3 - 0.4j]], parameter=[0.1, 0.25], name="beta")
    >>> ax.get_aspect()
    1.0
    >>> plt.close(ax.figure)
    """
    if isinstance(data, xarray.DataArray):
        coordinate = data[data.dims[0]]
        parameter = coordinate.values if parameter is None else parameter
        name = name or labels.axis_name(coordinate)
    roots = np.asarray(data)
    parameter = np.asarray(np.arange(len(roots)) if parameter is None else parameter, float)
    if roots.ndim != 2 or parameter.shape != roots.shape[:1]:
        raise ValueError(
            f"eigenvalues are [values, n] and the parameter [values]; got {roots.shape} and "
            f"{parameter.shape}"
        )
    ax = style.axes(ax, 4.6, 3.8)
    angles = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(angles), np.sin(angles), color=style.GRAY, linewidth=1.0)
    ax.axhline(0, color=style.GRAY, linewidth=0.5)
    ax.axvline(0, color=style.GRAY, linewidth=0.5)
    places = np.asarray(scales.SCALES[scale][0](parameter), float)
    norm = Normalize(places.min(), places.max())
    colors = np.broadcast_to(places[:, None], roots.shape)
    points = ax.scatter(
        np.real(roots), np.imag(roots), 9, colors, norm=norm, cmap=style.HEAT, zorder=3
    )
    bar = ax.figure.colorbar(points, ax=ax)
    ticks = np.linspace(places.min(), places.max(), 5)
    bar.set_ticks(ticks, labels=[f"{value:.3g}" for value in scales.SCALES[scale][1](ticks)])
    bar.set_label(name or "parameter")
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    return style.finish(ax, names=("real part", "imaginary part"), title=title, legend="")


def frequency(
    data: Any,
    *,
    frequencies: ArrayLike | None = None,
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw how much of a wave in the gradients comes through a method, over its frequency.

    A low-pass filter falls to the right: it averages noise away. The gain at the left end is the
    effective learning rate; that at the right end, pi, bounds the stable curvature by 2 / gain.

    Args:
        data: label -> response [frequencies], complex or its modulus; one such array; or a
            DataArray with the dim "frequency", whose other dims become labels.
        frequencies: in radians per step, [frequencies]; by default the coordinate, or evenly spaced
            over (0, pi].
        ax: where to draw; a new figure by default.
        title: of the Axes.
        legend: as in `curves`.

    Returns:
        The Axes.

    Raises:
        ValueError: wrong dims or lengths.

    >>> import matplotlib.pyplot as plt
    >>> ax = frequency({"average": [1.0, 0.5, 0.1]}, frequencies=[0.01, 0.1, 1.0])
    >>> ax.get_yscale()
    'log'
    >>> plt.close(ax.figure)
    """
    gains = _moduli(data)
    ax = style.axes(ax, 6.4, 3.6)
    for index, (label, array) in enumerate(labels.labeled(gains, ("frequency",), required=1)):
        at = _frequencies(array, frequencies)
        look = style.look(index)
        ax.loglog(at, array.values, color=look.color, linestyle=look.linestyle, label=label or None)
    ax.axvline(np.pi, color=style.GRAY, linewidth=0.8)
    names = ("frequency of the gradients [radians per step]", "step per gradient")
    return style.finish(ax, names=names, title=title, legend=legend)


def _moduli(data: Any) -> Any:
    """The same data with complex responses as their moduli."""
    if isinstance(data, xarray.DataArray):
        return abs(data)
    if isinstance(data, dict):
        return {label: _moduli(value) for label, value in data.items()}
    return np.abs(np.asarray(data))


def _frequencies(array: xarray.DataArray, given: ArrayLike | None) -> np.ndarray:
    if given is None and "frequency" in array.coords:
        given = array["frequency"].values
    count = array.sizes["frequency"]
    at = np.pi * np.arange(1, count + 1) / count if given is None else np.asarray(given, float)
    if at.shape != (count,):
        raise ValueError(f"there are {count} responses, but frequencies has shape {at.shape}")
    return at
