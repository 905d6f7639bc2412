"""Points of quasi-random sequences by their index: any point without those before it."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

METHODS = ("sobol", "halton", "random")
_BITS = 30  # of SciPy's Sobol points, and the largest sample is 2^30
_BLOCK = 1024

Points: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
PointsFn: TypeAlias = Callable[[Integers], Points]  # indices [n] -> points [n, dimension]
_BlockFn: TypeAlias = Callable[[int], Points]  # number of a block -> its points


def unit_points(
    method: str, count: int, dimension: int, seed: int, tables: dict[str, Any] | None = None
) -> PointsFn:
    """Make the function from indices [n] to points [n, dimension] in the unit cube.

    Args:
      method: One of `METHODS`. "sobol" and "halton" are SciPy's scrambled ones.
      count: The number of points.
      dimension: The dimension of the cube.
      seed: The seed of the scrambling, or of the random numbers.
      tables: Those of a Sobol sequence in a store, as `make_sobol_tables` returns them.

    Returns:
      A function of arrays of indices.
    """
    if method != "sobol":
        make_blocks = _random_blocks if method == "random" else _halton_blocks
        block = functools.lru_cache(maxsize=8)(make_blocks(dimension, seed))
        return functools.partial(_look_up, block)
    lists = tables or make_sobol_tables(count, dimension, seed)
    shift, directions = (np.array(lists[name], np.uint64) for name in ("shift", "directions"))
    return functools.partial(_sobol_points, shift=shift, directions=directions)


def make_sobol_tables(count: int, dimension: int, seed: int) -> dict[str, Any]:
    """Return the integers of 30 bits that the points of a scrambled Sobol sequence consist of.

    Point i is the exclusive or of `shift` and of one direction for each bit that is set in the Gray
    code of i, so any point costs the same. Point 2^(b+1) - 1 has bit b alone.

    Args:
      count: The number of points.
      dimension: The dimension of the cube.
      seed: The seed of the scrambling.

    Returns:
      ``{"shift": [dimension], "directions": [bits of count, dimension]}``, plain lists.
    """
    from scipy.stats import qmc

    engine, position, rows = qmc.Sobol(dimension, scramble=True, rng=seed, bits=_BITS), 0, []
    for index in [0] + [2 ** (bit + 1) - 1 for bit in range((count - 1).bit_length())]:
        if index > position:
            engine.fast_forward(index - position)
        rows.append((engine.random(1)[0] * 2**_BITS).astype(np.uint64))
        position = index + 1
    directions = [row ^ rows[0] for row in rows[1:]]
    return {"shift": rows[0].tolist(), "directions": [row.tolist() for row in directions]}


def _sobol_points(
    index: Integers, shift: NDArray[np.uint64], directions: NDArray[np.uint64]
) -> Points:
    place = index.astype(np.uint64)
    gray, whole = place ^ (place >> np.uint64(1)), np.repeat(shift[None], len(index), axis=0)
    for bit, direction in enumerate(directions):
        is_set = (gray >> np.uint64(bit)) & np.uint64(1)
        whole ^= is_set[:, None] * direction
    return whole / 2.0**_BITS


def _halton_blocks(dimension: int, seed: int) -> _BlockFn:
    from scipy.stats import qmc

    engine = qmc.Halton(dimension, scramble=True, rng=seed)

    def block(number: int) -> Points:
        engine.num_generated = number * _BLOCK  # fast_forward would make all points before it
        return engine.random(_BLOCK)

    return block


def _random_blocks(dimension: int, seed: int) -> _BlockFn:
    def block(number: int) -> Points:
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        return generator.random((_BLOCK, dimension))

    return block


def _look_up(block: _BlockFn, index: Integers) -> Points:
    """Return points from a function that makes 1024 at a time."""
    numbers, position = np.unique(index // _BLOCK, return_inverse=True)
    blocks = np.stack([block(int(number)) for number in numbers] or [block(0)])
    return blocks[position, index % _BLOCK]
