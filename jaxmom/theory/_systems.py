"""Arguments of the public functions: optimizers, curvatures and intervals of them."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxmom.theory._linearize import linearize, linearize_cycle
from jaxmom.theory._numbers import known_values, to_numbers
from jaxmom.theory.linear_system import LinearSystem, PeriodicSystem, check_periodic, check_system

Linear: TypeAlias = optax.GradientTransformation | LinearSystem
Repeating: TypeAlias = Linear | PeriodicSystem
# From a system and numbers, as scalars, to an array.
SystemFn: TypeAlias = Callable[..., jax.Array]

_COMPLEX = (
    "iteration_matrix, monodromy, eigenvalues, characteristic_polynomial, spectral_radius, period, "
    "transient_growth, stationary_covariance and stationary_variance"
)


def as_system(optimizer: Linear) -> LinearSystem:
    """Linearize an optimizer; check a `LinearSystem` and return it."""
    if isinstance(optimizer, PeriodicSystem):
        raise ValueError(
            "this is about coefficients that stay, and a PeriodicSystem has several; monodromy, "
            "spectral_radius, rate, stability_limit and kernel take it."
        )
    return check_system(optimizer if isinstance(optimizer, LinearSystem) else linearize(optimizer))


def as_repeating(optimizer: Repeating) -> LinearSystem | PeriodicSystem:
    """Linearize an optimizer whose coefficients stay or repeat; check a system and return it."""
    if isinstance(optimizer, PeriodicSystem):
        return check_periodic(optimizer)
    if isinstance(optimizer, LinearSystem):
        return check_system(optimizer)
    return linearize_cycle(optimizer)


def map_numbers(
    function: SystemFn,
    system: LinearSystem | PeriodicSystem,
    *numbers: ArrayLike,
    result: str = "()",
    may_be_complex: bool = False,
) -> jax.Array:
    """Apply a function of a system and scalars to arrays of numbers, each on its own.

    The result is NaN where a number, or an entry of the system, is.

    Args:
      function: (system, *scalars) -> array.
      system: A system that has been checked.
      *numbers: Of any shapes that broadcast.
      result: The dimensions of what the function returns, as in `jax.numpy.vectorize`.
      may_be_complex: Whether complex numbers make sense; otherwise they are refused.
    """
    arrays = [_as_numbers(system.A.dtype, number, may_be_complex) for number in numbers]
    dtype = np.result_type(system.A.dtype, *(array.dtype for array in arrays))
    arrays = [array.astype(dtype) for array in arrays]
    system = jax.tree.map(lambda x: x.astype(dtype), system)
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    arrays = [jnp.broadcast_to(array, shape) for array in arrays]
    signature = ",".join(["()"] * len(arrays)) + f"->{result}"

    def apply(*scalars: jax.Array) -> jax.Array:
        return nan_if_unknown(function(system, *scalars), system, *scalars)

    return jnp.vectorize(apply, signature=signature)(*arrays)


def nan_if_unknown(
    result: jax.Array, system: LinearSystem | PeriodicSystem, *scalars: jax.Array
) -> jax.Array:
    """Return NaN in place of a result if an entry of the system, or a scalar, is NaN.

    Comparisons with NaN are false, so that a search would end with a plain number.
    """
    sums = [jnp.sum(x) for x in jax.tree.leaves(system)]
    unknown = [jnp.isnan(x) for x in (*sums, *scalars)]
    return jnp.where(functools.reduce(jnp.logical_or, unknown), jnp.nan, result)


def _as_numbers(real: Any, number: ArrayLike, may_be_complex: bool) -> jax.Array:
    if not may_be_complex:
        refuse_complex(number)
    return to_numbers("a curvature or a variance", number, real, may_be_complex=may_be_complex)


def refuse_complex(number: ArrayLike) -> None:
    """Raise ValueError if a number is complex, and say where complex curvatures are at home."""
    if jnp.iscomplexobj(to_numbers("a curvature or a variance", number, may_be_complex=True)):
        raise ValueError(
            f"this is about real curvatures, the eigenvalues of a Hessian, got {number}. For those "
            f"of a game, which may be complex, there are {_COMPLEX}, and "
            "stability_limit(optimizer, angle=...)."
        )


def check_interval(mu: ArrayLike, L: ArrayLike, *, may_be_zero: bool = False) -> None:
    """Raise ValueError if the curvatures are known and not 0 < mu <= L."""
    refuse_complex(mu)
    refuse_complex(L)
    low, high = known_values(mu), known_values(L)
    if low is None or high is None:
        return
    _check_broadcast(low, high)
    is_positive = low >= 0 if may_be_zero else low > 0
    if not np.all(is_positive & (low <= high) & np.isfinite(high)):
        first = "0 <= mu" if may_be_zero else "0 < mu"
        raise ValueError(f"curvatures are {first} <= L, got mu={mu} and L={L}.")


def _check_broadcast(mu: np.ndarray, L: np.ndarray) -> None:
    try:
        np.broadcast_shapes(mu.shape, L.shape)
    except ValueError as error:
        raise ValueError(
            f"mu and L have shapes {mu.shape} and {L.shape}, which do not broadcast; give as many "
            "of one as of the other, or a single one."
        ) from error


def as_number(name: str, value: ArrayLike) -> float:
    """Convert an argument that must be one plain number."""
    to_numbers(name, value, may_be_complex=True)
    refuse_complex(value)
    numbers = known_values(value)
    if numbers is None or numbers.ndim > 0:
        raise ValueError(
            f"{name} is one plain number, got {value}; call the function once for each."
        )
    return float(np.asarray(value, float))
