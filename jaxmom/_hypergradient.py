"""Methods that need more than the gradient: `hypergradient_descent`, `with_previous_gradient`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmom._jaxpr import inputs_needed
from jaxmom._trees import inner_product, vary_with
from jaxmom._values import floating, is_plain_number
from jaxmom.filters import as_hyperparameter, check_rank
from jaxmom.transform import (
    NUMBER,
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_leaf,
    as_pytree,
    assemble,
    hyperparameters,
    read_out,
    replace,
    state_dtype,
)


class HypergradientState(NamedTuple):
    """State of `hypergradient_descent`.

    Attributes:
      change: [], what the hyperparameter has changed by since the start.
      slope: A tree like params, the derivative of the last update with respect to the
        hyperparameter.
      inner: The state of the optimizer inside.
    """

    change: jax.Array
    slope: PyTree
    inner: PyTree


def hypergradient_descent(
    optimizer: optax.GradientTransformation, name: str, hyper_step: ScalarOrSchedule
) -> Optimizer:
    """Let a hyperparameter of an optimizer descend along the gradient of the loss, as it trains.

    ``h_t = h_{t-1} - kappa <g_t, d u_{t-1} / d h>; y_{t+1} = y_t + u_t(h_t)``, where u is the
    update of the optimizer. Its derivative is that of the last update alone, with the buffers held
    fixed, and is taken in forward mode. For gradient descent and its learning rate this is
    ``alpha <- alpha + kappa <g_t, g_{t-1}>``.

    Args:
      optimizer: A pytree optimizer; the value of its hyperparameter is where h starts.
      name: The name of the hyperparameter, one number, as `jaxmom.hyperparameters` lists it.
      hyper_step: kappa, named "hyper_step"; with 0 this is the optimizer itself.

    Returns:
      A pytree optimizer; its state is a `HypergradientState`, and h is the starting value plus
      ``state.change``. h may leave the bounds that hold for a plain number.

    Raises:
      ValueError: There is no such hyperparameter, or it is a schedule or a vector; or, at the first
        update, its derivative is zero everywhere (a period, a beta whose buffer only a sign sees).

    Source:
      Baydin et al. 2018 (arXiv 1703.04782), algorithms 4 to 6.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> base = jm.gradient_descent(learning_rate=0.01)
      >>> optimizer = jm.hypergradient_descent(base, "learning_rate", hyper_step=0.02)
      >>> run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, steps=20)
      >>> print(f"{0.01 + run.state.change:.2f}")
      0.14
    """
    inner = as_pytree(optimizer)
    values = {"hyper_step": as_leaf("hyper_step", hyper_step)}
    return assemble(_HYPERGRADIENT, (("name", name),), values, [inner], ())


def _init_hypergradient(hp: Hyperparameters, params: PyTree) -> HypergradientState:
    slope = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=state_dtype(p)), params)
    return HypergradientState(vary_with(jnp.zeros([]), params), slope, hp["transforms"][0](params))


def _update_by_hypergradient(
    hp: Hyperparameters, updates: PyTree, state: HypergradientState, params: PyTree, **extra: Any
) -> tuple[PyTree, HypergradientState]:
    step = floating(as_hyperparameter("hyper_step", hp["hyper_step"]))
    change = state.change - step.astype(state.change.dtype) * inner_product(updates, state.slope)

    def update_with(change: jax.Array) -> tuple[PyTree, PyTree]:
        return _changed(hp, change).update(updates, state.inner, params, **extra)

    new, differentiate, inner = jax.linearize(update_with, change, has_aux=True)
    _check_slope(hp["name"], differentiate, change)
    slope = jax.tree.map(
        lambda old, s: old if s is None else s,
        state.slope,
        differentiate(jnp.ones_like(change)),
        is_leaf=_is_none,
    )
    return new, HypergradientState(change, slope, inner)


def _check_slope(name: str, differentiate: Callable[[Any], PyTree], change: jax.Array) -> None:
    """Refuse a hyperparameter that no derivative of an update reaches, as its program shows."""
    slope = jax.eval_shape(differentiate, change)
    moves = inputs_needed(lambda inputs: differentiate(inputs["tangent"]), {"tangent": change})
    if jax.tree.leaves(slope) and not moves:
        raise ValueError(
            f"hypergradient_descent cannot move {name!r}: the derivative of an update with respect "
            "to it is zero everywhere, as it is for counts and periods, for what only a sign sees, "
            "and for averages of params. It would stand still; sweep over it instead."
        )


def _changed(hp: Hyperparameters, change: jax.Array) -> Optimizer:
    """Return the optimizer inside with the current value of its hyperparameter."""
    update, init = hp["transforms"]
    optimizer = Optimizer(init, update)
    value = hyperparameters(optimizer)[hp["name"]]
    check_rank(hp["name"], jnp.shape(value))
    return replace(optimizer, **{hp["name"]: floating(value) + change})


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _read_changed(hp: Hyperparameters, state: HypergradientState, params: PyTree) -> PyTree | None:
    return read_out(_changed(hp, state.change).update, state.inner, params)


def _check_name(hp: Hyperparameters) -> None:
    known = hyperparameters(hp["transforms"][0])
    name = hp["name"]
    if name not in known:
        raise ValueError(
            f"hypergradient_descent found no hyperparameter {name!r}; the optimizer has "
            f"{list(known)}."
        )
    value = known[name]
    if not isinstance(value, NUMBER) or (not is_plain_number(value) and _is_plain_vector(value)):
        raise ValueError(
            f"hypergradient_descent moves one number, but {name!r} is {value!r}; give the "
            "optimizer a number that it starts from."
        )


def _is_plain_vector(value: Any) -> bool:
    return not isinstance(value, jax.Array) and jnp.ndim(value) > 0


_HYPERGRADIENT = TransformFns(
    _init_hypergradient,
    _update_by_hypergradient,
    _read_changed,
    _check_name,
    name="hypergradient",
    needs_init=True,
)


class PreviousParamsState(NamedTuple):
    """State of `with_previous_gradient`.

    Attributes:
      count: int32 [], the updates made so far.
      previous: The params of the last update; zeros before the first.
      inner: The state of the optimizer inside.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    previous: PyTree
    inner: PyTree


