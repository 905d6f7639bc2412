"""One axis of a space: numbers and labeled pytrees are lanes, anything else is groups."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

Kind: TypeAlias = Literal["number", "labeled", "static"]

# Names that a Dataset of a sweep needs for itself.
RESERVED = ("lane", "step", "status", "diverged_at", "rung")


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """The values of one argument of the function that is swept.

    Attributes:
      name: Of the argument.
      kind: "number" for lanes of scalars, "labeled" for lanes of pytrees, "static" for groups.
      labels: [n] the coordinate in the result: the numbers themselves, names, or booleans.
      values: What the function gets: the numbers [n], a pytree of arrays [n, ...], or a tuple of n
        objects; None in a space that was read from a store, which has the labels alone.
    """

    name: str
    kind: Kind
    labels: NDArray[Any]
    values: Any

    def take(self, index: Any) -> Any:
        """The values at some indices [m], as a pytree of arrays [m, ...]."""
        return jax.tree.map(lambda leaf: leaf[index], self.values)

    def single(self, index: int) -> Any:
        """One value as a plain loop would pass it: a Python number, a pytree, or an object."""
        if self.kind == "static":
            return None if self.values is None else self.values[index]
        value = self.take(index)
        return value.item() if self.kind == "number" else value


def read_axis(name: str, given: Any) -> Axis:
    """Tell what an argument of `grid` or `paired` is.

    Args:
      name: Of the argument.
      given: Numbers (a list, a range, an array); an object with `labels` and `values`, a pytree
        whose leaves have a leading axis, such as `jaxmom.stack` returns; a mapping from labels to
        any objects; or a sequence of booleans, strings or named functions. One value alone counts
        as a sequence of it.

    Raises:
      ValueError: No values, repeated labels, numbers that JAX has no type for, or a name that the
        result needs for itself.
    """
    check_name(name)
    if hasattr(given, "labels") and hasattr(given, "values") and not isinstance(given, Mapping):
        axis = _labeled(name, given)
    elif isinstance(given, Mapping):
        axis = Axis(name, "static", _as_labels(given), tuple(given.values()))
    else:
        axis = _sequence(name, given)
    if not len(axis.labels):
        raise ValueError(f"the axis {name!r} is empty; give it one value at least.")
    return axis


def check_name(name: str) -> None:
    """Refuse what cannot be an argument, or is a dimension or coordinate of every result."""
    if not name.isidentifier() or name in RESERVED:
        raise ValueError(
            f"an axis is the name of an argument and none of {RESERVED}, not {name!r}."
        )


def check_distinct(axis: Axis) -> None:
    """Refuse an axis of a grid whose coordinate would name two of its cells alike."""
    if axis.kind == "number" and (np.diff(np.asarray(axis.labels)) > 0).all():
        return  # as it mostly is, and sorting takes longer
    labels, counts = np.unique(axis.labels, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"the axis {axis.name!r} repeats {labels[counts > 1].tolist()}; leave the repetitions "
            "out, give functions a mapping label -> function, or use paired."
        )


def _labeled(name: str, given: Any) -> Axis:
    labels, values = _as_labels(given.labels), jax.tree.map(np.asarray, given.values)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(values)}
    if lengths != {(len(labels),)}:
        raise ValueError(
            f"the axis {name!r} has {len(labels)} labels, but the leading axes of its values are "
            f"{sorted(lengths)}; every leaf needs one row for each label."
        )
    return Axis(name, "labeled", labels, values)


def _sequence(name: str, given: Any) -> Axis:
    alone = isinstance(given, str | bytes) or getattr(given, "shape", None) == ()
    entries: Any = [given] if alone or not isinstance(given, Iterable) else given
    if isinstance(entries, range) and entries:
        entries = np.arange(entries.start, entries.stop, entries.step)
    if isinstance(entries, np.ndarray | jax.Array):
        if entries.dtype.kind in "bUO":
            return _static(name, entries.tolist())
    else:
        entries = list(entries)
        if not all(_is_number(entry) for entry in entries):
            return _static(name, entries)
    return Axis(name, "number", *[_numbers(name, np.asarray(entries))] * 2)


def _static(name: str, entries: list[Any]) -> Axis:
    entries = [entry.item() if isinstance(entry, np.generic) else entry for entry in entries]
    booleans = all(isinstance(entry, bool) for entry in entries)
    labels = np.asarray(entries) if booleans else _as_labels(map(_label, entries))
    return Axis(name, "static", labels, tuple(entries))


def _is_number(entry: Any) -> bool:
    boolean = isinstance(entry, bool | np.bool_)
    return isinstance(entry, ArrayLike) and np.ndim(entry) == 0 and not boolean


def _numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(
            f"the axis {name!r} has shape {array.shape}; one lane takes one number. For vectors "
            "give an object with labels and values, such as jm.Stack(labels, array)."
        )
    if array.dtype.kind in "fV":  # bfloat16 is of kind V
        return array if array.dtype.itemsize >= 4 else array.astype(np.float32)
    if array.dtype.kind not in "iu":
        raise ValueError(f"the axis {name!r} has dtype {array.dtype}; give floats or integers.")
    widest = np.iinfo(jax.dtypes.canonicalize_dtype(np.int64))
    if array.min(initial=0) < widest.min or array.max(initial=0) > widest.max:
        raise ValueError(
            f"the axis {name!r} has integers beyond {widest.min} ... {widest.max}, the type that "
            "JAX has for them; use smaller ones, or set jax_enable_x64."
        )
    return array.astype(np.int64)


def _label(entry: Any) -> str:
    return str(getattr(entry, "__name__", entry))


def _as_labels(labels: Iterable[Any]) -> NDArray[Any]:
    return np.array([str(label) for label in labels], dtype=str)
