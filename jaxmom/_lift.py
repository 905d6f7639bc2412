"""Any optax factory, with its float hyperparameters as leaves of the optimizer."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import DTypeLike

from jaxmom._arguments import (
    Factory,
    as_hashable,
    bind_arguments,
    classify,
    is_integer,
    is_of_optax,
    kind_of,
    name_of,
    signature_of,
    unwrap,
)
from jaxmom._frame import call_update
from jaxmom._jaxpr import inputs_needed
from jaxmom.transform import NUMBER, Optimizer, PyTree, Static, state_dtype, transformation

# The keyword arguments without which an `update` of optax fails.
UPDATE_NEEDS = {
    "hutchinson_estimator_diag_hessian": ("obj_fn",),
    "lbfgs": ("value", "grad", "value_fn"),
    "momo": ("value",),
    "momo_adam": ("value",),
    "polyak_sgd": ("value",),
    "reduce_on_plateau": ("value",),
    "scale_by_backtracking_linesearch": ("value", "grad", "value_fn"),
    "scale_by_polyak": ("value",),
    "scale_by_zoom_linesearch": ("value", "grad", "value_fn"),
    "sophia": ("obj_fn",),
}


def lift(
    factory: Factory,
    *,
    static: str | Collection[str] = (),
    schedules: str | Collection[str] = (),
    accumulator_dtype: DTypeLike | None = None,
) -> Callable[..., Optimizer]:
    """Turn an optax factory into one whose float hyperparameters are leaves, by name.

    The lifted optimizer computes what optax computes; the factory is called anew, with the current
    values, whenever `update` is traced. Three things are better than in the original: values may be
    traced, batched, or schedules wherever a float is admitted; updates keep the gradient's dtype
    and states keep theirs; and parameters in bfloat16 or float16 get a state in float32, because a
    second moment with b2 = 0.999 stands still in bfloat16. One thing is worse: where the optimizer
    is an argument of a compiled function, its leaves are float32 unless x64 is enabled, and then
    ``1 - b2`` has a relative error of up to ``6e-8 / (1 - b2)``, which a Python float has not.

    Args:
      factory: A function that returns an optax transformation (`optax.adam`, `optax.ema`, ...).
      static: Names of arguments that stay part of the program although they are numbers.
      schedules: Names of arguments whose functions are schedules. For optax's own factories it is
        known which functions are schedules and which are masks. In other factories a function is
        a schedule where the default is a float; elsewhere the factory gets the function itself.
      accumulator_dtype: dtype in which the states of floating parameters are kept; the default is
        the parameter's, and float32 at least. An option of the factory (``mu_dtype``) still holds.

    Returns:
      A function with the signature of `factory`. Numbers and optimizers become leaves. Counts
      (integers whose annotation or else default is an integer), booleans, strings, None, tuples
      and functions that are not schedules stay static. Arguments of ``*args`` are named "args.0",
      "args.1" and so on.

    Raises:
      TypeError: The arguments do not fit the signature of `factory`, `factory` is made by
        `optax.inject_hyperparams` or returns no transformation, or it compares a traced number by
        a Python ``if``.
      ValueError: `static` or `schedules` has a name that `factory` does not have.

    Example:
      >>> import jax, jax.numpy as jnp, optax, jaxmom as jm
      >>> adam = jm.lift(optax.adam)(1e-3, b1=0.9)
      >>> print(*jm.hyperparameters(adam))
      learning_rate b1 b2 eps eps_root
      >>> def first_step(b2):
      ...     optimizer = jm.replace(adam, b2=b2)
      ...     return optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))[0]
      >>> jax.vmap(first_step)(jnp.array([0.9, 0.99, 0.999])).shape
      (3, 3)
    """
    code = getattr(factory, "__code__", None)
    if getattr(code, "co_qualname", "").startswith("inject_hyperparams."):
        name = name_of(factory)
        raise TypeError(
            f"lift got optax.inject_hyperparams({name}), whose state would keep the first value of "
            f"a schedule; lift the factory itself, as in jm.lift(optax.{name})(schedule)."
        )
    signature = signature_of(factory)
    static, schedules = _as_names(static), _as_names(schedules)
    _check_names(signature, factory, static | schedules)
    dtype = None if accumulator_dtype is None else jnp.dtype(accumulator_dtype)

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Optimizer:
        arguments = bind_arguments(signature, args, kwargs)
        hp = {a.label: classify(kind_of(factory, a, static, schedules), a) for a in arguments}
        leaves = tuple(label for label, value in hp.items() if not isinstance(value, Static))
        call = _Call(
            as_hashable(factory),
            tuple(a.label for a in arguments if a.positional),
            tuple(hp),
            leaves,
            dtype,
            tuple(a.label for a in arguments if a.label in leaves and is_integer(a.value)),
        )
        needed = _labels_needed(call, hp)
        fns = _LiftedInit(call), _LiftedUpdate(call)
        check = _RefuseKeptSchedule(name_of(factory), needed or ())
        needs = call.leaves if needed is None else needed
        return transformation(*fns, hp, init_needs=needs, check=check)

    return make


@dataclasses.dataclass(frozen=True)
class _Call:
    """How a factory is called. It compares by value, so equal optimizers share a compilation."""

    frozen_factory: Any
    positional: tuple[str, ...]
    labels: tuple[str, ...]
    leaves: tuple[str, ...]
    dtype: Any
    integers: tuple[str, ...] = dataclasses.field(compare=False)  # leaves that were given as such

    @property
    def factory(self) -> Factory:
        return unwrap(self.frozen_factory)

    def build(self, hp: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
        """Call the factory with the current values of its arguments."""
        # `init` is given only the values that it needs; the others may be any number.
        values = {
            label: hp.get(label, 0.5) if label in self.leaves else hp[label]
            for label in self.labels
        }
        values = {label: unwrap(value) for label, value in values.items()}
        args = [values.pop(label) for label in self.positional]
        transform = self.factory(*args, **values)
        if not isinstance(transform, optax.GradientTransformation):
            raise TypeError(
                f"{name_of(self.factory)} returned {type(transform).__name__}, which is not an "
                "optax transformation; lift a function that returns one."
            )
        return optax.with_extra_args_support(transform)

    def widen(self, tree: PyTree) -> PyTree:
        """Give a tree at least float32, so that averages with long memories can still move."""
        return jax.tree.map(functools.partial(_widen_leaf, dtype=self.dtype), tree)

    @contextlib.contextmanager
    def explain_failures(self, hp: Mapping[str, Any]) -> Iterator[None]:
        """Name the remedy where the factory needs a concrete number, or an integer."""
        name = name_of(self.factory)
        try:
            yield
        except jax.errors.ConcretizationTypeError as error:
            traced = [label for label in self.leaves if _holds_tracers(hp.get(label))]
            if not traced:
                raise
            likely = next((label for label in traced if label in self.integers), traced[0])
            raise TypeError(
                f"{name} needs the plain value of a hyperparameter, but {traced} are traced. Give "
                f"it as a Python number and keep it static, as in jaxmom.lift({name}, "
                f"static=[{likely!r}]); in a sweep, a mapping from labels to values does so."
            ) from error
        except (TypeError, AssertionError) as error:
            if not self.integers or is_of_optax(self.factory):
                raise
            raise TypeError(
                f"{name} fails ({error}), perhaps because {list(self.integers)}, given as "
                "integers, reach it as floats. Keep its counts static: "
                f"jaxmom.lift({name}, static={list(self.integers)})."
            ) from error


@dataclasses.dataclass(frozen=True)
class _LiftedInit:
    call: _Call

    def __call__(self, hp: dict[str, Any], params: PyTree) -> PyTree:
        with self.call.explain_failures(hp):
            return self.call.build(hp).init(self.call.widen(params))


@dataclasses.dataclass(frozen=True)
class _LiftedUpdate:
    call: _Call

    @property
    def __name__(self) -> str:  # what an optimizer prints
        return getattr(self.call.factory, "__name__", "lifted")

    def __call__(
        self, hp: dict[str, Any], updates: PyTree, state: PyTree, params: PyTree = None, **extra
    ) -> tuple[PyTree, PyTree]:
        _check_update_arguments(self.call.factory, extra)
        updates, params = self.call.widen(updates), self.call.widen(params)
        # optax mixes dtypes and relies on promotion; the results are cast back after it.
        with jax.numpy_dtype_promotion("standard"), self.call.explain_failures(hp):
            return call_update(self.call.build(hp).update, updates, state, params, extra)


@dataclasses.dataclass(frozen=True)
class _RefuseKeptSchedule:
    """The check of a lifted factory whose first state is made with some of its numbers."""

    name: str
    kept: tuple[str, ...]

    def __call__(self, hp: Mapping[str, Any]) -> None:
        for label in self.kept:
            if isinstance(hp[label], Partial):
                raise ValueError(
                    f"{self.name} makes its first state with {label}, so that a schedule of it "
                    "would stand still at its first value; give a number, or schedule another "
                    "hyperparameter."
                )


def _holds_tracers(value: PyTree) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def _widen_leaf(leaf: Any, dtype: Any) -> Any:
    if not isinstance(leaf, (*NUMBER, jax.ShapeDtypeStruct)):
        return leaf
    own = jnp.result_type(leaf)
    if not jnp.issubdtype(own, jnp.integer) and not jnp.issubdtype(own, jnp.inexact):
        return leaf
    target = state_dtype(leaf, dtype)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, target, sharding=leaf.sharding)
    return jnp.asarray(leaf, target)


def _labels_needed(call: _Call, hp: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the leaves that `init` depends on, as its jaxpr says, or None if it cannot say."""
    values = {label: v.value if isinstance(v, Static) else v for label, v in hp.items()}
    if not any(isinstance(values[label], Partial) for label in call.leaves):
        with call.explain_failures(values):
            call.build(values)  # the factory's own checks, at once
    numbers = [
        label
        for label in call.leaves
        # `transformation` gives every `init` another thing of that name.
        if isinstance(values[label], (*NUMBER, Partial)) and label != "transforms"
    ]

    def init(stand_ins: dict[str, jax.Array]) -> PyTree:
        return call.build({**values, **stand_ins}).init(jnp.zeros((2, 2)))

    try:
        needed = inputs_needed(init, dict.fromkeys(numbers, jax.ShapeDtypeStruct((), jnp.float32)))
    except Exception:  # an init for other trees of params
        return None
    return tuple(label for label in call.leaves if label in needed or label not in numbers)


def _check_update_arguments(factory: Factory, extra: Mapping[str, Any]) -> None:
    name = name_of(factory)
    needs = UPDATE_NEEDS.get(name, ()) if is_of_optax(factory) else ()
    missing = [needed for needed in needs if needed not in extra]
    if missing:
        raise TypeError(
            f"{name} needs {', '.join(missing)} at every update: pass it by keyword, or use "
            "jaxmom.optimize, which passes value, grad and value_fn."
        )


def _as_names(names: str | Collection[str]) -> frozenset[str]:
    return frozenset((names,) if isinstance(names, str) else names)


def _check_names(signature: inspect.Signature, factory: Factory, names: frozenset[str]) -> None:
    parameters = signature.parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = sorted(names - set(parameters))
    if unknown:
        raise ValueError(
            f"{name_of(factory)} has no arguments {unknown}; it has {list(parameters)}."
        )
