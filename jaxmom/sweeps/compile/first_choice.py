"""Where a search starts, by the work of a lane, and the programs that it tries besides.

Nothing here compiles or runs. What a processor does best was measured once, and is in the table
below: small elementwise steps like many lanes, which stand last; products of matrices like so few
lanes that their parameters stay in the cache, and large ones a lane at a time, in turn; the others
are in between.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from jaxmom.sweeps.compile.batching import BLOCK, IN_TURN, LANES_LAST, OPTIONS
from jaxmom.sweeps.compile.choices import Choice
from jaxmom.sweeps.compile.work import Work
from jaxmom.sweeps.space.index_maps import ceil_div

# XLA:CPU cuts even small loops into tasks for its threads; where a step consists of many tiny
# kernels, lanes run up to six times as fast without that pass.
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
# Vectors as wide as the processor has them, where XLA:CPU takes no more than 256 bits: up to 1.4
# times as fast where a step is elementwise. Products of a matrix and a vector may then add up in
# another order.
WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}
# At its highest level LLVM moves a test out of its loop, which makes two copies of the loop,
# neither with vectors. At the level below, steps that test something (whether a lane has
# diverged, or has ended) run up to 2.4 times as fast, and programs compile in two thirds of the
# time. Convolutions need the highest level: they are loops of XLA's own.
MODERATE = {"xla_backend_optimization_level": 2}

# A lane whose loops work on more bytes than this, or than the second number where products of
# matrices dominate, gains nothing from others beside it, which take the cache from it. Operations
# that take fewer seconds than this on average take longer to start than to do, so they are started
# for many lanes at once. Where more than this share of the work is the same in all lanes, lanes
# side by side do it once.
_LARGE_LANE, _LARGE_PRODUCTS, _SMALL_OPERATION, _SHARED = 2**20, 2**18, 5e-8, 0.1

_SHORT_CHUNK, _FUSED_CHUNK = 0.02, 0.1  # seconds: chunks below the first are fused up to the second
_CHUNKS_LEFT = 32  # at least, of fused ones: progress is seen, and `explain` may run one
_TURNS_LEFT = 8  # chunks of lanes in turn on each device, at least; each is a file in a store
_EVEN = 8  # wider chunks are a multiple of so many lanes, which vector units like

# For each kind of program the bytes that the loops of a chunk carry, at best, and the narrowest
# and the widest chunk. On CPUs these bytes fit into a cache: the first one where lanes are last,
# the shared one where products of matrices reuse what they have read. There, two results of the
# size of the largest one count too, which are read again as soon as they are written. A GPU gains
# from every further lane: a step of a loop is a few launches, however many lanes there are.
_WIDTHS = {
    ("cpu", "last"): (3 * 2**13, 128, 2048),
    ("cpu", "products"): (5 * 2**20, 2, 32),
    ("cpu", "convolutions"): (5 * 2**20, 2, 8),  # which XLA turns into one of many groups
    ("cpu", "other"): (2**20, 16, 256),
    ("other", "last"): (2**33, 4096, 2**20),
    ("other", "products"): (2**32, 64, 8192),
    ("other", "convolutions"): (2**28, 16, 4096),
    ("other", "other"): (2**33, 4096, 2**20),
}


def fit_choice(choice: Choice, lanes: int) -> Choice:
    """Return a choice for so many lanes on each device: no wider, and with even chunks.

    Args:
      choice: A width and program.
      lanes: On each device.

    Example:
      >>> fit_choice(Choice(512, {}), 1000)
      Choice(width=504, options={})
    """
    width, options = min(choice.width, lanes), dict(choice.options)
    if BLOCK in options and options[BLOCK] >= width:
        del options[BLOCK]
    even = ceil_div(lanes, ceil_div(lanes, width))
    if BLOCK in options:
        block = int(options[BLOCK])
        most = max(choice.width // block, 1) * block
        return Choice(min(ceil_div(even, block) * block, most), options)
    rounded = ceil_div(even, _EVEN) * _EVEN
    return Choice(rounded if even >= 4 * _EVEN and rounded <= width else even, options)


def default_options(devices: Sequence[Any]) -> Mapping[str, Any]:
    """Return the options for a width that is given: those that change no bits.

    Args:
      devices: To run on, all of one kind.
    """
    return UNDIVIDED if devices[0].platform == "cpu" else {}


def likely_options(work: Work, devices: Sequence[Any]) -> Mapping[str, Any]:
    """Return the options to start with.

    On a CPU that uses all of its cores for one program, loops between products of matrices are
    worth dividing among them; elsewhere they are not divided.

    Args:
      work: Of one lane.
      devices: To run on, all of one kind.
    """
    if devices[0].platform != "cpu":
        return {}
    is_divided = work.is_products and len(devices) == 1
    options = WIDE_VECTORS if is_divided else {**WIDE_VECTORS, **UNDIVIDED}
    return options if work.has_convolution else {**options, **MODERATE}


def suits_turns(work: Work, devices: Sequence[Any], shared: float, is_confined: bool) -> bool:
    """Return whether lanes had better run one after the other, without an axis of lanes.

    That is so on a CPU where lanes are large, would be confined side by side, or have convolutions,
    of which XLA makes slow ones of many groups if each lane has a kernel of its own. It is not so
    where operations are small, or much of the work is the same in all lanes.

    Args:
      work: Of one lane.
      devices: To run on, all of one kind.
      shared: Which share of the work is the same in all lanes.
      is_confined: Whether lanes side by side would have to share one of several devices or
        threads, and lanes in turn would not.
    """
    is_cpu = devices[0].platform == "cpu"
    if not is_cpu or shared > _SHARED or _has_small_operations(work):
        return False
    used = work.loop_bytes or 2 * work.written_bytes
    is_large = used > (_LARGE_PRODUCTS if work.is_products else _LARGE_LANE)
    return is_large or work.has_convolution or is_confined


def _has_small_operations(work: Work) -> bool:
    return work.seconds < _SMALL_OPERATION * work.calls


def widen(choice: Choice, factor: float) -> Choice:
    """Return a choice with chunks wider by a factor, or blocks if it has blocks.

    Args:
      choice: A width and program.
      factor: Below 1 for narrower ones, of one lane at least.

    Example:
      >>> widen(Choice(12, {}), 4), widen(Choice(1024, {"block": 128}), 0.25)
      (Choice(width=48, options={}), Choice(width=1024, options={'block': 32}))
    """
    if BLOCK not in choice.options:
        return Choice(max(int(choice.width * factor), 1), choice.options)
    block = max(int(choice.options[BLOCK] * factor), 1)
    return Choice(ceil_div(choice.width, block) * block, {**choice.options, BLOCK: block})


def fuse_short_chunks(
    width: int, options: Mapping[str, Any], lane_seconds: float, lanes: int
) -> Choice:
    """Let short chunks run in turn as one, so that little time is spent between them.

    Args:
      width: Of a chunk, which becomes a block of the fused one, unless its lanes run in turn.
      options: Of the program.
      lane_seconds: Of one lane, as they are counted.
      lanes: On each device.
    """
    seconds = max(width * lane_seconds, 1e-9)
    wanted = math.ceil(_FUSED_CHUNK / seconds)
    if IN_TURN in options:
        return Choice(max(min(wanted, lanes // _TURNS_LEFT), 1), options)
    fused = min(wanted, lanes // (_CHUNKS_LEFT * width))
    if BLOCK in options or seconds > _SHORT_CHUNK or fused < 2:
        return Choice(width, options)
    return Choice(width * fused, {**options, BLOCK: width})


def first_width(work: Work, options: Mapping[str, Any], devices: Sequence[Any]) -> int:
    """Return the width at which the loops of a chunk carry as much as suits the program.

    Args:
      work: Of one lane.
      options: Of the program; with blocks, the width is that of a block.
      devices: To run on, all of one kind.
    """
    if BLOCK in options or IN_TURN in options:
        return int(options.get(BLOCK, 1))
    kind = "products" if work.is_products else "other"
    kind = "convolutions" if work.has_convolution else kind
    kind = "last" if LANES_LAST in options else kind
    platform = "cpu" if devices[0].platform == "cpu" else "other"
    carried, narrowest, widest = _WIDTHS[platform, kind]
    used = work.loop_bytes if work.is_products else work.carried_bytes
    width = 2 ** int(math.log2(max(carried / max(used, 1), 1)))
    return min(max(width, narrowest), widest)


def other_programs(choice: Choice, work: Work, devices: Sequence[Any]) -> Iterator[Choice]:
    """Yield other programs of the same lanes, the likeliest first.

    Args:
      choice: The fastest so far.
      work: Of one lane.
      devices: To run on, all of one kind.
    """
    width, options = choice
    if LANES_LAST in options:
        yield Choice(width, {**options, LANES_LAST: 4})
        yield Choice(width, _leave_out(options, [LANES_LAST]))
    if devices[0].platform != "cpu":
        return
    if IN_TURN in options:
        batched = _leave_out(options, [IN_TURN])
        yield Choice(first_width(work, batched, devices), batched)
    elif not _has_small_operations(work):
        yield Choice(width, {**_leave_out(options, [LANES_LAST, BLOCK]), IN_TURN: True})
    is_undivided = UNDIVIDED.items() <= options.items()
    yield Choice(
        width, _leave_out(options, UNDIVIDED) if is_undivided else {**options, **UNDIVIDED}
    )
    yield Choice(width, {name: value for name, value in options.items() if name in OPTIONS})


def _leave_out(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
