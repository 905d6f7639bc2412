"""Writer of chunk results into a store, a part for each chunk."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxmom.sweeps.compile.identity import Identity, collect_provenance, difference
from jaxmom.sweeps.compile.program import Arrays, TracedGroup
from jaxmom.sweeps.results.collect import Block
from jaxmom.sweeps.space.components import group_key
from jaxmom.sweeps.space.index_maps import Index
from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.reader import Extension, layers, opened


class StoreWriter:
    """A part of a store for each chunk."""

    def __init__(self, store: Store, lanes: Sequence[TracedGroup]):
        self.store, self.lanes = store, lanes
        self.blocks = [Block(0, n, n, group.group.rows) for n, group in enumerate(lanes)]
        self.digests: list[str] = []
        self.known = 0  # the number of manifests that are written

    def settle(self, identity: Identity, resume: str) -> None:
        """Find out whether this sweep is in the store, and what is to be run.

        Raises:
          ValueError: Another sweep is in the store, or one that this one does not extend.
        """
        manifests = self.store.manifests()
        self.known = len(manifests)
        changes = difference(manifests[-1]["identity"], identity) if manifests else []
        if changes and (resume != "extend" or not all(map(_extends, changes))):
            hint = ' or resume="extend"' if all(map(_extends, changes)) else ""
            told = "\n  ".join(changes)
            raise ValueError(
                f"the store {self.store.path} holds another sweep:\n  {told}\nChoose another "
                f'store, or resume="fresh" to start over{hint}.'
            )
        if changes or not manifests:
            manifests = [*manifests, {"identity": identity}]
        found = layers(manifests)
        self.digests = [layer.digest for layer in found]
        self.blocks = [block for layer in found for block in self._blocks(layer)]
        self.blocks.sort(key=lambda block: block.group)  # what has one program, one after another

    def begin(self, identity: Callable[[], Identity]) -> None:
        """Write the manifest, which is never changed again."""
        if self.known < len(self.digests):
            outputs = {group_key(g.group): g.outputs for g in self.lanes}
            manifest = {
                "identity": identity(),
                "outputs": outputs,
                "provenance": collect_provenance(),
            }
            self.store.add_manifest(self.known, manifest)
            self.known = len(self.digests)

    def done(self) -> dict[tuple[int, int], int]:
        """Read every part; what does not verify is set aside and computed again."""
        found = {}
        numbers = {
            (b.extension_index, b.group_index): number for number, b in enumerate(self.blocks)
        }
        for generation, sweep in enumerate(self.digests[: self.known]):
            for name in self.store.parts(generation):
                try:
                    arrays, _ = self.store.read_part(generation, name, sweep)
                except Damaged:
                    self.store.set_aside(generation, name)
                    continue
                own, chunk = map(int, name.split("-"))
                found[numbers[generation, own], chunk] = len(arrays["status"])
        return found

    def count(self) -> int:
        """The parts that are there."""
        return sum(len(self.store.parts(generation)) for generation in range(self.known))

    def write_chunk(self, number: int, chunk: int, width: int, arrays: Arrays) -> None:
        """Write a part."""
        block = self.blocks[number]
        name = f"{block.group_index}-{chunk}"
        meta = {"sweep": self.digests[block.extension_index], "chunk": name}
        self.store.write_part(block.extension_index, name, arrays, meta)

    def mark_failed(self, number: int, chunk: int, width: int, message: str) -> None:
        """Write what happened."""
        block = self.blocks[number]
        self.store.write_failure(block.extension_index, f"{block.group_index}-{chunk}", message)

    def result(self, attrs: dict[str, Any]) -> Any:
        """As `open_sweep`."""
        return opened(self.store, attrs)

    def _blocks(self, layer: Extension) -> list[Block]:
        """The blocks of a manifest, in terms of the lanes of this sweep."""
        groups = {group_key(group.group): n for n, group in enumerate(self.lanes)}
        blocks = []
        for own, (group, rows) in enumerate(zip(layer.space.groups(), layer.rows, strict=True)):
            if layer.target is not None:
                rows = rows._replace(at=_then(rows.at, layer.target))
            blocks.append(Block(layer.generation, own, groups[group_key(group)], rows))
        return blocks


def _then(at: Callable[[Index], Index], target: Index) -> Callable[[Index], Index]:
    return lambda position: target[at(position)]


def _extends(change: str) -> bool:
    """Whether a change is one that an extension may have."""
    added = change.partition(": ")[2].startswith("was (nothing)")
    return change.startswith("space") or (added and change.startswith(("function", "values")))
