"""The lazy array of one output in a store, as xarray reads it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from jaxmom.sweeps.results.dataset import DatasetLayout
from jaxmom.sweeps.space.index_maps import Index


class LaneReader(Protocol):
    """Reads outputs of any lanes; `jaxmom.sweeps.store.reader.Reader` does."""

    @property
    def layouts(self) -> Mapping[str, DatasetLayout]:
        """The layouts of the result, by name."""
        ...

    def read(
        self, layout: DatasetLayout, name: str, lanes: Index, inner: Sequence[Any]
    ) -> NDArray[Any]:
        """Return an output of some lanes of a layout [lanes, *inner].

        Args:
          layout: Of the result.
          name: Of the output.
          lanes: Indices of lanes of the layout.
          inner: For each dimension of the output itself, the indices to return.
        """
        ...


class PartsArray(BackendArray):
    """An output of all lanes of a layout, which xarray indexes and reads when it is used.

    Args:
      reader: Of the store.
      layout: Of the result.
      name: Of the output.
    """

    def __init__(self, reader: LaneReader, layout: DatasetLayout, name: str):
        output = layout.outputs[name]
        self.reader, self.layout, self.name = reader, layout, name
        self.shape = (*layout.shape, *output.shape)
        self.dtype = np.dtype(output.dtype)

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def __reduce__(self) -> tuple[Callable[..., "PartsArray"], tuple[Any, ...]]:
        return _restore, (self.reader, self.layout.name, self.name)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return what a key of integers, slices and lists selects along each dimension."""
        sizes = zip(self.shape, key, strict=True)
        axes = [np.atleast_1d(np.arange(size)[part]) for size, part in sizes]
        lane_dims = len(self.layout.dims)
        outer, inner = axes[:lane_dims], axes[lane_dims:]
        lanes = np.ravel_multi_index(np.ix_(*outer), self.layout.shape)
        array = self.reader.read(self.layout, self.name, lanes.ravel(), inner)
        array = array.reshape(*(len(axis) for axis in axes))
        return array[tuple(0 if isinstance(p, int | np.integer) else slice(None) for p in key)]


def _restore(reader: LaneReader, layout: str, name: str) -> PartsArray:
    """Return the array of an unpickled reader, which has read its layouts anew."""
    return PartsArray(reader, reader.layouts[layout], name)
