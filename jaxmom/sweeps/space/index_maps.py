"""Index maps: subsets of the lanes of a space, computed instead of listed."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Index: TypeAlias = NDArray[np.int64]


class IndexMap(NamedTuple):
    """Some lanes of a space, in ascending order, without a list of them.

    Attributes:
      size: How many there are.
      at: From positions among these lanes to indices in the space.
      find: From indices in the space to positions among these lanes, -1 for any other lane.
    """

    size: int
    at: Callable[[Index], Index]
    find: Callable[[Index], Index]


def as_index(given: Any) -> int:
    """Return an integer of any library as a Python one.

    Raises:
      TypeError: It is something else; truth values count as that.
    """
    if isinstance(given, bool | np.bool_):
        raise TypeError(f"{given} is a truth value, not a count")
    return operator.index(given)


def ceil_div(count: int, size: int) -> int:
    """Return how many chunks of a size are needed for a count."""
    return -(-count // size)


def all_indices(size: int) -> IndexMap:
    """Return the map of all lanes of a space of this size."""

    def find(index: Index) -> Index:
        return np.where((index >= 0) & (index < size), index, -1)

    return IndexMap(size, lambda position: position, find)


def select_indices(places: Index) -> IndexMap:
    """Return the map of some lanes, given by their indices in ascending order."""

    def find(index: Index) -> Index:
        if not len(places):
            return np.full_like(index, -1)
        position = np.searchsorted(places, index)
        is_there = places.take(position, mode="clip") == index
        return np.where(is_there, position, -1)

    return IndexMap(len(places), places.take, find)


def product_map(left: IndexMap, right: IndexMap, size: int) -> IndexMap:
    """Return the map of a product.

    Args:
      left: The map of the slower component.
      right: The map of the faster component.
      size: How many lanes the faster component has in all.
    """

    def at(position: Index) -> Index:
        outer, inner = np.divmod(position, right.size)
        return left.at(outer) * size + right.at(inner)

    def find(index: Index) -> Index:
        outer, inner = np.divmod(index, size)
        outer, inner = left.find(outer), right.find(inner)
        return np.where((outer >= 0) & (inner >= 0), outer * right.size + inner, -1)

    return IndexMap(left.size * right.size, at, find)


def concatenate_maps(parts: Sequence[tuple[IndexMap, int]]) -> IndexMap:
    """Return the map of a union.

    Args:
      parts: The maps of its spaces, each with the index at which its space begins.
    """
    ends = np.cumsum([rows.size for rows, _ in parts])

    def at(position: Index) -> Index:
        index = np.empty_like(position)
        which = np.searchsorted(ends, position, side="right")
        for number in np.unique(which):
            (rows, start), mine = parts[number], which == number
            index[mine] = start + rows.at(position[mine] - (ends[number] - rows.size))
        return index

    def find(index: Index) -> Index:
        position = np.full_like(index, -1)
        for (rows, start), end in zip(parts, ends, strict=True):
            found = rows.find(index - start)
            position = np.where(found >= 0, found + (end - rows.size), position)
        return position

    return IndexMap(int(ends[-1]), at, find)
