"""Heads: what turns the output of any momentum filter into a step."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.tree_util import Partial

from jaxmom import coefficients
from jaxmom._per_part import make_per_part
from jaxmom.combine import chain
from jaxmom.filters import (
    Coefficients,
    CoefficientsFn,
    Recurrence,
    as_hyperparameter,
    check_bounds,
)
from jaxmom.momentum import momentum_method, scale_by_momentum
from jaxmom.transform import (
    NUMBER,
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    TransformFns,
    as_pytree,
    assemble,
    hyperparameters,
    transformation,
    wide_dtype,
)

# What may stand before a head: a filter as data, an optimizer without a learning rate, or beta.
Momentum: TypeAlias = Coefficients | Recurrence | optax.GradientTransformation | ScalarOrSchedule


def as_filter(momentum: Momentum, coefficients_fn: CoefficientsFn) -> Optimizer:
    """Return what stands before a head as an optimizer whose updates have the gradient's sign.

    Args:
      momentum: `Coefficients`, a `Recurrence`, or an optimizer that ends without a learning rate;
        or the beta of `coefficients_fn`, a number or a schedule.
      coefficients_fn: The usual filter of the method, of one hyperparameter, beta.

    Raises:
      ValueError: An optimizer that has a learning rate, which the method has as well.
    """
    if isinstance(momentum, Coefficients | Recurrence):
        return scale_by_momentum(momentum)
    if not isinstance(momentum, optax.GradientTransformation):
        return momentum_method(coefficients_fn, None, beta=momentum)
    optimizer = as_pytree(momentum)
    names = [n for n in hyperparameters(optimizer) if n.rpartition(".")[2] == "learning_rate"]
    if names or _turns_gradients_around(optimizer):
        found = f"a hyperparameter {names[0]!r}" if names else "updates against the gradient"
        raise ValueError(
            f"momentum ends with a learning rate (it has {found}), and the method has its own; "
            "give the filter alone, as in jm.scale_by_momentum(jm.coefficients.heavy_ball(0.9)) or "
            "optax.trace(0.9)."
        )
    return optimizer


def _turns_gradients_around(optimizer: Optimizer) -> bool:
    """Whether the first updates of an optimizer point against the gradient, as steps do.

    There are two, for a schedule of the learning rate may start at zero.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(optimizer)):
        return False
    ones = jnp.ones((2, 2))
    try:
        with jax.ensure_compile_time_eval():
            first: Any
            second: Any
            first, state = optimizer.update(ones, optimizer.init(ones), ones)
            second, _ = optimizer.update(ones, state, ones)
            return bool(jnp.sum(first + second) < 0)
    except Exception:  # a batch to be mapped over, or one that needs other arguments
        return False


def scale_by_second_moment(
    momentum: Momentum, b2: ScalarOrSchedule = 0.999, eps: ScalarOrSchedule = 1e-8
) -> Optimizer:
    """Put Adam's denominator under any momentum: ``u = m / (sqrt(v / (1 - b2^t)) + eps)``.

    m is what the filter makes of the gradients, and ``v <- b2 v + (1 - b2) |g|^2``, t from 1. The
    result has the gradient's sign and no learning rate.

    Args:
      momentum: The numerator: `Coefficients`, a `Recurrence`, or any optimizer that ends without a
        learning rate. A number or a schedule is the beta of Adam's own debiased average.
      b2: The decay of v, in [0, 1).
      eps: Not negative; it is outside of the root.

    Returns:
      A pytree optimizer; its state is the pair of those of m and v.

    Raises:
      ValueError: `momentum` ends with a learning rate.

    Source:
      Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1.

    Example:
      >>> import optax, jaxmom as jm
      >>> two = jm.Coefficients([0.9, 0.99], [0.1, 0.01], read_new=[0.5, 0.5])
      >>> optimizer = jm.chain(jm.scale_by_second_moment(two, b2=0.95), optax.scale(-1e-3))
    """
    second_moment = chain(SQUARE, momentum_method(_second_moment, None, b2=b2))
    return divide_by_root(as_filter(momentum, _debiased_average), second_moment, eps)


def divide_by_root(
    numerator: Optimizer,
    second_moment: Optimizer,
    eps: ScalarOrSchedule,
    *,
    at_least: bool = False,
) -> Optimizer:
    """Return the optimizer ``numerator(g) / (sqrt(second_moment(g)) + eps)``, entry by entry.

    With `at_least` the denominator is ``max(sqrt(second_moment(g)), eps)``.
    """
    root = make_per_part(_make_bounded_root if at_least else _make_root, {"eps": eps})
    return assemble(_RATIO, (), {}, (numerator, chain(second_moment, root)), ())


