"""How an optimizer prints: its method and hyperparameters, on one line or as a table."""

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from jaxmom._html import as_table


def describe(update: Any) -> str:
    """Return an optimizer on one line, given its `update`, as in "heavy_ball(beta=0.9)"."""
    if not _is_ours(update):
        return _name_of_plain(update)
    children = [describe(child) for child in _children(update)]
    if labels := dict(update.func.static).get("names"):
        children = [f"{label}={child}" for label, child in zip(labels, children, strict=True)]
    values = [f"{name}={_describe_value(value)}" for name, value in update.args[0].items()]
    return f"{_name(update)}({', '.join([*children, *values])})"


def describe_as_table(update: Any) -> str:
    """Return an optimizer as an HTML table with a row for each hyperparameter."""
    return as_table([("transformation", "hyperparameter", "value"), *_list_rows(update)])


def _list_rows(update: Any) -> Iterator[tuple[str, str, str]]:
    if not _is_ours(update):
        yield _name_of_plain(update), "", ""
        return
    values = update.args[0]
    for name, value in values.items():
        yield _name(update), name, _describe_value(value)
    if not values:
        yield _name(update), "", ""
    for child in _children(update):
        yield from _list_rows(child)


def _is_ours(update: Any) -> bool:
    """Whether an `update` is a pytree of hyperparameters, and no function of optax itself."""
    return isinstance(update, Partial) and hasattr(update.func, "fns")


def _children(update: Any) -> tuple[Any, ...]:
    """Return the `update`s of what an optimizer is made of, without the `init`s after them."""
    children = update.args[1]
    return children[: len(children) // 2] if update.func.fns.needs_init else children


def _name(update: Any) -> str:
    """Return the name of a method, of a wrapper, or of the function of a transformation."""
    fns, settings = update.func.fns, dict(update.func.static).get("settings")
    method = getattr(settings, "coefficients_fn", None) or fns.update
    name = fns.title or fns.name or method.__name__
    return name.lstrip("_").removeprefix("update_")


def _name_of_plain(update: Any) -> str:
    """Return the factory of a plain optax transformation, whose `update` is a function in it."""
    while isinstance(update, Partial) or hasattr(update, "update"):
        update = update.func if isinstance(update, Partial) else update.update
    return getattr(update, "__qualname__", type(update).__name__).split(".")[0]


def _describe_value(value: Any) -> str:
    """Return a number as it is, an array by its dtype and shape, a schedule by its name."""
    if isinstance(value, Partial):
        function = inspect.unwrap(value.func)  # what captures a variable is wrapped
        name = getattr(function, "__name__", type(function).__name__)
        return f"{name.lstrip('_')}(...)"
    if isinstance(value, Tracer | jax.Array | np.ndarray | np.generic):
        is_number = not isinstance(value, Tracer) and value.ndim == 0
        return str(value.item()) if is_number else f"{value.dtype}{list(value.shape)}"
    return str(value)
