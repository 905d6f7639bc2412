"""Pairs that are one method under two names, pairs that are not, and where they part."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmom as jm
from jaxmom import theory


def average(beta, learning_rate=1.0, debias=False):
    return optax.chain(optax.ema(beta, debias=debias), optax.scale(-learning_rate))


def filtered(learning_rate=0.1, **vectors):
    return jm.chain(jm.scale_by_momentum(jm.reading_new(**vectors)), optax.scale(-learning_rate))


RATE = jm.schedules.linear(0.1, 0.3, steps=20)

# Name -> (a, b, scale).
SAME = {
    "a sum and an average": (jm.heavy_ball(0.1, beta=0.9), average(0.9), 1.0),
    "one of another scale": (jm.heavy_ball(0.1, beta=0.9), average(0.9, 0.1), 10.0),
    "Nesterov and QHM": (jm.nesterov(0.1, beta=0.9), jm.qhm(1.0, beta=0.9, nu=0.9), 1.0),
    "descent and QHM": (jm.gradient_descent(0.3), jm.qhm(0.1, beta=0.9, nu=0.0), 3.0),
    "descent and no momentum": (jm.gradient_descent(0.3), jm.heavy_ball(0.3, beta=0.0), 1.0),
    "AggMo of one": (jm.aggmo(0.1, betas=(0.9,)), jm.heavy_ball(0.1, beta=0.9), 1.0),
    "inside and outside": (jm.heavy_ball(0.1, beta=0.9), jm.sgd(0.1, momentum=0.9), 1.0),
    "ours and optax's": (jm.nesterov(0.1, 0.9), optax.sgd(0.1, 0.9, nesterov=True), 1.0),
    "weight decay": (
        jm.sgd(0.1, momentum=0.9, weight_decay=0.05),
        optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.2, 0.9)),
        0.5,
    ),
    "an average from the first gradient": (
        jm.sgd(0.1, momentum=0.9, dampening=0.9),
        jm.chain(
            jm.scale_by_momentum(jm.coefficients.ema_momentum(0.9), start="first_gradient"),
            optax.scale(-0.1),
        ),
        1.0,
    ),
    "never forgetting": (
        filtered(decay=[1.0], gain=[1.0], read=[1.0]),
        optax.chain(optax.trace(1.0), optax.scale(-0.05)),
        2.0,
    ),
    "padded": (
        filtered(decay=[0.9, 0.5, 0.3], gain=[1.0, 0.0, 1.0], read=[1.0, 1.0, 0.0]),
        jm.heavy_ball(0.1, beta=0.9),
        1.0,
    ),
    "two traces in either order": (
        optax.chain(optax.trace(0.5), optax.trace(0.9), optax.scale(-0.1)),
        optax.chain(optax.trace(0.9), optax.scale(-0.1), optax.trace(0.5)),
        1.0,
    ),
    "debiased": (jm.ema_momentum(0.1, 0.9, debias=True), average(0.9, 0.2, debias=True), 0.5),
    "schedules": (jm.sgd(RATE, momentum=0.9), optax.sgd(RATE, 0.9), 1.0),
    # Identities of the literature, by the code of both sides.
    "AccSGD and QHM": (
        jm.accelerated_sgd(0.04, kappa=100.0, xi=5.0, eps=0.7),
        jm.qhm(0.04 * 0.7 * 6 / 1.7, beta=(100 - 2.45) / 103.5, nu=2.5 / 4.2),
        1.0,
    ),
    "GPA and QHM": (jm.gpa(0.1, mu_x=0.9, mu_y=0.7), jm.qhm(0.1, beta=0.9, nu=0.7), 1.0),
    "triple and robust momentum": (
        jm.triple_momentum(mu=1.0, L=12.0),
        jm.robust_momentum(mu=1.0, L=12.0, rho=1 - 12**-0.5),
        1.0,
    ),
    "unified and Nesterov": (jm.unified_momentum(0.1, 0.9, s=1.0), jm.nesterov(0.1, 0.9), 1.0),
    "unified and heavy ball": (jm.unified_momentum(0.1, 0.9, s=0.0), jm.heavy_ball(0.1), 1.0),
    "MaSS and Nesterov": (jm.mass(0.1, 0.9, compensation=0.0), jm.nesterov(0.1, 0.9), 1.0),
    "EMA-Nesterov and Nesterov": (jm.ema_nesterov(0.1, 0.9, gamma=0.0), jm.nesterov(0.1), 1.0),
    "primal averaging": (jm.primal_averaging(1.0, c=0.1), jm.heavy_ball(0.1, beta=0.9), 1.0),
    "neither moves": (jm.gradient_descent(0.0), jm.heavy_ball(0.0), 1.0),
}  # fmt: skip

# Name -> (a, b, reason).
APART = {
    "dampening": (
        jm.sgd(0.1, momentum=0.9, dampening=0.5),
        jm.heavy_ball(0.1, beta=0.9),
        "^the first step: dampening.* 2 and 1 times",
    ),
    "reading": (
        jm.nesterov(0.1, beta=0.9),
        jm.heavy_ball(0.1, beta=0.9),
        "^the reading of the buffers: Nesterov against none$",
    ),
    "nu": (
        jm.qhm(0.1, beta=0.9, nu=0.7),
        jm.nesterov(0.1, beta=0.9),
        "^the reading of the buffers: nu = 0.7 against Nesterov$",
    ),
    "weights of modes": (
        filtered(decay=[0.9, 0.5], gain=[1.0, 1.0], read=[0.3, 0.7]),
        jm.aggmo(0.1, betas=(0.9, 0.5)),
        r"^the reading of the buffers: the last gradients have the weights "
        r"\(1, 0.62, 0.418\) against \(1, 0.7",
    ),
    "decay": (jm.heavy_ball(0.1, 0.9), jm.heavy_ball(0.1, 0.99), "^the decay: 0.9 against 0.99$"),
    "a close decay": (
        jm.heavy_ball(0.1, 0.9),
        jm.heavy_ball(0.1, 0.900001),
        "^the decay: 0.9 against 0.900001$",
    ),
    "modes": (
        jm.aggmo(0.1, betas=(0.0, 0.9, 0.99)),
        jm.heavy_ball(0.1, beta=0.9),
        r"^the number of modes: 2 against 1; their decays are \(0.9, 0.99\) and 0.9$",
    ),
    "no weight decay": (
        jm.sgd(0.1, momentum=0.9, weight_decay=0.05),
        jm.sgd(0.1, momentum=0.9),
        r"^the weight decay: 0.05 of steady params .* against none$",
    ),
    "decoupled weight decay": (
        jm.sgd(0.1, momentum=0.9, weight_decay=0.05),
        optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.5), optax.scale(-0.1)),
        r"^the weight decay: 0.05 of steady params \(0.0026\d* of .* 0.05 of steady params \(0.05",
    ),
    "debiased": (
        jm.ema_momentum(0.1, 0.9, debias=True),
        jm.ema_momentum(0.1, 0.9),
        "^the first step: its gradient has the weight 0.1 against 0.01",
    ),
    "Nesterov's t": (
        jm.nesterov_convex(0.1),
        jm.heavy_ball(0.1),
        "^step 2: the gradient of 1 step before has the weight 0 against 0.09$",
    ),
    "inside and outside": (
        jm.heavy_ball(RATE, beta=0.9),
        jm.sgd(RATE, momentum=0.9),
        "^step 2: the gradient of 1 step before has the weight 0.09 against 0.099$",
    ),
    "ascent": (jm.sgd(0.1, maximize=True), jm.gradient_descent(0.1), "^the direction"),
    "no steps": (jm.gradient_descent(0.0), jm.gradient_descent(0.1), "the first takes no steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_methods_with_two_names_are_one(name):
    a, b, scale = SAME[name]
    for found, factor in ((theory.equivalent(a, b), scale), (theory.equivalent(b, a), 1 / scale)):
        assert found, found.reason
        np.testing.assert_allclose(found.scale, factor, rtol=1e-12)


@pytest.mark.parametrize("name", APART)
def test_where_two_methods_part(name):
    a, b, reason = APART[name]
    found = theory.equivalent(a, b)
    assert not found
    assert np.isnan(found.scale)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def random_filter(draw):
    """A filter of one to three buffers that are apart, and its coefficients in another gauge."""
    k = draw(st.integers(1, 3))
    decays = np.array(draw(st.permutations([-0.6, 0.0, 0.5, 0.8, 0.99]))[:k])
    numbers = st.floats(0.1, 2.0).map(lambda x: round(x, 3))
    read = np.array([draw(numbers) for _ in range(k)])
    units = np.array([draw(numbers) for _ in range(k)])
    return decays, read, units, draw(st.permutations(range(k))), draw(numbers), draw(numbers)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_filter_is_known_in_any_gauge_and_nothing_else_is(data):
    """Other units and another order of the buffers, a buffer of zeros, another learning rate."""
    decays, read, units, order, direct, scale = random_filter(data.draw)
    ones = np.ones_like(decays)
    plain = jm.Coefficients(decays, ones, read, direct)
    order = list(order)
    vectors = (decays[order], units[order], (read / units)[order])
    padded = [
        np.append(vector, extra) for vector, extra in zip(vectors, (0.9, 0.0, 1.0), strict=True)
    ]
    others = {
        "same": jm.Coefficients(*padded, direct),
        "decay": jm.Coefficients(decays + np.eye(len(decays))[0] * 1e-4, ones, read, direct),
        "read": jm.Coefficients(decays, ones, read * (1 + 1e-4), direct),
    }

    def chained(coefficients, rate):
        return jm.chain(jm.scale_by_momentum(coefficients), optax.scale(-rate))

    found = {
        name: theory.equivalent(chained(plain, scale), chained(other, 1.0))
        for name, other in others.items()
    }
    assert found["same"], found["same"].reason
    np.testing.assert_allclose(found["same"].scale, scale, rtol=1e-9)
    assert not found["decay"]
    assert not found["read"]


def test_what_it_calls_one_makes_the_same_steps():
    """A run on a random quadratic: the steps of one are `scale` times those of the other."""
    a, b, _ = SAME["one of another scale"]
    scale = theory.equivalent(a, b).scale
    gradients = np.random.default_rng(0).standard_normal((30, 3))

    def steps(optimizer):
        state = optimizer.init(jnp.zeros(3))
        for gradient in jnp.asarray(gradients):
            update, state = optimizer.update(gradient, state)
            yield update

    for one, other in zip(steps(a), steps(b), strict=True):
        np.testing.assert_allclose(one, scale * other, rtol=1e-12)


def test_systems_in_any_basis_are_compared():
    system = theory.linearize(jm.aggmo(0.1, betas=(0.0, 0.6, 0.9)))
    basis = np.random.default_rng(0).standard_normal((4, 4))
    inverse = np.linalg.inv(basis)
    other = theory.LinearSystem(
        inverse @ system.A @ basis, inverse @ system.B, system.C @ basis, system.D, tuple("wxyz")
    )
    assert theory.equivalent(other, jm.aggmo(0.1, betas=(0.0, 0.6, 0.9)))
    assert not theory.equivalent(other, jm.aggmo(0.1, betas=(0.0, 0.6, 0.91)))


def test_wrong_use_gets_a_sentence():
    a = jm.heavy_ball(0.1)
    with pytest.raises(theory.NotLinearError, match="adam"):
        theory.equivalent(a, optax.adam(0.1))
    with pytest.raises(ValueError, match="steps is how many"):
        theory.equivalent(a, a, steps=0)
    with pytest.raises(ValueError, match="outside of jit"):
        jax.jit(lambda beta: theory.equivalent(jm.heavy_ball(0.1, beta), a).scale)(0.9)
    system = theory.linearize(jm.sgd(0.1, momentum=0.9, weight_decay=0.1))
    hidden = theory.LinearSystem(system.A, system.B, system.C, system.D, ("x0", "x1"))
    with pytest.raises(ValueError, match="does not tell params from buffers"):
        theory.equivalent(hidden, a)
