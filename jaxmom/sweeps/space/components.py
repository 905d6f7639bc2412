"""What a space is a product of: lists of values, samples, and unions of spaces.

Each says which lanes its groups have and gives the values of any lanes by their index, and none of
them holds more than its own axes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import Axis
from jaxmom.sweeps.space.sampling import unit_points
from jaxmom.sweeps.space.scales import Scale

Index: TypeAlias = NDArray[np.int64]


class IndexMap(NamedTuple):
    """Some of the lanes of a space, in order, without a list of them."""

    size: int
    at: Callable[[Index], Index]  # position among these -> index in the space
    find: Callable[[Index], Index]  # index in the space -> position among these, or -1


class Group(NamedTuple):
    """The lanes that one compiled program runs."""

    static: dict[str, Any]  # name -> what is not traced
    labels: dict[str, Any]  # name -> its label in the result
    names: tuple[str, ...]  # of the arguments that differ from lane to lane
    rows: IndexMap
    parts: tuple[
        IndexMap, ...
    ]  # the same for each factor of the space, of which rows is the product


@dataclasses.dataclass(frozen=True, eq=False)
class ListedAxes:
    """Axes whose values go together: one axis of a grid, or the columns of `paired`."""

    axes: tuple[Axis, ...]
    paired: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that it gives values to."""
        return tuple(axis.name for axis in self.axes)

    @property
    def size(self) -> int:
        """The number of its lanes."""
        return len(self.axes[0].labels)

    @property
    def dim(self) -> str:
        """The name of its dimension in the result."""
        return "lane" if self.paired else self.axes[0].name

    def take(self, index: Index) -> dict[str, Any]:
        """Name -> values at some indices."""
        return {axis.name: axis.take(index) for axis in self.axes if axis.kind != "static"}

    def single(self, index: int) -> dict[str, Any]:
        """Name -> value of one lane."""
        return {axis.name: axis.single(index) for axis in self.axes}

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Name -> coordinates at some indices."""
        return {axis.name: axis.labels[index] for axis in self.axes}

    def groups(self) -> list[Group]:
        """One for each combination of values that are not traced."""
        static = [axis for axis in self.axes if axis.kind == "static"]
        names = tuple(axis.name for axis in self.axes if axis.kind != "static")
        if not static:
            return [_group({}, {}, names, all_indices(self.size))]
        members: dict[tuple[Any, ...], list[int]] = {}
        for index in range(self.size):
            key = tuple(axis.labels[index].item() for axis in static)
            members.setdefault(key, []).append(index)
        groups = []
        for key, places in members.items():
            for axis in static:
                _check_same(axis.name, [axis.single(index) for index in places])
            values = {axis.name: axis.single(places[0]) for axis in static}
            labels = {axis.name: label for axis, label in zip(static, key, strict=True)}
            groups.append(_group(values, labels, names, select_indices(np.array(places, np.int64))))
        return groups


@dataclasses.dataclass(frozen=True, eq=False)
class QuasiRandomSample:
    """Points of a sequence in the unit cube, on a scale for each argument."""

    scales: dict[str, Scale | Axis]
    size: int
    method: str
    seed: int
    tables: dict[str, Any] | None = None  # of a Sobol sequence from a store
    dim: str = "lane"

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that it gives values to."""
        return tuple(self.scales)

    @functools.cached_property
    def points(self) -> Callable[[Index], NDArray[np.float64]]:
        """The sequence."""
        return unit_points(self.method, self.size, len(self.scales), self.seed, self.tables)

    def take(self, index: Index) -> dict[str, Any]:
        """Name -> values at some indices."""
        columns = zip(self.scales.items(), self.points(index).T, strict=True)
        return {name: _on_scale(scale, column) for (name, scale), column in columns}

    def single(self, index: int) -> dict[str, Any]:
        """Name -> value of one lane."""
        return {name: column[0].item() for name, column in self.take(np.array([index])).items()}

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Name -> coordinates at some indices."""
        return self.take(index)

    def groups(self) -> list[Group]:
        """All lanes: a sample has numbers alone."""
        return [_group({}, {}, self.names, all_indices(self.size))]


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenation:
    """Spaces one after another."""

    spaces: tuple[Any, ...]
    dim: str = "lane"

    @property
    def names(self) -> tuple[str, ...]:
        """All arguments that one of its spaces gives values to."""
        return tuple(dict.fromkeys(name for space in self.spaces for name in space.names))

    @property
    def size(self) -> int:
        """The number of its lanes."""
        return sum(space.size for space in self.spaces)

    def take(self, index: Index) -> dict[str, Any]:
        """Name -> values at some indices; the arguments must be the same in all of them."""
        return self._gathered(index, lambda space, i: space.take(i))

    def single(self, index: int) -> dict[str, Any]:
        """Name -> value of one lane."""
        which = int(self._which(np.array([index]))[0])
        return self.spaces[which].lane(index - int(self._starts[which]))

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Name -> coordinates at some indices, NaN or "" where a space has no such argument."""
        return self._gathered(index, lambda space, i: space.labels(i), absent=True)

    def groups(self) -> list[Group]:
        """Those of the spaces; what has the same program is one group."""
        merged: dict[Any, list[tuple[Group, int]]] = {}
        for space, start in zip(self.spaces, self._starts, strict=True):
            for group in space.groups():
                key = (tuple(sorted(group.labels.items())), tuple(sorted(group.names)))
                merged.setdefault(key, []).append((group, int(start)))
        groups = []
        for parts in merged.values():
            first = parts[0][0]
            for name in first.static:
                _check_same(name, [group.static[name] for group, _ in parts])
            rows = _concatenated([(group.rows, start) for group, start in parts])
            groups.append(_group(first.static, first.labels, first.names, rows))
        return groups

    @functools.cached_property
    def _starts(self) -> Index:
        return np.cumsum([0] + [space.size for space in self.spaces[:-1]])

    def _which(self, index: Index) -> Index:
        return np.searchsorted(self._starts, index, side="right") - 1

    def _gathered(self, index: Index, take: Any, absent: bool = False) -> dict[str, Any]:
        which = self._which(index)
        places = [np.flatnonzero(which == number) for number in range(len(self.spaces))]
        parts = [
            take(space, index[at] - start)
            for space, start, at in zip(self.spaces, self._starts, places, strict=True)
        ]
        if absent:
            parts = _filled(parts, [len(at) for at in places])
        # The empty parts stay, so that the types do not depend on which lanes are asked for.
        structures = [jax.tree.structure(part) for part in parts]
        wanted = structures[which[0] if len(which) else 0]
        parts = [p for p, structure in zip(parts, structures, strict=True) if structure == wanted]
        order = np.argsort(np.concatenate(places), kind="stable")
        return jax.tree.map(lambda *pieces: np.concatenate(pieces)[order], *parts)


