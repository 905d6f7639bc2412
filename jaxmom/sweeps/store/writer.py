"""Writer of chunk results into a store, a part for each chunk."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from jaxmom.sweeps.compile.identity import (
    GROUP_WIDTHS,
    Identity,
    IdentityChange,
    collect_provenance,
    diff_identities,
    digest_identity,
    read_versions,
)
from jaxmom.sweeps.compile.outputs import STEP
from jaxmom.sweeps.compile.program import Arrays, TracedGroup
from jaxmom.sweeps.results.checks import read_steps
from jaxmom.sweeps.results.collect import LaneSet
from jaxmom.sweeps.space.groups import group_key
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.store.extensions import (
    Extension,
    part_name,
    read_extensions,
    split_part_name,
)
from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.manifests import HALVING, DamagedManifest, Manifest, read_manifest

# Of a store that was extended before manifests had a copy of the one before them.
_ADVICE = (
    "It describes the sweep before it was extended: make the call of that sweep, which writes it "
    "again, and then says what the store has been extended to; then the last call goes on. Or "
    'start over with resume="fresh".'
)

_LANES = "lanes"  # in a part: the width of its group, if groups have widths of their own

Resume: TypeAlias = Literal["strict", "fresh", "extend"]
OpenFn: TypeAlias = Callable[[Store, Mapping[str, Any]], Any]  # a store -> its Dataset


class Choice(NamedTuple):
    """What decides the bits of a stored sweep, so that the same call without it can go on.

    Attributes:
      width: Lanes at a time.
      options: Of the program, as for `jaxmom.sweep`.
      has_group_widths: Whether small groups have a narrower one; in older stores they do not.
    """

    width: int
    options: Mapping[str, Any]
    has_group_widths: bool


def read_choice(store: Store) -> Choice | None:
    """Return the choice of a stored sweep; None if there is none.

    If a manifest is damaged, a part tells it: the call that mends the manifest needs the width too.

    Args:
      store: The folder.

    Raises:
      ValueError: The sweep was written by a later version of jaxmom.
    """
    try:
        manifests = store.read_manifests()
    except DamagedManifest as error:
        return _choice_of_parts(store, error.extension_index)
    return _choice_of_manifest(manifests[-1]) if manifests else None


def _choice_of_manifest(manifest: Manifest) -> Choice:
    identity = manifest["identity"]
    options = manifest.get("options", identity["options"])
    return Choice(identity["width"], options, GROUP_WIDTHS in identity)


def _choice_of_parts(store: Store, extension_index: int) -> Choice | None:
    """Return the choice of a sweep whose manifest is damaged: of the next one, or of a part."""
    with contextlib.suppress(ValueError):
        return _choice_of_manifest(read_manifest(store.path, extension_index + 1))
    for name in sorted(store.list_parts(extension_index)):
        meta = store.read_meta(extension_index, name)
        if meta is not None and "options" in meta:
            return Choice(meta["width"], meta["options"], _LANES in meta)
    return None


class StoreWriter:
    """A writer that keeps each chunk in a part of a store.

    It begins with finding out whether the store has this sweep, and which chunks are left to run.
    Nothing is written before the first chunk is done, so that a call that fails leaves no trace;
    only a process of a job array writes the manifest at once.

    Args:
      store: A locked folder. If it is locked for a share of a job array, only the chunks of this
        share are verified and run, and those that another process has written are left out.
      traced: The groups of the sweep.
      identity: Of the sweep.
      options: Of the program, as they were given.
      resume: As for `jaxmom.sweep`; "fresh" has been dealt with.
      open_store: Opens the result.

    Attributes:
      lane_sets: The lanes to run, those of all extensions; chunks are numbered within each.
      digests: Of the identities of the sweep and its extensions, which their parts carry.
      known: The number of manifests that are written.

    Raises:
      ValueError: Another sweep is in the store, or one that this one does not extend.
      OSError: Chunks are left to run, and the folder can only be read.
    """

    def __init__(
        self,
        store: Store,
        traced: Sequence[TracedGroup],
        identity: Identity,
        options: Mapping[str, Any],
        resume: Resume,
        open_store: OpenFn,
    ):
        self.store, self.traced, self.open_store = store, traced, open_store
        self._manifest = {"identity": identity, "options": dict(options)}
        manifests = self._read_manifests()
        self.known = len(manifests)
        if not self._holds(manifests, resume):
            manifests = [*manifests, self._manifest]
        extensions = read_extensions(manifests)
        self.digests = [extension.digest for extension in extensions]
        lane_sets = [
            lane_set for extension in extensions for lane_set in self._lane_sets(extension)
        ]
        # Blocks that share a program run one after another.
        self.lane_sets = sorted(lane_sets, key=lambda lane_set: lane_set.group)
        counts = [lane_set.chunks for lane_set in self.lane_sets]
        self._starts = np.cumsum([0, *counts]).tolist()  # the first chunk of each lane set
        self._done = self._verify_parts()
        if store.share is not None:
            self.begin()  # before anything runs, so that all shares are of one sweep
        if any(self.is_left(*key) for key in self._chunks() if key not in self._done):
            store.require_writable()

    @property
    def is_settled(self) -> bool:
        """Whether the manifest is written, so that all chunks have its width."""
        return self.known == len(self.digests)

    def begin(self) -> None:
        """Write the manifest if it is not there; it is never changed again.

        Raises:
          ValueError: Another process has just begun another sweep.
        """
        if not self.is_settled:
            self._add_manifest(self.known)
            # Another process may have been first, and its manifest counts.
            self._holds(self.store.read_manifests(), "strict")
            self.known = len(self.digests)

    def is_left(self, number: int, chunk: int) -> bool:
        """Return whether a chunk that is not done is for this process to compute, as of now.

        Without shares every chunk is. Otherwise it is one of this share that no process with
        another number of shares has written in the meantime.

        Args:
          number: Of the lane set.
          chunk: The number of the chunk in its lane set.
        """
        share = self.store.share
        if share is None:
            return True
        lane_set = self.lane_sets[number]
        name = part_name(lane_set.group_index, chunk)
        is_there = self.store.part_version(lane_set.extension_index, name) is not None
        return share.has(self._starts[number] + chunk) and not is_there

    def done(self) -> dict[tuple[int, int], int]:
        """Return the finished chunks (number of the lane set, index in it) with their lanes."""
        return dict(self._done)

    def count(self) -> int:
        """Return how many chunks would survive the end of the process now."""
        return sum(len(self.store.list_parts(index)) for index in range(self.known))

    def write_chunk(self, number: int, chunk: int, arrays: Arrays) -> None:
        """Write a part, with what its bytes depend on and nothing else.

        Two processes that compute a chunk write the same bytes.

        Args:
          number: Of the lane set.
          chunk: The number of the chunk in its lane set.
          arrays: The outputs with their status, [lanes, ...].
        """
        lane_set = self.lane_sets[number]
        name = part_name(lane_set.group_index, chunk)
        identity = self._manifest["identity"]
        meta = {"sweep": self.digests[lane_set.extension_index], "chunk": name}
        meta |= {"width": identity["width"], "options": self._manifest["options"]}
        if GROUP_WIDTHS in identity:
            meta[_LANES] = lane_set.width
        meta["versions"] = read_versions()
        if lane_set.extension_index:
            meta["extends"] = self.digests[lane_set.extension_index - 1]
        self.store.write_part(lane_set.extension_index, name, arrays, meta)

    def mark_failed(self, number: int, chunk: int, message: str) -> None:
        """Write the error of a chunk, which is tried again by the next call.

        Args:
          number: Of the lane set.
          chunk: The number of the chunk in its lane set.
          message: What the error says.
        """
        lane_set = self.lane_sets[number]
        name = part_name(lane_set.group_index, chunk)
        self.store.write_failure(lane_set.extension_index, name, message)

    def result(self, attrs: dict[str, Any]) -> Any:
        """Return the Dataset or DataTree of the store."""
        return self.open_store(self.store, attrs)

    def _read_manifests(self) -> list[Manifest]:
        """Read the manifests; a damaged one is written again.

        That of a sweep that was extended is copied from the next one. The last one is that of this
        sweep if there are parts of it.

        Raises:
          DamagedManifest: It is neither, or this process is one of a job array, which changes no
            manifest under the others.
        """
        try:
            return self.store.read_manifests()
        except DamagedManifest as error:
            index = error.extension_index
            if self.store.share is not None:
                advice = "Make the same call without part, which mends it, before the parts go on."
                raise DamagedManifest(error.problem, index, advice) from error
            if not self.store.restore_manifest(index):
                if not self._has_parts_of_this(index):
                    if self.store.has_manifest(index + 1):
                        raise DamagedManifest(error.problem, index, _ADVICE) from error
                    raise
                self.store.set_manifest_aside(index)
                self._add_manifest(index)
            return self._read_manifests()

    def _has_parts_of_this(self, extension_index: int) -> bool:
        """Return whether a part carries the digest of this sweep's identity."""
        sweep = digest_identity(self._manifest["identity"])
        names = self.store.list_parts(extension_index)
        metas = (self.store.read_meta(extension_index, name) for name in names)
        return any(meta is not None and meta.get("sweep") == sweep for meta in metas)

    def _add_manifest(self, extension_index: int) -> None:
        """Write the manifest of this sweep, with what a reader needs before there are parts."""
        outputs = {group_key(one.group): one.outputs for one in self.traced}
        steps = {group_key(one.group): _list_steps(one) for one in self.traced}
        more = {"outputs": outputs, "steps": steps, "provenance": collect_provenance()}
        self.store.add_manifest(extension_index, self._manifest | more)

    def _holds(self, manifests: Sequence[Manifest], resume: Resume) -> bool:
        """Return whether the store holds this sweep, and not one that it extends.

        Raises:
          ValueError: It holds a sweep that this one may not extend, or is not to.
        """
        if not manifests:
            return False
        changes = diff_identities(manifests[-1]["identity"], self._manifest["identity"])
        if not changes:
            return True
        may_extend = all(_may_extend(change, changes) for change in changes)
        if resume == "extend" and may_extend:
            return False
        held = "a halving" if HALVING in manifests[-1] else "another sweep"
        hint = ', or resume="extend" to run the new lanes alone' if may_extend else ""
        lines = "\n  ".join(map(str, changes))
        raise ValueError(
            f"the store {self.store.path} holds {held}:\n  {lines}\nChoose another "
            f'store, or resume="fresh" to start over{hint}.'
        )

    def _lane_sets(self, extension: Extension) -> list[LaneSet]:
        """Return the lane sets of an extension, in terms of the lanes and groups of this sweep."""
        groups = {group_key(one.group): number for number, one in enumerate(self.traced)}
        lane_sets = []
        for index, (group, rows, width) in enumerate(
            zip(extension.space.groups(), extension.rows, extension.widths, strict=True)
        ):
            if extension.index_to_last is not None:
                rows = rows._replace(at=_compose(rows.at, extension.index_to_last))
            lane_sets.append(
                LaneSet(extension.extension_index, index, groups[group_key(group)], rows, width)
            )
        return lane_sets

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """Yield all chunks (number of the lane set, index in it)."""
        for number, (start, end) in enumerate(itertools.pairwise(self._starts)):
            yield from ((number, chunk) for chunk in range(end - start))

    def _verify_parts(self) -> dict[tuple[int, int], int]:
        """Read every part of this share; what does not verify is set aside and computed again.

        An extension whose manifest is not there has only the parts that extend the same sweep:
        others were left by another extension of the same space, and have other lanes. All of them
        are looked at, before this process writes the manifest.
        """
        found, share = {}, self.store.share
        numbers = {(b.extension_index, b.group_index): n for n, b in enumerate(self.lane_sets)}
        for extension_index, sweep in enumerate(self.digests):
            is_orphaned = extension_index >= max(self.known, 1)
            for name in sorted(self.store.list_parts(extension_index)):
                group_index, chunk = split_part_name(name)
                number = numbers.get((extension_index, group_index))
                if number is None:
                    continue  # a file of others: this sweep has no such group
                is_mine = share is None or share.has(self._starts[number] + chunk)
                if not (is_mine or is_orphaned):
                    continue
                try:
                    arrays, meta = self.store.read_part(extension_index, name, sweep)
                    if is_orphaned and meta.get("extends") != self.digests[extension_index - 1]:
                        raise Damaged("it extends another sweep")
                except Damaged:
                    self.store.set_aside(extension_index, name)
                    continue
                except FileNotFoundError:
                    continue  # another process has set it aside
                if is_mine:
                    found[number, chunk] = len(arrays["status"])
        return found


def _list_steps(traced: TracedGroup) -> list[int] | None:
    """Return the steps of the records of a group, if they are known before it runs."""
    steps = read_steps(traced) if STEP in traced.outputs else None
    return None if steps is None else steps.tolist()


def _compose(at: Callable[[Index], Index], then: Index) -> Callable[[Index], Index]:
    """Return the map of a group's lanes, followed by a table of indices."""
    return lambda position: then[at(position)]


def _may_extend(change: IdentityChange, changes: Sequence[IdentityChange]) -> bool:
    """Return whether `resume="extend"` may go on in spite of a change.

    It may with more lanes and groups, and with other versions of JAX, which each part records. A
    group may get another name, if a group of a new name has its program.
    """
    if change.kind in ("space", "versions"):
        return True
    if change.kind == "function" and change.new is None:
        return change.old in [other.new for other in changes if other.kind == "function"]
    return change.kind in ("function", "values") and change.old is None
