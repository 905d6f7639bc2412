"""Optimizers as pytrees: an optax transformation whose leaves are its hyperparameters.

``init`` and ``update`` are `jax.tree_util.Partial`s. Numbers, arrays and schedule parameters are
bound as their leaves; functions, flags and sizes are part of their function, which compares by
value. So ``jit(f)(optimizer)`` does not retrace when beta changes, ``vmap`` over the optimizer is a
sweep, and ``grad`` with respect to it is the hypergradient.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jaxmom._frame import (
    CheckFn,
    Hyperparameters,
    InitFn,
    Optimizer,
    ReadoutFn,
    ScalarOrSchedule,
    TransformFns,
    Update,
    UpdateFn,
    as_pytree,
    assemble,
)
from jaxmom._states import EvaluatedElsewhere, ScheduledState, is_marked
from jaxmom._values import (
    NUMBER,
    PyTree,
    Static,
    as_array,
    as_leaf,
    as_plain,
    as_plain_vector,
    cast_updates,
    is_static,
    state_dtype,
    wide_dtype,
)

__all__ = [
    "NUMBER",
    "CheckFn",
    "EvaluatedElsewhere",
    "Hyperparameters",
    "InitFn",
    "Optimizer",
    "PyTree",
    "ReadoutFn",
    "ScalarOrSchedule",
    "ScheduledState",
    "Static",
    "TransformFns",
    "UpdateFn",
    "as_leaf",
    "as_plain",
    "as_plain_vector",
    "as_pytree",
    "assemble",
    "eval_params",
    "has_node",
    "hyperparameters",
    "name_owners",
    "read_out",
    "replace",
    "state_dtype",
    "transformation",
    "wide_dtype",
]


def transformation(
    init: InitFn,
    update: UpdateFn,
    hyperparameters: Mapping[str, Any],
    *,
    init_needs: Sequence[str] = (),
    readout: ReadoutFn | None = None,
    check: CheckFn | None = None,
) -> Optimizer:
    """Make a pytree optimizer from pure functions of its hyperparameters.

    Define the functions at the top of a module, or at least only once: they are compared by
    identity, so a function that is made anew for each optimizer is compiled anew.

    Args:
      init: ``init(hp, params) -> state``; ``hp`` holds the hyperparameters named in `init_needs`
        and the static ones.
      update: ``update(hp, updates, state, params, **extra_args) -> (updates, state)``. What it
        returns is cast to the dtypes of the incoming updates and state. Updates of integers stay
        floating, and an integer in the state must stay one.
      hyperparameters: By name. Numbers, arrays, sequences of numbers (which `update` sees as
        arrays) and pytrees of them become leaves; integers become floats. A function of the step
        count is a schedule, which `update` sees as its value at the current count. Booleans,
        strings, dtypes and None stay static.
      init_needs: Names of the hyperparameters whose values `init` uses.
      readout: ``readout(hp, state, params)``: what to add to params for `eval_params`, or None.
      check: ``check(hp)`` raises ValueError on an inadmissible plain number, here and in `replace`.

    Returns:
      An `optax.GradientTransformationExtraArgs` that is a pytree of its hyperparameters.

    Raises:
      TypeError: A hyperparameter is none of the above.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> def update(hp, updates, state, params=None, **extra_args):
      ...     return jax.tree.map(lambda g: -hp["learning_rate"] * g, updates), state
      >>> descent = jm.transformation(lambda hp, params: (), update, {"learning_rate": 0.5})
      >>> updates, state = descent.update(jnp.ones(2), descent.init(jnp.zeros(2)))
      >>> print(updates)
      [-0.5 -0.5]
    """
    fns = TransformFns(init, update, readout, check)
    static, values = {}, {}
    for name, value in hyperparameters.items():
        value = as_plain(value)
        if isinstance(value, Static):
            static[name] = value.value
        elif is_static(value):
            static[name] = value
        else:
            values[name] = as_leaf(name, value)
    return assemble(fns, tuple(static.items()), values, (), tuple(init_needs))


def hyperparameters(optimizer: optax.GradientTransformation) -> dict[str, Any]:
    """Return the hyperparameters of an optimizer, by name.

    A name that occurs more than once is preceded by the place of its transformation: its position
    in a chain or mixture, as in ``"1.beta"``, or the name of a wrapper, as in ``"lookahead.beta"``
    and ``"optimizer.beta"``. A name in a `jaxmom.partition` is preceded by its label in any case,
    as in ``"matrices.beta"``. `replace` takes the same names.

    Args:
      optimizer: A pytree optimizer, or any pytree of its structure (a gradient, for instance).

    Returns:
      Name -> number, array or schedule; empty for a plain optax transformation.

    Example:
      >>> import jaxmom as jm
      >>> jm.hyperparameters(jm.qhm(0.1, beta=0.99, nu=0.7))
      {'learning_rate': 0.1, 'beta': 0.99, 'nu': 0.7}
    """
    nodes = {path: node for path, _, node in _walk(optimizer.update)}
    labels = _label_hyperparameters(optimizer)
    return {label: as_array(nodes[path].args[0][name]) for label, (path, name) in labels.items()}


def replace(optimizer: optax.GradientTransformation, **values: Any) -> Optimizer:
    """Return the same optimizer with other values of some hyperparameters.

    Args:
      optimizer: A pytree optimizer.
      **values: New values by name, as `hyperparameters` lists them (``**{"1.beta": 0.5}`` for a
        name with a position). The end of a name is enough where it is the end of only one.
        Numbers, tracers, batched leaves and schedules are all admitted.

    Returns:
      A new optimizer, with the same structure of its state unless a schedule comes or goes.

    Raises:
      ValueError: There is no such name, or more than one.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.heavy_ball(0.1)
      >>> def distance(beta):
      ...     changed = jm.replace(optimizer, beta=beta)
      ...     run = jm.optimize(lambda x: x**2, jnp.array(1.0), changed, steps=20)
      ...     return jnp.abs(run.params)
      >>> jax.vmap(distance)(jnp.array([0.0, 0.5, 0.9])).shape
      (3,)
    """
    labels, changes = _label_hyperparameters(optimizer), {}
    nodes = {path: node for path, _, node in _walk(optimizer.update)}
    for label, value in values.items():
        ends = [known for known in labels if known.endswith(f".{label}")]
        if label not in labels and len(ends) != 1:
            raise ValueError(_explain_unknown_name(label, labels))
        path, name = labels[label if label in labels else ends[0]]
        is_vector = type(nodes[path].args[0][name]) is tuple  # and no batch of numbers
        value = as_plain_vector(value) if is_vector else value
        changes.setdefault(path, {})[name] = as_leaf(name, value)
    return _rebuild(as_pytree(optimizer), (), changes)


def eval_params(optimizer: optax.GradientTransformation, params: PyTree, state: PyTree) -> PyTree:
    """Return the point at which losses are reported, where it is not params.

    Nesterov's methods take the gradient at an extrapolated point, and that point is what optax
    calls params; their guarantees are about the sequence it was extrapolated from. In a
    `jaxmom.chain`, the point passes through the linear part of the stages that follow the method;
    a stage that has no such part, or remembers earlier updates, is refused. A schedule of a later
    stage, such as that of a learning rate, is read at the next count.

    Args:
      optimizer: Any transformation.
      params: The current parameters.
      state: The optimizer's state that belongs to them.

    Returns:
      A pytree like params; params itself where the two points are the same.

    Raises:
      ValueError: The method is inside a wrapper of optax, which hides where it evaluates, or is
        followed by a stage through which the point cannot pass.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> optimizer = jm.nesterov(learning_rate=0.1, beta=0.5)
      >>> x, state = jnp.array(1.0), optimizer.init(jnp.array(1.0))
      >>> update, state = optimizer.update(jnp.array(1.0), state)  # the gradient is 1
      >>> y = x + update
      >>> evaluated = jm.eval_params(optimizer, y, state)
      >>> print(f"{y:.4f} {evaluated:.4f}")  # x - 0.1 (1 + 0.5) and x - 0.1
      0.8500 0.9000
    """
    if (offset := read_out(as_pytree(optimizer).update, state, params)) is None:
        return params
    offset = cast_updates(offset, params)
    return jax.tree.map(lambda p, d: jnp.asarray(p, d.dtype) + d, params, offset)


def _rebuild(optimizer: Optimizer, path: tuple[int, ...], changes: dict[Any, Any]) -> Optimizer:
    init: Any = optimizer.init
    update: Any = optimizer.update
    if not isinstance(update.func, Update):
        return optimizer
    halves = zip(init.args[1], update.args[1], strict=False)  # an update may hold inits, too
    children = [_rebuild(Optimizer(*c), (*path, i), changes) for i, c in enumerate(halves)]
    values = {**update.args[0], **changes.get(path, {})}
    return assemble(update.func.fns, update.func.static, values, children, init.func.needs)


# The words of a place: what precedes a name, and whether it does so in any case.
_Words: TypeAlias = tuple[tuple[str, bool], ...]


def _walk(
    update: Any, path: tuple[int, ...] = (), words: _Words = ()
) -> Iterator[tuple[tuple[int, ...], _Words, Any]]:
    if isinstance(update, Partial) and isinstance(update.func, Update):
        yield path, words, update
        for i, child in enumerate(update.args[1]):
            yield from _walk(child, (*path, i), (*words, update.func.word_of_child(i)))


def _label_hyperparameters(
    optimizer: optax.GradientTransformation,
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return label -> (path, name), with the place only where a name alone is ambiguous."""
    found = [
        (path, (*words, (node.func.fns.name, False)), name)
        for path, words, node in _walk(optimizer.update)
        for name in node.args[0]
    ]
    short = [
        _join(word for word, always in (*words, (name, True)) if always) for _, words, name in found
    ]
    full = [_join(word for word, _ in (*words, (name, True))) for _, words, name in found]
    return {
        one if short.count(one) == 1 else all_words: (path, name)
        for one, all_words, (path, _, name) in zip(short, full, found, strict=True)
    }


