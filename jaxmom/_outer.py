"""Outer loops around an optimizer: `lookahead`, which with outer momentum is SNOO and DiLoCo."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmom.filters import as_hyperparameter, check_bounds, check_period
from jaxmom.transform import (
    EvaluatedElsewhere,
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_leaf,
    as_pytree,
    assemble,
    has_node,
    require_params,
    state_dtype,
)


class _Outer(NamedTuple):
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    slow: PyTree
    velocity: PyTree
    inner: PyTree


class LookaheadState(_Outer, EvaluatedElsewhere):
    """State of `lookahead`.

    Attributes:
      count: int32 [], the updates made so far.
      slow: A tree like params, the slow weights; zeros before the first update.
      velocity: A tree like params, the outer momentum.
      inner: The state of the optimizer inside.
    """

    __slots__ = ()


def lookahead(
    optimizer: optax.GradientTransformation,
    period: ScalarOrSchedule,
    step: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.0,
) -> Optimizer:
    """Take a step of an outer loop along what every `period` updates of an optimizer have done.

    The fast weights are params. After every K-th update,

        d = slow - fast;  v <- beta v + d;  slow <- slow - a (d + beta v);  fast <- slow

    which is Lookahead for beta = 0, and Nesterov's momentum on the pseudo-gradient d otherwise, as
    in SNOO and in DiLoCo with one worker. `jaxmom.eval_params` gives the slow weights.

    Args:
      optimizer: The inner optimizer, whose state goes on from one period to the next.
      period: K, a whole number of at least 1. A traced one is rounded, and counts as 1 below that.
      step: a, the outer learning rate: 0.5 in Lookahead, 0.7 in DiLoCo. With 1 and beta = 0 this is
        the inner optimizer.
      beta: The outer momentum, in (-1, 1); 0.9 in DiLoCo.

    Returns:
      A pytree optimizer; its state is a `LookaheadState`. Its `update` needs params, and in a
      chain it must be the last stage.

    Raises:
      ValueError: A plain number is out of bounds, params are missing, or `optimizer` contains
        another lookahead.

    Source:
      Zhang et al. 2019 (arXiv 1907.08610), algorithm 1; Douillard et al. 2023 (arXiv 2311.08105),
      algorithm 1, and Kallusky et al. 2025 (arXiv 2510.15830) for the outer momentum.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.lookahead(jm.gradient_descent(0.5), period=2, step=0.5)
      >>> run = jm.optimize(lambda x: x**2 / 2, jnp.array(8.0), optimizer, 4, record="params")
      >>> print(run.history["params"])  # 8, 4, (8 + 2) / 2, 2.5, (5 + 1.25) / 2
      [8.    4.    5.    2.5   3.125]
    """
    inner = as_pytree(optimizer)
    given = {"period": period, "step": step, "beta": beta}
    values = {name: as_leaf(name, value) for name, value in given.items()}
    return assemble(_LOOKAHEAD, (), values, [inner], ())


# Lookahead as pure functions; ``hp["transforms"]`` holds the child's `init` or `update`.


def _init_outer(hp: Hyperparameters, params: PyTree) -> LookaheadState:
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=state_dtype(p)), params)
    return LookaheadState(jnp.zeros([], jnp.int32), zeros, zeros, hp["transforms"][0](params))


def _update_outer(
    hp: Hyperparameters, updates: PyTree, state: LookaheadState, params: PyTree, **extra: Any
) -> tuple[PyTree, LookaheadState]:
    require_params("lookahead", params)
    bounds = {"period": "[1, inf)", "step": "(-inf, inf)", "beta": "(-1, 1)"}
    period, step, beta = (as_hyperparameter(n, hp[n], within) for n, within in bounds.items())
    whole = jnp.maximum(jnp.round(jnp.asarray(period)), 1).astype(jnp.int32)
    syncs = state.count % whole == whole - 1
    updates, inner = hp["transforms"][0](updates, state.inner, params, **extra)

    def advance(update: Any, point: Any, old: Any, velocity: Any) -> tuple[Any, Any, Any]:
        if update is None:  # a frozen leaf
            return None, old, velocity
        dtype = velocity.dtype
        u, y, a, b = (jnp.asarray(x, dtype) for x in (update, point, step, beta))
        slow = jnp.where(state.count == 0, y, old)
        d = slow - (y + u)
        v = b * velocity + d
        new = slow - a * (d + b * v)
        chosen = ((new - y, u), (new, slow), (v, velocity))
        moved, slow, v = (jnp.where(syncs, *pair) for pair in chosen)
        return moved, slow, v

    leaves, treedef = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
    columns = [treedef.flatten_up_to(tree) for tree in (params, state.slow, state.velocity)]
    rows = [advance(*row) for row in zip(leaves, *columns, strict=True)]
    moved, slow, velocity = (treedef.unflatten([row[i] for row in rows]) for i in range(3))
    count: Any = optax.safe_increment(state.count)
    return moved, LookaheadState(count, slow, velocity, inner)


def _read_slow(hp: Hyperparameters, state: LookaheadState, params: PyTree) -> PyTree:
    del hp

    def offset(slow: jax.Array, point: Any) -> jax.Array:
        return jnp.where(state.count == 0, 0, slow - jnp.asarray(point, slow.dtype))

    return jax.tree.map(offset, state.slow, params)


def _check_outer(hp: Hyperparameters) -> None:
    check_bounds("beta", hp["beta"], "(-1, 1)")
    check_period("lookahead", hp["period"])
    if has_node(hp["transforms"][0].update, "last"):
        raise ValueError(
            "lookahead moves params at the end of a period, which the lookahead inside it would "
            "not see; put it around the inner optimizer alone."
        )


_LOOKAHEAD = TransformFns(
    _init_outer,
    _update_outer,
    _read_slow,
    _check_outer,
    name="lookahead",
    absolute=True,
    last=True,
)
