"""Lazy reader for stored sweeps."""

import functools
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.outputs import Output
from jaxmom.sweeps.results.dataset import (
    FAILED,
    DatasetLayout,
    assemble_dataset,
    dataset_layouts,
    missing_values,
)
from jaxmom.sweeps.space.groups import Group, group_key
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.store.extensions import (
    Extension,
    part_name,
    read_extensions,
    split_part_name,
)
from jaxmom.sweeps.store.files import Damaged, Store

if TYPE_CHECKING:
    import xarray

_KEPT_ARRAYS = 4  # of parts, in memory at a time


def open_sweep(store: str | os.PathLike[str]) -> "xarray.Dataset | xarray.DataTree":
    """Open the result of a sweep in its store, finished or not.

    Arrays are read from the parts each time they are used, so
    ``open_sweep(path).value.isel(step=-1)`` needs memory for the last records alone, and
    ``open_sweep(path).status`` reads the statuses alone; `xarray.Dataset.load` reads everything. A
    sweep that is running can be opened as well: lanes that have not run have status 0 (missing),
    and the next look sees those that have run since.

    Args:
      store: The folder.

    Returns:
      A Dataset or DataTree as `sweep` returns it. Its attributes ``width`` and ``options`` (JSON)
      are the arguments of `sweep` with which other lanes get the same bits.

    Raises:
      FileNotFoundError: There is no sweep.
      ValueError: The folder holds something else, or its manifest is damaged.

    Example:
      >>> import jaxmom as jm
      >>> jm.open_sweep("no/such/folder")
      Traceback (most recent call last):
      ...
      FileNotFoundError: there is no sweep in ...no/such/folder: it has no sweep.json.
    """
    return open_store(Store(store), {})


def open_store(store: Store, attrs: Mapping[str, Any]) -> "xarray.Dataset | xarray.DataTree":
    """Return `open_sweep` with more attributes, such as those of the run that has just ended.

    Args:
      store: The folder.
      attrs: Which go before those of the store.

    Raises:
      FileNotFoundError: There is no sweep.
      ValueError: The folder holds something else, or its manifest is damaged.
    """
    from xarray.core import indexing

    from jaxmom.sweeps.store.parts_array import PartsArray

    reader = Reader(store)

    def variable(layout: DatasetLayout, name: str) -> Any:
        return indexing.LazilyIndexedArray(PartsArray(reader, layout, name))

    return assemble_dataset(
        list(reader.layouts.values()), variable, reader.steps, reader.attrs() | dict(attrs)
    )


