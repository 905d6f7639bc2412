"""What a run is given, checked before it starts: params, batches, the loss, an earlier run."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxmom._trajectory import Trajectory
from jaxmom.transform import Optimizer, PyTree

LossAtFn: TypeAlias = Callable[[PyTree], jax.Array]  # (params) -> the loss of one step's batch


def as_arrays(params: PyTree) -> PyTree:
    """Return params as arrays.

    Raises:
      TypeError: A leaf is not floating, so that no step could be taken along it.
    """
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.result_type(p)), params)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params) if not _is_inexact(leaf)}
    if dtypes:
        raise TypeError(
            f"params have leaves of dtype {', '.join(sorted(dtypes))}, along which no step can be "
            "taken: give floats (x.astype(float)), and bind constants to the loss by a Partial."
        )
    return params


def _is_inexact(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def check_batches(batches: PyTree, key: jax.Array | None, steps: int) -> None:
    """Raise ValueError if there is not a batch for each step, or no key to draw them with."""
    if isinstance(batches, Partial):
        if not _is_key(key):
            raise ValueError(
                f"batches is a function of (key, count): give key=jax.random.key(seed), got {key}."
            )
        return
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batches)]
    if any(shape[:1] != (steps,) for shape in shapes):
        raise ValueError(
            f"every leaf of batches needs a leading axis of length steps={steps}, one batch for "
            f"each update; the shapes are {shapes}. jnp.stack(list(batches)) joins batches."
        )


def _is_key(key: Any) -> bool:
    """Whether this is one random key, typed or of raw 32-bit words."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", ())
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return shape == ()
    return dtype == jnp.uint32 and len(shape) == 1


def check_scalar(value_fn: LossAtFn, params: PyTree) -> None:
    """Raise ValueError if a loss is not a real number."""
    shape = jax.eval_shape(value_fn, params)
    if getattr(shape, "shape", None) != ():
        raise ValueError(
            f"loss must return one number (shape ()), but it returned {shape}; "
            "take the mean or the sum over examples."
        )
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(
            f"loss must return a real floating number, but it returned {shape}; convert it, or "
            "take the real part or the absolute value."
        )


def check_state(run: Trajectory, optimizer: Optimizer) -> None:
    """Raise ValueError if a run cannot continue with an optimizer, whose state is another."""
    given, needed = map(jax.tree.structure, (run.state, jax.eval_shape(optimizer.init, run.params)))
    if given != needed:
        raise ValueError(
            f"the run to continue has the optimizer state {given}, but this optimizer's is "
            f"{needed}; give the optimizer of that run, or only its params."
        )
