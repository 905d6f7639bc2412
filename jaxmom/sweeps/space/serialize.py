"""A space as plain data and back, and lanes as numbers by which two spaces can be compared."""

import base64
import hashlib
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import Axis
from jaxmom.sweeps.space.components import Component, Concatenation, ListedAxes, QuasiRandomSample
from jaxmom.sweeps.space.sampling import sobol_tables
from jaxmom.sweeps.space.scales import Scale
from jaxmom.sweeps.space.space import Space

_PROBES = 64  # lanes of a sample whose values are kept, to notice another SciPy


def to_json(space: Space) -> list[Any]:
    """A space as JSON: everything but the objects that its static axes stand for."""
    return [_factor_to_json(factor) for factor in space.factors]


def from_json(spec: list[Any]) -> Space:
    """The space of a store: coordinates and numbers, but only the labels of anything else.

    Raises:
      ValueError: The installed SciPy makes other sequences than the one that sampled.
    """
    return Space(tuple(_factor_from_json(factor) for factor in spec))


def lane_keys(space: Space, digests: dict[str, str], block: int = 1 << 16) -> NDArray[np.uint64]:
    """Two numbers [lanes, 2] for each lane, equal if and only if all its arguments are.

    Args:
      space: Any.
      digests: What `label_digests` returns; two of the same label may differ in their values.
      block: How many lanes to look at at once.
    """
    keys = np.zeros((space.size, 2), np.uint64)
    for start in range(0, space.size, block):
        index = np.arange(start, min(start + block, space.size))
        for name, column in space.labels(index).items():
            present = column == column  # a union fills in NaN where it has no such argument
            words = _words(name, column, digests)
            keys[index] += np.where(np.asarray(present)[:, None], words, np.uint64(0))
    return keys


def label_digests(space: Space) -> dict[str, str]:
    """For each label of a labeled axis, ``name=label``, a digest of the numbers behind it."""
    digests = {}
    for axis in _axes(space):
        if axis.kind == "labeled" and axis.values is not None:
            for index, label in enumerate(axis.labels):
                leaves = jax.tree.leaves(axis.take(index))
                content = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
                digests[f"{axis.name}={label}"] = hashlib.sha256(content).hexdigest()
    return digests


def encode(array: NDArray[Any]) -> Any:
    """An array as JSON, exact to the last bit; words and booleans stay readable."""
    if array.dtype.kind in "Ub":
        return array.tolist()
    content = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": array.dtype.name, "base64": content, "told": _told(array)}


def decode(data: Any) -> NDArray[Any]:
    """The array that `encode` was given."""
    if isinstance(data, list):
        return np.array(data)
    content = base64.b64decode(data["base64"])
    return np.frombuffer(content, np.dtype(data["dtype"]).newbyteorder("<")).astype(data["dtype"])


def _factor_to_json(factor: Component) -> dict[str, Any]:
    if isinstance(factor, ListedAxes):
        axes = [_axis_to_json(axis) for axis in factor.axes]
        return {"factor": "listed", "paired": factor.paired, "axes": axes}
    if isinstance(factor, Concatenation):
        return {"factor": "union", "spaces": [to_json(space) for space in factor.spaces]}
    scales = {
        name: {"kind": scale.kind, "low": scale.low, "high": scale.high}
        if isinstance(scale, Scale)
        else _axis_to_json(scale)
        for name, scale in factor.scales.items()
    }
    spec = {"factor": "sample", "method": factor.method, "count": factor.size}
    spec |= {"seed": factor.seed, "scales": scales, "probes": _probes(factor)}
    if factor.method == "sobol":
        spec["tables"] = factor.tables or sobol_tables(factor.size, len(scales), factor.seed)
    return spec


def _factor_from_json(spec: dict[str, Any]) -> Component:
    if spec["factor"] == "listed":
        return ListedAxes(tuple(map(_axis_from_json, spec["axes"])), spec["paired"])
    if spec["factor"] == "union":
        return Concatenation(tuple(map(from_json, spec["spaces"])))
    scales = {
        name: Scale(**scale) if "low" in scale else _axis_from_json(scale)
        for name, scale in spec["scales"].items()
    }
    factor = QuasiRandomSample(
        scales, spec["count"], spec["method"], spec["seed"], spec.get("tables")
    )
    if _probes(factor) != spec["probes"]:
        raise ValueError(
            f"the {spec['method']} sequence of this sweep was made by another version of SciPy or "
            "NumPy, and the installed one makes other points; sweep.json names the version."
        )
    return factor


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    return {"name": axis.name, "kind": axis.kind, "labels": encode(axis.labels)}


def _axis_from_json(spec: dict[str, Any]) -> Axis:
    labels = decode(spec["labels"])
    values = labels if spec["kind"] == "number" else None
    return Axis(spec["name"], spec["kind"], labels, values)


def _axes(space: Space) -> list[Axis]:
    axes = []
    for factor in space.factors:
        if isinstance(factor, ListedAxes):
            axes += factor.axes
        elif isinstance(factor, Concatenation):
            axes += [axis for inner in factor.spaces for axis in _axes(inner)]
    return axes


def _probes(factor: QuasiRandomSample) -> str:
    index = np.unique(np.linspace(0, factor.size - 1, _PROBES).astype(np.int64))
    columns = factor.take(index)
    content = b"".join(np.round(columns[name].astype(float), 12).tobytes() for name in columns)
    return hashlib.sha256(content).hexdigest()


def _told(array: NDArray[Any]) -> str:
    ends = f"{array[0]:.6g}" if len(array) == 1 else f"{array[0]:.6g} ... {array[-1]:.6g}"
    return f"{len(array)} values, {ends}"


def _words(name: str, column: NDArray[Any], digests: dict[str, str]) -> NDArray[np.uint64]:
    """Two words [n, 2] for one argument; sums of them stand for the whole lane."""
    if column.dtype.kind in "fiu":
        bits = (column.astype(np.float64) + 0.0).view(np.uint64)  # + 0.0 for the zero with a sign
    else:
        values, position = np.unique(column, return_inverse=True)
        told = [f"{value}{digests.get(f'{name}={value}', '')}" for value in values]
        bits = np.array([_hash(text) for text in told], np.uint64)[position]
    salt = np.array([_hash(f"{name}{word}") for word in range(2)], np.uint64)
    return _mixed(bits[:, None] ^ salt)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64: every bit of the input moves every bit of the output."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
