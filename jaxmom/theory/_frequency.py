"""The best rate that the constraints of a certificate prove, by a test on a circle of frequencies.

By the lemma of Kalman, Yakubovich and Popov, the matrix inequality of a certificate at the rate rho
has a solution if and only if the loop closed at mu is stable at that rate and, on |z| = rho,

    Re((1 - h / z) psi(z)) > 0,    psi = det(z I - A - L B C) / det(z I - A - mu B C),

for some weight h of the off-by-one constraint in [0, min(rho, 1)^2]. This is linear in h, so that
each frequency bounds h on one side, and the best rate is where the two sides meet. There the two
frequencies that bind are the dual solution, and give the gradient by the envelope theorem.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxmom.theory._systems import Linear, as_system, check_interval, map_numbers
from jaxmom.theory.linear_system import LinearSystem, buffers_only, rest_state
from jaxmom.theory.spectrum import as_complex, closed_loop, matrix_eigenvalues, matrix_radius

# Frequencies around each root of psi; and around each of the two that bind, in every round.
_AROUND, _BETWEEN, _ROUNDS = 65, 25, 4
# Halvings in a round, after which it goes on in a bracket of this size around its result.
_HALVINGS, _BRACKETS = 22, (1.0, 0.03, 1e-3, 1e-5)

# From 1 - rate to how far the share of the off-by-one constraint may vary; negative if no share is
# left.
_GapFn: TypeAlias = Callable[[jax.Array], jax.Array]


class Found(NamedTuple):
    """The best rate, and what proves it.

    Attributes:
      slow: [], 1 minus the rate; negative if no convergence is certified, for then errors may grow,
        but no faster than the rate.
      share: [], h in units of min(rate, 1)^2.
      frequencies: [2], where the bound of the share from above and that from below bind.
      on_quadratics: [], the larger of the spectral radii at mu and at L, never above the rate.
    """

    slow: jax.Array
    share: jax.Array
    frequencies: jax.Array
    on_quadratics: jax.Array


class _Problem(NamedTuple):
    system: LinearSystem
    buffers: jax.Array  # [n, n], what they do while params are held
    mu: jax.Array
    L: jax.Array


class _Grid(NamedTuple):
    frequencies: jax.Array  # [m], in [0, pi]
    spacing: jax.Array  # [m]
    sine: jax.Array
    cosine: jax.Array
    half: jax.Array  # sin(frequency / 2)^2


class _Bounds(NamedTuple):
    above: jax.Array  # [m], infinite where a frequency does not bound the share from above
    below: jax.Array

    def ends(self) -> tuple[jax.Array, jax.Array]:
        return jnp.maximum(jnp.max(self.below), 0.0), jnp.minimum(jnp.min(self.above), 1.0)

    def gap(self) -> jax.Array:
        low, high = self.ends()
        return high - low


def certifiable_rate(optimizer: Linear, mu: ArrayLike, L: ArrayLike) -> jax.Array:
    """Return the rate that `certified_rate` proves, as a number that compiles and differentiates.

    It needs no semidefinite program: a matrix inequality has a solution if a function of the
    frequency is positive, and the best rate is found by bisection. Its derivative with respect to
    hyperparameters is that of the envelope theorem, with the dual solution: the two frequencies
    that bind. No proof is checked; `certified_rate` and `certified_rates` do that.

    Args:
      optimizer: A linear optimizer, or its `LinearSystem`, without weight decay. A buffer that
        params never read counts as well; `minimal` drops it.
      mu: The constant of strong convexity, positive, or an array of them.
      L: The constant of smoothness, or an array of them.

    Returns:
      The contraction per step for mu and L, of their shape. At 1 and above no convergence is
      certified, and errors grow by that factor at most. Enable ``jax_enable_x64`` for condition
      numbers above 100.

    Raises:
      ValueError: The curvatures are not 0 < mu <= L.

    Source:
      Lessard, Recht and Packard 2016 (arXiv 1408.3595), theorem 4 with lemma 10, by the lemma of
      Kalman, Yakubovich and Popov (Rantzer 1996, Systems & Control Letters 28).

    Example:
      >>> import jaxmom as jm
      >>> from jaxmom import theory
      >>> rate = theory.certifiable_rate(jm.triple_momentum(mu=1.0, L=100.0), 1.0, 100.0)
      >>> print(f"{rate:.4f}")  # 1 - sqrt(mu / L)
      0.9000
    """
    check_interval(mu, L)
    return map_numbers(best_rate, as_system(optimizer), mu, L)


def best_rate(system: LinearSystem, mu: jax.Array, L: jax.Array) -> jax.Array:
    """Return the best rate; it differentiates by the envelope theorem."""
    fixed = jax.lax.stop_gradient((system, mu, L))
    found = jax.lax.stop_gradient(search(*fixed))

    def gap(slow: jax.Array, system: LinearSystem, mu: jax.Array, L: jax.Array) -> jax.Array:
        return _bounds(_pose(system, mu, L), slow, _as_grid(found.frequencies)).gap()

    slope = jax.grad(gap)(found.slow, *fixed)
    quadratics = _on_quadratics(system, mu, L)
    # The rate on quadratics binds by itself where the two sides never meet.
    distance = 1 - found.on_quadratics - found.slow
    is_pinned = distance <= 1e-8 * jnp.abs(1 - found.on_quadratics)
    is_pinned = is_pinned | ~jnp.isfinite(slope) | (slope == 0)
    # The rate moves so that the gap stays zero; the value is that of the search.
    change = gap(found.slow, system, mu, L) / jnp.where(is_pinned, 1.0, slope)
    return jnp.where(is_pinned, quadratics, 1 - found.slow + change - jax.lax.stop_gradient(change))


def search(system: LinearSystem, mu: jax.Array, L: jax.Array) -> Found:
    """Bisect on the rate, on finer and finer frequencies around those that bind."""
    problem, quadratics = _pose(system, mu, L), _on_quadratics(system, mu, L)
    roots = jnp.concatenate([matrix_eigenvalues(closed_loop(system, k)) for k in (mu, L)])
    # Beyond `far` the roots turn psi by less than a quarter of the circle, all together.
    far = 1.01 * jnp.max(jnp.abs(roots)) / np.sin(np.pi / (4 * len(roots))) + 1e-3

    def improve(k: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        slow, _, _, extra = carry
        grid = _grid(roots, slow, extra)
        find_gap: _GapFn = lambda x: _bounds(problem, x, grid).gap()  # noqa: E731
        ends = _bracket(find_gap, quadratics, far, slow, jnp.asarray(_BRACKETS)[k])
        slow, _ = _bisect(find_gap, *ends)
        bounds = _bounds(problem, slow, grid)
        bind = jnp.stack([jnp.argmin(bounds.above), jnp.argmax(bounds.below)])
        pair = grid.frequencies[bind]
        extra = extra.at[k].set(jnp.stack([pair, grid.spacing[bind]]))
        low, high = bounds.ends()
        return slow, (low + high) / 2, pair, extra

    guess, pair = 0.9 * (1 - quadratics), jnp.zeros([2], quadratics.dtype)
    extra = jnp.zeros([_ROUNDS, 2, 2], quadratics.dtype)
    start = guess, jnp.zeros_like(guess), pair, extra
    slow, share, pair, _ = jax.lax.fori_loop(0, _ROUNDS, improve, start)
    return Found(slow, share, pair, quadratics)


def _pose(system: LinearSystem, mu: jax.Array, L: jax.Array) -> _Problem:
    return _Problem(system, buffers_only(system, rest_state(system).state), mu, L)


def _on_quadratics(system: LinearSystem, mu: jax.Array, L: jax.Array) -> jax.Array:
    low, high = (matrix_radius(closed_loop(system, k)) for k in (mu, L))
    return jnp.maximum(low, high)


def _bracket(
    find_gap: _GapFn, quadratics: jax.Array, far: jax.Array, guess: jax.Array, size: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return a slow end with a proof and a fast end: near the guess, if that is a bracket."""
    best = 1 - quadratics
    range_below = jnp.where(guess > 0, best, jnp.minimum(best, 0.0) - (1 - far))
    near = guess - size * range_below
    gaps = jax.vmap(find_gap)(jnp.stack([jnp.zeros_like(best), near]))
    converges = (best > 0) & (gaps[0] > 0)
    slow = jnp.where(converges, 0.0, 1 - far)
    fast = jnp.where(converges, best, jnp.minimum(best, 0.0))
    is_near = (near > slow) & (gaps[1] > 0)
    beyond = jnp.minimum(guess + size * range_below, fast)
    return jnp.where(is_near, near, slow), jnp.where(is_near, beyond, fast)


