"""What an optimizer consists of: static callables for `init` and `update`, with bound values.

`jax.tree_util.Partial` binds two arguments to each: the hyperparameters by name, and the `init` or
`update` of the optimizers that it is made of (its children).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom._captures import as_partial, with_captures
from jaxmom._describe import describe, describe_as_table
from jaxmom._states import ReadoutState, ScheduledState, as_inner, is_marked
from jaxmom._values import PyTree, as_array, cast_state, cast_updates, strongly_typed

ScalarOrSchedule: TypeAlias = ArrayLike | Callable[[Any], ArrayLike]
Hyperparameters: TypeAlias = dict[str, Any]  # name -> value at this step
Children: TypeAlias = tuple[Partial, ...]
# (hyperparameters, params) -> state
InitFn: TypeAlias = Callable[[Hyperparameters, PyTree], PyTree]
# (hyperparameters, updates, state, params, **extra arguments) -> (updates, state)
UpdateFn: TypeAlias = Callable[..., tuple[PyTree, PyTree]]
# (hyperparameters, state, params) -> eval_params - params, or None where they are the same
ReadoutFn: TypeAlias = Callable[[Hyperparameters, PyTree, PyTree], PyTree | None]
# (hyperparameters) -> None; raises ValueError on an inadmissible plain number
CheckFn: TypeAlias = Callable[[Hyperparameters], None]


class Optimizer(optax.GradientTransformationExtraArgs):
    """An optax transformation whose leaves are its hyperparameters; it prints as its method."""

    __slots__ = ()

    def __repr__(self) -> str:
        return describe(self.update)

    def _repr_html_(self) -> str:
        return describe_as_table(self.update)


class TransformFns(NamedTuple):
    """The pure functions of a transformation; each gets its hyperparameters first."""

    init: InitFn
    update: UpdateFn
    readout: ReadoutFn | None = None
    check: CheckFn | None = None
    name: str = ""  # of a wrapper, before its hyperparameters where theirs is not enough
    absolute: bool = False  # whether the read-out is a point that later stages do not move
    last: bool = False  # whether nothing may change the updates after it
    needs_init: bool = False  # whether update gets the `init`s of the transforms after theirs
    title: str = ""  # what is printed, if neither a name nor the name of a function says it


@dataclasses.dataclass(frozen=True)
class Update:
    """The function of an optimizer's `update`; Partial binds the values and the children's."""

    fns: TransformFns
    static: tuple[tuple[str, Any], ...]

    def __call__(
        self,
        values: dict[str, Any],
        children: Children,
        updates: PyTree,
        state: PyTree,
        params: PyTree = None,
        **extra: Any,
    ) -> tuple[PyTree, PyTree]:
        """Evaluate the schedules, update, and keep every dtype as it was."""
        hp, inner = self.resolve(values, children, state)
        new_updates, new_inner = self.fns.update(hp, updates, inner, params, **extra)
        scheduled = _has_schedule(values)
        new_state = cast_state(new_inner if scheduled else as_inner(new_inner), inner)
        if self.wraps(children, state.inner if scheduled else state):
            new_state = ReadoutState(new_state)
        if scheduled:
            count: Any = optax.safe_increment(state.schedule_count)
            new_state = ScheduledState(count, new_state)
        return cast_updates(new_updates, updates), new_state

    def resolve(
        self, values: dict[str, Any], children: Children, state: PyTree
    ) -> tuple[Hyperparameters, PyTree]:
        """Return the hyperparameters at the state's count, and the state of `fns.update`."""
        count: Any = None
        scheduled = _has_schedule(values)
        _check_origin(state, scheduled)
        if scheduled:
            count, state = state
        static = dict(self.static)
        hp = {"transforms": children, **static, **_current_values(values, count)}
        for name in static.get("ahead", ()) if scheduled else ():
            later = _current_values({name: values[name]}, optax.safe_increment(count))
            hp[f"next_{name}"] = later[name]
        return hp, state.inner if self.wraps(children, state) else state

    def word_of_child(self, i: int) -> tuple[str, bool]:
        """Return what precedes the names of a child, and whether it does so in any case."""
        if names := dict(self.static).get("names"):
            return names[i], True
        return "optimizer" if self.fns.name else str(i), False

    def wraps(self, children: Children, state: PyTree) -> bool:
        """Whether `init` put the state of `fns` into a `ReadoutState`; it does so for leaves."""
        return self.fns.readout is not None and not children and isinstance(state, ReadoutState)


@dataclasses.dataclass(frozen=True)
class Init:
    """The function of an optimizer's `init`; only the values that it needs are bound to it."""

    fns: TransformFns
    static: tuple[tuple[str, Any], ...]
    needs: tuple[str, ...]
    scheduled: bool

    def __call__(self, values: dict[str, Any], children: Children, params: PyTree) -> PyTree:
        """Make the first state, strongly typed so that it can be carried through a scan."""
        count = jnp.zeros([], jnp.int32)
        hp = {"transforms": children, **dict(self.static), **_current_values(values, count)}
        inner = jax.tree.map(strongly_typed, self.fns.init(hp, params))
        inner = inner if self.scheduled else as_inner(inner)
        if self.fns.readout is not None and not children and not is_marked(inner):
            inner = ReadoutState(inner)
        return ScheduledState(count, inner) if self.scheduled else inner


