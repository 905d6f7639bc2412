"""Gains, memory and half-life of filters, in any basis of the state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_linearize import LINEAR

import jaxmom as jm
from jaxmom import theory


def test_frequency_response_is_what_a_wave_does():
    """Feed a wave of gradients to the code, and compare the steady steps with |H| and its angle."""
    optimizer, w = jm.aggmo(0.1, betas=(0.0, 0.6, 0.9)), 0.7
    response = complex(theory.frequency_response(optimizer, w))
    state = optimizer.init(jnp.zeros([]))
    for t in range(400):
        step, state = optimizer.update(jnp.asarray(np.cos(w * t)), state)
    np.testing.assert_allclose(-step, (response * np.exp(1j * w * 399)).real, rtol=1e-10)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.999])
def test_memory_and_half_life(beta):
    for optimizer in (jm.heavy_ball(0.1, beta), jm.ema_momentum(0.1, beta)):
        np.testing.assert_allclose(theory.memory(optimizer), 1 / (1 - beta), rtol=1e-9)
        np.testing.assert_allclose(
            theory.half_life(optimizer), np.log(0.5) / np.log(beta), rtol=1e-12
        )
    weights = beta ** np.arange(60_000.0)
    weights[0] = 1 + beta
    weights[1:] = beta ** np.arange(2.0, 60_001.0)  # Nesterov's step: g + beta m
    mean_age = (weights * np.arange(60_000)).sum() / weights.sum()
    np.testing.assert_allclose(theory.memory(jm.nesterov(0.1, beta)), 1 + mean_age, rtol=1e-8)
    assert theory.half_life(jm.gradient_descent(0.1)) == 0.0
    np.testing.assert_allclose(theory.memory(jm.gradient_descent(0.1)), 1.0, rtol=1e-12)


def in_basis(system, basis):
    """The same system with the state x = basis y."""
    inverse = np.linalg.inv(basis)
    return theory.LinearSystem(
        inverse @ system.A @ basis, inverse @ system.B, system.C @ basis, system.D,
        tuple(f"y{i}" for i in range(len(basis))),
    )  # fmt: skip


FUNCTIONS = (
    lambda s: theory.transfer_function(s, jnp.array([1.0, -1.0, 0.37, 2.0])),
    lambda s: theory.frequency_response(s, jnp.array([0.0, 0.1, 1.0, 3.0])),
    theory.effective_learning_rate,
    theory.memory,
    theory.half_life,
    theory.flip_bound,
    theory.neimark_sacker_bound,
    theory.stability_limit,
    lambda s: theory.characteristic_polynomial(s, 1.3),
    lambda s: theory.spectral_radius(s, 1.3),
    lambda s: theory.damping(s, 1.3),
    lambda s: theory.stationary_variance(s, 1.3),
    lambda s: theory.transient_growth(s, 1.3),
)


@pytest.mark.parametrize("name", LINEAR)
def test_no_answer_depends_on_the_basis(name):
    """A random basis, and one in other units; weight decay has no memory apart from its basis."""
    system = theory.linearize(LINEAR[name])
    n = len(system.names)
    rng = np.random.default_rng(n)
    decays = bool(system.A[0, 0] != 1) or bool(jnp.any(system.A[1:, 0] != 0))
    for basis in (rng.standard_normal((n, n)), np.diag(10.0 ** np.arange(n)[::-1])):
        other = in_basis(system, basis)
        for function in FUNCTIONS:
            if decays and function in (theory.memory, theory.half_life):
                assert np.isnan(function(other))
            else:
                # A decay of zero is 1e-16 in another basis, with a half-life of a hundredth.
                rounding = 0.05 if function is theory.half_life else 1e-9
                np.testing.assert_allclose(
                    function(other), function(system), rtol=1e-6, atol=rounding
                )


def test_the_matrices_of_a_paper():
    """Lessard, Recht and Packard 2016, table 1: Nesterov's method in (xi_t, xi_{t-1})."""
    a, b = 0.1, 0.9
    paper = theory.LinearSystem(
        jnp.array([[1 + b, -b], [1.0, 0.0]]), jnp.array([-a, 0.0]), jnp.array([1 + b, -b]),
        jnp.zeros([]), ("xi", "previous xi"),
    )  # fmt: skip
    np.testing.assert_allclose(theory.effective_learning_rate(paper), a / (1 - b), rtol=1e-9)
    np.testing.assert_allclose(theory.half_life(paper), np.log(0.5) / np.log(b), rtol=1e-9)
    limit = 2 * (1 + b) / (a * (1 + 2 * b))
    np.testing.assert_allclose(theory.stability_limit(paper), limit, rtol=1e-9)
    weights = np.append(1 + b, b ** np.arange(2.0, 400.0))
    memory = 1 + (weights * np.arange(399)).sum() / weights.sum()
    np.testing.assert_allclose(theory.memory(paper), memory, rtol=1e-9)


