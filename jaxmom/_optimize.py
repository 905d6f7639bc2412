"""Run any optax transformation on a loss: one scan, and what to record is an argument."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.transform import Optimizer, as_pytree, eval_params


class Step(NamedTuple):
    """What there is to see at a step, before it is taken."""

    count: jax.Array  # int32 [], the updates made so far, since the very first one
    params: Any
    state: Any  # of the optimizer
    value: jax.Array  # [], the loss of this step's batch at params
    gradient: Any
    updates: Any  # what will be added to params
    eval_value: Callable[[], jax.Array]  # the same loss at eval_params; computed when called


class Trajectory(NamedTuple):
    """What `optimize` returns; all of it is arrays, so `vmap` makes it a sweep."""

    params: Any  # after the last step, or where the lane was frozen
    state: Any
    steps: jax.Array  # int32 [records], the updates made before each record
    history: dict[str, Any]  # name -> [records, ...]
    diverged_at: jax.Array  # int32 [], the first bad count, or -1
    first_value: jax.Array  # [], before the very first update; `divergence` is relative to it


Record: TypeAlias = str | Callable[[Step], dict[str, Any]]


def optimize(
    loss: Callable[..., jax.Array],
    params: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    batches: Any = None,
    key: jax.Array | None = None,
    record: Record | Sequence[Record] = ("value",),
    every: int = 1,
    divergence: ArrayLike = 1e6,
    check: int = 1,
    unroll: int = 1,
) -> Trajectory:
    """Minimize a loss by `steps` updates, ``params <- params + update(gradient)``.

    Gradients come from autodiff. The update also gets ``value``, ``grad`` and ``value_fn``, under
    optax's names. A run whose value is no finite number, or exceeds `divergence` times the size of
    its first value, is frozen there: its params and state stay, the count is kept in `diverged_at`,
    and in a batch of runs its neighbors do not notice. Nothing is compiled anew for new values of
    params, hyperparameters, data, key or divergence.

    A `Trajectory` in the place of params goes on: its counts continue, what was frozen stays so,
    and `divergence` is relative to its very first value. Segments are one long run, bit for bit, if
    their lengths are multiples of ``every * unroll`` and at least twice that (XLA puts a loop of
    one round in line, which may change last digits). Where two meet, both have a record; the later
    one's is that of the long run, whose history is ``concatenate([earlier[:-1], later])``.

    Args:
      loss: ``loss(params)``, or ``loss(params, batch)`` if there are batches; a scalar. Data bound
        to it by `jax.tree_util.Partial` are arguments of the compiled program, not constants in it.
      params: The starting point, a pytree of floats, or a `Trajectory` of the same optimizer. In
        `jax.vmap`, let its `steps` be unmapped (``Trajectory(0, 0, None, 0, 0, 0)`` for its axes),
        so that runs with a common key go on sharing their batches.
      optimizer: Any optax transformation.
      steps: The number of updates, 1 at least.
      batches: A pytree whose leaves have a leading axis of length `steps`, those of this call, or
        a function ``(key, count) -> batch``, whose count goes on with the run.
      key: For a function `batches`, which gets ``fold_in(key, count)``.
      record: What to keep: "value", "params", "gradient_norm", "update_norm", "eval_value" (the
        loss at `eval_params`), or functions of a `Step` that return a dict of arrays.
      every: Keep a record before every so many updates. One more is made after the last update (on
        the last batch, if batches are arrays), so ``history["value"][-1]`` is the final loss.
      divergence: The factor beyond which a run has diverged.
      check: Look for divergence before every so many updates, and at every record; `diverged_at` is
        exact to that. Where a gradient costs next to nothing (a quadratic in two dimensions, in
        thousands of lanes), looking costs several times the step itself.
      unroll: Steps per iteration of the compiled loop, as in `jax.lax.scan`.

    Returns:
      A `Trajectory` with ``ceil(steps / every) + 1`` records.

    Raises:
      ValueError: steps, every, check or unroll is below 1, the loss is no scalar, a leaf of batches
        has another leading axis than `steps`, key is missing, record has an unknown name, or the
        run to go on with is of an optimizer with another state.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> run = jm.optimize(lambda x: x**2, jnp.array(1.0), jm.gradient_descent(0.25), steps=3)
      >>> print(run.steps, run.history["value"])
      [0 1 2 3] [1.       0.25     0.0625   0.015625]
      >>> run = jm.optimize(lambda x: x**2, run, jm.gradient_descent(0.25), steps=2)
      >>> print(run.steps, run.history["value"])
      [3 4 5] [0.015625   0.00390625 0.00097656]
    """
    counts = {"steps": steps, "every": every, "check": check, "unroll": unroll}
    if any(operator.index(count) < 1 for count in counts.values()):
        given = ", ".join(f"{name}={count}" for name, count in counts.items())
        raise ValueError(f"steps, every, check and unroll are at least 1, got {given}.")
    records = (record,) if isinstance(record, str) or callable(record) else tuple(record)
    unknown = [name for name in records if isinstance(name, str) and name not in _RECORDS]
    if unknown:
        raise ValueError(f"record has no {unknown}; it knows {list(_RECORDS)} and functions.")
    loss = loss if isinstance(loss, Partial) else Partial(loss)
    if callable(batches) and not isinstance(batches, Partial):
        batches = Partial(batches)
    optimizer = as_pytree(optimizer)
    if isinstance(params, Trajectory):
        start = params._replace(steps=params.steps[-1:], history={})  # of any length: no retrace
        params = start.params
        _check_state(start, optimizer)
    else:
        start = params = jax.tree.map(lambda p: jnp.asarray(p, jnp.result_type(p)), params)
    _check_batches(batches, key, steps)
    _check_scalar(lambda p: _loss_at(loss, batches, key)(p), params)
    plan = _Plan(steps, every, check, unroll, records)
    return _run(loss, start, optimizer, batches, key, divergence, plan)


class _Plan(NamedTuple):
    steps: int
    every: int
    check: int
    unroll: int
    records: tuple[Record, ...]


class _Carry(NamedTuple):
    params: Any
    state: Any
    diverged_at: jax.Array


@functools.partial(jax.jit, static_argnames="plan")
def _run(loss, start, optimizer, batches, key, divergence, plan):
    loss_at = functools.partial(_loss_at, loss, batches, key)
    before, carry, first_value = _begun(start, optimizer, loss_at)
    limit = _limit(first_value, divergence)
    look = functools.partial(_look, loss_at, optimizer, before)
    advance = functools.partial(_advance, look, limit, plan.unroll)

    def silently(carry: _Carry, start: Any) -> tuple[_Carry, None]:
        return advance(carry, start, plan.check)[0], None

    def block(carry: _Carry, start: Any, length: int) -> tuple[_Carry, dict[str, Any]]:
        first = min(plan.check, length)
        carry, step = advance(carry, start, first)
        checks, rest = divmod(length - first, plan.check)
        if checks:
            starts = start + first + plan.check * jnp.arange(checks, dtype=jnp.int32)
            alone = plan.unroll if plan.check == 1 else 1
            carry, _ = jax.lax.scan(silently, carry, starts, unroll=alone)
        if rest:
            carry, _ = advance(carry, start + (length - rest), rest)
        return carry, _recorded(plan.records, step)

    counts = jnp.arange(0, plan.steps, plan.every, dtype=jnp.int32)
    whole, rest = divmod(plan.steps, plan.every)
    alone = plan.unroll if plan.every == 1 else 1
    carry, history = jax.lax.scan(
        functools.partial(block, length=plan.every), carry, counts[:whole], unroll=alone
    )
    rows = [history]
    if rest:
        carry, row = block(carry, counts[-1], rest)
        rows.append(_as_history(row))
    last, _ = look(carry.params, carry.state, jnp.int32(plan.steps))
    rows.append(_as_history(_recorded(plan.records, last)))
    return Trajectory(
        carry.params,
        carry.state,
        before + jnp.append(counts, jnp.int32(plan.steps)),
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows),
        _first_bad(last, carry.diverged_at, limit),
        first_value,
    )


def _begun(start: Any, optimizer: Optimizer, loss_at: Any) -> tuple[jax.Array, _Carry, jax.Array]:
    """The updates that were made before, what they have led to, and the very first value."""
    none = jnp.full([], -1, jnp.int32)
    if not isinstance(start, Trajectory):
        return jnp.int32(0), _Carry(start, optimizer.init(start), none), loss_at()(start)
    before = start.steps[-1]
    # What is bad at the last record alone is looked at again, on the batch of one long run.
    diverged_at = jnp.where(start.diverged_at == before, none, start.diverged_at)
    return before, _Carry(start.params, start.state, diverged_at), start.first_value


def _look(
    loss_at: Any, optimizer: Optimizer, before: Any, params: Any, state: Any, index: Any
) -> tuple[Step, Any]:
    """The step from here, and the optimizer's state after it; index counts in this call alone."""
    count = before + index
    at = loss_at(index, count)
    value, gradient = jax.value_and_grad(at)(params)
    updates, after = optimizer.update(
        gradient, state, params, value=value, grad=gradient, value_fn=at
    )
    there = functools.partial(_eval_value, at, optimizer, params, state)
    return Step(count, params, state, value, gradient, updates, there), after


