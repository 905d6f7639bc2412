"""Arithmetic of trees of gradients, in which None stands for a frozen array of params."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmom._values import PyTree, wide_dtype


def map_present(function: Callable[..., Any], updates: PyTree, *trees: PyTree) -> PyTree:
    """Return ``function(update, *leaves)`` for each update that is there, and None elsewhere.

    Example:
      >>> map_present(lambda g, p: g + p, {"a": 1.0, "b": None}, {"a": 2.0, "b": 3.0})
      {'a': 3.0, 'b': None}
    """
    leaves, treedef = jax.tree.flatten(updates, is_leaf=_is_none)
    rows = zip(leaves, *(treedef.flatten_up_to(tree) for tree in trees), strict=True)
    return treedef.unflatten([None if row[0] is None else function(*row) for row in rows])


def advance_buffers(
    function: Callable[..., Any], updates: PyTree, buffers: PyTree, *trees: PyTree
) -> PyTree:
    """Return ``function(update, buffer, *leaves)``, and the buffer itself where no update is.

    All leaves but the buffer are cast to the dtype of the buffer.

    Example:
      >>> import jax.numpy as jnp
      >>> buffers = {"a": jnp.array(1.0), "b": jnp.array(2.0)}
      >>> new = advance_buffers(lambda g, m: m / 2 + g, {"a": 3.0, "b": None}, buffers)
      >>> print(new["a"], new["b"])
      3.5 2.0
    """
    leaves, treedef = jax.tree.flatten(updates, is_leaf=_is_none)
    old = treedef.flatten_up_to(buffers)
    rows = zip(leaves, old, *(treedef.flatten_up_to(tree) for tree in trees), strict=True)

    def advance(update: Any, buffer: Any, *others: Any) -> Any:
        u, *rest = (jnp.asarray(x, buffer.dtype) for x in (update, *others))
        return function(u, buffer, *rest)

    return treedef.unflatten([b if u is None else advance(u, b, *r) for u, b, *r in rows])


def inner_product(updates: PyTree, tree: PyTree) -> jax.Array:
    """Return the real inner product over all leaves that have an update, in the widest float.

    Example:
      >>> print(inner_product({"a": 2.0, "b": None}, {"a": 3.0, "b": 5.0}))
      6.0
    """

    def multiply(update: Any, leaf: Any) -> jax.Array:
        dtype = jnp.promote_types(wide_dtype(update), wide_dtype(leaf))
        product = jnp.asarray(update, dtype).conj() * jnp.asarray(leaf, dtype)
        return jnp.sum(product.real).astype(float)

    return sum(jax.tree.leaves(map_present(multiply, updates, tree)), jnp.zeros([]))


def vary_with(scalar: Any, tree: PyTree) -> jax.Array:
    """Return a scalar of a state that varies over the mesh axes that a tree varies over.

    In `jax.shard_map` a scan demands it from the start of what depends on the tree later. The tree
    may be shapes alone.
    """
    zeros = jax.tree.map(jnp.zeros_like, tree)
    reference = inner_product(zeros, zeros)
    return jnp.where(reference == reference, scalar, scalar)


def _is_none(leaf: Any) -> bool:
    return leaf is None
