"""Faster value iteration: transformations of ``Q - T Q`` for planning, where all entries move."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.rl.rules import dense_momentum, dense_update, velocity, velocity_init
from jaxmom.transform import Optimizer, transformation


class AnchorState(NamedTuple):
    """State of `anchored`: where the iteration began, and the weight of all that has been seen."""

    anchor: Any
    weight: jax.Array


def goyal_momentum(discount: ArrayLike) -> Optimizer:
    """Momentum value iteration: ``Q <- Q + a (T Q - Q) + b (Q - Q')``, for reversible chains.

    With ``r = sqrt(1 - gamma^2)``: a = 2 / (1 + r) and b = (1 - r) / (1 + r), the heavy ball that
    is optimal for a symmetric P. Slippery ice is nearly so; on deterministic moves it diverges.

    Source: Goyal and Grand-Clement 2023 (Operations Research), the momentum constants.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import rl
      >>> hp = jm.hyperparameters(rl.goyal_momentum(0.6))
      >>> print(f"{hp['learning_rate']:.3f} {hp['beta']:.3f}")
      1.111 0.111
    """
    discount = _exact(discount)
    root = (1 - discount**2) ** 0.5
    return dense_momentum(2 / (1 + root), (1 - root) / (1 + root))


def goyal_nesterov(discount: ArrayLike) -> Optimizer:
    """Accelerated value iteration: ``h = Q + c (Q - Q'); Q <- h + a (T h - h)``.

    With a = 1 / (1 + gamma) and c = (1 - sqrt(1 - gamma^2)) / gamma. As in `jaxmom.nesterov`, what
    is iterated is h; `jaxmom.eval_params` is Q.

    Source: Goyal and Grand-Clement 2023 (Operations Research), the acceleration constants.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=30, actions=2, branches=10)
      >>> fast = rl.value_iteration(mdp, 0.99, rl.goyal_nesterov(0.99))
      >>> print(bool(rl.value_iteration(mdp, 0.99).iterations > 5 * fast.iterations))
      True
    """
    discount = _exact(discount)
    # (1 - sqrt(1 - x^2)) / x, written so that 0 is admitted.
    beta = discount / (1 + (1 - discount**2) ** 0.5)
    hp = {"learning_rate": 1 / (1 + discount), "beta": beta}
    return transformation(velocity_init, _nesterov_update, hp, readout=_nesterov_readout)


def anchored(discount: ArrayLike) -> Optimizer:
    """Anchored value iteration: ``Q <- w Q_0 + (1 - w) T Q``, w = 1 / sum_{i <= k} gamma^{-2 i}.

    Its error bound is O(1 / k) even as gamma goes to 1, where the contraction is lost.

    Args:
      discount: gamma, in (0, 1].

    Source: Lee and Ryu 2023 (NeurIPS), Anc-VI.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> plan = rl.value_iteration(mdp, 0.9, rl.anchored(0.9))
      >>> print(bool(abs(plan.q - rl.value_iteration(mdp, 0.9).q).max() < 1e-9))
      True
    """
    return transformation(_anchor_init, _anchor_update, {"discount": discount})


def _nesterov_update(hp, updates, state, params=None, **extra):
    _, state = dense_update(hp, updates, state, params, **extra)
    # What is iterated runs ahead of Q by one more step of the same velocity.
    return velocity(hp, updates, state), state


def _nesterov_readout(hp, state, params):
    del params
    return jax.tree.map(lambda v: -jnp.asarray(hp["beta"], v.dtype) * v, state.velocity)


def _anchor_init(hp, params):
    del hp
    return AnchorState(jax.tree.map(jnp.asarray, params), jnp.ones([], float))


def _anchor_update(hp, updates, state, params=None, **extra):
    del extra
    if params is None:
        raise ValueError("anchored needs params: update(gradient, state, params).")
    # w_k = 1 / sum_{i <= k} gamma^{-2 i} obeys this recursion, and nothing in it can overflow.
    shrunk = jnp.asarray(hp["discount"], state.weight.dtype) ** 2 * state.weight
    weight = shrunk / (1 + shrunk)

    def move(g: jax.Array, p: jax.Array, start: jax.Array) -> jax.Array:
        w = weight.astype(p.dtype)
        return w * (start - p) - (1 - w) * g

    return jax.tree.map(move, updates, params, state.anchor), AnchorState(state.anchor, weight)


def _exact(number: ArrayLike) -> Any:
    """A plain number stays one, in float64 as planning is: fast forms feel the difference."""
    return float(number) if isinstance(number, int | float) else jnp.asarray(number, float)
