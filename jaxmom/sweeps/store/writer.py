"""Where the results of chunks go: into memory, or into a store."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxmom.sweeps.compile.autotune import available_memory
from jaxmom.sweeps.compile.identity import Identity, difference, provenance
from jaxmom.sweeps.compile.program import Arrays, TracedGroup
from jaxmom.sweeps.results.dataset import FAILED, DatasetLayout, assemble, frames, missing
from jaxmom.sweeps.space.components import Index, IndexMap
from jaxmom.sweeps.space.space import Space
from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.reader import Extension, label_key, layers, opened


class Block(NamedTuple):
    """Lanes of one group that are divided into chunks."""

    generation: int  # of the manifest that has them, see `jaxmom.sweep.store`
    own: int  # the number of their group in that manifest
    group: int  # and in this sweep
    rows: IndexMap


class ResultWriter(Protocol):
    """Takes the results of chunks; `number` is that of a block."""

    blocks: list[Block]

    def begin(self, identity: Identity) -> None:
        """Say what the sweep is, before the first chunk."""
        ...

    def done(self) -> dict[tuple[int, int], int]:
        """The chunks (number of the block, own number) that are there, with their lanes."""
        ...

    def count(self) -> int:
        """How many chunks would survive the end of the process now."""
        ...

    def put(self, number: int, chunk: int, width: int, arrays: Arrays) -> None:
        """Keep the lanes of a chunk."""
        ...

    def fail(self, number: int, chunk: int, width: int, message: str) -> None:
        """Keep that a chunk failed."""
        ...

    def result(self, attrs: dict[str, Any]) -> Any:
        """The Dataset or DataTree of all that is there."""
        ...


class InMemoryResults:
    """The whole result in the memory of the host."""

    def __init__(self, space: Space, lanes: Sequence[TracedGroup]):
        groups = [group.group for group in lanes]
        self.blocks = [Block(0, n, n, group.rows) for n, group in enumerate(groups)]
        self.frames = frames(space, groups, [group.outputs for group in lanes])
        self.failed: dict[str, str] = {}
        self.steps: dict[str, Any] = {}
        needed, free = sum(map(_frame_bytes, self.frames)), available_memory()
        if needed > free:
            raise MemoryError(
                f"the result needs {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free; give "
                "store=folder, and the result is read from there as it is used."
            )
        self.arrays = {
            frame.name: {
                name: missing(output, (math.prod(frame.shape),))
                for name, output in frame.outputs.items()
                if name != "step"
            }
            for frame in self.frames
        }

    def begin(self, identity: Identity) -> None:
        """Nothing to write down."""

    def done(self) -> dict[tuple[int, int], int]:
        """Nothing is, at the beginning."""
        return {}

    def count(self) -> int:
        """None."""
        return 0

    def put(self, number: int, chunk: int, width: int, arrays: Arrays) -> None:
        """Put the lanes in their places."""
        frame, places = self._places(number, chunk, width)
        arrays = dict(arrays)
        steps = arrays.pop("step", None)
        if steps is not None:
            known = self.steps.setdefault(frame.name, steps)
            if not np.array_equal(known, steps):
                raise ValueError(
                    "two groups have records of the same number at different steps, which have no "
                    "common coordinate; sweep them apart, or return a dict of arrays."
                )
        for name, array in arrays.items():
            self.arrays[frame.name][name][places] = array

    def fail(self, number: int, chunk: int, width: int, message: str) -> None:
        """Mark the lanes."""
        frame, places = self._places(number, chunk, width)
        self.arrays[frame.name]["status"][places] = FAILED
        self.failed[f"{number}-{chunk}"] = message

    def result(self, attrs: dict[str, Any]) -> Any:
        """Name the arrays."""

        def variable(frame: DatasetLayout, name: str) -> Any:
            array = self.arrays[frame.name][name]
            return array.reshape(*frame.shape, *array.shape[1:])

        def steps(frame: DatasetLayout) -> Any:
            size = frame.outputs["step"].shape[0]
            return self.steps.get(frame.name, np.arange(size))

        told = {"failed": self.failed} if self.failed else {}
        return assemble(self.frames, variable, steps, attrs | provenance() | told)

    def _places(self, number: int, chunk: int, width: int) -> tuple[DatasetLayout, Any]:
        frame = next(frame for frame in self.frames if number in frame.members)
        rows = frame.members[number]
        positions = np.arange(chunk * width, min((chunk + 1) * width, rows.size))
        return frame, rows.at(positions)


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

    def begin(self, identity: Identity) -> None:
        """Write the manifest, which is never changed again."""
        if self.known < len(self.digests):
            outputs = {label_key(g.group.labels): g.outputs for g in self.lanes}
            manifest = {"identity": identity, "outputs": outputs, "provenance": provenance()}
            self.store.add_manifest(self.known, manifest)
            self.known = len(self.digests)

    def done(self) -> dict[tuple[int, int], int]:
        """Read every part; what does not verify is set aside and computed again."""
        found = {}
        numbers = {(b.generation, b.own): number for number, b in enumerate(self.blocks)}
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

    def put(self, number: int, chunk: int, width: int, arrays: Arrays) -> None:
        """Write a part."""
        block = self.blocks[number]
        name = f"{block.own}-{chunk}"
        meta = {"sweep": self.digests[block.generation], "chunk": name}
        self.store.write_part(block.generation, name, arrays, meta)

    def fail(self, number: int, chunk: int, width: int, message: str) -> None:
        """Write what happened."""
        block = self.blocks[number]
        self.store.write_failure(block.generation, f"{block.own}-{chunk}", message)

    def result(self, attrs: dict[str, Any]) -> Any:
        """As `open_sweep`."""
        return opened(self.store, attrs)

    def _blocks(self, layer: Extension) -> list[Block]:
        """The blocks of a manifest, in terms of the lanes of this sweep."""
        groups = {label_key(group.group.labels): n for n, group in enumerate(self.lanes)}
        blocks = []
        for own, (group, rows) in enumerate(zip(layer.space.groups(), layer.rows, strict=True)):
            if layer.target is not None:
                rows = rows._replace(at=_then(rows.at, layer.target))
            blocks.append(Block(layer.generation, own, groups[label_key(group.labels)], rows))
        return blocks


def _then(at: Callable[[Index], Index], target: Index) -> Callable[[Index], Index]:
    return lambda position: target[at(position)]


def _extends(change: str) -> bool:
    """Whether a change is one that an extension may have."""
    added = change.partition(": ")[2].startswith("was (nothing)")
    return change.startswith("space") or (added and change.startswith(("function", "values")))


def _frame_bytes(frame: DatasetLayout) -> int:
    lanes = math.prod(frame.shape)
    sizes = (np.dtype(o.dtype).itemsize * math.prod(o.shape) for o in frame.outputs.values())
    return lanes * sum(sizes)
