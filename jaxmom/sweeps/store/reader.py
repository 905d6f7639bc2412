"""Sweeps that lie in a store, read when they are looked at."""

import functools
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.identity import digest_identity
from jaxmom.sweeps.compile.outputs import Output
from jaxmom.sweeps.results.dataset import (
    FAILED,
    DatasetLayout,
    assemble_dataset,
    dataset_layouts,
    missing_values,
)
from jaxmom.sweeps.space.components import Group, group_key
from jaxmom.sweeps.space.index_maps import Index, IndexMap, select_indices
from jaxmom.sweeps.space.serialize import from_json, hash_lanes
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.files import HALVING, Damaged, Manifest, Store

if TYPE_CHECKING:
    import xarray


def open_sweep(store: str | os.PathLike[str]) -> "xarray.Dataset | xarray.DataTree":
    """The result of a sweep from its store, finished or not.

    Arrays are read from the parts when they are used, so ``open_sweep(path).value.isel(step=-1)``
    needs memory for the last records alone; `xarray.Dataset.load` reads everything. A sweep that is
    being written can be opened as well. Lanes that have not run have status 0 (missing).

    Args:
      store: The folder.

    Returns:
      As `sweep`.

    Raises:
      FileNotFoundError: There is no sweep.

    Example:
      >>> import jaxmom as jm
      >>> jm.open_sweep("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: there is no sweep in ...no/such/folder: it has no sweep.json.
    """
    return opened(Store(store), {})


def opened(store: Store, told: dict[str, Any]) -> "xarray.Dataset | xarray.DataTree":
    """`open_sweep` with more attributes, such as those of the run that has just ended."""
    reader = Reader(store)
    outputs = [reader.outputs[group_key(group)] for group in reader.groups]
    attrs = reader.manifests[-1]["provenance"] | {"store": str(store.path.resolve())}
    attrs["width"] = reader.manifests[0]["identity"]["width"]
    return assemble_dataset(
        dataset_layouts(reader.space, reader.groups, outputs),
        functools.partial(_variable, reader),
        reader.steps,
        attrs | told,
    )


