"""Numbers of every method: float32 near beta = 1, integers, complex, counts, sharding, pickles."""

import functools
import itertools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS
from cases.basic import sgd
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmom as jm

every_method = pytest.mark.parametrize("case", METHODS.values(), ids=METHODS)
LINEAR = {name: case for name, case in METHODS.items() if case.linear}
every_linear_method = pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)


def make(case, **changes):
    return case.make(**{**case.hyperparameters, **changes}, **case.static)


def without_decay(case):
    """A method whose updates depend on gradients alone."""
    return make(case, **({"weight_decay": None} if "weight_decay" in case.hyperparameters else {}))


def updates_of(optimizer, gradients, params=None):
    """The updates for some gradients, one after the other, without compiling."""
    state, found = optimizer.init(gradients[0] if params is None else params), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state, gradient if params is None else params)
        found.append(update)
    return found


NEAR_ONE = 1 - 1e-6
LONG = {
    name: {n: NEAR_ONE for n in ("beta", "b2", "momentum", "dampening") if n in c.hyperparameters}
    for name, c in LINEAR.items()
    if "nesterov" not in c.static and "maximize" not in c.static
}


@pytest.mark.parametrize("name", [name for name, changes in LONG.items() if changes])
@pytest.mark.parametrize("jit", [False, True])
def test_float32_keeps_the_digits_of_long_memories(name, jit):
    """Of plain numbers: 1 - 0.999999 in float32 is wrong by 1.3 %. Three steps from 0."""
    case, steps = LINEAR[name], 4
    values = {**case.hyperparameters, **LONG[name]}
    values |= {"weight_decay": 0.0} if "weight_decay" in values else {}
    paper = case.paper(lambda point, t: np.ones(1), np.zeros(1), **values, **case.static)
    expected = [y for y, _ in itertools.islice(paper, steps)]
    with jax.enable_x64(False):
        optimizer = case.make(**values, **case.static)
        update = jax.jit(optimizer.update) if jit else optimizer.update
        y = jnp.zeros(1)
        state, found = optimizer.init(y), []
        for _ in range(steps):
            found.append(np.asarray(y))
            step, state = update(jnp.ones(1), state, y)
            y = y + step
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-5)


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999, 0.999999, 0.9999999])
def test_a_debiased_average_of_ones_is_one(beta):
    """Also where beta is traced: the weight of the gradients follows the filter's own rounding."""

    def averages(beta):
        optimizer = jm.ema_momentum(1.0, beta, debias=True)
        step = lambda state, _: optimizer.update(jnp.ones([]), state)[::-1]  # noqa: E731
        return jax.lax.scan(step, optimizer.init(jnp.ones([])), length=300)[1]

    with jax.enable_x64(False):
        np.testing.assert_allclose(averages(beta), -1.0, rtol=2e-6)
        np.testing.assert_allclose(jax.jit(averages)(beta), -1.0, rtol=2e-6)


def test_coefficients_of_plain_numbers_are_rounded_once():
    with jax.enable_x64(False):
        for given in (NEAR_ONE, np.float64(NEAR_ONE), np.array(NEAR_ONE)):
            c = jm.coefficients.ema_momentum(given)
            np.testing.assert_allclose(c.gain, 1e-6, rtol=1e-7)
            np.testing.assert_allclose(jm.coefficients.sgd(0.9, given).gain, 1e-6, rtol=1e-7)
        assert c.gain.dtype == jnp.float32
        # rho = 1 - 1e-3: 1 - rho^2 is 2e-3 (1 - 5e-4).
        triple = jm.coefficients.triple_momentum(1e-6, 1.0)
        rho = 1 - 1e-3
        out = rho**2 / (1 - rho**2) - rho**2 / ((1 + rho) * (2 - rho))
        np.testing.assert_allclose(triple.evaluate, out * (1 + rho), rtol=1e-6)


