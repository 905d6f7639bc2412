"""One axis of a space: numbers and labeled pytrees are lanes, anything else is groups."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from jaxmom._warn import warn
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.scales import Scale

PyTree: TypeAlias = Any
Kind: TypeAlias = Literal["number", "labeled", "static"]

# Names that the Dataset of a sweep uses itself, and those that xarray's `sel` uses itself.
RESERVED = ("lane", "step", "status", "diverged_at", "rung")
_LANE_DIM = re.compile(r"lane_\d+")
EXACT_IN_FLOAT = 2**53  # integers up to here are floats of 64 bits
_SEL_KEYWORDS = ("method", "tolerance", "drop", "indexers")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """The values of one argument of the swept function.

    Attributes:
      name: The argument.
      kind: "number" for lanes of scalars, "labeled" for lanes of pytrees, "static" for groups.
      labels: [n] the coordinate in the result: the numbers themselves, names, or booleans.
      values: What the function gets: the numbers [n], a pytree of arrays [n, ...], or a tuple of n
        objects; None in a space that was read from a store, which has the labels alone.
    """

    name: str
    kind: Kind
    labels: NDArray[Any]
    values: PyTree

    def take(self, index: Index | int) -> PyTree:
        """Return the values at some indices [m], as a pytree of arrays [m, ...]."""
        return jax.tree.map(lambda leaf: leaf[index], self.values)

    def single(self, index: int) -> Any:
        """Return one value as a plain loop would pass it: a Python number, a pytree, an object."""
        if self.kind == "static":
            return None if self.values is None else self.values[index]
        value = self.take(index)
        return value.item() if self.kind == "number" else value


def read_axis(name: str, given: Any) -> Axis:
    """Return the axis that an argument of `grid` or `paired` describes.

    Args:
      name: The argument of the swept function.
      given: Numbers (a list, a range, any array of one axis, such as a coordinate of a result); an
        object with `labels` and `values`, a pytree whose leaves have a leading axis, such as
        `jaxmom.stack` returns; a mapping from labels to any objects; or a sequence of booleans,
        strings or named functions. A single value counts as a sequence of it.

    Raises:
      ValueError: No values, a set, repeated labels, labels that another process would not repeat,
        numbers that JAX has no type for, random keys, a scale, or a name that the result uses
        itself.
    """
    check_name(name)
    _refuse_scale(name, given)
    if isinstance(given, set | frozenset):
        raise ValueError(
            f"the axis {name!r} is a set, which has another order in each process; give a list, "
            "such as sorted(...) of it."
        )
    if _is_array(given):
        axis = _read_sequence(name, given)
    elif hasattr(given, "labels") and hasattr(given, "values") and not isinstance(given, Mapping):
        axis = _read_labeled(name, given)
    elif isinstance(given, Mapping):
        axis = Axis(name, "static", _as_labels(name, given), tuple(given.values()))
    else:
        axis = _read_sequence(name, given)
    if not len(axis.labels):
        raise ValueError(f"the axis {name!r} is empty; give it at least one value.")
    return axis


def check_name(name: str) -> None:
    """Refuse names that are not arguments or are in every result; warn of those hard to select."""
    if not name.isidentifier() or name in RESERVED or _LANE_DIM.fullmatch(name):
        raise ValueError(
            f"an axis has the name of an argument and none of {RESERVED} or lane_1, lane_2, ..., "
            f"not {name!r}."
        )
    if name in _SEL_KEYWORDS:
        warn(
            f"xarray's sel has a keyword {name!r} of its own, so that .sel({name}=...) does not "
            f"select along this axis; write .sel({{{name!r}: ...}}), or rename the axis.",
        )


def check_distinct(axis: Axis) -> None:
    """Refuse an axis of a grid whose coordinate would name two of its cells alike."""
    if axis.kind == "number" and (np.diff(np.asarray(axis.labels)) > 0).all():
        return  # the common case, and faster than sorting
    labels, counts = np.unique(axis.labels, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"the axis {axis.name!r} repeats {labels[counts > 1].tolist()}; leave the repetitions "
            "out, give functions a mapping label -> function, or use paired."
        )


def warn_of_rounding(name: str, labels: NDArray[Any], known: Sequence[NDArray[Any]] = ()) -> None:
    """Warn of labels that the type JAX computes in would turn into other hyperparameters.

    Rounding itself is no error. It is one where two labels become one number, where a number below
    1 becomes 1 (an average that never forgets), or where it becomes infinite or 0.

    Args:
      name: The argument.
      labels: Its numbers.
      known: Parts of them that were warned of before.
    """
    changed = np.setdiff1d(
        _find_changed(labels), [x for part in known for x in _find_changed(part)]
    )
    if changed.size:
        ran = _as_it_runs(changed[:1])
        warn(
            f"{changed.size} values of the axis {name!r} coincide with others or with a limit in "
            f"{ran.dtype}, the type that JAX computes in: {float(changed[0])!r} runs as "
            f"{float(ran[0])!r}. Choose values further apart, sweep another parameter (such as "
            "1 - beta), or set jax_enable_x64.",
        )


def _find_changed(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers that become another one's or a limit in the type JAX computes in."""
    ran = _as_it_runs(labels)
    if labels.dtype.kind != "f" or ran.dtype == labels.dtype:
        return labels[:0]
    changed = _is_at_limit(labels, ran)
    _, first = np.unique(labels, return_index=True)
    changed[first[1:][np.diff(ran[first]) == 0]] = True
    return labels[changed]


