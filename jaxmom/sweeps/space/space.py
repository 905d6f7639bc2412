"""Spaces of lanes: grids, lists, samples, their products and unions, addressed by an index.

A space holds its axes and nothing for its lanes, so that a hundred million of them cost no memory
until they are run. Numbers and labeled pytrees differ from lane to lane in one compiled program;
all_indices else divides the lanes into groups with a program each.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.space.axes import Axis, check_distinct, check_name, read_axis
from jaxmom.sweeps.space.components import (
    Component,
    Concatenation,
    Group,
    Index,
    IndexMap,
    ListedAxes,
    QuasiRandomSample,
    all_indices,
    product_map,
)
from jaxmom.sweeps.space.sampling import METHODS
from jaxmom.sweeps.space.scales import Scale


class Dim(NamedTuple):
    """One dimension of the result."""

    name: str
    size: int
    coordinates: dict[str, NDArray[Any]]  # name -> [size]


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """A product of factors; made by `grid`, `paired`, `sample`, ``*`` and ``+``.

    The lanes are numbered with the last factor fastest, and iterating over a space gives the
    arguments of one lane after the other: ``[fn(**lane) for lane in space]`` is what `sweep` does.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.grid(beta=jm.memory(1, 1000).points(10_000)) * jm.grid(seed=range(10_000))
      >>> print(len(space), space.lane(99_999_999))
      100000000 {'beta': 0.999, 'seed': 9999}
    """

    factors: tuple[Component, ...]

    def __post_init__(self):
        names = [name for factor in self.factors for name in factor.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"both spaces of a product have {twice}; an argument has one value in each lane."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that a lane has values for."""
        return tuple(name for factor in self.factors for name in factor.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the factors, which are the dimensions of the result."""
        return tuple(factor.size for factor in self.factors)

    @property
    def size(self) -> int:
        """The number of lanes."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.size

    def __mul__(self, other: "Space") -> "Space":
        return Space(self.factors + other.factors)

    def __add__(self, other: "Space") -> "Space":
        return Space((Concatenation(_terms(self) + _terms(other)),))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.lane, range(self.size))

    def lane(self, index: int) -> dict[str, Any]:
        """The arguments of one lane, as a plain loop would pass them."""
        if not -self.size <= index < self.size:
            raise IndexError(f"lane {index} of a space with {self.size} lanes.")
        places = np.unravel_index(index % self.size, self.shape)
        pairs = zip(self.factors, places, strict=True)
        return {k: v for factor, i in pairs for k, v in factor.single(int(i)).items()}

    def take(self, index: Index) -> dict[str, Any]:
        """The arguments of some lanes that are traced: name -> pytree of arrays [lanes, ...]."""
        return self._merged(index, "take")

    def labels(self, index: Index) -> dict[str, NDArray[Any]]:
        """The coordinates of some lanes: name -> [lanes]."""
        return self._merged(index, "labels")

    def groups(self) -> list[Group]:
        """What is compiled once each, with its lanes."""
        groups = [Group({}, {}, (), all_indices(1), ())]
        for factor in self.factors:
            theirs = factor.groups()
            groups = [_joined(ours, other, factor.size) for ours in groups for other in theirs]
        return groups

    def dims(self, parts: Sequence[IndexMap] | None = None) -> list[Dim]:
        """The dimensions of the result; a factor with one name gives its own to its dimension.

        Args:
          parts: Of a `Group`, for the result of its lanes alone.
        """
        dims: list[Dim] = []
        for number, factor in enumerate(self.factors):
            rows = all_indices(factor.size) if parts is None else parts[number]
            taken = sum(dim.name.partition("_")[0] == "lane" for dim in dims)
            name = f"lane_{taken}" if factor.dim == "lane" and taken else factor.dim
            dims.append(Dim(name, rows.size, factor.labels(rows.at(np.arange(rows.size)))))
        return dims

    def _merged(self, index: Index, method: str) -> dict[str, Any]:
        places = np.unravel_index(index, self.shape)
        pairs = zip(self.factors, places, strict=True)
        return {k: v for factor, i in pairs for k, v in getattr(factor, method)(i).items()}


