"""Checks of a result before its sweep runs: names, and the steps of records."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from jaxmom import _jaxpr
from jaxmom.sweeps.compile.outputs import STEP, check_names
from jaxmom.sweeps.compile.program import TracedGroup
from jaxmom.sweeps.results.dataset import DatasetLayout, dataset_layouts
from jaxmom.sweeps.space.groups import label_groups
from jaxmom.sweeps.space.space import Space

DIVERGED_AT = "diverged_at"  # the output with the update at which a lane diverged

_Thunk: TypeAlias = Callable[[], Any]  # computes a value when it is asked for


def check_result(space: Space, traced: Sequence[TracedGroup]) -> None:
    """Refuse a sweep whose results would have no common names or coordinates.

    Args:
      space: What is swept.
      traced: Its groups.

    Raises:
      ValueError: An output has a name that is taken or that a DataTree does not admit, its
        `diverged_at` counts no updates, or groups that share a Dataset have records at different
        steps.
    """
    for one in traced:
        if DIVERGED_AT in one.outputs:
            check_divergence(one.outputs[DIVERGED_AT].dtype)
    groups = [one.group for one in traced]
    layouts = dataset_layouts(space, groups, [one.outputs for one in traced])
    _check_paths([layout for layout in layouts if layout.name])
    for layout in layouts:
        axes = {name for dim in layout.dims for name in (dim.name, *dim.component.names)}
        check_names(layout.outputs, axes)
        if STEP in layout.outputs and len(layout.members) > 1:
            _check_steps(layout, traced)


def check_divergence(dtype: Any) -> None:
    """Refuse a `diverged_at` that is not a signed integer, as it could not be -1.

    Raises:
      ValueError: It is of another type.
    """
    if np.dtype(dtype).kind != "i":
        raise ValueError(
            f"the output {DIVERGED_AT!r} counts the updates before a lane diverged, -1 if it did "
            f"not, and is a signed integer, not {np.dtype(dtype)}; convert it, or rename it."
        )


def read_steps(traced: TracedGroup) -> NDArray[Any] | None:
    """Return the steps of the records of a group without running its lanes.

    Only the equations that the steps need are evaluated. None if that is not possible, because
    they depend on the arguments of a lane.
    """
    # Traced as the fingerprint traces it, which JAX remembers.
    program = jax.jit(traced.call).trace(traced.data, traced.arguments).jaxpr
    known = [_constant(leaf) for leaf in jax.tree.leaves(traced.data)]
    unknown = [_unknown] * len(jax.tree.leaves(traced.arguments))
    results = _jaxpr.interpret(program, known + unknown, _delay, _constant)
    try:
        return np.asarray(dict(zip(sorted(traced.outputs), results, strict=True))[STEP]())
    except _DependsOnLane:
        return None


def _check_paths(layouts: Sequence[DatasetLayout]) -> None:
    """Refuse names that the nodes of a DataTree cannot have beside each other."""
    paths = [layout.name.split("/") for layout in layouts]
    above = [p for p in paths if any(p == o[: len(p)] and p != o for o in paths)]
    slashed = {name for layout in layouts for name in layout.outputs if "/" in name}
    if above or slashed:
        names = sorted(slashed) or ["/".join(path) for path in above]
        raise ValueError(
            "the groups have different outputs, so that their Datasets are nodes of a DataTree, in "
            f"which / separates a node from those below it; rename {names}."
        )


def _check_steps(layout: DatasetLayout, traced: Sequence[TracedGroup]) -> None:
    """Refuse groups of one Dataset that have records at different steps.

    Raises:
      ValueError: With the labels of two such groups and where their records are.
    """
    labels = label_groups([one.group for one in traced])
    steps = {labels[number]: read_steps(traced[number]) for number in layout.members}
    known = {label: one for label, one in steps.items() if one is not None}
    first, *others = known or [""]
    different = [label for label in others if not np.array_equal(known[label], known[first])]
    if different:
        ends = [f"{label!r} at {_summarize(known[label])}" for label in (first, different[0])]
        raise ValueError(
            f"groups have the same number of records at different steps, {' and '.join(ends)}, "
            "which have no common coordinate; use separate sweeps, or return a dict of arrays."
        )


def _summarize(steps: NDArray[Any]) -> str:
    """Return the first steps and the last one, for a message."""
    return f"{', '.join(map(str, steps[:3]))} ... {steps[-1]}"


class _DependsOnLane(Exception):
    """The value asked for needs an argument of a lane."""


def _unknown() -> Any:
    """Stand for an argument of a lane, of which no value is known."""
    raise _DependsOnLane


def _constant(value: Any) -> _Thunk:
    """Return a value that is known, as one that is asked for."""
    return lambda: value


def _delay(equation: Any, operands: list[_Thunk]) -> list[_Thunk]:
    """Return the results of an equation as values that are computed when they are asked for."""
    called = _jaxpr.called_program(equation)
    if called is not None:
        return _jaxpr.interpret(called, operands, _delay, _constant)

    @functools.cache
    def results() -> list[Any]:
        return _jaxpr.bind(equation, [operand() for operand in operands])

    return [lambda i=i: results()[i] for i in range(len(equation.outvars))]
