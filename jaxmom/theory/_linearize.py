"""Linear systems from optimizers' code: `linearize`, its proof of linearity and its matrices."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory._linearity import CONSTANT, LINEAR, OTHER, Linearity, Reason, linearity_of
from jaxmom.theory.linear_system import LinearSystem
from jaxmom.transform import PyTree


class NotLinearError(ValueError):
    """An optimizer is not a linear system with constant coefficients."""

    __module__ = "jaxmom.theory"  # where users find it


class TimeVaryingError(NotLinearError):
    """An optimizer is linear, but its coefficients vary with time."""

    __module__ = "jaxmom.theory"


def linearize(
    optimizer: optax.GradientTransformation,
    *,
    params: PyTree = None,
    count: ArrayLike | None = None,
) -> LinearSystem:
    """Return the linear system of an optimizer, exactly, or name the stage that is not linear.

    Linearity is proved from the optimizer's program, not sampled. The matrices are one update of a
    scalar parameter at unit vectors, in the widest float in use (enable ``jax_enable_x64`` for
    float64). `jit`, `vmap` and `grad` over the optimizer's leaves work as everywhere.

    Counts, keys, flags and all else that no gradient reaches are the optimizer's clock. If the
    update depends on the clock, it must have come to rest after at most three steps, as it has for
    PyTorch's undamped first step; otherwise the optimizer varies with time.

    Args:
      optimizer: Any optax transformation that is linear in gradients, params and buffers.
      params: A scalar by default; `optax.LookaheadParams` of scalars for `optax.lookahead`, where
        the gradient is taken at ``fast``.
      count: Freeze the clock as it is after so many updates, for the linear system of that step.

    Returns:
      A `LinearSystem`.

    Raises:
      NotLinearError: A stage is not linear, or (`TimeVaryingError`) varies with time while `count`
        is None. The message names the stage, and says by how much superposition or constancy fails.

    Example:
      >>> import optax, jaxmom as jm
      >>> from jaxmom import theory
      >>> system = theory.linearize(jm.heavy_ball(0.25, beta=0.5))
      >>> print(system.A, system.B, system.names)
      [[1.  0.5]
       [0.  0.5]] [-0.25 -0.25] ('params', 'buffers[0]')
      >>> theory.linearize(optax.chain(optax.clip(100.0), optax.sgd(0.1)))
      Traceback (most recent call last):
      ...
      jaxmom.theory.NotLinearError: clip is not linear: it puts the data through 'max'...
    """
    program = _Program(optimizer, params)
    proof = _prove(program)
    if count is not None:
        return _system_at(program, proof, program.after(count))
    start = program.start()
    for _ in range(_steps_to_rest(program, proof)):
        start = program.advance(start)
    return _system_at(program, proof, start)


def linearize_to_rest(optimizer: optax.GradientTransformation) -> list[LinearSystem]:
    """Return the systems of the first updates, up to the one that stays; as `linearize`."""
    program = _Program(optimizer, None)
    proof = _prove(program)
    leaves = program.start()
    systems = [_system_at(program, proof, leaves)]
    for _ in range(_steps_to_rest(program, proof)):
        leaves = program.advance(leaves)
        systems.append(_system_at(program, proof, leaves))
    return systems


def linearize_steps(
    optimizer: optax.GradientTransformation, steps: int, last: ArrayLike
) -> LinearSystem:
    """Return the systems of the updates with counts last - steps + 1 ... last, along a first axis.

    Those with negative counts, before the first update, are copies of the first and mean nothing.

    Args:
      optimizer: As in `linearize`.
      steps: How many updates, at least one.
      last: The count of the last one.

    Returns:
      A `LinearSystem` of A [steps, n, n], B [steps, n], C [steps, n] and D [steps].

    Raises:
      NotLinearError: A stage is not linear.
    """
    program = _Program(optimizer, None)
    proof = _prove(program)
    counts = jnp.arange(steps) + last - (steps - 1)

    def step(leaves: list[jax.Array], count: jax.Array) -> tuple[list[jax.Array], LinearSystem]:
        new = [
            jnp.where(count >= 0, after, before)
            for after, before in zip(program.advance(leaves), leaves, strict=True)
        ]
        return new, _system_at(program, proof, leaves)

    return jax.lax.scan(step, program.after(jnp.maximum(counts[0], 0)), counts)[1]


class _Program:
    """One update, its step added to params, on flat lists of leaves [*params, *state]."""

    def __init__(self, optimizer: optax.GradientTransformation, params: Any):
        self.optimizer = optax.with_extra_args_support(optimizer)
        self.params = jax.tree.map(lambda _: 0.0, 0.0 if params is None else params)
        paths, self.treedef = jax.tree_util.tree_flatten_with_path(self._leaves_at(_zero()))
        self.names = [_leaf_name(path) for path, _ in paths]
        self.types = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for _, x in paths]

    def _leaves_at(self, point: Any) -> tuple[Any, Any]:
        params = jax.tree.map(lambda _: point, self.params)
        with jax.numpy_dtype_promotion("standard"):
            return params, self.optimizer.init(params)

    def initial(self, point: Any) -> list[jax.Array]:
        """Return the leaves before the first update, if all params are at this point."""
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(self._leaves_at(point))]

    def start(self) -> list[jax.Array]:
        """Return the leaves before the first update of params at zero."""
        return self.initial(_zero())

    def update(self, gradient: Any, value: Any, leaves: Sequence[Any]) -> list[jax.Array]:
        """Return the leaves after an update, in the types of those before it."""
        params, state = jax.tree.unflatten(self.treedef, leaves)
        known = {"value": value, "grad": gradient, "value_fn": lambda _: value}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.optimizer.update(gradient, state, params, **known)
            new = jax.tree.leaves((jax.tree.map(jnp.add, params, updates), state))
        return [_as_type(leaf, like) for leaf, like in zip(new, self.types, strict=True)]

    def advance(self, leaves: Sequence[Any]) -> list[jax.Array]:
        """Return the leaves after an update without gradient: only the clock moves."""
        return self.update(_zero(), _zero(), leaves)

    def after(self, count: ArrayLike) -> list[jax.Array]:
        """Return the leaves after so many updates without gradient."""
        return jax.lax.fori_loop(0, count, lambda _, leaves: self.advance(leaves), self.start())


def _zero() -> jax.Array:
    return jnp.zeros([], float)


def _leaf_name(path: Any) -> str:
    text = jax.tree_util.keystr(path[1:]).lstrip(".")
    return text or ("params" if path[0].idx == 0 else "state")


def _as_type(leaf: Any, like: jax.ShapeDtypeStruct) -> Any:
    key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
    return leaf if key else jnp.asarray(leaf, like.dtype)


# The proof that it is linear, from the linearity of its leaves.


class _Proof(NamedTuple):
    update: Any  # the jaxpr of an update
    initial_marks: list[Linearity]  # of the leaves before the first update
    entry_marks: list[Linearity]  # of the leaves before any update: constant, linear or unused
    state_leaves: list[int]  # the leaves that the data reach: the state of the system


def _prove(program: _Program) -> _Proof:
    """Find which leaves the data reach, and refuse an update that is not linear in them."""
    update = jax.make_jaxpr(program.update)(_zero(), _zero(), program.start())
    initial = jax.make_jaxpr(program.initial)(_zero())
    initial_marks = linearity_of(initial, [Linearity(LINEAR)])
    marks = [mark if mark.kind == CONSTANT else Linearity(LINEAR) for mark in initial_marks]
    # First only what the data reach: a buffer is not the constant zero that it starts as.
    marks = _fixed_point(update, _as_clock(marks), reach_only=True)
    marks = _fixed_point(update, marks, reach_only=False)
    if marks[0].reason is not None:
        raise NotLinearError(_explain_not_linear(program, marks[0].reason))
    state_leaves = [index for index, mark in enumerate(marks) if mark.kind == LINEAR]
    return _Proof(update, initial_marks, marks, state_leaves)


def _fixed_point(update: Any, marks: list[Linearity], reach_only: bool) -> list[Linearity]:
    """Return marks that an update does not make worse, however often it is made."""
    while True:
        after = [
            mark if mark.kind == CONSTANT or (mark.kind == OTHER and not reach_only) else linear
            for mark in _marks_after(update, marks)
            for linear in [Linearity(LINEAR)]
        ]
        is_worse = [new.kind > old.kind for new, old in zip(after, marks, strict=True)]
        if not any(is_worse):
            return marks
        marks = [new if w else old for w, new, old in zip(is_worse, after, marks, strict=True)]


def _marks_after(update: Any, marks: Sequence[Linearity]) -> list[Linearity]:
    value = Linearity(OTHER, reason=Reason("", "the value of the loss"))
    return linearity_of(update, [Linearity(LINEAR), value, *marks])


def _as_clock(marks: Sequence[Linearity]) -> list[Linearity]:
    """Make each constant leaf a part of the clock, known by its index."""
    return [
        Linearity(CONSTANT, {i: ""}, mark.value) if mark.kind == CONSTANT else mark
        for i, mark in enumerate(marks)
    ]


def _steps_to_rest(program: _Program, proof: _Proof) -> int:
    """Return after how many updates the clock rests, as far as the update depends on it."""
    before, moving = proof.entry_marks, {}
    for steps in range(4):
        after = _marks_after(proof.update, before)
        moving = _moving_clocks(before, after, proof.state_leaves)
        if not moving:
            return steps
        before = _as_clock(
            [new if old.kind == CONSTANT else old for old, new in zip(before, after, strict=True)]
        )
    index, stage = next(iter(moving.items()))
    raise TimeVaryingError(_explain_varying(program, proof, program.names[index], stage))


def _moving_clocks(
    before: list[Linearity], after: list[Linearity], state_leaves: list[int]
) -> dict[int, str]:
    """Return the leaves of the clock on which the update depends, and which it changes."""
    needed = {index: stage for i in state_leaves for index, stage in after[i].clocks.items()}
    while True:
        behind = {index: stage for i, stage in needed.items() for index in after[i].clocks}
        if behind.keys() <= needed.keys():
            return {i: s for i, s in needed.items() if not _is_same(before[i], after[i])}
        needed = {**behind, **needed}


def _is_same(before: Linearity, after: Linearity) -> bool:
    if after is before:  # handed through, even if traced
        return True
    if before.value is None or after.value is None:
        return False
    with jax.ensure_compile_time_eval():
        return bool(jnp.all(before.value == after.value))


def _system_at(program: _Program, proof: _Proof, start: list[jax.Array]) -> LinearSystem:
    """Return the matrices: an update of unit vectors, which is all of a map that is linear.

    Derivatives would be those that a function may define for itself, not those of its values.
    Copies of params in the state become their distance from params.
    """
    state_leaves, types = proof.state_leaves, program.types
    sizes = [math.prod(types[i].shape) for i in state_leaves]

    def floats(leaves: Sequence[Any]) -> jax.Array:
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaves[i], float)) for i in state_leaves])

    def step(data: jax.Array) -> jax.Array:
        leaves = list(start)
        parts = jnp.split(data[1:], np.cumsum(sizes)[:-1])
        for i, part in zip(state_leaves, parts, strict=True):
            leaves[i] = jnp.asarray(part.reshape(types[i].shape), types[i].dtype)
        return floats(program.update(data[0], _zero(), leaves))

    columns = jax.vmap(step, out_axes=1)(jnp.eye(sum(sizes) + 1))
    is_copy = [i > 0 and proof.initial_marks[i].kind == LINEAR for i in state_leaves]
    copied = floats(program.initial(jnp.ones([], float))) - floats(program.start())
    unit = jnp.eye(sum(sizes))
    shift = jnp.outer(jnp.where(np.repeat(is_copy, sizes), copied, 0.0), unit[0])
    names = [
        program.names[i] + f"[{place}]" * (size > 1) + " - params" * copy
        for i, size, copy in zip(state_leaves, sizes, is_copy, strict=True)
        for place in range(size)
    ]
    return LinearSystem(
        A=(unit - shift) @ columns[:, 1:] @ (unit + shift),
        B=(unit - shift) @ columns[:, 0],
        C=unit[0],
        D=_zero(),
        names=("params", *names[1:]),
    )


# Messages.


def _explain_not_linear(program: _Program, reason: Reason) -> str:
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


def _explain_varying(program: _Program, proof: _Proof, name: str, stage: str) -> str:
    return (
        f"{stage or 'this optimizer'} varies with time: its coefficients follow {name!r} of the "
        f"state{_drift(program, proof)}. For the linear system of one step, freeze it there with "
        "linearize(optimizer, count=...); kernel(optimizer, lags, count=...) has the weights of "
        "the gradients in that step."
    )


def _defect(program: _Program) -> float | None:
    """Return how far steps are from adding up, at the worst of some scales; None in a trace."""
    start = program.start()
    if any(isinstance(leaf, Tracer) for leaf in start):
        return None
    floats = [i for i, like in enumerate(program.types) if jnp.issubdtype(like.dtype, jnp.floating)]

    def step(point: np.ndarray) -> np.ndarray:
        leaves = list(start)
        for place, i in enumerate(floats):
            leaves[i] = jnp.full(program.types[i].shape, point[place + 1], program.types[i].dtype)
        new = program.update(jnp.asarray(point[0], float), jnp.ones([], float), leaves)
        return np.asarray(new[0] - leaves[0])

    worst, generator = 0.0, np.random.default_rng(0)
    for scale in 10.0 ** np.arange(-2, 9, 2):
        a, b = scale * generator.standard_normal((2, len(floats) + 1))
        steps = [step(a), step(b), step(a + b)]
        size = max(abs(s) for s in steps)
        if np.isfinite(size) and size > 0:
            worst = max(worst, abs(steps[2] - steps[0] - steps[1]) / size)
    return float(worst)


def _drift(program: _Program, proof: _Proof) -> str:
    """Say how much the matrices change from one of the first updates to the next."""
    leaves, matrices = program.start(), []
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return ""
    for _ in range(4):
        system = _system_at(program, proof, leaves)
        matrices.append(np.column_stack([system.A, system.B]))
        leaves = program.advance(leaves)
    change = np.max(np.abs(np.diff(matrices, axis=0)))
    return f", by up to {change:.2g} from one of the first steps to the next"
