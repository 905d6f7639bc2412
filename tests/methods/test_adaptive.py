"""Momentum that depends on the data, with real losses: identities, other packages, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

HESSIAN = np.diag([1.0, 3.0, 7.0])
START = np.array([1.0, -2.0, 0.5])
BATCHES = np.random.default_rng(1).normal(size=(30, 4, 3))


def loss(x, batch):
    """Least squares on a batch, so that gradients of one batch at two points differ by a matrix."""
    return jnp.mean((jnp.asarray(batch) @ (x - 1.0)) ** 2) / 2 + 0.1 * x @ x


def gradient(x, t):
    return BATCHES[t].T @ (BATCHES[t] @ (x - 1.0)) / 4 + 0.2 * x


def quadratic(x):
    return x @ jnp.asarray(HESSIAN) @ x / 2


def run(optimizer, steps=30):
    batches = jnp.asarray(BATCHES[:steps])
    return jm.optimize(
        loss, jnp.asarray(START), optimizer, steps, batches=batches, record="params"
    ).history["params"]


def descend(optimizer, steps=8):
    return jm.optimize(quadratic, jnp.asarray(START), optimizer, steps, record="params").history[
        "params"
    ]


def assert_close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def test_momsps_without_momentum_is_the_bounded_polyak_step():
    for bound in (0.1, 1e3):
        theirs = optax.polyak_sgd(bound, f_min=0.05)
        ours = jm.momsps(bound, beta=0.0, lower_bound=0.05)
        assert_close(run(ours), run(theirs))


def test_momsps_at_its_bound_is_heavy_ball():
    bounded = jm.momsps(1e-3, beta=0.8, lower_bound=-1e6)
    assert_close(run(bounded), run(jm.heavy_ball(0.2 * 1e-3, 0.8)))


def test_momo_without_weight_decay_is_that_of_optax():
    for bound in (0.1, 1.0):
        theirs = jm.lift(optax.contrib.momo)(bound, beta=0.7, lower_bound=0.05)
        assert_close(run(jm.momo(bound, beta=0.7, lower_bound=0.05)), run(theirs))


def momo_with_found_bound(alpha, beta, lowest, decay):
    """The authors' rule, written with their cap and h."""
    x, d, f, gamma, bound = START, None, None, None, lowest
    for t in range(30):
        yield x
        g, value = gradient(x, t), float(loss(x, BATCHES[t]))
        if d is None:
            d, f, gamma = g, value, g @ x
        d, f = beta * d + (1 - beta) * g, beta * f + (1 - beta) * value
        gamma = beta * gamma + (1 - beta) * (g @ x)
        shrink = 1 + alpha * decay
        cap = shrink * f + d @ x - shrink * gamma
        if cap < shrink * bound:
            bound = max(cap / (2 * shrink), lowest)
        tau = min(alpha, max(shrink * (f - bound) + d @ x - shrink * gamma, 0.0) / (d @ d))
        bound = max(f + d @ x - gamma - tau * (d @ d) / 2, lowest)
        x = (x - tau * d) / shrink


