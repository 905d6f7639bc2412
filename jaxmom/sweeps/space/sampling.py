"""Points of the unit cube by their index: any lane of a sample without those before it."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS = ("sobol", "halton", "random")
_BITS = 30  # of SciPy's Sobol points, and the largest sample is 2^30
_BLOCK = 1024

Points = NDArray[np.float64]
Integers = NDArray[np.int64]


def unit_points(
    method: str, count: int, dimension: int, seed: int, tables: dict[str, Any] | None = None
) -> Callable[[Integers], Points]:
    """A function from indices [n] to points [n, dimension] of a sequence in the unit cube.

    Args:
      method: One of `METHODS`. "sobol" and "halton" are SciPy's scrambled ones.
      count: How many points there are to be.
      dimension: Of the cube.
      seed: Of the scrambling, or of the random numbers.
      tables: Of a Sobol sequence, as `sobol_tables` returns them, from a store.
    """
    if method != "sobol":
        maker = _random if method == "random" else _halton
        block = functools.lru_cache(maxsize=8)(maker(dimension, seed))
        return functools.partial(_by_blocks, block)
    tables = tables or sobol_tables(count, dimension, seed)
    return functools.partial(_sobol, **{k: np.array(v, np.uint64) for k, v in tables.items()})


def sobol_tables(count: int, dimension: int, seed: int) -> dict[str, Any]:
    """What the first points of a scrambled Sobol sequence consist of, as integers of 30 bits.

    Point i is the exclusive or of `shift` and of one direction for each bit that is set in the Gray
    code of i, so any point costs the same. Point 2^(b+1) - 1 has bit b alone.

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


def _sobol(index: Integers, shift: Any, directions: Any) -> Points:
    place = index.astype(np.uint64)
    gray, whole = place ^ (place >> np.uint64(1)), np.repeat(shift[None], len(index), axis=0)
    for bit, direction in enumerate(directions):
        is_set = (gray >> np.uint64(bit)) & np.uint64(1)
        whole ^= is_set[:, None] * direction
    return whole / 2.0**_BITS


def _halton(dimension: int, seed: int) -> Callable[[int], Points]:
    from scipy.stats import qmc

    engine = qmc.Halton(dimension, scramble=True, rng=seed)

    def block(number: int) -> Points:
        engine.num_generated = number * _BLOCK  # fast_forward would make all points before it
        return engine.random(_BLOCK)

    return block


def _random(dimension: int, seed: int) -> Callable[[int], Points]:
    def block(number: int) -> Points:
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        return generator.random((_BLOCK, dimension))

    return block


def _by_blocks(block: Callable[[int], Points], index: Integers) -> Points:
    """Points from a function that makes 1024 at a time."""
    numbers, position = np.unique(index // _BLOCK, return_inverse=True)
    blocks = np.stack([block(int(number)) for number in numbers] or [block(0)])
    return blocks[position, index % _BLOCK]
