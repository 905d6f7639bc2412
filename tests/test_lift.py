"""Lifted optax: the same numbers, with hyperparameters as leaves, in every dtype."""

import contextlib
import dataclasses
import functools
import inspect
import pickle
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lifted_table
import numpy as np
import optax
import optax_factories
import pytest
from jax.tree_util import Partial
from optax_factories import PARAMS, is_matrix

import jaxmom as jm
from jaxmom import _arguments, _lift

SOME = {
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

some_factories = pytest.mark.parametrize(("factory", "values", "static"), SOME.values(), ids=SOME)
all_of_optax = pytest.mark.parametrize("name", optax_factories.FACTORIES)


@contextlib.contextmanager
def jax_as_optax_needs_it():
    """In float32 throughout, where users meet it first."""
    jax.config.update("jax_enable_x64", False)
    try:
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        jax.config.update("jax_enable_x64", True)


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


@some_factories
def test_the_same_numbers_as_optax(factory, values, static):
    lifted = jm.lift(factory)(**values, **static)
    for name, value in values.items():
        assert jm.hyperparameters(lifted)[name] == value
    np.testing.assert_allclose(
        trajectory(lifted), trajectory(factory(**values, **static)), rtol=1e-12, atol=1e-15
    )


@some_factories
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


@some_factories
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


@some_factories
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


# All factories of optax and optax.contrib


def lifted_and_plain(factory):
    args, kwargs = factory.arguments
    plain = optax.with_extra_args_support(factory.function(*args, **kwargs))
    return jm.lift(factory.function)(*args, **kwargs), plain


def three_steps(factory, optimizer):
    state = optimizer.init(factory.params)
    results = [state]
    for scale in (1.0, -0.5, 0.25):
        gradients = jax.tree.map(lambda g: jnp.asarray(scale, g.dtype) * g, factory.updates)  # noqa: B023
        updates, state = optimizer.update(gradients, state, factory.params, **factory.extra)
        results += [updates, state]
    return results


def bits(tree):
    arrays = [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in map(jnp.asarray, jax.tree.leaves(tree))
    ]
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


@all_of_optax
def test_every_factory_equals_optax_to_the_last_bit(name):
    factory = optax_factories.FACTORIES[name]
    with jax_as_optax_needs_it():
        lifted, plain = lifted_and_plain(factory)
        assert bits(three_steps(factory, lifted)) == bits(three_steps(factory, plain))


@all_of_optax
def test_every_lifted_factory_is_an_argument_of_jit(name):
    """Only traced: no factory may look at a leaf by a Python `if`, as some do in optax."""
    factory = optax_factories.FACTORIES[name]
    with jax_as_optax_needs_it():
        lifted, _ = lifted_and_plain(factory)
        jax.eval_shape(functools.partial(three_steps, factory), lifted)


def flat_types(annotation):
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [t for part in typing.get_args(annotation) for t in flat_types(part)]
    return [typing.get_origin(annotation) or annotation]


def admits_numbers(parameter):
    """As its signature says: a float may be given, and no tree of them, and no count is meant."""
    found = flat_types(parameter.annotation)
    trees = {Iterable, Mapping} & set(found)
    default = parameter.default
    if parameter.annotation is parameter.empty:
        return isinstance(default, float)
    is_count = isinstance(default, int) and not isinstance(default, bool)
    return float in found and not trees and not is_count


# Annotated as numbers, without a default, but used as counts.
COUNTS = {"max_backtracking_steps", "max_linesearch_steps", "sync_period", "key"}


@all_of_optax
def test_every_argument_is_what_its_signature_in_optax_says(name):
    factory = optax_factories.FACTORIES[name]
    compared = _arguments.COMPARED.get(name.removeprefix("contrib."), frozenset())
    for parameter in factory.parameters.values():
        found = flat_types(parameter.annotation)
        flag = {bool, str, np.dtype, type, typing.Literal} & set(found)
        if (flag or "dtype" in parameter.name) and not {float, Callable} & set(found):
            continue  # static by their values
        if any(issubclass(t, tuple) for t in found if isinstance(t, type)) or Mapping in found[:1]:
            continue  # optimizers are leaves by their type, tuples of numbers static by theirs
        argument = _arguments.Argument(parameter.name, None, False, parameter)
        kind = _arguments.kind_of(factory.function, argument, frozenset(), frozenset())
        number = admits_numbers(parameter) and parameter.name not in COUNTS | compared
        assert kind == ("number" if number else "static"), parameter


def test_functions_for_arguments_that_no_table_knows_are_not_called():
    """A later version of optax may add such arguments."""

    def later(learning_rate, new_fn=None, new_number=1.0):
        return optax.stateless(lambda updates, _: new_fn(-learning_rate * new_number, updates))

    later.__module__ = "optax.later"
    lifted = jm.lift(later)(0.1, new_fn=lambda rate, u: jax.tree.map(lambda x: rate * x, u))
    assert jm.hyperparameters(lifted) == {"learning_rate": 0.1, "new_number": 1.0}
    np.testing.assert_allclose(step_of(lifted), -0.1)


def test_the_tables_of_arguments_have_no_stale_rows():
    everywhere = optax_factories.FACTORIES.values()
    names = {name for factory in everywhere for name in factory.parameters}
    assert names | {"inner_factory"} >= _arguments.STATIC | _arguments.NUMBERS
    assert not _arguments.STATIC & _arguments.NUMBERS
    short = {f.name.removeprefix("contrib."): f for f in everywhere}
    for name, compared in _arguments.COMPARED.items():
        for argument in compared:
            lift = jm.lift(short[name].function, schedules=[argument])  # as if it were a number
            with pytest.raises(TypeError, match=f"{name} needs the plain value.*{argument}"):
                jax.eval_shape(
                    lambda value, lift=lift, argument=argument: lift(**{argument: value}).update(
                        PARAMS, lift(**{argument: value}).init(PARAMS), PARAMS, value=1.0
                    ),
                    0.5,
                )
    needs = {name.removeprefix("contrib."): n for name, n in optax_factories.NEEDS.items()}
    assert needs == _lift.UPDATE_NEEDS


@all_of_optax
def test_what_an_update_needs_is_asked_for_in_a_sentence(name):
    factory = optax_factories.FACTORIES[name]
    if not factory.extra:
        return
    with jax_as_optax_needs_it():
        lifted, plain = lifted_and_plain(factory)
        state = plain.init(factory.params)
        with pytest.raises((TypeError, ValueError)):
            plain.update(factory.updates, state, factory.params)
        with pytest.raises(TypeError, match=f"needs {', '.join(factory.extra)} at every update"):
            lifted.update(factory.updates, state, factory.params)


# Masks and other functions


def is_matrix_above(threshold, params):
    return is_matrix(params)


MASKS = {
    "function": is_matrix,
    "partial": functools.partial(is_matrix_above, 0.5),
    "dict": {"w": True, "b": False},
    "arrays": {"w": np.True_, "b": np.False_},
}
MASK_NAMES = ("mask", "weight_decay_mask", "trust_ratio_mask", "freeze_mask")
MASKED = [
    (name, argument)
    for name, factory in optax_factories.FACTORIES.items()
    for argument in MASK_NAMES
    if argument in factory.parameters
]


@pytest.mark.parametrize(("name", "argument"), MASKED)
def test_masks_are_masks_in_every_factory(name, argument):
    factory = optax_factories.FACTORIES[name]
    args, kwargs = factory.arguments
    decay = {n: 0.5 for n in ("weight_decay", "weight_decay_rate") if n in factory.parameters}
    only_trees = name in ("freeze", "selective_transform")

    def first_updates(make, mask):
        optimizer = make(*args, **{**kwargs, **decay, argument: mask})
        zeros = jax.tree.map(jnp.zeros_like, PARAMS)
        gradients = factory.updates if factory.extra or not decay else zeros
        return optimizer.update(gradients, optimizer.init(PARAMS), PARAMS, **factory.extra)[0]

    with jax_as_optax_needs_it():
        for kind, mask in MASKS.items():
            if only_trees and kind != "dict":
                continue
            lift = jm.lift(factory.function)
            assert bits(first_updates(lift, mask)) == bits(first_updates(factory.function, mask))
            optimizer = lift(*args, **{**kwargs, **decay, argument: mask})
            assert not isinstance(jm.hyperparameters(optimizer).get(argument), Partial)
            jax.eval_shape(
                lambda o: o.update(PARAMS, o.init(PARAMS), PARAMS, **factory.extra), optimizer
            )


def test_masks_of_equal_content_share_a_compilation():
    traces = []

    @jax.jit
    def run(optimizer):
        traces.append(optimizer)
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)

    for mask in ({"w": True, "b": False}, {"w": np.bool_(True), "b": np.bool_(False)}):
        for _ in range(2):
            run(jm.lift(optax.adamw)(0.1, mask=dict(mask)))
            run(jm.lift(optax.adamw)(0.1, mask=functools.partial(is_matrix_above, 0.5)))
    assert len(traces) == 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    """Params that are a pytree and can be called, as the modules of equinox are."""

    w: Any
    b: Any

    def __call__(self, x):
        raise AssertionError("a mask that has the structure of params is no function of them")


