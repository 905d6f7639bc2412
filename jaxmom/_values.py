"""Hyperparameter values (leaf, schedule or static) and the dtypes of results."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxmom._captures import as_partial

PyTree: TypeAlias = Any  # nested containers of arrays
# `isinstance(x, ArrayLike)` is False for tracers.
NUMBER = (bool, int, float, complex, np.generic, np.ndarray, jax.Array)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """Marks a value (a function, a size) as part of the program; as a pytree it has no leaves."""

    value: Any


def is_plain_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a real number of Python or NumPy, which may be looked at."""
    return isinstance(value, int | float | np.integer | np.floating)


def is_static(value: Any) -> bool:
    """Whether a hyperparameter cannot be a leaf: None, a flag, a word, a dtype."""
    return value is None or isinstance(value, bool | str | np.dtype | type)


def as_plain(value: Any) -> Any:
    """Return a concrete flag as a bool, and a number in an array of NumPy as a scalar of NumPy."""
    if not isinstance(value, np.generic | np.ndarray | jax.Array) or np.ndim(value) > 0:
        return value
    if value.dtype == bool and not isinstance(value, Tracer):
        return bool(value)
    return value[()] if isinstance(value, np.ndarray) else value


def as_plain_vector(value: Any) -> Any:
    """Return a vector of real numbers of NumPy as the tuple of them; others as they are."""
    is_vector = isinstance(value, np.ndarray) and value.ndim == 1
    return tuple(value.tolist()) if is_vector and value.dtype.kind in "iuf" else value


def as_leaf(name: str, value: Any) -> Any:
    """Return a hyperparameter's value in the form in which an optimizer binds it."""
    value = as_plain(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.integer):
        return value.astype(float)
    if isinstance(value, float | complex | np.generic | jax.Array):
        return value
    if callable(value) and not isinstance(value, type):
        return as_partial(value)
    if isinstance(value, np.ndarray) or _is_nested_sequence(value):
        # Plain numbers stay plain: a framework may refuse arrays in what it takes for static.
        return tuple(float(x) for x in value) if _is_plain_vector(value) else _as_array(value)
    if not jax.tree_util.all_leaves([value]):
        return value
    raise TypeError(
        f"{name}={value!r} is not a hyperparameter: give a number, an array, "
        "or a schedule (a function of the step count)."
    )


def as_array(value: Any) -> Any:
    """Return a vector that is bound as a tuple of numbers as an array; others as they are."""
    if type(value) is not tuple or not all(isinstance(x, NUMBER) for x in value):
        return value
    if _is_plain_vector(value):
        return np.asarray(value, float)
    return jnp.stack([floating(number) for number in value], axis=-1)


def _is_nested_sequence(value: Any) -> bool:
    elements = value if type(value) in (list, tuple) else ()
    return len(elements) > 0 and all(
        isinstance(x, NUMBER) or _is_nested_sequence(x) for x in elements
    )


def _is_plain_vector(value: Any) -> TypeGuard[tuple[float, ...]]:
    return type(value) in (list, tuple) and all(
        is_plain_number(x) and not isinstance(x, bool) for x in value
    )


def _as_array(value: Any) -> Any:
    concrete = not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value))
    array = np.asarray(value) if concrete else jnp.asarray(value)
    return array.astype(float) if jnp.issubdtype(array.dtype, jnp.integer) else array


def floating(x: Any) -> jax.Array:
    """Return a number as an array of the widest float: bfloat16 has no digits for 1 - beta."""
    return jnp.asarray(x, complex if jnp.iscomplexobj(x) else float)


def is_complex(dtype: Any) -> bool:
    """Whether a dtype is complex."""
    return jnp.issubdtype(dtype, jnp.complexfloating)


def is_whole(dtype: Any) -> bool:
    """Whether a dtype holds only whole numbers or flags."""
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)


def wide_dtype(leaf: Any) -> np.dtype:
    """Return a dtype for arithmetic with a leaf: its own, but floating, and float32 at least.

    Averages with long memories need the digits of float32, and steps are not whole numbers.
    """
    dtype = jnp.result_type(leaf)
    if is_whole(dtype):
        return jnp.result_type(float)
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if narrow else dtype


def state_dtype(leaf: Any, dtype: Any = None) -> np.dtype:
    """Return the dtype in which a state keeps a leaf: that given, but never real for complex."""
    own = wide_dtype(leaf)
    keeps_own = dtype is None or (is_complex(own) and not is_complex(dtype))
    return own if keeps_own else jnp.dtype(dtype)


def strongly_typed(leaf: Any) -> Any:
    """Give a leaf of a new state the type that it has after an update: strong, not weak."""
    if not isinstance(leaf, NUMBER):
        return leaf
    dtype = jnp.result_type(leaf)
    return leaf if jnp.issubdtype(dtype, jax.dtypes.prng_key) else jnp.asarray(leaf, dtype)


def cast_updates(new: PyTree, old: PyTree) -> PyTree:
    """Cast updates to the dtypes of the gradients, but never to whole numbers."""

    def cast(old_leaf: Any, new_leaf: Any) -> Any:
        dtype = jnp.result_type(old_leaf)
        return jnp.asarray(new_leaf, None if _loses_fraction(new_leaf, dtype) else dtype)

    return _cast_tree(cast, new, old)


def cast_state(new: PyTree, old: PyTree) -> PyTree:
    """Cast a new state to the dtypes of the old one; None and random keys stay."""

    def cast(old_leaf: Any, new_leaf: Any) -> Any:
        dtype = jnp.result_type(old_leaf)
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return new_leaf
        if _loses_fraction(new_leaf, dtype):
            raise TypeError(
                f"a leaf of the state is {dtype} and its new value {jnp.result_type(new_leaf)}, "
                "whose fraction would be lost; make it floating in init, as in "
                "jnp.zeros_like(params, float)."
            )
        return jnp.asarray(new_leaf, dtype)

    return _cast_tree(cast, new, old)


def _loses_fraction(new: Any, dtype: Any) -> bool:
    return is_whole(dtype) and jnp.issubdtype(jnp.result_type(new), jnp.inexact)


def _cast_tree(cast: Callable[[Any, Any], Any], new: PyTree, old: PyTree) -> PyTree:
    def cast_leaf(old_leaf: Any, new_leaf: Any) -> Any:
        return new_leaf if old_leaf is None or new_leaf is None else cast(old_leaf, new_leaf)

    structures = [jax.tree.structure(tree, is_leaf=_is_none) for tree in (old, new)]
    if structures[0] != structures[1]:  # optax.lookahead returns updates of two kinds of params
        return new
    return jax.tree.map(cast_leaf, old, new, is_leaf=_is_none)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def as_count(name: str, value: Any, what: str) -> int:
    """Return a plain integer of at least 1, from Python or NumPy.

    Args:
      name: The name of the argument, for the message.
      value: What was given.
      what: What it counts, as in "how many weights to return".

    Raises:
      ValueError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {what}, at least 1, got {value!r}.")
    return int(value)
