"""The expected loss of stochastic least squares, step by step and exactly."""

from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom._choices import check_choice
from jaxmom._values import as_count
from jaxmom.theory._linearize import linearize_steps
from jaxmom.theory._numbers import known_values, to_numbers
from jaxmom.theory._systems import Linear, refuse_complex
from jaxmom.theory.linear_system import LinearSystem, check_system, rest_state
from jaxmom.transform import PyTree, eval_params

Record: TypeAlias = Literal["value", "eval_value"]


def risk(
    optimizer: Linear,
    curvatures: ArrayLike,
    steps: int,
    *,
    start: ArrayLike,
    noise: ArrayLike = 0.0,
    batch_size: ArrayLike = 1,
    record: Record = "value",
) -> jax.Array:
    """Return the expected excess loss of stochastic least squares after 0 ... `steps` updates.

    Rows are ``x ~ N(0, diag(curvatures))`` and labels ``x.w* + N(0, noise)``; each gradient is that
    of half the squared error, averaged over a fresh batch. With the error ``e = w - w*``, its mean
    is ``lambda_i e_i`` and its variance, for Gaussian rows,

        (lambda_i (sum_j lambda_j e_j^2 + noise) + lambda_i^2 e_i^2) / batch_size,

    so the second moments of the optimizer's state, one matrix for each curvature, follow a linear
    recurrence: nothing is sampled or truncated. It compiles, maps and differentiates with respect
    to the optimizer and to all other numbers but `steps`.

    Args:
      optimizer: Any linear optimizer, or its `LinearSystem`; it may vary with time. No weight
        decay, which pulls to zero and not to w*.
      curvatures: lambda [d], not negative.
      steps: The number of updates.
      start: The error e_0 [d] before the first.
      noise: The variance of the labels around ``x.w*``.
      batch_size: Rows in a batch.
      record: Where the loss is taken, as in `jaxmom.optimize`: "value" at params, where gradients
        are, or "eval_value" at `eval_params`: the average of `jaxmom.average` and of schedule-free
        methods, the read-out of Nesterov's.

    Returns:
      ``1/2 sum_i lambda_i E e_i^2`` [steps + 1]; it grows without bound where a run would.

    Raises:
      ValueError: Shapes, signs, `steps` or `batch_size` are wrong, there is weight decay, `record`
        is unknown, or it is "eval_value" of a `LinearSystem`, which has none.
      NotLinearError: A stage is not linear.

    Source:
      The fourth moments of Gaussians (Isserlis 1918); for descent, the recursion of Bach and
      Moulines 2013 (arXiv 1306.2119).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> curve = theory.risk(jm.gradient_descent(0.25), [1.0], 2, start=[2.0], batch_size=2)
      >>> print(curve)  # each step multiplies E e^2 by (1 - 1/4)^2 + (1/4)^2
      [2.      1.25    0.78125]
    """
    _check_record(record, optimizer)
    rates, error = _check_vectors(curvatures, start)
    _check_numbers(noise, batch_size)
    system = _linearize_run(optimizer, as_count("steps", steps, "the number of updates"), record)
    dtype = system.A.dtype
    rates, error, noise, rows = (jnp.asarray(x, dtype) for x in (rates, error, noise, batch_size))
    # The state that holds params at 1: everything is relative to w*.
    held = jnp.eye(system.A.shape[-1], dtype=dtype)[0]
    if isinstance(optimizer, LinearSystem):
        held = rest_state(jax.tree.map(lambda x: x[0], system)).state
    _check_rest(system, held, record)
    moments = error[:, None, None] ** 2 * jnp.outer(held, held)[None]
    # After an update the last entry of the state is the point that is recorded, if there is one.
    read = jnp.eye(len(held), dtype=dtype)[-1] if record == "eval_value" else system.C[0]

    def squares(moments: jax.Array, c: jax.Array) -> jax.Array:
        return jnp.einsum("i,dij,j->d", c, moments, c)

    def step(moments: jax.Array, now: LinearSystem) -> tuple[jax.Array, jax.Array]:
        near = squares(moments, now.C)
        closed = now.A[None] + rates[:, None, None] * jnp.outer(now.B, now.C)[None]
        variances = (rates * (jnp.sum(rates * near) + noise) + rates**2 * near) / rows
        moved = jnp.einsum("dij,djk,dlk->dil", closed, moments, closed)
        moved = moved + variances[:, None, None] * jnp.outer(now.B, now.B)[None]
        return moved, jnp.sum(rates * squares(moved, read)) / 2

    _, losses = jax.lax.scan(step, moments, system)
    return jnp.concatenate([jnp.sum(rates * error**2)[None] / 2, losses])


