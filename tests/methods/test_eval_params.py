"""Where losses are reported: eval_params through chains, and inside the wrappers of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS

import jaxmom as jm

EVALUATING = {
    "nesterov": jm.nesterov(0.1, 0.9),
    "nesterov_convex": jm.nesterov_convex(0.1),
    "nesterov_strongly_convex": jm.nesterov_strongly_convex(1.0, 10.0),
    "triple_momentum": jm.triple_momentum(1.0, 10.0),
    "schedule_free": jm.schedule_free(0.1, 0.9),
    "scheduled nesterov": jm.nesterov(jm.schedules.linear(0.1, 0.01, 10), 0.9),
    "a filter": jm.chain(
        jm.scale_by_momentum(jm.coefficients.nesterov(0.9)), optax.add_decayed_weights(0.1)
    ),
}
every_evaluating = pytest.mark.parametrize("name", EVALUATING)
PARAMS = {"a": jnp.array([2.0, 1.0]), "b": jnp.array(-3.0)}


def run(optimizer, steps=5, params=PARAMS, **extra):
    """Params and state after some steps on half the sum of squares."""
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(params, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


def test_the_evaluating_methods_are_these():
    different = set()
    for name, case in METHODS.items():
        optimizer = case.make(**case.hyperparameters, **case.static)
        params, state = run(optimizer)
        if jm.eval_params(optimizer, params, state) is not params:
            different.add(name)
    named = {"item", "gpa", "ema_nesterov", "mass", "sutskever_nesterov"}
    named |= {"synthesized_nesterov", "robust_momentum", "nigt", "extragradient"}
    assert different == named | {n for n in EVALUATING if n in METHODS}


# Stages through which a difference of two points passes: linear, but for a constant.
AFFINE = {
    "identity": optax.identity(),
    "scale": optax.scale(0.5),
    "lifted scale": jm.lift(optax.scale)(0.5),
    "descent": jm.gradient_descent(0.5),
    "weight decay": optax.add_decayed_weights(0.3),
    "lifted weight decay": jm.lift(optax.add_decayed_weights)(0.3),
    "masked weight decay": optax.masked(optax.add_decayed_weights(0.3), {"a": True, "b": False}),
    "scheduled scale": optax.scale_by_schedule(lambda count: 0.5 + 0 * count),
    "scheduled descent": jm.gradient_descent(jm.schedules.constant(0.5)),
    "injected scale": optax.inject_hyperparams(optax.scale)(step_size=0.5),
    "injected decay": optax.inject_hyperparams(optax.add_decayed_weights)(weight_decay=0.3),
    "noise": optax.add_noise(0.1, 0.0, 0),
    "decay in a chain": jm.chain(optax.add_decayed_weights(0.3), optax.scale(0.5)),
    "decay in optax.chain": optax.chain(optax.add_decayed_weights(0.3), optax.scale(0.5)),
    "a mixture": jm.mix([optax.identity(), optax.add_decayed_weights(0.3)], [0.5, 0.25]),
}
FACTOR = {  # of a difference
    "identity": 1.0,
    "weight decay": 1.0,
    "injected decay": 1.0,
    "lifted weight decay": 1.0,
    "masked weight decay": 1.0,
    "noise": 1.0,
    "descent": -0.5,
    "scheduled descent": -0.5,
    "a mixture": 0.75,
}


@pytest.mark.parametrize("stage", AFFINE)
def test_with_empty_buffers_it_is_params(stage):
    for method in (*EVALUATING.values(), jm.heavy_ball(0.1)):
        optimizer = jm.chain(method, AFFINE[stage])
        found = jm.eval_params(optimizer, PARAMS, optimizer.init(PARAMS))
        jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


@pytest.mark.parametrize("stage", AFFINE)
def test_a_difference_passes_through_the_linear_part(stage):
    """The buffer of Nesterov's filter is -(x - y) in units of the update, whatever follows."""
    optimizer = jm.chain(jm.scale_by_momentum(jm.coefficients.nesterov(0.9)), AFFINE[stage])
    params, state = run(optimizer)
    found = jm.eval_params(optimizer, params, state)
    again = jax.jit(jm.eval_params)(optimizer, params, state)
    factor = FACTOR.get(stage, 0.5)
    for name in PARAMS:
        expected = params[name] - factor * state[0].buffers[0][name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-13)
        np.testing.assert_allclose(again[name], expected, rtol=1e-13)
        assert np.abs(expected - params[name]).max() > 1e-3


