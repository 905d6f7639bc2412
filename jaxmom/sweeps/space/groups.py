"""Groups of lanes: what one compiled program runs, and the names that tell groups apart."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxmom.sweeps.space.index_maps import IndexMap


class Group(NamedTuple):
    """The lanes that one compiled program runs.

    Attributes:
      static: The arguments that are not traced.
      labels: Their labels in the result.
      names: The arguments that differ from lane to lane.
      rows: The lanes.
      parts: The lanes of each component of the space; `rows` is their product.
    """

    static: dict[str, Any]
    labels: dict[str, Any]
    names: tuple[str, ...]
    rows: IndexMap
    parts: tuple[IndexMap, ...]


def group_key(group: Group) -> str:
    """Return what tells a group from the others of any space, as JSON: labels and arguments."""
    return json.dumps([sorted(group.labels.items()), sorted(group.names)])


def label_group(group: Group) -> str:
    """Return a readable name of a group, as in "nesterov=True, optimizer=sgd"."""
    return ", ".join(f"{name}={label}" for name, label in group.labels.items()) or "all lanes"


def describe_arguments(group: Group) -> str:
    """Return the names of the traced arguments of a group."""
    return ", ".join(sorted(group.names)) or "no arguments"


def label_groups(groups: Sequence[Group]) -> list[str]:
    """Return a different name for each group of a space.

    Groups of a union may differ in their arguments alone: then these follow in parentheses.
    """
    counts = Counter(map(label_group, groups))
    return [
        f"{label} ({describe_arguments(group)})" if counts[label] > 1 else label
        for group, label in zip(groups, map(label_group, groups), strict=True)
    ]


def make_group(
    static: Mapping[str, Any], labels: Mapping[str, Any], names: tuple[str, ...], rows: IndexMap
) -> Group:
    """Return a group of a single component."""
    return Group(dict(static), dict(labels), names, rows, (rows,))


def check_same(name: str, values: Sequence[Any]) -> None:
    """Refuse two objects under one label: they would be one program."""
    is_plain = isinstance(values[0], bool | int | float | str)
    if any(v is not values[0] and not (is_plain and v == values[0]) for v in values):
        raise ValueError(
            f"several values of {name!r} have the same label, {values[0]!r} and others; name them "
            "by a mapping label -> value."
        )
