"""Lifted optax: the same numbers, with hyperparameters as leaves, in every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

FACTORIES = {
    "sgd": (optax.sgd, {"learning_rate": 0.1, "momentum": 0.9}, {}),
    "nesterov sgd": (optax.sgd, {"learning_rate": 0.1, "momentum": 0.9}, {"nesterov": True}),
    "adam": (optax.adam, {"learning_rate": 0.1, "b1": 0.8, "b2": 0.95, "eps": 1e-6}, {}),
    "adamw": (optax.adamw, {"learning_rate": 0.1, "b1": 0.8, "weight_decay": 0.01}, {}),
    "rmsprop": (
        optax.rmsprop,
        {"learning_rate": 0.1, "decay": 0.8, "initial_scale": 0.5, "momentum": 0.3},
        {},
    ),
    "lion": (optax.lion, {"learning_rate": 0.1, "b1": 0.9, "b2": 0.98}, {}),
    "nadam": (optax.nadam, {"learning_rate": 0.1, "b1": 0.8, "b2": 0.95}, {}),
    "ema": (optax.ema, {"decay": 0.8}, {"debias": True}),
    "clip": (optax.clip_by_global_norm, {"max_norm": 0.5}, {}),
}

every_factory = pytest.mark.parametrize(
    ("factory", "values", "static"), FACTORIES.values(), ids=FACTORIES
)

CURVATURE = np.array([1.0, 4.0, 9.0])


def trajectory(optimizer, steps=20):
    run = jm.optimize(
        lambda x: jnp.sum(jnp.asarray(CURVATURE) * x**2) / 2,
        jnp.array([1.0, -2.0, 0.5]),
        optimizer,
        steps,
        record="params",
    )
    return np.asarray(run.history["params"])


@every_factory
def test_the_same_numbers_as_optax(factory, values, static):
    lifted = jm.lift(factory)(**values, **static)
    for name, value in values.items():
        assert jm.hyperparameters(lifted)[name] == value
    np.testing.assert_allclose(
        trajectory(lifted), trajectory(factory(**values, **static)), rtol=1e-12, atol=1e-15
    )


@every_factory
def test_new_values_do_not_retrace_and_vmap_is_the_sweep(factory, values, static):
    traces = []

    @jax.jit
    def run(optimizer):
        traces.append(optimizer)
        return trajectory_traced(optimizer)

    for factor in (1.0, 0.9, 0.8):
        run(jm.lift(factory)(**{n: v * factor for n, v in values.items()}, **static))
    assert len(traces) == 1
    lifted = jm.lift(factory)(**values, **static)
    for name, value in values.items():
        swept = jnp.linspace(0.5 * value, value, 4)
        batch = jax.vmap(lambda v: trajectory_traced(jm.replace(lifted, **{name: v})))(swept)  # noqa: B023
        alone = [trajectory_traced(jm.replace(lifted, **{name: v})) for v in swept]
        np.testing.assert_allclose(batch, alone, rtol=1e-10, atol=1e-12)


def trajectory_traced(optimizer):
    params = jnp.array([1.0, -2.0, 0.5])
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(jnp.asarray(CURVATURE) * params, state, params)
        params = params + updates
    return params


@every_factory
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_types_are_stable_for_traced_float32_values(factory, values, static, dtype):
    """90 of 222 such cases fail in a scan with optax alone, for bfloat16 parameters."""
    params = {"a": jnp.ones(3, dtype), "b": None}

    @jax.jit
    def run(values):
        optimizer = jm.lift(factory)(**values, **static)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), updates

        (_, state), updates = jax.lax.scan(step, (params, optimizer.init(params)), length=3)
        return optimizer.init(params), state, updates

    before, after, updates = run({n: jnp.float32(v) for n, v in values.items()})
    weak = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert weak(before) == weak(after)
    assert updates["a"].dtype == dtype
    for leaf in jax.tree.leaves(after):
        assert not jnp.issubdtype(leaf.dtype, jnp.floating) or jnp.finfo(leaf.dtype).bits >= 32


def test_the_second_moment_moves_in_bfloat16():
    """optax keeps it in bfloat16, where 0.999 rounds away what a constant gradient adds."""

    def second_moment(optimizer):
        g = jnp.ones((), jnp.bfloat16)

        def step(state, _):
            with jax.numpy_dtype_promotion("standard"):
                return optimizer.update(g, state, g)[1], None

        state, _ = jax.lax.scan(step, optimizer.init(g), length=3000)
        return float(optax.tree.get(state, "nu"))

    expected = 1 - 0.999**3000
    np.testing.assert_allclose(second_moment(jm.lift(optax.adam)(1e-3)), expected, rtol=1e-4)
    assert second_moment(optax.adam(1e-3)) < 0.6 * expected
    low = jm.lift(optax.adam, accumulator_dtype=jnp.bfloat16)(1e-3)
    assert optax.tree.get(low.init(jnp.ones((), jnp.bfloat16)), "nu").dtype == jnp.bfloat16


def test_init_gets_only_what_it_needs():
    assert jax.tree.leaves(jm.lift(optax.adam)(1e-3).init) == []
    rmsprop = jm.lift(optax.rmsprop)(1e-3, initial_scale=0.5)
    assert jax.tree.leaves(rmsprop.init) == [0.5]
    state = jm.replace(rmsprop, initial_scale=0.25).init(jnp.ones(()))
    assert optax.tree.get(state, "nu") == 0.25


@every_factory
def test_hypergradients_equal_central_differences(factory, values, static):
    lifted, h = jm.lift(factory)(**values, **static), 1e-6
    outcome = jax.jit(lambda v: trajectory_traced(jm.replace(lifted, **v)).sum())
    values = {name: jnp.asarray(value) for name, value in values.items()}
    with jax.numpy_dtype_promotion("standard"):  # the derivative of optax's b1**count promotes
        gradient = jax.jit(jax.grad(outcome))(values)
    for name, value in values.items():
        up, down = (outcome({**values, name: value + s * h}) for s in (1, -1))
        np.testing.assert_allclose(gradient[name], (up - down) / (2 * h), rtol=1e-6, atol=1e-8)


def test_schedules_wherever_a_float_is_admitted():
    """optax.adam takes no schedule for b1; the reference is a loop that rebuilds it each step."""
    b1 = lambda t: 0.5 + 0.01 * jnp.asarray(t, float)  # noqa: E731
    scheduled = jm.lift(optax.adam)(0.1, b1=b1)
    params = jnp.array([1.0, -2.0, 0.5])
    state, theirs = scheduled.init(params), optax.adam(0.1).init(params)
    for t in range(5):
        ours, state = scheduled.update(params, state)
        with jax.numpy_dtype_promotion("standard"):
            expected, theirs = optax.adam(0.1, b1=b1(t)).update(params, theirs)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_what_stays_static():
    mask = {"a": True, "b": False}
    decayed = jm.lift(optax.adamw)(0.1, weight_decay=0.5, mask=mask)
    assert "mask" not in jm.hyperparameters(decayed)
    params = {"a": jnp.ones(()), "b": jnp.ones(())}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(decayed.update)(zero, decayed.init(params), params)
    np.testing.assert_allclose([updates["a"], updates["b"]], [-0.05, 0.0])
    assert jm.hyperparameters(jm.lift(optax.trace)(0.9)) == {"decay": 0.9}
    factor = jm.lift(optax.adafactor)(0.1, min_dim_size_to_factor=4)
    assert "min_dim_size_to_factor" not in jm.hyperparameters(factor)


def test_an_optimizer_as_an_argument_stays_a_pytree():
    inner = jm.heavy_ball(0.1, 0.9)
    free = jm.lift(optax.contrib.schedule_free)(inner, 0.1, b1=0.9)
    theirs = optax.contrib.schedule_free(optax.trace(0.9), 0.1, b1=0.9)
    assert len(jax.tree.leaves(free)) > 2
    assert theirs.init(jnp.ones(2)) is not None
    y = jnp.ones(2)
    state = free.init(y)
    updates, state = free.update(y, state, y)
    assert np.isfinite(jm.eval_params(free, y + updates, state)).all()


def test_what_is_missing_gets_a_sentence():
    polyak = jm.lift(optax.polyak_sgd)(1.0)
    with pytest.raises(TypeError, match=r"polyak_sgd.*value"):
        polyak.update(jnp.ones(2), polyak.init(jnp.ones(2)), jnp.ones(2))
    with pytest.raises(TypeError, match="missing a required argument: 'learning_rate'"):
        jm.lift(optax.adam)()
    run = jm.optimize(lambda x: jnp.sum(x**2), jnp.ones(2), polyak, 5)
    assert run.history["value"][-1] < run.history["value"][0]
