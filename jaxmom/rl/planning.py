"""The truth beside the learning: value iteration in all its forms, policies and their values.

All of it is float64, whatever JAX's default precision is: what learning is measured against shall
not be rounded first.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.rl.mdp import Mdp
from jaxmom.transform import as_pytree, eval_params


class Planning(NamedTuple):
    """What `value_iteration` returns."""

    q: jax.Array  # [states, actions]
    value: jax.Array  # [states]
    iterations: jax.Array  # int32 [], applications of the Bellman operator
    error: jax.Array  # [], the largest error: known where a target was given, else a bound
    converged: jax.Array  # bool []


def exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function in float64, and return NumPy arrays, which keep it."""

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        with jax.enable_x64(True):
            return jax.tree.map(_at_home, function(*args, **kwargs))

    return exact


def _at_home(x: Any) -> Any:
    return x if isinstance(x, Tracer) else np.asarray(x)


@exactly
def bellman(mdp: Mdp, q: ArrayLike, discount: ArrayLike) -> jax.Array:
    """The Bellman optimality operator: ``T Q = sum_k p_k (r_k + gamma max_a' Q(s'_k, a'))``.

    Nothing follows a branch that terminates.

    Args:
      mdp: The process.
      q: [states, actions].
      discount: gamma.

    Returns:
      [states, actions].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> q = rl.value_iteration(mdp, 0.9).q
      >>> print(bool(jnp.allclose(rl.bellman(mdp, q, 0.9), q)))
      True
    """
    return backed_up(mdp, jnp.max(jnp.asarray(q, float), axis=-1), discount)


@exactly
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
    `goyal_nesterov` are its momentum forms, `anchored` and `lazy_pid` the others. They gain where
    the process is nearly reversible, such as slippery ice, and many diverge where it is not: then
    `converged` is False.

    Args:
      mdp: The process.
      discount: gamma, in [0, 1].
      optimizer: Any optax transformation; ``optax.sgd(1.0)`` by default.
      tolerance: Stop when no entry is further than this from Q*: from `target`, where it is given,
        else by the bound ``max |T Q - Q| / (1 - gamma)`` (at gamma = 1, by the residual alone).
      max_iterations: Stop at last.
      target: [states, actions], the known Q*.

    Returns:
      A `Planning`, in float64. Its q is that of `jaxmom.eval_params`.

    Raises:
      ValueError: gamma is a plain number outside [0, 1].

    Example:
      >>> from jaxmom import rl
      >>> walk = rl.Mdp([[[1]]] * 2, [[[1]]] * 2, [[[0]], [[1]]], [[[False]], [[True]]], [1, 0])
      >>> plan = rl.value_iteration(walk, 0.5)
      >>> print(plan.value, plan.iterations)
      [0.5 1. ] 2
    """
    if isinstance(discount, int | float) and not 0 <= discount <= 1:
        raise ValueError(f"discount is in [0, 1], got {discount}.")
    optimizer = as_pytree(_PLAIN if optimizer is None else optimizer)
    goal = None if target is None else jnp.asarray(target, float)
    return _iterate(mdp, discount, optimizer, goal, tolerance, max_iterations)


_PLAIN = optax.sgd(1.0)


@functools.partial(jax.jit, static_argnames="max_iterations")
def _iterate(mdp, discount, optimizer, goal, tolerance, max_iterations):
    discount = jnp.asarray(discount, float)

    def distance(q: jax.Array) -> jax.Array:
        if goal is not None:
            return jnp.max(jnp.abs(q - goal))
        residual = jnp.max(jnp.abs(backed_up(mdp, jnp.max(q, axis=-1), discount) - q))
        return residual / jnp.where(discount < 1, 1 - discount, 1.0)

    def unfinished(carry: Any) -> jax.Array:
        _, _, iterations, error = carry
        return (error > tolerance) & jnp.isfinite(error) & (iterations < max_iterations)

    def advance(carry: Any) -> Any:
        q, state, iterations, _ = carry
        gradient = q - backed_up(mdp, jnp.max(q, axis=-1), discount)
        updates, state = optimizer.update(gradient, state, q)
        q = q + updates
        return q, state, iterations + 1, distance(eval_params(optimizer, q, state))

    zero = jnp.zeros((mdp.states, mdp.actions))
    start = (zero, optimizer.init(zero), jnp.zeros([], jnp.int32), distance(zero))
    q, state, iterations, error = jax.lax.while_loop(unfinished, advance, start)
    q = eval_params(optimizer, q, state)
    return Planning(q, jnp.max(q, axis=-1), iterations, error, error <= tolerance)


def backed_up(mdp: Mdp, value: jax.Array, discount: ArrayLike) -> jax.Array:
    """The mean over branches of the reward and of what `value` says of the next state."""
    arrays = (mdp.next_state, mdp.probability, mdp.reward, mdp.terminated)
    following, probability, reward, terminated = map(jnp.asarray, arrays)
    later = jnp.where(terminated, 0.0, value[following])
    return jnp.sum(probability * (reward + jnp.asarray(discount, float) * later), axis=-1)
