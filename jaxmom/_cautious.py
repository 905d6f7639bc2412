"""Steps along the coordinates in which an optimizer agrees with the gradient: `cautious`."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from jaxmom._trees import map_present
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    TransformFns,
    as_pytree,
    assemble,
    has_node,
    read_out,
    wide_dtype,
)

# The least share of agreeing coordinates by which the others are scaled up, of the official code.
LEAST_SHARE = 1e-3


def cautious(optimizer: optax.GradientTransformation) -> Optimizer:
    """Leave out the coordinates in which the step of an optimizer climbs along the gradient.

    ``u <- u mask / max(mean(mask), 0.001)`` with ``mask = (-u g > 0)``, where the mean is that of
    one array of params, so that the step keeps its size. Where all coordinates agree, nothing
    changes.

    Args:
      optimizer: One that ends with its learning rate, so that adding its updates descends. A later
        stage with decoupled weight decay is not masked; one inside is.

    Returns:
      A pytree optimizer; its state is that of `optimizer`.

    Raises:
      ValueError: The first update of `optimizer` goes along the gradient, as that of a filter
        without a learning rate; or it contains a `jaxmom.lookahead`; or, of `jaxmom.eval_params`,
        it evaluates at a point that a mask would move.

    Source:
      Liang et al. 2024 (arXiv 2411.16085), algorithm 1, with the mean of the official code.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.cautious(jm.heavy_ball(0.1, beta=0.9))
      >>> state = optimizer.init(jnp.zeros(2))
      >>> updates, state = optimizer.update(jnp.array([1.0, 1.0]), state)
      >>> updates, state = optimizer.update(jnp.array([1.0, -0.5]), state)
      >>> print(updates + 0.0)  # the second would still go down, so the first goes twice as far
      [-0.38  0.  ]
    """
    inner = as_pytree(optimizer)
    if _climbs(inner):
        raise ValueError(
            "cautious needs an optimizer whose updates descend, and the first update of this one "
            "goes along the gradient; put cautious around the chain that ends with a learning rate."
        )
    return assemble(_CAUTIOUS, (), {}, [inner], ())


def _climbs(optimizer: Optimizer) -> bool:
    """Whether the first update goes along the gradient, as far as plain hyperparameters tell."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(optimizer)):
        return False
    ones = jnp.ones((2, 2))
    try:
        with jax.ensure_compile_time_eval():
            update: Any = optimizer.update(ones, optimizer.init(ones), ones)[0]
            return bool(jnp.sum(update) > 0)
    except Exception:  # for other params, a batch to be mapped over, or in need of more arguments
        return False


def _init_inner(hp: Hyperparameters, params: PyTree) -> PyTree:
    return hp["transforms"][0](params)


def _update_cautiously(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    new, state = hp["transforms"][0](updates, state, params, **extra)

    def keep_descent(step: Any, gradient: Any) -> jax.Array:
        dtype = wide_dtype(step)
        u, g = jnp.asarray(step, dtype), jnp.asarray(gradient, dtype)
        real = u.real.dtype
        mask = (-(u * g.conj()).real > 0).astype(real)
        share = jnp.maximum(jnp.mean(mask), jnp.asarray(LEAST_SHARE, real))
        return u * (mask / share).astype(dtype)

    return map_present(keep_descent, new, updates), state


def _read_inner(hp: Hyperparameters, state: PyTree, params: PyTree) -> PyTree | None:
    update = hp["transforms"][0]
    offset = read_out(update, state, params)
    if offset is not None and not has_node(update, "absolute"):
        raise ValueError(
            "cautious leaves out coordinates of the steps, so the point at which this method "
            "evaluates is no longer the sum of its steps; report the loss at params."
        )
    return offset


def _check_inner(hp: Hyperparameters) -> None:
    if has_node(hp["transforms"][0].update, "last"):
        raise ValueError("lookahead moves params itself; put it around cautious.")


_CAUTIOUS = TransformFns(_init_inner, _update_cautiously, _read_inner, _check_inner, "cautious")
