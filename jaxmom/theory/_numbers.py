"""Conversion of arguments that are numbers, and the sentences for those that are not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def to_numbers(
    name: str, value: Any, dtype: Any = float, *, may_be_complex: bool = False
) -> jax.Array:
    """Convert a number, or an array of numbers, to an array of a dtype.

    Args:
      name: What they are, for the message.
      value: What was given.
      dtype: Real; complex numbers get the complex dtype of the same precision.
      may_be_complex: Whether complex numbers make sense.

    Raises:
      TypeError: It is something else, such as a text.
      ValueError: The numbers are complex and may not be.
    """
    if any(isinstance(leaf, str | bytes) for leaf in jax.tree.leaves(value)):
        raise TypeError(_describe(name, value))  # JAX would take some letters for dtypes
    # An array keeps its own dtype here, because whole numbers beyond int32 would wrap.
    try:
        numbers = value if hasattr(value, "dtype") else jnp.asarray(value)
    except OverflowError:  # whole numbers beyond int32
        numbers = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise TypeError(_describe(name, value)) from error
    if not jnp.issubdtype(numbers.dtype, np.number) and numbers.dtype != bool:
        raise TypeError(_describe(name, value))
    if not jnp.iscomplexobj(numbers):
        return jnp.asarray(numbers, dtype)
    if not may_be_complex:
        raise ValueError(f"{name} is real, got {value}.")
    return jnp.asarray(numbers, np.result_type(np.dtype(dtype), np.complex64))


def known_values(value: Any) -> np.ndarray | None:
    """Return the values of numbers that `to_numbers` admits, or None if some are traced.

    Those of the argument itself: under jit, an array made of plain numbers is traced.
    """
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
    return None if traced else np.asarray(value)


def _describe(name: str, value: Any) -> str:
    return f"{name} is a number, or an array of numbers, got {value!r}."
