"""Arguments of the public functions: optimizers, curvatures and intervals of them."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory._linearize import linearize
from jaxmom.theory.linear_system import LinearSystem, check_system

Linear: TypeAlias = optax.GradientTransformation | LinearSystem
# From a system and numbers, as scalars, to an array.
SystemFn: TypeAlias = Callable[..., jax.Array]


def as_system(optimizer: Linear) -> LinearSystem:
    """Linearize an optimizer; check a `LinearSystem` and return it."""
    return check_system(optimizer if isinstance(optimizer, LinearSystem) else linearize(optimizer))


def map_numbers(
    function: SystemFn, optimizer: Linear, *numbers: ArrayLike, result: str = "()"
) -> jax.Array:
    """Apply a function of a system and scalars to arrays of numbers, each on its own.

    Args:
      function: (system, *scalars) -> array.
      optimizer: A linear optimizer, or its `LinearSystem`.
      *numbers: Of any shapes that broadcast.
      result: The dimensions of what the function returns, as in `jax.numpy.vectorize`.
    """
    system = as_system(optimizer)
    arrays = [jnp.asarray(number, system.A.dtype) for number in numbers]
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    arrays = [jnp.broadcast_to(array, shape) for array in arrays]
    signature = ",".join(["()"] * len(arrays)) + f"->{result}"
    return jnp.vectorize(functools.partial(function, system), signature=signature)(*arrays)


def check_interval(mu: ArrayLike, L: ArrayLike, *, may_be_zero: bool = False) -> None:
    """Raise ValueError if the curvatures are known and not 0 < mu <= L."""
    if isinstance(mu, Tracer) or isinstance(L, Tracer):
        return
    low, high = np.asarray(mu, float), np.asarray(L, float)
    is_positive = low >= 0 if may_be_zero else low > 0
    if not np.all(is_positive & (low <= high) & np.isfinite(high)):
        first = "0 <= mu" if may_be_zero else "0 < mu"
        raise ValueError(f"curvatures are {first} <= L, got mu={mu} and L={L}.")


def as_number(name: str, value: ArrayLike) -> float:
    """Convert an argument that must be one plain number."""
    if isinstance(value, Tracer) or np.ndim(value) > 0:
        raise ValueError(
            f"{name} is one plain number, got {value}; call the function once for each."
        )
    return float(np.asarray(value, float))
