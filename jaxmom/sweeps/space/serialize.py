"""JSON serialization of spaces, and per-lane hashes for comparing two spaces."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import EXACT_IN_FLOAT, Axis
from jaxmom.sweeps.space.components import (
    Component,
    Concatenation,
    ListedAxes,
    QuasiRandomSample,
    SpaceLike,
)
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.space.sampling import make_sobol_tables
from jaxmom.sweeps.space.scales import Scale
from jaxmom.sweeps.space.space import Space

_PROBES = 64  # lanes of a sample whose values are kept, to notice another SciPy


def to_json(space: SpaceLike) -> list[Any]:
    """Return a space as JSON: everything but the objects that its static axes stand for.

    Numbers keep all their bits. Of a labeled axis only the labels are kept; `digest_labels` tells
    whether their values have changed.

    Args:
      space: Any space.
    """
    return [_component_to_json(component) for component in space.components]


def from_json(spec: list[Any]) -> Space:
    """Return the space of a store: coordinates and numbers, but only labels of anything else.

    Args:
      spec: From `to_json`.

    Raises:
      ValueError: The installed SciPy makes other sequences than the one that sampled.
    """
    return Space(tuple(map(_component_from_json, spec)))


def hash_lanes(
    space: Space, digests: Mapping[str, str], block: int = 1 << 16
) -> NDArray[np.uint64]:
    """Return two numbers [lanes, 2] for each lane, equal if and only if all its arguments are.

    Neither the order of the lanes nor that of the arguments matters, nor how the space is put
    together, so that an extension finds the lanes of the sweep that it extends.

    Args:
      space: Any space.
      digests: From `digest_labels`; two pytrees of the same label may differ in their values.
      block: How many lanes to look at at once.
    """
    starts = range(0, space.size, block)
    indices = [np.arange(start, min(start + block, space.size)) for start in starts]
    return np.concatenate([_hash_space(space, index, digests, "") for index in indices])


def digest_labels(space: Space) -> dict[str, str]:
    """Return a digest of the values that each label of a labeled axis stands for.

    Its key is ``name=label``. Where the spaces of a union give a label different values, those
    after the first have the path of their axis before it, as in ``0+1.name=label``.
    """
    digests: dict[str, str] = {}
    for path, axis in _labeled_axes(space):
        for index, label in enumerate(axis.labels):
            leaves = jax.tree.leaves(axis.take(index))
            content = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
            digest, key = hashlib.sha256(content).hexdigest(), f"{axis.name}={label}"
            if digests.setdefault(key, digest) != digest:
                digests[path + key] = digest
    return digests


def _labeled_axes(space: SpaceLike, path: str = "") -> Iterator[tuple[str, Axis]]:
    """Yield the labeled axes of a space that have values, each with its path in unions."""
    for number, component in enumerate(space.components):
        if isinstance(component, Concatenation):
            for index, inner in enumerate(component.spaces):
                yield from _labeled_axes(inner, f"{path}{number}+{index}.")
            continue
        for axis in component.axes:
            if axis.kind == "labeled" and axis.values is not None:
                yield path, axis


def encode_array(array: NDArray[Any]) -> Any:
    """Return an array as JSON, exact to the last bit; words and booleans stay readable.

    Example:
      >>> encode_array(np.array([0.5, 0.9]))["told"]
      '2 values, 0.5 ... 0.9'
      >>> decode_array(encode_array(np.array([0.5, 0.9])))
      array([0.5, 0.9])
    """
    if array.dtype.kind in "Ub":
        return array.tolist()
    content = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": array.dtype.name, "base64": content, "told": _summarize(array)}


def decode_array(data: Any) -> NDArray[Any]:
    """Return the array that `encode_array` was given."""
    if isinstance(data, list):
        return np.array(data)
    content = base64.b64decode(data["base64"])
    return np.frombuffer(content, np.dtype(data["dtype"]).newbyteorder("<")).astype(data["dtype"])


def _component_to_json(component: Component) -> dict[str, Any]:
    """Return a component as JSON; a sample has the numbers its points are made of."""
    if isinstance(component, ListedAxes):
        axes = [_axis_to_json(axis) for axis in component.axes]
        return {"factor": "listed", "paired": component.paired, "axes": axes}
    if isinstance(component, Concatenation):
        return {"factor": "union", "spaces": [to_json(space) for space in component.spaces]}
    scales = {
        name: {"kind": scale.kind, "low": scale.low, "high": scale.high}
        if isinstance(scale, Scale)
        else _axis_to_json(scale)
        for name, scale in component.scales.items()
    }
    spec = {"factor": "sample", "method": component.method, "count": component.size}
    spec |= {"seed": component.seed, "scales": scales, "probes": _digest_probes(component)}
    if component.method == "sobol":
        size, seed = component.size, component.seed
        spec["tables"] = component.tables or make_sobol_tables(size, len(scales), seed)
    return spec


def _component_from_json(spec: dict[str, Any]) -> Component:
    """Return the component of `_component_to_json`, if it has the same points here."""
    if spec["factor"] == "listed":
        return ListedAxes(tuple(map(_axis_from_json, spec["axes"])), spec["paired"])
    if spec["factor"] == "union":
        return Concatenation(tuple(map(from_json, spec["spaces"])))
    scales = {
        name: Scale(**scale) if "low" in scale else _axis_from_json(scale)
        for name, scale in spec["scales"].items()
    }
    count, method, seed = spec["count"], spec["method"], spec["seed"]
    component = QuasiRandomSample(scales, count, method, seed, spec.get("tables"))
    if _digest_probes(component) != spec["probes"]:
        raise ValueError(
            f"the {spec['method']} sequence of this sweep was made by another version of SciPy or "
            "NumPy, and the installed one makes other points; sweep.json names the version."
        )
    return component


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    return {"name": axis.name, "kind": axis.kind, "labels": encode_array(axis.labels)}


def _axis_from_json(spec: dict[str, Any]) -> Axis:
    """Return an axis; one that is not an axis of numbers has labels only."""
    labels = decode_array(spec["labels"])
    values = labels if spec["kind"] == "number" else None
    return Axis(spec["name"], spec["kind"], labels, values)


def _digest_probes(sample: QuasiRandomSample) -> str:
    """Return a digest of some of its points, rounded more than versions of NumPy differ."""
    index = np.unique(np.linspace(0, sample.size - 1, _PROBES).astype(np.int64))
    columns = sample.take(index)
    content = b"".join(np.round(columns[name].astype(float), 12).tobytes() for name in columns)
    return hashlib.sha256(content).hexdigest()


def _summarize(array: NDArray[Any]) -> str:
    """Return the number of the values and the ends, for messages."""
    ends = f"{array[0]:.6g}" if len(array) == 1 else f"{array[0]:.6g} ... {array[-1]:.6g}"
    return f"{len(array)} values, {ends}"


def _hash_space(
    space: SpaceLike, index: Index, digests: Mapping[str, str], path: str
) -> NDArray[np.uint64]:
    """Return the sums of the hashes of the arguments; `path` leads to the space in unions."""
    places = np.unravel_index(index, space.shape)
    hashes = np.zeros((len(index), 2), np.uint64)
    for number, (component, place) in enumerate(zip(space.components, places, strict=True)):
        if isinstance(component, Concatenation):
            hashes += _hash_union(component, place, digests, f"{path}{number}+")
            continue
        for name, column in component.labels(place).items():
            hashes += _hash_column(name, column, digests, path)
    return hashes


def _hash_union(
    union: Concatenation, index: Index, digests: Mapping[str, str], path: str
) -> NDArray[np.uint64]:
    """Return the hashes of lanes of a union; arguments that a space does not have add nothing."""
    hashes = np.zeros((len(index), 2), np.uint64)
    which = union.locate(index)
    for number in np.unique(which):
        mine, start = which == number, union.starts[number]
        space = union.spaces[number]
        hashes[mine] = _hash_space(space, index[mine] - start, digests, f"{path}{number}.")
    return hashes


def _hash_column(
    name: str, column: NDArray[Any], digests: Mapping[str, str], path: str
) -> NDArray[np.uint64]:
    """Return two words [n, 2] for the values of one argument.

    Labels that read alike but differ in type, such as True and "True", are different labels.
    """
    if column.dtype.kind in "fiu":
        number = column.astype(np.float64) + 0.0  # + 0.0 for the zero with a sign
        bits = np.where(np.isnan(number), np.nan, number).view(np.uint64)
        if column.dtype.kind != "f":  # an integer is the float of the same value, if there is one
            is_rounded = (column > EXACT_IN_FLOAT) | (column < -EXACT_IN_FLOAT)
            bits = np.where(is_rounded, column.astype(np.int64).view(np.uint64), bits)
    else:
        labels, position = np.unique(column, return_inverse=True)
        keys = [f"{name}={label}" for label in labels]
        known = [digests.get(path + key, digests.get(key, "")) for key in keys]
        texts = [f"{label!r}{d}" for label, d in zip(labels.tolist(), known, strict=True)]
        bits = np.array([_hash_text(text) for text in texts], np.uint64)[position]
    salt = np.array([_hash_text(f"{name}{word}") for word in range(2)], np.uint64)
    return _mix_bits(bits[:, None] ^ salt)


def _mix_bits(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of splitmix64: every bit of the input moves every bit of the output."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(multiplier)
    return x ^ (x >> np.uint64(31))


def _hash_text(text: str) -> int:
    """Return a number of 64 bits that is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
