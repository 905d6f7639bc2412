"""The driver: run any optax transformation on a loss in one scan, and record its course."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom._captures import as_partial, capture_anew, with_captures
from jaxmom._run_inputs import LossAtFn, as_arrays, check_batches, check_scalar, check_state
from jaxmom._trajectory import RECORDS, Record, Step, Trajectory, as_row, make_record
from jaxmom.transform import Optimizer, PyTree, as_pytree, eval_params

# How many batches the reference of `divergence` is taken over, where there are batches.
REFERENCE_BATCHES = 8


LossFn: TypeAlias = Callable[..., jax.Array]  # (params) or (params, batch) -> a scalar
BatchFn: TypeAlias = Callable[[jax.Array, jax.Array], PyTree]  # (key, count) -> batch


def optimize(
    loss: LossFn,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    batches: PyTree | BatchFn | None = None,
    key: jax.Array | None = None,
    record: Record | Sequence[Record] = ("value",),
    every: int = 1,
    divergence: ArrayLike = 1e6,
    check: int = 1,
    unroll: int = 1,
) -> Trajectory:
    """Minimize a loss by `steps` updates, ``params <- params + update(gradient)``.

    Gradients come from autodiff, and are conjugated where params are complex, so that a step along
    minus the gradient descends. The update also gets ``value``, ``grad`` and ``value_fn``, under
    optax's names. A run whose value is not finite, or exceeds `divergence` times a reference, is
    frozen there: its params and state stay, the count is kept in `diverged_at`, and in a batch of
    runs its neighbors do not notice. New values of params, hyperparameters, data, key or divergence
    compile nothing anew; a function that captures new values is compiled anew.

    The reference is the absolute value of the loss at the starting params, or 1 if that is 0. With
    batches it is the largest of these values on the first eight of them, because the loss of one
    batch may happen to be tiny.

    A `Trajectory` in place of params is continued: counts go on, frozen runs stay frozen, and
    the reference of `divergence` is kept. Segments are one long run, bit for bit, if their
    lengths are multiples of ``every * unroll`` and at least twice that (XLA inlines a loop of
    one round, which may change last digits), and, with batches in an array, if the first
    segment has eight of them. Where two meet, both have a record; the later one's is that of the
    long run, whose history is ``concatenate([earlier[:-1], later])``.

    Args:
      loss: ``loss(params)``, or ``loss(params, batch)`` if there are batches; a scalar. Data bound
        to it by `jax.tree_util.Partial` are arguments of the compiled program, not constants in it.
      params: The starting point, a pytree of real or complex floats, or a `Trajectory` of the same
        optimizer. In `jax.vmap`, let its `steps` be unmapped (``Trajectory(0, 0, None, 0, 0, 0)``
        for its axes), so that runs with a common key go on sharing their batches.
      optimizer: Any optax transformation.
      steps: The number of updates, an integer of at least 1.
      batches: A pytree whose leaves have a leading axis of length `steps`, those of this call, or
        a function ``(key, count) -> batch``, whose count goes on with the run.
      key: For a function `batches`, which gets ``fold_in(key, count)``.
      record: What to keep: "value", "params", "gradient_norm", "update_norm", "eval_value" (the
        loss at `eval_params`), or functions of a `Step` that return a dict of arrays.
      every: Keep a record before every so many updates. One more is made after the last update (on
        the last batch, if batches are arrays), so ``history["value"][-1]`` is the final loss.
      divergence: The factor beyond which a run has diverged.
      check: Test for divergence before every so many updates, and at every record; `diverged_at`
        is exact to that. A test needs the loss, which a gradient does not always need: where both
        cost next to nothing (a quadratic in two dimensions), it costs several times the step in a
        wide `jax.vmap` of your own, up to the step in a `jaxmom.sweep` of a given width, and
        nothing in a sweep that chooses its width; on networks, a few percent.
      unroll: Steps per iteration of the compiled loop, as in `jax.lax.scan`.

    Returns:
      A `Trajectory` with ``ceil(steps / every) + 1`` records.

    Raises:
      ValueError: steps, every, check or unroll is below 1, the loss is not a real scalar, a leaf of
        batches has another leading axis than `steps`, key is missing, record has an unknown name
        or one name twice, or the run to continue is of an optimizer with another state.
      TypeError: steps, every, check or unroll is not an integer, params have integer leaves, or a
        function in record returns no dict.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> run = jm.optimize(lambda x: x**2, jnp.array(1.0), jm.gradient_descent(0.25), steps=3)
      >>> print(run.steps, run.history["value"])
      [0 1 2 3] [1.       0.25     0.0625   0.015625]
      >>> run = jm.optimize(lambda x: x**2, run, jm.gradient_descent(0.25), steps=2)
      >>> print(run.steps, run.history["value"])
      [3 4 5] [0.015625   0.00390625 0.00097656]
    """
    if divergence is None:
        raise TypeError("divergence is a number, got None; for no limit give divergence=jnp.inf.")
    plan = _make_plan(steps, every, check, unroll, record)
    loss = as_partial(loss)
    batches = as_partial(batches) if callable(batches) else batches
    optimizer = capture_anew(as_pytree(optimizer))
    if isinstance(params, Trajectory):
        start = params._replace(steps=params.steps[-1:], history={})  # of any length: no retrace
        params = start.params
        check_state(start, optimizer)
    else:
        start = params = as_arrays(params)
    check_batches(batches, key, plan.steps)
    check_scalar(lambda p: _bind_batch(loss, batches, key)(p), params)
    return _run(loss, start, optimizer, batches, key, divergence, plan)


class _Plan(NamedTuple):
    steps: int
    every: int
    check: int
    unroll: int
    records: tuple[Record, ...]


class _Carry(NamedTuple):
    params: PyTree
    state: PyTree
    diverged_at: jax.Array


def _count_reference_batches(batches: PyTree, steps: int) -> int:
    """Return on how many batches the reference is taken; a function has one for any count."""
    if batches is None:
        return 0
    return REFERENCE_BATCHES if isinstance(batches, Partial) else min(REFERENCE_BATCHES, steps)


@functools.partial(jax.jit, static_argnames="plan")
def _run(
    loss: Partial,
    start: PyTree | Trajectory,
    optimizer: Optimizer,
    batches: PyTree,
    key: jax.Array | None,
    divergence: ArrayLike,
    plan: _Plan,
) -> Trajectory:
    loss_at = functools.partial(_bind_batch, loss, batches, key)
    number = _count_reference_batches(batches, plan.steps)
    before, carry, first_value = _start_run(start, optimizer, loss_at, number)
    limit = _divergence_limit(first_value, divergence)
    evaluate_step = functools.partial(_evaluate_step, loss_at, optimizer, before)
    advance = functools.partial(_advance, evaluate_step, limit, plan.unroll)

    def steps_without_record(carry: _Carry, index: jax.Array) -> tuple[_Carry, None]:
        return advance(carry, index, plan.check)[0], None

    def steps_with_record(
        carry: _Carry, index: jax.Array, length: int
    ) -> tuple[_Carry, dict[str, Any]]:
        first = min(plan.check, length)
        carry, step = advance(carry, index, first)
        checks, rest = divmod(length - first, plan.check)
        if checks:
            indices = index + first + plan.check * jnp.arange(checks, dtype=jnp.int32)
            unroll = plan.unroll if plan.check == 1 else 1
            carry, _ = jax.lax.scan(steps_without_record, carry, indices, unroll=unroll)
        if rest:
            carry, _ = advance(carry, index + (length - rest), rest)
        return carry, make_record(plan.records, step)

    indices = jnp.arange(0, plan.steps, plan.every, dtype=jnp.int32)
    whole, rest = divmod(plan.steps, plan.every)
    unroll = plan.unroll if plan.every == 1 else 1
    carry, history = jax.lax.scan(
        functools.partial(steps_with_record, length=plan.every),
        carry,
        indices[:whole],
        unroll=unroll,
    )
    rows = [history]
    if rest:
        carry, row = steps_with_record(carry, indices[-1], rest)
        rows.append(as_row(row))
    last, _ = evaluate_step(carry.params, carry.state, jnp.int32(plan.steps))
    rows.append(as_row(make_record(plan.records, last)))
    return Trajectory(
        carry.params,
        carry.state,
        _add_counts(before, jnp.append(indices, jnp.int32(plan.steps))),
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows),
        _first_bad_count(last, carry.diverged_at, limit),
        first_value,
    )


def _start_run(
    start: PyTree | Trajectory,
    optimizer: Optimizer,
    loss_at: Callable[..., LossAtFn],
    number_of_batches: int,
) -> tuple[jax.Array, _Carry, jax.Array]:
    """Return the number of earlier updates, the state after them, and the reference value."""
    none = jnp.full([], -1, jnp.int32)
    if not isinstance(start, Trajectory):
        value = _reference_value(loss_at, start, number_of_batches)
        return jnp.int32(0), _vary_alike(_Carry(start, optimizer.init(start), none), value), value
    before = start.steps[-1]
    # Divergence at the last record is tested again, on the batch of one long run.
    diverged_at = jnp.where(start.diverged_at == before, none, start.diverged_at)
    return before, _Carry(start.params, start.state, diverged_at), start.first_value


def _reference_value(
    loss_at: Callable[..., LossAtFn], params: PyTree, number_of_batches: int
) -> jax.Array:
    """Return the loss at the starting params, or the largest of its finite sizes on batches."""
    if not number_of_batches:
        return loss_at()(params)
    counts = jnp.arange(number_of_batches, dtype=jnp.int32)
    sizes = jnp.abs(jax.lax.map(lambda count: loss_at(count, count)(params), counts))
    return jnp.max(jnp.where(jnp.isfinite(sizes), sizes, jnp.zeros_like(sizes)))


def _vary_alike(carry: _Carry, value: jax.Array) -> _Carry:
    """Let the carry of a loop vary over the mesh axes that the loss varies over, from the start.

    In `jax.shard_map` a scan demands it: after a step all of the carry depends on the loss, which
    decides whether the run is frozen.
    """

    def depend_on_value(leaf: jax.Array) -> jax.Array:
        return jnp.where(value == value, leaf, leaf)

    if jax.typeof(depend_on_value(carry.diverged_at)) == jax.typeof(carry.diverged_at):
        return carry
    return jax.tree.map(depend_on_value, carry)


def _evaluate_step(
    loss_at: Callable[..., LossAtFn],
    optimizer: Optimizer,
    before: jax.Array,
    params: PyTree,
    state: PyTree,
    index: jax.Array,
) -> tuple[Step, PyTree]:
    """Return the next step and the optimizer's state after it; index counts in this call alone."""
    count = _add_counts(before, index)
    value_fn = loss_at(index, count)
    value, gradient = jax.value_and_grad(value_fn)(params)
    gradient = jax.tree.map(lambda g: g.conj() if jnp.iscomplexobj(g) else g, gradient)
    updates, after = optimizer.update(
        gradient, state, params, value=value, grad=gradient, value_fn=value_fn
    )
    eval_value = functools.partial(_eval_value, value_fn, optimizer, params, state)
    return Step(count, params, state, value, gradient, updates, eval_value), after