def name_owners(optimizer: optax.GradientTransformation) -> dict[str, str]:
    """Return the name of the wrapper or filter that has each hyperparameter; names as listed."""
    owners = {path: _name_of(node) for path, _, node in _walk(optimizer.update)}
    return {label: owners[path] for label, (path, _) in _label_hyperparameters(optimizer).items()}


def _name_of(node: Any) -> str:
    """Return the name of a wrapper, or that of the coefficients of a filter, or ""."""
    settings = dict(node.func.static).get("settings")
    return node.func.fns.name or getattr(getattr(settings, "coefficients_fn", None), "__name__", "")


def has_node(update: Any, flag: str) -> bool:
    """Whether an optimizer, given by its `update`, or one that it is made of, has a flag set."""
    return any(getattr(node.func.fns, flag) for _, _, node in _walk(update))


def _join(words: Iterable[str]) -> str:
    return ".".join(word for word in words if word)


def _explain_unknown_name(label: str, labels: Mapping[str, Any]) -> str:
    if several := [known for known in labels if known.endswith(f".{label}")]:
        return f"there are several hyperparameters {label!r}; choose one of {several}."
    if not labels:
        return (
            f"there is no hyperparameter {label!r}: a plain optax transformation has none; "
            "make it with jm.lift(factory)(...), and chain with jm.chain instead of optax.chain."
        )
    return f"there is no hyperparameter {label!r}; this optimizer has {list(labels)}."


