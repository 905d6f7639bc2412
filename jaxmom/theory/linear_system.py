"""Linear systems with one input and one output, and their transfer functions.

A linear optimizer with constant coefficients turns gradients into steps as

    x_{t+1} = A x_t + B g_t          params_t = C x_t

whose state x holds params and the optimizer's buffers. On a quadratic with curvature lambda the
gradient is lambda params, which closes the loop: x_{t+1} = (A + lambda B C) x_t.
`jaxmom.theory.linearize` finds the system of any linear optax chain.
"""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory._numbers import to_numbers


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["A", "B", "C", "D"], meta_fields=["names"]
)
@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """``x <- A x + B g; params = C x + D g``, for one parameter and its gradient g.

    Any basis of the state will do. `linearize` returns the one whose first entry is params, so that
    C is (1, 0, ..., 0).

    Attributes:
      A: [n, n].
      B: [n].
      C: [n].
      D: [], always zero, for the gradient is taken at params.
      names: The n entries of the state: "params", and the buffers by their place in the
        optimizer's state. A buffer that starts as a copy of params is taken relative to them, and
        its name ends in "- params".
    """

    A: jax.Array
    B: jax.Array
    C: jax.Array
    D: jax.Array
    names: tuple[str, ...]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["A", "B", "C"], meta_fields=["names"]
)
@dataclasses.dataclass(frozen=True)
class PeriodicSystem:
    """``x <- A_i x + B_i g; params = C x`` with i = t mod p at update t: a period of p updates.

    Attributes:
      A: [p, n, n].
      B: [p, n].
      C: [n], the same at every update.
      names: The n entries of the state, as in `LinearSystem`.
    """

    A: jax.Array
    B: jax.Array
    C: jax.Array
    names: tuple[str, ...]

    @property
    def period(self) -> int:
        """The number p of updates."""
        return self.A.shape[0]


def transfer_function(system: LinearSystem, z: ArrayLike) -> jax.Array:
    """Return H(z): the steps taken against gradients ``g_t = z^t``, per gradient.

    ``H(z) = -(z - 1) C (z I - A)^{-1} B``, in any basis of the state. For momentum with
    coefficients (decay, gain, read, direct) that read the new buffers it is
    ``alpha (direct + sum_i read_i gain_i z / (z - decay_i))``.

    Args:
      system: A `LinearSystem`, as `linearize` returns it.
      z: Real or complex numbers of any shape; 1 is a steady gradient, -1 one that alternates, and
        ``exp(i w)`` a wave of w radians per step.

    Returns:
      H at every z, of its shape; infinite or NaN at a pole.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> system = theory.linearize(jm.heavy_ball(0.25, beta=0.5))
      >>> print(theory.transfer_function(system, 1.0))  # alpha / (1 - beta)
      0.5
    """
    system = check_system(system)
    if not system.names:  # nothing moves
        return jnp.zeros(jnp.shape(z), system.A.dtype)
    z = to_numbers("z", z, system.A.dtype, may_be_complex=True)
    return jnp.vectorize(functools.partial(_gain, system, rest_state(system)))(z)


def dc_gain(system: LinearSystem) -> jax.Array:
    """Return H(1): the step per gradient in a steady gradient; zero under weight decay."""
    return transfer_function(system, 1.0)


def nyquist_gain(system: LinearSystem) -> jax.Array:
    """Return H(-1): the step per alternating gradient; 2 / H(-1) is the flip bound."""
    return transfer_function(system, -1.0)


def check_is_system(system: LinearSystem) -> None:
    """Raise TypeError if something else is given, such as the optimizer itself."""
    if not isinstance(system, LinearSystem):
        raise TypeError(
            "this takes a LinearSystem, as linearize(optimizer) returns it, got "
            f"{type(system).__name__}."
        )


def check_system(system: LinearSystem) -> LinearSystem:
    """Return the system with JAX arrays; raise ValueError if their shapes do not fit together."""
    check_is_system(system)
    a, b, c, d = _to_floats(system.A, system.B, system.C, system.D)
    try:
        chex.assert_rank([a, b, c, d], [2, 1, 1, 0])
        chex.assert_shape(a, (b.size, b.size))
        chex.assert_equal_shape([b, c])
    except AssertionError as error:
        raise ValueError(
            "a LinearSystem has A [n, n], B [n], C [n] and D [], got shapes "
            f"{a.shape}, {b.shape}, {c.shape} and {d.shape}; map a batch of systems with jax.vmap."
        ) from error
    if not isinstance(d, Tracer) and np.asarray(d) != 0:
        raise ValueError(f"D must be 0, for gradients are taken at params, got {d}.")
    _check_names(system.names, b.size)
    return dataclasses.replace(system, A=a, B=b, C=c, D=d)


