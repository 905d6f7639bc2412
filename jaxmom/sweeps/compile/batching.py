"""How the lanes of a chunk run: side by side, side by side in blocks, or in turn, one by one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax

from jaxmom.sweeps.compile.lane_checks import Arguments
from jaxmom.sweeps.compile.lanes_last import lanes_last
from jaxmom.sweeps.compile.outputs import STEP, PyTree
from jaxmom.sweeps.space.index_maps import ceil_div

# Options of ours, not of the compiler; the docstring of `jaxmom.sweep` describes them.
LANES_LAST, BLOCK, NARROW, IN_TURN = "lanes_last", "block", "narrow", "in_turn"
OPTIONS = (LANES_LAST, BLOCK, NARROW, IN_TURN)

Outputs: TypeAlias = dict[str, jax.Array]
# ``call(data, arguments) -> outputs``, of one lane or of several.
CallFn: TypeAlias = Callable[[PyTree, Arguments], Outputs]


def chunk_width(width: int, options: Mapping[str, Any], lanes: int) -> int:
    """Return the width of the program that runs a chunk of so many lanes.

    That is the width of the group, and the chunk is filled up. With the option ``narrow``, the
    width is halved so many times at most, and as often as there is room for the lanes.

    Args:
      width: Of the group.
      options: Of the sweep.
      lanes: Of the chunk, not more than the width.

    Example:
      >>> [chunk_width(512, {"narrow": 9}, lanes) for lanes in (512, 300, 256, 3, 1)]
      [512, 512, 256, 4, 1]
      >>> chunk_width(512, {"narrow": 9, "block": 128}, 140), chunk_width(512, {}, 1)
      (256, 512)
    """
    block = int(options.get(BLOCK, 1))
    for _ in range(int(options.get(NARROW, 0))):
        step = block if width > block else 1
        half = ceil_div(ceil_div(width, 2), step) * step
        if half < lanes or half == width:
            break
        width = half
    return width


def batch_lanes(
    call: CallFn,
    lane: tuple[PyTree, Arguments],
    names: Sequence[str],
    width: int,
    options: Mapping[str, Any],
) -> CallFn:
    """Return ``call(data, columns) -> outputs`` for the lanes of one chunk.

    Columns and outputs have the lanes as their first axis, but for ``step``, which all lanes share.

    Args:
      call: Of one lane.
      lane: What it is called with, or the shapes and dtypes.
      names: Of its outputs.
      width: Of the chunk.
      options: Of the sweep.

    Raises:
      ValueError: The width is not a multiple of the block.
      UnsupportedPrimitive: When what is returned is called: lanes are to be last in a program that
        has no rule for it.
    """
    out_axes: dict[str, int | None] = {name: None if name == STEP else 0 for name in names}
    if IN_TURN in options:
        return lambda data, columns: _call_in_turn(call, data, columns, width, out_axes)
    block = min(int(options.get(BLOCK, width)), width)  # a small group is narrower than a block
    if width % block:
        raise ValueError(f"a chunk of width {width} has no whole number of blocks of {block}.")
    if LANES_LAST in options:
        batched = lanes_last(call, *lane, out_axes, block, int(options[LANES_LAST]))
    else:
        batched = jax.vmap(call, in_axes=(None, 0), out_axes=out_axes, axis_size=block)
    if block == width:
        return batched

    def call_blocks(data: PyTree, columns: Arguments) -> Outputs:
        blocks = jax.tree.map(lambda x: x.reshape(-1, block, *x.shape[1:]), columns)
        outputs = _call_in_turn(batched, data, blocks, width // block, out_axes)
        return {
            name: x if out_axes[name] is None else x.reshape(width, *x.shape[2:])
            for name, x in outputs.items()
        }

    return call_blocks


def _call_in_turn(
    call: CallFn,
    data: PyTree,
    columns: Arguments,
    turns: int,
    out_axes: Mapping[str, int | None],
) -> Outputs:
    """Return the outputs of a call for each row of columns, one after the other."""
    _, outputs = jax.lax.scan(lambda _, x: (None, call(data, x)), None, columns, length=turns)
    return {name: x[0] if out_axes[name] is None else x for name, x in outputs.items()}
