"""Batch rules: there and back, and by what they hold fixed along a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

SMALL_TO_LARGE = (64, 256)  # four small batches are one large one
LARGE_TO_SMALL = (256, 64)
ADAM = jm.lift(optax.adam)(1e-3, b1=0.99, b2=0.999)


def run(optimizer, gradients):
    """The points of a run over these gradients, from 0, and the last state."""
    params, state, points = jnp.zeros([]), optimizer.init(jnp.zeros([])), []
    for gradient in gradients:
        update, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = params + update
        points.append(float(params))
    return np.array(points), params, state


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        (jm.ema_momentum(0.1, beta=0.9), "half_life"),
        (jm.aggmo(0.1, betas=(0.0, 0.9, 0.99)), "half_life"),
        (ADAM, "half_life"),
        (ADAM, "sqrt"),
        (jm.heavy_ball(0.1), "linear"),
        (jm.average(jm.heavy_ball(0.1), half_life=100.0), "ema"),
        (jm.average(jm.heavy_ball(0.1), beta=[0.9, 0.99]), "ema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_there_and_back(optimizer, rule):
    there = jm.rescale(optimizer, batch=SMALL_TO_LARGE, rule=rule)
    back = jm.rescale(there, batch=LARGE_TO_SMALL, rule=rule)
    for name, value in jm.hyperparameters(optimizer).items():
        np.testing.assert_allclose(jm.hyperparameters(back)[name], value, rtol=1e-12)
    assert jm.hyperparameters(there).keys() == jm.hyperparameters(optimizer).keys()


def test_half_life_forgets_as_much_over_as_many_samples():
    """One gradient, then zeros: what is left of it after 4 small batches, or one large."""
    small = jm.ema_momentum(1.0, beta=0.9)
    large = jm.rescale(small, batch=SMALL_TO_LARGE, rule="half_life")
    steps = [-np.diff(run(one, np.eye(13)[0])[0], prepend=0) for one in (small, large)]
    np.testing.assert_allclose(steps[0][::4] / steps[0][0], steps[1][:4] / steps[1][0], rtol=1e-10)


def test_a_decay_is_known_by_its_filter_where_its_name_tells_wrong():
    new = jm.rescale(jm.complex_momentum(0.1, 0.9, 0.2), batch=SMALL_TO_LARGE, rule="half_life")
    expected = {"learning_rate": 0.1, "beta": 0.9**4, "phi": 0.8}
    assert jm.hyperparameters(new) == pytest.approx(expected, rel=1e-12)
    new = jm.rescale(jm.gpa(0.1, 0.9, 0.7), batch=SMALL_TO_LARGE, rule="half_life")
    assert jm.hyperparameters(new) == pytest.approx(
        {"learning_rate": 0.1, "mu_x": 0.9**4, "mu_y": 0.7}, rel=1e-12
    )
    both = jm.chain(jm.grokfast(0.9), jm.ema_momentum(0.1, 0.8))
    new = jm.hyperparameters(jm.rescale(both, batch=SMALL_TO_LARGE, rule="half_life"))
    np.testing.assert_allclose([new["alpha"], new["beta"]], [0.9**4, 0.8**4], rtol=1e-12)


def test_linear_goes_as_far_over_as_many_samples():
    small = jm.gradient_descent(0.1)
    large = jm.rescale(small, batch=SMALL_TO_LARGE, rule="linear")
    gradients = np.array([1.0, -0.5, 2.0])
    np.testing.assert_allclose(
        run(small, np.repeat(gradients, 4))[0][3::4], run(large, gradients)[0], rtol=1e-12
    )


def test_sqrt_is_what_adam_does_with_noise_that_is_smaller():
    """Gradients of noise are half as large in four times the batch; steps are to be twice."""
    large = jm.rescale(ADAM, batch=SMALL_TO_LARGE, rule="sqrt")
    assert jm.hyperparameters(large) == pytest.approx(
        {"learning_rate": 2e-3, "b1": 0.96, "b2": 0.996, "eps": 5e-9, "eps_root": 0.0}, rel=1e-12
    )
    noise = 1e-8 * np.random.default_rng(0).standard_normal(12)  # where eps counts
    m = v = x = 0.0
    points = []
    for t, g in enumerate(noise, start=1):  # Adam as its paper writes it, at 1 - beta as above
        m, v = 0.96 * m + 0.04 * g, 0.996 * v + 0.004 * g**2
        x -= 2 * 1e-3 * (m / (1 - 0.96**t)) / (np.sqrt(v / (1 - 0.996**t)) + 1e-8)
        points.append(x)
    np.testing.assert_allclose(run(large, noise / 2)[0], points, rtol=1e-9)


@pytest.mark.parametrize("keywords", [{"half_life": 6.0}, {"beta": 0.9}], ids=str)
def test_ema_averages_over_as_many_samples(keywords):
    """Params that stay for four small batches weigh in the average as for one large one."""
    small = jm.average(jm.gradient_descent(1.0), **keywords)
    large = jm.rescale(small, batch=SMALL_TO_LARGE, rule="ema")
    moves = np.array([-1.0, 2.0, 0.5])
    held = np.zeros(12)
    held[::4] = moves
    averages = []
    for optimizer, gradients in ((small, held), (large, moves)):
        _, params, state = run(optimizer, gradients)
        averages.append(float(jm.eval_params(optimizer, params, state)))
    np.testing.assert_allclose(*averages, rtol=1e-10)
    assert jm.hyperparameters(large)["learning_rate"] == 1.0


def test_rules_keep_to_their_own_names_and_combine():
    optimizer = jm.average(jm.ema_momentum(0.1, beta=0.9), beta=0.99)
    new = jm.rescale(optimizer, batch=SMALL_TO_LARGE, rule="half_life")
    new = jm.rescale(new, batch=SMALL_TO_LARGE, rule="linear")
    values = list(jm.hyperparameters(new).values())
    np.testing.assert_allclose(values, [0.99, 0.4, 0.9**4], rtol=1e-12)
    some = jm.rescale(ADAM, batch=SMALL_TO_LARGE, rule="half_life", names=["b2"])
    assert jm.hyperparameters(some)["b1"] == 0.99
    assert jm.hyperparameters(some)["b2"] == pytest.approx(0.999**4)


@pytest.mark.parametrize(
    ("error", "words", "optimizer", "options"),
    [
        (ValueError, "the rules are", ADAM, {"rule": "cubic"}),
        (ValueError, r"batch is \(old, new\)", ADAM, {"batch": 64}),
        (ValueError, "above zero", ADAM, {"batch": (0, 64)}),
        (ValueError, "changes nothing of this optimizer", optax.adam(0.1), {"rule": "linear"}),
        (ValueError, "changes nothing", jm.heavy_ball(0.1), {"rule": "ema"}),
        (ValueError, "changes nothing", jm.schedule_free(0.1), {"rule": "half_life"}),
        (ValueError, "changes nothing", jm.ema_nesterov(0.1), {"rule": "half_life"}),
        (ValueError, "decays from 0 to 1", jm.heavy_ball(0.1, -0.5), {"rule": "half_life"}),
        (ValueError, "does not know .'eps'", ADAM, {"rule": "half_life", "names": ["eps"]}),
        (ValueError, "derived for Adam", jm.heavy_ball(0.1), {"rule": "sqrt"}),
        (ValueError, "not for so large", ADAM, {"rule": "sqrt", "batch": (1, 1e6)}),
        (
            TypeError,
            "are schedules",
            jm.sgd(jm.schedules.linear(0.1, 0.2, steps=9)),
            {"rule": "linear"},
        ),
    ],
)
def test_wrong_use_gets_a_sentence(error, words, optimizer, options):
    with pytest.raises(error, match=words):
        jm.rescale(optimizer, **{"batch": SMALL_TO_LARGE, "rule": "linear", **options})


@pytest.mark.parametrize("rule", ["half_life", "sqrt"])
def test_a_traced_number_is_nan_where_a_plain_one_is_refused(rule):
    @jax.jit
    def rescaled(b2):
        new = jm.rescale(jm.replace(ADAM, b2=b2), batch=(64, 192), rule=rule)
        return jm.hyperparameters(new)["b2"]

    plain = jm.rescale(ADAM, batch=(64, 192), rule=rule)
    assert rescaled(0.999) == pytest.approx(jm.hyperparameters(plain)["b2"], rel=1e-12)
    for wrong in [-0.5, *([0.5] if rule == "sqrt" else [])]:
        assert np.isnan(rescaled(wrong))
        with pytest.raises(ValueError, match="decays from 0 to 1"):
            jm.rescale(jm.replace(ADAM, b2=wrong), batch=(64, 192), rule=rule)