def _advance(
    look: Any, limit: jax.Array, unroll: int, carry: _Carry, start: Any, length: int
) -> tuple[_Carry, Step]:
    """Take some steps, or stay where the run has diverged; look only before the first of them."""
    first, state = look(carry.params, carry.state, start)
    diverged_at = _first_bad(first, carry.diverged_at, limit)

    def further(moved: Any, count: Any) -> tuple[Any, None]:
        step, state = look(*moved, count)
        return (optax.apply_updates(moved[0], step.updates), state), None

    moved = (optax.apply_updates(carry.params, first.updates), state)
    if length > 1:
        counts = start + jnp.arange(1, length, dtype=jnp.int32)
        moved, _ = jax.lax.scan(further, moved, counts, unroll=min(unroll, length - 1))
    stay = functools.partial(jnp.where, diverged_at < 0)
    params, state = jax.tree.map(stay, moved, (carry.params, carry.state))
    return _Carry(params, state, diverged_at), first


def _loss_at(
    loss: Any, batches: Any, key: Any, index: Any = 0, count: Any = 0
) -> Callable[[Any], jax.Array]:
    """The loss of the batch of one step, as a function of params."""
    if batches is None:
        return loss
    if isinstance(batches, Partial):
        count = jnp.asarray(count, jnp.int32)
        batch = batches(jax.random.fold_in(key, count), count)
    else:
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=index, keepdims=False)
        batch = jax.tree.map(take, batches)  # past the end, the last one
    return lambda params: loss(params, batch)