def require_params(name: str, params: PyTree) -> None:
    """Raise ValueError if an update came without the params that a transformation needs.

    Args:
      name: The name of the transformation, for the message.
      params: What its update was given.
    """
    if params is None:
        raise ValueError(
            f"{name} needs params at every update: call update(gradient, state, params)."
        )


def read_out(update: Any, state: PyTree, params: PyTree) -> PyTree | None:
    """Return what `eval_params` adds to params, for the `update` of one optimizer, or None."""
    own = isinstance(update.func, Update)
    hp, inner = update.func.resolve(*update.args, state) if own else ({}, state)
    free = isinstance(inner, optax.contrib.ScheduleFreeState)
    if free and jax.tree.structure(inner.z) == jax.tree.structure(params):  # not optax.flatten's
        point = optax.contrib.schedule_free_eval_params(inner, params)
        return jax.tree.map(jnp.subtract, point, params)
    if own and update.func.fns.readout is not None:
        return update.func.fns.readout(hp, inner, params)
    if any(map(is_marked, jax.tree.leaves(inner, is_leaf=is_marked))):
        raise ValueError(
            "eval_params cannot see through a wrapper of optax, and a method inside it evaluates "
            "at another point than params; compose with jm.chain and jm.mix instead, or call "
            "eval_params with the method itself and its own part of the state."
        )
    return None