def _as_it_runs(array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def _is_at_limit(given: NDArray[Any], ran: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        error = np.abs(given - ran)
    # What is meant to be 1 may be off by rounding, as 0.5 + 0.1 + ... + 0.1 is.
    is_one = (np.abs(ran) == 1) & (error > 1e-14)
    return (np.isfinite(given) & ~np.isfinite(ran)) | ((ran == 0) & (given != 0)) | is_one


def _warn_of_rounded_rows(name: str, labels: NDArray[Any], values: PyTree) -> None:
    """Warn of labels whose values become those of another label, or meet a limit."""
    leaves = jax.tree.leaves(values)
    ran = [_as_it_runs(leaf) if leaf.dtype.kind in "fc" else leaf for leaf in leaves]
    rounded = [(one, as_run) for one, as_run in zip(leaves, ran, strict=True) if one is not as_run]
    changed = np.zeros(len(labels), bool)
    for leaf, as_run in rounded:
        changed |= _is_at_limit(leaf, as_run).reshape(len(labels), -1).any(axis=1)
    given_as: dict[bytes, bytes] = {}  # what runs -> the values of the first label that runs so
    for row in range(len(labels) if rounded else 0):
        given, as_run = (b"".join(leaf[row].tobytes() for leaf in tree) for tree in (leaves, ran))
        changed[row] |= given_as.setdefault(as_run, given) != given
    if changed.any():
        warn(
            f"the values of {labels[changed].tolist()} of the axis {name!r} coincide with those of "
            "other labels or with a limit in float32, the type that JAX computes in. Choose values "
            "further apart, or set jax_enable_x64.",
        )


def _read_labeled(name: str, given: Any) -> Axis:
    for leaf in jax.tree.leaves(given.values):
        _refuse_masked(name, leaf)
        if _is_key(leaf):
            raise ValueError(_key_message(name))
    labels, values = _as_labels(name, given.labels), jax.tree.map(np.asarray, given.values)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(values)}
    if lengths != {(len(labels),)}:
        raise ValueError(
            f"the axis {name!r} has {len(labels)} labels, but the leading axes of its values are "
            f"{sorted(lengths)}; every leaf needs one row for each label."
        )
    for leaf in jax.tree.leaves(values):
        _refuse_wide(name, leaf)
    _warn_of_rounded_rows(name, labels, values)
    return Axis(name, "labeled", labels, values)


def _read_sequence(name: str, given: Any) -> Axis:
    _refuse_masked(name, given)
    is_single = isinstance(given, str | bytes) or getattr(given, "shape", None) == ()
    is_single |= isinstance(given, tuple) and hasattr(given, "_fields")  # such as an optimizer
    entries: Any = [given] if is_single or not isinstance(given, Iterable) else given
    if isinstance(entries, range) and entries:
        entries = np.arange(entries.start, entries.stop, entries.step)
    if _is_key(entries):
        raise ValueError(_key_message(name))
    array = np.asarray(entries) if _is_array(entries) else None
    if array is None or array.dtype.kind in "bUOT":
        entries = [_as_scalar(name, e) for e in (entries if array is None else array.tolist())]
        if not all(map(_is_number, entries)):
            return _static_axis(name, entries)
        array = _join_numbers(name, entries)
    numbers = _check_numbers(name, array)
    warn_of_rounding(name, numbers)
    return Axis(name, "number", numbers, numbers)


def _static_axis(name: str, entries: list[Any]) -> Axis:
    entries = [entry.item() if isinstance(entry, np.generic) else entry for entry in entries]
    if all(isinstance(entry, bool) for entry in entries):
        labels = np.asarray(entries)
    else:
        labels = _as_labels(name, (getattr(entry, "__name__", entry) for entry in entries))
    return Axis(name, "static", labels, tuple(entries))


def _is_array(given: Any) -> bool:
    return hasattr(given, "__array__") and not isinstance(given, np.generic)


def _is_key(given: Any) -> bool:
    """Whether this is an array of typed random keys."""
    return isinstance(given, jax.Array) and jnp.issubdtype(given.dtype, jax.dtypes.prng_key)


def _key_message(name: str) -> str:
    return (
        f"the axis {name!r} holds random keys, not coordinates; sweep the seeds that they are "
        f"made of, {name}=range(n), and call jax.random.key({name}) in the function."
    )


def _refuse_scale(name: str, given: Any) -> None:
    if isinstance(given, Scale):
        raise ValueError(
            f"the axis {name!r} has a scale, from {given.low:g} to {given.high:g}; give points of "
            f"it, as in jm.{given.kind}(...).points(10), or draw from it by "
            f"jm.sample(10, {name}=...)."
        )


def _refuse_masked(name: str, given: Any) -> None:
    if np.ma.is_masked(given):
        raise ValueError(
            f"the axis {name!r} has masked values, which are not numbers; leave them out, as "
            "array.compressed() does."
        )


def _as_scalar(name: str, entry: Any) -> Any:
    """Return an array without axes, of any library, as a NumPy number."""
    _refuse_scale(name, entry)
    _refuse_masked(name, entry)
    if _is_key(entry):
        raise ValueError(_key_message(name))
    is_scalar = _is_array(entry) and getattr(entry, "shape", None) == ()
    return np.asarray(entry)[()] if is_scalar else entry


def _is_number(entry: Any) -> bool:
    return isinstance(entry, int | float | complex | np.number) and not isinstance(entry, bool)


def _join_numbers(name: str, entries: Sequence[Any]) -> NDArray[Any]:
    """Return numbers as one array; integers stay exact."""
    whole = [int(entry) for entry in entries if isinstance(entry, int | np.integer)]
    if len(whole) == len(entries):
        return np.array(whole)
    inexact = [entry for entry in whole if abs(entry) > EXACT_IN_FLOAT]
    if inexact:
        raise ValueError(
            f"the axis {name!r} has floats, among which the integer {inexact[0]} would be rounded; "
            "give integers alone, or none beyond 2^53."
        )
    return np.asarray(entries)


def _check_numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers of an axis in a type that keeps them, or refuse them."""
    if array.ndim != 1:
        raise ValueError(
            f"the axis {name!r} has shape {array.shape}; one lane takes one number. For vectors "
            "give an object with labels and values, such as jm.Stack(labels, array)."
        )
    if jnp.issubdtype(array.dtype, np.floating):  # bfloat16 as well
        return array.astype(f"f{min(max(array.dtype.itemsize, 4), 8)}", copy=False)
    if array.dtype.kind not in "iu":
        raise ValueError(f"the axis {name!r} has dtype {array.dtype}; give floats or integers.")
    _refuse_wide(name, array, np.int64)
    return array.astype(np.int64)


def _refuse_wide(name: str, array: NDArray[Any], dtype: Any = None) -> None:
    """Refuse integers beyond the type that JAX has for a dtype, by default that of the array."""
    if array.dtype.kind not in "iu":
        return
    widest = np.iinfo(jax.dtypes.canonicalize_dtype(array.dtype if dtype is None else dtype))
    if array.min(initial=0) < widest.min or array.max(initial=0) > widest.max:
        raise ValueError(
            f"the axis {name!r} has integers beyond {widest.min} ... {widest.max}, the type that "
            "JAX has for them; use smaller ones, or set jax_enable_x64."
        )


def _as_labels(name: str, entries: Iterable[Any]) -> NDArray[Any]:
    entries = list(entries)
    labels = [str(entry) for entry in entries]
    if any(isinstance(entry, optax.GradientTransformation) for entry in entries):
        raise ValueError(
            f"the axis {name!r} has optimizers, which print their arrays and schedules by name "
            "alone, so that two of them might look the same; give a mapping from labels to "
            f"objects, as in {name}={{'first': ..., 'second': ...}}."
        )
    addressed = [
        label
        for entry, label in zip(entries, labels, strict=True)
        if not isinstance(entry, str) and _ADDRESS.search(label)
    ]
    if addressed:
        raise ValueError(
            f"the axis {name!r} has the label {addressed[0]!r}, with an address in memory that "
            "differs in every process, so that no sweep could be resumed; give a mapping from "
            f"labels to objects, as in {name}={{'first': ..., 'second': ...}}."
        )
    return np.array(labels, dtype=str)
