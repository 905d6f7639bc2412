"""Partitions and masks: optax's own as the reference, names, read-outs, and wrong use."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

PARAMS = {"w": jnp.arange(1.0, 5.0).reshape(2, 2), "b": jnp.array([3.0, -1.0]), "none": None}
BY_TREE = {"w": "matrices", "b": "rest", "none": "rest"}
FROZEN = {"matrices": jm.heavy_ball(0.1, 0.9), "rest": optax.set_to_zero()}


def by_rank(params):
    return jax.tree.map(lambda p: "matrices" if p.ndim == 2 else "rest", params)


def loss(params):
    return jnp.sum(params["w"] ** 2) + 3 * jnp.sum(params["b"] ** 2) + jnp.sum(params["b"])


def run(optimizer, steps=6, record=("params",)):
    return jm.optimize(loss, PARAMS, optimizer, steps, record=record)


def transforms():
    return {
        "matrices": jm.nesterov(jm.schedules.linear(0.1, 0.05, 5), 0.9),
        "rest": jm.lift(optax.adam)(0.05, b1=0.8),
    }


@pytest.mark.parametrize("labels", [BY_TREE, by_rank], ids=["tree", "function"])
def test_partition_is_that_of_optax(labels):
    ours = run(jm.partition(transforms(), labels)).history["params"]
    theirs = run(optax.partition(transforms(), labels)).history["params"]
    chex.assert_trees_all_close(ours, theirs, rtol=1e-14)
    assert np.abs(ours["w"][-1] - ours["w"][0]).max() > 0.1


@pytest.mark.parametrize(
    "mask",
    [{"w": True, "b": False, "none": True}, lambda p: {"w": True, "b": False, "none": False}],
    ids=["tree", "function"],
)
def test_masked_is_that_of_optax(mask):
    ours, theirs = (
        make(jm.heavy_ball(0.1, 0.5), mask).update for make in (jm.masked, optax.masked)
    )
    state, other = jm.masked(jm.heavy_ball(0.1, 0.5), mask).init(PARAMS), None
    other = optax.masked(jm.heavy_ball(0.1, 0.5), mask).init(PARAMS)
    for _ in range(3):
        (one, state), (two, other) = ours(PARAMS, state), theirs(PARAMS, other)
        chex.assert_trees_all_equal(one, two)
    np.testing.assert_array_equal(one["b"], PARAMS["b"])  # passes through


def test_names_begin_with_the_label():
    optimizer = jm.chain(optax.clip(1e3), jm.partition(transforms(), BY_TREE))
    names = jm.hyperparameters(optimizer)
    assert list(names)[:3] == ["matrices.learning_rate", "matrices.beta", "rest.learning_rate"]
    for changes in ({"matrices.beta": 0.3}, {"beta": 0.3}):
        assert jm.hyperparameters(jm.replace(optimizer, **changes))["matrices.beta"] == 0.3
    with pytest.raises(ValueError, match=r"several .*'learning_rate'; choose one of \['matrices.l"):
        jm.replace(optimizer, learning_rate=0.1)
    two = jm.chain(*[jm.partition(FROZEN, {"w": "matrices", "b": "rest"})] * 2)
    assert list(jm.hyperparameters(two))[1::2] == ["0.matrices.beta", "1.matrices.beta"]


def test_a_wrapper_is_named_only_where_it_must_be():
    inner = jm.masked(jm.heavy_ball(0.1, 0.9), True)
    assert list(jm.hyperparameters(inner)) == ["learning_rate", "beta"]
    two = jm.chain(inner, jm.masked(inner, True))
    assert list(jm.hyperparameters(two))[1::2] == ["0.optimizer.beta", "1.optimizer.optimizer.beta"]


def test_it_is_swept_and_differentiated():
    optimizer = jm.partition({**transforms(), "rest": jm.heavy_ball(0.05, 0.5)}, BY_TREE)

    def final(beta):
        return run(jm.replace(optimizer, **{"rest.beta": beta}), record=("value",)).history[
            "value"
        ][-1]

    betas, h = jnp.array([0.0, 0.3, 0.6]), 1e-6
    alone = jnp.stack([final(beta) for beta in betas])
    np.testing.assert_allclose(jax.vmap(final)(betas), alone, rtol=1e-12)
    slope = (final(0.3 + h) - final(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(final)(0.3), slope, rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: jm.chain(o, optax.scale(1.0))])
def test_each_part_is_evaluated_where_its_method_says(wrap):
    optimizer = jm.partition(transforms(), BY_TREE)
    end = run(wrap(optimizer))
    found = jm.eval_params(wrap(optimizer), end.params, end.state)
    alone = jm.optimize(
        lambda w: jnp.sum(w**2), PARAMS["w"], transforms()["matrices"], 6, record="params"
    )
    expected = jm.eval_params(transforms()["matrices"], alone.params, alone.state)
    np.testing.assert_allclose(found["w"], expected, rtol=1e-12)
    np.testing.assert_array_equal(found["b"], end.params["b"])
    plain = jm.partition(FROZEN, {"w": "matrices", "b": "rest", "none": "rest"})
    assert jm.eval_params(plain, PARAMS, plain.init(PARAMS)) is PARAMS


def spy(hp, updates, state, params, *, grad, value_fn, **extra):
    chex.assert_trees_all_equal_structs(grad, updates, params)
    slope = jax.grad(value_fn)(params)
    return jax.tree.map(lambda g: -hp["learning_rate"] * g, slope), state


def test_extra_arguments_are_those_of_the_part():
    line_search = jm.transformation(lambda hp, p: (), spy, {"learning_rate": 0.1})
    parts = {"matrices": line_search, "rest": jm.gradient_descent(0.1)}
    ours = run(jm.partition(parts, BY_TREE)).params
    chex.assert_trees_all_close(ours, run(jm.gradient_descent(0.1)).params, rtol=1e-13)


def test_states_keep_types_and_leaves_without_gradient_stand_still():
    params = {"w": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.ones(2, jnp.float32), "none": None}
    optimizer = jm.partition(transforms(), by_rank)
    state = optimizer.init(params)
    carried = jax.lax.scan(lambda s, _: optimizer.update(params, s)[::-1], state, length=2)[0]
    chex.assert_trees_all_equal_shapes_and_dtypes(state, carried)
    updates, after = optimizer.update({**params, "w": None}, carried, params)
    assert updates["w"] is None
    chex.assert_trees_all_equal(
        after.inner_states["matrices"].inner.buffers, carried.inner_states["matrices"].inner.buffers
    )
    doubled = optax.tree.map_params(optimizer, lambda x: x + 2, state)
    assert np.all(doubled.inner_states["matrices"].inner.buffers[0]["w"] == 2)


def test_equal_ones_share_a_compilation_also_after_pickling():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def first(optimizer):
        return optimizer.update(PARAMS, optimizer.init(PARAMS))[0]

    one = jm.partition(transforms(), BY_TREE)
    other = jm.partition(dict(reversed(transforms().items())), dict(BY_TREE))
    again = pickle.loads(pickle.dumps(jm.replace(other, b1=0.7)))
    for optimizer in (one, other, again):
        assert np.isfinite(first(optimizer)["w"]).all()


HB = jm.heavy_ball(0.1)
WRONG = {
    "a label without a transformation": (
        lambda: jm.partition({"a": HB}, {"w": "a", "b": "c", "none": "a"}),
        r"labels \['c'\] of partition have no transformation; there are some for \['a'\]",
    ),
    "the same of a function": (
        lambda: jm.partition({"a": HB}, by_rank).init(PARAMS),
        r"labels \['matrices', 'rest'\] of partition have no transformation",
    ),
    "a transformation without a label": (
        lambda: jm.partition({"a": HB, "x": HB}, "a"),
        r"transformations \['x'\] of partition have no label among \['a'\]",
    ),
    "labels of another structure": (
        lambda: jm.partition({"a": HB}, {"w": "a"}).init(PARAMS),
        r"which is not a prefix of that of params",
    ),
    "a mask of another structure": (
        lambda: jm.masked(HB, {"v": True}).init(PARAMS),
        r"which is not a prefix of that of params",
    ),
    "a label that is no string": (lambda: jm.partition({"a": HB}, {"w": 1}), "labels .* strings"),
    "no transformations": (lambda: jm.partition({}, "a"), "needs a mapping from labels"),
    "transformations in a list": (lambda: jm.partition([HB], "a"), "needs a mapping from labels"),
    "a transformation of a number": (lambda: jm.partition({0: HB}, 0), "strings, but there is 0"),
    "a mask of numbers": (lambda: jm.masked(HB, {"w": 1.0}), "1.0, which is not a Python bool"),
    "a mask of a function": (lambda: jm.masked(HB, lambda p: 0).init(PARAMS), "not a Python bool"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_gets_a_sentence(name):
    attempt, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        attempt()
