"""Restarts of momentum: `restart`, by schemes that watch the run, and `reset`, by hand."""

import functools
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxmom._jaxpr import inputs_needed
from jaxmom._trees import advance_buffers, inner_product, map_present, vary_with
from jaxmom._values import cast_state
from jaxmom.filters import as_hyperparameter, check_period
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    ScheduledState,
    TransformFns,
    as_leaf,
    as_pytree,
    assemble,
    has_node,
    read_out,
    require_params,
)

Scheme: TypeAlias = Literal["gradient", "function", "scheduled"]


class RestartState(NamedTuple):
    """State of `restart`.

    Attributes:
      age: int32 [], the updates since the last restart.
      restarts: int32 [], the restarts so far.
      value: [], the last loss of the scheme "function"; infinite before the first.
      inner: The state of the optimizer inside.
    """

    age: jax.Array
    restarts: jax.Array
    value: jax.Array
    inner: PyTree


def restart(
    optimizer: optax.GradientTransformation,
    scheme: Scheme = "gradient",
    period: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Forget the momentum of an optimizer where it does harm, or every so many updates.

    With x_k the points at which the method evaluates (`jaxmom.eval_params`, and params for most
    methods) and g_k the gradient at params, there is a restart from x_{k+1} after an update with

        "gradient":   <g_k, x_{k+1} - x_k> > 0
        "function":   f(x_{k+1}) > f(x_k), one more evaluation of the loss for each update
        "scheduled":  `period` updates since the last one

    A restart makes a new state, as `init` does, but keeps the counts of schedules: a schedule of
    the learning rate goes on. The gradient scheme is sensitive to noise in gradients.

    Args:
      optimizer: Any transformation but a `jaxmom.average` or a `jaxmom.lookahead`, which go
        around a restart.
      scheme: One of the three.
      period: K of "scheduled", at least 1; a schedule of the count of all updates may let it grow.

    Returns:
      A pytree optimizer; its state is a `RestartState`. Its `update` needs params, and with
      "function" also ``value`` and ``value_fn``, as `jaxmom.optimize` passes them.

    Raises:
      ValueError: The scheme is none of the three, a period is missing or has no use, or an update
        lacks what it needs.

    Source:
      O'Donoghue and Candes 2012 (arXiv 1204.3982), section 3.2; for the scheduled one with a
      growing period, Wang et al. 2020 (arXiv 2002.10583).

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.restart(jm.nesterov_convex(0.1))
      >>> f = lambda x: 5 * x[0] ** 2 + 0.05 * x[1] ** 2
      >>> run = jm.optimize(f, jnp.array([1.0, 1.0]), optimizer, steps=100)
      >>> print(run.state.restarts, run.history["value"][-1] < 1e-5)
      2 True
    """
    if scheme not in ("gradient", "function", "scheduled"):
        raise ValueError(
            f'the scheme of restart is "gradient", "function" or "scheduled", not {scheme!r}.'
        )
    if (scheme == "scheduled") != (period is not None):
        raise ValueError(
            f'restart got the scheme {scheme!r} and period = {period!r}; "scheduled" needs a '
            "period, and the others have none."
        )
    values = {} if period is None else {"period": as_leaf("period", period)}
    return assemble(_RESTART, (("scheme", scheme),), values, [as_pytree(optimizer)], ())


def _init_restart(hp: Hyperparameters, params: PyTree) -> RestartState:
    age, value = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf)
    age, value = vary_with(age, params), vary_with(value, params)
    return RestartState(age, age, value, hp["transforms"][0](params))


def _update_and_restart(
    hp: Hyperparameters, updates: PyTree, state: RestartState, params: PyTree, **extra: Any
) -> tuple[PyTree, RestartState]:
    require_params("restart", params)
    update, init = hp["transforms"]
    new, inner = update(updates, state.inner, params, **extra)
    before = read_out(update, state.inner, params)
    after = read_out(update, inner, _apply(params, new))
    moved = _add(new, after)  # from params to the next point x
    value: Any = state.value
    age: Any = optax.safe_increment(state.age)
    if hp["scheme"] == "gradient":
        restarts = inner_product(updates, _add(moved, before, sign=-1)) > 0
    elif hp["scheme"] == "function":
        old, value = _values_before_and_after(state.value, params, moved, **extra)
        restarts = value > old
    else:
        period = as_hyperparameter("period", hp["period"], "[1, inf)")
        restarts = age.astype(float) >= jnp.asarray(period, float)
    choose = functools.partial(jnp.where, restarts)
    new = jax.tree.map(choose, moved, new)
    fresh = _keep_counts(inner, init(_apply(params, new)))
    inner = jax.tree.map(choose, cast_state(fresh, inner), inner)
    number: Any = jnp.where(restarts, optax.safe_increment(state.restarts), state.restarts)
    return new, RestartState(jnp.where(restarts, 0, age), number, value, inner)


def _apply(params: PyTree, updates: PyTree) -> PyTree:
    """Return params after an update, in which None stands for a frozen leaf."""
    return advance_buffers(lambda u, p: p + u, updates, jax.tree.map(jnp.asarray, params))


def _add(updates: PyTree, offset: PyTree | None, sign: int = 1) -> PyTree:
    if offset is None:
        return updates
    return map_present(lambda u, d: u + sign * jnp.asarray(d, u.dtype), updates, offset)


def _values_before_and_after(
    last: jax.Array,
    params: PyTree,
    moved: PyTree,
    value: Any = None,
    value_fn: Any = None,
    **extra: Any,
) -> tuple[jax.Array, jax.Array]:
    del extra
    if value is None or value_fn is None:
        raise ValueError(
            'the scheme "function" of restart needs value and value_fn at every update: pass them '
            "by keyword, or use jaxmom.optimize, which does."
        )
    now = value_fn(_apply(params, moved)).astype(last.dtype)
    before = jnp.where(jnp.isinf(last), jnp.asarray(value, last.dtype), last)
    return before, vary_with(now, params)


def _keep_counts(state: PyTree, fresh: PyTree) -> PyTree:
    """Return a fresh state in which schedules go on counting."""

    def keep(old: Any, new: Any) -> Any:
        if isinstance(old, ScheduledState):
            return type(old)(old.schedule_count, _keep_counts(old.inner, new.inner))
        return old if isinstance(old, optax.ScaleByScheduleState) else new

    counts = (ScheduledState, optax.ScaleByScheduleState)
    return jax.tree.map(keep, state, fresh, is_leaf=lambda node: isinstance(node, counts))


def _read_inner(hp: Hyperparameters, state: RestartState, params: PyTree) -> PyTree | None:
    return read_out(hp["transforms"][0], state.inner, params)


def _check_restart(hp: Hyperparameters) -> None:
    check_period("restart", hp.get("period"))
    if has_node(hp["transforms"][0].update, "absolute"):
        raise ValueError(
            "a restart would forget the average of params or the slow weights inside it; put "
            "average and lookahead around restart."
        )


_RESTART = TransformFns(
    _init_restart,
    _update_and_restart,
    _read_inner,
    _check_restart,
    name="restart",
    needs_init=True,
)


def reset(
    optimizer: optax.GradientTransformation, state: PyTree, params: PyTree | None = None
) -> PyTree:
    """Return the state that an optimizer has at the start, for the params of another state.

    Args:
      optimizer: Any transformation.
      state: A state of it, which says the shapes of params.
      params: Needed only where the first state holds values of params, as in schedule-free
        methods, or where `state` does not tell their shapes.

    Returns:
      ``optimizer.init(params)``, with the dtypes of `state`.

    Raises:
      ValueError: params are needed, or `state` is of another optimizer.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.heavy_ball(0.1, beta=0.9)
      >>> _, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)))
      >>> print(jm.reset(optimizer, state).buffers[0])
      [0. 0.]
    """
    optimizer = as_pytree(optimizer)
    if params is None:
        params = _params_like(optimizer, state)
        shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(jnp.shape(p), p.dtype), params)
        if inputs_needed(lambda inputs: optimizer.init(inputs["params"]), {"params": shapes}):
            raise ValueError(
                "the first state of this optimizer holds values of params; give them, as in "
                "jm.reset(optimizer, state, params)."
            )
    fresh = optimizer.init(params)  # pyright: ignore[reportArgumentType]
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (fresh, state)]
    if jax.tree.structure(fresh) != jax.tree.structure(state) or shapes[0] != shapes[1]:
        raise ValueError(
            "the state is not one of this optimizer, or does not tell the shapes of params; give "
            "them, as in jm.reset(optimizer, state, params)."
        )
    return cast_state(fresh, state)


def _params_like(optimizer: Optimizer, state: PyTree) -> PyTree:
    """Return a tree like params from a state, put together from its parts if it has any."""
    found: list[PyTree] = []

    def collect(tree: PyTree) -> PyTree:
        found.append(tree)
        return tree

    try:
        optax.tree.map_params(optimizer, collect, state, is_leaf=lambda node: True)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            "the state is not one of this optimizer, or does not tell the shapes of params; give "
            "them, as in jm.reset(optimizer, state, params)."
        ) from error

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    def merge(first: Any, second: Any) -> Any:
        return second if is_masked(first) else first

    while len(found) > 1:
        last = found.pop()
        found[-1] = jax.tree.map(merge, found[-1], last, is_leaf=is_masked)
    return found[0] if found else ()