def test_schedules_of_plain_numbers_keep_their_digits():
    with jax.enable_x64(False):
        # beta / (1 - beta) is linear: at half of the way from 999,999 to 0.
        half = float(jm.schedules.demon(NEAR_ONE, steps=2)(1))
        np.testing.assert_allclose(half, 499_999.5 / 500_000.5, rtol=1e-7)
        # At half of the way the half-life is the mean of the two.
        lives = [np.log(0.5) / np.log(beta) for beta in (0.5, NEAR_ONE)]
        middle = float(jm.schedules.half_life(0.5, NEAR_ONE, steps=2)(1))
        np.testing.assert_allclose(1 - middle, 1 - 0.5 ** (2 / sum(lives)), rtol=0.04)


def test_ogm_gradient_keeps_its_digits_over_long_runs():
    """theta falls from half of N to 1: its last steps are what float32 would lose."""
    steps, thetas = 3000, [1.0]
    for i in range(steps - 1, -1, -1):
        thetas.insert(0, (1 + np.sqrt(1 + (4 if i > 0 else 8) * thetas[0] ** 2)) / 2)
    now, following = np.array(thetas[:-1]), np.array(thetas[1:])
    with jax.enable_x64(False):
        recurrence = jm.coefficients.ogm_gradient(steps)
        start = (jnp.zeros([], jnp.int32), jnp.ones([]))
        _, c = jax.lax.scan(lambda carry, _: recurrence.step(carry), start, length=steps)
    np.testing.assert_allclose(c.gain[:, 0], (2 * following - 1) / now, rtol=1e-5)


@every_method
def test_integer_params_move_as_floating_ones(case):
    """Whole numbers are where a run starts, not how it steps; gradients may be whole too."""
    whole, real = np.array([100, -50]), np.array([100.0, -50.0])
    optimizer = make(case)
    for gradients in ([2 * whole, 3 * whole, -whole], [2.5 * real, 3.1 * real, -real]):
        expected = updates_of(optimizer, [np.asarray(g, float) for g in gradients], real)
        found = updates_of(optimizer, gradients, whole)
        for one, other in zip(found, expected, strict=True):
            assert jnp.issubdtype(one.dtype, jnp.floating)
            np.testing.assert_allclose(one, other, rtol=1e-13)
    assert any(np.abs(u).max() > 1e-3 for u in found)
    state = optimizer.init(whole)
    np.testing.assert_array_equal(jm.eval_params(optimizer, whole, state), real)


def test_eval_params_of_integer_params_is_floating():
    optimizer, params = jm.nesterov(0.1, 0.5), np.array([3, 4])
    _, state = optimizer.update(np.ones(2), optimizer.init(params), params)
    np.testing.assert_allclose(jm.eval_params(optimizer, params, state), params + 0.05)


def test_a_state_of_whole_numbers_that_would_lose_fractions_is_refused():
    def update(hp, updates, state, params=None, **extra):
        new = jax.tree.map(lambda g, m: hp["beta"] * m + g, updates, state)
        return new, new

    trace = jm.transformation(lambda hp, p: jax.tree.map(jnp.zeros_like, p), update, {"beta": 0.5})
    assert trace.update(jnp.ones(2), trace.init(jnp.ones(2)))[0].shape == (2,)
    with jax.numpy_dtype_promotion("standard"), pytest.raises(TypeError, match="fraction would be"):
        trace.update(jnp.ones(2), trace.init(jnp.array([1, 2])))


@every_linear_method
def test_complex_gradients_are_two_real_ones(case):
    if case.is_complex:
        with pytest.raises(TypeError, match="for real params; give complex ones as two real"):
            make(case).init(np.ones(2) * 1j)
        return
    optimizer, rng = without_decay(case), np.random.default_rng(4)
    a, b = rng.normal(size=(2, 3, 2))
    together, real, imaginary = (
        np.asarray(updates_of(optimizer, list(gradients))) for gradients in (a + 1j * b, a, b)
    )
    np.testing.assert_allclose(together, real + 1j * imaginary, rtol=1e-12)


FILTERS = {
    name: getattr(jm.coefficients, name)(
        **{k: v for k, v in case.hyperparameters.items() if k != "learning_rate"}
    )
    for name, case in LINEAR.items()
    if name in jm.coefficients.__all__ and name != "sgd" and not case.is_complex
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
@pytest.mark.parametrize("name", FILTERS)
def test_real_accumulators_leave_complex_leaves_alone(name, dtype):
    gradient = {"z": jnp.array([1j, 2.0], jnp.complex64), "x": jnp.ones(2, jnp.float32)}
    free = jm.scale_by_momentum(FILTERS[name])
    bound = jm.scale_by_momentum(FILTERS[name], accumulator_dtype=dtype)
    for buffer in bound.init(gradient).buffers:
        assert buffer["z"].dtype == jnp.complex64
        assert buffer["x"].dtype == dtype
    found, expected = (updates_of(f, [gradient, gradient])[-1]["z"] for f in (bound, free))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "factory", [optax.trace, optax.ema, optax.scale_by_lion], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.float64, jnp.bfloat16])
