"""Extensions of a stored sweep: the lanes that each of its manifests adds, and their chunks."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxmom.sweeps.compile.identity import GROUP_WIDTHS, Identity, digest_identity
from jaxmom.sweeps.space.groups import group_key
from jaxmom.sweeps.space.index_maps import Index, IndexMap, ceil_div, select_indices
from jaxmom.sweeps.space.serialize import from_json, hash_lanes
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.manifests import HALVING, Manifest

LaneHashes: TypeAlias = NDArray[np.uint64]  # [lanes, 2]


class Chunk(NamedTuple):
    """A chunk of an extension.

    Attributes:
      group_index: The number of its group in the manifest.
      chunk: Its number in the group.
      lanes: How many it has: the width of its group, or fewer in the last chunk of a group.
    """

    group_index: int
    chunk: int
    lanes: int

    @property
    def name(self) -> str:
        """The name of its part."""
        return part_name(self.group_index, self.chunk)


class Extension(NamedTuple):
    """The lanes that one manifest adds, and where they lie in the last space.

    The first manifest is an extension of nothing. A result has the lanes of the last space, and
    reads each of them from the extension that ran it.

    Attributes:
      extension_index: The number of the manifest.
      digest: Of the identity, which its parts carry.
      width: Of the sweep.
      widths: Of each group of the space: the lanes in its chunks but the last one.
      space: All lanes of its sweep, old and new.
      rows: For each group of the space, its new lanes.
      index_from_last: Index in the last space -> index in this one, or -1; None if this is the
        last one.
      index_to_last: Index in this space -> index in the last one; None if this is the last one.
    """

    extension_index: int
    digest: str
    width: int
    widths: list[int]
    space: Space
    rows: list[IndexMap]
    index_from_last: Index | None = None
    index_to_last: Index | None = None

    def chunks(self) -> list[Chunk]:
        """Return all chunks, done or not."""
        return [
            Chunk(number, index, min(width, rows.size - index * width))
            for number, (rows, width) in enumerate(zip(self.rows, self.widths, strict=True))
            for index in range(ceil_div(rows.size, width))
        ]


def part_name(group_index: int, chunk: int) -> str:
    """Return the name of the part of a chunk.

    Args:
      group_index: The number of its group in the manifest.
      chunk: Its number in the group.

    Example:
      >>> part_name(1, 12), split_part_name("1-12")
      ('1-12', (1, 12))
    """
    return f"{group_index}-{chunk}"


def split_part_name(name: str) -> tuple[int, int]:
    """Return the group and the chunk of a part."""
    group_index, _, chunk = name.partition("-")
    return int(group_index), int(chunk)


def read_extensions(manifests: Sequence[Manifest]) -> list[Extension]:
    """Return what each manifest adds to those before it.

    Lanes of two spaces are the same if all their arguments are, by the hashes of `hash_lanes`.

    Args:
      manifests: All of a store, in their order.

    Raises:
      ValueError: An extension lacks lanes of what it extends, or this is not a sweep.
    """
    if any(HALVING in manifest for manifest in manifests):
        raise ValueError(
            "this is the store of a halving, which has no result before its end; the same call of "
            "jm.halving goes on with it."
        )
    identities = [manifest["identity"] for manifest in manifests]
    extensions = [_whole_sweep(number, identity) for number, identity in enumerate(identities)]
    if len(extensions) == 1:
        return extensions
    hashes = [
        hash_lanes(extension.space, identity["labels"])
        for extension, identity in zip(extensions, identities, strict=True)
    ]
    return [_locate(extension, hashes) for extension in extensions]


def _whole_sweep(extension_index: int, identity: Identity) -> Extension:
    """Return an extension with all lanes of its space, as if it were the first."""
    space, width = from_json(identity["space"]), identity["width"]
    groups, known = space.groups(), identity.get(GROUP_WIDTHS)
    widths = [width if known is None else known[group_key(group)] for group in groups]
    digest, rows = digest_identity(identity), [group.rows for group in groups]
    return Extension(extension_index, digest, width, widths, space, rows)


def _locate(extension: Extension, hashes: Sequence[LaneHashes]) -> Extension:
    """Leave the new lanes only, and find the places of all lanes in the last space."""
    number, rows = extension.extension_index, extension.rows
    if number:
        before = hashes[number - 1]
        _check_contains(hashes[number], before)
        is_old = _positions(hashes[number], before) >= 0
        indices = [one.at(np.arange(one.size)) for one in rows]
        rows = [select_indices(lanes[~is_old[lanes]]) for lanes in indices]
    if number + 1 == len(hashes):
        return extension._replace(rows=rows)
    here, last = hashes[number], hashes[-1]
    return extension._replace(
        rows=rows, index_from_last=_positions(last, here), index_to_last=_positions(here, last)
    )


def _check_contains(new: LaneHashes, old: LaneHashes) -> None:
    """Refuse an extension without some of the lanes that are there: what would become of them?"""
    lost = np.flatnonzero(_positions(old, new) < 0)
    if len(lost):
        raise ValueError(
            f"the new space lacks {len(lost)} lanes of the old one (the first is lane {lost[0]}), "
            'so it does not extend it; use a new store, or resume="fresh" to start over.'
        )


def _positions(wanted: LaneHashes, known: LaneHashes) -> Index:
    """Return the place of each hash among the known ones, or -1.

    The first words are sorted, which is fast; the second ones tell whether two lanes share one.
    """
    order = np.argsort(known[:, 0])
    first, second = known[order].T
    place = np.searchsorted(first, wanted[:, 0]).clip(max=len(known) - 1)
    is_known = first[place] == wanted[:, 0]
    clash = (first[1:] == first[:-1]) & (second[1:] != second[:-1])
    if clash.any() or (is_known & (second[place] != wanted[:, 1])).any():
        raise RuntimeError("two lanes have the same hash of 64 bits; use a new store.")
    return np.where(is_known, order[place], -1)