@pytest.mark.parametrize("name", ["adamw", "masked", "freeze", "add_decayed_weights"])
def test_a_mask_that_is_a_module_is_not_called(name):
    factory, params, mask = optax_factories.FACTORIES[name], Layer(**PARAMS), Layer(True, False)
    args, kwargs = factory.arguments
    decay = {"weight_decay": 0.5} if "weight_decay" in factory.parameters else {}

    def updates(make):
        optimizer = make(*args, **{**kwargs, **decay, "mask": mask})
        return optimizer.update(params, optimizer.init(params), params)[0]

    with jax_as_optax_needs_it():
        assert bits(updates(jm.lift(factory.function))) == bits(updates(factory.function))


# Pickles


# Their arguments are closures of optax, which Python cannot pickle.
WITH_CLOSURES = {
    name
    for name, factory in optax_factories.FACTORIES.items()
    if {"inner", "tx", "optimizer", "transforms", "fast_optimizer", "step_size_fn"}
    & set(factory.arguments[1])
    or factory.arguments[0]
    or {"base_optimizer", "adv_optimizer"} & set(factory.arguments[1])
}


@pytest.mark.parametrize("name", sorted(set(optax_factories.FACTORIES) - WITH_CLOSURES))
def test_every_lifted_factory_can_be_pickled(name):
    """And its twin shares its compilation, for it has the same structure."""
    with jax_as_optax_needs_it():
        lifted, _ = lifted_and_plain(optax_factories.FACTORIES[name])
    twin = pickle.loads(pickle.dumps(lifted))
    assert jax.tree.structure(twin) == jax.tree.structure(lifted)
    assert hash(jax.tree.structure(twin)) == hash(jax.tree.structure(lifted))
    assert bits(jax.tree.leaves(twin)) == bits(jax.tree.leaves(lifted))