def anchored_descent(params):
    return params


def anchored_update(g, start, params):
    return -0.1 * (g + 0.1 * (params - start)), start


def watching_update(g, total, params=None):
    return -0.1 * g, total + g


ANCHORED = optax.GradientTransformation(anchored_descent, anchored_update)
WATCHING = optax.GradientTransformation(lambda params: jnp.zeros([]), watching_update)


def test_hidden_states_do_not_count():
    """A pull to the start is stable up to 2 / 0.1 - 0.1; a sum kept for a log changes nothing."""
    small = theory.minimal(theory.linearize(ANCHORED))
    assert len(small.names) == 1
    np.testing.assert_allclose(theory.stability_limit(small), 19.9, rtol=1e-9)
    np.testing.assert_allclose(theory.dc_gain(small), 0.0, atol=1e-12)
    small = theory.minimal(theory.linearize(WATCHING))
    np.testing.assert_allclose(theory.stability_limit(small), 20.0, rtol=1e-9)
    for system in (small, theory.linearize(WATCHING)):
        np.testing.assert_allclose(theory.dc_gain(system), 0.1, rtol=1e-12)
        np.testing.assert_allclose(theory.memory(system), 1.0, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("dropped", [0, 1])
def test_the_size_of_a_minimal_system_does_not_depend_on_units(scale, dropped):
    optimizer = jm.qhm(0.1 / scale, beta=0.9, nu=0.7 * (1 - dropped))
    system = theory.linearize(optimizer)
    small = theory.minimal(system)
    assert len(small.names) == len(system.names) - dropped
    z = jnp.array([-1.0, 0.5, 1.7])
    np.testing.assert_allclose(
        theory.transfer_function(small, z), theory.transfer_function(system, z), rtol=1e-9
    )


@pytest.mark.parametrize("decay", [1e-12, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_weight_decay_does_not_change_the_memory(decay, beta):
    optimizer = jm.sgd(0.1, momentum=beta, weight_decay=decay)
    np.testing.assert_allclose(theory.memory(optimizer), 1 / (1 - beta), rtol=1e-9)
    np.testing.assert_allclose(theory.half_life(optimizer), np.log(0.5) / np.log(beta), rtol=1e-9)


def test_a_buffer_that_never_forgets():
    for momentum in (1.0, 1.5):
        assert theory.half_life(jm.sgd(0.1, momentum=jnp.asarray(momentum))) == np.inf
    slow = theory.half_life(jm.sgd(0.1, momentum=1 - 1e-9))
    np.testing.assert_allclose(slow, np.log(2) * 1e9, rtol=1e-6)


def test_learning_rate_zero_has_no_response():
    still = theory.linearize(jm.heavy_ball(0.0, beta=0.9))
    for system in (still, dataclasses.replace(still, B=still.B * 0)):
        assert theory.effective_learning_rate(system) == 0.0
        assert theory.flip_bound(system) == np.inf
        assert theory.stability_limit(system) == 0.0
    assert theory.dc_gain(theory.minimal(still)) == 0.0
    assert theory.stability_limit(theory.minimal(still)) == 0.0


def test_the_response_differentiates_at_one():
    slope = jax.grad(lambda b: theory.memory(jm.heavy_ball(0.1, b)))(0.5)
    np.testing.assert_allclose(slope, 1 / (1 - 0.5) ** 2, rtol=1e-9)
    slope = jax.grad(lambda b: theory.effective_learning_rate(jm.nesterov(0.1, b)))(0.5)
    np.testing.assert_allclose(slope, 0.1 / (1 - 0.5) ** 2, rtol=1e-9)