def _add_counts(before: jax.Array, indices: jax.Array) -> jax.Array:
    """Add counts so that they saturate; a negative one would stand for no divergence."""
    largest = jnp.iinfo(jnp.int32).max
    return jnp.where(indices > largest - before, largest, before + indices)


def _advance(
    evaluate_step: Callable[..., tuple[Step, PyTree]],
    limit: jax.Array,
    unroll: int,
    carry: _Carry,
    index: jax.Array,
    length: int,
) -> tuple[_Carry, Step]:
    """Take some steps, or none where the run has diverged; the test is before the first alone."""
    first, state = evaluate_step(carry.params, carry.state, index)
    diverged_at = _first_bad_count(first, carry.diverged_at, limit)

    def step_without_test(moved: Any, index: jax.Array) -> tuple[Any, None]:
        step, state = evaluate_step(*moved, index)
        return (optax.apply_updates(moved[0], step.updates), state), None

    moved = (optax.apply_updates(carry.params, first.updates), state)
    if length > 1:
        indices = index + jnp.arange(1, length, dtype=jnp.int32)
        moved, _ = jax.lax.scan(step_without_test, moved, indices, unroll=min(unroll, length - 1))
    freeze = functools.partial(_freeze, diverged_at)
    params, state = jax.tree.map(freeze, moved, (carry.params, carry.state))
    return _Carry(params, state, diverged_at), first


