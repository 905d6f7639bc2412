"""What no method admits: batches outside vmap, trees, functions that were not called, mu > L."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS
from jax.tree_util import Partial

import jaxmom as jm
from jaxmom import coefficients

every_method = pytest.mark.parametrize("case", METHODS.values(), ids=METHODS)
PLAIN = {"float": float, "scalar of NumPy": np.float32, "array of NumPy": np.array}
every_plain_number = pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
every_function = pytest.mark.parametrize("name", coefficients.__all__)


def make(case, **changes):
    return case.make(**{**case.hyperparameters, **changes}, **case.static)


def first_update(optimizer):
    params = jnp.ones(3)
    return optimizer.update(params, optimizer.init(params), params)[0]


def batch_of(value):
    """Three lanes of a hyperparameter, as many as params have coordinates: the old mixture."""
    return jnp.stack([jnp.asarray(value, float) * factor for factor in (0.8, 0.9, 1.0)])


@every_method
def test_a_batch_outside_vmap_is_refused(case):
    plain = make(case)
    for name, value in case.hyperparameters.items():
        batched = make(case, **{name: batch_of(value)})  # to be mapped over, so it can be made
        for optimizer in (batched, jm.replace(plain, **{name: batch_of(value)})):
            with pytest.raises(ValueError, match=rf"{name} has shape \(3,.*jax\.vmap"):
                first_update(optimizer)
            with pytest.raises(ValueError, match=rf"{name} has shape \(3,.*jax\.vmap"):
                jax.jit(first_update)(optimizer)
        with pytest.raises(ValueError, match=rf"{name} has shape"):
            first_update(make(case, **{name: lambda t, v=value: batch_of(v)}))


@every_method
def test_the_same_batch_is_admitted_by_vmap(case):
    plain = make(case)
    values = {name: batch_of(value) for name, value in jm.hyperparameters(plain).items()}
    lanes = jax.vmap(first_update)(jm.replace(plain, **values))
    for i, lane in enumerate(lanes):
        own = {name: value[i] for name, value in values.items()}
        alone = first_update(jm.replace(plain, **own))
        np.testing.assert_allclose(lane, alone, rtol=1e-13)


def numeric_parameters(function):
    """The hyperparameters of a function of `jaxmom.coefficients`, with a value for each."""
    rows = [c for c in METHODS.values() if c.make.__name__ == function.__name__]
    known = {k: v for row in rows for k, v in row.hyperparameters.items()}
    parameters = inspect.signature(function).parameters.items()
    names = [n for n, p in parameters if p.default is not False and not n.startswith("next_")]
    return {name: known[name] for name in names}


@every_function
def test_coefficients_of_a_batch_outside_vmap_are_refused(name):
    function = getattr(coefficients, name)
    values = numeric_parameters(function)
    for parameter, value in values.items():
        with pytest.raises(ValueError, match=rf"{parameter} has shape \(3,.*jax\.vmap"):
            function(**{**values, parameter: batch_of(value)})


def test_filters_of_a_batch_outside_vmap_are_refused():
    """Also where the batch was made by vmap, and where it is in a recurrence."""
    betas = jnp.linspace(0.1, 0.9, 3)
    batch = jax.vmap(jm.coefficients.qhm)(betas, betas)
    optimizer = jm.scale_by_momentum(batch)
    with pytest.raises(ValueError, match=r"1 buffers, but the shapes.*jax\.vmap"):
        first_update(optimizer)
    assert jax.vmap(first_update)(optimizer).shape == (3, 3)
    chebyshev = jax.vmap(jm.coefficients.chebyshev)(betas, 10 * betas)
    with pytest.raises(ValueError, match=r"mu has shape \(3,\).*jax\.vmap"):
        jm.scale_by_momentum(chebyshev)
    functions = [jm.reading_new, lambda decay, gain, read: jm.Coefficients(decay, gain, read)]
    for function in functions:  # that do not check their hyperparameters
        mine = jm.momentum_method(function, "outside", decay=betas, gain=betas, read=betas)
        with pytest.raises(ValueError, match=r"decay has shape \(3,\).*jax\.vmap"):
            first_update(mine)


@every_method
@pytest.mark.parametrize("tree", [lambda x: {"w": x}, lambda x: [{"w": x}, x]], ids=["w", "list"])
def test_a_tree_that_is_no_prefix_of_params_is_refused(case, tree):
    """Also where a method takes no trees, because it is not a filter of each part by itself."""
    for name, value in case.hyperparameters.items():
        with pytest.raises((TypeError, ValueError), match=r"optimizer of its own|not a prefix of"):
            first_update(make(case, **{name: tree(value)}))


@every_method
def test_a_sequence_is_no_single_number(case):
    for name, value in case.hyperparameters.items():
        if isinstance(value, tuple):
            with pytest.raises(ValueError, match=rf"{name} has shape \(\).*for each buffer"):
                make(case, **{name: value[0]})
            continue
        for sequence in ([value, value], (value, jnp.asarray(value))):
            with pytest.raises(ValueError, match=rf"{name} has shape \(2,\), but it is one number"):
                first_update(make(case, **{name: sequence}))


@every_method
def test_a_schedule_of_another_length_is_refused(case):
    optimizer = make(case)
    for name, value in case.hyperparameters.items():
        if isinstance(value, tuple):
            for longer in (value[:-1], (*value, 0.5)):
                schedule = lambda t, v=longer: jnp.array(v)  # noqa: E731
                with pytest.raises(ValueError, match=r"3 buffers.*[24]|one weight"):
                    jm.replace(optimizer, **{name: schedule})


@pytest.mark.parametrize("betas", [(0.5, 0.5), (0.0, 0.5, 0.9, 0.99)], ids=len)
def test_a_schedule_has_one_number_for_each_usual_buffer(betas):
    with pytest.raises(ValueError, match=rf"each of 3 buffers.*the shape \({len(betas)},\)"):
        jm.aggmo(0.1, lambda t: jnp.array(betas))
    four = jm.scale_by_momentum(lambda t: jm.coefficients.aggmo((0.0, 0.5, 0.9, 0.99)))
    assert len(four.init(jnp.ones(2)).inner.buffers) == 4
    with pytest.raises(TypeError, match=r"returned a schedule, not a number; call its maker"):
        first_update(jm.aggmo(0.1, optax.constant_schedule))


def test_a_schedule_of_weights_has_one_for_each_average():
    two = jm.maxwell(0.1, (0.5, 0.9), lambda t: [0.5, 0.5 + 0 * t.astype(float)])
    np.testing.assert_allclose(first_update(two), -0.1 * (0.25 + 0.05))


def test_weights_that_do_not_match_the_buffers_are_refused():
    three = (0.5, 0.3, 0.2)
    attempts = [
        lambda: jm.maxwell(0.1, (0.5, 0.9), three),
        lambda: jm.coefficients.maxwell((0.5, 0.9), three),
        lambda: jm.maxwell(0.1, jnp.array([0.5, 0.9]), jnp.array(three)),
        lambda: jm.maxwell(0.1, (0.5, 0.9), lambda t: jnp.array(three)),
        lambda: jm.replace(jm.maxwell(0.1, (0.5, 0.9), (0.5, 0.5)), weights=three),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="one weight for each average, but got 2 decays and 3"):
            attempt()


OUTSIDE = {
    "ogm_gradient": ({"steps": 0.5}, r"steps = 0.5 is outside of \[1, inf\)"),
    "optimized_gradient": ({"steps": 0.5}, r"steps = 0.5 is outside of \[1, inf\]"),
    "fsgdm": ({"stages": 400.0}, "stages = 400.0 is above steps = 250.0.*fewer stages"),
    "robust_momentum": ({"rho": 0.5}, r"rho = 0.5 is not a rate .*\[0.711325, 0.916667\]"),
    "accelerated_sgd": ({"xi": 11.0}, r"xi = 11.0 is above sqrt\(kappa\) = 10"),
    "schedule_free": ({"warmup": -1.0}, r"warmup = -1.0 is outside of \[0, inf\)"),
    "gpa": ({"mu_x": 1.5}, r"mu_x = 1.5 is outside of \[0, 1\]"),
    "maxwell": ({"decays": (0.5, 0.9, 1.0)}, r"decays = 1.0 is outside of \[0, 1\)"),
    "dana": ({"delta": 0.0}, r"delta = 0.0 is outside of \(0, inf\)"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_that_a_method_cannot_take_are_refused(name):
    change, message = OUTSIDE[name]
    case = METHODS[name]
    for attempt in (lambda: make(case, **change), lambda: jm.replace(make(case), **change)):
        with pytest.raises(ValueError, match=message):
            attempt()
    assert np.isfinite(first_update(make(case))).all()
    values = {n: jnp.asarray(v, float) for n, v in change.items()}
    assert np.isfinite(first_update(make(case, **values))).all()  # as the sentences say


@every_function
@pytest.mark.parametrize(
    "bind", [lambda f: f, functools.partial, Partial], ids=["plain", "functools", "jax"]
)
def test_coefficients_that_were_not_called_are_refused(name, bind):
    with pytest.raises(TypeError, match=rf"call it, as in .*jm\.coefficients\.{name}\(\.\.\.\)"):
        jm.scale_by_momentum(bind(getattr(coefficients, name)))
    called = jm.scale_by_momentum(jm.coefficients.heavy_ball(0.9))
    with pytest.raises(TypeError, match=rf"call it, as in .*jm\.coefficients\.{name}\(\.\.\.\)"):
        jm.replace(called, coefficients=bind(getattr(coefficients, name)))


@every_method
def test_a_method_is_no_function_of_coefficients(case):
    reasons = r"not Coefficients|missing|unexpected keyword|shape .* one number"
    with pytest.raises((TypeError, ValueError), match=reasons):
        jm.momentum_method(case.make, "outside", **case.hyperparameters)


def test_the_two_ways_to_confuse_a_function_and_its_result():
    with pytest.raises(TypeError, match="without calling it, and its hyperparameters by name"):
        jm.momentum_method(jm.coefficients.heavy_ball(0.9), "outside", learning_rate=0.1)
    with pytest.raises(TypeError, match="returned Optimizer, not Coefficients"):
        jm.scale_by_momentum(jm.heavy_ball)
    with pytest.raises(TypeError, match=r"returned a schedule, not a number; call its maker"):
        first_update(jm.heavy_ball(0.1, jm.schedules.constant))
    with pytest.raises(TypeError, match=r"returned a schedule, not a number; call its maker"):
        first_update(jm.lion(jm.schedules.sutskever))
    for optimizer in (
        jm.heavy_ball(optax.constant_schedule),
        jm.replace(jm.signum(0.1), beta=optax.constant_schedule),
        jm.mix([optax.identity()], lambda count: lambda count: jnp.ones(1)),
    ):
        with pytest.raises(TypeError, match=r"returned a schedule, not a number; call its maker"):
            first_update(optimizer)


@pytest.mark.parametrize("position", ["before", "after", "Outside", "nowhere", "", True])
@every_function
def test_a_position_that_does_not_exist_is_refused(name, position):
    function = getattr(coefficients, name)
    with pytest.raises(ValueError, match=r'"outside" .*, "inside" .* or None .*, not '):
        jm.momentum_method(function, position, learning_rate=0.1, **numeric_parameters(function))


CURVATURES = {n: c for n, c in METHODS.items() if {"mu", "L"} <= set(c.hyperparameters)}


def test_the_methods_of_two_curvatures_are_these():
    named = {"nesterov_strongly_convex", "triple_momentum", "robust_momentum", "chebyshev"}
    assert set(CURVATURES) == named | {"item", "ogm_strongly_convex", "optimal_heavy_ball"}
    takes_both = {
        n
        for n in coefficients.__all__
        if {"mu", "L"} <= set(inspect.signature(getattr(coefficients, n)).parameters)
    }
    assert takes_both == set(CURVATURES)


@pytest.mark.parametrize("name", CURVATURES)
def test_curvatures_in_the_wrong_order_are_refused(name):
    case, function = CURVATURES[name], getattr(coefficients, name)
    others = {n: v for n, v in case.hyperparameters.items() if n not in ("mu", "L")}
    for mu, L in ((25.0, 1.0), (25, 1), (np.float32(25), np.float64(1)), (1 + 1e-9, 1.0)):
        for attempt in (case.make, function):
            with pytest.raises(ValueError, match=r"mu = .* is above L = .*swap them"):
                attempt(mu, L, **others)
    with pytest.raises(ValueError, match=r"mu = 13.0 is above L = 12.0"):
        jm.replace(make(case), mu=13.0)
    with pytest.raises(ValueError, match=r"mu = 1.0 is above L = 0.5"):
        jm.replace(make(case), L=0.5)
    if not others:  # robust momentum needs mu < L
        assert np.isfinite(first_update(case.make(2.0, 2.0))).all()
    reversed_ones = case.make(jnp.array(25.0), jnp.array(1.0), **others)
    assert np.isfinite(first_update(reversed_ones)).all()


@pytest.mark.parametrize("static", [{"nesterov": True}])
def test_what_pytorch_refuses_is_refused_by_replace_too(static):
    sgd = jm.sgd(0.1, 0.9, **static)
    for wrong in ({"momentum": 0.0}, {"dampening": 0.5}):
        with pytest.raises(ValueError, match="momentum > 0 and dampening = 0, as in PyTorch"):
            jm.replace(sgd, **wrong)
        with pytest.raises(ValueError, match="momentum > 0 and dampening = 0, as in PyTorch"):
            jm.sgd(**{"learning_rate": 0.1, "momentum": 0.9, **wrong}, **static)


@pytest.mark.parametrize("value", [None, "0.1", True, float])
def test_a_learning_rate_is_a_number(value):
    with pytest.raises(TypeError, match=r"learning_rate = .* is not a number"):
        jm.heavy_ball(value)


@every_method
@every_plain_number
def test_plain_rates_are_not_negative(case, plain):
    """Wherever they stand: in the filter, or in a stage of their own."""
    optimizer, wrong = make(case), plain(-0.5)
    for name in {"learning_rate", "weight_decay"} & set(case.hyperparameters):
        for attempt in (
            lambda name=name: make(case, **{name: wrong}),
            lambda name=name: jm.replace(optimizer, **{name: wrong}),
        ):
            with pytest.raises(ValueError, match=rf"{name} = -0.5 is outside of \[0, inf\)"):
                attempt()
        given = make(case, **{name: jnp.array(-0.5)})  # as the message says
        assert np.isfinite(first_update(given)).all()


@every_plain_number
def test_bounds_hold_for_plain_numbers_of_every_kind(plain):
    function = jm.coefficients.heavy_ball
    changes = [lambda: jm.heavy_ball(0.1, plain(1.5)), lambda: function(plain(1.5))]
    changes += [lambda: jm.replace(jm.heavy_ball(0.1), beta=plain(1.5))]
    for attempt in changes:
        with pytest.raises(ValueError, match=r"beta = 1.5 is outside of .*give jnp.array\(1.5\)"):
            attempt()
    with pytest.raises(ValueError, match=r"mu = 25.0 is above L = 1.0"):
        jm.chebyshev(plain(25.0), plain(1.0))
    with pytest.raises(ValueError, match=r"betas = 1.5 is outside"):
        jm.aggmo(0.1, np.array([0.0, plain(1.5)]))


FLAGS = {"of NumPy": np.bool_, "array of NumPy": np.array, "array of JAX": jnp.array}


@pytest.mark.parametrize("flag", FLAGS.values(), ids=FLAGS)
def test_flags_of_every_kind_are_flags(flag):
    jm.heavy_ball(0.1, 0.0)  # False equals 0.0, and is refused nevertheless
    for value in (True, False):
        for make_one in (
            lambda x: jm.sgd(0.1, 0.9, nesterov=x),
            lambda x: jm.ema_momentum(0.1, debias=x),
            lambda x: jm.transformation(_nothing, _nothing, {"flag": x}),
        ):
            one, other = (jax.tree.structure(make_one(x)) for x in (flag(value), value))
            assert one == other
        for attempt in (
            lambda value=value: jm.heavy_ball(0.1, flag(value)),
            lambda value=value: jm.replace(jm.heavy_ball(0.1), beta=flag(value)),
        ):
            refusal = rf"beta ?= ?{value} is not a (number|hyperparameter)"
            with pytest.raises(TypeError, match=refusal):
                attempt()


def _nothing(hp, *args, **extra):
    return ()


def test_functions_are_not_stacked():
    with pytest.raises(TypeError, match=r"heavy_ball is a function; call it with its hyperparam"):
        jm.stack({"heavy_ball": jm.coefficients.heavy_ball})


def test_bounds_hold_for_each_number_of_a_vector():
    with pytest.raises(ValueError, match=r"betas = 1.5 is outside of \(-1, 1\)"):
        jm.coefficients.aggmo((jnp.array(0.5), 1.5))


THREE = [optax.identity(), optax.scale(2.0), optax.scale(10.0)]
WEIGHTS = {
    "a list": lambda w: list(w),
    "a tuple": lambda w: tuple(w),
    "an array of NumPy": lambda w: np.array(w),
    "an array of JAX": lambda w: jnp.array(w),
    "traced numbers": lambda w: [jnp.array(x) for x in w],
    "a schedule": lambda w: lambda t: jnp.array(w),
}


@pytest.mark.parametrize("given", WEIGHTS.values(), ids=WEIGHTS)
def test_wrong_numbers_of_weights_are_refused(given):
    right = jm.mix(THREE, [0.5, 0.25, 0.1])
    assert first_update(jm.mix(THREE, given([0.5, 0.25, 0.1])))[0] == 0.5 + 0.5 + 1.0
    for wrong in ([0.5], [0.5, 0.5], [0.5, 0.5, 0.5, 9.0]):
        for attempt in (
            lambda w: jm.mix(THREE, given(w)),
            lambda w: jm.replace(right, weights=given(w)),
        ):
            with pytest.raises(ValueError, match="one weight for each transformation"):
                jax.jit(first_update)(attempt(wrong))
            with pytest.raises(ValueError, match="one weight for each transformation"):
                first_update(attempt(wrong))


def test_weights_are_a_vector():
    with pytest.raises(ValueError, match="at least one transformation"):
        jm.mix([], [])
    with pytest.raises(ValueError, match="3 transformations and a single number for weights"):
        jm.mix(THREE, 0.5)
    batch = jm.mix(THREE, jnp.ones((4, 3)))
    with pytest.raises(ValueError, match=r"shape \(4, 3\).*jax\.vmap"):
        first_update(batch)
    assert jax.vmap(first_update)(batch).shape == (4, 3)


def test_complex_momentum_wants_the_modulus_and_the_argument():
    with pytest.raises(TypeError, match="modulus and the argument"):
        first_update(jm.complex_momentum(0.1, beta=0.9j))