def test_optimizers_within_optimizers_can_be_pickled():
    inner = jm.heavy_ball(0.1, 0.9)
    for optimizer in (
        jm.lift(optax.masked)(inner, {"w": True, "b": False}),
        jm.lift(optax.partition)({"x": inner, "y": jm.lift(optax.adam)(0.1)}, {"w": "x", "b": "y"}),
        jm.chain(jm.lift(optax.clip)(1.0), inner),
    ):
        twin = pickle.loads(pickle.dumps(optimizer))
        assert jax.tree.structure(twin) == jax.tree.structure(optimizer)
        assert jax.tree.leaves(twin) == jax.tree.leaves(optimizer)


def test_optimizers_within_a_partition_stay_leaves():
    both = {"x": jm.heavy_ball(0.1, 0.9), "y": jm.heavy_ball(0.01, 0.5)}
    optimizer = jm.lift(optax.partition)(both, {"w": "x", "b": "y"})
    assert jax.tree.leaves(optimizer.update) == [0.9, 0.1, 0.5, 0.01]

    def first(optimizer):
        return optimizer.update(PARAMS, optimizer.init(PARAMS))[0]

    np.testing.assert_allclose(first(optimizer)["w"], -0.1 * PARAMS["w"], rtol=1e-6)
    np.testing.assert_allclose(first(optimizer)["b"], -0.01 * PARAMS["b"], rtol=1e-6)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, optimizer)
    np.testing.assert_allclose(jax.jit(first)(doubled)["b"], -0.02 * PARAMS["b"], rtol=1e-6)


# Factories of others


def step_of(optimizer, gradient=1.0):
    params = jnp.asarray(gradient)
    return float(optimizer.update(params, optimizer.init(params))[0])


def with_keywords(lr, **options):
    return optax.sgd(lr, **options)