def test_decoupled_weight_decay_against_the_papers_loop():
    """y' = (1 - alpha lambda) y - alpha (g + beta m'): x is y without what beta has added."""
    alpha, beta, decay = 0.1, 0.9, 0.2
    optimizer = jm.chain(
        jm.scale_by_momentum(jm.coefficients.nesterov(beta)),
        jm.lift(optax.add_decayed_weights)(decay),
        jm.lift(optax.scale_by_learning_rate)(alpha),
    )
    y, m = np.array([2.0, 1.0]), np.zeros(2)
    params, state = jnp.asarray(y), optimizer.init(jnp.asarray(y))
    for _ in range(20):
        g = y * np.array([1.0, 3.0])
        updates, state = optimizer.update(jnp.asarray(g), state, params)
        params = params + updates
        m = beta * (m + g)
        y = y - alpha * (g + m + decay * y)
        x = y + alpha * m
        np.testing.assert_allclose(params, y, rtol=1e-12)
        np.testing.assert_allclose(jm.eval_params(optimizer, params, state), x, rtol=1e-12)


STOPS = {
    "clip": (optax.clip(0.1), "is not linear"),
    "clip_by_global_norm": (optax.clip_by_global_norm(0.1), "is not linear"),
    "lifted clip": (jm.lift(optax.clip)(0.1), "is not linear"),
    "sign": (optax.scale_by_sign(), "is not linear"),
    "normalize": (optax.normalize_by_update_norm(), "is not linear"),
    "nonnegative": (optax.keep_params_nonnegative(), "is not linear"),
    "polyak": (optax.scale_by_polyak(), "is not linear"),  # it needs a value, too
    "trace": (optax.trace(0.9), "remembers earlier updates"),
    "heavy ball": (jm.heavy_ball(0.1), "remembers earlier updates"),
    "nesterov": (jm.nesterov(0.1), "remembers earlier updates"),
    "ema": (jm.lift(optax.ema)(0.9), "remembers earlier updates"),
    "adam": (jm.lift(optax.adam)(0.1), "remembers earlier updates"),
    "MultiSteps": (
        optax.MultiSteps(optax.identity(), 2).gradient_transformation(),
        "remembers earlier updates",
    ),
}


@pytest.mark.parametrize("stage", STOPS)
def test_a_stage_with_memory_or_without_a_linear_part_is_refused(stage):
    transform, reason = STOPS[stage]
    optimizer = jm.chain(optax.identity(), EVALUATING["nesterov"], transform)
    params, state = run(optimizer, steps=1, value=jnp.ones([]))
    for evaluate in (jm.eval_params, jax.jit(jm.eval_params)):
        with pytest.raises(ValueError, match=f"stage 2 of the chain {reason}.*before the method"):
            evaluate(optimizer, params, state)
    harmless = jm.chain(jm.heavy_ball(0.1), AFFINE["weight decay"], transform)
    if stage != "nesterov":  # which has a read-out of its own
        params, state = run(harmless, steps=1, value=jnp.ones([]))
        assert jm.eval_params(harmless, params, state) is params
    before = jm.chain(transform, EVALUATING["nesterov"])
    if stage != "nesterov":
        params, state = run(before, steps=1, value=jnp.ones([]))
        assert jm.eval_params(before, params, state)["a"].shape == (2,)