def _bisect(find_gap: _GapFn, slow: jax.Array, fast: jax.Array) -> tuple[jax.Array, jax.Array]:
    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = (ends[0] + ends[1]) / 2
        is_proved = find_gap(middle) > 0
        return jnp.where(is_proved, middle, ends[0]), jnp.where(is_proved, ends[1], middle)

    return jax.lax.fori_loop(0, _HALVINGS, halve, (slow, fast))


def _bounds(problem: _Problem, slow: jax.Array, grid: _Grid) -> _Bounds:
    """Return the bounds of the share at each frequency, at the rate 1 - slow."""
    rate = 1 - slow
    # z - 1 without cancellation.
    shift = jax.lax.complex(-slow - 2 * rate * grid.half, rate * grid.sine)
    gain = _gain(problem, shift)
    # psi, times the square of its denominator.
    mu, L = as_complex(problem.mu), as_complex(problem.L)
    psi = (shift + L * gain) * jnp.conj(shift + mu * gain)
    straight = psi.real
    turned = (grid.cosine * psi.real + grid.sine * psi.imag) * jnp.minimum(rate, 1 / rate)
    ratio = straight / jnp.where(turned == 0, 1.0, turned)
    above = jnp.where(turned > 0, ratio, jnp.inf)
    return _Bounds(above, jnp.where(turned < 0, ratio, -jnp.inf))


