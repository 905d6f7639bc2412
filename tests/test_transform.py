"""Optimizers as pytrees: names, replacement, schedules, combinators, and optax's own helpers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import jaxmom as jm

HB = jm.heavy_ball(0.1, beta=0.9)


def step(optimizer, gradient=1.0, params=0.0):
    g, p = jnp.asarray(gradient), jnp.asarray(params)
    return optimizer.update(g, optimizer.init(p), p)[0]


def test_it_is_an_optax_transformation_and_a_pytree():
    assert isinstance(HB, optax.GradientTransformationExtraArgs)
    assert jax.tree.leaves(HB) == [0.9, 0.1]
    assert jax.tree.structure(HB) == jax.tree.structure(jm.heavy_ball(0.2, beta=0.5))


def test_hyperparameters_through_chains():
    two = jm.chain(optax.clip(1.0), HB, jm.chain(jm.qhm(0.3, nu=0.5), jm.lift(optax.scale)(2.0)))
    names = {
        "1.learning_rate": 0.1,
        "1.beta": 0.9,
        "2.0.learning_rate": 0.3,
        "2.0.beta": 0.999,
        "nu": 0.5,
        "step_size": 2.0,
    }
    assert jm.hyperparameters(two) == names
    changed = jm.replace(two, nu=0.25, **{"2.0.beta": 0.5})
    assert jm.hyperparameters(changed) == names | {"nu": 0.25, "2.0.beta": 0.5}
    assert jm.hyperparameters(optax.adam(0.1)) == {}


@pytest.mark.parametrize(
    ("optimizer", "name", "message"),
    [
        (HB, "gamma", r"no hyperparameter 'gamma'; this optimizer has \['learning_rate', 'beta'\]"),
        (jm.chain(HB, HB), "beta", r"several .*'beta'; choose one of \['0.beta', '1.beta'\]"),
        (optax.adam(0.1), "b1", "plain optax transformation has none; make it with jm.lift"),
    ],
)
def test_an_unknown_name_gets_a_sentence(optimizer, name, message):
    with pytest.raises(ValueError, match=message):
        jm.replace(optimizer, **{name: 0.5})


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float64(0.5), jnp.bfloat16(0.5), np.array(0.5), 1, "b"]
)
def test_what_may_be_a_hyperparameter(value):
    if value == "b":
        with pytest.raises(TypeError, match="beta='b' is not a hyperparameter: give a number"):
            jm.replace(HB, beta=value)
    elif value == 1:
        assert isinstance(
            jm.hyperparameters(jm.replace(HB, learning_rate=1))["learning_rate"], float
        )
    else:
        np.testing.assert_allclose(step(jm.replace(HB, learning_rate=value)), -0.5, rtol=1e-7)


def test_batched_leaves_are_the_sweep():
    betas = jnp.linspace(0.0, 0.9, 7)
    batch = jm.heavy_ball(jnp.full(7, 0.1), betas)

    @jax.vmap
    def second(optimizer):
        state = optimizer.init(jnp.zeros(()))
        _, state = optimizer.update(jnp.ones(()), state)
        return optimizer.update(jnp.ones(()), state)[0]

    np.testing.assert_allclose(second(batch), -0.1 * (1 + betas), rtol=1e-15)


def test_a_vector_may_hold_tracers():
    first = jax.vmap(lambda beta: step(jm.aggmo(0.3, betas=(beta, 0.5, 0.9))))(
        jnp.linspace(0, 0.5, 3)
    )
    np.testing.assert_allclose(first, -0.3)


def test_the_gradient_of_an_optimizer_is_an_optimizer():
    gradient = jax.grad(lambda optimizer: step(optimizer))(HB)
    values = jm.hyperparameters(gradient)
    np.testing.assert_allclose(values["learning_rate"], -1.0)
    np.testing.assert_allclose(values["beta"], 0.0)


def test_schedules_are_evaluated_at_the_count():
    rates = [0.5, 0.25, 0.125]
    halving = jm.replace(
        jm.gradient_descent(1.0), learning_rate=lambda t: 0.5 ** (t.astype(float) + 1)
    )
    state = halving.init(jnp.zeros(()))
    for rate in rates:
        update, state = halving.update(jnp.ones(()), state)
        np.testing.assert_allclose(update, -rate)
    assert state.schedule_count == 3
    assert state.schedule_count.dtype == jnp.int32
    back = jm.replace(halving, learning_rate=0.1)
    assert jax.tree.structure(back) == jax.tree.structure(jm.gradient_descent(0.3))


SCHEDULED = {
    "method": (HB, "learning_rate", jm.schedules.constant(0.1)),
    "stage": (jm.lion(0.1), "learning_rate", jm.schedules.constant(0.1)),
    "lift": (jm.lift(optax.adam)(0.1), "learning_rate", optax.constant_schedule(0.1)),
    "mix": (jm.mix([HB, HB], [0.5, 0.5]), "weights", lambda t: jnp.array([0.5, 0.5])),
    "mix of stateless": (
        jm.mix([optax.identity(), optax.scale(0.5)], [0.5, 0.5]),
        "weights",
        lambda t: jnp.array([0.5, 0.5]),
    ),
    "custom pair": (
        jm.transformation(
            lambda hp, params: (params, params),
            lambda hp, updates, state, params=None, **extra: (updates, (state[0], state[1])),
            {"rate": 0.1},
        ),
        "rate",
        jm.schedules.constant(0.1),
    ),
}


@pytest.mark.parametrize("row", SCHEDULED.values(), ids=SCHEDULED)
def test_a_schedule_may_not_come_or_go_with_a_state(row):
    constant, name, schedule = row
    scheduled, p = jm.replace(constant, **{name: schedule}), jnp.ones(2)
    for one, other in ((constant, scheduled), (scheduled, constant)):
        with pytest.raises(
            ValueError, match=r"state anew with init, or keep a constant as jm\.sch"
        ):
            other.update(p, one.init(p), p)
        with pytest.raises(
            ValueError, match=r"state anew with init, or keep a constant as jm\.sch"
        ):
            jm.eval_params(other, p, one.init(p))
        one.update(p, one.update(p, one.init(p), p)[1], p)


def test_a_schedule_of_an_optimizer_inside_is_its_own():
    """Where the state of a wrapper is that of the optimizer in it."""
    inside = jm.heavy_ball(jm.schedules.linear(0.1, 0.0, 4), beta=0.5)
    wrapped = jm.lift(lambda transform: transform)(inside)
    hidden = jm.lift(lambda rate: jm.heavy_ball(jm.schedules.linear(rate, 0.0, 4), beta=0.5))(0.1)
    for optimizer in (wrapped, hidden, jm.lift(lambda transform: transform)(hidden)):
        states, p = [one.init(jnp.ones(2)) for one in (optimizer, inside)], jnp.ones(2)
        structure = jax.tree.structure(states[0])
        for _ in range(4):
            (one, a), (other, b) = optimizer.update(p, states[0]), inside.update(p, states[1])
            np.testing.assert_allclose(one, other, rtol=1e-15)
            assert jax.tree.structure(a) == structure
            states = [a, b]


def test_parameters_of_a_schedule_are_leaves():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def after_three(end):
        optimizer = jm.gradient_descent(jm.schedules.linear(1.0, end, steps=2))
        return jm.optimize(lambda x: x, jnp.zeros(()), optimizer, 3).params

    np.testing.assert_allclose(after_three(0.0), -1.5)
    np.testing.assert_allclose(after_three(0.5), -(1 + 0.75 + 0.5))


def test_a_custom_transformation_keeps_dtypes():
    """The contract is kept for the author of `update`, who need not think of it."""

    def update(hp, updates, state, params=None, **extra):
        new = jax.tree.map(lambda g, m: hp["beta"] * m + g.astype(float), updates, state)
        return new, new

    def init(hp, params):
        return jax.tree.map(jnp.zeros_like, params)

    optimizer = jm.transformation(init, update, {"beta": jnp.asarray(0.5)})
    g = jnp.ones(2, jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(g, optimizer.init(g))
    assert updates.dtype == jnp.bfloat16
    assert state.dtype == jnp.bfloat16


def test_init_may_need_a_value_and_replace_sets_both():
    optimizer = jm.transformation(
        lambda hp, params: jnp.asarray(hp["first"], float),
        lambda hp, updates, state, params=None, **extra: (updates * state, state * hp["rate"]),
        {"first": 3.0, "rate": 0.5},
        init_needs=["first"],
    )
    assert len(jax.tree.leaves(optimizer)) == 3
    np.testing.assert_allclose(step(jm.replace(optimizer, first=7.0)), 7.0)
    np.testing.assert_allclose(step(jm.replace(optimizer, rate=0.1)), 3.0)


def test_static_settings_are_no_leaves():
    def update(hp, updates, state, params=None, **extra):
        return (-updates if hp["flip"] else updates), state

    make = functools.partial(jm.transformation, _nothing, update)
    assert step(make({"flip": True})) == -1
    assert jax.tree.leaves(make({"flip": True})) == []
    assert jax.tree.structure(make({"flip": True})) != jax.tree.structure(make({"flip": False}))


def _nothing(hp, params):
    return ()


def test_chain_is_optax_chain():
    stages = [optax.clip_by_global_norm(0.5), optax.trace(0.9), optax.scale(-0.1)]
    ours, theirs = jm.chain(*stages), optax.chain(*stages)
    params = jnp.arange(3.0)
    ours_state, theirs_state = ours.init(params), theirs.init(params)
    for _ in range(3):
        a, ours_state = ours.update(params, ours_state, params)
        b, theirs_state = theirs.update(params, theirs_state, params)
        np.testing.assert_array_equal(a, b)
    chex.assert_trees_all_equal(ours_state, theirs_state)
    with pytest.raises(TypeError, match=r"expected an optax GradientTransformation.*call the fact"):
        jm.chain(optax.adam)


def test_mix_is_the_weighted_sum_and_its_weights_are_leaves():
    mixed = jm.mix([optax.identity(), optax.scale(10.0)], [0.25, 0.5])
    assert step(mixed, 2.0) == 0.25 * 2 + 0.5 * 20
    np.testing.assert_allclose(jm.hyperparameters(mixed)["weights"], [0.25, 0.5])
    slope = jax.grad(lambda w: step(jm.replace(mixed, weights=w)))(jnp.array([0.25, 0.5]))
    np.testing.assert_allclose(slope, [1.0, 10.0])
    with pytest.raises(ValueError, match="2 transformations and 1 weights"):
        jm.mix([optax.identity(), optax.identity()], [1.0])


def test_eval_params_passes_through_what_follows():
    """x = y - m in units of the update; a later scale applies to both."""
    inside = jm.nesterov(0.1, beta=0.5)
    outside = jm.chain(
        jm.scale_by_momentum(jm.coefficients.nesterov(0.5)), optax.identity(), optax.scale(-0.1)
    )
    g = jnp.ones(())
    for optimizer in (inside, outside, jm.mix([inside, optax.identity()], [1.0, 0.0])):
        update, state = optimizer.update(g, optimizer.init(g))
        np.testing.assert_allclose(1 + update, 0.85)
        np.testing.assert_allclose(jm.eval_params(optimizer, 1 + update, state), 0.9)
    assert jm.eval_params(HB, 3.0, HB.init(3.0)) == 3.0


def test_eval_params_of_schedule_free():
    optimizer = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.9)
    y = jnp.ones(3)
    state = optimizer.init(y)
    updates, state = optimizer.update(y, state, y)
    y = y + updates
    expected = optax.contrib.schedule_free_eval_params(state, y)
    np.testing.assert_allclose(jm.eval_params(optimizer, y, state), expected, rtol=1e-14)


def test_optax_tree_helpers_see_the_state():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    state = HB.init(params)
    doubled = optax.tree.map_params(HB, lambda buffer: buffer + 2, state)
    np.testing.assert_array_equal(doubled.buffers[0]["b"], 2 * np.ones(3))
    chex.assert_trees_all_equal(optax.tree.get(state, "buffers"), state.buffers)
    for optimizer in (jm.sgd(0.1, 0.9), jm.nesterov_convex(0.1)):  # flags and carries are no params
        state = optimizer.init(params)
        doubled = optax.tree.map_params(optimizer, lambda buffer: buffer + 2, state)
        np.testing.assert_array_equal(doubled.buffers[0]["b"], 2 * np.ones(3))
        chex.assert_trees_all_equal(doubled[1:], state[1:])


def test_flax_serializes_states():
    serialization = pytest.importorskip("flax.serialization", reason="flax is not installed")
    params = {"a": jnp.ones(2)}
    for optimizer in (HB, jm.nesterov(0.1), jm.sgd(0.1, 0.9), jm.lion(0.1)):
        _, state = optimizer.update(params, optimizer.init(params), params)
        again = serialization.from_bytes(optimizer.init(params), serialization.to_bytes(state))
        chex.assert_trees_all_equal(again, state)
        assert jax.tree.structure(again) == jax.tree.structure(state)


def test_inject_hyperparams_rebuilds_it():
    injected = optax.inject_hyperparams(jm.heavy_ball)(learning_rate=0.1, beta=0.9)
    state = injected.init(jnp.zeros(()))
    state.hyperparams["learning_rate"] = jnp.asarray(0.5)
    update, _ = injected.update(jnp.ones(()), state)
    np.testing.assert_allclose(update, -0.5)


def test_flax_train_state():
    train_state = pytest.importorskip("flax.training.train_state", reason="flax is not installed")
    params = {"w": jnp.ones(2)}
    state = train_state.TrainState.create(apply_fn=lambda p: p, params=params, tx=HB)

    @jax.jit
    def train(state):
        return state.apply_gradients(grads=state.params)

    after = train(train(state))
    np.testing.assert_allclose(after.params["w"], 0.9 - 0.1 * 0.9 - 0.9 * 0.1)


def test_as_an_argument_of_jit_and_through_serialization():
    leaves, treedef = jax.tree.flatten(HB)
    same = jax.tree.unflatten(treedef, leaves)
    assert jax.jit(step)(same) == jax.jit(step)(HB)
    axes = jax.tree.map(lambda _: 0, HB)
    assert jm.hyperparameters(axes) == {"learning_rate": 0, "beta": 0}
    assert isinstance(HB.update, Partial)


def test_a_method_that_needs_params_says_so():
    decayed = jm.sgd(0.1, 0.9, weight_decay=0.1)
    with pytest.raises(ValueError, match="params"):
        decayed.update(jnp.ones(2), decayed.init(jnp.ones(2)))
    jm.sgd(0.1, 0.9).update(jnp.ones(2), jm.sgd(0.1, 0.9).init(jnp.ones(2)))