def _limit(first_value: jax.Array, divergence: ArrayLike) -> jax.Array:
    size = jnp.abs(first_value)
    return jnp.asarray(divergence, size.dtype) * jnp.where(size == 0, jnp.ones_like(size), size)


def _first_bad(step: Step, diverged_at: jax.Array, limit: jax.Array) -> jax.Array:
    bad = ~jnp.isfinite(step.value) | (step.value > limit)
    return jnp.where((diverged_at < 0) & bad, step.count, diverged_at)


def _eval_value(
    at: Callable[[Any], jax.Array], optimizer: Optimizer, params: Any, state: Any
) -> jax.Array:
    return at(eval_params(optimizer, params, state))


_RECORDS: dict[str, Callable[[Step], Any]] = {
    "value": lambda step: step.value,
    "params": lambda step: step.params,
    "gradient_norm": lambda step: optax.tree.norm(step.gradient),
    "update_norm": lambda step: optax.tree.norm(step.updates),
    "eval_value": lambda step: step.eval_value(),
}


def _recorded(records: Sequence[Record], step: Step) -> dict[str, Any]:
    history = {}
    for record in records:
        history |= {record: _RECORDS[record](step)} if isinstance(record, str) else record(step)
    return history


def _as_history(record: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], record)


def _check_batches(batches: Any, key: Any, steps: int) -> None:
    if isinstance(batches, Partial):
        if key is None:
            raise ValueError(
                "batches is a function of (key, count): give key=jax.random.key(seed)."
            )
        return
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batches)]
    if any(shape[:1] != (steps,) for shape in shapes):
        raise ValueError(
            f"every leaf of batches needs a leading axis of length steps={steps}, one batch for "
            f"each update; the shapes are {shapes}."
        )


def _check_scalar(at: Callable[[Any], Any], params: Any) -> None:
    shape = jax.eval_shape(at, params)
    if getattr(shape, "shape", None) != ():
        raise ValueError(
            f"loss must return one number (shape ()), but it returned {shape}; "
            "take the mean or the sum over examples."
        )


def _check_state(run: Trajectory, optimizer: Optimizer) -> None:
    given, needed = map(jax.tree.structure, (run.state, jax.eval_shape(optimizer.init, run.params)))
    if given != needed:
        raise ValueError(
            f"the run to go on with has the optimizer state {given}, but this optimizer's is "
            f"{needed}; give the optimizer of that run, or only its params."
        )
