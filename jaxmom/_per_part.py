"""Hyperparameters that are trees: a learning rate or a beta for each part of params."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax

from jaxmom._arguments import as_hashable, unwrap
from jaxmom._partition import partition
from jaxmom._values import NUMBER, as_plain_vector
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    Static,
    read_out,
    transformation,
)


class Parts(NamedTuple):
    """What is made for each part of params: label -> (hyperparameter -> the name of its leaf)."""

    make: Callable[..., Optimizer]
    labels: Any  # a hashable tree of labels, a prefix of params
    names: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def build(self, values: Mapping[str, Any]) -> dict[str, Optimizer]:
        """Return the optimizer of each part, by its label.

        What a schedule gives at the next count, ``next_<leaf>``, goes with what it gives now.
        """
        ahead = {leaf: values[f"next_{leaf}"] for leaf in values if f"next_{leaf}" in values}
        return {
            label: self.make(
                **{name: values[leaf] for name, leaf in names},
                **{f"next_{name}": ahead[leaf] for name, leaf in names if leaf in ahead},
            )
            for label, names in self.names
        }


def make_per_part(
    make: Callable[..., Optimizer],
    hyperparameters: Mapping[str, Any],
    vectors: Collection[str] = (),
    ahead: Collection[str] = (),
) -> Optimizer:
    """Return ``make(**hyperparameters)``, where some of these may be prefixes of params.

    A dict (or a list or tuple with dicts) of numbers gives each part of params its own. The result
    is a `partition` of optimizers that share the other hyperparameters. A number in a tree is a
    leaf with the name of its place, as in "learning_rate.w".

    Args:
      make: A function that compares by value, from hyperparameters to an optimizer.
      hyperparameters: By name.
      vectors: Names of those that are vectors, whose sequences of numbers are not trees.
      ahead: Names of those that `make` also takes as ``next_<name>``, what their schedules give at
        the next count.

    Raises:
      ValueError: Neither of two trees is a prefix of the other.
    """
    values, named = _name_leaves(hyperparameters, vectors)
    if not named:
        return make(**hyperparameters)
    shared = tuple((name, name) for name in hyperparameters if name not in named)
    finest = max(named.values(), key=lambda tree: len(jax.tree.leaves(tree)))
    labels = jax.tree_util.tree_map_with_path(lambda path, _: _join(path), finest)
    columns = [jax.tree.leaves(_spread(tree, finest)) for tree in named.values()]
    names = tuple(
        (label, (*shared, *zip(named, keys, strict=True)))
        for label, *keys in zip(jax.tree.leaves(labels), *columns, strict=True)
    )
    parts = Parts(make, as_hashable(labels), names)
    one: Any = parts.build(values)[names[0][0]].update
    readout = None if one.func.fns.readout is None else _read_parts
    hp = {**values, "parts": Static(parts)}
    if ahead:
        leaves = {leaf for _, pairs in names for name, leaf in pairs if name in ahead}
        hp["ahead"] = Static(tuple(sorted(leaves)))
    needs = [name for name, value in values.items() if not isinstance(value, bool | str | None)]
    return transformation(
        _init_parts, _update_parts, hp, init_needs=needs, readout=readout, check=_check_parts
    )


def take_apart(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters whose trees are leaves, for what `put_together` makes of them.

    Use these two in place of `make_per_part` where a step needs all of params at once.
    """
    values, named = _name_leaves(hyperparameters, ())
    return {**values, "trees": Static(as_hashable(named))}


def put_together(hp: Hyperparameters, name: str) -> Any:
    """Return a hyperparameter that `take_apart` had: one number, or a tree of them."""
    named = unwrap(hp["trees"])
    return jax.tree.map(lambda leaf: hp[leaf], named[name]) if name in named else hp[name]


def _name_leaves(
    hyperparameters: Mapping[str, Any], vectors: Collection[str]
) -> tuple[dict[str, Any], dict[str, PyTree]]:
    """Return the hyperparameters with each leaf of a tree by its name, and the trees of names."""
    trees = {name: value for name, value in hyperparameters.items() if _is_tree(value)}
    values = {name: value for name, value in hyperparameters.items() if name not in trees}
    named = {}
    for name, tree in trees.items():
        is_leaf = _is_vector if name in vectors else callable
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
        keys = [f"{name}.{_join(path)}" for path, _ in leaves]
        named[name] = structure.unflatten(keys)
        values |= {key: as_plain_vector(leaf) for key, (_, leaf) in zip(keys, leaves, strict=True)}
    return values, named


def _is_tree(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(item, Mapping) for item in items)


def _is_vector(node: Any) -> bool:
    is_sequence = isinstance(node, list | tuple) and all(isinstance(x, NUMBER) for x in node)
    return is_sequence or callable(node)


def _join(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _spread(tree: PyTree, finest: PyTree) -> PyTree:
    """Return the leaves of a tree at every leaf of a finer one."""
    try:
        return jax.tree.map(lambda leaf, part: jax.tree.map(lambda _: leaf, part), tree, finest)
    except ValueError as error:
        raise ValueError(
            f"the hyperparameters have leaves at {jax.tree.leaves(tree)} and "
            f"{jax.tree.leaves(finest)}; where two are trees, one is a prefix of the other."
        ) from error


# The optimizer as pure functions; hp holds the numbers by the names of their leaves.


def _partition_of(hp: Hyperparameters) -> Optimizer:
    return partition(hp["parts"].build(hp), unwrap(hp["parts"].labels))


def _init_parts(hp: Hyperparameters, params: PyTree) -> PyTree:
    return _partition_of(hp).init(params)


def _update_parts(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    return _partition_of(hp).update(updates, state, params, **extra)


def _read_parts(hp: Hyperparameters, state: PyTree, params: PyTree) -> PyTree | None:
    return read_out(_partition_of(hp).update, state, params)


def _check_parts(hp: Hyperparameters) -> None:
    hp["parts"].build(hp)