def with_arguments(*rates):
    return optax.chain(*(optax.scale(rate) for rate in rates))


def positional_only(lr, /, scale=1.0):
    return optax.scale(-lr * scale)


def reserved(transforms=0.1, leaves=1.0, params=1.0, state=1.0, hp=1.0):
    return optax.scale(-transforms * leaves * params * state * hp)


def unannotated(lr):
    return optax.sgd(lr)


def counting(lr, count: int, period=2, optional: int | None = None):
    assert isinstance(count, int)
    assert isinstance(period, int)
    return optax.sgd(lr * count * period)


def annotated(lr: float = 1, *, text: "float" = 2, period: "int | None" = None, **options):
    assert isinstance(options.get("count", 1), int)
    assert period is None or isinstance(period, int)
    return optax.scale(-lr * text)


def with_if(lr, beta=0.9):
    return optax.sgd(lr, momentum=beta if beta > 0 else None)


def of_functions(function, rate=0.1):
    return optax.chain(
        optax.stateless(lambda updates, _: jax.tree.map(function, updates)), optax.scale(-rate)
    )


@pytest.mark.parametrize(
    ("factory", "args", "kwargs", "leaves", "step"),
    [
        (with_keywords, (0.1,), {"momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}, -0.1),
        (with_arguments, (0.5, -0.5), {}, {"rates.0": 0.5, "rates.1": -0.5}, -0.25),
        (positional_only, (0.1,), {"scale": 2.0}, {"lr": 0.1, "scale": 2.0}, -0.2),
        (reserved, (0.2,), {}, {"transforms": 0.2, "leaves": 1.0}, -0.2),
        (unannotated, (1,), {}, {"lr": 1.0}, -1.0),
        (unannotated, (np.int64(2),), {}, {"lr": 2.0}, -2.0),
        (unannotated, (np.float32(0.5),), {}, {"lr": 0.5}, -0.5),
        (counting, (0.1, 3), {}, {"lr": 0.1}, -0.6),
        (counting, (0.1, np.int32(3)), {"period": jnp.int32(1)}, {"lr": 0.1}, -0.3),
        (annotated, (), {}, {"lr": 1.0, "text": 2.0}, -2.0),
        (annotated, (3,), {"period": 4, "count": 5}, {"lr": 3.0, "text": 2.0}, -6.0),
        (functools.partial(unannotated), (0.1,), {}, {"lr": 0.1}, -0.1),
        (functools.partial(optax.sgd, momentum=0.5), (0.1,), {}, {"momentum": 0.5}, -0.1),
    ],
)
def test_factories_of_others(factory, args, kwargs, leaves, step):
    lifted = jm.lift(factory)(*args, **kwargs)
    found = jm.hyperparameters(lifted)
    assert found.items() >= leaves.items()
    assert not {"count", "period"} & set(found)
    np.testing.assert_allclose(step_of(lifted), step, rtol=1e-6)
    again = jax.jit(step_traced)(lifted)
    np.testing.assert_allclose(again, step, rtol=1e-6)
    name = next(iter(leaves))
    moved = jm.replace(lifted, **{name: 2 * leaves[name]})
    assert jax.tree.structure(moved) == jax.tree.structure(lifted)


def step_traced(optimizer):
    params = jnp.array(1.0)
    return optimizer.update(params, optimizer.init(params))[0]


def test_functions_reach_the_factories_of_others_as_they_are():
    """Unless the default is a float, the value is of jm.schedules, or `schedules` names them."""
    for function in (
        lambda u: 2 * u,
        functools.partial(jnp.multiply, 2.0),
        Partial(lambda u: 2 * u),
        Partial(jnp.multiply, 2.0),
        Partial(jnp.multiply, jnp.array(2.0)),
    ):
        lifted = jm.lift(of_functions)(function)
        np.testing.assert_allclose(step_of(lifted), -0.2)
        np.testing.assert_allclose(jax.jit(step_traced)(lifted), -0.2)
    rate = lambda t: 0.5 / (1.0 + jnp.asarray(t, float))  # noqa: E731
    scheduled = jm.lift(of_functions)(lambda u: 2 * u, rate=rate)
    np.testing.assert_allclose(step_of(scheduled), -1.0)
    assert isinstance(jm.hyperparameters(scheduled)["rate"], Partial)
    linear = jm.schedules.linear(0.5, 0.0, steps=10.0)
    for lifted in (
        jm.lift(positional_only, schedules="lr")(rate),
        jm.lift(positional_only)(linear),
        jm.lift(unannotated)(rate),  # optax knows schedules of learning rates
        jm.lift(unannotated)(Partial(lambda scale, t: scale / (1.0 + jnp.asarray(t, float)), 0.5)),
    ):
        np.testing.assert_allclose(step_of(lifted), -0.5)


def test_static_keeps_a_number_out_of_the_leaves():
    lifted = jm.lift(with_if, static=["beta"])(0.1, beta=0.9)
    assert jm.hyperparameters(lifted) == {"lr": 0.1}
    assert jax.jit(step_traced)(lifted) == step_of(lifted)


def test_a_traced_value_where_python_looks_is_explained():
    lifted = jm.lift(with_if)(0.1)
    with pytest.raises(
        TypeError, match=r"with_if needs the plain value.*\['lr', 'beta'\] are traced.*static="
    ):
        jax.jit(step_traced)(lifted)
    with pytest.raises(TypeError, match=r"\['beta'\] are traced.*with_if, static=\['beta'\]"):
        jax.vmap(lambda beta: step_traced(jm.lift(with_if)(0.1, beta)))(jnp.array([0.5, 0.9]))


def multi_steps(lr, k):
    return optax.MultiSteps(optax.sgd(lr), k).gradient_transformation()


def repeated(lr, n):
    return optax.stateless(lambda updates, _: [(updates := lr * updates) for _ in range(n)][-1])


def with_assertion(lr, n):
    assert isinstance(n, int)
    return optax.sgd(lr)


@pytest.mark.parametrize("factory", [multi_steps, repeated, with_assertion])
def test_an_integer_that_became_a_float_is_explained(factory):
    name = list(inspect.signature(factory).parameters)[1]
    remedy = rf"perhaps because \['{name}'\].*lift\({factory.__name__}, static=\['{name}'\]\)"
    with pytest.raises(TypeError, match=remedy):
        step_of(jm.lift(factory)(0.5, 2))
    with pytest.raises(TypeError, match=rf"perhaps because|static=\['{name}'\]"):
        jax.jit(step_traced)(jm.lift(factory)(0.5, 2))
    assert np.isfinite(jax.jit(step_traced)(jm.lift(factory, static=[name])(0.5, 2)))


def test_integers_and_floats_share_a_compilation():
    one, other = jm.lift(unannotated)(1), jm.lift(unannotated)(1.0)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(other))


class Kept(NamedTuple):
    rate: Any


def keeping(lr, scale=1.0):
    """Like optax.inject_hyperparams: the state holds the rate that `init` saw."""
    return optax.GradientTransformation(
        lambda params: Kept(jnp.asarray(lr)),
        lambda updates, state, params=None: (
            jax.tree.map(lambda u: -scale * state.rate * u, updates),
            state,
        ),
    )


def injected(lr):
    return optax.inject_hyperparams(optax.sgd)(lr)


RATE = jm.schedules.linear(1.0, 0.0, 10)


@pytest.mark.parametrize("factory", [keeping, injected])
def test_a_schedule_that_a_state_would_keep_is_refused(factory):
    with pytest.raises(ValueError, match=f"{factory.__name__} makes its first state with lr, so"):
        jm.lift(factory)(RATE)
    with pytest.raises(ValueError, match=f"{factory.__name__} makes its first state with lr, so"):
        jm.replace(jm.lift(factory)(0.1), lr=RATE)
    np.testing.assert_allclose(step_of(jm.lift(factory)(0.1)), -0.1, rtol=1e-6)
    swept = jax.vmap(lambda lr: step_traced(jm.lift(factory)(lr)))(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(swept, [-0.1, -0.2], rtol=1e-6)


def test_a_schedule_of_what_only_update_uses_is_admitted():
    lifted = jm.lift(keeping)(0.1, scale=jm.schedules.linear(1.0, 0.0, 10))
    state, found = lifted.init(jnp.ones(())), []
    for _ in range(3):
        update, state = lifted.update(jnp.ones(()), state)
        found.append(update)
    np.testing.assert_allclose(found, [-0.1, -0.09, -0.08], rtol=1e-12)


FIRST = {
    "adagrad": "initial_accumulator_value",
    "contrib.cocob": "eps",
    "contrib.dadapt_adamw": "estim_lr0",
    "contrib.dowg": "eps",
    "contrib.mechanize": "s_init",
    "contrib.momo": "lower_bound",
    "contrib.momo_adam": "lower_bound",
    "contrib.prodigy": "estim_lr0",
    "contrib.schedule_free": "b1",
    "contrib.schedule_free_adamw": "b1",
    "contrib.schedule_free_sgd": "b1",
    "contrib.scale_by_cocob": "eps",
    "rmsprop": "initial_scale",
    "rprop": "learning_rate",
    "scale_by_distance_over_gradients": "reps_rel",
    "scale_by_rms": "initial_scale",
    "scale_by_rprop": "learning_rate",
    "scale_by_rss": "initial_accumulator_value",
    "scale_by_stddev": "initial_scale",
    "scale_by_yogi": "initial_accumulator_value",
}


def test_what_the_first_state_of_a_factory_is_made_with_has_no_schedule():
    found = {}
    with jax_as_optax_needs_it():
        for name, factory in optax_factories.FACTORIES.items():
            args, kwargs = factory.arguments
            lifted = jm.lift(factory.function)(*args, **kwargs)
            numbers = {
                label for label, v in jm.hyperparameters(lifted).items() if isinstance(v, float)
            }
            for label in numbers & set(factory.parameters) & set(lifted.init.func.needs):
                if lifted.update.func.fns.check.kept:  # else nobody can say
                    found[name] = label
                    with pytest.raises(ValueError, match=f"makes its first state with {label}"):
                        jm.replace(lifted, **{label: RATE})
    assert found == FIRST


def test_keys_are_static_unless_they_are_traced():
    def noise(key):
        return step_traced(jm.lift(optax.add_noise)(1e-3, 0.55, key=key))

    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_array_equal(jax.vmap(noise)(keys), [noise(key) for key in keys])
    for key in (lambda: 7, lambda: jax.random.key(7)):
        optimizers = [jm.lift(optax.add_noise)(1e-3, 0.55, key=key()) for _ in range(2)]
        slopes = jax.grad(step_traced)(optimizers[0])  # integers and keys have none
        assert jm.hyperparameters(slopes).keys() == {"eta", "gamma"}
        assert jax.tree.structure(optimizers[0]) == jax.tree.structure(optimizers[1])


def test_mistakes_get_a_sentence():
    with pytest.raises(ValueError, match=r"adam has no arguments \['beta'\]; it has \['learning"):
        jm.lift(optax.adam, static=["beta"])
    with pytest.raises(TypeError, match="returned function, which is not an optax"):
        jm.lift(optax.inject_hyperparams)(optax.adam)
    with pytest.raises(TypeError, match=r"lift the factory itself, as in jm.lift\(optax.sgd\)"):
        jm.lift(optax.inject_hyperparams(optax.sgd))
    with pytest.raises(TypeError, match=r"learning_rate='0.1' is a string; give a number"):
        jm.lift(optax.sgd)("0.1")
    with pytest.raises(TypeError, match=r"\['lr', 'scale', 'lr'\] need different names"):
        jm.lift(lambda lr, /, scale=1.0, **options: optax.sgd(lr))(0.1, lr=0.2)


# Integer params


@some_factories
def test_integer_params_are_moved_by_float_arithmetic(factory, values, static):
    lifted = jm.lift(factory)(**values, **static)

    def steps(params):
        state = lifted.init(params)
        for scale in (1.0, 0.5, -0.25):
            updates, state = lifted.update(scale * jnp.array([1.0, -2.0]), state, params)
        return updates, state

    whole, fractional = steps(jnp.array([100, 3])), steps(jnp.array([100.0, 3.0]))
    assert bits(whole) == bits(fractional)


def test_the_page_of_lifted_factories_is_not_stale():
    page = lifted_table.PAGE.read_text(encoding="utf8")
    if f"optax {optax.__version__} " not in page:
        pytest.skip("the page is that of another version of optax")
    with jax_as_optax_needs_it():
        found = lifted_table.render_page()
    assert found == page, "run python tests/lifted_table.py"
    assert found.count("\n| `") == len(optax_factories.FACTORIES) + 14