def _gain(problem: _Problem, shift: jax.Array) -> jax.Array:
    """Return the transfer function H at 1 + shift [m], by elimination from the last state on.

    The matrix is ``shift I + (I - buffers)``, exact near z = 1. Pivots are not searched for: all m
    would need their own.
    """
    system, n = problem.system, problem.buffers.shape[0]
    unit = jnp.eye(n, n + 1, dtype=problem.buffers.dtype)
    still = jnp.column_stack([unit[:, :n] - problem.buffers, system.B])
    table = as_complex(still)[:, :, None] + as_complex(unit)[:, :, None] * shift[None, None]

    def eliminate(i: jax.Array, table: jax.Array) -> jax.Array:
        k = n - 1 - i
        row = table[k] * _reciprocal(table[k, k])[None]
        others = jnp.where(jnp.arange(n)[:, None] == k, 0, table[:, k])
        return (table - others[:, None] * row[None]).at[k].set(row)

    solution = jax.lax.fori_loop(0, n, eliminate, table)[:, n]
    read = as_complex(system.C @ problem.buffers)
    return -(as_complex(system.C @ system.B) + read @ solution)


def _reciprocal(z: jax.Array) -> jax.Array:
    """Return 1 / z, several times faster than the division of complex numbers."""
    square = z.real**2 + z.imag**2
    return jax.lax.complex(z.real / square, -z.imag / square)


def _grid(roots: jax.Array, slow: jax.Array, extra: jax.Array) -> _Grid:
    """Return frequencies that resolve every turn of psi.

    Around each root they are even within its distance from the circle, and geometric beyond.
    """
    angle = jnp.append(jnp.abs(jnp.angle(roots)), 0.0)
    distance = jnp.abs(jnp.log(jnp.maximum(jnp.abs(roots), 1e-3) / (1 - slow)))
    # The constraint itself turns around 1, at the scale of the rate.
    distance = jnp.clip(jnp.append(distance, jnp.abs(slow)), 1e-12, 1.0)[:, None]
    reach = jnp.arcsinh(np.pi / distance) * jnp.linspace(-1.0, 1.0, _AROUND)[None]
    wide = angle[:, None] + distance * jnp.sinh(reach)
    spacing = distance * jnp.cosh(reach) * (reach[:, 1] - reach[:, 0])[:, None]
    offsets = jnp.linspace(-1.0, 1.0, _BETWEEN)[None, None]
    fine = extra[:, 0, :, None] + extra[:, 1, :, None] * offsets
    finer = jnp.broadcast_to(extra[:, 1, :, None] * (2 / (_BETWEEN - 1)), fine.shape)
    frequencies = jnp.abs(jnp.concatenate([wide.ravel(), fine.ravel()]))
    frequencies = jnp.where(frequencies > np.pi, 2 * np.pi - frequencies, frequencies)
    return _as_grid(frequencies, jnp.concatenate([spacing.ravel(), finer.ravel()]))


def _as_grid(frequencies: jax.Array, spacing: jax.Array | None = None) -> _Grid:
    spacing = jnp.zeros_like(frequencies) if spacing is None else spacing
    half = jnp.sin(frequencies / 2) ** 2
    return _Grid(frequencies, spacing, jnp.sin(frequencies), jnp.cos(frequencies), half)