def test_lifted_accumulators_leave_complex_leaves_alone(factory, dtype):
    gradient = jnp.array([1j, 2.0], jnp.complex64)
    arguments = () if factory is optax.scale_by_lion else (0.9,)
    lifted = jm.lift(factory, accumulator_dtype=dtype)(*arguments)
    with jax.numpy_dtype_promotion("standard"):
        expected = updates_of(factory(*arguments), [gradient, gradient])[-1]
    np.testing.assert_allclose(updates_of(lifted, [gradient, gradient])[-1], expected, rtol=1e-6)


def test_complex_momentum_of_real_params_is_the_real_part():
    """m <- b m + g with complex b; the update is Re m. Lucas et al. 2021 (arXiv 2102.08431)."""
    b, gradients = 0.8 * np.exp(0.5j), np.random.default_rng(5).normal(size=(6, 2))
    c = jm.reading_new(decay=b, gain=1.0, read=1.0)
    with pytest.raises(TypeError, match="complex coefficients need complex buffers"):
        updates_of(jm.scale_by_momentum(c), list(gradients))
    found = updates_of(jm.scale_by_momentum(c, accumulator_dtype=complex), list(gradients))
    m, expected = np.zeros(2), []
    for g in gradients:
        m = b * m + g
        expected.append(m.real)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_dtypes_that_would_lose_something_are_refused():
    with pytest.raises(ValueError, match="accumulator_dtype is a floating dtype, not int32"):
        jm.scale_by_momentum(FILTERS["qhm"], accumulator_dtype=jnp.int32)
    trace = jm.scale_by_momentum(FILTERS["heavy_ball"])
    with pytest.raises(TypeError, match="gradient is complex but the buffers are real"):
        trace.update(jnp.full(2, 1j), trace.init(jnp.ones(2)))


LAST = 2**31 - 1


def at_the_last_count(state):
    """The state with every count at the end of int32."""
    whole = lambda x: jnp.issubdtype(x.dtype, jnp.integer)  # noqa: E731
    return jax.tree.map(lambda x: jnp.full_like(x, LAST) if whole(x) else x, state)


@every_method
def test_counts_saturate(case):
    schedules = {n: jm.schedules.constant(v) for n, v in case.hyperparameters.items()}
    params = jnp.ones(2)
    for optimizer in (make(case), make(case, **schedules)):
        state = at_the_last_count(optimizer.init(params))
        for _ in range(2):
            _, state = optimizer.update(params, state, params)
        chex.assert_trees_all_equal(state, at_the_last_count(state))


def test_demon_stays_at_zero_for_ever():
    params = jnp.ones([])
    for optimizer in (
        jm.demon(0.1, steps=100),
        jm.heavy_ball(0.1, jm.schedules.demon(0.9, 100)),
        jm.heavy_ball(0.1, jm.schedules.join([0.9, jm.schedules.demon(0.9, 100)], [7])),
    ):
        state = at_the_last_count(optimizer.init(params))
        for _ in range(3):
            update, state = optimizer.update(params, state)
            np.testing.assert_allclose(update, -0.1)


SGDS = {name: case for name, case in METHODS.items() if case.make is jm.sgd}


