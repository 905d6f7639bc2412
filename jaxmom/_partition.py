"""Different optimizers for different parts of params: `partition` and `masked`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmom._arguments import as_hashable, unwrap
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    TransformFns,
    as_pytree,
    assemble,
    has_node,
    read_out,
)

# A pytree of labels that is a prefix of params, or a function of params that returns one.
Labels: TypeAlias = PyTree | Callable[[PyTree], PyTree]

# The extra arguments of an update that are trees like params.
LIKE_PARAMS = ("grad", "previous_grad")


class PartitionState(NamedTuple):
    """The states of the optimizers in a partition, each of its own part of params.

    Attributes:
      inner_states: Label -> state, of a tree in which `optax.MaskedNode` stands for other parts.
    """

    inner_states: dict[str, PyTree]


def partition(transforms: Mapping[str, optax.GradientTransformation], labels: Labels) -> Optimizer:
    """Give each part of params an optimizer of its own, as `optax.partition`, and stay a pytree.

    A hyperparameter is named by its label and its own name, as in ``"matrices.beta"``. Each
    optimizer sees only its part of params, of gradients and of extra arguments shaped like them;
    ``value`` is the loss at all of params, and ``value_fn`` that of a part, the rest held fixed.

    Args:
      transforms: Label -> optimizer.
      labels: A pytree of labels, which is a prefix of params; or a function of params that returns
        one, and depends on shapes and names alone.

    Returns:
      A pytree optimizer; its state is a `PartitionState`.

    Raises:
      ValueError: A label has no transformation, or labels and params differ in structure (at
        `init`, for a function); or a transformation has no label in a given tree. If `labels`
        is a function, a transformation may be left without a part.
      TypeError: A label is not a string.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
      >>> optimizer = jm.partition(
      ...     {"matrices": jm.heavy_ball(0.1, beta=0.9), "rest": jm.gradient_descent(0.5)},
      ...     lambda params: jax.tree.map(lambda p: "matrices" if p.ndim == 2 else "rest", params),
      ... )
      >>> jm.hyperparameters(jm.replace(optimizer, beta=0.8))
      {'matrices.learning_rate': 0.1, 'matrices.beta': 0.8, 'rest.learning_rate': 0.5}
    """
    if not isinstance(transforms, Mapping) or not transforms:
        raise TypeError(
            "partition needs a mapping from labels to one or more optimizers, not "
            f"{type(transforms).__name__} of {len(transforms)}."
        )
    if wrong := [name for name in transforms if not isinstance(name, str)]:
        raise TypeError(f"the labels of partition are strings, but there is {wrong[0]!r}.")
    names = tuple(sorted(transforms))
    if not _is_function(labels):
        _check_labels(labels, names)
        if unused := sorted(set(names) - set(jax.tree.leaves(labels))):
            raise ValueError(
                f"the transformations {unused} of partition have no label among "
                f"{sorted(set(jax.tree.leaves(labels)))}; leave them out, or give a part of "
                "params their label."
            )
    static = (("labels", as_hashable(labels)), ("names", names))
    return assemble(_PARTITION, static, {}, [as_pytree(transforms[name]) for name in names], ())


def masked(optimizer: optax.GradientTransformation, mask: Labels) -> Optimizer:
    """Apply an optimizer to a part of params, as `optax.masked`, and stay a pytree.

    The gradients of the other part pass through unchanged, so that a later stage of a chain finds
    them. To hold that part fixed, use `partition` with ``optax.set_to_zero()``.

    Args:
      optimizer: Any transformation.
      mask: A pytree of booleans, which is a prefix of params and True for the part; or a function
        of params that returns one, and depends on shapes and names alone.

    Returns:
      A pytree optimizer; its state is a `PartitionState`.

    Raises:
      ValueError: The mask has another structure than params.
      TypeError: The mask has leaves that are not booleans.

    Example:
      >>> import jax.numpy as jnp, optax, jaxmom as jm
      >>> decay = jm.lift(optax.add_decayed_weights)(0.1)
      >>> optimizer = jm.chain(jm.masked(decay, {"w": True, "b": False}), jm.gradient_descent(0.5))
      >>> params = {"w": jnp.array(1.0), "b": jnp.array(1.0)}
      >>> zero = {"w": jnp.array(0.0), "b": jnp.array(0.0)}
      >>> updates, _ = optimizer.update(zero, optimizer.init(params), params)
      >>> print(updates["w"], updates["b"])
      -0.05 -0.0
    """
    if not _is_function(mask):
        mask = _as_flags(mask)
    static = (("labels", as_hashable(mask)),)
    return assemble(_MASKED, static, {}, [as_pytree(optimizer)], ())


def _is_function(labels: Labels) -> bool:
    return callable(labels) and jax.tree_util.all_leaves([labels])


def _check_labels(labels: PyTree, names: tuple[str, ...]) -> None:
    leaves = jax.tree.leaves(labels)
    if wrong := [leaf for leaf in leaves if not isinstance(leaf, str)]:
        raise TypeError(f"the labels of partition are strings, but there is {wrong[0]!r}.")
    if unknown := sorted(set(leaves) - set(names)):
        raise ValueError(
            f"the labels {unknown} of partition have no transformation; there are some for "
            f"{list(names)}. For a part that stays as it is, give optax.set_to_zero()."
        )


def _as_flags(mask: PyTree) -> PyTree:
    for leaf in jax.tree.leaves(mask):
        concrete = isinstance(leaf, bool | np.bool_)
        if not concrete:
            raise TypeError(
                f"the mask of masked has the leaf {leaf!r}, which is not a Python bool; it is True "
                "where the optimizer applies, and part of the program."
            )
    return jax.tree.map(bool, mask)


# The two as pure functions; ``hp["transforms"]`` holds the children's `init` or `update`.


def _labels_for(hp: Hyperparameters, tree: PyTree) -> PyTree:
    """Return the labels of params or of something like them, checked."""
    labels = unwrap(hp["labels"])
    if not _is_function(labels):
        return labels
    labels = labels(tree)
    if "names" not in hp:
        return _as_flags(labels)
    _check_labels(labels, hp["names"])
    return labels


def _parts(hp: Hyperparameters) -> Iterator[tuple[str, Any, Any]]:
    """Yield of each part the name in the state, the label, and the `init` or `update`."""
    names = hp.get("names", ("optimizer",))
    return zip(names, hp.get("names", (True,)), hp["transforms"], strict=True)


def _select(labels: PyTree, label: Any, tree: PyTree) -> PyTree:
    """Return the part of a tree that has a label, with `optax.MaskedNode` for the rest.

    A tree without leaves is every part of itself: `optax.tree.map_params` makes a state of one.
    """
    if not jax.tree.leaves(tree):
        return tree
    return _map(labels, lambda own, x: x if own == label else optax.MaskedNode(), tree)


def _merge(labels: PyTree, parts: Mapping[Any, PyTree], rest: PyTree) -> PyTree:
    """Return the tree of these parts, by their labels, with `rest` where there is none."""
    if not jax.tree.leaves(rest):
        return rest
    places = {label: i for i, label in enumerate(parts)}

    def choose(label: Any, old: PyTree, *new: PyTree) -> PyTree:
        return new[places[label]] if label in places else old

    return _map(labels, choose, rest, *parts.values())


def _map(labels: PyTree, function: Callable[..., Any], *trees: PyTree) -> PyTree:
    try:
        return jax.tree.map(function, labels, *trees)
    except ValueError as error:
        raise ValueError(
            f"the labels or the mask have the structure {jax.tree.structure(labels)}, which is "
            f"not a prefix of that of params, {jax.tree.structure(trees[0])}; give one label or "
            "flag for each array, or for each subtree."
        ) from error


def _init_parts(hp: Hyperparameters, params: PyTree) -> PartitionState:
    labels = _labels_for(hp, params) if jax.tree.leaves(params) else None
    states = {name: init(_select(labels, label, params)) for name, label, init in _parts(hp)}
    return PartitionState(states)


def _update_parts(
    hp: Hyperparameters, updates: PyTree, state: PartitionState, params: PyTree, **extra: Any
) -> tuple[PyTree, PartitionState]:
    labels = _labels_for(hp, updates if params is None else params)
    new, states = {}, {}
    for name, label, update in _parts(hp):
        part = None if params is None else _select(labels, label, params)
        own = _extra_of_part(labels, label, params, extra)
        inner = state.inner_states[name]
        new[label], states[name] = update(_select(labels, label, updates), inner, part, **own)
    return _merge(labels, new, updates), PartitionState(states)


def _extra_of_part(
    labels: PyTree, label: Any, params: PyTree, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the extra arguments of an update that see only a part of params."""
    own = {n: _select(labels, label, x) if n in LIKE_PARAMS else x for n, x in extra.items()}
    if "value_fn" in extra and params is not None:
        own["value_fn"] = lambda part: extra["value_fn"](_merge(labels, {label: part}, params))
    return own


def _read_parts(hp: Hyperparameters, state: PartitionState, params: PyTree) -> PyTree | None:
    labels, zeros = _labels_for(hp, params), jax.tree.map(jnp.zeros_like, params)
    offsets = {
        label: read_out(update, state.inner_states[name], _select(labels, label, params))
        for name, label, update in _parts(hp)
    }
    offsets = {label: offset for label, offset in offsets.items() if offset is not None}
    if len({has_node(u, "absolute") for _, label, u in _parts(hp) if label in offsets}) > 1:
        raise ValueError(
            "one optimizer of the partition keeps an average of params and another evaluates at a "
            "point of its own; put jm.average around the whole partition."
        )
    return _merge(labels, offsets, zeros) if offsets else None


_PARTITION = TransformFns(_init_parts, _update_parts, _read_parts, title="partition")
_MASKED = TransformFns(_init_parts, _update_parts, _read_parts, name="masked")
