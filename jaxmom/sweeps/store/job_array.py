"""Shares of a job array: which chunks of a sweep each of n independent processes computes."""

from typing import Any, NamedTuple

from jaxmom.sweeps.space.index_maps import as_index


class Share(NamedTuple):
    """The chunks that one of several processes computes, ``part=(process, processes)``.

    Attributes:
      process: From 0 to processes - 1.
      processes: How many the chunks are dealt out to.
    """

    process: int
    processes: int

    @property
    def name(self) -> str:
        """The name of its lock, and the end of its temporary files."""
        return f"{self.process}-{self.processes}"

    def has(self, number: int) -> bool:
        """Return whether a chunk is in it; chunks are numbered through all groups.

        They are dealt out in turn, so that lanes that take long, which often lie beside each other,
        are in all shares.
        """
        return number % self.processes == self.process


def as_share(part: Any, store: Any, resume: str) -> Share | None:
    """Return the share that ``part=(i, n)`` means; None for the whole sweep.

    Args:
      part: As for `jaxmom.sweep`.
      store: As for `jaxmom.sweep`.
      resume: As for `jaxmom.sweep`.

    Raises:
      ValueError: It is not such a pair, there is no store that it needs, or the store is to be
        deleted.

    Example:
      >>> as_share((2, 8), "runs", "strict")
      Share(process=2, processes=8)
    """
    if store is None and resume != "strict":
        raise ValueError(f"resume={resume!r} is about the sweep in a folder: give store= too.")
    if part is None:
        return None
    try:
        process, processes = map(as_index, part)
    except (TypeError, ValueError):
        process, processes = 0, 0
    if not 0 <= process < processes:
        raise ValueError(
            f"part is (i, n), this process and how many there are, with 0 <= i < n, as in part=(0, "
            f"8); got {part!r}."
        )
    if store is None:
        raise ValueError(
            f"part=({process}, {processes}) needs store=, the folder that all processes write to."
        )
    if resume == "fresh":
        raise ValueError(
            'resume="fresh" would delete what other parts have done; delete the folder, or make '
            'one call with resume="fresh" and without part before the parts begin.'
        )
    return Share(process, processes)


def require_width(width: Any, stored: Any, share: Share | None) -> None:
    """Refuse to search for a width in a share, as each would find another one.

    Args:
      width: As for `jaxmom.sweep`.
      stored: The choice of the sweep in the store, None if there is none yet.
      share: Of this process.

    Raises:
      ValueError: There is no common width.
    """
    if share is not None and width == "auto" and stored is None:
        raise ValueError(
            "all parts of a sweep run at one width, and each would find another one; give width=, "
            "a number such as print(jm.explain(fn, space)) shows."
        )
