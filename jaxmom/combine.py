"""Combinators of optimizers: `chain` (one after the other) and `mix` (side by side)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jaxmom._jaxpr import inputs_needed
from jaxmom.transform import (
    NUMBER,
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_leaf,
    as_plain_vector,
    as_pytree,
    assemble,
    has_node,
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

    Raises:
      ValueError: A `jaxmom.lookahead` is not the last stage.

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
      ValueError: There is no transformation, or not one weight for each.

    Example:
      Quasi-hyperbolic momentum is a mixture of the gradient and its moving average:

      >>> import optax, jaxmom as jm
      >>> average = jm.lift(optax.ema)(0.999, debias=False)
      >>> qhm = jm.chain(jm.mix([optax.identity(), average], [0.3, 0.7]), optax.scale(-0.1))
    """
    values = {"weights": as_leaf("weights", as_plain_vector(weights))}
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
    offset, fixed = None, None
    for i, (update, inner) in enumerate(zip(hp["transforms"], state, strict=True)):
        own = read_out(update, inner, params)
        if own is not None and has_node(update, "absolute"):
            fixed, own = own, None
        passed = None if offset is None else _pass_through(i, update, inner, params, offset)
        both = passed is not None and own is not None
        offset = jax.tree.map(jnp.add, passed, own) if both else own if passed is None else passed
    if offset is not None and fixed is not None:
        raise ValueError(
            "a stage of the chain keeps an average of params and another evaluates at a point of "
            "its own; put jm.average around the whole chain."
        )
    return offset if fixed is None else fixed


def _check_order(hp: Hyperparameters) -> None:
    if any(has_node(stage.update, "last") for stage in hp["transforms"][:-1]):
        raise ValueError(
            "lookahead moves params at the end of a period, so no later stage may change its "
            "updates; make it the last stage of the chain, or put it around the whole chain."
        )


def _pass_through(
    position: int, update: Any, state: PyTree, params: PyTree, offset: PyTree
) -> PyTree:
    """Return what a later stage of a chain makes of an offset: the linear part of its update.

    Params are sums of updates. So their difference to another point passes through a stage if its
    update is linear but for a constant (weight decay), and if it remembers no earlier updates.
    """

    def stage(updates: PyTree) -> PyTree:
        return update(updates, state, params)[0]

    def memory(inputs: dict[str, PyTree]) -> list[Any]:
        new_state = update(inputs["updates"], state, params)[1]
        return [leaf for leaf in jax.tree.leaves(new_state) if _is_floating(leaf)]

    offset = jax.tree.map(jnp.asarray, offset)
    zero = jax.tree.map(jnp.zeros_like, offset)
    try:
        remembers = inputs_needed(memory, {"updates": zero})
        if not remembers:  # JAX transposes linear programs alone
            jax.eval_shape(jax.linear_transpose(stage, zero), jax.eval_shape(stage, zero))
    except Exception as error:
        raise ValueError(_explain_stop(position, "is not linear")) from error
    if remembers:
        raise ValueError(_explain_stop(position, "remembers earlier updates"))
    return jax.jvp(stage, (zero,), (offset,))[1]


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, NUMBER) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _explain_stop(position: int, reason: str) -> str:
    return (
        f"stage {position} of the chain {reason}, so that eval_params cannot carry the point of a "
        "method through it; put the stage before the method, or report the loss at params."
    )


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
    if any(has_node(update, "absolute") for update in hp["transforms"]):
        raise ValueError(
            "one of the mixed optimizers keeps an average of params, which a mixture cannot weigh; "
            "put jm.average around the mixture."
        )
    zero = jax.tree.map(jnp.zeros_like, params)
    return _weighted_sum(hp["weights"], [zero if offset is None else offset for offset in offsets])


def _check_weights(hp: Hyperparameters) -> None:
    weights, n = hp["weights"], len(hp["transforms"])
    if n == 0:
        raise ValueError("mix needs at least one transformation.")
    if any(has_node(child.update, "last") for child in hp["transforms"]):
        raise ValueError("lookahead moves params itself; put it around the mixture.")
    if isinstance(weights, Partial):  # known when it is called
        return
    shape = (len(weights),) if isinstance(weights, tuple) else jnp.shape(weights)
    if shape[-1:] != (n,):
        given = shape[-1] if shape else "a single number for"
        raise ValueError(
            f"mix got {n} transformations and {given} weights; "
            "give one weight for each transformation."
        )


def _weighted_sum(weights: Any, trees: Sequence[PyTree]) -> PyTree:
    if jnp.shape(weights) != (len(trees),):
        raise ValueError(
            f"mix has {len(trees)} transformations, but its weights have shape "
            f"{jnp.shape(weights)}; give one weight for each transformation. A batch of weights is "
            "mapped over by jax.vmap, as in jax.vmap(train)(optimizer)."
        )

    def combine(*leaves: Any) -> Any:
        dtype = wide_dtype(leaves[0])
        terms = [
            jnp.asarray(weights[i], dtype) * jnp.asarray(x, dtype) for i, x in enumerate(leaves)
        ]
        return sum(terms[1:], terms[0])

    return jax.tree.map(combine, *trees)


_CHAIN = TransformFns(_init_all, _update_in_turn, _readout_in_turn, _check_order, title="chain")
_MIX = TransformFns(
    _init_all, _update_side_by_side, _readout_side_by_side, _check_weights, title="mix"
)