def check_periodic(system: PeriodicSystem) -> PeriodicSystem:
    """Return the system with JAX arrays; raise ValueError if their shapes do not fit together."""
    a, b, c = _to_floats(system.A, system.B, system.C)
    n, p = c.size, len(b) if b.ndim else 0
    if (a.shape, b.shape, c.shape) != ((p, n, n), (p, n), (n,)) or p == 0:
        raise ValueError(
            "a PeriodicSystem has A [p, n, n], B [p, n] and C [n], got shapes "
            f"{a.shape}, {b.shape} and {c.shape}; map a batch of systems with jax.vmap."
        )
    _check_names(system.names, n)
    return dataclasses.replace(system, A=a, B=b, C=c)


def _to_floats(*matrices: ArrayLike) -> list[jax.Array]:
    """Convert the matrices of a system to one real dtype, floating; refuse complex ones."""
    kinds = [getattr(x, "dtype", None) for x in matrices]
    floats = [kind for kind in kinds if kind is not None and jnp.issubdtype(kind, jnp.floating)]
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(*floats) if floats else float)
    return [to_numbers("an entry of a system", x, dtype) for x in matrices]


def _check_names(names: tuple[str, ...], size: int) -> None:
    if len(names) != size:
        raise ValueError(f"a system has a name for each of its {size} states, got {names!r}.")


class RestState(NamedTuple):
    """The state that holds params at 1, and whether it needs no gradient to do so.

    Attributes:
      state: [n], with ``C state = 1`` and ``(A - I) state + B gradient = 0``.
      gradient: The steady gradient that holds params; zero without weight decay.
      integrates: Whether the gradient vanishes: params keep what the steps add up to.
    """

    state: jax.Array
    gradient: jax.Array
    integrates: jax.Array


def rest_state(system: LinearSystem) -> RestState:
    """Solve for the state at rest with params at 1, in any basis and any units."""
    a, b, c = system.A, system.B, system.C
    n, rounding = b.shape[0], 64 * jnp.finfo(a.dtype).eps
    still = a - jnp.eye(n, dtype=a.dtype)
    # In the basis of `linearize` params alone, with empty buffers, are at rest, even if the
    # learning rate is zero or hidden buffers make the equations below singular.
    square = c @ c
    alone = c / jnp.where(square > 0, square, 1)
    weights = jnp.abs(a) @ jnp.abs(alone) + jnp.abs(alone)
    is_alone = jnp.all(jnp.abs(still @ alone) <= rounding * weights)
    size = jnp.max(jnp.abs(b))
    column = jnp.where(size > 0, b / jnp.where(size > 0, size, 1), c)
    equations = jnp.block([[still, column[:, None]], [c[None], jnp.zeros((1, 1), a.dtype)]])
    equations = jnp.where(is_alone, jnp.eye(n + 1, dtype=a.dtype), equations)
    unit = jnp.eye(n + 1, dtype=a.dtype)[n]
    right, left = jnp.linalg.solve(equations, unit), jnp.linalg.solve(equations.T, unit)
    # A gradient is zero if errors of rounding in the entries of A could be its cause.
    noise = rounding * (jnp.abs(left[:n]) @ (jnp.abs(a) @ jnp.abs(right[:n]) + jnp.abs(right[:n])))
    integrates = is_alone | (jnp.abs(right[n]) <= noise)
    gradient = jnp.where(integrates, 0, right[n] / jnp.where(size > 0, size, 1))
    return RestState(jnp.where(is_alone, alone, right[:n]), gradient, integrates)


def buffers_only(system: LinearSystem, state: jax.Array) -> jax.Array:
    """Return the matrix [n, n] of the buffers while params are held at zero: A (I - state C).

    Its powers are the filter's kernel: the gradient of k steps ago has the weight
    ``-C buffers_only^k B`` in a step.
    """
    return drop_unread(system, system.A - jnp.outer(system.A @ state, system.C))


def drop_unread(system: LinearSystem, matrix: jax.Array) -> jax.Array:
    """Set to zero the rows of entries that params never read, whatever the numbers are."""
    read, connected = system.C != 0, matrix != 0
    for _ in range(matrix.shape[0] - 1):
        read = read | jnp.any(connected & read[:, None], axis=0)
    return jnp.where(read[:, None], matrix, 0)


def _gain(system: LinearSystem, rest: RestState, z: jax.Array) -> jax.Array:
    """H at one z. An integrator cancels against z - 1, so its mode is replaced by z - 1."""
    a, b, c = (jnp.asarray(x, z.dtype) for x in (system.A, system.B, system.C))
    n = b.shape[0]
    unit = jnp.eye(n, dtype=z.dtype)
    mode = jnp.outer(jnp.where(rest.integrates, rest.state, 0).astype(z.dtype), c)
    buffers = buffers_only(system, rest.state).astype(z.dtype)
    kept = jnp.where(rest.integrates, buffers + (z - 1) * mode, drop_unread(system, a))
    response = jnp.linalg.solve(z * unit - kept, b)
    steps = c @ b + (c @ buffers) @ response
    return -jnp.where(rest.integrates, steps, (z - 1) * (c @ response))