@pytest.mark.parametrize("case", SGDS.values(), ids=SGDS)
@pytest.mark.parametrize("start", [0, 1, 4])
def test_each_leaf_has_its_own_first_gradient(case, start):
    """A leaf without gradients for some steps runs as if it began with its first one."""
    optimizer, values = make(case), {**case.hyperparameters, **case.static}
    params = {"early": jnp.ones(2), "late": jnp.full(2, 3.0), "none": None}
    expected = {}
    for name in ("early", "late"):
        alone = sgd(lambda x, t: 2 * x, np.asarray(params[name]), **values)
        expected[name] = [y for y, _ in itertools.islice(alone, 6)]
    state = optimizer.init(params)
    update = jax.jit(optimizer.update, static_argnames=())
    for t in range(6):
        np.testing.assert_allclose(params["early"], expected["early"][t], rtol=1e-13)
        np.testing.assert_allclose(params["late"], expected["late"][max(t - start, 0)], rtol=1e-13)
        gradient = jax.tree.map(lambda x: 2 * x, params)
        gradient["late"] = gradient["late"] if t >= start else None
        step, state = update(gradient, state, params)
        params = {k: p if step[k] is None else p + step[k] for k, p in params.items()}


def test_a_subtree_without_gradient_awaits_its_first():
    optimizer = jm.sgd(0.1, 0.9, dampening=0.5)
    params = {"a": {"x": jnp.ones(1), "y": jnp.ones(1)}, "b": jnp.ones(1), "c": None}
    ones = jax.tree.map(jnp.ones_like, params)
    state = optimizer.init(params)
    assert state.awaiting.shape == (3,)
    _, state = optimizer.update({"a": None, "b": jnp.ones(1), "c": None}, state)
    np.testing.assert_array_equal(state.awaiting, [True, True, False])
    updates, state = optimizer.update(ones, state)
    np.testing.assert_allclose(updates["a"]["x"], -0.1)  # the undamped first one
    np.testing.assert_allclose(updates["b"], -0.1 * (0.9 + 0.5))
    assert not state.awaiting.any()
    assert optimizer.update({"c": None}, optimizer.init({"c": None}))[0] == {"c": None}


def test_first_gradients_of_a_delay_belong_to_each_leaf_too():
    c = jm.coefficients.optimistic_gradient(1.0)
    optimizer = jm.scale_by_momentum(c, start="first_gradient")
    params = {"a": jnp.ones(()), "b": jnp.ones(())}
    _, state = optimizer.update({"a": jnp.ones(()), "b": None}, optimizer.init(params))
    update, _ = optimizer.update({"a": jnp.array(3.0), "b": jnp.array(3.0)}, state)
    np.testing.assert_allclose([update["a"], update["b"]], [3 + (3 - 1), 3])


@every_method
def test_states_follow_the_sharding_of_params(case):
    mesh = jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    params = {"a": jax.device_put(jnp.ones((4, 2)), sharding)}
    leaves = jax.tree.leaves(make(case).init(params))
    for buffer in [leaf for leaf in leaves if leaf.ndim == 2]:
        assert buffer.sharding == sharding
    assert all(leaf.size == 1 for leaf in leaves if leaf.ndim < 2)  # counts and flags


@every_method
@pytest.mark.parametrize("axis_type", [AxisType.Explicit, AxisType.Auto], ids=str)
def test_a_scan_with_sharded_params(case, axis_type):
    """With explicit axes, where types have shardings; and in shard_map, where they vary."""
    mesh = jax.make_mesh((1,), ("x",), axis_types=(axis_type,))
    optimizer = make(case)

    def final(params):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=3)
        return jm.eval_params(optimizer, params, state)

    with jax.disable_jit():
        expected = final(jnp.ones((4, 2)))
    if axis_type is AxisType.Auto:
        spec = PartitionSpec("x")
        final = jax.shard_map(final, mesh=mesh, in_specs=spec, out_specs=spec)
        params = jnp.ones((4, 2))
        np.testing.assert_allclose(jax.jit(final)(params), expected, rtol=1e-13)
        return
    with jax.set_mesh(mesh):
        params = jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, PartitionSpec("x")))
        np.testing.assert_allclose(jax.jit(final)(params), expected, rtol=1e-13)