@dataclasses.dataclass(frozen=True)
class _Plain:
    """The `update` of a plain optax transformation, which may know nothing of extra arguments."""

    update: Callable[..., Any]
    takes_extra: bool

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        """Call it where dtypes are promoted, as optax expects."""
        with jax.numpy_dtype_promotion("standard"):
            extra = extra if self.takes_extra else {}
            return call_update(self.update, updates, state, params, extra)


def call_update(
    update: Callable[..., Any],
    updates: PyTree,
    state: PyTree,
    params: PyTree,
    extra: dict[str, Any],
) -> tuple[PyTree, PyTree]:
    """Call an `update` of optax with the extra arguments that it admits; some admit only their own.

    Raises:
      TypeError: It admits all and passes them to one inside, which does not.
    """
    parameters = inspect.signature(update).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        extra = {name: value for name, value in extra.items() if name in parameters}
    try:
        return update(updates, state, params, **extra)
    except TypeError as error:
        refused = [name for name in extra if f"unexpected keyword argument '{name}'" in str(error)]
        if not refused:
            raise
        raise TypeError(
            f"a transformation inside this one is passed {refused[0]!r}, which it does not take "
            f"({error}); compose with jm.chain, which passes to each what it takes."
        ) from error


def assemble(
    fns: TransformFns,
    static: tuple[tuple[str, Any], ...],
    values: dict[str, Any],
    children: Sequence[Optimizer],
    needs: tuple[str, ...],
) -> Optimizer:
    """Bind functions to their values and to the optimizers that they are made of."""
    if fns.check is not None:
        fns.check({**dict(static), **values, "transforms": children})
    for name, value in values.items():
        if isinstance(value, Partial):
            _check_schedule(name, value)
    init = Init(fns, static, needs, _has_schedule(values))
    needed = {name: values[name] for name in needs}
    inits = tuple(child.init for child in children)
    updates = tuple(child.update for child in children) + (inits if fns.needs_init else ())
    return Optimizer(Partial(init, needed, inits), Partial(Update(fns, static), values, updates))


def as_pytree(transform: optax.GradientTransformation) -> Optimizer:
    """Wrap a plain optax transformation so that jit accepts it as an argument; it has no leaves."""
    if not isinstance(transform, optax.GradientTransformation):
        raise TypeError(
            f"expected an optax GradientTransformation, got {transform!r}; "
            "call the factory first, as in jm.lift(optax.adam)(1e-3)."
        )
    if isinstance(transform.update, Partial):
        init = transform.init
        return Optimizer(init if isinstance(init, Partial) else as_partial(init), transform.update)
    takes_extra = isinstance(transform, optax.GradientTransformationExtraArgs)
    update = _Plain(with_captures(transform.update), takes_extra)
    return Optimizer(as_partial(transform.init), Partial(update))


def _has_schedule(values: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Partial) for value in values.values())


def _check_schedule(name: str, schedule: Partial) -> None:
    """Refuse a function that the count alone does not satisfy, such as a maker of schedules."""
    try:
        signature = inspect.signature(schedule)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(0)
    except TypeError as error:
        raise TypeError(
            f"{name}={schedule.func!r} is not a schedule: a schedule is called with the count "
            f"alone, and here {error}. Call a maker of schedules first, as in "
            "jm.schedules.linear(0.1, 0.0, steps=100)."
        ) from error


def _check_origin(state: PyTree, scheduled: bool) -> None:
    """Refuse the state of an optimizer from before a schedule was added or removed."""
    of_schedule = isinstance(state, ScheduledState)
    if (scheduled and not of_schedule) or (not scheduled and type(state) is ScheduledState):
        now, then = ("a", "without") if scheduled else ("no", "with")
        raise ValueError(
            f"the optimizer has {now} schedule, but its state was made {then} one; make the state "
            "anew with init, or keep a constant as jm.schedules.constant(value)."
        )


def _current_values(values: Mapping[str, Any], count: Any) -> dict[str, Any]:
    """Return the hyperparameters as `update` sees them: schedules as values, tuples as arrays."""
    return {
        name: _evaluate(name, value, count) if isinstance(value, Partial) else as_array(value)
        for name, value in values.items()
    }


def _evaluate(name: str, schedule: Partial, count: Any) -> Any:
    value = schedule(count)
    if callable(value):
        raise TypeError(
            f"the schedule of {name} returned a schedule, not a number; call its maker with "
            "its own numbers first, as in jm.schedules.demon(0.9, steps=100)."
        )
    return value
