"""The arguments of an optax factory: leaves, schedules, or static parts of the program."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.tree_util import Partial

from jaxmom._captures import Captured, as_partial, with_captures
from jaxmom.transform import NUMBER, PyTree, Static, as_pytree

Factory: TypeAlias = Callable[..., optax.GradientTransformation]
Kind: TypeAlias = Literal["number", "static", "unknown"]

# The kinds of the arguments of optax's factories. The tests compare the tables with the signatures.
# Numbers, or schedules of them, though their default is not a float:
NUMBERS = frozenset(
    {"adam_learning_rate", "beta3", "clipping", "consistent_rms", "decay", "eta", "gamma"}
    | {"init_estim_sq_dist", "l2_norm_clip", "learning_rate", "max_delta", "max_learning_rate"}
    | {"max_norm", "momentum", "noise_multiplier", "optimism", "slow_step_size", "step_size"}
    | {"threshold", "weight_decay", "weight_decay_rate"}
)
# Functions of params or updates, masks, labels and axes, and counts and seeds, which shape the
# program:
STATIC = frozenset(
    {"clip_value_fn", "decay_rate_fn", "f", "inner_factory", "measure", "measures"}
    | {"freeze_mask", "mask", "trust_ratio_mask", "weight_decay_mask", "param_labels"}
    | {"axis", "muon_weight_dimension_numbers", "weight_dimension_numbers"}
    | {"accumulation_size", "cooldown", "decay_offset", "k", "max_backtracking_steps"}
    | {"max_consecutive_errors", "max_linesearch_steps", "memory_size", "min_dim_size_to_factor"}
    | {"ns_steps", "num_betas", "patience", "print_win_rate_every_n_steps", "rank", "step_offset"}
    | {"sync_period", "update_interval", "update_proj_gap", "warmup_steps"}
    | {"key", "random_seed", "seed", "should_transform_fn", "step_size_fn"}
)
# Numbers that a factory compares by a Python `if`, so that no tracer may take their place.
COMPARED = {
    "reduce_on_plateau": frozenset({"factor", "rtol", "atol"}),
    "scale_by_sm3": frozenset({"b2"}),
}


class Argument(NamedTuple):
    """One argument of one call of a factory."""

    label: str  # the name of its hyperparameter: "args.0" for the first of ``*args``
    value: Any
    positional: bool  # whether the factory takes it by its position
    parameter: inspect.Parameter


def signature_of(factory: Factory) -> inspect.Signature:
    """Return the signature of a factory, with its annotations as types where they can be read."""
    try:
        return inspect.signature(factory, eval_str=True)
    except (NameError, SyntaxError, AttributeError, TypeError):
        return inspect.signature(factory)


def bind_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Argument]:
    """Return the arguments of a call, with the defaults of those that are not given."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    extended = any(
        p.kind is p.VAR_POSITIONAL and bound.arguments[p.name]
        for p in signature.parameters.values()
    )
    found = []
    for name, value in bound.arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            found += [Argument(f"{name}.{i}", v, True, parameter) for i, v in enumerate(value)]
        elif parameter.kind is parameter.VAR_KEYWORD:
            found += [Argument(key, v, False, parameter) for key, v in value.items()]
        else:
            first = parameter.kind is not parameter.KEYWORD_ONLY and extended
            positional = parameter.kind is parameter.POSITIONAL_ONLY or first
            if positional or not _is_default_function(parameter, value):
                found.append(Argument(name, value, positional, parameter))
    labels = [argument.label for argument in found]
    if len(set(labels)) < len(labels):
        raise TypeError(f"the arguments {labels} need different names to be hyperparameters.")
    return found