Component: TypeAlias = ListedAxes | QuasiRandomSample | Concatenation


def all_indices(size: int) -> IndexMap:
    """All lanes of a space of this size."""

    def find(index: Index) -> Index:
        return np.where((index >= 0) & (index < size), index, -1)

    return IndexMap(size, lambda position: position, find)


def select_indices(places: Index) -> IndexMap:
    """Some lanes, given by their indices in ascending order."""

    def find(index: Index) -> Index:
        if not len(places):
            return np.full_like(index, -1)
        position = np.searchsorted(places, index)
        there = places.take(position, mode="clip") == index
        return np.where(there, position, -1)

    return IndexMap(len(places), places.take, find)


def product_map(left: IndexMap, right: IndexMap, size: int) -> IndexMap:
    """Rows of the product with a factor of so many lanes, which is the faster one."""

    def at(position: Index) -> Index:
        outer, inner = np.divmod(position, right.size)
        return left.at(outer) * size + right.at(inner)

    def find(index: Index) -> Index:
        outer, inner = np.divmod(index, size)
        outer, inner = left.find(outer), right.find(inner)
        return np.where((outer >= 0) & (inner >= 0), outer * right.size + inner, -1)

    return IndexMap(left.size * right.size, at, find)


def _concatenated(parts: Sequence[tuple[IndexMap, int]]) -> IndexMap:
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
            there = rows.find(index - start)
            position = np.where(there >= 0, there + (end - rows.size), position)
        return position

    return IndexMap(int(ends[-1]), at, find)


def _group(static: Any, labels: Any, names: tuple[str, ...], rows: IndexMap) -> Group:
    return Group(static, labels, names, rows, (rows,))


def _check_same(name: str, values: Sequence[Any]) -> None:
    """Refuse two objects under one label: they would be one program."""
    plain = isinstance(values[0], bool | int | float | str)
    if any(v is not values[0] and not (plain and v == values[0]) for v in values):
        raise ValueError(
            f"several values of {name!r} have the same label, {values[0]!r} and others; name them "
            "by a mapping label -> value."
        )


def _on_scale(scale: Scale | Axis, fraction: NDArray[np.float64]) -> NDArray[Any]:
    if isinstance(scale, Scale):
        return scale.at(fraction)
    return scale.labels[(fraction * len(scale.labels)).astype(np.int64)]


def _filled(parts: list[dict[str, Any]], sizes: list[int]) -> list[dict[str, Any]]:
    """Add the coordinates that some of the parts lack."""
    kinds = {name: column.dtype.kind for part in parts for name, column in part.items()}
    empty = {n: "" if kind == "U" else np.nan for n, kind in kinds.items()}
    return [
        {n: part[n] if n in part else np.full(size, empty[n]) for n in kinds}
        for part, size in zip(parts, sizes, strict=True)
    ]
