"""States around the state of a transformation: a schedule's count, and the mark of a read-out."""

from typing import NamedTuple

import jax
import optax

from jaxmom._values import PyTree


class ScheduledState(NamedTuple):
    """State of a transformation that has a schedule among its hyperparameters."""

    schedule_count: jax.Array  # int32 [], the updates made so far
    inner: PyTree


class InnerScheduledState(ScheduledState):
    """The same for an optimizer inside: the whole state of a transformation without schedules."""

    __slots__ = ()


def as_inner(state: PyTree) -> PyTree:
    """Mark the state of a transformation without schedules, if an optimizer inside has some."""
    return InnerScheduledState(*state) if type(state) is ScheduledState else state


class EvaluatedElsewhere:
    """Marks the class of a state whose `eval_params` differs from params.

    The mark is how `eval_params` finds a method inside a wrapper that it cannot see through.
    """

    __slots__ = ()


class _Inner(NamedTuple):
    inner: PyTree


class ReadoutState(_Inner, EvaluatedElsewhere):
    """State of a transformation with a `readout` whose own state is not marked."""

    __slots__ = ()


def is_marked(state: PyTree) -> bool:
    """Whether a state belongs to a method whose `eval_params` differs from params."""
    return isinstance(state, EvaluatedElsewhere | optax.contrib.ScheduleFreeState)
