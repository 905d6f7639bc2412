"""The axes of a sweep, divided into bins that stand side by side on a map or in a histogram."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from jaxmom.plot._shared import axis_scale, labels

MAX_BINS = 200
ABSENT = "not given"  # an argument that some spaces of a union do not have
_UNEVEN = 0.02  # steps that vary by more than this share of their mean are not even
_TICKS = 8


class Axis(NamedTuple):
    """One argument of the lanes.

    Attributes:
      name: The name of the argument.
      dim: The dim of the sweep along which it varies.
      values: [positions along dim] its values or labels.
      bins: [positions along dim] the bin of each, from 0.
      texts: [bins] what a bin holds: a value, or the range of several.
      centers: [bins] where bins are on the scale: numbers, or else their texts.
      ticks: Where ticks stand, in bins, and their texts. The center of bin 0 is at 0.5.
      scale: "linear", "log" or "memory" if bins are even on that scale, else "listed".
    """

    name: str
    dim: str
    values: NDArray[Any]
    bins: NDArray[np.intp]
    texts: list[str]
    centers: NDArray[Any]
    ticks: dict[float, str]
    scale: str

    @property
    def size(self) -> int:
        """The number of bins."""
        return len(self.texts)


def make_axis(coordinate: xarray.DataArray) -> Axis:
    """Divide a coordinate of lanes into bins.

    Each of up to 200 distinct values has a bin of its own; more are put into 200 bins that are even
    on the scale that spaces the values most evenly: linear, logarithmic, or that of the memory
    1 / (1 - beta). Labels are in the order of their first occurrence.

    Args:
      coordinate: [positions] Numbers or labels; NaN or "" where a lane has no such argument.

    Example:
      >>> beta = xarray.DataArray([0.0, 0.9, 0.99, 0.9], dims="lane", name="beta")
      >>> axis = make_axis(beta)
      >>> axis.scale, axis.bins.tolist(), axis.texts
      ('memory', [0, 1, 2, 1], ['0', '0.9', '0.99'])
    """
    name, dim = str(coordinate.name), str(coordinate.dims[0])
    values = np.asarray(coordinate.values)
    there = is_given(values)
    found = values[there]
    bins = _bin_numbers(name, found) if _is_number_line(found) else _bin_labels(found)
    everywhere = np.full(len(values), len(bins.texts), np.intp)
    everywhere[there] = bins.codes
    if there.all():
        return Axis(name, dim, values, everywhere, *bins[1:])
    texts, ticks = [*bins.texts, ABSENT], bins.ticks | {len(bins.texts) + 0.5: ABSENT}
    return Axis(name, dim, values, everywhere, texts, np.array(texts), ticks, bins.scale)


class _Bins(NamedTuple):
    """The bins of values; the fields are those of `Axis`, and the bin of each value."""

    codes: NDArray[np.intp]
    texts: list[str]
    centers: NDArray[Any]
    ticks: dict[float, str]
    scale: str


def is_given(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where lanes have the argument: a union marks the others by NaN or "".

    Example:
      >>> is_given(np.array([0.5, np.nan]))
      array([ True, False])
    """
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    if values.dtype.kind == "U":
        return values != ""
    return np.ones(values.shape, bool)


def _is_number_line(values: NDArray[Any]) -> bool:
    """Return whether values are finite numbers, so that they have places on a scale."""
    return values.dtype.kind in "iuf" and len(values) > 0 and bool(np.isfinite(values).all())


def _bin_labels(values: NDArray[Any]) -> _Bins:
    """Return the bins of labels."""
    numbers = {text: i for i, text in enumerate(dict.fromkeys(map(str, values.tolist())))}
    codes = np.array([numbers[str(value)] for value in values.tolist()], np.intp)
    texts = list(numbers)
    if len(texts) > MAX_BINS:
        codes, texts = _merge(codes, texts)
    return _Bins(codes, texts, np.array(texts), _pick_ticks(texts), "listed")


def _merge(codes: NDArray[np.intp], texts: list[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Return fewer bins, each of about as many neighbors."""
    of_bin = np.arange(len(texts)) * MAX_BINS // len(texts)
    starts = np.searchsorted(of_bin, np.arange(MAX_BINS))
    ends = np.append(starts[1:], len(texts)) - 1
    merged = [
        texts[a] if a == b else f"{texts[a]} … {texts[b]}"
        for a, b in zip(starts, ends, strict=True)
    ]
    return of_bin[codes], merged


def _bin_numbers(name: str, values: NDArray[Any]) -> _Bins:
    """Return the bins of numbers, each of one value if there are few."""
    distinct, codes = np.unique(values, return_inverse=True)
    coordinate = xarray.DataArray(distinct.astype(float), dims=name, name=name)
    if len(np.unique(coordinate.values)) < len(distinct):  # integers that float64 cannot tell apart
        return _bin_labels(values)
    scale = axis_scale.fit_scale(coordinate, "auto")
    if len(distinct) > MAX_BINS:
        return _bin_scale(coordinate, scale, codes)
    texts = labels.format_numbers(coordinate.values)
    if _is_even(scale):
        return _Bins(codes, texts, scale.centers, _place_ticks(scale, len(texts)), scale.kind)
    return _Bins(codes, texts, scale.centers, _pick_ticks(texts), "listed")


def _bin_scale(
    coordinate: xarray.DataArray, scale: axis_scale.AxisScale, codes: NDArray[np.intp]
) -> _Bins:
    """Return bins that are even on a scale."""
    _, places = axis_scale.place_on_scale(coordinate, scale.kind)
    bins = np.minimum((places * MAX_BINS).astype(np.intp), MAX_BINS - 1)
    warp, inverse = axis_scale.SCALES[scale.kind]
    low, high = warp(scale.edges[[0, -1]])
    edges = inverse(np.linspace(low, high, MAX_BINS + 1))
    centers = inverse(low + (high - low) * (np.arange(MAX_BINS) + 0.5) / MAX_BINS)
    texts = [f"{a:.6g} … {b:.6g}" for a, b in itertools.pairwise(edges)]
    return _Bins(bins[codes], texts, centers, _place_ticks(scale, MAX_BINS), scale.kind)


def _is_even(scale: axis_scale.AxisScale) -> bool:
    """Return whether the values of a scale are spaced evenly on it."""
    steps = np.diff(axis_scale.SCALES[scale.kind][0](scale.centers))
    return len(steps) < 2 or bool(np.std(steps) <= _UNEVEN * np.mean(steps))


def _place_ticks(scale: axis_scale.AxisScale, bins: int) -> dict[float, str]:
    """Return ticks at round numbers of a scale, in bins."""
    places, texts = axis_scale.choose_ticks(scale)
    return dict(zip((np.asarray(places) * bins).tolist(), texts, strict=True))


def _pick_ticks(texts: list[str]) -> dict[float, str]:
    """Return ticks at the centers of some bins that are spread evenly."""
    step = -(-len(texts) // _TICKS) if len(texts) > 2 * _TICKS else 1
    return {number + 0.5: texts[number] for number in range(0, len(texts), step)}