def _is_default_function(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether to leave an argument to the factory: such defaults are closures, without a pickle."""
    return value is parameter.default and (
        callable(value) or isinstance(value, optax.GradientTransformation)
    )


def kind_of(
    factory: Factory, argument: Argument, static: frozenset[str], schedules: frozenset[str]
) -> Kind:
    """Return the kind of an argument, by the keywords of `lift` or the tables for optax."""
    names = {argument.label, argument.parameter.name}
    if names & static:
        return "static"
    if names & schedules:
        return "number"
    if not is_of_optax(factory):
        return "unknown"
    if names & (STATIC | COMPARED.get(name_of(factory), frozenset())):
        return "static"
    is_float = isinstance(argument.parameter.default, float)
    return "number" if names & NUMBERS or is_float else "unknown"


def classify(kind: Kind, argument: Argument) -> Any:
    """Return an argument as `transformation` takes it: a leaf, a schedule, or static."""
    value, parameter = argument.value, argument.parameter
    if _is_optimizer(value):
        return as_pytree(value)
    if kind == "number" and isinstance(value, str):
        raise TypeError(f"{argument.label}={value!r} is a string; give a number or a schedule.")
    opaque = _is_count(parameter, value) or _is_opaque_function(parameter, value)
    if kind == "static" or (kind == "unknown" and opaque):
        return _as_argument(value)
    if _is_numeric(value):
        return value
    if callable(value) and not isinstance(value, type):
        return as_partial(value)
    return _as_argument(value)


def _is_numeric(value: Any) -> bool:
    numeric = isinstance(value, NUMBER) and not isinstance(value, bool)
    return numeric and jnp.issubdtype(jnp.result_type(value), jnp.number)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and not a flag."""
    return _is_numeric(value) and jnp.issubdtype(jnp.result_type(value), jnp.integer)


def _is_count(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether an integer is one for the factory too, by the annotation or else by the default."""
    if not is_integer(value):
        return False
    types = typing.get_args(parameter.annotation) or (parameter.annotation,)
    if float in types or int in types:
        return float not in types
    default = isinstance(parameter.default, int) and not isinstance(parameter.default, bool)
    return default or parameter.kind is parameter.VAR_KEYWORD


def _is_opaque_function(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether neither a function itself nor the default says that it is a schedule."""
    module = str(getattr(getattr(value, "func", None), "__module__", None))
    known = isinstance(value, Partial) and module.startswith("jaxmom.schedules.")
    return callable(value) and not known and not isinstance(parameter.default, float)


def _as_argument(value: Any) -> Any:
    """Bind a value that the factory gets as it is: optimizers and tracers in it stay leaves."""
    leaves, structure = jax.tree.flatten(value, is_leaf=_is_optimizer)
    is_leaf = _is_numeric if isinstance(value, Partial) else _is_dynamic
    if not any(map(is_leaf, leaves)):
        return Static(as_hashable(value))
    dynamic = [as_pytree(x) if _is_optimizer(x) else x for x in leaves if is_leaf(x)]
    rest = [None if is_leaf(x) else as_hashable(x) for x in leaves]
    return Tree(dynamic, tuple(map(is_leaf, leaves)), tuple(rest), structure)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, optax.GradientTransformation)


def _is_dynamic(leaf: Any) -> bool:
    return isinstance(leaf, Tracer) or _is_optimizer(leaf)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["dynamic"],
    meta_fields=["is_dynamic", "static", "structure"],
)
@dataclasses.dataclass(frozen=True, repr=False)
class Tree:
    """An argument with some leaves that may be traced, and others that are static."""

    dynamic: list[Any]
    is_dynamic: tuple[bool, ...]
    static: tuple[Any, ...]
    structure: Any

    @property
    def value(self) -> PyTree:
        """The argument itself."""
        dynamic = iter(self.dynamic)
        pairs = zip(self.is_dynamic, self.static, strict=True)
        return self.structure.unflatten([next(dynamic) if d else unwrap(s) for d, s in pairs])

    def __repr__(self) -> str:
        return f"Tree({self.value!r})"


def as_hashable(value: Any) -> Any:
    """Return a value that compares by content, so that equal ones share a compilation."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        integer = jnp.ndim(value) == 0 and jnp.issubdtype(value.dtype, jnp.integer)
        return int(value) if integer else _Frozen(value)
    if isinstance(value, types.FunctionType):
        return with_captures(value)
    try:
        hash(value)
    except TypeError:
        return _Frozen(value)
    return _Frozen(value) if isinstance(value, functools.partial) else value


@dataclasses.dataclass(frozen=True, eq=False)
class _Frozen:
    """An argument without a hash (a mask that is a dict), compared by its content."""

    value: Any

    @functools.cached_property
    def content(self) -> tuple[Any, ...]:
        """A hashable equivalent of the value, cached because jit compares at every call."""
        return _content_of(self.value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Frozen) and self.content == other.content)

    def __hash__(self) -> int:
        return hash(self.content)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Frozen, (self.value,)


def _content_of(value: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(value)
    return structure, *map(_leaf_content, leaves)


def _leaf_content(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | jax.Array):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        return str(leaf.dtype), array.shape, array.tobytes()
    if isinstance(leaf, functools.partial):
        return with_captures(leaf.func), _content_of(leaf.args), _content_of(leaf.keywords)
    try:
        hash(leaf)
    except TypeError:
        return id(leaf)
    return type(leaf), leaf


def unwrap(value: Any) -> Any:
    """Return an argument as the factory gets it."""
    if isinstance(value, Captured):
        return value.function
    return value.value if isinstance(value, _Frozen | Tree) else value


def _unwrap_partial(factory: Factory) -> Factory:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return factory


def is_of_optax(factory: Factory) -> bool:
    """Whether optax defines a factory, so that the tables of this module hold for it."""
    return str(getattr(_unwrap_partial(factory), "__module__", "")).startswith("optax.")


def name_of(factory: Factory) -> str:
    """Return the name of a factory for messages and tables."""
    return getattr(_unwrap_partial(factory), "__name__", repr(factory))
