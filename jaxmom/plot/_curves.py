"""Curves: values over steps, of single runs or as the median and the spread over seeds."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from jaxmom._outcomes import quantile
from jaxmom.plot._shared import axis_scale, labels, status, style

_MARKS = 25  # of one kind on one line, at most


class Bundle(NamedTuple):
    """The runs that share one label, as they are drawn."""

    label: str
    steps: NDArray[np.float64]  # [records]
    runs: NDArray[np.float64]  # [seeds that ran, records], +inf from divergence on
    diverged: NDArray[np.bool_]  # [seeds that ran]


def curves(
    data: labels.SeriesLike,
    *,
    x: str = "step",
    over: str = "seed",
    steps: ArrayLike | None = None,
    diverged_at: labels.StepLike = None,
    log: bool = True,
    floor: float | None = None,
    band: tuple[float, float] = (0.25, 0.75),
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw one line per label over the steps; over seeds, their median and a band around it.

    A run ends before its first value that is not finite, or is beyond 1e200, in a cross. Among
    seeds, one that diverged counts as +inf from then on, so that the survivors do not flatter a
    method; it is drawn as a thin line too. Where the upper end of the band has diverged, the band
    reaches up to the largest finite value of its runs. The label gives the number of seeds, and
    how many of them diverged, failed or are missing.

    Args:
      data: label -> array [records] or [seeds, records], one such array, or a DataArray with
        the dim `x` and perhaps `over`, whose other dims (method, beta, ...) become labels. Its
        coordinate `status` (0 missing, 1 ok, 2 diverged, 3 failed) is respected.
      x: The dim along the x axis.
      over: The dim of the seeds.
      steps: The steps of the records, [records]; by default the coordinate `x`, or 0, 1, 2, ...
      diverged_at: For runs that were frozen when they diverged, the step at which each did, -1
        for never, in the units of `steps`: label -> step or [seeds], or a DataArray. By default
        the coordinate of that name. Later values are not drawn.
      log: Whether the y axis is logarithmic.
      floor: On a logarithmic axis, lower values are drawn at this height and marked with
        triangles; by default it is the smallest positive value, if some value is zero, negative or
        below 1e-200.
      band: The quantiles between which seeds are shaded; they are NumPy's linear ones.
      ax: The Axes; a new figure by default.
      title: The title of the Axes.
      legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
      The Axes.

    Raises:
      ValueError: Wrong dims or lengths, or a logarithmic axis where no value is positive.

    Example:
      >>> import matplotlib.pyplot as plt
      >>> ax = curves({"descent": [[1.0, 0.1, 0.01], [1.0, 10.0, float("inf")]]}, log=False)
      >>> ax.get_legend_handles_labels()[1]
      ['descent (2 seeds, 1 diverged)', 'diverged']
      >>> plt.close(ax.figure)
    """
    status.check_band(band)
    data = labels.select_variable(data)
    arrays = labels.label_arrays(data, (over, x), required=1, diverged_at=diverged_at)
    bundles = [_make_bundle(label, array, x, over, steps) for label, array in arrays]
    values = np.concatenate([np.empty(0), *(bundle.runs.ravel() for bundle in bundles)])
    lowest = status.choose_floor(values, floor) if log else None
    ax = style.get_axes(ax, 7.0, 3.6)
    for index, bundle in enumerate(bundles):
        look = style.line_style(index, ax)
        _draw_bundle(ax, bundle, band, -np.inf if lowest is None else lowest, look)
    if log:
        axis_scale.make_y_log(ax)
    names = _name_axes(data, x, bundles, band)
    return style.finish_axes(ax, names=names, title=title, legend=legend)


