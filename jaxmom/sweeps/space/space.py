"""Spaces of lanes, addressed by an index: grids, lists, samples, their products and unions.

A space holds its axes and nothing for its lanes, so that a hundred million of them cost no memory
until they are run. Numbers and labeled pytrees differ from lane to lane in one compiled program;
everything else divides the lanes into groups with a program each.
"""

import dataclasses
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import (
    Axis,
    PyTree,
    check_distinct,
    check_name,
    read_axis,
    warn_of_rounding,
)
from jaxmom.sweeps.space.components import (
    Component,
    Concatenation,
    ListedAxes,
    QuasiRandomSample,
    SpaceLike,
    warn_of_union,
)
from jaxmom.sweeps.space.describe import describe, describe_as_table
from jaxmom.sweeps.space.groups import Group
from jaxmom.sweeps.space.index_maps import Index, IndexMap, all_indices, product_map
from jaxmom.sweeps.space.sampling import METHODS
from jaxmom.sweeps.space.scales import Scale


class Dim(NamedTuple):
    """One dimension of the result: a component, or those of its lanes that a group has."""

    name: str
    component: Component
    rows: IndexMap

    @property
    def size(self) -> int:
        """The number of its lanes."""
        return self.rows.size

    @property
    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Argument -> its values or labels [size], computed when they are asked for."""
        return self.component.labels(self.rows.at(np.arange(self.size)))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Space:
    """A product of components; made by `grid`, `paired`, `sample`, ``*`` and ``+``.

    The lanes are numbered with the last component fastest, and iterating over a space gives the
    arguments of one lane after the other: ``[fn(**lane) for lane in space]`` is what `sweep` does.

    Raises:
      ValueError: Two components give values to the same argument.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.grid(beta=jm.memory(1, 1000).points(10_000)) * jm.grid(seed=range(10_000))
      >>> print(len(space), space.lane(99_999_999))
      100000000 {'beta': 0.999, 'seed': 9999}
    """

    components: tuple[Component, ...]

    def __post_init__(self):
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(
                f"both spaces of a product have {twice}; an argument has one value in each lane."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that a lane has values for."""
        return tuple(name for component in self.components for name in component.names)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All lists of values."""
        return tuple(axis for component in self.components for axis in component.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the components, which are the dimensions of the result."""
        return tuple(component.size for component in self.components)

    @property
    def size(self) -> int:
        """The number of lanes."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.size

    def __mul__(self, other: "Space") -> "Space":
        if not isinstance(other, Space):
            return NotImplemented
        return Space(self.components + other.components)

    def __add__(self, other: "Space") -> "Space":
        if not isinstance(other, Space):
            return NotImplemented
        union = Concatenation(_union_terms(self) + _union_terms(other))
        union.check()
        warn_of_union(self, other)
        return Space((union,))

    def __repr__(self) -> str:
        return f"{describe(self.components)}  # {self.size:,} lanes"

    def _repr_html_(self) -> str:
        return describe_as_table(self.components)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.lane, range(self.size))

    def lane(self, index: int) -> dict[str, Any]:
        """Return the arguments of one lane, as a plain loop would pass them."""
        if not -self.size <= index < self.size:
            raise IndexError(f"lane {index} of a space with {self.size} lanes.")
        places = np.unravel_index(index % self.size, self.shape)
        pairs = zip(self.components, places, strict=True)
        return {k: v for component, i in pairs for k, v in component.single(int(i)).items()}

    def take(self, index: Index) -> dict[str, PyTree]:
        """Return the arguments of some lanes that are traced: name -> pytree of [lanes, ...]."""
        pairs = self._locate(index)
        return {k: v for component, i in pairs for k, v in component.take(i).items()}

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """Return the coordinates of some lanes: name -> [lanes]."""
        pairs = self._locate(index)
        return {k: v for component, i in pairs for k, v in component.labels(i).items()}

    def groups(self) -> list[Group]:
        """Return what is compiled once each, with its lanes."""
        groups = [Group({}, {}, (), all_indices(1), ())]
        for component in self.components:
            others, size = component.groups(), component.size
            groups = [_multiply_groups(group, other, size) for group in groups for other in others]
        return groups

    def dims(self, parts: Sequence[IndexMap] | None = None) -> list[Dim]:
        """Return the dimensions of the result.

        A component of one argument gives its name to its dimension; the others are "lane",
        "lane_1", "lane_2" and so on.

        Args:
          parts: Those of a `Group`, for the result of its lanes alone.
        """
        dims, lane_dims = [], 0
        for number, component in enumerate(self.components):
            rows = all_indices(component.size) if parts is None else parts[number]
            name = component.dim
            if name == "lane":
                name = f"lane_{lane_dims}" if lane_dims else "lane"
                lane_dims += 1
            dims.append(Dim(name, component, rows))
        return dims

    def _locate(self, index: Index) -> Iterator[tuple[Component, Index]]:
        return zip(self.components, np.unravel_index(index, self.shape), strict=True)


def check_space(given: Any) -> None:
    """Refuse what is not a space.

    Raises:
      TypeError: It is something else.
    """
    if not isinstance(given, Space):
        raise TypeError(
            f"a sweep runs over a space, not over a {type(given).__name__}; make one by "
            "jm.grid(beta=[0.0, 0.9]), jm.paired or jm.sample."
        )


def grid(**axes: Any) -> Space:
    """Return the space of every combination of the values of some arguments.

    Args:
      **axes: For each argument a sequence of numbers, which are traced; or an object with `labels`
        and `values` such as `jaxmom.stack` returns, of which a lane gets its own slice of the
        values; or booleans, strings, functions or a mapping from labels to any objects, which are
        static and compiled once each. A coordinate of another result is such a sequence.

    Returns:
      A `Space`; in the result each argument is a dimension.

    Raises:
      ValueError: An axis is empty or repeats a value, its name is one that the result needs, or
        its labels hold addresses in memory.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.grid(beta=[0.0, 0.9], nesterov=[False, True], seed=range(3))
      >>> print(len(space), len(space.groups()), space.lane(4))
      12 2 {'beta': 0.0, 'nesterov': True, 'seed': 1}
    """
    columns = _read_columns(axes)
    if not columns:
        raise ValueError("a grid needs at least one axis, as in jm.grid(beta=[0.0, 0.9]).")
    for axis in columns:
        check_distinct(axis)
    return Space(tuple(ListedAxes((axis,), paired=False) for axis in columns))


def paired(**axes: Any) -> Space:
    """Return the space of the first values of all arguments, then the second ones, and so on.

    Args:
      **axes: As for `grid`; all of the same length.

    Returns:
      A `Space`; in the result all arguments lie along one dimension, ``lane``.

    Raises:
      ValueError: The lengths differ, or there is no axis.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.paired(beta=[0.0, 0.9], learning_rate=[1.0, 0.1])
      >>> [lane["learning_rate"] for lane in space]
      [1.0, 0.1]
    """
    columns = _read_columns(axes)
    lengths = {axis.name: len(axis.labels) for axis in columns}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"paired needs one or more axes of the same length; got {lengths}.")
    return Space((ListedAxes(tuple(columns), paired=True),))


def sample(count: int, /, *, method: str = "sobol", seed: int = 0, **scales: Any) -> Space:
    """Return a space of points that fill a box without a grid.

    A grid of n values in each of d arguments tries n different values of each; so many points of a
    sample try n^d. Point i does not depend on how many there are.

    Args:
      count: How many, at most 2^30. A Sobol sequence is even at powers of two.
      method: "sobol" or "halton" (SciPy's scrambled sequences), or "random".
      seed: That of the scrambling, an integer, 0 or more. For the seeds of the runs, multiply the
        sample by ``jm.grid(seed=...)``.
      **scales: For each argument a `uniform`, `log_uniform`, `memory` or `half_life`, or a sequence
        of numbers to choose from.

    Returns:
      A `Space`; in the result all arguments lie along one dimension, ``lane``.

    Raises:
      ValueError: There is no such method, no argument, or something that is not a number.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.sample(64, beta=jm.memory(1, 1e4), learning_rate=jm.log_uniform(1e-4, 1))
      >>> print({name: round(value, 3) for name, value in space.lane(0).items()})
      {'beta': ..., 'learning_rate': ...}
    """
    size = _as_integer(count)
    if method not in METHODS or size is None or not 1 <= size <= 2**30 or not scales:
        raise ValueError(
            f"sample takes 1 to 2^30 points, at least one argument, and a method of {METHODS}; "
            f"got {count} points of {list(scales)} by {method!r}."
        )
    start = _as_integer(seed)
    if start is None or not 0 <= start < 2**63:
        raise ValueError(
            f"the seed of a sample is an integer of at least 0, got {seed!r}; for the seeds of the "
            "runs, multiply the sample by jm.grid(seed=...)."
        )
    return Space((QuasiRandomSample(_read_scales(scales), size, method, start),))


def _read_columns(axes: dict[str, Any]) -> list[Axis]:
    spaces = [name for name, given in axes.items() if isinstance(given, Space)]
    if spaces:
        raise ValueError(
            f"the axis {spaces[0]!r} is a space of its own; multiply spaces, as in "
            "jm.grid(beta=[0.0, 0.9]) * jm.grid(seed=range(3))."
        )
    return [read_axis(name, given) for name, given in axes.items()]


def _read_scales(scales: dict[str, Any]) -> dict[str, Scale | Axis]:
    columns: dict[str, Scale | Axis] = {}
    for name, given in scales.items():
        if isinstance(given, Scale):
            check_name(name)
            warn_of_rounding(name, given.at(np.array([0.0, 1.0])))
            columns[name] = given
            continue
        columns[name] = axis = read_axis(name, given)
        if axis.kind != "number":
            raise ValueError(f"a sample has numbers only; multiply by jm.grid({name}=...) instead.")
    return columns


def _as_integer(given: Any) -> int | None:
    """Return a Python or NumPy integer as a Python one; None for anything else."""
    try:
        return operator.index(given)
    except TypeError:
        return None


def _union_terms(space: Space) -> tuple[SpaceLike, ...]:
    """Return the spaces of a union, so that a + b + c has one dimension."""
    first, *others = space.components
    return first.spaces if isinstance(first, Concatenation) and not others else (space,)


def _multiply_groups(left: Group, right: Group, size: int) -> Group:
    """Return the group of a product, whose right component is the faster one.

    Args:
      left: A group of the components before.
      right: A group of the next component.
      size: How many lanes the next component has in all.
    """
    return Group(
        left.static | right.static,
        left.labels | right.labels,
        left.names + right.names,
        product_map(left.rows, right.rows, size),
        left.parts + right.parts,
    )
