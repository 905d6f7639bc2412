"""The data of a run: one step, the named records of steps, and the trajectory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxmom.transform import PyTree


class Step(NamedTuple):
    """The quantities of one step, before it is taken."""

    # int32 [], the updates made so far, since the very first one
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    params: PyTree
    state: PyTree  # of the optimizer
    value: jax.Array  # [], the loss of this step's batch at params
    gradient: PyTree  # conjugated where params are complex: minus it is a descent direction
    updates: PyTree  # the change of params
    eval_value: Callable[[], jax.Array]  # the same loss at eval_params; computed when called


class Trajectory(NamedTuple):
    """The result of `optimize`, all of it arrays, so that `vmap` makes it a sweep.

    Attributes:
      params: The params after the last step, or where the run was frozen.
      state: The optimizer's state that belongs to them.
      steps: int32 [records], the updates made before each record.
      history: Name -> [records, ...].
      diverged_at: int32 [], the first bad count, or -1.
      first_value: [], the reference of `divergence` in all segments of a run: the loss at the
        starting params, or with batches the largest of its absolute values on the first eight.
    """

    params: PyTree
    state: PyTree
    steps: jax.Array
    history: dict[str, Any]
    diverged_at: jax.Array
    first_value: jax.Array


RecordFn: TypeAlias = Callable[[Step], dict[str, Any]]  # (step) -> name -> array
Record: TypeAlias = str | RecordFn


RECORDS: dict[str, Callable[[Step], Any]] = {
    "value": lambda step: step.value,
    "params": lambda step: step.params,
    "gradient_norm": lambda step: optax.tree.norm(step.gradient),
    "update_norm": lambda step: optax.tree.norm(step.updates),
    "eval_value": lambda step: step.eval_value(),
}


def make_record(records: Sequence[Record], step: Step) -> dict[str, Any]:
    """Return the records of one step, by name."""
    history: dict[str, Any] = {}
    for record in records:
        if isinstance(record, str):
            history[record] = RECORDS[record](step)
        else:
            history |= _call_record(record, step, taken=history)
    return history


def _call_record(record: RecordFn, step: Step, taken: dict[str, Any]) -> dict[str, Any]:
    found = record(step)
    if not isinstance(found, dict):
        raise TypeError(
            f"a record is a function of a Step that returns a dict of arrays by name, but {record} "
            f"returned {type(found).__name__}."
        )
    if taken.keys() & found.keys():
        raise ValueError(
            f"two records have the names {sorted(taken.keys() & found.keys())}; rename those of "
            f"{record}."
        )
    return found


def as_row(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as a history of length one."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], record)