@every_method
def test_an_unpickled_optimizer_shares_the_compilation_of_its_twin(case):
    scheduled = {"learning_rate": jm.schedules.cosine(0.1, 0.01, 100)}
    with_schedule = [make(case, **scheduled)] if "learning_rate" in case.hyperparameters else []
    for optimizer in (make(case), *with_schedule):
        again = pickle.loads(pickle.dumps(optimizer))
        assert jax.tree.structure(again) == jax.tree.structure(optimizer)
        assert hash(jax.tree.structure(again)) == hash(jax.tree.structure(optimizer))
        assert jax.tree.leaves(again) == jax.tree.leaves(optimizer)
        traces = []

        @jax.jit
        def first_update(optimizer, params, traces=traces):
            traces.append(None)
            return optimizer.update(params, optimizer.init(params), params)

        results = [first_update(one, jnp.ones(2)) for one in (optimizer, again)]
        chex.assert_trees_all_equal(*results)
        assert len(traces) == 1
        states = [one.init(jnp.ones(2)) for one in (optimizer, again)]
        chex.assert_trees_all_equal(pickle.loads(pickle.dumps(states[0])), states[1])


def test_combinations_pickle():
    optimizer = jm.chain(
        jm.mix([jm.heavy_ball(0.1), jm.nesterov(0.2)], [0.5, 0.5]),
        jm.scale_by_momentum(jm.coefficients.ema_momentum(0.9)),
        jm.momentum_method(jm.coefficients.aggmo, "inside", learning_rate=0.1),
    )
    again = pickle.loads(pickle.dumps(optimizer))
    assert jax.tree.structure(again) == jax.tree.structure(optimizer)


@every_method
def test_plain_numbers_stay_plain(case):
    """So that what forbids arrays in static places, such as flax's nnx.Optimizer, takes them."""
    mixed = jm.mix([make(case), optax.identity()], [0.5, 0.5])
    for optimizer in (make(case), mixed):
        assert all(type(leaf) is float for leaf in jax.tree.leaves(optimizer))


def test_a_vector_of_numpy_is_plain_numbers():
    betas, weights = np.array([0.5, 0.9, 0.99]), np.array([0.5, 2])
    for optimizer in (
        jm.aggmo(0.1, betas),
        jm.replace(jm.aggmo(0.1), betas=betas),
        jm.mix([jm.heavy_ball(0.1), optax.identity()], weights),
    ):
        assert all(type(leaf) is float for leaf in jax.tree.leaves(optimizer))
    batch = jm.replace(jm.heavy_ball(0.1), learning_rate=betas)  # of a number, to be mapped over
    assert jm.hyperparameters(batch)["learning_rate"].shape == (3,)


@every_method
def test_flax_nnx_optimizer(case):
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
    mixed = jm.mix([make(case), optax.identity()], [0.5, -0.01])
    with jax.numpy_dtype_promotion("standard"):
        for tx in (make(case), mixed):
            model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
            before = np.asarray(model.kernel[...])
            optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
            gradient = nnx.grad(lambda m: jnp.mean(m(jnp.ones((4, 2))) ** 2))(model)
            optimizer.update(model, gradient)
            assert np.abs(np.asarray(model.kernel[...]) - before).max() > 0


def test_coefficients_in_flax_nnx_optimizer():
    """Their arrays are refused there, with a function of the count as the remedy."""
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
    coefficients = jm.coefficients.heavy_ball(beta=0.9)
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="static attribute 'tx'"):
        nnx.Optimizer(model, jm.scale_by_momentum(coefficients), wrt=nnx.Param)
    tx = jm.chain(jm.scale_by_momentum(lambda count: coefficients), optax.scale(-0.1))
    optimizer, start = nnx.Optimizer(model, tx, wrt=nnx.Param), np.asarray(model.kernel[...])
    ones = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    for _ in range(2):
        optimizer.update(model, ones)
    np.testing.assert_allclose(model.kernel[...], start - 0.1 * (1 + 1.9), rtol=1e-6)


def test_a_sequence_of_numbers_reaches_update_as_an_array():
    def update(hp, updates, state, params=None, **extra):
        return jax.tree.map(lambda g: jnp.asarray(hp["factors"], g.dtype) * g, updates), state

    scale = functools.partial(jm.transformation, lambda hp, params: (), update)
    for factors in ([2.0, 3], (2.0, jnp.array(3.0)), np.array([2.0, 3.0])):
        optimizer = scale({"factors": factors})
        found, _ = optimizer.update(jnp.ones(2), ())
        np.testing.assert_array_equal(found, [2.0, 3.0])
        np.testing.assert_array_equal(jm.hyperparameters(optimizer)["factors"], [2.0, 3.0])
