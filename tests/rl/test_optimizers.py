"""The rules equal optax, masked traces, and the loops of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from q_learning_loops import STEPS

from jaxmom import rl


def test_dense_is_optax_sgd(small):
    runs = [
        rl.q_learning(small, rule, jax.random.key(2), steps=STEPS, path="plain").q
        for rule in (rl.dense_momentum(0.1, 0.6), optax.sgd(0.1, momentum=0.6))
    ]
    np.testing.assert_allclose(*runs, atol=1e-12)


def lazy_trace(beta):
    """The other statement of the lazy rule: a masked `optax.trace`."""

    def init(params):
        return jnp.zeros_like(params)

    def update(updates, state, params=None, *, visited, **extra):
        moved = jnp.where(visited, beta * state + updates, state)
        return jnp.where(visited, moved, 0.0), moved

    return optax.GradientTransformationExtraArgs(init, update)


def test_lazy_is_a_masked_trace_and_pid(small):
    masked = optax.chain(lazy_trace(0.6), optax.scale(-0.1))
    for other in (masked, rl.lazy_pid(0.1, kp=1.0, ki=0.0, kd=6.0)):
        runs = [
            rl.q_learning(small, rule, jax.random.key(2), steps=STEPS, path="plain").q
            for rule in (rl.lazy_momentum(0.1, 0.6), other)
        ]
        np.testing.assert_allclose(*runs, atol=1e-12)


def test_the_pid_rule_is_the_loop_of_the_paper(small):
    """Plain loop over visits, all gains at once."""
    mu, kp, ki, kd, alpha, beta = 0.1, 0.9, 0.2, 0.3, 0.05, 0.95
    rule = rl.lazy_pid(mu, kp, ki, kd, alpha, beta)
    state = rule.init(jnp.zeros(4))
    ours = jnp.zeros(4)
    q, previous, z = np.zeros(4), np.zeros(4), np.zeros(4)
    noise = np.random.default_rng(0)
    for _ in range(60):
        i, difference = noise.integers(4), noise.standard_normal()
        visited = jnp.arange(4) == int(i)
        gradient = jnp.where(visited, -difference, 0.0)
        updates, state = rule.update(gradient, state, visited=visited)
        ours = ours + updates
        z[i] = beta * z[i] + alpha * difference
        now = q[i]
        q[i] += mu * (kp * difference + ki * z[i]) + mu * kd * (now - previous[i])
        previous[i] = now
    np.testing.assert_allclose(ours, q, rtol=1e-12)


def test_step_sizes_count_the_visits_of_each_entry():
    polynomial, rescaled = rl.visit_descent(0.6), rl.visit_descent(1.0, scale=0.01)
    for rule, size in (
        (polynomial, lambda n: (1 + n) ** -0.6),
        (rescaled, lambda n: 1 / (1 + n / 100)),
    ):
        state, visits = rule.init(jnp.zeros(3)), np.zeros(3)
        for i in (0, 1, 0, 0, 2, 1):
            visited = jnp.arange(3) == i
            updates, state = rule.update(jnp.full(3, -1.0), state, visited=visited)
            expected = np.where(np.arange(3) == i, size(visits), 0.0)
            np.testing.assert_allclose(updates, expected, rtol=1e-12)
            visits[i] += 1


def test_rules_check_their_numbers():
    with pytest.raises(ValueError, match=r"beta is in \[0, 1\), got 1.0"):
        rl.lazy_momentum(0.1, 1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        rl.dense_momentum(-0.1)


@pytest.mark.parametrize("number", [np.float32, np.float64, jnp.asarray, lambda x: jnp.full(3, x)])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: rl.lazy_momentum(n(-0.1)), "learning_rate"),
        (lambda n: rl.lazy_momentum(0.1, n(1.0)), r"beta is in \[0, 1\)"),
        (lambda n: rl.dense_momentum(0.1, n(-0.5)), r"beta is in \[0, 1\)"),
        (lambda n: rl.dense_momentum(n(np.nan)), "learning_rate"),
        (lambda n: rl.lazy_pid(n(-1.0)), "learning_rate"),
        (lambda n: rl.lazy_pid(1.0, beta=n(1.5)), r"beta is in \[0, 1\]"),
        (lambda n: rl.visit_descent(n(-1.0)), "omega"),
        (lambda n: rl.visit_descent(1.0, n(-1.0)), "scale"),
    ],
)
def test_numbers_of_any_library_are_checked(number, make, message):
    with pytest.raises(ValueError, match=message):
        make(number)


def test_counts_of_visits_saturate():
    rule = rl.visit_descent(1.0)
    state = rule.init(jnp.zeros(2))._replace(visits=jnp.array([2**31 - 1, 0], jnp.int32))
    updates, state = rule.update(jnp.ones(2), state, visited=jnp.array([True, True]))
    assert state.visits.tolist() == [2**31 - 1, 1]
    assert (updates <= 0).all()
