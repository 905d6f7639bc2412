"""Discrete-time linear systems with one input and one output: what a linear optimizer is.

A linear optimizer with constant coefficients turns gradients into steps as

    x_{t+1} = A x_t + B g_t          params_t = C x_t + D g_t

whose state x is params and the optimizer's buffers. On a quadratic with curvature lambda the loop
closes by g = lambda params, and A + lambda B C says everything. `jaxmom.theory.linearize` finds the
system of any optax chain.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["A", "B", "C", "D"], meta_fields=["names"]
)
@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """``x <- A x + B g; params = C x + D g``, for one parameter and its gradient g.

    Attributes:
      A: [n, n].
      B: [n].
      C: [n].
      D: [], zero, for the gradient is taken at params.
      names: Of the n entries of the state: "params", and the buffers by their place in the
        optimizer's state. What starts as a copy of params is taken relative to them, and its name
        ends in "- params".
    """

    A: Any
    B: Any
    C: Any
    D: Any
    names: tuple[str, ...]


def transfer_function(system: LinearSystem, z: ArrayLike) -> jax.Array:
    """H(z): the steps taken against gradients ``g_t = z^t``, per gradient.

    ``H(z) = -(z - 1) (C (z I - A)^{-1} B + D)``. For momentum with coefficients (decay, gain, read,
    direct) of the new buffers it is ``alpha (direct + sum_i read_i gain_i z / (z - decay_i))``.

    Args:
      system: A `LinearSystem`, as `linearize` returns it.
      z: A real or complex number; 1 is a steady gradient, -1 one that alternates, and
        ``exp(i w)`` a wave of w radians per step.

    Returns:
      A number; infinite or not finite at a pole.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> system = theory.linearize(jm.heavy_ball(0.25, beta=0.5))
      >>> print(theory.transfer_function(system, 1.0))  # alpha / (1 - beta)
      0.5
    """
    real = np.dtype(system.A.dtype)
    z = jnp.asarray(z, np.result_type(real, np.complex64) if jnp.iscomplexobj(z) else real)
    a, b = system.A.astype(z.dtype), system.B.astype(z.dtype)
    # Eliminate the buffers, so that the integration of the steps cancels exactly: at z = 1 there
    # would be a division of zero by zero.
    inner = z * jnp.eye(a.shape[0] - 1, dtype=z.dtype) - a[1:, 1:]
    solved = jnp.linalg.solve(inner, jnp.column_stack([b[1:], a[1:, 0]]))
    forward = b[0] + a[0, 1:] @ solved[:, 0]
    pull = (a[0, 0] - 1) + a[0, 1:] @ solved[:, 1]
    integrates = jnp.abs(pull) <= 64 * jnp.finfo(system.A.dtype).eps
    ratio = (z - 1) / jnp.where(integrates, 1.0, z - 1 - pull)
    return -forward * jnp.where(integrates, 1.0, ratio)


def dc_gain(system: LinearSystem) -> jax.Array:
    """H(1): the step per gradient in a steady gradient; zero, if params are drawn to a point."""
    return transfer_function(system, 1.0)


def nyquist_gain(system: LinearSystem) -> jax.Array:
    """H(-1): the step per gradient in one whose sign alternates; 2 / H(-1) is the flip bound."""
    return transfer_function(system, -1.0)


def minimal(system: LinearSystem, tolerance: float = 1e-9) -> LinearSystem:
    """The smallest system with the same input and output: what is seen and can be moved.

    It drops what gradients cannot reach and what params do not feel, such as a buffer that is never
    read. For plain numbers only: how many entries are left depends on the values.

    Args:
      system: Any `LinearSystem` of plain numbers.
      tolerance: The relative size below which a singular value counts as zero.

    Returns:
      A system in an orthonormal basis of what is left; the names of its entries are "x0", "x1" ...

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> system = theory.linearize(jm.qhm(0.1, beta=0.9, nu=0.0))  # gradient descent
      >>> len(system.names), len(theory.minimal(system).names)
      (2, 1)
    """
    a, b, c = (np.asarray(x, float) for x in (system.A, system.B, system.C))
    basis = _reachable(a, b, tolerance)
    a, b, c = basis.T @ a @ basis, basis.T @ b, c @ basis
    basis = _reachable(a.T, c, tolerance)
    a, b, c = basis.T @ a @ basis, basis.T @ b, c @ basis
    return LinearSystem(a, b, c, system.D, tuple(f"x{i}" for i in range(len(b))))


def _reachable(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """An orthonormal basis of what b, A b, A^2 b ... span, by Gram and Schmidt, twice is enough."""
    basis = np.zeros((len(b), 0))
    new = b
    for _ in range(len(b)):
        size = np.linalg.norm(new)
        for _ in range(2):
            new = new - basis @ (basis.T @ new)
        if np.linalg.norm(new) <= tolerance * size or size == 0:
            break
        basis = np.column_stack([basis, new / np.linalg.norm(new)])
        new = a @ basis[:, -1]
    return basis
