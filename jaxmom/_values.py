"""Hyperparameter values (leaf, schedule or static) and the dtypes of results."""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

PyTree: TypeAlias = Any  # nested containers of arrays
# `isinstance(x, ArrayLike)` is False for tracers.
NUMBER = (bool, int, float, complex, np.generic, np.ndarray, jax.Array)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """Marks a value (a function, a size) as part of the program; as a pytree it has no leaves."""

    value: Any


def is_plain_number(value: Any) -> bool:
    """Whether a value is a real number of Python or NumPy, which may be looked at."""
    return isinstance(value, int | float | np.integer | np.floating)


def is_static(value: Any) -> bool:
    """Whether a hyperparameter cannot be a leaf: None, a flag, a word, a dtype."""
    return value is None or isinstance(value, bool | str | np.dtype | type)


def as_leaf(name: str, value: Any) -> Any:
    """Return a hyperparameter's value in the form in which an optimizer binds it."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.integer):
        return value.astype(float)
    if isinstance(value, float | complex | np.generic | jax.Array | Partial):
        return value
    if isinstance(value, np.ndarray) or (type(value) in (list, tuple) and value):
        return _as_array(value)
    if not jax.tree_util.all_leaves([value]):
        return value
    if callable(value):  # no number and no pytree, so it can only be a function of the count
        return Partial(value)
    raise TypeError(
        f"{name}={value!r} is no hyperparameter: give a number, an array, "
        "or a schedule (a function of the step count)."
    )


def _as_array(value: Any) -> Any:
    concrete = not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value))
    array = np.asarray(value) if concrete else jnp.asarray(value)
    return array.astype(float) if jnp.issubdtype(array.dtype, jnp.integer) else array


def floating(x: Any) -> jax.Array:
    """Return a number as an array of the widest float: bfloat16 has no digits for 1 - beta."""
    return jnp.asarray(x, complex if jnp.iscomplexobj(x) else float)


def wide_dtype(leaf: Any) -> np.dtype:
    """Return a leaf's dtype, float32 at least: averages with long memories need its digits."""
    dtype = jnp.result_type(leaf)
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if narrow else dtype


def strongly_typed(leaf: Any) -> Any:
    """Give a leaf of a new state the type that it has after an update: strong, not weak."""
    if not isinstance(leaf, NUMBER):
        return leaf
    dtype = jnp.result_type(leaf)
    return leaf if jnp.issubdtype(dtype, jax.dtypes.prng_key) else jnp.asarray(leaf, dtype)


def cast_like(new: PyTree, old: PyTree) -> PyTree:
    """Cast the leaves of a tree to the dtypes of another; None and random keys stay."""

    def cast(old_leaf: Any, new_leaf: Any) -> Any:
        if old_leaf is None or new_leaf is None:
            return new_leaf
        dtype = jnp.result_type(old_leaf)
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return new_leaf
        return jnp.asarray(new_leaf, dtype)

    def is_none(leaf: Any) -> bool:
        return leaf is None

    structures = [jax.tree.structure(tree, is_leaf=is_none) for tree in (old, new)]
    if structures[0] != structures[1]:  # optax.lookahead returns updates of two kinds of params
        return new
    return jax.tree.map(cast, old, new, is_leaf=is_none)
