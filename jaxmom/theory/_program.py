"""An optimizer's first state and its update as two programs on flat lists of leaves."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxmom import _jaxpr
from jaxmom.transform import PyTree


class UpdateProgram:
    """One update, its step added to params, on leaves [*params, *state].

    The optimizer's code is traced once. What is proved and what is evaluated are that trace.

    Attributes:
      names: The leaves by their place in the state.
      types: Their shapes and dtypes.
      first_trace: The jaxpr from a point, at which all params are, to the leaves before any update.
      update_trace: The jaxpr of an update, from (gradient, value of the loss, *leaves) to leaves.
    """

    def __init__(self, optimizer: optax.GradientTransformation, params: PyTree = None):
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                "the code of an optimizer is read: give a method of jaxmom or another optax "
                f"transformation, got {type(optimizer).__name__}."
            )
        self._optimizer = optax.with_extra_args_support(optimizer)
        self._params = jax.tree.map(lambda _: 0.0, 0.0 if params is None else params)
        paths, self._treedef = jax.tree_util.tree_flatten_with_path(self._leaves_at(zero()))
        self.names = [_leaf_name(path) for path, _ in paths]
        self.types = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for _, x in paths]
        self.first_trace = jax.make_jaxpr(self._first_leaves)(zero())
        self.update_trace = jax.make_jaxpr(self._update)(zero(), zero(), self.start())

    def initial(self, point: Any) -> list[jax.Array]:
        """Return the leaves before the first update, if all params are at this point."""
        return list(_jaxpr.as_function(self.first_trace)(point))

    def start(self) -> list[jax.Array]:
        """Return the leaves before the first update of params at zero."""
        return self.initial(zero())

    def update(self, gradient: Any, value: Any, leaves: Sequence[Any]) -> list[jax.Array]:
        """Return the leaves after an update, in the types of those before it."""
        return list(_jaxpr.as_function(self.update_trace)(gradient, value, *leaves))

    def advance(self, leaves: Sequence[Any]) -> list[jax.Array]:
        """Return the leaves after an update without gradient: only the clock moves."""
        return self.update(zero(), zero(), leaves)

    def after(self, count: ArrayLike, point: Any = None) -> list[jax.Array]:
        """Return the leaves after so many updates without gradient, from zero or a point on."""
        start = self.start() if point is None else self.initial(point)
        return jax.lax.fori_loop(0, count, lambda _, leaves: self.advance(leaves), start)

    def _leaves_at(self, point: Any) -> tuple[Any, Any]:
        params = jax.tree.map(lambda _: point, self._params)
        with jax.numpy_dtype_promotion("standard"):
            return params, self._optimizer.init(params)

    def _first_leaves(self, point: Any) -> list[jax.Array]:
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(self._leaves_at(point))]

    def _update(self, gradient: Any, value: Any, leaves: Sequence[Any]) -> list[jax.Array]:
        params, state = jax.tree.unflatten(self._treedef, leaves)
        known = {"value": value, "grad": gradient, "value_fn": lambda _: value}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self._optimizer.update(gradient, state, params, **known)
            new = jax.tree.leaves((jax.tree.map(jnp.add, params, updates), state))
        return [_as_type(leaf, like) for leaf, like in zip(new, self.types, strict=True)]


def zero() -> jax.Array:
    """Return zero in the widest float in use."""
    return jnp.zeros([], float)


def _leaf_name(path: Any) -> str:
    text = jax.tree_util.keystr(path[1:]).lstrip(".")
    return text or ("params" if path[0].idx == 0 else "state")


def _as_type(leaf: Any, like: jax.ShapeDtypeStruct) -> Any:
    key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
    return leaf if key else jnp.asarray(leaf, like.dtype)
