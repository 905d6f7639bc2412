"""Hypothesis strategies for spaces: every kind of axis and component, their products and unions.

Values are small multiples of 1/8, so that sums of them are exact and a sweep can be compared with
a loop bit by bit.
"""

import numpy as np
from hypothesis import strategies as st

import jaxmom as jm
from jaxmom.sweeps import grid, paired, sample, uniform
from jaxmom.sweeps.space.space import Space

TRACED = ("a", "b", "c", "d")
STATIC = ("flag", "word")
LARGEST = 120  # lanes of a space


def eighths(unique: bool = True, size: int | None = None) -> st.SearchStrategy[list[float]]:
    values = st.integers(-64, 64).map(lambda number: number / 8)
    return st.lists(values, min_size=size or 1, max_size=size or 4, unique=unique)


def whole_numbers() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-1000, 1000), min_size=1, max_size=4, unique=True)


def as_given(values: list) -> st.SearchStrategy:
    """The same numbers in the forms in which users have them."""
    return st.sampled_from([values, tuple(values), np.asarray(values), list(np.asarray(values))])


def number_axes() -> st.SearchStrategy:
    return st.one_of(eighths(), whole_numbers()).flatmap(as_given)


def static_grids(name: str) -> st.SearchStrategy[Space]:
    values = {"flag": [False, True], "word": ["x", "yes", "zz"]}[name]
    some = st.lists(st.sampled_from(values), min_size=1, unique=True)
    return some.map(lambda chosen: grid(**{name: chosen}))


@st.composite
def labeled_grids(draw: st.DrawFn) -> Space:
    """A grid of pytrees, of which each lane gets a row."""
    labels = draw(st.lists(st.sampled_from("pqrs"), min_size=1, unique=True))
    numbers = draw(eighths(unique=False, size=3 * len(labels)))
    scalars, vectors = np.split(np.array(numbers), [len(labels)])
    return grid(rows=jm.Stack(labels, {"u": scalars, "v": vectors.reshape(-1, 2)}))


@st.composite
def pairs(draw: st.DrawFn, names: tuple[str, ...]) -> Space:
    size = draw(st.integers(1, 5))
    columns = {name: draw(eighths(unique=False, size=size)) for name in names}
    if draw(st.booleans()):
        columns["flag"] = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return paired(**columns)


@st.composite
def samples(draw: st.DrawFn, names: tuple[str, ...]) -> Space:
    method = draw(st.sampled_from(["sobol", "halton", "random"]))
    choices = [0.125, 0.5, 4.0]
    scales = {name: draw(st.sampled_from([uniform(-1, 1), choices])) for name in names}
    count = 2 ** draw(st.integers(0, 3))
    return sample(count, method=method, seed=draw(st.integers(0, 3)), **scales)


def terms(names: tuple[str, ...]) -> st.SearchStrategy[Space]:
    """Spaces over exactly these arguments, perhaps with a flag."""
    grids = st.tuples(*[number_axes() for _ in names]).map(
        lambda columns: grid(**dict(zip(names, columns, strict=True)))
    )
    return st.one_of(grids, pairs(names), samples(names))


@st.composite
def unions(draw: st.DrawFn, names: tuple[str, ...]) -> Space:
    """Two or three spaces one after another, with the same arguments or with fewer."""
    fewer = st.integers(1, len(names)).map(lambda count: names[:count])
    first, *others = draw(st.lists(fewer.flatmap(terms), min_size=2, max_size=3))
    return sum(others, start=first)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A product of one to three components over distinct arguments."""
    names = list(draw(st.permutations(TRACED)))
    space = None
    for _ in range(draw(st.integers(1, 3))):
        mine = tuple(names.pop() for _ in range(min(len(names), draw(st.integers(1, 2)))))
        make = draw(st.sampled_from([terms, unions])) if mine else None
        factor = draw(make(mine)) if make else draw(static_grids("word"))
        is_free = space is None or not set(space.names) & set(factor.names)
        small = space is None or space.size * factor.size <= LARGEST
        if is_free and small:
            space = factor if space is None else space * factor
    if 4 * space.size <= LARGEST and draw(st.booleans()):
        space = draw(labeled_grids()) * space
    if "word" not in space.names and 3 * space.size <= LARGEST and draw(st.booleans()):
        space = space * draw(static_grids("word"))
    return space
