"""The proof that an optimizer's update is linear, and the matrices of an update that is."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxmom.theory._linear_rules import CONSTANT, LINEAR, OTHER, Linearity, Reason
from jaxmom.theory._linearity import linearity_of
from jaxmom.theory._program import UpdateProgram, zero
from jaxmom.theory.linear_system import LinearSystem


class NotLinearError(ValueError):
    """An optimizer is not a linear system with constant coefficients."""

    __module__ = "jaxmom.theory"  # where users find it


class LinearityProof(NamedTuple):
    """What has been proved of an update: it is linear in some leaves, and the others are a clock.

    Attributes:
      initial_marks: The linearity of the leaves before the first update, as functions of params.
      entry_marks: That of the leaves before any update: constant, linear or unused.
      state_leaves: The leaves that the data reach: the state of the system.
    """

    initial_marks: list[Linearity]
    entry_marks: list[Linearity]
    state_leaves: list[int]


def prove_linear(program: UpdateProgram) -> LinearityProof:
    """Find which leaves the data reach, and refuse an update that is not linear in them."""
    initial_marks = linearity_of(program.first_trace, [Linearity(LINEAR)])
    marks = [mark if mark.kind == CONSTANT else Linearity(LINEAR) for mark in initial_marks]
    # First only what the data reach: a buffer is not the constant zero that it starts as.
    marks = _fixed_point(program, as_clock(marks), reach_only=True)
    marks = _fixed_point(program, marks, reach_only=False)
    if marks[0].reason is not None:
        raise NotLinearError(_explain_not_linear(program, marks[0].reason))
    state_leaves = [index for index, mark in enumerate(marks) if mark.kind == LINEAR]
    return LinearityProof(initial_marks, marks, state_leaves)


def marks_after(trace: Any, marks: Sequence[Linearity]) -> list[Linearity]:
    """Return the linearity of the results of an update, given that of the leaves before it."""
    value = Linearity(OTHER, reason=Reason("", "the value of the loss"))
    return linearity_of(trace, [Linearity(LINEAR), value, *marks])


def as_clock(marks: Sequence[Linearity]) -> list[Linearity]:
    """Make each constant leaf a part of the clock, known by its index."""
    return [
        Linearity(CONSTANT, {i: ""}, mark.value) if mark.kind == CONSTANT else mark
        for i, mark in enumerate(marks)
    ]


def _fixed_point(
    program: UpdateProgram, marks: list[Linearity], reach_only: bool
) -> list[Linearity]:
    """Return marks that an update does not make worse, however often it is made."""
    while True:
        after = [
            mark if mark.kind == CONSTANT or (mark.kind == OTHER and not reach_only) else linear
            for mark in marks_after(program.update_trace, marks)
            for linear in [Linearity(LINEAR)]
        ]
        is_worse = [new.kind > old.kind for new, old in zip(after, marks, strict=True)]
        if not any(is_worse):
            return marks
        marks = [new if w else old for w, new, old in zip(is_worse, after, marks, strict=True)]


class StateBasis:
    """The state of the linear system as a vector: entries of leaves, copies of params as distances.

    A complex buffer is two entries, its real and its imaginary part.
    """

    def __init__(self, program: UpdateProgram, proof: LinearityProof):
        self._leaves, types = proof.state_leaves, [program.types[i] for i in proof.state_leaves]
        self._types = types
        self._is_complex = [jnp.issubdtype(t.dtype, jnp.complexfloating) for t in types]
        pairs = list(zip(types, self._is_complex, strict=True))
        sizes = [math.prod(t.shape) * (1 + pair) for t, pair in pairs]
        self.size, self._cuts = sum(sizes), np.cumsum(sizes)[:-1]
        is_copy = [i > 0 and proof.initial_marks[i].kind == LINEAR for i in self._leaves]
        marked = zip(self._leaves, pairs, is_copy, strict=True)
        names = [
            name + " - params" * copy
            for i, (like, pair), copy in marked
            for name in _entry_names(program.names[i], math.prod(like.shape), pair)
        ]
        self.names = ("params", *names[1:])
        start, end = program.start(), program.initial(jnp.ones([], float))
        copied = self._flatten(end) - self._flatten(start)
        self._copied = jnp.where(np.repeat(is_copy, sizes), copied, 0.0)

    def vector(self, leaves: Sequence[Any]) -> jax.Array:
        """Return the entries [n] of leaves."""
        entries = self._flatten(leaves)
        return entries - self._copied * entries[0]

    def put(self, entries: jax.Array, leaves: Sequence[Any]) -> list[Any]:
        """Return the leaves with the state that has these entries."""
        new, parts = list(leaves), jnp.split(entries + self._copied * entries[0], self._cuts)
        rows = zip(self._leaves, parts, self._types, self._is_complex, strict=True)
        for i, part, like, pair in rows:
            part = jax.lax.complex(*jnp.split(part, 2)) if pair else part
            new[i] = jnp.asarray(part.reshape(like.shape), like.dtype)
        return new

    def _flatten(self, leaves: Sequence[Any]) -> jax.Array:
        chosen = [jnp.ravel(leaves[i]) for i in self._leaves]
        pairs = zip(chosen, self._is_complex, strict=True)
        parts = [part for x, pair in pairs for part in ([x.real, x.imag] if pair else [x])]
        return jnp.concatenate([jnp.asarray(part, float) for part in parts])


def system_at(
    program: UpdateProgram, proof: LinearityProof, start: list[jax.Array]
) -> LinearSystem:
    """Return the matrices: an update of unit vectors, which is all of a map that is linear.

    Derivatives would be those that a function may define for itself, not those of its values.
    """
    basis = StateBasis(program, proof)

    def step(data: jax.Array) -> jax.Array:
        return basis.vector(program.update(data[0], zero(), basis.put(data[1:], start)))

    columns = jax.vmap(step, out_axes=1)(jnp.eye(basis.size + 1))
    first = jnp.eye(basis.size)[0]
    return LinearSystem(columns[:, 1:], columns[:, 0], first, zero(), basis.names)


def _entry_names(leaf: str, size: int, is_complex: bool) -> list[str]:
    """Return the names of the real numbers in a leaf."""
    places = [f"[{place}]" * (size > 1) for place in range(size)]
    parts = (".real", ".imag") if is_complex else ("",)
    return [leaf + place + part for part in parts for place in places]


def _explain_not_linear(program: UpdateProgram, reason: Reason) -> str:
    stage, defect = reason.stage or "this optimizer", _defect(program)
    verdict = f"{stage} is not linear: it puts the data through {reason.operation!r}"
    if defect is not None and defect < 1e-9:
        verdict = f"{stage} is not known to be linear, though samples add up: it puts the data " + (
            f"through {reason.operation!r}, through which the proof cannot see"
        )
    elif defect is not None:
        verdict += f", and steps fail to add up by {100 * defect:.2g} %"
    return (
        f"{verdict}. The theory is about sums and multiples of gradients, params and buffers; "
        "leave the stage out to see what the rest does."
    )


def _defect(program: UpdateProgram) -> float | None:
    """Return how far steps are from adding up, at the worst of some scales; None in a trace."""
    start = program.start()
    if any(isinstance(leaf, Tracer) for leaf in start):
        return None
    data = [i for i, like in enumerate(program.types) if jnp.issubdtype(like.dtype, jnp.inexact)]

    def step(point: np.ndarray) -> np.ndarray:
        leaves = list(start)
        for place, i in enumerate(data):
            leaves[i] = jnp.full(program.types[i].shape, point[place + 1], program.types[i].dtype)
        new = program.update(jnp.asarray(point[0], float), jnp.ones([], float), leaves)
        return np.asarray(new[0] - leaves[0])

    worst, generator = 0.0, np.random.default_rng(0)
    for scale in 10.0 ** np.arange(-2, 9, 2):
        a, b = scale * generator.standard_normal((2, len(data) + 1))
        steps = [step(a), step(b), step(a + b)]
        size = max(abs(s) for s in steps)
        if np.isfinite(size) and size > 0:
            worst = max(worst, abs(steps[2] - steps[0] - steps[1]) / size)
    return float(worst)