def _make_bundle(label: str, array: xarray.DataArray, x: str, over: str, steps: Any) -> Bundle:
    """Return the runs under one label that are there, each +inf from its divergence on."""
    at = np.asarray(array[x].values if steps is None else steps, float)
    if at.shape != array[x].shape:
        raise ValueError(f"{label!r} has {array.sizes[x]} records, but steps has shape {at.shape}")
    runs = np.array(array.values, float, ndmin=2)
    statuses = np.broadcast_to(array.coords.get("status", status.OK), len(runs))
    ends = np.broadcast_to(array.coords.get("diverged_at", -1), len(runs))
    late = (ends[:, None] >= 0) & (at > ends[:, None])
    dropped = np.array(status.read_dropped(array), ndmin=2)  # they stay NaN: runs that are absent
    lost = late | (~status.is_drawable(runs) & ~dropped)
    runs[np.logical_or.accumulate(lost, axis=1)] = np.inf
    ran = (statuses == status.OK) | (statuses == status.DIVERGED)
    diverged = (statuses == status.DIVERGED) | (ends >= 0) | np.isinf(runs[:, -1:]).any(axis=1)
    seeds = len(runs) if over in array.dims else None
    note = _describe_seeds(seeds, diverged & ran, statuses)
    label = f"{label} ({note})" if label and note else label or note
    return Bundle(label, at, runs[ran], diverged[ran])


def _describe_seeds(
    seeds: int | None, diverged: NDArray[np.bool_], statuses: NDArray[np.int_]
) -> str:
    """Return the number of seeds and of those that are lost; of one run, its status."""
    counts = {"diverged": int(diverged.sum())} | status.count_absent(statuses)
    if seeds is None:
        return ", ".join(name for name, count in counts.items() if count)
    parts = [f"{seeds} seed" + "s" * (seeds != 1), status.list_counts(counts)]
    return ", ".join(part for part in parts if part)


def _draw_bundle(
    ax: Axes, bundle: Bundle, band: tuple[float, float], floor: float, look: style.LineStyle
) -> None:
    """Draw the run, or of several runs the median with its band and each run that diverged."""
    runs, steps = bundle.runs, bundle.steps
    line: dict[str, Any] = look._asdict() | {"markersize": 4, "markevery": max(1, len(steps) // 8)}
    if len(runs) == 0:
        ax.plot([], [], label=bundle.label, **line)
        return
    middle = quantile(runs, 0.5)
    single = len(runs) == 1
    ended = single and bool(bundle.diverged[0])
    _draw_curve(ax, steps, middle, floor, ended, label=bundle.label, **line)
    if single:
        return
    for run in runs[bundle.diverged]:
        _draw_curve(ax, steps, run, floor, True, color=look.color, linewidth=0.7, alpha=0.7)
    if np.isfinite(middle).any():
        top = runs[np.isfinite(runs)].max()
        ends = (quantile(runs, share) for share in band)
        low, high = (np.maximum(np.where(np.isinf(end), top, end), floor) for end in ends)
        shown = np.isfinite(middle)
        ax.fill_between(steps, low, high, where=shown, color=look.color, alpha=0.18, linewidth=0)


def _draw_curve(
    ax: Axes, steps: NDArray, values: NDArray, floor: float, ended: bool, **line: Any
) -> None:
    """Draw one line up to its first infinity, with marks at its early end and on the floor."""
    finite = int(np.isfinite(values).sum())
    steps, heights = steps[:finite], np.maximum(values[:finite], floor)
    ax.plot(steps, heights, **line)
    lifted = values[:finite] < floor
    if lifted.any():
        at, every = (steps[lifted], heights[lifted]), max(1, int(lifted.sum()) // _MARKS)
        style.draw_mark(ax, "at or below the floor", at, line["color"], markevery=every)
    if finite and (ended or np.isinf(values).any()):
        style.draw_mark(ax, "diverged", (steps[-1], heights[-1]), line["color"])


def _name_axes(
    data: Any, x: str, bundles: list[Bundle], band: tuple[float, float]
) -> tuple[str, str]:
    """Return the name of the steps, and that of the values with the quantiles that are drawn."""
    labeled = isinstance(data, xarray.DataArray)
    value = (labels.name_axis(data) if labeled else "") or "value"
    if any(len(bundle.runs) > 1 for bundle in bundles):
        value += f" (median, {100 * band[0]:g}–{100 * band[1]:g} % of seeds)"
    return labels.name_axis(data[x]) if labeled else x, value
