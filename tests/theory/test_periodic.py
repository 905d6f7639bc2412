"""Coefficients that repeat: the period is proved, and what follows is what the code does."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_kernel import steps_taken

import jaxmom as jm
from jaxmom import theory
from jaxmom.theory._clock import find_cycle
from jaxmom.theory._linear_proof import prove_linear
from jaxmom.theory._program import UpdateProgram


def cyclic(momentum=None):
    """Learning rates 0.3, 0.2, 0.1 in turn."""
    return optax.sgd(lambda count: jnp.array([0.3, 0.2, 0.1])[count % 3], momentum)


def multi_steps():
    """A mean of four gradients in float64, which is a choice from optax 0.2.8 on."""
    known = inspect.signature(optax.MultiSteps).parameters
    chosen = {"accumulator_dtype": jnp.float64} if "accumulator_dtype" in known else {}
    return optax.MultiSteps(optax.sgd(0.4, 0.6), 4, **chosen).gradient_transformation()


# Optimizers, their period, and the update before which it begins.
PERIODIC = {
    "MultiSteps": (multi_steps, 4),
    "apply_every": (lambda: optax.chain(optax.apply_every(3), optax.sgd(0.1, 0.5)), 3),
    "lookahead": (lambda: jm.lookahead(jm.heavy_ball(0.1, 0.5), period=5, step=0.6), 5),
    "outer momentum": (
        lambda: jm.lookahead(jm.gradient_descent(0.3), period=2, step=0.7, beta=0.4),
        2,
    ),
    "cyclic": (lambda: cyclic(0.5), 3),
    "two clocks": (lambda: optax.chain(optax.apply_every(2), cyclic()), 6),
}
MEASURED = [
    pytest.param(name, marks=pytest.mark.slow if name in ("outer momentum", "two clocks") else [])
    for name in PERIODIC
]
CURVATURES = (0.3, 1.0, 2.5)
built = functools.cache(lambda name: PERIODIC[name][0]())


@functools.cache
def periods(name):
    return theory.linearize_period(built(name))


@functools.partial(jax.jit, static_argnames=("optimizer", "blocks"))
def measured_rates(optimizer, curvatures, blocks=600):
    """The mean factor per step of runs of the code, rescaled every 60 steps so that none ends."""

    def is_data(leaf):
        return jnp.issubdtype(leaf.dtype, jnp.floating)

    def rate(curvature):
        def step(carry, _):
            params, state = carry
            with jax.numpy_dtype_promotion("standard"):
                updates, state = optimizer.update(curvature * params, state, params)
            return (params + updates, state), None

        def block(carry, _):
            carry, _ = jax.lax.scan(step, carry, length=60)
            size = jnp.sqrt(sum(jnp.sum(x**2) for x in filter(is_data, jax.tree.leaves(carry))))
            scale = jnp.where(size > 0, size, 1.0)  # a run may end at zero: its rate is 0
            return jax.tree.map(lambda x: x / scale if is_data(x) else x, carry), jnp.log(size)

        start = jnp.ones([]), optimizer.init(jnp.ones([]))
        _, logs = jax.lax.scan(block, start, length=2 * blocks)
        return jnp.exp(jnp.mean(logs[blocks:]) / 60)

    return jax.vmap(rate)(jnp.asarray(curvatures))


@functools.cache
def facts(name):
    """The limit of stability, and the rates of runs at three curvatures and beside the limit."""
    limit = float(theory.stability_limit(periods(name)))
    beside = [limit * (1 - 1e-3), limit * (1 + 1e-3)]
    optimizer = built(name)
    plain = optax.GradientTransformation(optimizer.init, optimizer.update)
    return limit, np.asarray(measured_rates(plain, (*CURVATURES, *beside)))


@pytest.mark.parametrize("name", MEASURED)
def test_the_rate_is_that_of_runs_of_the_code(name):
    _, rates = facts(name)
    found = theory.spectral_radius(periods(name), jnp.array(CURVATURES))
    np.testing.assert_allclose(found, rates[:-2], rtol=0, atol=1e-4)
    assert periods(name).period == PERIODIC[name][1]


@pytest.mark.parametrize("name", MEASURED)
def test_runs_diverge_from_the_stability_limit_on(name):
    limit, (*_, below, above) = facts(name)
    assert 0 < limit < np.inf
    assert below < 1 < above


@pytest.mark.parametrize("name", MEASURED)
def test_the_kernels_are_what_each_gradient_does_in_the_code(name):
    p, lags, first = PERIODIC[name][1], 9, 12
    gradients = np.eye(first + p)[first - lags + 1 :]
    taken = -np.asarray(steps_taken(built(name), gradients))  # [gradient, update]
    expected = np.array([taken[::-1][p - 1 - i : p - 1 - i + lags, first + i] for i in range(p)])
    found = theory.kernel(periods(name), lags)
    np.testing.assert_allclose(np.roll(found, -first, axis=0), expected, rtol=1e-12, atol=1e-15)


def test_closed_forms_of_periods():
    """Gradient descent with steps in turn; accumulation; and the lookahead of gradient descent."""
    curvatures = np.array([0.5, 2.0, 7.0])
    steps = np.array([0.3, 0.2, 0.1])
    product = np.prod(1 - steps * curvatures[:, None], axis=1)
    np.testing.assert_allclose(theory.monodromy(cyclic(), curvatures)[:, 0, 0], product, rtol=1e-12)
    radius = theory.spectral_radius(cyclic(), curvatures)
    np.testing.assert_allclose(radius, np.abs(product) ** (1 / 3), rtol=1e-12)
    roots = np.roots(np.polysub(np.poly(1 / steps) * np.prod(-steps), [1.0]))  # of product = 1
    others = np.roots(np.polyadd(np.poly(1 / steps) * np.prod(-steps), [1.0]))  # of product = -1
    real = [r.real for r in (*roots, *others) if abs(r.imag) < 1e-9 and r.real > 1e-9]
    np.testing.assert_allclose(theory.stability_limit(cyclic()), min(real), rtol=1e-10)
    # k gradients of one point are one step: the momentum is that of every fourth update.
    accumulated, plain = periods("MultiSteps"), optax.sgd(0.4, 0.6)
    np.testing.assert_allclose(
        theory.spectral_radius(accumulated, curvatures),
        theory.spectral_radius(plain, curvatures) ** 0.25,
        rtol=1e-12,
    )
    limits = [theory.stability_limit(one) for one in (accumulated, plain)]
    np.testing.assert_allclose(*limits, rtol=1e-10)
    outer = jm.lookahead(jm.gradient_descent(0.3), period=5, step=0.6)
    factor = 1 - 0.6 + 0.6 * (1 - 0.3 * curvatures) ** 5
    np.testing.assert_allclose(
        theory.spectral_radius(outer, curvatures), np.abs(factor) ** 0.2, rtol=1e-12
    )
    worst = theory.rate(outer, 0.5, 2.0)
    np.testing.assert_allclose(worst, (0.4 + 0.6 * 0.85**5) ** 0.2, rtol=1e-12)


def test_optax_lookahead_has_a_period_with_its_pair_of_params():
    pair = optax.LookaheadParams.init_synced(jnp.zeros([]))
    slow = optax.lookahead(optax.sgd(0.3), sync_period=5, slow_step_size=0.6)
    system = theory.linearize_period(slow, params=pair)
    assert system.period == 5
    factor = 1 - 0.6 + 0.6 * (1 - 0.3 * 2.0) ** 5
    np.testing.assert_allclose(theory.spectral_radius(system, 2.0), factor**0.2, rtol=1e-12)


def scheduled(schedule):
    return optax.chain(optax.scale_by_schedule(schedule), optax.scale(-1.0))


# What the clock does, and the period that the proof finds.
CLOCKS = {
    "a remainder": (lambda t: jnp.where(t % 5 == 4, 0.1, 0.2), 5),
    "a quotient": (lambda t: 0.1 + 0.1 * (t // 3 % 2), 6),
    "a triangle": (lambda t: 0.1 + 0.1 * jnp.abs(t - 4 * ((t + 2) // 4)), 4),
    "a cosine of a remainder": (lambda t: 0.1 + 0.05 * jnp.cos(2 * jnp.pi * (t % 7) / 7), 7),
    "a warm-up of two updates": (lambda t: jnp.where(t < 2, 0.0, jnp.where(t % 2, 0.1, 0.2)), 2),
    "a branch": (lambda t: jax.lax.cond(t % 2 == 0, lambda: 0.1, lambda: 0.3), 2),
    "a clip": (lambda t: 0.1 * (jnp.minimum(jnp.maximum(t, 1), 2) + t % 2), 2),
    "no change after the first": (lambda t: jnp.where(t == 0, 0.5, 0.1), 1),
    "a clock that does not matter": (lambda t: 0.1 + 0 * t, 1),
    "a stopped gradient": (lambda t: jax.lax.stop_gradient(0.1 + 0.1 * (t % 2)), 2),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_the_period_is_found_in_what_the_clock_does(name):
    schedule, period = CLOCKS[name]
    program = UpdateProgram(scheduled(schedule))
    assert find_cycle(program, prove_linear(program)).period == period


@pytest.mark.parametrize("name", ["a triangle", "a warm-up of two updates"])
def test_the_systems_of_a_period_have_the_steps_of_the_schedule(name):
    schedule, period = CLOCKS[name]
    system = theory.linearize_period(scheduled(schedule))
    first = 6 * period
    with jax.numpy_dtype_promotion("standard"):
        expected = [-float(schedule(jnp.int32(first + i))) for i in range(period)]
    np.testing.assert_allclose(system.B[:, 0], expected, rtol=1e-12)


def test_what_varies_at_first_only_is_one_linear_system():
    system = theory.linearize(scheduled(CLOCKS["no change after the first"][0]))
    np.testing.assert_allclose(system.B, [-0.1], rtol=1e-12)


def test_a_counter_that_is_reset_repeats():
    def update(gradient, count, params=None):
        del params
        last = count == 6
        return -0.1 * jnp.where(last, 2.0, 1.0) * gradient, jnp.where(last, 0, count + 1)

    system = theory.linearize_period(
        optax.GradientTransformation(lambda params: jnp.int32(0), update)
    )
    np.testing.assert_allclose(system.B[:, 0], [-0.1] * 6 + [-0.2], rtol=1e-12)


NO_PERIOD = {
    "a line": lambda t: 0.1 + 1e-9 * t,
    "a change in the far future": lambda t: jnp.where(t < 10**6, 0.1, 0.01),
    "one late update": lambda t: jnp.where(t == 12345, 0.1, 0.2),
    "a cosine of the count": lambda t: 0.1 + 0.05 * jnp.cos(2 * jnp.pi * t / 5),
    "squares": lambda t: jnp.where((t * t) % 3 == 1, 0.1, 0.2),
    "powers of two": lambda t: jnp.where(t & (t - 1) == 0, 0.1, 0.2),
    "a period and a line": lambda t: jnp.where(t % 2 == 0, 0.1, 1e-3 * t),
    "a longer period": lambda t: jnp.where(t % 1000 == 0, 0.1, 0.2),
    "a late period": lambda t: jnp.where(t < 50, 0.3, jnp.where(t % 2, 0.1, 0.2)),
}


@pytest.mark.parametrize("name", NO_PERIOD)
def test_what_has_no_proved_period_is_refused_with_its_stage(name):
    with pytest.raises(theory.TimeVaryingError, match=r"^scale_by_schedule varies with time"):
        theory.linearize_period(scheduled(NO_PERIOD[name]))


def test_recurrences_without_a_period_are_refused():
    for optimizer in (jm.nesterov_convex(0.1), jm.ema_momentum(0.1, debias=True)):
        for function in (theory.rate, theory.certified_rate):
            with pytest.raises(theory.TimeVaryingError, match="'carry'"):
                function(optimizer, 0.1, 1.0)
    with pytest.raises(theory.TimeVaryingError, match="varies with time"):
        jax.jit(lambda k: theory.linearize_period(jm.lookahead(jm.gradient_descent(0.1), k, 0.5)))(
            3
        )


def test_periods_compile_map_and_differentiate():
    def radius(step):
        outer = jm.lookahead(jm.gradient_descent(0.3), period=2, step=step)
        return theory.spectral_radius(outer, 1.0)

    steps = jnp.array([0.4, 0.9])
    found, slopes = jax.jit(jax.vmap(jax.value_and_grad(radius)))(steps)
    factors = 1 - steps + steps * 0.49
    np.testing.assert_allclose(found, factors**0.5, rtol=1e-12)
    np.testing.assert_allclose(slopes, -0.51 / 2 * factors**-0.5, rtol=1e-10)


def test_a_long_product_does_not_underflow():
    """48 updates of rate 1e-20 each are 1e-960 together."""
    system = theory.linearize_period(scheduled(lambda t: jnp.where(t % 48 == 0, 1.0, 1.0 - 1e-10)))
    found = theory.spectral_radius(system, 1.0 + 1e-12)
    steps = np.where(np.arange(48) == 0, 1.0, 1.0 - 1e-10)
    logs = np.log(np.abs(1 - steps * (1.0 + 1e-12)))
    np.testing.assert_allclose(found, np.exp(np.mean(logs)), rtol=1e-3)


def test_what_takes_one_system_says_what_takes_a_period():
    optimizer, system = cyclic(0.5), periods("cyclic")
    with pytest.raises(theory.TimeVaryingError, match=r"repeat every 3 updates.*stability_limit"):
        theory.linearize(optimizer)
    functions = [
        lambda x: theory.iteration_matrix(x, 1.0),
        lambda x: theory.stationary_variance(x, 1.0),
        lambda x: theory.memory(x),
        lambda x: theory.effective_learning_rate(x),
    ]
    for function in functions:
        with pytest.raises(ValueError, match="a PeriodicSystem has several"):
            function(system)
        with pytest.raises(theory.TimeVaryingError, match="repeat every 3 updates"):
            function(optimizer)
    with pytest.raises(ValueError, match=r"A \[p, n, n\]"):
        theory.rate(theory.PeriodicSystem(system.A[0], system.B, system.C, system.names), 0.1, 1.0)
    with pytest.raises(ValueError, match="leave count out"):
        theory.kernel(system, 3, count=1)
