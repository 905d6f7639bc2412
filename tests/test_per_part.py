"""Hyperparameters that are trees: a prefix of params with a number for each part."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS

import jaxmom as jm

PARAMS = {"w": jnp.array([[1.0, 2.0], [3.0, -4.0]]), "b": {"x": jnp.ones(2), "y": jnp.array(0.5)}}
RATES = {"w": 0.1, "b": 0.02}


def loss(params):
    return sum(jnp.sum((1 + i) * p**2) for i, p in enumerate(jax.tree.leaves(params)))


def run(optimizer, steps=6):
    record = ["params", "eval_value"]
    return jm.optimize(loss, PARAMS, optimizer, steps, record=record).history


def parts(make, w, b):
    return jm.partition({"w": make(**w), "b": make(**b)}, {"w": "w", "b": "b"})


MAKES = {
    "heavy_ball": (jm.heavy_ball, {"beta": 0.8}),
    "nesterov": (jm.nesterov, {"beta": 0.8}),
    "sgd": (jm.sgd, {"momentum": 0.8, "dampening": 0.1, "weight_decay": 0.1}),
    "ema_momentum": (jm.ema_momentum, {"beta": 0.8, "debias": True}),
    "lion": (jm.lion, {"b1": 0.8, "weight_decay": 0.1}),
    "adan": (jm.adan, {"b1": 0.8, "weight_decay": 0.1}),  # whose decay divides by its own rate
    "storm": (
        lambda learning_rate, a: jm.with_previous_gradient(jm.storm(learning_rate, a)),
        {"a": 0.3},
    ),
}


@pytest.mark.parametrize("name", MAKES)
def test_each_part_has_its_learning_rate(name):
    make, rest = MAKES[name]
    expected = parts(make, *({"learning_rate": r, **rest} for r in (0.1, 0.02)))
    chex.assert_trees_all_close(run(make(RATES, **rest)), run(expected), rtol=1e-13)


def test_trees_of_different_depth_and_shared_numbers():
    betas = {"w": 0.9, "b": {"x": 0.5, "y": -0.3}}
    optimizer = jm.heavy_ball(RATES, beta=betas)
    assert jm.hyperparameters(optimizer) == {
        **{"learning_rate.b": 0.02, "learning_rate.w": 0.1},
        **{"beta.b.x": 0.5, "beta.b.y": -0.3, "beta.w": 0.9},
    }
    three = {"w": jm.heavy_ball(0.1, 0.9), "x": jm.heavy_ball(0.02, 0.5)}
    three["y"] = jm.heavy_ball(0.02, -0.3)
    expected = jm.partition(three, {"w": "w", "b": {"x": "x", "y": "y"}})
    chex.assert_trees_all_close(run(optimizer), run(expected), rtol=1e-13)
    shared = jm.heavy_ball(RATES, beta=0.8)
    assert list(jm.hyperparameters(shared)) == ["beta", "learning_rate.b", "learning_rate.w"]


def test_vectors_stand_for_each_part():
    betas = {"w": (0.0, 0.9), "b": np.array([0.5, 0.7])}
    expected = parts(jm.aggmo, *({"learning_rate": 0.05, "betas": betas[n]} for n in "wb"))
    chex.assert_trees_all_close(run(jm.aggmo(0.05, betas=betas)), run(expected), rtol=1e-13)


def test_a_schedule_may_stand_in_a_tree():
    rate = jm.schedules.linear(0.1, 0.01, 5)
    found = run(jm.heavy_ball({"w": rate, "b": lambda t: 0.02 + 0 * t.astype(float)}, 0.8))
    expected = parts(
        jm.heavy_ball, {"learning_rate": rate, "beta": 0.8}, {"learning_rate": 0.02, "beta": 0.8}
    )
    chex.assert_trees_all_close(found, run(expected), rtol=1e-13)


def test_a_schedule_in_a_tree_is_read_at_the_next_step_too():
    """Sutskever's read-out takes the beta of the next step, and so does it in each part."""
    beta = jm.schedules.linear(0.2, 0.9, 5)
    found = run(jm.sutskever_nesterov({"w": 0.02, "b": 0.01}, beta))
    each = ({"learning_rate": rate, "beta": beta} for rate in (0.02, 0.01))
    chex.assert_trees_all_close(found, run(parts(jm.sutskever_nesterov, *each)), rtol=1e-13)
    betas = {"w": beta, "b": 0.5}
    found = run(jm.sutskever_nesterov(0.02, betas))
    each = ({"learning_rate": 0.02, "beta": betas[part]} for part in "wb")
    chex.assert_trees_all_close(found, run(parts(jm.sutskever_nesterov, *each)), rtol=1e-13)
    moved = np.abs(found["params"]["w"] - run(jm.sutskever_nesterov(0.02, 0.5))["params"]["w"])
    assert np.max(moved) > 1e-3


def test_the_least_denominator_may_differ_between_parts():
    found = run(jm.nadam(0.1, eps={"w": 1e-3, "b": 1.0}))
    each = ({"learning_rate": 0.1, "eps": eps} for eps in (1e-3, 1.0))
    chex.assert_trees_all_close(found, run(parts(jm.nadam, *each)), rtol=1e-13)


