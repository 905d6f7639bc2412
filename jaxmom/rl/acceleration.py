"""Optimizers that accelerate value iteration: for planning only, where all entries move."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.rl._checks import check_interval
from jaxmom.rl.optimizers import (
    VelocityState,
    dense_momentum,
    init_velocity,
    next_velocity,
    update_dense,
)
from jaxmom.transform import Hyperparameters, Optimizer, PyTree, transformation


class AnchorState(NamedTuple):
    """State of `anchored`: the first iterate, and the weight of all iterates so far."""

    anchor: PyTree
    weight: jax.Array


def goyal_momentum(discount: ArrayLike) -> Optimizer:
    """Momentum value iteration: ``Q <- Q + a (T Q - Q) + b (Q - Q')``, for reversible chains.

    With ``r = sqrt(1 - gamma^2)``: a = 2 / (1 + r) and b = (1 - r) / (1 + r), the heavy ball that
    is optimal for a symmetric P. Slippery ice is nearly symmetric; on deterministic moves the
    iteration diverges.

    Args:
      discount: gamma, in [0, 1).

    Returns:
      A pytree optimizer.

    Raises:
      ValueError: gamma is outside its interval.

    Source: Goyal and Grand-Clement 2023 (Operations Research), the momentum constants.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import rl
      >>> hp = jm.hyperparameters(rl.goyal_momentum(0.6))
      >>> print(f"{hp['learning_rate']:.3f} {hp['beta']:.3f}")
      1.111 0.111
    """
    check_interval("discount", discount, 0, 1, is_open=True)
    discount = _to_float64(discount)
    root = (1 - discount**2) ** 0.5
    return dense_momentum(2 / (1 + root), (1 - root) / (1 + root))


def goyal_nesterov(discount: ArrayLike) -> Optimizer:
    """Accelerated value iteration: ``h = Q + c (Q - Q'); Q <- h + a (T h - h)``.

    With a = 1 / (1 + gamma) and c = (1 - sqrt(1 - gamma^2)) / gamma. As in `jaxmom.nesterov`, the
    iterate is h, and `jaxmom.eval_params` is Q.

    Args:
      discount: gamma, in [0, 1).

    Returns:
      A pytree optimizer.

    Raises:
      ValueError: gamma is outside its interval.

    Source: Goyal and Grand-Clement 2023 (Operations Research), the acceleration constants.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=30, actions=2, branches=10)
      >>> fast = rl.value_iteration(mdp, 0.99, rl.goyal_nesterov(0.99))
      >>> print(bool(rl.value_iteration(mdp, 0.99).iterations > 5 * fast.iterations))
      True
    """
    check_interval("discount", discount, 0, 1, is_open=True)
    discount = _to_float64(discount)
    # (1 - sqrt(1 - x^2)) / x, written so that 0 is admitted.
    beta = discount / (1 + (1 - discount**2) ** 0.5)
    hp = {"learning_rate": 1 / (1 + discount), "beta": beta}
    return transformation(init_velocity, _update_accelerated, hp, readout=_read_out_accelerated)


def two_backups(beta: ArrayLike) -> Optimizer:
    """Value iteration with an accelerated target: ``Q <- T Q + beta (T Q - T Q')``.

    Q' is the previous Q, whose backup is kept; the first iteration has Q itself in place of T Q'.
    This has the form of `goyal_nesterov` with a = 1. On chains with eigenvalues near -gamma it is
    stable only for beta below ``(1 / gamma - 1) / 2``.

    Args:
      beta: In [0, 1); 0 is value iteration.

    Returns:
      A pytree optimizer.

    Raises:
      ValueError: beta is outside its interval.

    Source: Weng, Xiong and Zhang 2019 (arXiv 1905.02841), accelerated target updates from earlier
      iterates, here as Nesterov's method with step 1.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=30, actions=2, branches=10)
      >>> fast = rl.value_iteration(mdp, 0.99, rl.two_backups(0.5))
      >>> print(bool(rl.value_iteration(mdp, 0.99).iterations > 2 * fast.iterations))
      True
    """
    check_interval("beta", beta, 0, 1, is_open=True)
    hp = {"learning_rate": 1.0, "beta": beta}
    return transformation(init_velocity, _update_accelerated, hp)


def anchored(discount: ArrayLike) -> Optimizer:
    """Anchored value iteration: ``Q <- w Q_0 + (1 - w) T Q``, w = 1 / sum_{i <= k} gamma^{-2 i}.

    Its error bound is O(1 / k) even as gamma goes to 1, where the contraction is lost.

    Args:
      discount: gamma, in [0, 1].

    Returns:
      A pytree optimizer, whose update needs params.

    Raises:
      ValueError: gamma is outside its interval.

    Source: Lee and Ryu 2023 (NeurIPS), Anc-VI.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> plan = rl.value_iteration(mdp, 0.9, rl.anchored(0.9))
      >>> print(bool(abs(plan.q - rl.value_iteration(mdp, 0.9).q).max() < 1e-9))
      True
    """
    check_interval("discount", discount, 0, 1)
    return transformation(_init_anchor, _update_anchored, {"discount": discount})


def _update_accelerated(
    hp: Hyperparameters, updates: PyTree, state: VelocityState, params: PyTree = None, **extra: Any
) -> tuple[PyTree, VelocityState]:
    _, state = update_dense(hp, updates, state, params, **extra)
    # The iterate runs ahead of Q by one more step of the same velocity.
    return next_velocity(hp, updates, state), state


def _read_out_accelerated(hp: Hyperparameters, state: VelocityState, params: PyTree) -> PyTree:
    del params
    return jax.tree.map(lambda v: -jnp.asarray(hp["beta"], v.dtype) * v, state.velocity)


def _init_anchor(hp: Hyperparameters, params: PyTree) -> AnchorState:
    del hp
    return AnchorState(jax.tree.map(jnp.asarray, params), jnp.ones([], float))


def _update_anchored(
    hp: Hyperparameters, updates: PyTree, state: AnchorState, params: PyTree = None, **extra: Any
) -> tuple[PyTree, AnchorState]:
    del extra
    if params is None:
        raise ValueError("anchored needs params: call update(gradient, state, params).")
    # w_k = 1 / sum_{i <= k} gamma^{-2 i} obeys this recursion, and nothing in it can overflow.
    shrunk = jnp.asarray(hp["discount"], state.weight.dtype) ** 2 * state.weight
    weight = shrunk / (1 + shrunk)

    def move(g: jax.Array, p: jax.Array, start: jax.Array) -> jax.Array:
        w = weight.astype(p.dtype)
        return w * (start - p) - (1 - w) * g

    return jax.tree.map(move, updates, params, state.anchor), AnchorState(state.anchor, weight)


def _to_float64(number: ArrayLike) -> Any:
    """Keep a plain number in float64, as planning is: accelerated forms amplify its rounding."""
    return float(number) if isinstance(number, int | float) else jnp.asarray(number, float)
