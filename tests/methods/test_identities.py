"""Equalities between methods, and with optax and PyTorch: one family seen from many sides."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS
from noisy_quadratic import HESSIAN, MU, NOISE, RNG, START, L, follow, path

import jaxmom as jm

RHO = 1 - np.sqrt(MU / L)


def evaluated(optimizer, steps):
    """`eval_params` without noise, [steps, 5]."""
    return np.asarray(follow(optimizer, jnp.zeros((steps, 5)))[1])


def descent(filtered, alpha):
    return jm.chain(filtered, optax.scale(-alpha))


ALPHA, BETA = 0.04, 0.8
HB = jm.heavy_ball(ALPHA, BETA)
NAG = jm.nesterov(ALPHA, BETA)
GD = jm.gradient_descent(ALPHA)
EMA = optax.ema(BETA, debias=False)

IDENTITIES = {
    "GD = HB(beta 0)": (GD, jm.heavy_ball(ALPHA, 0.0)),
    "GD = NAG(beta 0)": (GD, jm.nesterov(ALPHA, 0.0)),
    "GD = QHM(nu 0)": (GD, jm.qhm(ALPHA, BETA, 0.0)),
    "GD = optimistic(0)": (GD, jm.optimistic_gradient(ALPHA, 0.0)),
    "HB = EMA(alpha / (1 - beta))": (HB, jm.ema_momentum(ALPHA / (1 - BETA), BETA)),
    "HB = QHM(nu 1)": (HB, jm.qhm(ALPHA / (1 - BETA), BETA, 1.0)),
    "HB = AggMo(K = 1)": (HB, jm.aggmo(ALPHA, (BETA,))),
    "HB = sgd": (HB, jm.sgd(ALPHA, BETA)),
    "GD = RMM(1 - 1 / kappa)": (jm.gradient_descent(1 / L), jm.robust_momentum(MU, L, 1 - MU / L)),
    "GD = SUM(1 / (1 - beta))": (
        GD,
        jm.unified_momentum(ALPHA * (1 - BETA), BETA, 1 / (1 - BETA)),
    ),
    "GD = AM1(alpha 0)": (GD, jm.am1(ALPHA, alpha=0.0)),
    "GD = schedule-free(beta 0), at z": (GD, jm.schedule_free(ALPHA, 0.0)),
    "primal averaging by 1 / (t + 1) = schedule-free(beta 1)": (
        jm.primal_averaging(ALPHA, lambda t: 1 / (t.astype(float) + 1)),
        jm.schedule_free(ALPHA, 1.0),
    ),
    "HB = SUM(0)": (HB, jm.unified_momentum(ALPHA, BETA, 0.0)),
    "HB = synthesized(beta2 0)": (HB, jm.synthesized_nesterov(ALPHA, BETA, 0.0)),
    "HB = primal averaging": (HB, jm.primal_averaging(ALPHA / (1 - BETA), 1 - BETA)),
    "HB = complex(phi 0)": (HB, jm.complex_momentum(ALPHA, BETA, 0.0)),
    "negative HB = complex(phi pi)": (
        jm.heavy_ball(ALPHA, -BETA),
        jm.complex_momentum(ALPHA, BETA, np.pi),
    ),
    "HB = maxwell(K = 1)": (HB, jm.maxwell(ALPHA / (1 - BETA), (BETA,), (1.0,))),
    "NAG = SUM(1)": (NAG, jm.unified_momentum(ALPHA, BETA, 1.0)),
    "NAG = synthesized(beta1 = beta2)": (NAG, jm.synthesized_nesterov(ALPHA, BETA, BETA)),
    "NAG = MaSS(0)": (NAG, jm.mass(ALPHA, BETA, 0.0)),
    "NAG = GPA(mu_x = mu_y)": (NAG, jm.gpa(ALPHA / (1 - BETA), BETA, BETA)),
    "NAG = EMA-Nesterov(gamma 0)": (NAG, jm.ema_nesterov(ALPHA, BETA, 0.0)),
    "NAG = Sutskever": (NAG, jm.sutskever_nesterov(ALPHA, BETA)),
    "NAG = maxwell with look-ahead": (
        NAG,
        jm.maxwell(ALPHA / (1 - BETA), (BETA,), (1.0,), look_ahead=BETA),
    ),
    "QHM = GPA": (jm.qhm(ALPHA, 0.95, 0.6), jm.gpa(ALPHA, 0.95, 0.6)),
    "QHM = grokfast": (
        jm.qhm(ALPHA, BETA, 2 / 3),
        descent(jm.scale_by_momentum(jm.coefficients.grokfast(BETA, 2.0)), ALPHA / 3),
    ),
    "triple momentum = RMM(1 - 1 / sqrt(kappa))": (
        jm.triple_momentum(MU, L),
        jm.robust_momentum(MU, L, RHO),
    ),
    "maxwell = mix of averages": (
        jm.maxwell(ALPHA, (0.5, BETA), (0.3, 0.7)),
        descent(jm.mix([optax.ema(0.5, debias=False), EMA], [0.3, 0.7]), ALPHA),
    ),
    "annealed maxwell = mix of averages": (
        jm.maxwell(ALPHA, (0.5, BETA), jm.schedules.linear((0.3, 0.7), (0.9, 0.1), 40)),
        descent(
            jm.mix(
                [optax.ema(0.5, debias=False), EMA],
                jm.schedules.linear((0.3, 0.7), (0.9, 0.1), 40),
            ),
            ALPHA,
        ),
    ),
    "schedule-free = optax, without warm-up": (
        jm.schedule_free(ALPHA, BETA),
        optax.contrib.schedule_free(optax.sgd(ALPHA), ALPHA, b1=BETA),
    ),
    "HB = demon(T = inf)": (HB, jm.demon(ALPHA, np.inf, BETA)),
    "HB = HB twice in AggMo": (HB, jm.aggmo(ALPHA, (BETA, BETA))),
    "NAG = QHM(nu = beta)": (NAG, jm.qhm(ALPHA / (1 - BETA), BETA, BETA)),
    "NAG = sgd(nesterov)": (NAG, jm.sgd(ALPHA, BETA, nesterov=True)),
    "NAG = AggMo of (0, beta), weighted": (
        NAG,
        descent(jm.mix([optax.identity(), optax.trace(BETA)], [1.0, BETA]), ALPHA),
    ),
    "AggMo = mix of K traces": (
        jm.aggmo(ALPHA, (0.0, 0.5, 0.9)),
        descent(jm.mix([optax.trace(b) for b in (0.0, 0.5, 0.9)], [1 / 3] * 3), ALPHA),
    ),
    "QHM = mix of identity and EMA": (
        jm.qhm(ALPHA, BETA, 0.7),
        descent(jm.mix([optax.identity(), EMA], [0.3, 0.7]), ALPHA),
    ),
    "Lion = sign of QHM(b2, b1 / b2)": (
        jm.lion(ALPHA, 0.9, 0.95),
        descent(
            jm.chain(
                jm.scale_by_momentum(jm.coefficients.qhm(0.95, 0.9 / 0.95)), optax.scale_by_sign()
            ),
            ALPHA,
        ),
    ),
    "Signum = Lion(b1 = b2)": (jm.signum(ALPHA, BETA), jm.lion(ALPHA, BETA, BETA)),
    "triple momentum = its coefficients": (
        jm.triple_momentum(MU, L),
        descent(
            jm.scale_by_momentum(
                jm.reading_new(RHO**2 / (2 - RHO), 1.0, 2 * RHO / (2 - RHO), direct=1.0)
            ),
            1 / L,
        ),
    ),
    "NAG strongly convex": (
        jm.nesterov_strongly_convex(MU, L),
        jm.nesterov(1 / L, (np.sqrt(L / MU) - 1) / (np.sqrt(L / MU) + 1)),
    ),
    "heavy ball = optax.sgd": (HB, optax.sgd(ALPHA, momentum=BETA)),
    "nesterov = optax.sgd(nesterov)": (NAG, optax.sgd(ALPHA, momentum=BETA, nesterov=True)),
    "ema = optax.ema": (jm.ema_momentum(ALPHA, BETA), descent(EMA, ALPHA)),
    "debiased ema = optax.ema": (
        jm.ema_momentum(ALPHA, BETA, debias=True),
        descent(optax.ema(BETA, debias=True), ALPHA),
    ),
    "lion = optax.lion": (
        jm.lion(ALPHA, 0.9, 0.99, weight_decay=0.1),
        optax.lion(ALPHA, 0.9, 0.99, weight_decay=0.1),
    ),
    "signum = optax.signum": (jm.signum(ALPHA, BETA), optax.signum(ALPHA, BETA)),
    "weight decay = optax": (
        jm.sgd(ALPHA, BETA, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(ALPHA, momentum=BETA)),
    ),
    "stacked heavy ball": (
        HB,
        descent(
            jm.scale_by_momentum(
                jax.tree.map(
                    lambda row: row[0],
                    jm.stack(
                        {
                            "hb": jm.coefficients.heavy_ball(BETA),
                            "aggmo": jm.coefficients.aggmo(),
                            "optimistic": jm.coefficients.optimistic_gradient(),
                        }
                    ).values,
                )
            ),
            ALPHA,
        ),
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(name):
    one, other = IDENTITIES[name]
    expected = path(one)
    np.testing.assert_allclose(path(other), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_sutskever_seen_from_its_look_ahead_point():
    """Their velocities use mu_t, our extrapolation beta_t = mu_{t+1}: the same under a schedule."""
    mu = lambda t: 1 - 0.5 / (t // 10 + 1)  # noqa: E731
    theta, v, asked = START, np.zeros(5), []
    for t in range(60):
        look_ahead = theta + mu(t) * v
        asked.append(look_ahead)
        v = mu(t) * v - ALPHA * (HESSIAN @ look_ahead + NOISE[t])
        theta = theta + v
    ours = jm.nesterov(ALPHA, lambda t: mu(jnp.asarray(t + 1, float)))
    np.testing.assert_allclose(path(ours)[:60], asked, rtol=0, atol=1e-12)
    same_mu_twice = optax.inject_hyperparams(optax.sgd, static_args="nesterov")(
        ALPHA, momentum=lambda t: mu(jnp.asarray(t, float)), nesterov=True
    )
    assert np.abs(path(same_mu_twice)[:60] - asked).max() > 1e-2


def test_where_the_learning_rate_stands():
    """Inside is Polyak's two-step rule under a schedule; outside it is PyTorch's."""
    rate = lambda t: 0.04 / (1 + t / 10)  # noqa: E731
    traced = lambda t: rate(jnp.asarray(t, float))  # noqa: E731
    x = previous = START
    polyak = []
    for t in range(60):
        polyak.append(x)
        new = x - rate(t) * (HESSIAN @ x + NOISE[t]) + BETA * (x - previous)
        # beta (x - previous) keeps the old rates: that is the velocity form.
        x, previous = new, x
    np.testing.assert_allclose(path(jm.heavy_ball(traced, BETA))[:60], polyak, rtol=0, atol=1e-12)
    x, buffer, torch_like = START, np.zeros(5), []
    for t in range(60):
        torch_like.append(x)
        buffer = BETA * buffer + HESSIAN @ x + NOISE[t]
        x = x - rate(t) * buffer
    np.testing.assert_allclose(path(jm.sgd(traced, BETA))[:60], torch_like, rtol=0, atol=1e-12)
    assert np.abs(np.array(polyak) - torch_like).max() > 1e-2


def test_chebyshev_is_the_polynomial_and_tends_to_the_best_heavy_ball():
    """Without noise the error is T_t((L+mu-2 lambda)/(L-mu)) / T_t((L+mu)/(L-mu)) of the first."""
    at = lambda z: np.polynomial.chebyshev.Chebyshev.basis(20)(z)  # noqa: E731
    ratio = at((L + MU - 2 * np.diag(HESSIAN)) / (L - MU)) / at((L + MU) / (L - MU))
    found = evaluated(jm.chebyshev(MU, L), 20)[-1]
    np.testing.assert_allclose(found, ratio * START, rtol=0, atol=1e-14)
    w, q = 0.0, jm.coefficients.chebyshev(MU, L)
    for _ in range(60):
        w, c = q.step(w)
    best = jm.coefficients.optimal_heavy_ball(MU, L)
    s = np.sqrt(L / MU)
    np.testing.assert_allclose(c.decay[0], ((s - 1) / (s + 1)) ** 2, rtol=1e-12)
    np.testing.assert_allclose(c.gain[0], (2 / (np.sqrt(L) + np.sqrt(MU))) ** 2, rtol=1e-12)
    np.testing.assert_allclose([c.decay, c.gain], [best.decay, best.gain], rtol=1e-12)


def test_fista_bound_holds_at_eval_params():
    """f(x_N) - f* <= 2 L |x_0 - x*|^2 / (N + 1)^2 for every N, on the quadratic."""
    bound = 2 * L * START @ START / (np.arange(1, 201) + 1) ** 2
    assert (value(evaluated(jm.nesterov_convex(1 / L), 200)) <= bound).all()


def value(x):
    return np.einsum("...i,ij,...j", x, HESSIAN, x) / 2


def thetas(steps):
    """theta_0 ... theta_N of the optimized gradient methods; 8 replaces 4 in the last."""
    found = [1.0]
    for i in range(steps):
        found.append((1 + np.sqrt(1 + (8 if i == steps - 1 else 4) * found[-1] ** 2)) / 2)
    return found


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_bounds_of_the_optimized_methods_hold(steps):
    """Of the value, of the gradient, and of the distance, each at the last of N steps."""
    theta = thetas(steps)[-1]
    y = evaluated(jm.optimized_gradient(1 / L, steps), steps)[-1]
    assert value(y) <= L * START @ START / (2 * theta**2)
    y = evaluated(jm.ogm_gradient(1 / L, steps), steps)[-1]
    gradient = HESSIAN @ y
    assert gradient @ gradient <= 2 * L * value(START) / theta**2
    q, a = MU / L, 0.0
    for _ in range(steps):
        a = ((1 + q) * a + 2 * (1 + np.sqrt((1 + a) * (1 + q * a)))) / (1 - q) ** 2
    z = evaluated(jm.item(MU, L), steps)[-1]
    assert z @ z <= START @ START / (1 + q * a)


def huber(x, radius):
    return np.where(np.abs(x) <= radius, x**2 / 2, radius * np.abs(x) - radius**2 / 2)


def test_ogm_attains_its_bound_on_its_worst_function():
    """L = 1, a parabola that becomes a line (Kim and Fessler 2017, arXiv 1510.08573)."""
    steps = 5
    radius = 1 / thetas(steps)[-1] ** 2
    y = jnp.ones(())
    optimizer = jm.optimized_gradient(1.0, steps)
    state = optimizer.init(y)
    for _ in range(steps):
        update, state = optimizer.update(jnp.clip(y, -radius, radius), state)
        y = y + update
    np.testing.assert_allclose(huber(np.asarray(y), radius), radius / 2, rtol=1e-12)


def test_item_becomes_triple_momentum():
    inverse, recurrence = 1.0, jm.coefficients.item(MU, L)
    for _ in range(400):  # until A has overflowed what float64 can hold
        inverse, c = recurrence.step(inverse)
    triple = jm.coefficients.triple_momentum(MU, L)
    np.testing.assert_allclose(c.decay, triple.decay, rtol=1e-14)
    np.testing.assert_allclose(c.gain * c.read_new, triple.gain * triple.read_new, rtol=1e-13)
    np.testing.assert_allclose(c.direct, triple.direct, rtol=1e-14)


def test_the_rate_of_ogm_q_is_its_gamma():
    """The greatest root of z^2 - (1 + b - a c1) z + b (1 - a nu_0) over the spectrum."""
    for mu in (1.0, 1e-2, 1e-4):
        c = jm.coefficients.ogm_strongly_convex(mu, 1.0)
        a = np.linspace(mu, 1.0, 400)
        middle = 1 + c.decay[0] - a * (1 + c.gain[0])
        roots = [np.roots([1, -m, c.decay[0] * (1 - x)]) for m, x in zip(middle, a, strict=True)]
        expected = (2 + mu - np.sqrt(mu**2 + 8 * mu)) / 2
        # At mu two roots meet, which costs half of the digits.
        np.testing.assert_allclose(np.abs(roots).max(), expected, rtol=1e-7)


MU_AT = lambda t: 1 - 0.5 / (t // 10 + 1)  # noqa: E731


def sutskever(mu):
    theta, v = START, np.zeros(5)
    for t in range(60):
        asked = theta + mu(t) * v
        yield asked, theta
        v = mu(t) * v - ALPHA * (HESSIAN @ asked + NOISE[t])
        theta = theta + v


def averaged(mu, weight):
    """z, x and y = mu_t x + (1 - mu_t) z; x moves to z by weight(t)."""
    z = x = START
    for t in range(60):
        y = mu(t) * x + (1 - mu(t)) * z
        yield y, x
        z = z - ALPHA * (HESSIAN @ y + NOISE[t])
        x = (1 - weight(t)) * x + weight(t) * z


def looking_ahead(mu, gamma=0.9):
    x, m = START, np.zeros(5)
    for t in range(60):
        y = x + mu(t) * m
        yield y, x
        new = y - ALPHA * (HESSIAN @ y + NOISE[t])
        x, m = new, gamma * m + (1 - gamma) * (new - x)


def synthesized(mu):
    xi = previous = START
    for t in range(60):
        y = xi + mu(t) * (xi - previous)
        yield y, xi
        xi, previous = xi + 0.8 * (xi - previous) - ALPHA * (HESSIAN @ y + NOISE[t]), xi


def robust(rho, mu=30.0, L=100.0):
    x, previous, kappa = START, START, L / mu
    for t in range(60):
        r = rho(t)
        alpha, beta = kappa * (1 - r) ** 2 * (1 + r) / L, kappa * r**3 / (kappa - 1)
        y = x + r**3 / ((kappa - 1) * (1 - r) ** 2 * (1 + r)) * (x - previous)
        yield y, x
        x, previous = x + beta * (x - previous) - alpha * (HESSIAN @ y + NOISE[t]), x


def unified(beta, s):
    x = old = START
    for t in range(60):
        yield x, x
        g = HESSIAN @ x + NOISE[t]
        new = x - s(t) * ALPHA * g
        x, old = x - ALPHA * g + beta(t) * (new - old), new


def coupled(kappa, xi, eps):
    w = y = START
    for t in range(60):
        yield y, y
        g, k, e = HESSIAN @ y + NOISE[t], kappa(t), eps(t)
        a = 1 - e**2 * xi(t) / k
        w = a * w + (1 - a) * (y - k * ALPHA / e * g)
        y = e / (e + 1 - a) * (y - ALPHA * g) + (1 - a) / (e + 1 - a) * w


def always(value):
    return lambda t: value


# "method" or "method, name of the scheduled hyperparameter"
AHEAD = {
    "synthesized_nesterov, beta2": (
        lambda mu: jm.synthesized_nesterov(ALPHA, 0.8, mu),
        synthesized(MU_AT),
    ),
    "robust_momentum, rho": (
        lambda rho: jm.robust_momentum(30.0, 100.0, rho),
        robust(MU_AT),
    ),
    "unified_momentum": (
        lambda mu: jm.unified_momentum(ALPHA, mu, 0.5),
        unified(MU_AT, always(0.5)),
    ),
    "unified_momentum, s": (
        lambda s: jm.unified_momentum(ALPHA, 0.8, s),
        unified(always(0.8), MU_AT),
    ),
    "accelerated_sgd, kappa": (
        lambda kappa: jm.accelerated_sgd(ALPHA, kappa, 0.6, 0.7),
        coupled(MU_AT, always(0.6), always(0.7)),
    ),
    "accelerated_sgd, xi": (
        lambda xi: jm.accelerated_sgd(ALPHA, 2.0, xi, 0.7),
        coupled(always(2.0), MU_AT, always(0.7)),
    ),
    "accelerated_sgd, eps": (
        lambda eps: jm.accelerated_sgd(ALPHA, 2.0, 1.2, eps),
        coupled(always(2.0), always(1.2), MU_AT),
    ),
    "sutskever_nesterov": (lambda mu: jm.sutskever_nesterov(ALPHA, mu), sutskever(MU_AT)),
    "gpa": (lambda mu: jm.gpa(ALPHA, 0.9, mu), averaged(MU_AT, lambda t: 0.1)),
    "schedule_free": (
        lambda mu: jm.schedule_free(ALPHA, mu),
        averaged(MU_AT, lambda t: 1 / (t + 1)),
    ),
    "ema_nesterov": (lambda mu: jm.ema_nesterov(ALPHA, mu, 0.9), looking_ahead(MU_AT)),
}


@pytest.mark.parametrize("name", AHEAD)
def test_a_scheduled_point_of_the_gradient_is_that_of_its_step(name):
    """y_t is placed with mu_t: the update of step t knows mu_{t+1}."""
    make, loop = AHEAD[name]
    asked, expected = map(np.array, zip(*loop, strict=True))
    schedule = lambda t: MU_AT(t.astype(float))  # noqa: E731
    for optimizer in (make(schedule), jm.replace(make(0.5), **{mu_of(name): schedule})):
        y, x = follow(optimizer, jnp.asarray(NOISE))
        np.testing.assert_allclose(y[:59], asked[1:], rtol=0, atol=1e-12)
        np.testing.assert_allclose(x[:59], expected[1:], rtol=0, atol=1e-12)


def mu_of(name):
    return "mu_y" if name == "gpa" else name.partition(", ")[2] or "beta"


def test_pnm_without_a_negative_part_averages_every_second_gradient():
    gradients = RNG.normal(size=(12, 3))
    found = updates_of(jm.pnm(ALPHA, 0.8, 0.0), gradients)
    for start in (0, 1):
        expected = updates_of(jm.ema_momentum(ALPHA, 0.8**2), gradients[start::2])
        np.testing.assert_allclose(found[start::2], expected, rtol=0, atol=1e-15)


def updates_of(optimizer, gradients):
    """The updates for some gradients, without compiling: operations are those of all methods."""
    state, found = optimizer.init(gradients[0]), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state)
        found.append(update)
    return np.array(found)


def test_a_steady_gradient_makes_steps_of_alpha_times_the_dc_gain():
    for optimizer, gain in [
        (HB, 1 / (1 - BETA)),
        (NAG, 1 / (1 - BETA)),
        (jm.ema_momentum(ALPHA, BETA), 1.0),
        (jm.qhm(ALPHA, BETA, 0.7), 1.0),
        (jm.aggmo(ALPHA, (0.0, 0.9)), (1 + 10) / 2),
    ]:
        state = optimizer.init(jnp.ones(()))
        step = jax.jit(optimizer.update)
        for _ in range(400):
            update, state = step(jnp.ones(()), state)
        np.testing.assert_allclose(update, -ALPHA * gain, rtol=1e-12)


def test_a_debiased_average_starts_at_once():
    first = path(jm.ema_momentum(ALPHA, BETA, debias=True), steps=1)[1]
    np.testing.assert_allclose(first, START - ALPHA * (HESSIAN @ START + NOISE[0]), rtol=1e-13)


LINEAR = {name: case for name, case in METHODS.items() if case.linear}


@pytest.mark.parametrize("name", LINEAR)
def test_updates_are_linear_in_the_gradients(name):
    """Where there is no decay of params: F(2 a - 3 b) = 2 F(a) - 3 F(b), over many steps."""
    case = LINEAR[name]
    hyperparameters = {k: v for k, v in case.hyperparameters.items() if k != "weight_decay"}
    optimizer = case.make(**hyperparameters, **case.static)
    a, b = RNG.normal(size=(2, 8, 3))
    # A filter treats coordinates alike, so that the three runs are one.
    of_both, of_a, of_b = np.moveaxis(
        updates_of(optimizer, np.stack([2 * a - 3 * b, a, b], axis=1)), 1, 0
    )
    np.testing.assert_allclose(of_both, 2 * of_a - 3 * of_b, rtol=0, atol=1e-13)


CONSTANT = {
    name: case
    for name, case in LINEAR.items()
    if name in jm.coefficients.__all__ and not case.is_complex and case.make is not jm.sgd
}


def constant_coefficients():
    """The rows of the table whose coefficients do not vary, with their learning rates."""
    for name, case in CONSTANT.items():
        values = {k: v for k, v in case.hyperparameters.items() if k != "learning_rate"}
        c = getattr(jm.coefficients, name)(**values)
        if isinstance(c, jm.Coefficients):
            yield name, c, case.hyperparameters.get("learning_rate", 1.0)


def permuted(c):
    """The same filter with its buffers in another order, and in other units."""
    order, units = np.arange(c.decay.shape[-1])[::-1], 2.0
    fields = {"decay": 1.0, "gain": units, "read": 1 / units, "read_new": 1 / units}
    changed = {n: f * getattr(c, n)[order] for n, f in fields.items() if getattr(c, n) is not None}
    return dataclasses.replace(c, **changed, evaluate=None)


def test_methods_are_rows_of_one_program():
    """Padded with zero buffers, permuted and rescaled, each is what it is alone."""
    names, filters, rates = zip(*constant_coefficients(), strict=True)
    assert len(names) > 20
    rows = dict(zip(names, filters, strict=True))
    rows |= {f"permuted {name}": permuted(c) for name, c in rows.items()}
    stacked = jm.stack(rows)
    gradients = jnp.asarray(NOISE[:20])

    @jax.jit
    @jax.vmap
    def filtered(method):
        optimizer = jm.scale_by_momentum(method)
        state = optimizer.init(gradients[0])
        return jax.lax.scan(lambda s, g: optimizer.update(g, s)[::-1], state, gradients)[1]

    together = filtered(stacked.values)
    for i, (name, rate) in enumerate(zip(names, rates, strict=True)):
        case = CONSTANT[name]
        if name == "grokfast":  # whose first average is the first gradient
            continue
        alone = updates_of(case.make(**case.hyperparameters), NOISE[:20])
        for row in (i, i + len(names)):
            np.testing.assert_allclose(-rate * together[row], alone, rtol=0, atol=1e-13)


def steady_gain(c):
    """The sum of the kernel, from the poles."""
    c = c.reading_old()
    return (0.0 if c.direct is None else c.direct) + (c.read * c.gain / (1 - c.decay)).sum()


GAINS = {
    "accelerated_sgd": 0.7 * (1 + 5.0) / 1.7,
    "pid": 1 + 2.0 / (1 - 0.8),
    "pnm": 1 / np.hypot(1.8, 0.8),
    "unified_momentum": 1 / (1 - 0.8),
    "mass": 1 + (0.8 - 0.6) / (1 - 0.8),
    "gpa": 1.0,
    "primal_averaging": 1 / 0.2 * 0.2 / 1.0,
    "ema_nesterov": 1 / (1 - 0.6),
    "maxwell": 1.0,
    "grokfast": 3.0,
    "synthesized_nesterov": 1 / (1 - 0.8),
}


@pytest.mark.parametrize("name", GAINS)
def test_steady_gains_of_the_linear_methods(name):
    """The step in a steady gradient, in units of the learning rate."""
    found = {label: steady_gain(c) for label, c, _ in constant_coefficients()}
    np.testing.assert_allclose(found[name], GAINS[name], rtol=1e-12)
