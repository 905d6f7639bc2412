"""Components of a space: listed axes, quasi-random samples, and concatenations of spaces.

Each knows its groups and returns the values of any lanes by their index; none of them holds more
than its own axes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import EXACT_IN_FLOAT, Axis, PyTree, warn_of_rounding
from jaxmom.sweeps.space.groups import Group, check_same, group_key, make_group
from jaxmom.sweeps.space.index_maps import (
    Index,
    all_indices,
    concatenate_maps,
    select_indices,
)
from jaxmom.sweeps.space.sampling import PointsFn, unit_points
from jaxmom.sweeps.space.scales import Scale


class SpaceLike(Protocol):
    """What a concatenation needs of its spaces; `jaxmom.sweeps.space.space.Space` has it."""

    @property
    def components(self) -> "tuple[Component, ...]":
        """What the space is a product of."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that it gives values to."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the components."""
        ...

    @property
    def size(self) -> int:
        """The number of its lanes."""
        ...

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All lists of values."""
        ...

    def lane(self, index: int) -> dict[str, Any]:
        """Return the arguments of one lane."""
        ...

    def take(self, index: Index) -> dict[str, PyTree]:
        """Return the traced arguments of some lanes."""
        ...

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Return the coordinates of some lanes."""
        ...

    def groups(self) -> list[Group]:
        """Return its groups."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class ListedAxes:
    """Axes whose values go together.

    Attributes:
      axes: One axis of a grid, or the columns of `paired`, which are of one length.
      paired: Whether they are the columns of `paired`.
    """

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

    def take(self, index: Index) -> dict[str, PyTree]:
        """Return name -> values at some indices."""
        return {axis.name: axis.take(index) for axis in self.axes if axis.kind != "static"}

    def single(self, index: int) -> dict[str, Any]:
        """Return name -> value of one lane."""
        return {axis.name: axis.single(index) for axis in self.axes}

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Return name -> coordinates at some indices."""
        return {axis.name: axis.labels[index] for axis in self.axes}

    def groups(self) -> list[Group]:
        """Return a group for each combination of values that are not traced."""
        static = [axis for axis in self.axes if axis.kind == "static"]
        names = tuple(axis.name for axis in self.axes if axis.kind != "static")
        if not static:
            return [make_group({}, {}, names, all_indices(self.size))]
        members: dict[tuple[Any, ...], list[int]] = {}
        for index in range(self.size):
            key = tuple(axis.labels[index].item() for axis in static)
            members.setdefault(key, []).append(index)
        groups = []
        for key, places in members.items():
            for axis in static:
                check_same(axis.name, [axis.single(index) for index in places])
            values = {axis.name: axis.single(places[0]) for axis in static}
            labels = {axis.name: label for axis, label in zip(static, key, strict=True)}
            rows = select_indices(np.array(places, np.int64))
            groups.append(make_group(values, labels, names, rows))
        return groups


@dataclasses.dataclass(frozen=True, eq=False)
class QuasiRandomSample:
    """Points of a sequence in the unit cube, on a scale for each argument.

    Attributes:
      scales: For each argument a scale, or an axis of numbers to choose from.
      size: The number of points.
      method: The method of the sequence, see `sample`.
      seed: The seed of its scrambling.
      tables: Those of a Sobol sequence from a store, so that no SciPy is needed to repeat it.
      dim: The name of its dimension in the result.
    """

    scales: dict[str, Scale | Axis]
    size: int
    method: str
    seed: int
    tables: dict[str, Any] | None = None
    dim: str = "lane"

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that it gives values to."""
        return tuple(self.scales)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Those whose values are chosen from a list."""
        return tuple(scale for scale in self.scales.values() if isinstance(scale, Axis))

    @functools.cached_property
    def points(self) -> PointsFn:
        """The sequence."""
        return unit_points(self.method, self.size, len(self.scales), self.seed, self.tables)

    def take(self, index: Index) -> dict[str, PyTree]:
        """Return name -> values at some indices."""
        columns = zip(self.scales.items(), self.points(index).T, strict=True)
        return {name: _on_scale(scale, column) for (name, scale), column in columns}

    def single(self, index: int) -> dict[str, Any]:
        """Return name -> value of one lane."""
        return {name: column[0].item() for name, column in self.take(np.array([index])).items()}

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Return name -> coordinates at some indices."""
        return self.take(index)

    def groups(self) -> list[Group]:
        """Return one group: a sample has numbers alone."""
        return [make_group({}, {}, self.names, all_indices(self.size))]


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenation:
    """Spaces one after another.

    Attributes:
      spaces: The spaces, which may have different arguments.
      dim: The name of its dimension in the result.
    """

    spaces: tuple[SpaceLike, ...]
    dim: str = "lane"

    def check(self) -> None:
        """Refuse spaces whose values do not fit into common arrays.

        Raises:
          ValueError: They give an argument pytrees of different shapes, or integers that the
            floats or the gaps of other spaces would round.
        """
        _check_integers(self.spaces)
        _check_leaves_of_integers(self.spaces)
        _check_shapes(self._merged_groups(), self.spaces)

    @property
    def names(self) -> tuple[str, ...]:
        """All arguments that one of its spaces gives values to."""
        return tuple(dict.fromkeys(name for space in self.spaces for name in space.names))

    @property
    def size(self) -> int:
        """The number of its lanes."""
        return sum(space.size for space in self.spaces)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Those of its spaces."""
        return tuple(axis for space in self.spaces for axis in space.axes)

    def take(self, index: Index) -> dict[str, PyTree]:
        """Return name -> values at some indices; the arguments must be the same in all of them."""
        return self._gather(index, [space.take for space in self.spaces])

    def single(self, index: int) -> dict[str, Any]:
        """Return name -> value of one lane; an integer beside floats is the float that runs."""
        which = int(self.locate(np.array([index]))[0])
        lane = self.spaces[which].lane(index - int(self.starts[which]))
        for name, column in self.take(np.array([index])).items():
            if isinstance(lane[name], int) and column.dtype.kind == "f":
                lane[name] = float(lane[name])
        return lane

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Return name -> coordinates at some indices; NaN or "" where a space has no such name."""
        return self._gather(index, [space.labels for space in self.spaces], _fill_absent)

    def groups(self) -> list[Group]:
        """Return the groups of the spaces; those that have the same program are one group."""
        groups = []
        for parts in self._merged_groups():
            _, first = parts[0]
            for name in first.static:
                check_same(name, [group.static[name] for _, group in parts])
            rows = concatenate_maps([(group.rows, int(self.starts[n])) for n, group in parts])
            groups.append(make_group(first.static, first.labels, first.names, rows))
        return groups

    @functools.cached_property
    def starts(self) -> Index:
        """The index of the first lane of each space."""
        return np.cumsum([0] + [space.size for space in self.spaces[:-1]])

    def locate(self, index: Index) -> Index:
        """Return the number of the space that each lane is of."""
        return np.searchsorted(self.starts, index, side="right") - 1

    def _merged_groups(self) -> list[list[tuple[int, Group]]]:
        """For each group, those of the spaces (by number) that it consists of."""
        merged: dict[str, list[tuple[int, Group]]] = {}
        for number, space in enumerate(self.spaces):
            for group in space.groups():
                merged.setdefault(group_key(group), []).append((number, group))
        return list(merged.values())

    def _gather(
        self,
        index: Index,
        takers: Sequence[Callable[[Index], dict[str, Any]]],
        fill: Callable[[list[dict[str, Any]], list[int]], list[dict[str, Any]]] | None = None,
    ) -> dict[str, Any]:
        which = self.locate(index)
        places = [np.flatnonzero(which == number) for number in range(len(self.spaces))]
        parts = [
            take(index[at] - start)
            for take, start, at in zip(takers, self.starts, places, strict=True)
        ]
        if fill is not None:
            parts = fill(parts, [len(at) for at in places])
        # Empty parts of the same shapes stay, so that the types do not depend on which lanes are
        # asked for; those of other shapes are of other programs.
        formats = [_leaf_shapes(part) for part in parts]
        wanted = formats[which[0] if len(which) else 0]
        parts = [p for p, format_ in zip(parts, formats, strict=True) if format_ == wanted]
        order = np.argsort(np.concatenate(places), kind="stable")
        return jax.tree.map(lambda *pieces: np.concatenate(pieces)[order], *parts)


