"""From an optimizer's code to its linear system: the proof that it is linear, and its Jacobian."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory.linear_system import LinearSystem
from jaxmom.theory._linearity import CONSTANT, LINEAR, OTHER, Mark, Reason, marks_of


class NotLinearError(ValueError):
    """An optimizer is not a linear system with constant coefficients."""

    __module__ = "jaxmom.theory"  # where users find it


def linearize(
    optimizer: optax.GradientTransformation, *, params: Any = None, count: ArrayLike | None = None
) -> LinearSystem:
    """The linear system of an optimizer, exact, or an error that names what is not linear.

    That it is linear is proved from its program, not sampled; the matrices are the Jacobian of one
    update of a scalar parameter, in the widest float in use (float64 wants ``jax_enable_x64``).
    `jit`, `vmap` and `grad` over the optimizer's leaves work as everywhere.

    Counts, keys, flags and whatever else no gradient reaches are the optimizer's clock. If the
    update depends on it, the clock must have come to rest after at most three steps (PyTorch's
    undamped first step is such a case); otherwise the optimizer varies with time.

    Args:
      optimizer: Any optax transformation that is linear in gradients, params and buffers.
      params: A scalar by default; `optax.LookaheadParams` of scalars for `optax.lookahead`, where
        the gradient is taken at ``fast``.
      count: Freeze the clock as it is after so many updates. What comes out is the linear system
        of that one step.

    Returns:
      A `LinearSystem`.

    Raises:
      NotLinearError: A stage is not linear, or varies with time while `count` is None. The message
        names the stage, and says by how much superposition or constancy fails.

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
        return _jacobian(program, proof, program.after(count))
    start = program.start()
    for _ in range(_rest(program, proof)):
        start = program.advance(start)
    return _jacobian(program, proof, start)


class _Program:
    """One update, its step added to params, on flat lists of leaves [*params, *state]."""

    def __init__(self, optimizer: optax.GradientTransformation, params: Any):
        self.optimizer = optax.with_extra_args_support(optimizer)
        self.params = jax.tree.map(lambda _: 0.0, 0.0 if params is None else params)
        paths, self.treedef = jax.tree_util.tree_flatten_with_path(self._born(_zero()))
        self.names = [_label(path) for path, _ in paths]
        self.types = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for _, x in paths]

    def _born(self, point: Any) -> tuple[Any, Any]:
        params = jax.tree.map(lambda _: point, self.params)
        with jax.numpy_dtype_promotion("standard"):
            return params, self.optimizer.init(params)

    def initial(self, point: Any) -> list[jax.Array]:
        """The leaves before the first update, if all params are at this point."""
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(self._born(point))]

    def start(self) -> list[jax.Array]:
        """The leaves before the first update of params at zero."""
        return self.initial(_zero())

    def update(self, gradient: Any, value: Any, leaves: Sequence[Any]) -> list[jax.Array]:
        """The leaves after an update, in the types of those before it."""
        params, state = jax.tree.unflatten(self.treedef, leaves)
        known = {"value": value, "grad": gradient, "value_fn": lambda _: value}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.optimizer.update(gradient, state, params, **known)
            new = jax.tree.leaves((jax.tree.map(jnp.add, params, updates), state))
        return [_as_type(leaf, like) for leaf, like in zip(new, self.types, strict=True)]

    def advance(self, leaves: Sequence[Any]) -> list[jax.Array]:
        """An update without gradient: only the clock moves."""
        return self.update(_zero(), _zero(), leaves)

    def after(self, count: ArrayLike) -> list[jax.Array]:
        """The leaves after so many updates without gradient."""
        return jax.lax.fori_loop(0, count, lambda _, leaves: self.advance(leaves), self.start())


def _zero() -> jax.Array:
    return jnp.zeros([], float)


def _label(path: Any) -> str:
    text = jax.tree_util.keystr(path[1:]).lstrip(".")
    return text or ("params" if path[0].idx == 0 else "state")


def _as_type(leaf: Any, like: jax.ShapeDtypeStruct) -> Any:
    key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
    return leaf if key else jnp.asarray(leaf, like.dtype)


# The proof that it is linear, from the marks of its leaves.


class _Proof(NamedTuple):
    update: Any  # the jaxpr of an update
    born: list[Mark]  # of the leaves before the first update
    seeds: list[Mark]  # of the leaves before any update: constant, linear, or of no account
    driven: list[int]  # the leaves that the data reach: the state of the system


def _prove(program: _Program) -> _Proof:
    """Find which leaves the data reach, and refuse an update that is not linear in them."""
    update = jax.make_jaxpr(program.update)(_zero(), _zero(), program.start())
    born = marks_of(jax.make_jaxpr(program.initial)(_zero()), [Mark(LINEAR)])
    seeds = _placed([mark if mark.kind == CONSTANT else Mark(LINEAR) for mark in born])
    # First only what the data reach: a buffer is not the constant zero that it starts as.
    seeds = _settled(update, seeds, reach=True)
    seeds = _settled(update, seeds, reach=False)
    if seeds[0].reason is not None:
        raise NotLinearError(_not_linear(program, seeds[0].reason))
    return _Proof(update, born, seeds, [i for i, m in enumerate(seeds) if m.kind == LINEAR])