def grid(**axes: Any) -> Space:
    """Every combination of the values of some arguments.

    Args:
      **axes: For each argument a sequence of numbers, which are traced; or an object with `labels`
        and `values` such as `jaxmom.stack` returns, of which a lane gets its own slice of the
        values; or booleans, strings, functions or a mapping from labels to any objects, which are
        static and compiled once each.

    Returns:
      A `Space`; in the result each argument is a dimension.

    Raises:
      ValueError: An axis is empty or repeats a value, or its name is one that the result needs.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.grid(beta=[0.0, 0.9], nesterov=[False, True], seed=range(3))
      >>> print(len(space), len(space.groups()), space.lane(4))
      12 2 {'beta': 0.0, 'nesterov': True, 'seed': 1}
    """
    factors = tuple(ListedAxes((read_axis(name, given),), False) for name, given in axes.items())
    if not factors:
        raise ValueError("a grid needs one axis at least, as in jm.grid(beta=[0.0, 0.9]).")
    for factor in factors:
        check_distinct(factor.axes[0])
    return Space(factors)


def paired(**axes: Any) -> Space:
    """The first values of all arguments, then the second ones, and so on.

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
    columns = tuple(read_axis(name, given) for name, given in axes.items())
    lengths = {axis.name: len(axis.labels) for axis in columns}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"paired needs axes of the same length, one at least; got {lengths}.")
    return Space((ListedAxes(columns, True),))


def sample(count: int, /, *, method: str = "sobol", seed: int = 0, **scales: Any) -> Space:
    """Points that fill a space without a grid.

    A grid of n values in each of d arguments tries n different values of each; so many points of a
    sample try n^d. Point i does not depend on how many there are.

    Args:
      count: How many, at most 2^30. A Sobol sequence is even at powers of two.
      method: "sobol" or "halton" (SciPy's scrambled sequences), or "random".
      seed: An integer, of the scrambling. For the seeds of the runs, multiply the sample by
        ``jm.grid(seed=...)``.
      **scales: For each argument a `uniform`, `log_uniform`, `memory` or `half_life`, or a sequence
        of numbers to choose from.

    Returns:
      A `Space`; in the result all arguments lie along one dimension, ``lane``.

    Raises:
      ValueError: There is no such method, no argument, or something that is no number.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.sample(64, beta=jm.memory(1, 1e4), learning_rate=jm.log_uniform(1e-4, 1))
      >>> print({name: round(value, 3) for name, value in space.lane(0).items()})
      {'beta': ..., 'learning_rate': ...}
    """
    if method not in METHODS or not 1 <= count <= 2**30 or not scales:
        raise ValueError(
            f"sample takes 1 to 2^30 points, one argument at least, and a method of {METHODS}; "
            f"got {count} points of {list(scales)} by {method!r}."
        )
    if not isinstance(seed, int):
        raise ValueError(
            f"seed={seed!r} is that of the sequence, an integer; for the seeds of the runs, "
            "multiply the sample by jm.grid(seed=...)."
        )
    for name in scales:
        check_name(name)
    read = {n: s if isinstance(s, Scale) else read_axis(n, s) for n, s in scales.items()}
    other = [n for n, s in read.items() if isinstance(s, Axis) and s.kind != "number"]
    if other:
        raise ValueError(f"a sample is of numbers; multiply by jm.grid({other[0]}=...) instead.")
    return Space((QuasiRandomSample(read, count, method, seed),))


def _terms(space: Space) -> tuple[Space, ...]:
    """The spaces that a union is of, so that a + b + c has one dimension."""
    first = space.factors[0]
    return (
        first.spaces if len(space.factors) == 1 and isinstance(first, Concatenation) else (space,)
    )


def _joined(left: Group, right: Group, size: int) -> Group:
    """The group of a product, whose right factor has so many lanes and is the faster one."""
    return Group(
        left.static | right.static,
        left.labels | right.labels,
        left.names + right.names,
        product_map(left.rows, right.rows, size),
        left.parts + right.parts,
    )
