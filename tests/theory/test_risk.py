"""Exact risk curves against simulated runs, closed forms, and the noise floor of theory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

CURVATURES, START, NOISE = np.array([0.2, 1.0, 2.0]), np.array([1.0, -2.0, 0.5]), 0.3


def at_params(e, t, memory):
    return e


def simulate(update, steps, batch_size, lanes=10_000, seed=0, read=at_params, memories=None):
    """Losses [lanes, steps + 1] of plain NumPy runs; `update(e, g, t, memory)` returns both."""
    rng = np.random.default_rng(seed)
    e, losses = np.tile(START, (lanes, 1)), []
    memory = np.zeros((lanes, 3)) if memories is None else memories(e)
    for t in range(steps + 1):
        losses.append((CURVATURES * read(e, t, memory) ** 2).sum(axis=1) / 2)
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


def averaged_heavy_ball(e, g, t, memory):
    """Heavy ball, and the mean of the params after each update."""
    v, mean = memory
    v = 0.8 * v - 0.05 * g
    return e + v, (v, mean + (e + v - mean) / (t + 1))


def schedule_free(e, g, t, memory):
    """z descends, x is its mean, and gradients are taken between the two."""
    z, x = memory
    z = z - 0.1 * g
    x = x + (z - x) / (t + 1)
    return 0.3 * z + 0.7 * x, (z, x)


def two_copies(e):
    return e, e


def no_velocity(e):
    return np.zeros_like(e), e


def second(e, t, memory):
    return memory[1]


# optimizer, its loop, rows in a batch, what is recorded, how the loop reads and starts
SIMULATED = {
    "heavy ball": (jm.heavy_ball(0.05, beta=0.8), heavy_ball, 2, "value", {}),
    "nesterov_convex": (jm.nesterov_convex(0.05), nesterov_convex, 3, "value", {}),
    "its read-out": (
        *(jm.nesterov_convex(0.05), nesterov_convex, 3, "eval_value"),
        {"read": lambda e, t, x: e + x},
    ),
    "mean of heavy ball": (
        *(jm.average(jm.heavy_ball(0.05, beta=0.8)), averaged_heavy_ball, 2, "eval_value"),
        {"read": second, "memories": no_velocity},
    ),
    "schedule-free": (
        *(jm.schedule_free(0.1, beta=0.7), schedule_free, 2, "eval_value"),
        {"read": second, "memories": two_copies},
    ),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_the_curve_is_the_mean_of_simulated_runs(name):
    optimizer, update, batch_size, record, keywords = SIMULATED[name]
    losses = simulate(update, 20, batch_size, **keywords)
    given = {"start": START, "noise": NOISE, "batch_size": batch_size, "record": record}
    curve = theory.risk(optimizer, CURVATURES, 20, **given)
    errors = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    np.testing.assert_array_less(np.abs(curve - losses.mean(axis=0)), 3 * errors + 1e-12)


ALPHA, COUNTS = 0.4, np.arange(1, 31)[:, None]  # the learning rate of what follows; t
ROOT = np.sqrt(1 - ALPHA * CURVATURES)


def waves(cosine, decay):
    """Return what is left of the error after t updates [30, 3] by the solution of a recursion.

    ``(t + 1) e_t = eta_t`` with ``eta_t = 2 decay cos(w) eta_{t-1} - decay^2 eta_{t-2}``.
    """
    angle = np.arccos(cosine)
    n = COUNTS + 1
    return decay ** (n - 1) * np.sin(n * angle) / (n * np.sin(angle))


# Flammarion and Bach 2015 (arXiv 1504.01577), section 2: with n times the error as the unknown,
# averaging, acceleration and heavy ball are recursions with constant coefficients.
STEP_SIZES = {
    "averaged descent": (
        jm.average(jm.gradient_descent(ALPHA)),
        ROOT**2 * (1 - ROOT ** (2 * COUNTS)) / (ALPHA * CURVATURES * COUNTS),
    ),
    "accelerated descent": (
        jm.sutskever_nesterov(ALPHA, beta=lambda t: t / (t + 2.0)),
        waves(ROOT, ROOT),
    ),
    "heavy ball": (
        jm.heavy_ball(lambda t: ALPHA * (t + 1.0) / (t + 2.0), beta=lambda t: t / (t + 2.0)),
        waves(1 - ALPHA * CURVATURES / 2, 1.0),
    ),
}


@pytest.mark.parametrize("name", STEP_SIZES)
def test_from_averaging_to_acceleration_is_a_closed_form(name):
    optimizer, left = STEP_SIZES[name]
    given = {"start": START, "batch_size": 1e30, "record": "eval_value"}
    curve = theory.risk(optimizer, CURVATURES, 30, **given)
    np.testing.assert_allclose(curve[1:], (CURVATURES * (left * START) ** 2).sum(1) / 2, rtol=1e-9)


def test_the_noise_of_averaged_descent_is_a_closed_form():
    """A sum of geometric series: noise/lambda sum_k (1 - (1 - a)^k)^2 / t^2, k = 1 ... t."""
    q, t = ROOT**2, COUNTS
    series = t - 2 * q * (1 - q**t) / (1 - q) + q**2 * (1 - q ** (2 * t)) / (1 - q**2)
    # Of a huge batch with as much more noise, only the noise of the labels is left.
    given = {"start": 0 * START, "noise": NOISE * 1e12, "batch_size": 1e12, "record": "eval_value"}
    curve = theory.risk(jm.average(jm.gradient_descent(ALPHA)), CURVATURES, 30, **given)
    np.testing.assert_allclose(curve[1:], NOISE * (series / t**2).sum(axis=1) / 2, rtol=1e-9)


def test_heavy_ball_with_small_batches_is_descent_in_high_dimensions():
    """Paquette and Paquette 2021 (arXiv 2106.03696): momentum then only scales the step.

    Both at the effective step 1/d. What differs is what heavy ball does within its memory of five
    steps, which falls as 1/d.
    """

    def gap(d):
        curvatures = np.linspace(0.1, 1.9, d)
        given = {"start": np.ones(d) / np.sqrt(d), "noise": 0.01}
        ball, descent = (
            np.asarray(theory.risk(optimizer, curvatures, 2 * d, **given))
            for optimizer in (jm.heavy_ball(0.2 / d, beta=0.8), jm.gradient_descent(1.0 / d))
        )
        return np.max(np.abs(ball / descent - 1))

    gaps = [gap(d) for d in (50, 200, 800)]
    np.testing.assert_array_less(gaps, [0.12, 0.03, 0.008])
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 4.0, rtol=0.1)


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


RUNS = {
    "buffers": jm.aggmo(0.05, betas=(0.0, 0.6, 0.9)),
    "lookahead": jm.lookahead(jm.heavy_ball(0.1, beta=0.5), period=3, step=0.3),
    "extra-gradient": jm.extragradient(0.2),
    "every third": optax.chain(optax.apply_every(3), optax.sgd(0.1)),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.4, 9), momentum=0.3),
}


@pytest.mark.parametrize("optimizer", RUNS.values(), ids=RUNS)
def test_without_noise_and_with_all_rows_it_is_the_run_itself(optimizer):
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


def test_curves_of_averages_compile_map_and_have_gradients():
    def end(beta, scale):
        optimizer = jm.average(jm.ema_momentum(0.2, beta), beta=0.5)
        given = {"start": START, "noise": NOISE, "batch_size": 2, "record": "eval_value"}
        return theory.risk(optimizer, scale * CURVATURES, 6, **given)[-1]

    mapped = jax.jit(jax.vmap(jax.value_and_grad(end, (0, 1))))
    betas, scales, h = jnp.array([0.1, 0.9]), jnp.array([1.0, 2.0]), 1e-5
    values, (by_beta, by_scale) = mapped(betas, scales)
    np.testing.assert_allclose(values[1], end(0.9, 2.0), rtol=1e-12)
    rise = mapped(betas + h, scales)[0] - mapped(betas - h, scales)[0]
    np.testing.assert_allclose(by_beta, rise / (2 * h), rtol=1e-6)
    rise = mapped(betas, scales + h)[0] - mapped(betas, scales - h)[0]
    np.testing.assert_allclose(by_scale, rise / (2 * h), rtol=1e-6)


def pull_later(count):
    return jnp.where(count >= 2, 0.1, 0.0)


def start_with_a_velocity():
    """Heavy ball whose buffer is one at first."""

    def update(gradient, velocity, params=None):
        velocity = 0.5 * velocity + gradient
        return -0.1 * velocity, velocity

    return optax.GradientTransformation(jnp.ones_like, update)


def test_what_never_moves_keeps_its_loss():
    still = theory.minimal(theory.linearize(jm.gradient_descent(0.0)))
    np.testing.assert_allclose(theory.risk(still, [2.0], 2, start=[1.0]), [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("at least 1, got 0", {"steps": 0}),
        ("vectors of one length", {"start": [1.0]}),
        ("not negative, got", {"curvatures": [-1.0, 1.0, 1.0]}),
        ("finite and not negative, got", {"curvatures": [np.inf, 1.0, 1.0]}),
        ("real curvatures", {"curvatures": [1j, 1.0, 1.0]}),
        ("start is finite", {"start": [np.nan, 1.0, 1.0]}),
        ("start is real", {"start": [1j, 1.0, 1.0]}),
        ("noise is real", {"noise": 1j}),
        ("weight decay", {"optimizer": jm.sgd(0.1, weight_decay=0.1)}),
        ("weight decay", {"optimizer": jm.sgd(0.1, weight_decay=pull_later)}),
        ("weight decay", {"optimizer": theory.linearize(jm.sgd(0.1, weight_decay=0.1))}),
        ("starts at 1 where params are zero", {"optimizer": start_with_a_velocity()}),
        ("adam", {"optimizer": optax.adam(0.1)}),
        ("noise is at least 0, and finite, got -1.0", {"noise": -1.0}),
        ("batch_size is at least 1, or infinite, got 0", {"batch_size": 0}),
        ("noise is one number", {"noise": [0.1, 0.2]}),
        ("record is one of", {"record": "grad"}),
        (
            "says nothing about eval_params",
            {"optimizer": theory.linearize(jm.gradient_descent(0.1)), "record": "eval_value"},
        ),
    ],
)
def test_wrong_use_gets_a_sentence(words, changes):
    given = {"optimizer": jm.heavy_ball(0.1), "curvatures": CURVATURES, "steps": 3, "start": START}
    given |= changes
    with pytest.raises(ValueError, match=words):
        theory.risk(**given)
