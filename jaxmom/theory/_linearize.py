"""Linear systems from optimizers' code: of one update, of a period, and of the first updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory._clock import Cycle, TimeVaryingError, find_cycle, find_rest
from jaxmom.theory._linear_proof import (
    LinearityProof,
    NotLinearError,
    StateBasis,
    prove_linear,
    system_at,
)
from jaxmom.theory._program import UpdateProgram
from jaxmom.theory.linear_system import LinearSystem, PeriodicSystem
from jaxmom.transform import PyTree

__all__ = ["NotLinearError", "TimeVaryingError"]


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
    program = UpdateProgram(optimizer, params)
    proof = prove_linear(program)
    if count is not None:
        check_count(count)
        return system_at(program, proof, program.after(count))
    return _systems_to_rest(program, proof, find_rest(program, proof))[-1]


def linearize_period(
    optimizer: optax.GradientTransformation, *, params: PyTree = None
) -> PeriodicSystem:
    """Return the linear systems of the updates of one period, for coefficients that repeat.

    Gradient accumulation, lookahead, extra-gradient steps and cyclic schedules do one thing at some
    updates and another at others. That they repeat is proved from the code, as `linearize` proves
    that they are linear: the part of the clock on which coefficients depend returns to a state that
    it had, or it consists of counters of which the coefficients see remainders only.

    Args:
      optimizer: Any optax transformation that is linear in gradients, params and buffers.
      params: As in `linearize`.

    Returns:
      A `PeriodicSystem`, whose first system is that of updates 0, p, 2 p ... (once they repeat).
      Where nothing varies the period is 1.

    Raises:
      NotLinearError: A stage is not linear, or (`TimeVaryingError`) no period is found that begins
        within three updates: none of at most 512 updates if remainders are taken by plain numbers,
        none of at most 64 otherwise, and none at all if its length is traced.

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> outer = jm.lookahead(jm.gradient_descent(0.5), period=3, step=0.5)
      >>> print(theory.linearize_period(outer).period)
      3
    """
    program = UpdateProgram(optimizer, params)
    proof = prove_linear(program)
    return _systems_of_cycle(program, proof, find_cycle(program, proof))


def linearize_cycle(optimizer: optax.GradientTransformation) -> LinearSystem | PeriodicSystem:
    """Return the linear system of an optimizer, or those of a period if its coefficients repeat."""
    program = UpdateProgram(optimizer)
    proof = prove_linear(program)
    cycle = find_cycle(program, proof)
    if cycle.period > 1:
        return _systems_of_cycle(program, proof, cycle)
    return _systems_to_rest(program, proof, cycle.start)[-1]


def linearize_to_rest(optimizer: optax.GradientTransformation) -> list[LinearSystem]:
    """Return the systems of the first updates, up to the one that stays; as `linearize`."""
    program = UpdateProgram(optimizer)
    proof = prove_linear(program)
    _check_start(program, proof)
    return _systems_to_rest(program, proof, find_rest(program, proof))


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
      NotLinearError: A stage is not linear, or a buffer is not empty at the start.
    """
    program = UpdateProgram(optimizer)
    proof = prove_linear(program)
    _check_start(program, proof)
    return _systems_of_steps(program, proof, steps, last)


def linearize_steps_at_rest(
    optimizer: optax.GradientTransformation, steps: int, last: ArrayLike
) -> tuple[LinearSystem, jax.Array]:
    """Return the systems of `linearize_steps`, and the state [n] before them of params kept at 1.

    That state is what updates without gradient have made of params that began there: also of
    buffers that follow params, as the slow weights of lookahead do.
    """
    program = UpdateProgram(optimizer)
    proof = prove_linear(program)
    first = jnp.maximum(last - (steps - 1), 0)
    ones, zeros = (program.after(first, point) for point in (jnp.ones([], float), None))
    basis = StateBasis(program, proof)
    rest = basis.vector(ones) - basis.vector(zeros)
    return _systems_of_steps(program, proof, steps, last), rest


def start_state(optimizer: optax.GradientTransformation) -> jax.Array:
    """Return the state [n] before the first update if params are at zero; zeros if empty."""
    program = UpdateProgram(optimizer)
    return StateBasis(program, prove_linear(program)).vector(program.start())


def _systems_to_rest(
    program: UpdateProgram, proof: LinearityProof, start: int
) -> list[LinearSystem]:
    leaves = program.start()
    systems = [system_at(program, proof, leaves)]
    for _ in range(start):
        leaves = program.advance(leaves)
        systems.append(system_at(program, proof, leaves))
    return systems


def _systems_of_cycle(
    program: UpdateProgram, proof: LinearityProof, cycle: Cycle
) -> PeriodicSystem:
    """Return the systems of a period, from an update on whose count is a multiple of it."""
    first = -(-cycle.start // cycle.period) * cycle.period
    systems = _systems_of_steps(program, proof, cycle.period, first + cycle.period - 1)
    return PeriodicSystem(systems.A, systems.B, systems.C[0], systems.names)


def _systems_of_steps(
    program: UpdateProgram, proof: LinearityProof, steps: int, last: ArrayLike
) -> LinearSystem:
    counts = jnp.arange(steps) + last - (steps - 1)

    def step(leaves: list[jax.Array], count: jax.Array) -> tuple[list[jax.Array], LinearSystem]:
        new = [
            jnp.where(count >= 0, after, before)
            for after, before in zip(program.advance(leaves), leaves, strict=True)
        ]
        return new, system_at(program, proof, leaves)

    return jax.lax.scan(step, program.after(jnp.maximum(counts[0], 0)), counts)[1]


def _check_start(program: UpdateProgram, proof: LinearityProof) -> None:
    """Raise NotLinearError if the state is not empty at first, so that runs are not linear."""
    basis = StateBasis(program, proof)
    start = basis.vector(program.start())
    if isinstance(start, Tracer) or not bool(jnp.any(start != 0)):
        return
    first = int(jnp.argmax(start != 0))
    raise NotLinearError(
        f"{basis.names[first]!r} of the state starts at {float(start[first]):g} where params are "
        "zero, so that updates are not linear in the gradients and the start; let it start at zero "
        "or as a multiple of params."
    )


def check_count(count: ArrayLike) -> None:
    """Raise ValueError if the number of a step is not one, or negative."""
    if np.ndim(count) > 0:
        raise ValueError(
            f"count is the number of one step, got {count}; for several, "
            "map over them: jax.vmap(lambda count: ...)(counts)."
        )
    if not isinstance(count, Tracer) and not np.asarray(count) >= 0:
        raise ValueError(f"count is the number of a step, from 0, got {count}.")
