"""Exact risk curves against simulated runs, closed forms, and the noise floor of theory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

CURVATURES, START, NOISE = np.array([0.2, 1.0, 2.0]), np.array([1.0, -2.0, 0.5]), 0.3


def simulate(update, steps, batch_size, lanes=20_000):
    """Losses [lanes, steps + 1] of plain NumPy runs; `update(e, g, t, memory)` returns both."""
    rng = np.random.default_rng(0)
    e, memory, losses = np.tile(START, (lanes, 1)), np.zeros((lanes, 3)), []
    for t in range(steps + 1):
        losses.append((CURVATURES * e**2).sum(axis=1) / 2)
        x = rng.standard_normal((lanes, batch_size, 3)) * np.sqrt(CURVATURES)
        missed = np.einsum("lbd,ld->lb", x, e)
        missed -= np.sqrt(NOISE) * rng.standard_normal((lanes, batch_size))
        e, memory = update(e, np.einsum("lbd,lb->ld", x, missed) / batch_size, t, memory)
    return np.array(losses).T


def heavy_ball(e, g, t, v):
    v = 0.8 * v - 0.05 * g
    return e + v, v


def nesterov_convex(e, g, t, x):
    """The two sequences, of which params are the extrapolated one; x is kept relative to e."""
    ts = [1.0]
    for _ in range(t + 1):
        ts.append((1 + np.sqrt(1 + 4 * ts[-1] ** 2)) / 2)
    previous = e + x
    new = e - 0.05 * g
    moved = new + (ts[t] - 1) / ts[t + 1] * (new - previous)
    return moved, new - moved


@pytest.mark.parametrize(
    ("optimizer", "update", "batch_size"),
    [
        (jm.heavy_ball(0.05, beta=0.8), heavy_ball, 2),
        (jm.nesterov_convex(0.05), nesterov_convex, 3),
    ],
    ids=["heavy ball", "nesterov_convex"],
)
def test_the_curve_is_the_mean_of_simulated_runs(optimizer, update, batch_size):
    losses = simulate(update, 20, batch_size)
    curve = theory.risk(optimizer, CURVATURES, 20, start=START, noise=NOISE, batch_size=batch_size)
    errors = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    np.testing.assert_array_less(np.abs(curve - losses.mean(axis=0)), 3.5 * errors + 1e-12)


def test_descent_in_one_dimension_has_a_closed_form():
    """``E e'^2 = ((1 - a)^2 + 2 a^2 / B) E e^2 + alpha^2 lambda noise / B``, a = alpha lambda."""
    alpha, curvature, rows, square, expected = 0.3, 1.5, 4, 4.0, []
    for _ in range(31):
        expected.append(curvature * square / 2)
        a = alpha * curvature
        square = ((1 - a) ** 2 + 2 * a**2 / rows) * square + alpha**2 * curvature * NOISE / rows
    given = {"start": [2.0], "noise": NOISE, "batch_size": rows}
    curve = theory.risk(jm.gradient_descent(alpha), [curvature], 30, **given)
    np.testing.assert_allclose(curve, expected, rtol=1e-12)
    system = theory.linearize(jm.gradient_descent(alpha))
    np.testing.assert_allclose(theory.risk(system, [curvature], 30, **given), expected, rtol=1e-12)


def test_without_noise_and_with_all_rows_it_is_the_run_itself():
    optimizer = jm.aggmo(0.05, betas=(0.0, 0.6, 0.9))
    curve = theory.risk(optimizer, CURVATURES, 15, start=START, batch_size=1e30)
    diagonal = jnp.asarray(CURVATURES)
    run = jm.optimize(lambda e: jnp.sum(diagonal * e**2) / 2, jnp.asarray(START), optimizer, 15)
    np.testing.assert_allclose(curve, run.history["value"], rtol=1e-10)


def test_its_floor_is_that_of_theory_where_the_noise_is_in_the_labels():
    """With small steps the rows' own noise is of second order; in large batches it is none."""
    optimizer = jm.heavy_ball(0.1, beta=0.5)
    curve = theory.risk(optimizer, [1.0], 400, start=[0.0], noise=1e6, batch_size=1e6)
    floor = 0.5 * theory.stationary_variance(optimizer, 1.0)
    np.testing.assert_allclose(curve[-1], floor, rtol=1e-5)


def test_first_steps_of_their_own_and_gradients_of_the_curve():
    damped = jm.sgd(0.05, momentum=0.8, dampening=0.5)
    curve = theory.risk(damped, CURVATURES, 1, start=START, batch_size=1e30)
    np.testing.assert_allclose(
        curve[1], (CURVATURES * ((1 - 0.05 * CURVATURES) * START) ** 2).sum() / 2
    )

    def total(beta):
        return jnp.sum(
            theory.risk(jm.ema_momentum(0.2, beta), CURVATURES, 6, start=START, noise=NOISE)
        )

    slope = jax.jit(jax.grad(total))(0.5)
    np.testing.assert_allclose(slope, (total(0.5 + 1e-5) - total(0.5 - 1e-5)) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("at least 1, got 0", {"steps": 0}),
        ("vectors of one length", {"start": [1.0]}),
        ("no negative entries", {"curvatures": [-1.0, 1.0, 1.0]}),
        ("weight decay", {"optimizer": jm.sgd(0.1, weight_decay=0.1)}),
        ("adam", {"optimizer": optax.adam(0.1)}),
    ],
)
def test_wrong_use_gets_a_sentence(words, changes):
    given = {"optimizer": jm.heavy_ball(0.1), "curvatures": CURVATURES, "steps": 3, "start": START}
    given |= changes
    with pytest.raises(ValueError, match=words):
        theory.risk(**given)
