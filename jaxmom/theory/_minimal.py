"""Minimal realizations: a linear system without the states that are hidden from it."""

from typing import cast

import jax
import numpy as np
import scipy.linalg
from jax.core import Tracer

from jaxmom.theory._numbers import to_numbers
from jaxmom.theory.linear_system import LinearSystem, check_is_system, check_system


def minimal(system: LinearSystem, tolerance: float = 1e-9) -> LinearSystem:
    """Return the smallest system with the same transfer function.

    It drops what gradients cannot reach and what params never read, such as a buffer with the
    weight zero. For plain numbers only: how many states are left depends on the values. The states
    are first scaled by powers of two, so that the units of params, gradients and buffers do not
    matter.

    Args:
      system: Any `LinearSystem` of plain numbers.
      tolerance: The relative size below which a direction of the state counts as zero.

    Returns:
      A system in another basis of the state; the names of its entries are "x0", "x1" ...

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> system = theory.linearize(jm.qhm(0.1, beta=0.9, nu=0.0))  # gradient descent
      >>> len(system.names), len(theory.minimal(system).names)
      (2, 1)
    """
    check_is_system(system)
    if isinstance(system.A, Tracer) or isinstance(system.B, Tracer):
        raise ValueError("minimal needs plain numbers; call it outside jit, vmap and grad.")
    _check_numbers(system, tolerance)
    a, b, c = balance(*(np.asarray(x, float) for x in (system.A, system.B, system.C)))
    a, b, c = _project(a, b, c, _reachable_basis(a, b, tolerance))
    a, b, c = _project(a, b, c, _reachable_basis(a.T, c, tolerance))
    # NumPy arrays keep their float64 where JAX is set to float32.
    parts = cast("list[jax.Array]", [a, b, c, np.zeros([])])
    return LinearSystem(*parts, names=tuple(f"x{i}" for i in range(len(b))))


def _check_numbers(system: LinearSystem, tolerance: float) -> None:
    check_system(system)
    for part in (system.A, system.B, system.C):
        if not np.all(np.isfinite(np.asarray(part))):
            raise ValueError(f"a system has finite entries; one of this one is not:\n{part}")
    if to_numbers("tolerance", tolerance).ndim > 0 or not 0 <= float(tolerance) < 1:
        raise ValueError(f"the tolerance is one relative size, in [0, 1), got {tolerance}.")


def balance(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale the states by powers of two, which rounds nothing, until rows and columns match."""
    if len(b) == 0:
        return a, b, c
    # The diagonal does not change with the units, and would hide how uneven the others are.
    coupled = a - np.diag(np.diagonal(a))
    bordered = np.block([[coupled, b[:, None] / _size(b)], [c[None] / _size(c), np.zeros((1, 1))]])
    _, (scale, _) = scipy.linalg.matrix_balance(bordered, permute=False, separate=True)
    units = scale[:-1] / scale[-1]
    return a * units / units[:, None], b / units, c * units


def _size(vector: np.ndarray) -> float:
    """The largest entry, rounded to a power of two; 1 of a zero vector."""
    largest = float(np.max(np.abs(vector), initial=0.0))
    return 2.0 ** round(np.log2(largest)) if largest > 0 else 1.0


def _project(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if basis.shape[1] == len(b):  # nothing is hidden, and nothing need be rounded
        return a, b, c
    return basis.T @ a @ basis, basis.T @ b, c @ basis


def _reachable_basis(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """An orthonormal basis of the span of b, A b, A^2 b ..., by Gram-Schmidt, done twice."""
    basis = np.zeros((len(b), 0))
    new = b
    for _ in range(len(b)):
        size = np.linalg.norm(new)
        for _ in range(2):
            new = new - basis @ (basis.T @ new)
        if size == 0 or np.linalg.norm(new) <= tolerance * size:
            break
        basis = np.column_stack([basis, new / np.linalg.norm(new)])
        new = a @ basis[:, -1]
    return basis
