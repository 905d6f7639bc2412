"""Games between two or more players, whose fields are linear: bilinear and quadratic games.

In a game each player descends a loss of its own. Together they follow a field v(θ), which need not
be the gradient of any function: the eigenvalues of its Jacobian, the curvatures of the game, may be
complex.
"""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import Partial

from jaxmom.problems.problem import Problem, Values, as_floating


def bilinear_game(matrix: Values, *, start: Values | None = None) -> Problem:
    """Return the game min_x max_y xᵀ A y, whose solution is zero.

    The params are (x, y) in one vector, and the field is ``v = (A y, -Aᵀ x)``: x descends and y
    climbs. Its eigenvalues are ± i σ for the singular values σ of A, and zeros where A is not
    square. Gradient descent diverges at any learning rate; the optimistic gradient converges for
    learning rates below 1 / (√3 σ_max).

    As in `quadratic_game`, the loss returns half the squared distance to the solution, and its
    gradient is the field.

    Args:
      matrix: [m, n] the payoff A.
      start: [m + n] the starting point; one in every coordinate unless given.

    Returns:
      A `Problem`, whose optimum is zero.

    Raises:
      ValueError: The payoff is not a matrix or not finite, or a shape does not fit.

    Source:
      Daskalakis et al. 2018 (arXiv 1711.00141); Gidel et al. 2019 (arXiv 1807.04740).

    Example:
      >>> import jax
      >>> from jaxmom.problems import bilinear_game
      >>> game = bilinear_game([[2.0]], start=[3.0, 1.0])
      >>> print(jax.grad(game.loss)(game.params).tolist())
      [2.0, -6.0]
    """
    payoff = as_floating(matrix)
    if payoff.ndim != 2 or payoff.size == 0:
        raise ValueError(
            f"the payoff has shape {payoff.shape}, but xᵀ A y needs a matrix [m, n] with at least "
            "one entry."
        )
    m, n = payoff.shape
    zeros = [jnp.zeros((k, k), payoff.dtype) for k in (m, n)]
    jacobian = jnp.block([[zeros[0], payoff], [-payoff.T, zeros[1]]])
    return _linear_game(jacobian, None, start)


def quadratic_game(
    spectrum: Values,
    key: jax.Array | None = None,
    *,
    optimum: Values | None = None,
    start: Values | None = None,
) -> Problem:
    """Return a game with the field J (θ - θ*), whose Jacobian J has the given eigenvalues.

    Each complex eigenvalue ``a + i b`` stands for itself and its conjugate, and has two coordinates
    with the block ``[[a, -b], [b, a]]`` of J. A real one has one coordinate. With a key, a random
    orthogonal matrix mixes the coordinates. J is normal in either case, so that a run is a separate
    run along each eigenvector, with the curvature ``a ± i b``.

    A game has no loss that all players share. Here `loss` and `full_loss` return ½ |θ - θ*|², so
    that a run can be watched, but their derivative is defined as the field: ``jax.grad(loss)(θ)``
    is J (θ - θ*), and ``jax.hessian(loss)(θ)`` is J. To differentiate through a run, differentiate
    its last params, not this value.

    Args:
      spectrum: [k] eigenvalues, real or complex, one of each conjugate pair; see
        `jaxmom.theory.spectral_radius` for what an optimizer makes of them.
      key: The key of the random orthogonal matrix; coordinates are not mixed unless given.
      optimum: [d] the solution θ*, with two entries for each complex eigenvalue; zero unless given.
      start: [d] the starting point; θ* + 1 in every coordinate unless given.

    Returns:
      A `Problem`, whose optimum is θ*.

    Raises:
      ValueError: The spectrum is not a vector, is complex and traced, or is not finite, or a shape
        does not fit.

    Source:
      Azizian et al. 2020 (arXiv 2001.00602), which studies methods by the spectrum of a game.

    Example:
      >>> import jax
      >>> from jaxmom.problems import quadratic_game
      >>> game = quadratic_game([1.0 + 2.0j, 3.0])
      >>> print(jax.grad(game.loss)(game.params).tolist())
      [-1.0, 3.0, 3.0]
    """
    values = jnp.asarray(spectrum)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"the spectrum has shape {values.shape}, but it must be a vector of at least one "
            "eigenvalue, one of each conjugate pair."
        )
    parts = [as_floating(values.real), as_floating(values.imag)]
    # Whether an eigenvalue is real decides the size of J, so that it must be known.
    is_pair = [False] * values.size
    if jnp.iscomplexobj(values):
        if isinstance(values, Tracer):
            raise ValueError(
                "the number of params depends on which eigenvalues are complex, so a complex "
                "spectrum cannot be traced; trace the optimizer, or build the game outside."
            )
        is_pair = [bool(b != 0) for b in parts[1]]
    blocks = [
        jnp.array([[a, -b], [b, a]]) if pair else a.reshape(1, 1)
        for a, b, pair in zip(*parts, is_pair, strict=True)
    ]
    jacobian = jax.scipy.linalg.block_diag(*blocks)
    if key is not None:
        turn = jax.random.orthogonal(key, len(jacobian), dtype=jacobian.dtype)
        jacobian = turn @ jacobian @ turn.T
    return _linear_game(jacobian, optimum, start)


def _linear_game(jacobian: jax.Array, optimum: Values | None, start: Values | None) -> Problem:
    d, dtype = len(jacobian), jacobian.dtype
    if not isinstance(jacobian, Tracer) and not bool(jnp.all(jnp.isfinite(jacobian))):
        raise ValueError("an eigenvalue or a payoff is not finite; games need finite ones.")
    target = jnp.zeros(d, dtype) if optimum is None else as_floating(optimum, dtype)
    params = target + 1 if start is None else as_floating(start, dtype)
    if not target.shape == params.shape == (d,):
        raise ValueError(
            f"the game has {d} params (two for each complex eigenvalue), the optimum has shape "
            f"{target.shape} and the start {params.shape}: give both of them {d} values."
        )
    loss = Partial(_distance_along_field, jacobian, target)
    return Problem(loss, params, None, loss, optimum=target, minimum=jnp.zeros((), dtype))


@jax.custom_jvp
def _distance_along_field(jacobian: jax.Array, optimum: jax.Array, params: jax.Array) -> jax.Array:
    """Half the squared distance; by definition its derivative is the field of the game."""
    error = params - optimum
    return jnp.sum(error * error) / 2


@_distance_along_field.defjvp
def _(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    jacobian, optimum, params = primals
    field = jacobian @ (params - optimum)
    # Moving the solution is moving params the other way; the value does not depend on J.
    return _distance_along_field(*primals), jnp.sum(field * (tangents[2] - tangents[1]))
