"""States of lanes between two segments: pytrees as plain arrays, and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmom.sweeps.compile.outputs import PyTree, is_key, is_run


class PackedState(NamedTuple):
    """A state as arrays that can be batched and stored.

    A run goes on from its end, so its history stays behind. Its count is apart from the rest since
    all lanes share it: in a batch of counts, runs with a common key would not share their batches.
    """

    leaves: list[Any]  # typed keys as their data
    counts: list[Any]  # of the runs in it, [1]


class StateFormat(NamedTuple):
    """What makes a state of its arrays again; it can be pickled.

    Attributes:
      template: A state with numbers as leaves, without the counts and histories of its runs.
      implementations: Of the typed keys among its leaves; None for other leaves.
    """

    template: PyTree
    implementations: tuple[Any, ...]

    def unpack(self, leaves: Sequence[Any], counts: Sequence[Any]) -> PyTree:
        """Return the state.

        Args:
          leaves: The leaves of the state, typed keys as their data.
          counts: The counts of its runs.
        """
        left = iter(counts)
        pairs = zip(leaves, self.implementations, strict=True)
        typed = [a if i is None else jax.random.wrap_key_data(a, impl=i) for a, i in pairs]
        return jax.tree.map(
            lambda node: node._replace(steps=next(left)) if is_run(node) else node,
            jax.tree.unflatten(jax.tree.structure(self.template), typed),
            is_leaf=is_run,
        )


def read_format(state: PyTree) -> StateFormat:
    """Return the format of a state, of which shapes and dtypes are enough."""
    leaves, tree = jax.tree.flatten(_without_past(state))
    implementations = tuple(_implementation(leaf) if is_key(leaf) else None for leaf in leaves)
    return StateFormat(jax.tree.unflatten(tree, range(len(leaves))), implementations)


def pack_state(state: PyTree) -> PackedState:
    """Return the arrays of a state.

    Args:
      state: Any pytree of arrays.
    """
    runs = [node for node in jax.tree.leaves(state, is_leaf=is_run) if is_run(node)]
    leaves = jax.tree.leaves(_without_past(state))
    data = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]
    return PackedState(data, [run.steps[..., -1:] for run in runs])


def describe_state(state: PyTree) -> str:
    """Return the structure of a state with its dtypes and shapes, to compare and to show."""
    short = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", _without_past(state))
    return str(short).replace("'", "")


def _without_past(state: PyTree) -> PyTree:
    def drop(node: Any) -> Any:
        return node._replace(steps=None, history={}) if is_run(node) else node

    return jax.tree.map(drop, state, is_leaf=is_run)


def _implementation(key: Any) -> Any:
    """Return the generator of a typed key, of which only shape and dtype may be known."""
    return jax.random.key_impl(jnp.empty((), key.dtype))
