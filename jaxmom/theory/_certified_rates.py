"""Certified rates of many optimizers: a map of hyperparameters with a proof for every cell."""

from typing import NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.theory import _constraints, _proof, _states
from jaxmom.theory._numbers import known_values, to_numbers
from jaxmom.theory._systems import Linear, as_system
from jaxmom.theory.certificate import (
    Certificate,
    check_curvatures,
    check_tolerance,
    no_certificate,
    proposer,
)
from jaxmom.theory.linear_system import LinearSystem


class CertifiedRates(NamedTuple):
    """Certified rates of many optimizers.

    Attributes:
      rates: [m], infinite where there is no certificate.
      proofs: [m] `Certificate`s. Those of finite rates verify; the others say why not.
    """

    rates: np.ndarray
    proofs: list[Certificate]


def certified_rates(
    optimizers: Linear, mu: ArrayLike, L: ArrayLike, *, tolerance: float = 1e-5
) -> CertifiedRates:
    """Certify a whole map of hyperparameters, with a proof for every cell.

    All rates are searched for by one compiled program, and the proofs come from Riccati equations.
    No semidefinite program is solved, so cvxpy is not needed; but `Certificate.bound` may be larger
    than that of `certified_rate`.

    Args:
      optimizers: One optimizer, or `LinearSystem`, each of whose leaves has a leading axis [m], as
        `jax.vmap` makes it of a method.
      mu: The constant of strong convexity, a number or [m].
      L: The constant of smoothness, a number or [m].
      tolerance: As in `certified_rate`. A rate is farther from the best one where float64 has no
        closer proof.

    Returns:
      `CertifiedRates` of the m optimizers.

    Raises:
      ValueError: As in `certified_rate`, or the leading axes differ, or mu or L is of another
        length.

    Source: As `certifiable_rate`, whose search this is; its proofs are those of `certified_rate`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxmom as jm
      >>> from jaxmom import theory
      >>> optimizers = jax.vmap(jm.gradient_descent)(jnp.array([0.1, 0.2, 0.3]))
      >>> print(theory.certified_rates(optimizers, mu=1.0, L=9.0).rates.round(3))
      [0.9 0.8 inf]
    """
    check_tolerance(tolerance)
    wholes, early = zip(*_split_systems(optimizers), strict=True)
    mus, Ls = _spread("mu", mu, len(wholes)), _spread("L", L, len(wholes))
    curvatures = [(float(x), float(y)) for x, y in zip(mus, Ls, strict=True)]
    for pair in curvatures:
        check_curvatures(*pair)
    systems = [_states.minimal_system(whole) for whole in wholes]
    moving = [i for i, system in enumerate(systems) if system.names]
    problems = [_constraints.pose(systems[i], *curvatures[i]) for i in moving]
    bests = dict(zip(moving, _proof.search_rates(problems), strict=True)) if moving else {}
    proofs = []
    for i, (whole, system, pair) in enumerate(zip(wholes, systems, curvatures, strict=True)):
        best, proof = bests.get(i), None
        if best is not None and best.slow > 0:
            system = _states.well_scaled(system, *pair, best)
            propose = proposer(system, *pair, _states.first_step(early[i], whole, system))
            proof = _proof.prove(_constraints.pose(system, *pair), best, tolerance, propose)
        proofs.append(no_certificate(system, *pair) if proof is None else proof)
    return CertifiedRates(np.array([proof.rate for proof in proofs]), proofs)


def _spread(name: str, value: ArrayLike, size: int) -> np.ndarray:
    """Return as many curvatures as there are optimizers, from one or from all of them."""
    to_numbers(name, value)
    numbers = known_values(value)
    if numbers is None or numbers.shape not in ((), (size,)):
        raise ValueError(
            f"{name} is one plain number, or one for each of the {size} optimizers, got {value}."
        )
    # A proof is of the number that was given, which JAX may hold in float32.
    return np.broadcast_to(np.asarray(value, float), size)


@jax.jit  # of the module, so that a second call compiles nothing
@jax.vmap
def _linearize_all(optimizer: Linear) -> tuple[LinearSystem, _states.Early | None]:
    early = None if isinstance(optimizer, LinearSystem) else _states.early_systems(optimizer)
    return as_system(optimizer), early


def _split_systems(optimizers: Linear) -> list[tuple[LinearSystem, _states.Early | None]]:
    """Linearize a batch; return each system, and how its runs begin."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(optimizers)):
        raise ValueError(
            "certified_rates needs plain numbers, because a proof cannot be traced; for the "
            "gradient of a rate use jaxmom.theory.certifiable_rate."
        )
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(optimizers)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            "the leaves of the optimizers need one leading axis, the same for all, as in "
            f"jax.vmap(jaxmom.heavy_ball)(learning_rates, betas); theirs are {sorted(sizes)}."
        )
    batches = jax.tree.map(np.asarray, _linearize_all(optimizers))
    size = next(iter(sizes))[0]
    return [jax.tree.map(lambda x, i=i: x[i], batches) for i in range(size)]
