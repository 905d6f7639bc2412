"""Values over steps: single runs, or the median and the spread of runs over seeds."""

from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from jaxmom.plot import labels, lanes, style


class Bundle(NamedTuple):
    """The runs that share one label, as they are drawn."""

    label: str
    steps: NDArray[np.float64]  # [records]
    runs: NDArray[np.float64]  # [seeds that ran, records], +inf from divergence on
    diverged: NDArray[np.bool_]  # [seeds that ran]


def curves(
    data: Any,
    *,
    x: str = "step",
    over: str = "seed",
    steps: ArrayLike | None = None,
    diverged_at: Any = None,
    log: bool = True,
    floor: float | None = None,
    band: tuple[float, float] = (0.25, 0.75),
    ax: Axes | None = None,
    title: str = "",
    legend: str = "right",
) -> Axes:
    """Draw one line per label over the steps, with seeds the median and the band around it.

    A run ends before its first value that is not finite, or beyond 1e200, in a cross. Among seeds,
    one that diverged counts as +inf from then on, so that the survivors do not flatter a method;
    it is drawn as a thin line too. Where the upper end of the band has diverged, the band reaches
    up to the largest finite value of its runs. The label tells how many seeds there are, and how
    many of them diverged, failed or are missing.

    Args:
        data: label -> array [records] or [seeds, records], one such array, or a DataArray with
            the dim `x` and perhaps `over`, whose other dims (method, beta, ...) become labels.
            Its coordinate `status` (0 missing, 1 ok, 2 diverged, 3 failed) is respected.
        x: the dim along the x axis.
        over: the dim of the seeds.
        steps: where the records stand, [records]; by default the coordinate `x`, or 0, 1, 2, ...
        diverged_at: for runs that were frozen when they diverged, the step at which each did, -1
            for never, in the units of `steps`: label -> step or [seeds], or a DataArray. By
            default the coordinate of that name. What comes after is not drawn.
        log: a logarithmic y axis.
        floor: on a logarithmic axis, what is lower is drawn here and marked with a triangle; by
            default the smallest positive value, if some value is zero, negative or below 1e-200.
        band: the quantiles between which seeds are shaded; they are NumPy's linear ones.
        ax: where to draw; a new figure by default.
        title: of the Axes.
        legend: "right" or "above" the Axes, a matplotlib location inside it, or "" for none.

    Returns:
        The Axes.

    Raises:
        ValueError: wrong dims or lengths, or a logarithmic axis where no value is positive.

    >>> import matplotlib.pyplot as plt
    >>> ax = curves({"descent": [[1.0, 0.1, 0.01], [1.0, 10.0, float("inf")]]}, log=False)
    >>> ax.get_legend_handles_labels()[1]
    ['descent (2 seeds, 1 diverged)', 'diverged']
    >>> plt.close(ax.figure)
    """
    lanes.check_band(band)
    arrays = labels.labeled(data, (over, x), required=1, diverged_at=diverged_at)
    bundles = [_bundle(label, array, x, over, steps) for label, array in arrays]
    values = np.concatenate([np.empty(0), *(bundle.runs.ravel() for bundle in bundles)])
    floor = lanes.floor(values, floor) if log else None
    ax = style.axes(ax, 7.0, 3.6)
    for index, bundle in enumerate(bundles):
        _draw(ax, bundle, band, -np.inf if floor is None else floor, style.look(index))
    if log:
        ax.set_yscale("log")
    return style.finish(ax, names=_names(data, x, bundles, band), title=title, legend=legend)


def _bundle(label: str, array: xarray.DataArray, x: str, over: str, steps: Any) -> Bundle:
    """The runs under one label that are there, each +inf from where it diverged."""
    at = np.asarray(array[x].values if steps is None else steps, float)
    if at.shape != array[x].shape:
        raise ValueError(f"{label!r} has {array.sizes[x]} records, but steps has shape {at.shape}")
    runs = np.array(array.values, float, ndmin=2)
    status = np.broadcast_to(array.coords.get("status", lanes.OK), len(runs))
    ends = np.broadcast_to(array.coords.get("diverged_at", -1), len(runs))
    late = (ends[:, None] >= 0) & (at > ends[:, None])
    runs[np.logical_or.accumulate(late | ~lanes.drawable(runs), axis=1)] = np.inf
    ran = (status == lanes.OK) | (status == lanes.DIVERGED)
    diverged = (status == lanes.DIVERGED) | (ends >= 0) | np.isinf(runs[:, -1:]).any(axis=1)
    note = _note(len(runs) if over in array.dims else None, diverged & ran, status)
    label = f"{label} ({note})" if label and note else label or note
    return Bundle(label, at, runs[ran], diverged[ran])


def _note(seeds: int | None, diverged: NDArray[np.bool_], status: NDArray) -> str:
    """How many seeds there are and what befell them; without seeds, what befell the one run."""
    counts = {"diverged": int(diverged.sum())} | lanes.counts(status)
    if seeds is None:
        return ", ".join(fate for fate, count in counts.items() if count)
    told = [f"{seeds} seed" + "s" * (seeds != 1)]
    return ", ".join(told + [f"{count} {fate}" for fate, count in counts.items() if count])


def _draw(
    ax: Axes, bundle: Bundle, band: tuple[float, float], floor: float, look: style.Look
) -> None:
    """The run, or of several runs the median with its band and each run that diverged."""
    runs, steps = bundle.runs, bundle.steps
    line: dict[str, Any] = look._asdict() | {"markersize": 4, "markevery": max(1, len(steps) // 8)}
    if len(runs) == 0:
        ax.plot([], [], label=bundle.label, **line)
        return
    middle = lanes.quantile(runs, 0.5)
    alone = len(runs) == 1
    _line(ax, steps, middle, floor, alone and bool(bundle.diverged[0]), label=bundle.label, **line)
    if alone:
        return
    for run in runs[bundle.diverged]:
        _line(ax, steps, run, floor, True, color=look.color, linewidth=0.7, alpha=0.7)
    if np.isfinite(middle).any():
        top = runs[np.isfinite(runs)].max()
        ends = (lanes.quantile(runs, share) for share in band)
        low, high = (np.maximum(np.where(np.isinf(end), top, end), floor) for end in ends)
        shown = np.isfinite(middle)
        ax.fill_between(steps, low, high, where=shown, color=look.color, alpha=0.18, linewidth=0)


def _line(
    ax: Axes, steps: NDArray, values: NDArray, floor: float, ended: bool, **line: Any
) -> None:
    """One line up to its first infinity, with marks where it ends early and where it is lifted."""
    finite = int(np.isfinite(values).sum())
    steps, heights = steps[:finite], np.maximum(values[:finite], floor)
    ax.plot(steps, heights, **line)
    lifted = np.flatnonzero(values[:finite] < floor)
    if len(lifted):
        style.mark(ax, "at or below the floor", (steps[lifted[0]], floor), line["color"])
    if finite and (ended or finite < len(values)):
        style.mark(ax, "diverged", (steps[-1], heights[-1]), line["color"])


def _names(data: Any, x: str, bundles: list[Bundle], band: tuple[float, float]) -> tuple[str, str]:
    """The name of the steps, and that of the values with what the seeds are drawn as."""
    labeled = isinstance(data, xarray.DataArray)
    value = (labels.axis_name(data) if labeled else "") or "value"
    if any(len(bundle.runs) > 1 for bundle in bundles):
        value += f" (median, {100 * band[0]:g}–{100 * band[1]:g} % of seeds)"
    return labels.axis_name(data[x]) if labeled else x, value