@pytest.mark.parametrize("lowest", [-1.0, 0.3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_momo_finds_a_lower_bound_as_its_authors_do(alpha, decay, lowest):
    expected = list(momo_with_found_bound(alpha, 0.7, lowest, decay))
    numbers = {"beta": 0.7, "lower_bound": lowest, "weight_decay": decay}
    assert_close(run(jm.momo(alpha, **numbers, adapt_lower_bound=True))[:30], expected)
    if alpha == 10.0:  # it is not the one with the bound that is given
        assert np.abs(np.asarray(run(jm.momo(alpha, **numbers))[:30]) - expected).max() > 1e-3


def test_momo_finds_a_lower_bound_as_optax_does():
    theirs = jm.lift(optax.contrib.momo)(1.0, beta=0.7, lower_bound=0.05, adapt_lower_bound=True)
    ours = jm.momo(1.0, beta=0.7, lower_bound=0.05, adapt_lower_bound=True)
    assert_close(run(ours), run(theirs))


def test_momo_without_averaging_is_the_bounded_polyak_step():
    theirs = optax.polyak_sgd(max_learning_rate=1.0)
    assert_close(run(jm.momo(1.0, beta=0.0)), run(theirs))


def test_the_weight_decay_of_momo_is_a_proximal_step():
    """At the bound tau = alpha it is averaged momentum with proximal decay."""
    alpha, decay = 0.01, 0.5
    points = run(jm.momo(alpha, beta=0.9, lower_bound=-1e6, weight_decay=decay))
    x, d = START, gradient(START, 0)
    for t in range(30):
        assert_close(points[t], x)
        d = 0.9 * d + 0.1 * gradient(x, t)
        x = (x - alpha * d) / (1 + alpha * decay)


def test_the_adaptive_heavy_ball_minimizes_the_distance():
    """Over the Krylov space of the first gradient, on a quadratic, from step to step."""
    points = descend(jm.adaptive_heavy_ball(), 3)
    for k in (1, 2):
        krylov = np.stack(
            [np.linalg.matrix_power(HESSIAN, j + 1) @ START for j in range(k)], axis=1
        )
        best = START - krylov @ np.linalg.lstsq(krylov, START, rcond=None)[0]
        assert_close(points[k], best, rtol=1e-10)
    assert np.abs(points[3]).max() < 1e-10
    shifted = jm.optimize(
        lambda x: quadratic(x) + 5.0, jnp.asarray(START), jm.adaptive_heavy_ball(5.0), 2
    )
    assert_close(shifted.params, points[2], rtol=1e-10)


def storm(a_of, rate_of):
    d, previous, x, total = None, START, START, 0.0
    for t in range(30):
        yield x
        g = gradient(x, t)
        d = g if d is None else g + (1 - a_of(total)) * (d - gradient(previous, t))
        total += g @ g
        x, previous = x - rate_of(total) * d, x


def test_storm_is_the_papers_with_gradients_at_two_points():
    expected = list(storm(lambda total: 0.3, lambda total: 0.05))
    points = run(jm.with_previous_gradient(jm.storm(0.05, a=0.3)))
    assert_close(points[:30], expected)
    k, w, c = 0.3, 2.0, 10.0
    expected = list(
        storm(lambda s: min(1.0, c * k**2 / np.cbrt(w + s) ** 2), lambda s: k / np.cbrt(w + s))
    )
    points = run(jm.with_previous_gradient(jm.adaptive_storm(k, w, c)))
    assert_close(points[:30], expected)


def test_storm_in_a_plain_loop():
    """By the extra argument itself, and by value_fn."""
    plain, helped = jm.storm(0.05, a=0.3), jm.with_previous_gradient(jm.storm(0.05, a=0.3))
    slope = jax.grad(loss)
    x = y = previous = jnp.asarray(START)
    one, other = plain.init(x), helped.init(x)
    for batch in BATCHES[:5]:
        before = slope(previous, batch)
        u, one = plain.update(slope(x, batch), one, x, previous_grad=before)
        v, other = helped.update(slope(y, batch), other, y, value_fn=lambda p, b=batch: loss(p, b))
        previous, x, y = x, x + u, y + v
        assert_close(y, x)
    assert_close(x, list(storm(lambda total: 0.3, lambda total: 0.05))[5])


def test_the_helper_serves_exact_mars_too():
    exact = jm.mars(0.05, gamma=0.5, exact=True)
    points, slope = run(jm.with_previous_gradient(exact), 6), jax.grad(loss)
    x = previous = jnp.asarray(START)
    state = exact.init(x)
    for t, batch in enumerate(BATCHES[:6]):
        assert_close(points[t], x)
        extra = {"previous_grad": slope(previous, batch)}
        updates, state = exact.update(slope(x, batch), state, x, **extra)
        previous, x = x, x + updates


def test_storm_that_forgets_or_has_no_noise_is_gradient_descent():
    assert_close(
        run(jm.with_previous_gradient(jm.storm(0.05, a=1.0))), run(jm.gradient_descent(0.05))
    )
    expected = descend(jm.gradient_descent(0.05))
    for a in (0.0, 0.4):
        assert_close(descend(jm.with_previous_gradient(jm.storm(0.05, a))), expected)


def test_complex_params_have_the_conjugate_gradient_at_both_points():
    start = jnp.asarray(START + 0.5j)
    ours = jm.with_previous_gradient(jm.storm(0.05, 0.3))
    square = lambda z: jnp.sum((z * z.conj()).real * jnp.array([1.0, 3.0, 7.0]))  # noqa: E731
    found, expected = (
        jm.optimize(square, start, optimizer, 5).params
        for optimizer in (ours, jm.gradient_descent(0.05))
    )
    assert_close(found, expected)


# Hypergradient descent


def test_the_learning_rate_of_gradient_descent_by_its_own_loop():
    optimizer = jm.hypergradient_descent(jm.gradient_descent(0.01), "learning_rate", 1e-3)
    points, x, alpha, last = run(optimizer), START, 0.01, np.zeros(3)
    for t in range(30):
        assert_close(points[t], x)
        g = gradient(x, t)
        alpha, last = alpha + 1e-3 * g @ last, g
        x = x - alpha * g


def test_the_learning_rate_of_adam_by_the_papers_loop():
    optimizer = jm.hypergradient_descent(jm.lift(optax.adam)(0.01), "learning_rate", 1e-3)
    points, x, alpha = run(optimizer), START, 0.01
    m = v = slope = np.zeros(3)
    for t in range(30):
        assert_close(points[t], x)
        g = gradient(x, t)
        alpha = alpha - 1e-3 * g @ slope
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        slope = -(m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        x = x + alpha * slope


def test_the_momentum_of_heavy_ball_by_its_own_loop():
    """The derivative of v = beta v - alpha g by beta is the old v."""
    optimizer = jm.hypergradient_descent(jm.heavy_ball(0.05, 0.3), "beta", 1e-2)
    points, x, beta = run(optimizer), START, 0.3
    v = slope = np.zeros(3)
    for t in range(30):
        assert_close(points[t], x)
        g = gradient(x, t)
        beta = beta - 1e-2 * g @ slope
        slope, v = v, beta * v - 0.05 * g
        x = x + v


def test_without_a_hyper_step_it_is_the_base():
    base = jm.chain(optax.clip(1.0), jm.nesterov(0.05, 0.8))
    for name in ("learning_rate", "beta"):
        optimizer = jm.hypergradient_descent(base, name, 0.0)
        end, plain = (jm.optimize(quadratic, jnp.asarray(START), o, 5) for o in (optimizer, base))
        assert_close(end.params, plain.params)
        evaluated = jm.eval_params(optimizer, end.params, end.state)
        assert_close(evaluated, jm.eval_params(base, plain.params, plain.state))


def test_two_hyperparameters_descend_by_two_wrappers():
    inner = jm.hypergradient_descent(jm.heavy_ball(0.01, 0.3), "beta", 1e-4)
    both = jm.hypergradient_descent(inner, "learning_rate", 1e-4)
    assert list(jm.hyperparameters(both)) == [
        *["hypergradient.hyper_step", "optimizer.hypergradient.hyper_step"],
        *["learning_rate", "beta"],
    ]
    state = jm.optimize(quadratic, jnp.asarray(START), both, 5).state
    assert state.change > 0
    assert state.inner.change > 0


# What they keep, with a schedule, in float32, and where something is missing.


def test_schedules_stand_wherever_numbers_do():
    rate = jm.schedules.linear(0.1, 0.05, 10)
    for make in (
        jm.momsps,
        jm.momo,
        jm.yellowfin,
        lambda r: jm.with_previous_gradient(jm.storm(r)),
    ):
        points = descend(make(rate))
        assert np.isfinite(points).all()
        assert np.abs(points[-1] - points[0]).max() > 1e-4


def test_zero_gradients_move_nothing():
    zero, extra = jnp.zeros(2), {"value": 0.0, "previous_grad": jnp.zeros(2)}
    for optimizer in (
        *[jm.momsps(0.1), jm.momo(), jm.adaptive_heavy_ball(), jm.yellowfin(), jm.storm(0.1)],
        *[jm.adaptive_storm(), jm.hypergradient_descent(jm.heavy_ball(0.1), "beta", 0.1)],
    ):

        def step(optimizer):
            return optimizer.update(zero, optimizer.init(zero), jnp.ones(2), **extra)[0].sum()

        assert step(optimizer) == 0
        slopes = jax.grad(step)(jax.tree.map(lambda x: jnp.asarray(x, float), optimizer))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


NEEDS = {
    "momsps": (jm.momsps(0.1), "momsps needs the loss at every update"),
    "adaptive_heavy_ball": (jm.adaptive_heavy_ball(), "adaptive_heavy_ball needs the loss at ev"),
    "momo": (jm.momo(), "momo needs the loss at every update"),
    "storm": (jm.storm(0.1), r"wrap it as jm\.with_previous_gradient\(optimizer\)"),
    "with_previous_gradient": (
        jm.with_previous_gradient(jm.storm(0.1)),
        "needs params and value_fn at every update",
    ),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_argument_gets_a_sentence(name):
    optimizer, message = NEEDS[name]
    with pytest.raises(ValueError, match=message):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))


def test_momo_needs_params():
    optimizer = jm.momo()
    with pytest.raises(ValueError, match="momo needs params at every update"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), value=1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "gamma",
            r"found no hyperparameter 'gamma'; the optimizer has \['learning_rate', 'beta'\]",
        ),
        ("learning_rate", "moves one number, but 'learning_rate' is"),
    ],
)
def test_a_hyperparameter_that_cannot_descend_is_refused(name, message):
    scheduled = jm.heavy_ball(jm.schedules.constant(0.1))
    with pytest.raises(ValueError, match=message):
        jm.hypergradient_descent(scheduled, name, 0.1)
    with pytest.raises(ValueError, match="moves one number, but 'betas' is"):
        jm.hypergradient_descent(jm.aggmo(0.1), "betas", 0.1)


STANDING_STILL = {
    "a period": (jm.lookahead(jm.heavy_ball(0.1), 5, 0.5), "period"),
    "stages": (jm.fsgdm(0.1, 50.0, 10.0), "stages"),
    "the length of a run": (jm.ogm_gradient(1.0, steps=20), "steps"),
    "before a sign": (jm.lion(0.1), "b1"),
    "an average of params": (jm.average(jm.heavy_ball(0.1), half_life=10.0), "half_life"),
}


@pytest.mark.parametrize("what", STANDING_STILL)
def test_a_hyperparameter_without_derivative_is_refused(what):
    base, name = STANDING_STILL[what]
    optimizer = jm.hypergradient_descent(base, name, 0.1)
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match=f"cannot move '{name}': the derivative .* is zero every"):
        optimizer.update(jnp.ones(2), state, jnp.ones(2))
    moved = jm.hypergradient_descent(base, "learning_rate", 0.1)  # as it may
    moved.update(jnp.ones(2), moved.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize("window", [0, 2.5, True])
def test_the_window_of_yellowfin_is_a_count(window):
    with pytest.raises(ValueError, match="number of gradients, at least 1"):
        jm.yellowfin(window=window)
