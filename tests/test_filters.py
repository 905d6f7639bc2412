"""Coefficients as data: their checks, their two forms, stacking, and laws of the filter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import coefficients

GRADIENTS = np.random.default_rng(1).normal(size=(60, 4))

CONSTANT = {
    "gradient_descent": coefficients.gradient_descent(),
    "heavy_ball": coefficients.heavy_ball(0.9),
    "ema_momentum": coefficients.ema_momentum(0.9),
    "nesterov": coefficients.nesterov(0.9),
    "qhm": coefficients.qhm(0.95, 0.7),
    "aggmo": coefficients.aggmo((0.0, 0.9, 0.99)),
    "triple_momentum": coefficients.triple_momentum(1.0, 25.0),
    "lion": coefficients.lion(0.9, 0.99),
    "optimistic_gradient": coefficients.optimistic_gradient(1.0),
}


def outputs(c, **options):
    """What a filter makes of the gradients above, [60, 4]."""
    optimizer = jm.scale_by_momentum(c, **options)
    gradients = jnp.asarray(GRADIENTS)
    _, out = jax.lax.scan(
        lambda state, g: optimizer.update(g, state)[::-1], optimizer.init(gradients[0]), gradients
    )
    return np.asarray(out)


def plain_filter(decay, gain, read, direct):
    """The form that reads old buffers, as a loop."""
    m, out = np.zeros((len(decay), 4)), []
    for g in GRADIENTS:
        out.append(direct * g + read @ m)
        m = decay[:, None] * m + gain[:, None] * g
    return np.array(out)


@pytest.mark.parametrize("name", CONSTANT)
def test_both_forms_are_the_loop(name):
    c = CONSTANT[name]
    old = c.reading_old()
    zeros = np.zeros(old.decay.shape)
    read = zeros if old.read is None else np.asarray(old.read)
    expected = plain_filter(np.asarray(old.decay), np.asarray(old.gain), read, float(old.direct))
    np.testing.assert_allclose(outputs(c), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(outputs(old), expected, rtol=0, atol=1e-13)


def test_stack_is_each_of_them():
    """Padding with zero buffers and written-out zeros change nothing, and one program runs all."""
    stack = jm.stack(CONSTANT)
    assert stack.labels == tuple(CONSTANT)
    assert stack.values.decay.shape == (len(CONSTANT), 3)
    together = jax.jit(jax.vmap(outputs_traced))(stack).block_until_ready()
    for row, c in zip(together, CONSTANT.values(), strict=True):
        np.testing.assert_allclose(row, outputs(c), rtol=0, atol=1e-13)


def outputs_traced(stack):
    optimizer = jm.scale_by_momentum(stack.values)
    gradients = jnp.asarray(GRADIENTS)
    state = optimizer.init(gradients[0])
    return jax.lax.scan(lambda s, g: optimizer.update(g, s)[::-1], state, gradients)[1]


def test_order_and_units_of_buffers_do_not_matter():
    c = coefficients.aggmo((0.0, 0.9, 0.99))
    order = jnp.array([2, 0, 1])
    permuted = jm.reading_new(c.decay[order], c.gain[order], c.read_new[order])
    np.testing.assert_allclose(outputs(permuted), outputs(c), rtol=0, atol=1e-13)
    units = jnp.array([3.0, 0.25, 7.0])
    scaled = jm.reading_new(c.decay, units * c.gain, c.read_new / units)
    np.testing.assert_allclose(outputs(scaled), outputs(c), rtol=0, atol=1e-13)


def test_a_function_of_the_count():
    c = outputs(lambda count: coefficients.heavy_ball(jnp.where(count < 10, 0.0, 0.9)))
    m, expected = np.zeros(4), []
    for t, g in enumerate(GRADIENTS):
        m = (0.0 if t < 10 else 0.9) * m + g
        expected.append(m)
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-13)


def test_a_recurrence_of_a_plain_function():
    def step(count):
        return count + 1, coefficients.heavy_ball(count / (count + 1))

    one, other = (
        outputs(jm.Recurrence(0, function)) for function in (step, jax.tree_util.Partial(step))
    )
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()


def test_a_recurrence_with_its_hyperparameters_as_leaves():
    c = coefficients.chebyshev(mu=jnp.array(1.0), L=jnp.array(9.0))
    optimizer = jm.scale_by_momentum(c)
    (leaves,) = jm.hyperparameters(optimizer).values()
    assert sorted(map(float, jax.tree.leaves(leaves))) == [1.0, 9.0]
    assert optimizer.init(jnp.ones(3)).carry == 0.0


@pytest.mark.parametrize("name", CONSTANT)
def test_first_gradient_fills_the_buffers(name):
    optimizer = jm.scale_by_momentum(CONSTANT[name], start="first_gradient")
    g = jnp.asarray(GRADIENTS[0])
    _, state = optimizer.update(g, optimizer.init(g))
    for buffer in state.buffers:
        np.testing.assert_array_equal(buffer, g)


def test_an_average_that_starts_at_the_first_gradient():
    out, m = outputs(coefficients.ema_momentum(0.9), start="first_gradient"), GRADIENTS[0]
    for t, g in enumerate(GRADIENTS):
        m = 0.9 * m + 0.1 * g
        np.testing.assert_allclose(out[t], m, rtol=0, atol=1e-13)


def test_optax_optimistic_gradient_is_its_own_predecessor():
    """The two conventions for g_{-1} differ at the first step and in nothing else."""
    theirs = optax.scale_by_optimistic_gradient(alpha=1.0, beta=1.0)
    state, expected = theirs.init(jnp.zeros(4)), []
    for g in GRADIENTS:
        update, state = theirs.update(jnp.asarray(g), state)
        expected.append(update)
    c = coefficients.optimistic_gradient(1.0)
    np.testing.assert_allclose(outputs(c, start="first_gradient"), expected, atol=1e-13)
    np.testing.assert_allclose(outputs(c)[1:], expected[1:], atol=1e-13)
    np.testing.assert_allclose(outputs(c)[0], 2 * GRADIENTS[0], atol=1e-13)


def test_a_bfloat16_buffer_sticks_and_the_default_does_not():
    """Constant gradient 1, beta 0.999, 3,000 steps: (1 - 0.999^3000) / 0.001 = 950.3."""

    def trace(dtype):
        c = coefficients.heavy_ball(0.999)
        optimizer = jm.scale_by_momentum(c, accumulator_dtype=dtype)
        g = jnp.ones((), jnp.bfloat16)
        step = lambda state, _: (optimizer.update(g, state)[1], None)  # noqa: E731
        state, _ = jax.lax.scan(step, optimizer.init(g), length=3000)
        return float(state.buffers[0])

    assert trace(jnp.bfloat16) == 256
    np.testing.assert_allclose(trace(None), (1 - 0.999**3000) / 0.001, rtol=1e-4)


def test_vmap_over_a_coefficients_function_makes_a_batch():
    batch = jax.vmap(coefficients.qhm)(jnp.linspace(0, 0.9, 5), jnp.linspace(0, 1, 5))
    assert batch.decay.shape == (5, 1)
    assert batch.direct.shape == (5,)


def test_bad_coefficients_get_a_sentence():
    with pytest.raises(ValueError, match=r"one number for each buffer.*'decay': 1, 'gain': 2"):
        jm.Coefficients(decay=[0.9], gain=[1.0, 1.0], read=[0.9], direct=1.0)
    with pytest.raises(ValueError, match="at least one filter"):
        jm.stack({})
    with pytest.raises(TypeError, match=r"chebyshev is .*, not constant"):
        jm.stack({"chebyshev": coefficients.chebyshev(1.0, 2.0)})
    with pytest.raises(ValueError, match=r'"zeros" or "first_gradient", not \'zero\''):
        jm.scale_by_momentum(CONSTANT["qhm"], start="zero")
    with pytest.raises(TypeError, match="needs Coefficients, a function of the count"):
        jm.scale_by_momentum(0.9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jm.heavy_ball(0.1, beta=1.5), r"beta = 1.5 is outside of \(-1, 1\)"),
        (lambda: jm.heavy_ball(0.1, beta=-1), r"beta = -1 is outside of \(-1, 1\)"),
        (lambda: jm.ema_momentum(0.1, beta=-0.1), r"beta = -0.1 is outside of \[0, 1\)"),
        (lambda: jm.qhm(0.1, beta=1.0), r"beta = 1.0 is outside of \[0, 1\)"),
        (lambda: jm.aggmo(0.1, betas=(0.0, 1.0)), r"betas = 1.0 is outside of \(-1, 1\)"),
        (lambda: jm.triple_momentum(0.0, 1.0), r"mu = 0.0 is outside of \(0, inf\)"),
        (lambda: jm.chebyshev(1.0, -2.0), r"L = -2.0 is outside of \(0, inf\)"),
        (lambda: jm.demon(0.1, steps=0), r"steps = 0 is outside of \(0, inf\]"),
        (lambda: jm.lion(0.1, b1=1.1), r"b1 = 1.1 is outside of \[0, 1\]"),
        (lambda: jm.heavy_ball(-0.1), r"learning_rate = -0.1 is outside of \[0, inf\)"),
        (lambda: jm.replace(jm.heavy_ball(0.1), beta=2.0), r"beta = 2.0 is outside"),
        (lambda: jm.sgd(0.1, 0.0, nesterov=True), "nesterov needs momentum > 0 and dampening = 0"),
        (
            lambda: jm.replace(jm.aggmo(0.1), betas=(0.5, 0.9)),
            "has 3 buffers, the new coefficients are for 2",
        ),
    ],
)
def test_a_plain_number_out_of_range_gets_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_array_out_of_range_is_a_fair_question():
    run = jm.optimize(lambda x: x**2, jnp.array(1.0), jm.heavy_ball(0.1, jnp.array(1.5)), steps=100)
    assert run.diverged_at > 0