Component: TypeAlias = ListedAxes | QuasiRandomSample | Concatenation


def _check_integers(spaces: Sequence[SpaceLike]) -> None:
    """Refuse integers that floats, or the NaN of an absent argument, would round in a union."""
    for name in dict.fromkeys(axis.name for space in spaces for axis in space.axes):
        sizes = [_largest_integer(space, name) for space in spaces]
        largest = max((size for size in sizes if size is not None), default=0)
        if None in sizes and largest > EXACT_IN_FLOAT:
            raise ValueError(
                f"the integer {largest} of {name!r} is in a union with floats, or with a space "
                f"without {name!r}, and would be rounded; use integers up to 2^53, or separate "
                "sweeps."
            )


def _largest_integer(space: SpaceLike, name: str) -> int | None:
    """Return the largest magnitude of an axis of integers; None if the space has no such axis."""
    columns = [axis.labels for axis in space.axes if axis.name == name and axis.kind == "number"]
    sizes = [_magnitude(column) for column in columns if column.dtype.kind == "i"]
    return max(sizes, default=None) if len(sizes) == len(columns) else None


def _check_leaves_of_integers(spaces: Sequence[SpaceLike]) -> None:
    """Refuse pytrees whose integers a union would round, as other ones have floats there."""
    leaves: dict[tuple[str, str], list[NDArray[Any]]] = {}
    for axis in (axis for space in spaces for axis in space.axes if axis.kind == "labeled"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(axis.values):
            leaves.setdefault((axis.name, jax.tree_util.keystr(path)), []).append(leaf)
    for (name, path), found in leaves.items():
        whole = [leaf for leaf in found if leaf.dtype.kind in "iu"]
        largest = max(map(_magnitude, whole), default=0)
        is_exact = len(whole) == len(found) and np.result_type(*whole).kind in "iu"
        if largest > EXACT_IN_FLOAT and not is_exact:
            raise ValueError(
                f"the integer {largest} in the values of {name!r}{path} is in a union with floats "
                "or unsigned integers, and would be rounded; use integers up to 2^53 or one "
                "type, or separate sweeps."
            )


def _magnitude(column: NDArray[Any]) -> int:
    return max(-int(column.min(initial=0)), int(column.max(initial=0)))


def warn_of_union(left: SpaceLike, right: SpaceLike) -> None:
    """Warn of numbers of two spaces that become equal in the type that JAX computes in."""
    columns = [
        {name: np.concatenate(found) for name, found in _number_columns(space).items()}
        for space in (left, right)
    ]
    for name in columns[0].keys() & columns[1].keys():
        parts = [column[name] for column in columns]
        warn_of_rounding(name, np.concatenate(parts), known=parts)


def _number_columns(space: SpaceLike) -> dict[str, list[NDArray[Any]]]:
    columns: dict[str, list[NDArray[Any]]] = {}
    for axis in space.axes:
        if axis.kind == "number":
            columns.setdefault(axis.name, []).append(axis.labels)
    return columns


def _check_shapes(
    merged: Sequence[Sequence[tuple[int, Group]]], spaces: Sequence[SpaceLike]
) -> None:
    """Refuse groups of one program whose arguments have different shapes."""
    for parts in merged:
        shapes: dict[str, Any] = {}
        for number, group in parts if len(parts) > 1 else ():
            taken = spaces[number].take(group.rows.at(np.zeros(1, np.int64)))
            for name in group.names:
                found = jax.tree.map(lambda leaf: leaf.shape[1:], taken[name])
                first, shape = shapes.setdefault(name, (found, _leaf_shapes(taken[name])))
                if shape != _leaf_shapes(taken[name]):
                    raise ValueError(
                        f"two spaces of a union give {name!r} values of different shapes, "
                        f"{first} and {found}, which cannot share one program; rename the "
                        "argument in one of them, or use separate sweeps."
                    )


def _leaf_shapes(columns: PyTree) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, tree = jax.tree.flatten(columns)
    return tree, [leaf.shape[1:] for leaf in leaves]


def _on_scale(scale: Scale | Axis, fraction: NDArray[np.float64]) -> NDArray[Any]:
    if isinstance(scale, Scale):
        return scale.at(fraction)
    return scale.labels[(fraction * len(scale.labels)).astype(np.int64)]


def _fill_absent(parts: list[dict[str, Any]], sizes: list[int]) -> list[dict[str, Any]]:
    """Add the coordinates that some of the parts lack."""
    kinds = {name: column.dtype.kind for part in parts for name, column in part.items()}
    empty = {n: "" if kind == "U" else np.nan for n, kind in kinds.items()}
    return [
        {n: part[n] if n in part else np.full(size, empty[n]) for n in kinds}
        for part, size in zip(parts, sizes, strict=True)
    ]