def _freeze(diverged_at: jax.Array, moved: jax.Array, kept: jax.Array) -> jax.Array:
    """Return the leaf after some steps, or the one before them where the run has diverged.

    The test is ``diverged_at < 0``, and reads the leaf for speed alone: in `jax.vmap`, LLVM takes a
    test that is the same for a whole leaf out of the loop over its elements, and then computes
    lanes of small leaves one number at a time.
    """
    if not jnp.issubdtype(kept.dtype, jnp.inexact):
        return jnp.where(diverged_at < 0, moved, kept)
    is_nan = (kept != kept).astype(jnp.int32)
    return jnp.where((diverged_at | 1) < is_nan, moved, kept)  # -1 < 0 or 1, or not


def _bind_batch(
    loss: Partial,
    batches: PyTree,
    key: jax.Array | None,
    index: ArrayLike = 0,
    count: ArrayLike = 0,
) -> LossAtFn:
    """Return the loss of the batch of one step, as a function of params."""
    if batches is None:
        return loss
    if isinstance(batches, Partial) and key is not None:
        count = jnp.asarray(count, jnp.int32)
        batch = batches(jax.random.fold_in(key, count), count)
    else:
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=index, keepdims=False)
        batch = jax.tree.map(take, batches)  # past the end, the last one
    return lambda params: loss(params, batch)