def test_what_follows_the_first_read_out_may_have_its_own():
    """A custom stage without memory adds its own offset."""

    def update(hp, updates, state, params=None, **extra):
        return jax.tree.map(lambda u: 0.5 * u, updates), state

    def readout(hp, state, params):
        return jax.tree.map(lambda p: jnp.full_like(p, hp["offset"]), params)

    shifted = jm.transformation(lambda hp, p: (), update, {"offset": 7.0}, readout=readout)
    method = EVALUATING["nesterov"]
    optimizer = jm.chain(method, shifted)
    params, state = run(optimizer)
    inner = jm.eval_params(method, params, state[0])
    found = jm.eval_params(optimizer, params, state)
    np.testing.assert_allclose(
        found["a"], params["a"] + 0.5 * (inner["a"] - params["a"]) + 7.0, rtol=1e-13
    )


def _readout_of_my_own():
    def update(hp, updates, state, params=None, **extra):
        return updates, state

    def readout(hp, state, params):
        return jax.tree.map(jnp.ones_like, params)

    return jm.transformation(lambda hp, p: (), update, {"rate": 1.0}, readout=readout)


MASK = {"a": True, "b": True}
WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(1e6), tx),
    "named_chain": lambda tx: optax.named_chain(("method", tx)),
    "masked": lambda tx: optax.masked(tx, MASK),
    "partition": lambda tx: optax.partition(
        {"ours": tx, "other": optax.sgd(0.1)}, {"a": "ours", "b": "other"}
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "flatten": optax.flatten,
    "inject_hyperparams": lambda tx: optax.inject_hyperparams(lambda scale: tx)(scale=1.0),
    "with_extra_args_support": lambda tx: optax.chain(optax.with_extra_args_support(tx)),
    "a chain in a chain": lambda tx: jm.chain(optax.clip(1e6), optax.chain(tx)),
    "a mixture": lambda tx: jm.mix([optax.chain(tx), optax.identity()], [1.0, 0.0]),
    "lifted masked": lambda tx: jm.lift(optax.masked)(tx, True),
    "lifted apply_if_finite": lambda tx: jm.lift(optax.apply_if_finite)(tx, 3),
}
every_wrapper = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
HIDDEN = {
    **EVALUATING,
    "a read-out of my own": _readout_of_my_own(),
    "schedule-free": optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.9),
}


@every_wrapper
@pytest.mark.parametrize("name", HIDDEN)
def test_a_method_inside_a_wrapper_of_optax_is_refused(wrap, name):
    optimizer = wrap(HIDDEN[name])
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(PARAMS)
        with pytest.raises(ValueError, match=r"cannot see through .* compose with jm\.chain"):
            jm.eval_params(optimizer, PARAMS, state)


@every_wrapper
def test_other_methods_inside_a_wrapper_are_evaluated_at_params(wrap):
    for method in (jm.heavy_ball(0.1), jm.qhm(0.1), jm.sgd(0.1, 0.9), optax.adam(0.1)):
        optimizer = wrap(method)
        with jax.numpy_dtype_promotion("standard"):
            found = jm.eval_params(optimizer, PARAMS, optimizer.init(PARAMS))
        jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


def test_a_record_of_eval_values_is_refused_too():
    optimizer = optax.chain(optax.clip(1e6), jm.nesterov(0.1))
    loss = lambda p: jnp.sum(p["a"] ** 2)  # noqa: E731
    assert jm.optimize(loss, PARAMS, optimizer, 3).steps.shape == (4,)
    with pytest.raises(ValueError, match="cannot see through a wrapper of optax"):
        jm.optimize(loss, PARAMS, optimizer, 3, record="eval_value")


@every_evaluating
def test_our_own_combinators_pass_it_on(name):
    method = EVALUATING[name]
    params, state = run(method)
    expected = jm.eval_params(method, params, state)
    for optimizer in (
        jm.chain(optax.clip(1e6), method),
        jm.mix([optax.identity(), method], [0.0, 1.0]),
        jm.chain(jm.mix([method], [1.0]), optax.identity()),
    ):
        params, state = run(optimizer)
        found = jm.eval_params(optimizer, params, state)
        jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-12), found, expected)
