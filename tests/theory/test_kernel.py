"""The momentum kernel equals what the code does with one gradient, and its mean age is exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_linearize import LINEAR

import jaxmom as jm
from jaxmom import theory

VARYING = {
    "nesterov_convex": jm.nesterov_convex(0.3),
    "chebyshev": jm.chebyshev(mu=0.1, L=4.0),
    "debiased": jm.ema_momentum(0.3, beta=0.9, debias=True),
    "demon": jm.demon(0.1, beta=0.9, steps=20),
    "scheduled rate inside": jm.heavy_ball(jm.schedules.linear(0.1, 0.3, steps=9), beta=0.9),
    "first step": jm.sgd(0.2, momentum=0.7, dampening=0.3),
    "optax.schedule_free_sgd": optax.contrib.schedule_free_sgd(0.1, b1=0.8),
}


def steps_taken(optimizer, gradients, hold=False):
    """The steps of the running code for each row of gradients, with params moving or held at 0."""

    def step(carry, gradient):
        params, state = carry
        with jax.numpy_dtype_promotion("standard"):
            update, state = optimizer.update(gradient, state, params)
        return (params if hold else params + update, state), update

    start = jnp.zeros([])
    return jax.vmap(lambda row: jax.lax.scan(step, (start, optimizer.init(start)), row)[1])(
        jnp.asarray(gradients)
    )


@pytest.mark.parametrize("name", LINEAR)
def test_the_kernel_is_the_impulse_response_of_the_code(name):
    optimizer = LINEAR[name]
    hold = name == "sgd weight decay"  # whose kernel is that of the gradients alone
    (taken,) = steps_taken(optimizer, np.eye(15)[3:4], hold)  # an undamped first step is over
    np.testing.assert_allclose(theory.kernel(optimizer, 12), -taken[3:], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", VARYING)
def test_the_kernel_of_a_step_is_what_each_gradient_does_in_it(name):
    optimizer, t = VARYING[name], 7
    expected = -steps_taken(optimizer, np.eye(t + 1)[::-1])[:, t]
    weights = theory.kernel(optimizer, 12, count=t)
    np.testing.assert_allclose(weights, [*expected, 0, 0, 0, 0], rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(theory.kernel(optimizer, 4, count=t), weights[:4])


def test_the_kernels_of_the_textbooks():
    k = np.arange(50.0)
    expected = {
        jm.heavy_ball(0.1, 0.9): 0.1 * 0.9**k,
        jm.ema_momentum(0.1, 0.9): 0.1 * 0.1 * 0.9**k,
        jm.nesterov(0.1, 0.9): 0.1 * np.where(k == 0, 1.9, 0.9 ** (k + 1)),
        jm.qhm(0.1, 0.9, nu=0.7): 0.1 * (0.7 * 0.1 * 0.9**k + 0.3 * (k == 0)),
        jm.gradient_descent(0.1): 0.1 * (k == 0),
        jm.optimistic_gradient(0.1, optimism=0.5): 0.1 * (1.5 * (k == 0) - 0.5 * (k == 1)),
    }
    for optimizer, weights in expected.items():
        np.testing.assert_allclose(theory.kernel(optimizer, 50), weights, rtol=1e-12, atol=1e-17)
    np.testing.assert_array_equal(theory.kernel(optax.identity(), 3), [-1, 0, 0])  # it climbs


def test_the_mean_age_is_exact():
    """Against closed forms, also of memories far longer than any sum that one would take."""
    for beta in (0.0, 0.5, 0.9, 1 - 1e-6):
        for optimizer in (jm.heavy_ball(0.1, beta), jm.ema_momentum(0.1, beta)):
            np.testing.assert_allclose(theory.mean_age(optimizer), beta / (1 - beta), rtol=1e-8)
        nesterov = jm.nesterov(0.1, beta)
        np.testing.assert_allclose(theory.mean_age(nesterov), beta**2 / (1 - beta), rtol=1e-8)
    assert theory.mean_age(jm.gradient_descent(0.1)) == 0.0
    betas = np.array([0.0, 0.6, 0.9])
    mean = (betas / (1 - betas) ** 2).sum() / (1 / (1 - betas)).sum()
    np.testing.assert_allclose(theory.mean_age(jm.aggmo(0.1, tuple(betas))), mean, rtol=1e-12)
    decayed = jm.sgd(0.1, momentum=0.9, weight_decay=0.1)
    np.testing.assert_allclose(theory.mean_age(decayed), 9.0, rtol=1e-12)


@pytest.mark.parametrize("name", LINEAR)
def test_the_mean_age_is_that_of_the_kernel(name):
    weights = np.asarray(theory.kernel(LINEAR[name], 2000))
    mean = (np.arange(2000) * weights).sum() / weights.sum()
    np.testing.assert_allclose(theory.mean_age(LINEAR[name]), mean, rtol=1e-10)
    np.testing.assert_allclose(theory.memory(LINEAR[name]), 1 + mean, rtol=1e-10)


def summed(read, gain, decay=1.0):
    """Two buffers, the second of which may never forget."""
    c = jm.reading_new(decay=[0.5, decay], gain=[1.0, gain], read=[1.0, read])
    return jm.chain(jm.scale_by_momentum(c), optax.scale(-0.1))


def test_a_sum_of_all_gradients_is_infinitely_old():
    assert theory.mean_age(summed(read=1.0, gain=1.0)) == np.inf
    assert theory.mean_age(summed(read=1.0, gain=1.0, decay=1.01)) == np.inf
    assert theory.mean_age(optax.chain(optax.trace(1.0), optax.scale(-0.1))) == np.inf
    for hidden in (summed(read=0.0, gain=1.0), summed(read=1.0, gain=0.0)):
        np.testing.assert_allclose(theory.mean_age(hidden), 1.0, rtol=1e-12)


def test_no_age_depends_on_the_units_of_a_buffer():
    system = theory.linearize(LINEAR["aggmo"])
    units = np.array([1.0, 1e3, 1e-5, 7.0])
    other = dataclasses.replace(
        system,
        A=np.asarray(system.A) * units / units[:, None],
        B=system.B / units,
        C=system.C * units,
    )
    np.testing.assert_allclose(theory.kernel(other, 9), theory.kernel(system, 9), rtol=1e-12)
    np.testing.assert_allclose(theory.mean_age(other), theory.mean_age(system), rtol=1e-12)


def test_kernels_compile_map_and_differentiate():
    betas = jnp.array([0.5, 0.9])

    @jax.jit
    def ages(betas):
        return jax.vmap(lambda beta: theory.mean_age(jm.heavy_ball(0.1, beta)))(betas)

    np.testing.assert_allclose(ages(betas), betas / (1 - betas), rtol=1e-12)
    slope = jax.grad(lambda beta: theory.kernel(jm.heavy_ball(1.0, beta), 4)[3])(0.5)
    np.testing.assert_allclose(slope, 3 * 0.25, rtol=1e-12)
    debiased = VARYING["debiased"]
    rows = jax.jit(jax.vmap(lambda count: theory.kernel(debiased, 5, count=count)))(jnp.arange(5))
    np.testing.assert_allclose(rows.sum(axis=1), 0.3, rtol=1e-12)
    slope = jax.grad(
        lambda beta: theory.kernel(jm.ema_momentum(1.0, beta, debias=True), 2, count=1)[1]
    )(0.5)
    np.testing.assert_allclose(slope, 1 / 1.5**2, rtol=1e-12)  # of beta / (1 + beta)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "lags is how many", lambda: theory.kernel(LINEAR["qhm"], 0)),
        (ValueError, "lags is how many", lambda: theory.kernel(LINEAR["qhm"], 2.0)),
        (ValueError, "from 0, got -1", lambda: theory.kernel(LINEAR["qhm"], 2, count=-1)),
        (
            ValueError,
            "leave count out",
            lambda: theory.kernel(theory.linearize(LINEAR["qhm"]), 2, count=1),
        ),
        (
            theory.NotLinearError,
            r"kernel\(optimizer, lags, count=...\)",
            lambda: theory.kernel(VARYING["chebyshev"], 2),
        ),
        (
            theory.NotLinearError,
            "scale_by_adam|scale_by_rms|adam",
            lambda: theory.kernel(optax.adam(0.1), 2),
        ),
    ],
)
def test_wrong_use_gets_a_sentence(error, words, call):
    with pytest.raises(error, match=words):
        call()