def _settled(update: Any, seeds: list[Mark], reach: bool) -> list[Mark]:
    """Marks that an update does not make worse, however often it is made."""
    while True:
        after = _once(update, seeds)
        after = [
            mark if mark.kind == CONSTANT or (mark.kind == OTHER and not reach) else Mark(LINEAR)
            for mark in after
        ]
        worse = [new.kind > old.kind for new, old in zip(after, seeds, strict=True)]
        if not any(worse):
            return seeds
        seeds = [new if w else old for w, new, old in zip(worse, after, seeds, strict=True)]


def _once(update: Any, seeds: Sequence[Mark]) -> list[Mark]:
    value = Mark(OTHER, reason=Reason("", "the value of the loss"))
    return marks_of(update, [Mark(LINEAR), value, *seeds])


def _placed(marks: Sequence[Mark]) -> list[Mark]:
    """Give the constants their places in the clock."""
    return [
        Mark(CONSTANT, {i: ""}, mark.value) if mark.kind == CONSTANT else mark
        for i, mark in enumerate(marks)
    ]


def _rest(program: _Program, proof: _Proof) -> int:
    """After how many updates the clock, as far as the update depends on it, has come to rest."""
    before, moving = proof.seeds, {}
    for steps in range(4):
        after = _once(proof.update, before)
        moving = _moving(before, after, proof.driven)
        if not moving:
            return steps
        before = _placed(
            [new if old.kind == CONSTANT else old for old, new in zip(before, after, strict=True)]
        )
    index, stage = next(iter(moving.items()))
    raise NotLinearError(_varies(program, proof, program.names[index], stage))


def _moving(before: list[Mark], after: list[Mark], driven: list[int]) -> dict[int, str]:
    """The leaves of the clock on which the update depends, and which it changes."""
    needed = {index: stage for i in driven for index, stage in after[i].clocks.items()}
    while True:
        behind = {index: stage for i, stage in needed.items() for index in after[i].clocks}
        if behind.keys() <= needed.keys():
            return {i: s for i, s in needed.items() if not _same(before[i], after[i])}
        needed = {**behind, **needed}


def _same(before: Mark, after: Mark) -> bool:
    if after is before:  # handed through, be it traced
        return True
    if before.value is None or after.value is None:
        return False
    with jax.ensure_compile_time_eval():
        return bool(jnp.all(before.value == after.value))


def _jacobian(program: _Program, proof: _Proof, start: list[jax.Array]) -> LinearSystem:
    """A and B by autodiff; copies of params in the state become their distance from params."""
    driven, types = proof.driven, program.types
    sizes = [math.prod(types[i].shape) for i in driven]

    def floats(leaves: Sequence[Any]) -> jax.Array:
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaves[i], float)) for i in driven])

    def step(data: jax.Array) -> jax.Array:
        leaves = list(start)
        parts = jnp.split(data[1:], np.cumsum(sizes)[:-1])
        for i, part in zip(driven, parts, strict=True):
            leaves[i] = jnp.asarray(part.reshape(types[i].shape), types[i].dtype)
        return floats(program.update(data[0], _zero(), leaves))

    jacobian = jax.jacfwd(step)(jnp.zeros(sum(sizes) + 1, float))
    copied = jax.jacfwd(lambda point: floats(program.initial(point)))(_zero()).at[0].set(0.0)
    unit = jnp.eye(sum(sizes))
    shift = jnp.outer(copied, unit[0])
    names = [
        program.names[i]
        + f"[{place}]" * (size > 1)
        + " - params" * (i > 0 and proof.born[i].kind != CONSTANT)
        for i, size in zip(driven, sizes, strict=True)
        for place in range(size)
    ]
    return LinearSystem(
        A=(unit - shift) @ jacobian[:, 1:] @ (unit + shift),
        B=(unit - shift) @ jacobian[:, 0],
        C=unit[0],
        D=_zero(),
        names=("params", *names[1:]),
    )


# What an error says.


def _not_linear(program: _Program, reason: Reason) -> str:
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


def _varies(program: _Program, proof: _Proof, name: str, stage: str) -> str:
    return (
        f"{stage or 'this optimizer'} varies with time: its coefficients follow {name!r} of the "
        f"state{_drift(program, proof)}. For the linear system of one step, freeze it there with "
        "linearize(optimizer, count=...)."
    )


def _defect(program: _Program) -> float | None:
    """How far steps are from adding up, at the worst of some scales; None while tracing."""
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
    """How much the matrices change from one of the first updates to the next."""
    leaves, matrices = program.start(), []
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return ""
    for _ in range(4):
        system = _jacobian(program, proof, leaves)
        matrices.append(np.column_stack([system.A, system.B]))
        leaves = program.advance(leaves)
    change = np.max(np.abs(np.diff(matrices, axis=0)))
    return f", by up to {change:.2g} from one of the first steps to the next"