class Reader:
    """The content of a store, by the indices of the lanes of its (last) space.

    It opens no part before one of its arrays is asked for, and keeps a few of those that were. A
    copy, as by pickle, reads the manifests anew.

    Args:
      store: The folder.

    Attributes:
      extensions: What each manifest adds.
      space: The last one, whose lanes the result has.
      groups: Its groups.
      layouts: Of the result, by name.

    Raises:
      FileNotFoundError: There is no sweep.
      ValueError: The folder holds something else, or its manifest is damaged.
    """

    def __init__(self, store: Store):
        self.store, self.manifests = store, store.read_manifests()
        if not self.manifests:
            raise FileNotFoundError(f"there is no sweep in {store.path}: it has no sweep.json.")
        self.extensions = read_extensions(self.manifests)
        self.space = self.extensions[-1].space
        self.groups = self.space.groups()
        outputs = self._read_outputs()
        layouts = dataset_layouts(self.space, self.groups, outputs)
        self.layouts = {layout.name: layout for layout in layouts}
        # Only arrays that are there are kept: a sweep that runs may add the others.
        self._array = functools.lru_cache(maxsize=_KEPT_ARRAYS)(self._read_array)
        self._damaged: dict[tuple[int, str], Any] = {}  # parts, with their versions

    def __reduce__(self) -> tuple[Callable[[Store], "Reader"], tuple[Store]]:
        return Reader, (self.store,)

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of the result."""
        last, identity = self.manifests[-1], self.manifests[-1]["identity"]
        options = last.get("options", identity["options"])
        origin = {"store": str(self.store.path.resolve()), "width": identity["width"]}
        return last["provenance"] | origin | {"options": json.dumps(options)}

    def read(
        self, layout: DatasetLayout, name: str, lanes: Index, inner: Sequence[Index]
    ) -> NDArray[Any]:
        """Return an output of some lanes of a layout [lanes, *inner].

        Args:
          layout: Of the result.
          name: Of the output.
          lanes: Indices of lanes of the layout, in any order.
          inner: For each dimension of the output itself, the indices to return.

        Returns:
          Their values; where a lane has not run, NaN or what else stands for a missing value.
        """
        output = layout.outputs[name]
        shape = tuple(len(selected) for selected in inner)
        result = missing_values(output._replace(shape=shape), (len(lanes),))
        index = lanes
        if layout.name:  # the lanes of one group alone
            (number,) = layout.members
            index = self.groups[number].rows.at(lanes)
        for extension in self.extensions:
            positions = index
            if extension.index_from_last is not None:
                positions = extension.index_from_last[index]
            for number, rows in enumerate(extension.rows):
                self._fill(result, extension, number, rows.find(positions), name, inner)
        return result

    def steps(self, layout: DatasetLayout) -> NDArray[Any]:
        """Return the steps of the records of a layout; NaN if they are not known yet.

        Raises:
          ValueError: Its groups have records at different steps.
        """
        groups = (self.groups[number] for number in layout.members)
        found = [steps for group in groups if (steps := self._group_steps(group)) is not None]
        if any(not np.array_equal(steps, found[0]) for steps in found):
            raise ValueError(
                f"the groups of the sweep in {self.store.path} have records at different steps, "
                "which have no common coordinate; open the parts by numpy.load."
            )
        return found[0] if found else np.full(layout.outputs["step"].shape, np.nan)

    def _group_steps(self, group: Group) -> NDArray[Any] | None:
        """Return the steps of a group from a manifest, or else from any of its parts."""
        for manifest in self.manifests:
            steps = manifest.get("steps", {}).get(group_key(group))
            if steps is not None:
                return np.array(steps)
        for extension in self.extensions:
            keys = [group_key(one) for one in extension.space.groups()]
            for name in sorted(self.store.list_parts(extension.extension_index)):
                number, _ = split_part_name(name)
                if number < len(keys) and keys[number] == group_key(group):
                    steps = self._try_array(extension, name, "step")
                    if steps is not None:
                        return steps
        return None

    def _read_outputs(self) -> list[dict[str, Output]]:
        """Return the outputs of each group, by the key that its format has.

        Raises:
          ValueError: Format 1 took two groups for one, as they differ in their arguments alone.
        """
        tables = {key: t for manifest in self.manifests for key, t in manifest["outputs"].items()}
        outputs, older = [], set()
        for group in self.groups:
            key = group_key(group)
            if key not in tables:
                key = ", ".join(f"{name}={label}" for name, label in sorted(group.labels.items()))
                if key in older:
                    raise ValueError(
                        f"{self.store.path} holds a union of spaces with different arguments, "
                        "whose lanes an older version of jaxmom confused; sweep it again, with "
                        'resume="fresh".'
                    )
                older.add(key)
            table = tables[key].items()
            outputs.append({n: Output(tuple(o[0]), tuple(o[1]), o[2]) for n, o in table})
        return outputs

    def _fill(
        self,
        result: NDArray[Any],
        extension: Extension,
        number: int,
        position: Index,
        name: str,
        inner: Sequence[Index],
    ) -> None:
        """Fill in the lanes that a group of an extension has, a part after the other.

        Args:
          result: [lanes, *inner], filled in place.
          extension: Of the manifest.
          number: Of the group in it.
          position: For each lane its place in the group, or -1.
          name: Of the output.
          inner: As for `read`.
        """
        width = extension.widths[number]
        chunks = position // width
        there = np.flatnonzero(position >= 0)
        order = there[np.argsort(chunks[there], kind="stable")]
        ends = np.flatnonzero(np.diff(chunks[order])) + 1
        for mine in np.split(order, ends) if len(order) else ():
            part = part_name(number, int(chunks[mine[0]]))
            array = self._try_array(extension, part, name)
            if array is not None:
                result[mine] = array[np.ix_(position[mine] % width, *inner)]
            elif name == "status" and self.store.has_failed(extension.extension_index, part):
                result[mine] = FAILED

    def _try_array(self, extension: Extension, part: str, name: str) -> NDArray[Any] | None:
        """Return an array of a part, or None if the part is not there or is damaged.

        Only what is asked for is read, so damage may come to light at some array; from then on the
        part counts as missing, until it is computed anew.
        """
        index = extension.extension_index
        if (index, part) in self._damaged:
            if self._damaged[index, part] == self.store.part_version(index, part):
                return None
            del self._damaged[index, part]
        try:
            return self._array(index, extension.digest, part, name)
        except (FileNotFoundError, KeyError):
            return None
        except Damaged as error:
            self._damaged[index, part] = self.store.part_version(index, part)
            warnings.warn(
                f"{error}; its lanes count as missing. Run the sweep again with the same store: "
                "it computes this chunk anew, and nothing else.",
                stacklevel=2,
            )
            return None

    def _read_array(self, extension_index: int, digest: str, part: str, name: str) -> NDArray[Any]:
        """Return an array of a part, of which nothing else is read."""
        arrays, _ = self.store.read_part(extension_index, part, digest, only=[name])
        return arrays[name]
