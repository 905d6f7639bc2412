"""Checkpoints of a halving in a store: its arrays after the last segment that verifies."""

from jaxmom.sweeps.compile.identity import (
    Identity,
    collect_provenance,
    diff_identities,
    digest_identity,
)
from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.store.extensions import part_name, split_part_name
from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.manifests import HALVING, DamagedManifest, Manifest

_ADVICE = (
    "The same call of jm.halving writes it again if a segment of that halving is there; else "
    "choose another store."
)


class Checkpoint:
    """A store with one part, which each segment replaces.

    Args:
      store: A locked folder.
      identity: Of the halving.

    Raises:
      ValueError: The store holds something else, or its manifest is damaged.
    """

    def __init__(self, store: Store, identity: Identity):
        self.store, self.digest = store, digest_identity(identity)
        manifests = self._read_manifests()
        if not manifests:
            manifest = {"identity": identity, HALVING: True, "provenance": collect_provenance()}
            store.add_manifest(0, manifest)
            return
        changes = list(map(str, diff_identities(manifests[0]["identity"], identity)))
        if HALVING not in manifests[0]:
            changes.insert(0, "it is a sweep, and no halving")
        if changes:
            lines = "\n  ".join(changes)
            raise ValueError(
                f"the store {store.path} holds something else:\n  {lines}\nChoose another store."
            )

    def load(self) -> tuple[int, Arrays]:
        """Return how many segments are done, and the arrays after the last of them.

        Files that do not verify are set aside, and the segment before counts, if it is there: the
        one that is replaced is deleted last.
        """
        numbers = (split_part_name(name)[1] for name in self.store.list_parts(0))
        for number in sorted(numbers, reverse=True):
            name = part_name(0, number)
            try:
                return number, self.store.read_part(0, name, self.digest)[0]
            except Damaged:
                self.store.set_aside(0, name)
        return 0, {}

    def save(self, number: int, arrays: Arrays) -> None:
        """Keep the arrays after a number of segments, and then no earlier ones.

        Args:
          number: How many segments are done.
          arrays: All that the next one needs, and the result so far.
        """
        name = part_name(0, number)
        self.store.write_part(0, name, arrays, {"sweep": self.digest, "chunk": name})
        for other in self.store.list_parts(0):
            if split_part_name(other)[1] < number:
                self.store.remove_part(0, other)

    def _read_manifests(self) -> list[Manifest]:
        """Read the manifest; a damaged one that described this halving is to be written again."""
        try:
            return self.store.read_manifests()
        except DamagedManifest as error:
            metas = (self.store.read_meta(0, name) for name in self.store.list_parts(0))
            if not any(meta is not None and meta.get("sweep") == self.digest for meta in metas):
                raise DamagedManifest(error.problem, error.extension_index, _ADVICE) from error
            self.store.set_manifest_aside(0)
            return []
