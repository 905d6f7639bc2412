"""Combinators of optimizers: `chain` (one after the other) and `mix` (side by side)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_leaf,
    as_pytree,
    assemble,
    read_out,
    wide_dtype,
)


def chain(*transforms: optax.GradientTransformation) -> Optimizer:
    """Apply transformations one after the other, as `optax.chain`, and stay a pytree.

    Args:
      *transforms: Pytree optimizers and plain optax transformations, in any mixture. The state is
        the tuple of their states.

    Returns:
      A pytree optimizer; a plain optax transformation in it has no leaves.

    Example:
      >>> import optax, jaxmom as jm
      >>> clipped = jm.chain(optax.clip_by_global_norm(1.0), jm.heavy_ball(0.1, beta=0.9))
      >>> jm.hyperparameters(clipped)
      {'learning_rate': 0.1, 'beta': 0.9}
    """
    return assemble(_CHAIN, (), {}, tuple(map(as_pytree, transforms)), ())


def mix(
    transforms: Sequence[optax.GradientTransformation], weights: ScalarOrSchedule | Sequence[Any]
) -> Optimizer:
    """Run transformations side by side on the same gradient and add up what they return.

    ``update = sum_i weights[i] * update_i``: the parallel counterpart of `chain`.

    Args:
      transforms: n transformations.
      weights: [n] numbers, or a schedule that returns them; a hyperparameter named ``weights``.

    Returns:
      A pytree optimizer whose state is the tuple of the n states.

    Raises:
      ValueError: The number of plain weights is not the number of transformations.

    Example:
      Quasi-hyperbolic momentum is a mixture of the gradient and its moving average:

      >>> import optax, jaxmom as jm
      >>> average = jm.lift(optax.ema)(0.999, debias=False)
      >>> qhm = jm.chain(jm.mix([optax.identity(), average], [0.3, 0.7]), optax.scale(-0.1))
    """
    if isinstance(weights, Sequence) and len(weights) != len(transforms):
        raise ValueError(
            f"mix got {len(transforms)} transformations and {len(weights)} weights; "
            "give one weight for each transformation."
        )
    values = {"weights": as_leaf("weights", weights)}
    return assemble(_MIX, (), values, tuple(map(as_pytree, transforms)), ())


# The two as pure functions; ``hp["transforms"]`` holds the children's `init` or `update`.


def _init_all(hp: Hyperparameters, params: PyTree) -> tuple[PyTree, ...]:
    return tuple(init(params) for init in hp["transforms"])


def _update_in_turn(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    states = []
    for update, inner in zip(hp["transforms"], state, strict=True):
        updates, inner = update(updates, inner, params, **extra)
        states.append(inner)
    return updates, tuple(states)


def _readout_in_turn(hp: Hyperparameters, state: PyTree, params: PyTree) -> PyTree | None:
    offset = None
    for update, inner in zip(hp["transforms"], state, strict=True):
        if offset is not None:
            offset, _ = update(offset, inner, params)
        else:
            offset = read_out(update, inner, params)
    return offset


def _update_side_by_side(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    pairs = [
        update(updates, inner, params, **extra)
        for update, inner in zip(hp["transforms"], state, strict=True)
    ]
    return _weighted_sum(hp["weights"], [pair[0] for pair in pairs]), tuple(p[1] for p in pairs)


def _readout_side_by_side(hp: Hyperparameters, state: PyTree, params: PyTree) -> PyTree | None:
    offsets = [read_out(u, s, params) for u, s in zip(hp["transforms"], state, strict=True)]
    if all(offset is None for offset in offsets):
        return None
    zero = jax.tree.map(jnp.zeros_like, params)
    return _weighted_sum(hp["weights"], [zero if offset is None else offset for offset in offsets])


def _weighted_sum(weights: Any, trees: Sequence[PyTree]) -> PyTree:
    def combine(*leaves: Any) -> Any:
        dtype = wide_dtype(leaves[0])
        terms = [
            jnp.asarray(weights[i], dtype) * jnp.asarray(x, dtype) for i, x in enumerate(leaves)
        ]
        return sum(terms[1:], terms[0])

    return jax.tree.map(combine, *trees)


_CHAIN = TransformFns(_init_all, _update_in_turn, _readout_in_turn)
_MIX = TransformFns(_init_all, _update_side_by_side, _readout_side_by_side)
