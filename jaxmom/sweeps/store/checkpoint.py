"""Where a halving is after a segment, in a folder: the last part that verifies counts."""

from jaxmom.sweeps.compile.identity import (
    Identity,
    collect_provenance,
    diff_identities,
    digest_identity,
)
from jaxmom.sweeps.compile.program import Arrays
from jaxmom.sweeps.store.files import HALVING, Damaged, Store


class Checkpoint:
    """A store with one part, which each segment replaces.

    Raises:
      ValueError: The store holds something else.
    """

    def __init__(self, store: Store, identity: Identity):
        self.store, self.digest = store, digest_identity(identity)
        manifests = store.manifests()
        if not manifests:
            told = {"identity": identity, HALVING: True, "provenance": collect_provenance()}
            store.add_manifest(0, told)
            return
        changes = [str(change) for change in diff_identities(manifests[0]["identity"], identity)]
        if changes or HALVING not in manifests[0]:
            told = "\n  ".join(changes)
            raise ValueError(
                f"the store {store.path} holds something else:\n  {told}\nChoose another store."
            )

    def load(self) -> tuple[int, Arrays]:
        """How many segments are done, and the arrays after the last of them."""
        for number in sorted(map(_number, self.store.parts(0)), reverse=True):
            try:
                return number, self.store.read_part(0, _name(number), self.digest)[0]
            except Damaged:
                self.store.set_aside(0, _name(number))
        return 0, {}

    def save(self, number: int, arrays: Arrays) -> None:
        """Keep the arrays after so many segments, and then no earlier ones."""
        meta = {"sweep": self.digest, "chunk": _name(number)}
        self.store.write_part(0, _name(number), arrays, meta)
        for other in map(_number, self.store.parts(0)):
            if other < number:
                self.store.remove_part(0, _name(other))


def _name(number: int) -> str:
    return f"0-{number}"


def _number(name: str) -> int:
    return int(name.partition("-")[2])