def with_previous_gradient(optimizer: optax.GradientTransformation) -> Optimizer:
    """Give an optimizer the gradient at the previous params, on the batch of this step.

    Methods that reduce variance compare two gradients on one batch. This computes the second from
    ``value_fn``, which `jaxmom.optimize` passes to every update, and passes it on as the extra
    argument ``previous_grad``. In a loop of your own, pass ``value_fn``, the loss of the
    current batch as a function of params. At the first update the two gradients are the same.

    Args:
      optimizer: One that takes ``previous_grad``: `jaxmom.storm`, `jaxmom.adaptive_storm`, or
        `jaxmom.mars` with ``exact=True``.

    Returns:
      A pytree optimizer; its state is a `PreviousParamsState`.

    Raises:
      ValueError: params or ``value_fn`` is missing from an update.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.with_previous_gradient(jm.storm(0.1, a=0.2))
      >>> run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, steps=3)
      >>> print(f"{run.params:.3f}")  # without noise, STORM is gradient descent
      0.729
    """
    return assemble(_PREVIOUS, (), {}, [as_pytree(optimizer)], ())


def _init_previous(hp: Hyperparameters, params: PyTree) -> PreviousParamsState:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return PreviousParamsState(jnp.zeros([], jnp.int32), zeros, hp["transforms"][0](params))


def _update_with_previous(
    hp: Hyperparameters,
    updates: PyTree,
    state: PreviousParamsState,
    params: PyTree,
    *,
    value_fn: Any = None,
    **extra: Any,
) -> tuple[PyTree, PreviousParamsState]:
    if params is None or value_fn is None:
        raise ValueError(
            "with_previous_gradient needs params and value_fn at every update: call "
            "update(gradient, state, params, value_fn=loss), or use jaxmom.optimize."
        )
    first = state.count == 0
    point = jax.tree.map(lambda p, old: jnp.where(first, p, old), params, state.previous)
    gradient = jax.grad(value_fn)(point)
    gradient = jax.tree.map(lambda g: g.conj() if jnp.iscomplexobj(g) else g, gradient)
    extra |= {"value_fn": value_fn, "previous_grad": gradient}
    updates, inner = hp["transforms"][0](updates, state.inner, params, **extra)
    count: Any = optax.safe_increment(state.count)
    return updates, PreviousParamsState(count, params, inner)


def _read_inner(hp: Hyperparameters, state: PreviousParamsState, params: PyTree) -> PyTree | None:
    return read_out(hp["transforms"][0], state.inner, params)


_PREVIOUS = TransformFns(
    _init_previous, _update_with_previous, _read_inner, name="with_previous_gradient"
)
