"""Value iteration in all its forms, always in float64.

Ground truth is computed in float64 whatever JAX's default precision is.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.rl._checks import check_interval, check_optimizer, check_scalar, check_table
from jaxmom.rl.mdp import Mdp, check_mdp
from jaxmom.transform import as_pytree, eval_params

P = ParamSpec("P")
R = TypeVar("R")


class Planning(NamedTuple):
    """What `value_iteration` returns."""

    q: jax.Array  # [states, actions]
    value: jax.Array  # [states]
    iterations: jax.Array  # int32 [], applications of the Bellman operator
    error: jax.Array  # [], the largest error: known if there is a target, else a bound
    converged: jax.Array  # bool []


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function in float64, and return NumPy arrays, which keep it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            args, kwargs = jax.tree.map(_widen_tracer, (args, kwargs))
            return jax.tree.map(_to_numpy, function(*args, **kwargs))

    return run


def _widen_tracer(x: Any) -> Any:
    # A lane of a float64 NumPy array has the type of a float32 until it is converted here.
    is_float = isinstance(x, Tracer) and jnp.issubdtype(x.dtype, jnp.floating)
    return jax.lax.convert_element_type(x, jnp.float64) if is_float else x


def _to_numpy(x: Any) -> Any:
    return x if isinstance(x, Tracer) else np.asarray(x)


@in_float64
def bellman(mdp: Mdp, q: ArrayLike, discount: ArrayLike) -> jax.Array:
    """Apply the Bellman optimality operator: ``sum_k p_k (r_k + gamma max_a' Q(s'_k, a'))``.

    Nothing follows a branch that terminates.

    Args:
      mdp: The process.
      q: [states, actions].
      discount: gamma, a scalar.

    Returns:
      [states, actions].

    Raises:
      ValueError: q has another shape, or gamma is not a scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> q = rl.value_iteration(mdp, 0.9).q
      >>> print(bool(jnp.allclose(rl.bellman(mdp, q, 0.9), q)))
      True
    """
    q = jnp.asarray(q, float)
    check_table("q", q, (mdp.states, mdp.actions))
    check_scalar("discount", discount)
    return bellman_backup(mdp, jnp.max(q, axis=-1), discount)


@in_float64
def value_iteration(
    mdp: Mdp,
    discount: ArrayLike,
    optimizer: optax.GradientTransformation | None = None,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
    target: ArrayLike | None = None,
) -> Planning:
    """Find Q* from zero, by plain value iteration or by any optax transformation of ``Q - T Q``.

    Descent along that "gradient" with step 1 is value iteration. `goyal_momentum` and
    `goyal_nesterov` are its momentum forms, `anchored` and `lazy_pid` two others. They gain where
    the process is nearly reversible, such as slippery ice. Many diverge where it is not: then
    `converged` is False.

    Args:
      mdp: The process.
      discount: gamma, a scalar in [0, 1].
      optimizer: Any optax transformation; ``optax.sgd(1.0)`` by default.
      tolerance: Stop when no entry is further than this from Q*: from `target` if it is given,
        else by the bound ``max |T Q - Q| / (1 - gamma)`` (at gamma = 1, by the residual alone).
      max_iterations: Stop after so many iterations in any case.
      target: [states, actions], the known Q*; entries that are NaN are left out.

    Returns:
      A `Planning`, in float64. Its q is that of `jaxmom.eval_params`.

    Raises:
      ValueError: gamma is outside [0, 1] or not a scalar, `target` has another shape, or the
        optimizer needs the value of a loss.

    Example:
      >>> from jaxmom import rl
      >>> line = rl.Mdp([[[1]]] * 2, [[[1]]] * 2, [[[0]], [[1]]], [[[False]], [[True]]], [1, 0])
      >>> plan = rl.value_iteration(line, 0.5)
      >>> print(plan.value, plan.iterations)
      [0.5 1. ] 2
    """
    check_mdp(mdp)
    check_scalar("discount", discount)
    check_interval("discount", discount, 0, 1)
    optimizer = as_pytree(_PLAIN if optimizer is None else optimizer)
    zero = jnp.zeros((mdp.states, mdp.actions))
    if target is not None:
        target = jnp.asarray(target, float)
        check_table("target", target, zero.shape)
    check_optimizer(optimizer, zero)
    return _iterate_values(mdp, discount, optimizer, target, tolerance, max_iterations)


_PLAIN = optax.sgd(1.0)


@functools.partial(jax.jit, static_argnames="max_iterations")
def _iterate_values(mdp, discount, optimizer, target, tolerance, max_iterations):
    discount = jnp.asarray(discount, float)

    def measure_error(q: jax.Array) -> jax.Array:
        if target is not None:
            return jnp.max(jnp.where(jnp.isnan(target), 0.0, jnp.abs(q - target)))
        residual = jnp.max(jnp.abs(bellman_backup(mdp, jnp.max(q, axis=-1), discount) - q))
        return residual / jnp.where(discount < 1, 1 - discount, 1.0)

    def is_unfinished(carry: Any) -> jax.Array:
        _, _, iterations, error = carry
        return (error > tolerance) & jnp.isfinite(error) & (iterations < max_iterations)

    def iterate(carry: Any) -> Any:
        q, state, iterations, _ = carry
        gradient = q - bellman_backup(mdp, jnp.max(q, axis=-1), discount)
        updates, state = optimizer.update(gradient, state, q)
        q = q + updates
        return q, state, iterations + 1, measure_error(eval_params(optimizer, q, state))

    zero = jnp.zeros((mdp.states, mdp.actions))
    start = (zero, optimizer.init(zero), jnp.zeros([], jnp.int32), measure_error(zero))
    q, state, iterations, error = jax.lax.while_loop(is_unfinished, iterate, start)
    q = eval_params(optimizer, q, state)
    return Planning(q, jnp.max(q, axis=-1), iterations, error, error <= tolerance)


def bellman_backup(mdp: Mdp, value: jax.Array, discount: ArrayLike) -> jax.Array:
    """Back a value [states] up to [states, actions]: the mean over branches of ``r + gamma v``."""
    arrays = (mdp.next_state, mdp.probability, mdp.reward, mdp.terminated)
    next_state, probability, reward, terminated = map(jnp.asarray, arrays)
    bootstrap = jnp.where(terminated, 0.0, value[next_state])
    return jnp.sum(probability * (reward + jnp.asarray(discount, float) * bootstrap), axis=-1)
