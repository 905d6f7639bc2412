"""Probe a coefficients function: buffers, start and read-out, found by tracing one lane of it."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom._values import NUMBER, PyTree, Static, is_complex, is_plain_number, is_static
from jaxmom.filters import (
    Coefficients,
    CoefficientsFn,
    CoefficientsOrSchedule,
    Recurrence,
    as_hyperparameter,
    check_rank,
)


class Probed(NamedTuple):
    """The static facts about the filter that a coefficients function describes."""

    buffers: int
    start: PyTree  # of a recurrence
    evaluates: bool
    is_complex: bool


def probe(coefficients_fn: CoefficientsFn, hp: Mapping[str, Any]) -> Probed:
    """Trace a coefficients function on one lane.

    Plain numbers stay what they are, so that the function can refuse them. Arrays may be batched,
    so that nothing can be learned from them but the length of a vector.
    """
    values = without_learning_rate(hp)
    if coefficients_fn is coefficients_as_given:
        return _trace_coefficients(coefficients_fn, {}, values)
    vectors = vector_defaults(coefficients_fn)
    rate = {"learning_rate": hp["learning_rate"]} if "learning_rate" in hp else {}
    for name, value in {**values, **rate}.items():
        _check_kind(name, value, name in vectors)
    plain = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if _is_plain(v)}
    others = {n: _stand_in(v, vectors.get(n)) for n, v in values.items() if n not in plain}
    if len(vectors) == 1:  # where there are several, the lengths must be equal, as the methods see
        ((name, default),) = vectors.items()
        _check_length(name, values.get(name), default, others)
    typed = tuple((n, type(v), v) for n, v in plain.items())  # as False equals 0.0
    return _probe_once(coefficients_fn, typed, tuple(others.items()))


@functools.lru_cache(maxsize=4096)
def _probe_once(coefficients_fn: CoefficientsFn, plain: Any, others: Any) -> Probed:
    return _trace_coefficients(coefficients_fn, {n: v for n, _, v in plain}, dict(others))


def _trace_coefficients(
    coefficients_fn: CoefficientsFn, plain: dict[str, Any], others: dict[str, Any]
) -> Probed:
    def first_coefficients(traced: dict[str, Any]) -> tuple[Static, Coefficients]:
        found = coefficients_fn(**plain, **traced)
        if isinstance(found, Coefficients):
            return Static(()), found
        if not isinstance(found, Recurrence):
            now = found(jnp.zeros([], jnp.int32)) if callable(found) else found
            return Static(()), _require_coefficients(now)
        return Static(found.start), found.step(as_carry(found.start))[1]

    start, c = jax.eval_shape(first_coefficients, others)
    complex_numbers = any(is_complex(x.dtype) for x in jax.tree.leaves(c))
    return Probed(c.decay.shape[-1], start.value, c.evaluate is not None, complex_numbers)


def _require_coefficients(found: Any) -> Coefficients:
    if not isinstance(found, Coefficients):
        raise TypeError(
            f"a coefficients function returned {type(found).__name__}, not Coefficients; "
            "jaxmom.coefficients has those of the named methods."
        )
    return found


def _check_kind(name: str, value: Any, per_buffer: bool) -> None:
    """Refuse trees, and sequences where one number is expected."""
    is_option = is_static(value) and name != "learning_rate"
    if is_option or (callable(value) and not isinstance(value, type)):
        return
    numbers = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(x, NUMBER) and not isinstance(x, bool) for x in numbers):
        as_hyperparameter(name, value, per_buffer=per_buffer)  # which says what is admissible
    if numbers is value:
        check_rank(name, (len(numbers),), per_buffer)


def _is_plain(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(map(is_plain_number, numbers))


def _stand_in(value: Any, default: tuple[float, ...] | None) -> jax.ShapeDtypeStruct:
    dtype = jnp.result_type(float)  # that of the mode: `float` alone is float64, and warns
    if default is None:
        return jax.ShapeDtypeStruct((), dtype)
    if isinstance(value, list | tuple):
        return jax.ShapeDtypeStruct((len(value),), dtype)
    shape = _shape_of_schedule(value, default) if callable(value) else np.shape(value)
    return jax.ShapeDtypeStruct(shape[-1:], dtype)


def _shape_of_schedule(schedule: Any, default: tuple[float, ...]) -> tuple[int, ...]:
    def numbers(count: jax.Array) -> jax.Array:
        found = schedule(count)
        return jnp.asarray(default if callable(found) else found)  # `update` refuses the former

    return jax.eval_shape(numbers, jax.ShapeDtypeStruct((), jnp.int32)).shape


def _check_length(
    name: str, schedule: Any, default: tuple[float, ...], shapes: Mapping[str, Any]
) -> None:
    """Refuse a schedule of another length than the default, which may be a slip."""
    if callable(schedule) and shapes[name].shape != (len(default),):
        raise ValueError(
            f"a schedule of {name} returns one number for each of {len(default)} buffers, as many "
            f"as by default, but this one returns the shape {shapes[name].shape}; for another "
            "number give jm.scale_by_momentum a function of the count that returns coefficients."
        )


@functools.cache
def names_ahead(coefficients_fn: CoefficientsFn) -> tuple[str, ...]:
    """Return the hyperparameters that are needed at the next count too, as ``next_<name>``."""
    names = inspect.signature(coefficients_fn).parameters
    return tuple(n.removeprefix("next_") for n in names if n.startswith("next_"))


@functools.cache
def vector_defaults(coefficients_fn: CoefficientsFn) -> dict[str, tuple[float, ...]]:
    """Return the hyperparameters that have one number for each buffer: their default is a tuple."""
    parameters = inspect.signature(coefficients_fn).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, tuple)}


def as_carry(start: PyTree) -> PyTree:
    """Return the start of a recurrence as arrays: int32 for integers, floats for the rest."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if isinstance(x, int) else float), start)


def coefficients_as_given(coefficients: CoefficientsOrSchedule) -> CoefficientsOrSchedule:
    """Return coefficients that are a hyperparameter themselves."""
    return coefficients


def without_learning_rate(hp: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of the coefficients function."""
    return {
        n: v for n, v in hp.items() if n not in ("learning_rate", "settings", "transforms", "ahead")
    }