def _divergence_limit(first_value: jax.Array, divergence: ArrayLike) -> jax.Array:
    size = jnp.abs(first_value)
    return jnp.asarray(divergence, size.dtype) * jnp.where(size == 0, jnp.ones_like(size), size)


def _first_bad_count(step: Step, diverged_at: jax.Array, limit: jax.Array) -> jax.Array:
    bad = ~jnp.isfinite(step.value) | (step.value > limit)
    return jnp.where((diverged_at < 0) & bad, step.count, diverged_at)


def _eval_value(
    value_fn: LossAtFn, optimizer: Optimizer, params: PyTree, state: PyTree
) -> jax.Array:
    return value_fn(eval_params(optimizer, params, state))


def _make_plan(
    steps: int, every: int, check: int, unroll: int, record: Record | Sequence[Record]
) -> _Plan:
    counts = {"steps": steps, "every": every, "check": check, "unroll": unroll}
    given = ", ".join(f"{name}={count}" for name, count in counts.items())
    try:
        integers = [operator.index(count) for count in counts.values()]
    except TypeError as error:
        raise TypeError(
            f"steps, every, check and unroll are integers and not traced, got {given}."
        ) from error
    if min(integers) < 1:
        raise ValueError(f"steps, every, check and unroll are at least 1, got {given}.")
    records = (record,) if isinstance(record, str) or callable(record) else tuple(record)
    unknown = [name for name in records if isinstance(name, str) and name not in RECORDS]
    if unknown:
        raise ValueError(f"record has no {unknown}; it knows {list(RECORDS)} and functions.")
    captured = (name if isinstance(name, str) else with_captures(name) for name in records)
    return _Plan(*integers, records=tuple(captured))
