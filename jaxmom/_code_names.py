"""The names that a code object reads and writes, and whether its file is the user's own."""

import dis
import functools
import sysconfig
import types
from typing import NamedTuple

_INSTALLED = ("site-packages", "dist-packages", "<frozen", sysconfig.get_paths()["stdlib"])
_MUTATORS = frozenset({"append", "extend", "insert", "pop", "add", "update", "setdefault"})


class Names(NamedTuple):
    """What a code reads and writes, the codes of the functions within it included."""

    variables: frozenset[str]  # globals that it reads
    attributes: frozenset[str]  # attributes and methods that it reads
    written_variables: frozenset[str]  # globals, and variables of an outer function
    written_attributes: frozenset[str]
    mutates: bool  # whether it may change a list or a dict in place


NO_NAMES = Names(frozenset(), frozenset(), frozenset(), frozenset(), mutates=False)


@functools.lru_cache(maxsize=4096)
def names_of(code: types.CodeType | None) -> Names:
    """Return the names in a code object, and none where there is no code."""
    if code is None:
        return NO_NAMES
    found: dict[str, set[str]] = {}
    for instruction in dis.get_instructions(code):
        found.setdefault(instruction.opname, set()).add(str(instruction.argval))

    def named(*operations: str) -> frozenset[str]:
        return frozenset().union(*(found.get(operation, ()) for operation in operations))

    own = Names(
        named("LOAD_GLOBAL", "LOAD_NAME"),
        named("LOAD_ATTR", "LOAD_METHOD"),
        named("STORE_DEREF", "STORE_GLOBAL"),
        named("STORE_ATTR"),
        "STORE_SUBSCR" in found or bool(_MUTATORS & set(code.co_names)),
    )
    return join_names(own, *(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def join_names(*names: Names) -> Names:
    """Return the names of several code objects together."""
    *groups, mutates = zip(*names, strict=True)
    return Names(*(frozenset().union(*group) for group in groups), mutates=any(mutates))


def is_installed(file: str) -> bool:
    """Return whether a file belongs to an installed package or to Python."""
    return any(place in file for place in _INSTALLED)
