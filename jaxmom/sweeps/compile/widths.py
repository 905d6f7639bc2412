"""The widths of the groups of a sweep: those of few lanes are not filled up to its width."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmom.sweeps.compile.batching import BLOCK, NARROW, chunk_width
from jaxmom.sweeps.compile.program import TracedGroup
from jaxmom.sweeps.space.groups import group_key

# A group is small if it fits into the width so many times. Each group is a program of its own in
# any case, so that a narrower one costs nothing; but bits depend on the width, and groups that fill
# more than a quarter of it would gain less than they now lose by being filled up.
_SMALL = 4
_HALVINGS = 64  # as many as it takes


def group_width(width: int, options: Mapping[str, Any], lanes: int) -> int:
    """Return how many lanes of a group run at a time.

    That is the width of the sweep. If the group has at most a quarter as many lanes, the width is
    halved as long as they fit. With the option ``narrow`` it is not, since that says itself how
    often the width of a chunk is halved.

    Args:
      width: Of the sweep.
      options: Of the sweep.
      lanes: Of the group.

    Example:
      >>> [group_width(512, {}, lanes) for lanes in (1000, 129, 128, 100, 3, 1)]
      [512, 512, 128, 128, 4, 1]
      >>> group_width(512, {"block": 128}, 10), group_width(512, {"narrow": 1}, 10)
      (16, 512)
    """
    if NARROW in options or _SMALL * lanes > width:
        return width
    return chunk_width(width, {**options, NARROW: _HALVINGS}, lanes)


def plan_widths(
    traced: Sequence[TracedGroup], width: int, options: Mapping[str, Any]
) -> dict[str, int]:
    """Return the width of each group, by its key.

    Args:
      traced: The groups.
      width: Of the sweep.
      options: Of the sweep.

    Raises:
      ValueError: The width is not a multiple of the block.
    """
    _check_blocks(width, options)
    groups = {group_key(one.group): one.group.rows.size for one in traced}
    return {key: group_width(width, options, lanes) for key, lanes in groups.items()}


def _check_blocks(width: int, options: Mapping[str, Any]) -> None:
    block = int(options.get(BLOCK, width))
    if NARROW in options:
        block = min(block, width)
    if width % block:
        raise ValueError(
            f"a chunk of width {width} has no whole number of blocks of {block}; give a width that "
            "is a multiple of the block."
        )