def _debiased_average(beta: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(beta, debias=True)


def _second_moment(b2: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(as_hyperparameter("b2", b2, "[0, 1)"), debias=True)


def _make_root(**hp: Any) -> Optimizer:
    return transformation(stateless, _add_to_root, hp, check=_check_eps)


def _make_bounded_root(**hp: Any) -> Optimizer:
    return transformation(stateless, _bound_root, hp, check=_check_eps)


def _add_to_root(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    return _map_roots(jnp.add, hp, updates), state


def _bound_root(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    return _map_roots(jnp.maximum, hp, updates), state


def _map_roots(
    function: Callable[[jax.Array, jax.Array], jax.Array], hp: Hyperparameters, squares: PyTree
) -> PyTree:
    eps = as_hyperparameter("eps", hp["eps"])

    def combine(square: jax.Array) -> jax.Array:
        root = safe_sqrt(square.real)
        return function(root, jnp.asarray(eps, root.dtype))

    return jax.tree.map(combine, squares)


# The ratio as pure functions; the two children are the numerator and the denominator.


def _init_both(hp: Hyperparameters, params: PyTree) -> tuple[PyTree, ...]:
    return tuple(init(params) for init in hp["transforms"])


def _divide(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    wide = jax.tree.map(lambda g: jnp.asarray(g, wide_dtype(g)), updates)  # to be squared
    pairs = [
        update(wide, inner, params, **extra)
        for update, inner in zip(hp["transforms"], state, strict=True)
    ]
    (above, first), (below, second) = pairs
    quotients = jax.tree.map(lambda m, root: m / root.real.astype(m.dtype), above, below)
    return quotients, (first, second)


def check_number(name: str, value: Any, bounds: str) -> None:
    """Refuse a plain number out of bounds, and at once what is not a number, such as a tree."""
    if isinstance(value, NUMBER):
        check_bounds(name, value, bounds)
    elif not isinstance(value, Partial):  # which is a schedule
        as_hyperparameter(name, value)


def _check_eps(hp: Hyperparameters) -> None:
    check_number("eps", hp["eps"], "[0, inf)")


_RATIO = TransformFns(_init_both, _divide, title="ratio")


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Return the root, whose derivative at zero is taken as zero and not as infinity."""
    zero = x == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))


def stateless(hp: Hyperparameters, params: PyTree) -> optax.EmptyState:
    """Make the state of a stage that has none."""
    del hp, params
    return optax.EmptyState()


def _square(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del hp, params, extra
    return jax.tree.map(lambda g: (g.conj() * g).real, updates), state


SQUARE = transformation(stateless, _square, {})


def scale_by_norm(per_array: bool = False) -> Optimizer:
    """Divide the updates by their Euclidean norm: ``u / |u|``, and 0 where u is 0.

    Args:
      per_array: Whether each array of params has its own norm, and not all of them together.

    Returns:
      A stage without state, for `jaxmom.chain` after a filter and before a learning rate.
      `optax.normalize_by_update_norm` adds a number to the norm instead, and has no `per_array`.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> head = jm.scale_by_norm()
      >>> updates, _ = head.update(jnp.array([3.0, 4.0]), head.init(jnp.zeros(2)))
      >>> print(f"{updates[0]:.1f} {updates[1]:.1f}")
      0.6 0.8
    """
    return transformation(stateless, _divide_by_norm, {"per_array": per_array})


def _divide_by_norm(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    return normalize(updates, hp["per_array"]), state


def normalize(updates: PyTree, per_array: bool) -> PyTree:
    """Return updates of norm 1, in each array or over all of them."""

    def square(u: Any) -> jax.Array:
        u = jnp.asarray(u, wide_dtype(u))
        return jnp.asarray(jnp.sum((u.conj() * u).real), float)

    squares = jax.tree.map(square, updates)
    if not per_array:
        total = sum(jax.tree.leaves(squares), jnp.zeros([]))
        squares = jax.tree.map(lambda _: total, squares)

    def divide(u: Any, norm_squared: jax.Array) -> jax.Array:
        u, norm = jnp.asarray(u, wide_dtype(u)), safe_sqrt(norm_squared)
        return u / jnp.asarray(jnp.where(norm == 0, 1.0, norm), u.dtype)

    return jax.tree.map(divide, updates, squares)


def map_pairs(
    function: Callable[..., tuple[Any, Any]], updates: PyTree, *states: PyTree
) -> tuple[PyTree, PyTree]:
    """Map a function over updates (None is a leaf of them) and states; return two trees."""
    leaves, treedef = jax.tree.flatten(updates, is_leaf=lambda leaf: leaf is None)
    columns = [treedef.flatten_up_to(state) for state in states]
    pairs = [function(*row) for row in zip(leaves, *columns, strict=True)]
    return treedef.unflatten([p[0] for p in pairs]), treedef.unflatten([p[1] for p in pairs])