def _recording(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Put `eval_params` after each update into the state, as its last entry.

    It takes part in the proof of linearity, and is one more row of the linear system.
    """
    inside = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> tuple[Any, PyTree]:
        return inside.init(params), jax.tree.map(jnp.zeros_like, params)

    def update(
        updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        updates, new = inside.update(updates, state[0], params, **extra)
        moved: PyTree = jax.tree.map(jnp.add, params, updates)
        return updates, (new, eval_params(optimizer, moved, new))

    return optax.GradientTransformationExtraArgs(init, update)


def _check_record(record: str, optimizer: Linear) -> None:
    check_choice("record", record, get_args(Record))
    if record == "eval_value" and isinstance(optimizer, LinearSystem):
        raise ValueError(
            "a LinearSystem says nothing about eval_params: give the optimizer itself, or "
            'record="value".'
        )


def _linearize_run(optimizer: Linear, steps: int, record: str) -> LinearSystem:
    """Return the systems of all updates, along a first axis."""
    if not isinstance(optimizer, LinearSystem):
        recorded = _recording(optimizer) if record == "eval_value" else optimizer
        return linearize_steps(recorded, steps, steps - 1)
    system = check_system(optimizer)
    if not system.names:  # nothing moves
        one, zero = (jnp.full(1, x, system.A.dtype) for x in (1, 0))
        system = LinearSystem(one[None], zero, one, system.D, ("params",))
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, *jnp.shape(x))), system)


def _check_rest(systems: LinearSystem, held: jax.Array, record: str) -> None:
    """Raise ValueError if params at w* leave it without gradients, at any of the updates."""

    def advance(state: jax.Array, now: LinearSystem) -> tuple[jax.Array, jax.Array]:
        state = now.A @ state
        places = (now.C @ state, state[-1] if record == "eval_value" else now.C @ state)
        return state, jnp.abs(jnp.stack(places) - 1)

    _, moved = jax.lax.scan(advance, held, systems)
    rounding = 64 * float(jnp.finfo(held.dtype).eps) * len(systems.A)
    if isinstance(moved, Tracer) or bool(jnp.all(moved <= rounding)):
        return
    raise ValueError(
        "without gradients this optimizer moves params, as weight decay does, which pulls them to "
        "zero and not to w*; leave it out, and add it to the curvatures if it is a penalty of the "
        "loss."
    )


def _check_vectors(curvatures: ArrayLike, start: ArrayLike) -> tuple[jax.Array, jax.Array]:
    refuse_complex(curvatures)
    rates, error = to_numbers("a curvature", curvatures), to_numbers("start", start)
    if rates.ndim != 1 or rates.shape != error.shape or rates.size == 0:
        raise ValueError(
            f"curvatures and start are vectors of one length, got shapes {rates.shape} and "
            f"{error.shape}."
        )
    if not isinstance(rates, Tracer) and not np.all(np.isfinite(rates) & (np.asarray(rates) >= 0)):
        raise ValueError(f"the covariance of the rows is finite and not negative, got {rates}.")
    if not isinstance(error, Tracer) and not np.all(np.isfinite(error)):
        raise ValueError(f"the start is finite, got {error}.")
    return rates, error


def _check_numbers(noise: ArrayLike, batch_size: ArrayLike) -> None:
    # An infinite batch has the gradient without noise; infinite noise has no loss to speak of.
    bounds = ("noise", noise, 0, "and finite"), ("batch_size", batch_size, 1, "or infinite")
    for name, value, least, end in bounds:
        number = to_numbers(name, value)
        if number.ndim > 0:
            raise ValueError(f"{name} is one number, got shape {number.shape}; use jax.vmap.")
        known = known_values(value)
        if known is not None and not (known >= least and (name != "noise" or known < np.inf)):
            raise ValueError(f"{name} is at least {least}, {end}, got {value}.")