class Extension(NamedTuple):
    """The lanes that one manifest added, and where they lie."""

    generation: int
    digest: str
    width: int
    space: Space
    rows: list[IndexMap]  # for each group of the space, those that are new
    origin: NDArray[np.int64] | None = None  # index in the last space -> in this one, or -1
    target: NDArray[np.int64] | None = None  # index in this space -> in the last one

    def chunks(self) -> list[tuple[int, int, int]]:
        """For each chunk the number of its group, its own in the group, and its lanes."""
        return [
            (number, chunk, min(self.width, rows.size - chunk * self.width))
            for number, rows in enumerate(self.rows)
            for chunk in range(-(-rows.size // self.width))
        ]


class Reader:
    """What is in a store, by the indices of the lanes of its (last) space."""

    def __init__(self, store: Store):
        self.store, self.manifests = store, store.manifests()
        if not self.manifests:
            raise FileNotFoundError(f"there is no sweep in {store.path}: it has no sweep.json.")
        self.layers = layers(self.manifests)
        self.space = self.layers[-1].space
        self.groups = self.space.groups()
        self.outputs: dict[str, dict[str, Output]] = {}
        for manifest, layer in zip(self.manifests, self.layers, strict=True):
            self.outputs |= _read_outputs(manifest["outputs"], layer.space.groups(), store)
        self.failed = [store.failures(layer.generation) for layer in self.layers]
        self._part = functools.lru_cache(maxsize=4)(self._read_part)
        self._warned: set[str] = set()

    def read(
        self, frame: DatasetLayout, name: str, lanes: Index, inner: Sequence[Any]
    ) -> NDArray[Any]:
        """An output of some lanes of a frame [lanes, *inner], of which `inner` selects."""
        output = frame.outputs[name]
        shape = tuple(len(chosen_) for chosen_ in inner)
        result = missing_values(output._replace(shape=shape), (len(lanes),))
        index = lanes
        if frame.name:  # the lanes of one group alone
            (number,) = frame.members
            index = self.groups[number].rows.at(lanes)
        for layer in self.layers:
            here = index if layer.origin is None else layer.origin[index]
            for number, rows in enumerate(layer.rows):
                position = rows.find(here)
                self._fill(result, layer, number, position, name, inner)
        return result

    def steps(self, frame: DatasetLayout) -> NDArray[Any]:
        """Where the records of a frame stand, from the first part that there is."""
        for layer in self.layers:
            for number, chunk, _ in layer.chunks():
                arrays = self._part(layer.generation, layer.digest, f"{number}-{chunk}")
                if "step" in arrays and arrays["step"].shape == frame.outputs["step"].shape:
                    return arrays["step"]
        return np.arange(frame.outputs["step"].shape[0])

    def _fill(
        self, result: Any, layer: Extension, number: int, position: Index, name: str, inner: Any
    ) -> None:
        chunks = position // layer.width
        there = np.flatnonzero(position >= 0)
        order = there[np.argsort(chunks[there], kind="stable")]
        ends = np.flatnonzero(np.diff(chunks[order])) + 1
        for mine in np.split(order, ends) if len(order) else ():
            part = f"{number}-{chunks[mine[0]]}"
            arrays = self._part(layer.generation, layer.digest, part)
            if name in arrays:
                result[mine] = arrays[name][np.ix_(position[mine] % layer.width, *inner)]
            elif name == "status" and part in self.failed[layer.generation]:
                result[mine] = FAILED

    def _read_part(self, generation: int, sweep: str, name: str) -> dict[str, NDArray[Any]]:
        try:
            return self.store.read_part(generation, name, sweep)[0]
        except FileNotFoundError:
            return {}
        except Damaged as error:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(
                    f"{error}; its lanes count as missing. Run the sweep again with the same "
                    "store: it will compute this chunk anew, and nothing else.",
                    stacklevel=2,
                )
            return {}


def _read_outputs(
    tables: dict[str, Any], groups: Sequence[Group], store: Store
) -> dict[str, dict[str, Output]]:
    """Return the outputs of a manifest by `group_key`.

    Older manifests name a group by its labels alone, with which two groups of a union that differ
    in their arguments were taken for one.
    """
    keys = [group_key(group) for group in groups]
    if not set(keys) <= set(tables):
        labels = [sorted(group.labels.items()) for group in groups]
        older = [", ".join(f"{name}={label}" for name, label in pairs) for pairs in labels]
        if len(set(older)) < len(older):
            raise ValueError(
                f"{store.path} holds a union of spaces with different arguments, whose groups an "
                'older version of jaxmom confused; sweep it again, with resume="fresh".'
            )
        tables = {key: tables[old] for key, old in zip(keys, older, strict=True)}
    return {
        key: {name: Output(tuple(o[0]), tuple(o[1]), o[2]) for name, o in tables[key].items()}
        for key in keys
    }


def layers(manifests: Sequence[Manifest]) -> list[Extension]:
    """What each manifest adds to those before it.

    Raises:
      ValueError: An extension lacks lanes of what it extends, or this is no sweep.
    """
    if any(HALVING in manifest for manifest in manifests):
        raise ValueError("this is the store of a halving, with which the same call goes on.")
    identities = [manifest["identity"] for manifest in manifests]
    spaces = [from_json(identity["space"]) for identity in identities]
    if len(spaces) == 1:
        keys: list[Any] = [None]
    else:
        keys = [
            hash_lanes(space, identity["labels"])
            for space, identity in zip(spaces, identities, strict=True)
        ]
    made = []
    for number, (identity, space) in enumerate(zip(identities, spaces, strict=True)):
        layer = Extension(number, digest_identity(identity), identity["width"], space, [])
        rows = [group.rows for group in space.groups()]
        if number:
            _check_contains(keys[number], keys[number - 1])
            old = _positions(keys[number], keys[number - 1]) >= 0
            rows = [select_indices(lanes[~old[lanes]]) for lanes in map(_indices, rows)]
        if number + 1 < len(spaces):
            here, there = keys[number], keys[-1]
            layer = layer._replace(origin=_positions(there, here), target=_positions(here, there))
        made.append(layer._replace(rows=rows))
    return made


def _indices(rows: IndexMap) -> Index:
    return rows.at(np.arange(rows.size))


def _check_contains(new: NDArray[Any], old: NDArray[Any]) -> None:
    lost = np.flatnonzero(_positions(old, new) < 0)
    if len(lost):
        raise ValueError(
            f"the new space lacks {len(lost)} lanes of the old one (the first is lane {lost[0]}), "
            'so it does not extend it; use a new store, or resume="fresh" to start over.'
        )


def _positions(wanted: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each key [n, 2] stands among the known ones, or -1.

    The first words are sorted, which is fast; the second ones tell whether two lanes share one.
    """
    order = np.argsort(known[:, 0])
    first, second = known[order].T
    place = np.searchsorted(first, wanted[:, 0]).clip(max=len(known) - 1)
    there = first[place] == wanted[:, 0]
    clash = (first[1:] == first[:-1]) & (second[1:] != second[:-1])
    if clash.any() or (there & (second[place] != wanted[:, 1])).any():
        raise RuntimeError("two lanes have the same key of 64 bits; use a new store.")
    return np.where(there, order[place], -1)


def _variable(reader: Reader, frame: DatasetLayout, name: str) -> Any:
    from xarray.core import indexing

    return indexing.LazilyIndexedArray(_lazy_array()(reader, frame, name))


@functools.cache
def _lazy_array() -> type:
    """The class of arrays in a store; made when it is first needed, for xarray loads slowly."""
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class PartsArray(BackendArray):
        """An output of all lanes of a frame."""

        def __init__(self, reader: Reader, frame: DatasetLayout, name: str):
            output = frame.outputs[name]
            self.reader, self.frame, self.name = reader, frame, name
            self.lanes = len(frame.dims)
            self.shape = (*frame.shape, *output.shape)
            self.dtype = np.dtype(output.dtype)

        def __getitem__(self, key: Any) -> Any:
            support = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, support, self._outer)

        def _outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
            sizes = zip(self.shape, key, strict=True)
            axes = [np.atleast_1d(np.arange(size)[part]) for size, part in sizes]
            outer, inner = axes[: self.lanes], axes[self.lanes :]
            lanes = np.ravel_multi_index(np.ix_(*outer), self.frame.shape)
            array = self.reader.read(self.frame, self.name, lanes.ravel(), inner)
            array = array.reshape(*(len(axis) for axis in axes))
            return array[tuple(0 if isinstance(p, int | np.integer) else slice(None) for p in key)]

    return PartsArray