def test_each_part_has_its_length_of_step_along_one_norm():
    """NIGT, whose norm is that of all of params, by its paper's loop."""
    rates, beta = (0.02, 0.02, 0.1), 0.8  # as the leaves are sorted: b.x, b.y, w
    y = [np.asarray(p) for p in jax.tree.leaves(PARAMS)]
    x, m, points = y, [0.0 * p for p in y], [y]
    for _ in range(6):
        gradients = [2.0 * (1 + i) * p for i, p in enumerate(y)]
        m = [beta * old + (1 - beta) * g for old, g in zip(m, gradients, strict=True)]
        norm = np.sqrt(sum(np.sum(one**2) for one in m))
        new = [p - r * one / norm for p, r, one in zip(x, rates, m, strict=True)]
        y = [p + beta / (1 - beta) * (p - old) for p, old in zip(new, x, strict=True)]
        x = new
        points.append(y)
    found = run(jm.nigt(RATES, beta=beta))["params"]
    for leaf, expected in zip(jax.tree.leaves(found), zip(*points, strict=True), strict=True):
        np.testing.assert_allclose(leaf, np.stack(expected), rtol=1e-12)
    several = run(jm.nigt(RATES, beta={"w": beta, "b": beta}))["params"]
    chex.assert_trees_all_close(several, found, rtol=1e-13)


# One step size, and what it is made of, for all of params: that of the norms and of the loss.
OF_THE_WHOLE = {"momsps", "momo", "adaptive_heavy_ball", "adaptive_storm", "yellowfin"}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_THE_WHOLE])
def test_every_hyperparameter_of_a_method_may_be_a_tree(name):
    case = METHODS[name]
    for letter, value in case.hyperparameters.items():
        hp = {**case.static, **case.hyperparameters, letter: {"w": value, "b": value}}
        names = jm.hyperparameters(case.make(**hp))
        for part in "wb":
            assert any(n.endswith(f"{letter}.{part}") for n in names), (letter, list(names))


def test_it_is_swept_differentiated_and_replaced():
    optimizer = jm.nesterov(RATES, beta={"w": 0.5, "b": 0.9})

    @jax.jit
    @chex.assert_max_traces(n=1)
    def final(rate, beta):
        trial = jm.replace(optimizer, **{"learning_rate.w": rate, "beta.b": beta})
        return run(trial)["eval_value"][-1]

    rates, betas, h = jnp.array([0.01, 0.05, 0.1]), jnp.array([0.1, 0.5, 0.9]), 1e-6
    alone = [final(rate, beta) for rate, beta in zip(rates, betas, strict=True)]
    rate, beta = rates[1], betas[1]
    ups = [(final(rate + s, beta), final(rate, beta + s)) for s in (h, -h)]
    slopes = [(up - down) / (2 * h) for up, down in zip(*ups, strict=True)]
    plain = final.__wrapped__.__wrapped__
    together, gradients = jax.jit(jax.vmap(jax.value_and_grad(plain, argnums=(0, 1))))(rates, betas)
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_allclose([g[1] for g in gradients], slopes, rtol=1e-6)
    with pytest.raises(ValueError, match=r"several .*'learning_rate'|no hyperparameter 'learning"):
        jm.replace(optimizer, learning_rate=0.1)


def test_types_pickles_and_wrappers():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    optimizer = jm.sgd(RATES, momentum=0.9)
    state = optimizer.init(params)
    end = jax.lax.scan(lambda s, _: optimizer.update(params, s, params)[::-1], state, length=2)[0]
    chex.assert_trees_all_equal_shapes_and_dtypes(state, end)
    again = pickle.loads(pickle.dumps(optimizer))
    assert jax.tree.structure(again) == jax.tree.structure(optimizer)
    frozen, _ = optimizer.update({**params, "w": None}, state, params)
    assert frozen["w"] is None
    wrapped = optax.chain(optax.clip(1e6), jm.heavy_ball(RATES, 0.8))
    plain = jm.optimize(loss, PARAMS, jm.heavy_ball(RATES, 0.8), 3).params
    chex.assert_trees_all_close(jm.optimize(loss, PARAMS, wrapped, 3).params, plain, rtol=1e-13)
    assert jm.eval_params(wrapped, PARAMS, wrapped.init(PARAMS)) is PARAMS


WRONG = {
    "of another structure": (
        lambda: jm.heavy_ball({"v": 0.1}).init(PARAMS),
        "which is not a prefix of that of params",
    ),
    "two that do not fit": (
        lambda: jm.heavy_ball({"w": 0.1, "b": 0.1}, beta={"w": 0.1, "v": 0.1}),
        "where two are trees, one is a prefix of the other",
    ),
    "out of bounds": (lambda: jm.heavy_ball(RATES, {"w": 1.5, "b": 0.5}), "beta = 1.5 is outside"),
    "replaced out of bounds": (
        lambda: jm.replace(jm.heavy_ball(RATES), **{"learning_rate.w": -1.0}),
        r"learning_rate = -1.0 is outside of \[0, inf\)",
    ),
    "a text": (lambda: jm.heavy_ball({"w": "fast"}), "is not a number"),
    "where one number serves all": (
        lambda: jm.momsps({"w": 0.1}),
        r"is not a number; .* optimizer of its own, as in jm\.partition",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_trees_get_a_sentence(name):
    attempt, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        attempt()
