"""Optimizers out of optimizers: each against its paper's loop, and the laws that all keep."""

import itertools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

HESSIAN = np.diag([1.0, 4.0, 9.0])
START = np.array([1.0, -2.0, 0.5])
NOISE = np.random.default_rng(0).normal(size=(40, 3))


def noisy_loss(x, noise):
    return x @ jnp.asarray(HESSIAN) @ x / 2 + noise @ x


def loss(x):
    return x @ jnp.asarray(HESSIAN) @ x / 2


def gradient(x, t):
    return HESSIAN @ x + NOISE[t]


def run(optimizer, steps=40, noisy=True):
    """The points at which gradients are taken, and those at which the optimizer evaluates."""

    def points(step):
        return {"y": step.params, "x": jm.eval_params(optimizer, step.params, step.state)}

    given = {"record": points, "divergence": 1e30}
    if noisy:
        batches = jnp.asarray(NOISE[:steps])
        return jm.optimize(
            noisy_loss, jnp.asarray(START), optimizer, steps, batches=batches, **given
        )
    return jm.optimize(loss, jnp.asarray(START), optimizer, steps, **given)


def assert_close(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, np.asarray(expected) / scale, rtol=0, atol=1e-12)


def heavy_ball(x, learning_rate, beta):
    v, t = np.zeros_like(x), 0
    while True:
        yield x
        v = beta * v - learning_rate * gradient(x, t)
        x, t = x + v, t + 1


HB = {"learning_rate": 0.05, "beta": 0.8}
PATH = np.array(list(itertools.islice(heavy_ball(START, **HB), 41)))


# Averages


def moving_average(points, beta):
    x = points[0]
    yield x
    for y in points[1:]:
        x = beta * x + (1 - beta) * y
        yield x


AVERAGES = {
    "beta": ({"beta": 0.9}, list(moving_average(PATH, 0.9))),
    "half-life": ({"half_life": 5.0}, list(moving_average(PATH, 0.5 ** (1 / 5.0)))),
    "mean": ({}, [PATH[0], *(PATH[1 : t + 1].mean(axis=0) for t in range(1, 41))]),
    "scheduled": (
        {"beta": lambda t: 0.5 + 0 * t.astype(float)},
        list(moving_average(PATH, 0.5)),
    ),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_is_that_of_the_params(name):
    given, expected = AVERAGES[name]
    history = run(jm.average(jm.heavy_ball(**HB), **given)).history
    assert_close(history["y"], PATH)
    assert_close(history["x"], expected)


def test_several_averages_at_once():
    betas = (0.9, 0.0, 0.5)
    optimizer = jm.average(jm.heavy_ball(**HB), beta=betas)
    end = run(optimizer)
    found = jm.read_averages(optimizer, end.params, end.state)
    for beta, average in zip(betas, found, strict=True):
        assert_close(average, list(moving_average(PATH, beta))[-1])
    chex.assert_trees_all_close(
        jm.eval_params(optimizer, end.params, end.state), found[0], rtol=1e-13
    )
    half_lives = np.array([1.0, 10.0])
    by_life = jm.average(jm.heavy_ball(**HB), half_life=half_lives)
    np.testing.assert_array_equal(jm.hyperparameters(by_life)["half_life"], half_lives)
    assert len(jm.read_averages(by_life, jnp.ones(3), by_life.init(jnp.ones(3)))) == 2


def test_an_average_agrees_with_the_averaged_model_of_torch():
    """Which starts at the first params that it is given, as ours does."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    for given, options in (({"beta": 0.9}, {"multi_avg_fn": ema}), ({}, {})):
        model = torch.nn.Linear(3, 1, bias=False).double()
        first = 0 if given else 1  # its mean counts the first as well
        model.weight.data[:] = torch.tensor(PATH[first])
        averaged = torch.optim.swa_utils.AveragedModel(model, **options)
        for point in PATH[first:]:
            model.weight.data[:] = torch.tensor(point)
            averaged.update_parameters(model)
        found = run(jm.average(jm.heavy_ball(**HB), **given)).history["x"][-1]
        np.testing.assert_allclose(found, averaged.module.weight.data[0].numpy(), rtol=1e-12)


def test_the_average_of_a_constant_is_the_constant():
    still = jm.chain(jm.average(jm.heavy_ball(0.1), half_life=3.0), optax.scale(0.0))
    np.testing.assert_allclose(run(still, 10).history["x"], np.tile(START, (11, 1)), rtol=1e-15)


def test_an_average_follows_params_through_all_stages():
    """It is that of params, wherever it stands, whatever becomes of the updates."""
    stages = [jm.heavy_ball(0.05, 0.8), optax.scale(0.5)]
    outside = run(jm.average(jm.chain(*stages), beta=0.9)).history
    for inside in (
        jm.chain(jm.average(stages[0], beta=0.9), stages[1]),
        jm.chain(stages[0], stages[1], jm.average(optax.identity(), beta=0.9)),
        jm.masked(jm.chain(jm.average(stages[0], beta=0.9), stages[1]), True),
    ):
        chex.assert_trees_all_close(run(inside).history, outside, rtol=1e-13)


def test_the_record_of_eval_values_is_that_of_the_average():
    optimizer = jm.average(jm.heavy_ball(**HB), beta=0.9)
    record = ["eval_value", "params"]
    history = jm.optimize(loss, jnp.asarray(START), optimizer, 20, record=record).history
    expected = [loss(x) for x in moving_average(np.asarray(history["params"]), 0.9)]
    np.testing.assert_allclose(history["eval_value"], expected, rtol=1e-12)


# Outer loops


def outer_loop(x, period, step, beta):
    """DiLoCo with one worker: Nesterov's momentum, as in PyTorch, on what an inner loop did."""
    slow, m = x, np.zeros_like(x)
    v, t = np.zeros_like(x), 0
    while True:
        yield x, slow
        v = HB["beta"] * v - HB["learning_rate"] * gradient(x, t)
        x, t = x + v, t + 1
        if t % period == 0:
            g = slow - x
            m = beta * m + g
            slow = slow - step * (g + beta * m)
            x = slow


@pytest.mark.parametrize(("period", "step", "beta"), [(5, 0.5, 0.0), (4, 0.7, 0.9), (1, 0.3, 0.5)])
def test_lookahead_is_the_outer_loop(period, step, beta):
    history = run(jm.lookahead(jm.heavy_ball(**HB), period, step, beta)).history
    expected = list(itertools.islice(outer_loop(START, period, step, beta), 41))
    for name, points in zip("yx", zip(*expected, strict=True), strict=True):
        assert_close(history[name], np.array(points))


def test_lookahead_is_that_of_optax():
    theirs = optax.lookahead(optax.sgd(0.05, momentum=0.8), sync_period=5, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(jnp.asarray(START))
    state = theirs.init(params)
    expected = []
    for t in range(20):
        expected.append((params.fast, params.slow))
        g = jnp.asarray(gradient(params.fast, t))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = theirs.update(g, state, params)
        params = optax.apply_updates(params, updates)
    history = run(jm.lookahead(jm.heavy_ball(**HB), 5, 0.5), 20).history
    np.testing.assert_allclose(history["y"][:20], [fast for fast, _ in expected], rtol=1e-12)
    np.testing.assert_allclose(history["x"][:20], [slow for _, slow in expected], rtol=1e-12)


def test_a_whole_outer_step_is_the_base():
    for period in (1, 3):
        whole = run(jm.lookahead(jm.heavy_ball(**HB), period, step=1.0)).history["y"]
        assert_close(whole, PATH)


# Cautious


def test_cautious_leaves_out_what_disagrees():
    x, v, points = START, np.zeros(3), []
    for t in range(40):
        points.append(x)
        g = gradient(x, t)
        v = HB["beta"] * v - HB["learning_rate"] * g
        mask = (-v * g > 0).astype(float)
        x = x + v * mask / max(mask.mean(), 1e-3)
    assert_close(run(jm.cautious(jm.heavy_ball(**HB))).history["y"][:40], points)


def test_cautious_changes_nothing_where_all_agree():
    descent = jm.gradient_descent(0.05)
    found, expected = run(jm.cautious(descent)).history, run(descent).history
    chex.assert_trees_all_close(found, expected, rtol=1e-13)
    wrapped = jm.cautious(jm.heavy_ball(0.1, 0.9))
    g = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([1.0 + 1.0j])}
    updates, state = wrapped.update(g, wrapped.init(g))
    chex.assert_trees_all_close(updates, jax.tree.map(lambda x: -0.1 * x, g), rtol=1e-15)
    assert jax.tree.structure(state) == jax.tree.structure(jm.heavy_ball(0.1).init(g))


# Restarts


def accelerated(restarts_at):
    """Nesterov's method for convex functions in two sequences, which a test may restart."""
    x = y = START
    theta, t, k = 1.0, 0, 0
    values = []
    while True:
        yield y, x, t
        g = HESSIAN @ y
        new, k = y - 0.05 * g, k + 1
        if restarts_at(k, g, new - x, loss(jnp.asarray(new)) - loss(jnp.asarray(x))):
            x = y = new
            theta, t, k = 1.0, t + 1, 0
            continue
        following = (1 + np.sqrt(1 + 4 * theta**2)) / 2
        y = new + (theta - 1) / following * (new - x)
        x, theta = new, following
        values.append(x)


SCHEMES = {
    "gradient": ({}, lambda k, g, step, rise: g @ step > 0),
    "function": ({"scheme": "function"}, lambda k, g, step, rise: rise > 0),
    "scheduled": ({"scheme": "scheduled", "period": 7}, lambda k, g, step, rise: k == 7),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_restarts_are_those_of_the_paper(name):
    given, restarts_at = SCHEMES[name]
    optimizer = jm.restart(jm.nesterov_convex(0.05), **given)
    end = run(optimizer, noisy=False)
    expected = list(itertools.islice(accelerated(restarts_at), 41))
    assert_close(end.history["y"], np.array([y for y, _, _ in expected]))
    assert_close(end.history["x"], np.array([x for _, x, _ in expected]))
    assert end.state.restarts == expected[-1][2] > 0


def test_a_restart_without_need_is_the_base():
    """Of a method without momentum, whose steps all go down."""
    base = jm.gradient_descent(0.05)
    restarted = run(jm.restart(base), noisy=False)
    chex.assert_trees_all_close(restarted.history, run(base, noisy=False).history, rtol=1e-13)
    assert restarted.state.restarts == 0


def test_a_restart_keeps_the_count_of_schedules():
    rate = jm.schedules.linear(0.05, 0.01, 40)
    for inner in (
        jm.heavy_ball(rate, 0.8),
        jm.chain(optax.trace(0.8), optax.scale_by_schedule(rate)),
    ):
        optimizer = jm.restart(inner, "scheduled", period=3)
        state = run(optimizer, 8, noisy=False).state
        counts = [leaf for leaf in jax.tree.leaves(state.inner) if leaf.dtype == jnp.int32]
        assert counts == [8]
        assert (state.restarts, state.age) == (2, 2)


def test_a_period_may_grow():
    growing = jm.restart(
        jm.heavy_ball(**HB), "scheduled", period=lambda t: 2.0 + (t // 4).astype(float)
    )
    state = run(growing, 20, noisy=False).state.inner
    restarts, age = 0, 0
    for t in range(20):
        age += 1
        if age >= 2 + t // 4:
            restarts, age = restarts + 1, 0
    assert (state.restarts, state.age) == (restarts, age)


RESETS = {
    "heavy ball": jm.heavy_ball(0.1),
    "sgd": jm.sgd(0.1, 0.9),
    "convex": jm.nesterov_convex(0.1),
    "scheduled": jm.heavy_ball(jm.schedules.linear(0.1, 0.0, 5)),
    "adam": jm.lift(optax.adam)(0.1),
    "optax": optax.adam(0.1),
    "descent": jm.gradient_descent(0.1),
    "chain": jm.chain(optax.clip(1.0), jm.lift(optax.adam)(0.1), jm.sgd(0.1, 0.9)),
    "partition": jm.partition(
        {"a": jm.sgd(0.1, 0.9), "b": jm.gradient_descent(0.1)}, {"w": "a", "b": "b"}
    ),
    "average": jm.average(jm.lookahead(jm.sgd(0.1, 0.9), 3, 0.5), half_life=2.0),
    "restart": jm.restart(jm.nesterov_convex(0.1)),
}


@pytest.mark.parametrize("name", RESETS)
def test_a_reset_is_the_state_of_init(name):
    optimizer, params = RESETS[name], {"w": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.ones(3)}
    first = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):
        _, state = optimizer.update(params, first, params)
    for fresh in (jm.reset(optimizer, state), jm.reset(optimizer, state, params)):
        chex.assert_trees_all_equal_shapes_and_dtypes(fresh, state)
        chex.assert_trees_all_equal(
            fresh, jax.tree.map(lambda f, s: f.astype(s.dtype), first, state)
        )


def test_a_reset_without_params_is_refused_where_they_matter():
    optimizer = optax.contrib.schedule_free(optax.sgd(0.1), 0.1)
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="holds values of params; give them, as in"):
        jm.reset(optimizer, state)
    chex.assert_trees_all_equal(jm.reset(optimizer, state, jnp.ones(2)), state)
    with pytest.raises(ValueError, match="not one of this optimizer"):
        jm.reset(jm.heavy_ball(0.1), optax.adam(0.1).init(jnp.ones(2)))
    with pytest.raises(ValueError, match="not one of this optimizer"):
        jm.reset(jm.heavy_ball(0.1), jm.heavy_ball(0.1).init(jnp.ones(2)), jnp.ones(3))


# What all of them keep. "none" is a leaf that is None.

STAGE = jm.lift(optax.scale)(1.0)
TREE = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array(0.3), "none": None}
WRAPPERS = {
    "average": lambda inner: jm.average(inner, half_life=3.0),
    "averages": lambda inner: jm.average(inner, beta=(0.5, 0.9)),
    "mean": jm.average,
    "lookahead": lambda inner: jm.lookahead(inner, 3, 0.5, 0.4),
    "cautious": jm.cautious,
    "restart": jm.restart,
    "function": lambda inner: jm.restart(inner, "function"),
    "scheduled": lambda inner: jm.restart(inner, "scheduled", 4),
    "masked": lambda inner: jm.masked(inner, {"a": True, "b": False, "none": True}),
    "partition": lambda inner: jm.partition({"x": inner, "y": jm.gradient_descent(0.1)}, by_size),
    "hypergradient": lambda inner: jm.hypergradient_descent(inner, "learning_rate", 1e-3),
    "previous": jm.with_previous_gradient,
    "all": lambda inner: jm.average(jm.lookahead(jm.restart(jm.cautious(inner)), 3, 0.5), beta=0.9),
    "chain": lambda inner: jm.chain(jm.lift(optax.clip)(10.0), jm.average(inner), STAGE),
}
every_wrapper = pytest.mark.parametrize("name", WRAPPERS)


def by_size(params):
    return jax.tree.map(lambda p: "x" if p.ndim else "y", params)


def tree_loss(params):
    return 2 * jnp.sum(params["a"] ** 2) + params["b"] ** 2 / 2


def make(name):
    return WRAPPERS[name](jm.heavy_ball(0.15, beta=0.8))


@pytest.mark.parametrize(
    "name", ["all", "averages", "function", "scheduled", "partition", "hypergradient"]
)
def test_sweeps_and_hypergradients(name):
    """New values retrace nothing, lanes are separate runs, and slopes are central differences."""
    optimizer = make(name)
    values = {n: jnp.asarray(v, float) for n, v in jm.hyperparameters(optimizer).items()}

    @jax.jit
    @chex.assert_max_traces(n=1)
    def outcome(values):
        trial = jm.replace(optimizer, **values)
        end = jm.optimize(tree_loss, TREE, trial, 9, record=["value", "eval_value"])
        return end.history["value"][-1] + end.history["eval_value"][-2]

    steps = {n: 1e-6 * (n != "period") for n in values}
    points = [values]
    for n, v in values.items():
        for index in np.ndindex(v.shape):
            points += [{**values, n: v.at[index].add(s * steps[n])} for s in (1, -1)]
    alone = np.array([outcome(point) for point in points])
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    program = jax.jit(jax.vmap(jax.value_and_grad(outcome.__wrapped__.__wrapped__)))
    together, slopes = program(batch)
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    actual = np.concatenate([np.ravel(slopes[n][0]) for n in values])
    expected = [(up - down) / 2e-6 for up, down in zip(alone[1::2], alone[2::2], strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    assert np.isfinite(actual).all()


@every_wrapper
def test_types_shapes_and_pickles(name):
    """In a scan with bfloat16 params; from shapes alone; and after pickling."""
    params = {**TREE, "a": TREE["a"].astype(jnp.bfloat16)}
    optimizer = make(name)
    state = jax.jit(optimizer.init)(params)
    extra = {
        "value": jnp.array(1.0),
        "value_fn": lambda p: p["b"] ** 2 + p["a"].astype(float).sum() ** 2,
    }

    @jax.jit
    def steps(optimizer, params, state):
        def step(carry, _):
            updates, state = optimizer.update(carry[0], carry[1], carry[0], **extra)
            return (optax.apply_updates(carry[0], updates), state), updates

        return jax.lax.scan(step, (params, state), length=3)

    (after, end), updates = steps(optimizer, params, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, end)
    chex.assert_trees_all_equal_dtypes(params, updates, after)
    shapes = jax.eval_shape(lambda: params)
    chex.assert_trees_all_equal(optimizer.init(shapes), state)
    kept = end.inner if name == "previous" else end  # which holds params as they were
    floats = [x.dtype for x in jax.tree.leaves(kept) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(jnp.finfo(dtype).bits >= 32 for dtype in floats)
    if name not in ("masked", "partition"):  # whose functions by name survive, see their own test
        again = pickle.loads(pickle.dumps(optimizer))
        before = steps._cache_size()
        chex.assert_trees_all_equal(steps(again, params, state)[0], (after, end))
        assert steps._cache_size() == before
    frozen, kept = optimizer.update({**params, "a": None}, end, after, **extra)
    assert frozen["a"] is None
    assert jax.tree.structure(kept) == jax.tree.structure(end)


@every_wrapper
def test_wrappers_of_optax_accept_it(name):
    inner = make(name)
    wrapped = optax.apply_if_finite(optax.chain(optax.clip(10.0), inner), 3)
    plain = jm.optimize(tree_loss, TREE, jm.chain(optax.clip(10.0), inner), 5, record="params")
    found = jm.optimize(tree_loss, TREE, wrapped, 5, record="params")
    chex.assert_trees_all_close(found.history, plain.history, rtol=1e-13)
    if name in ("average", "averages", "mean", "lookahead", "all", "chain"):
        with pytest.raises(ValueError, match="cannot see through a wrapper of optax"):
            jm.eval_params(wrapped, found.params, found.state)


@pytest.mark.parametrize("name", ["all", "function", "hypergradient", "previous"])
def test_a_scan_in_shard_map(name):
    """Where the types of what depends on params say that it varies over the mesh."""
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    optimizer, spec = make(name), jax.sharding.PartitionSpec("x")

    def final(x):
        def step(carry, _):
            x, state = carry
            value, g = jax.value_and_grad(loss)(x)
            updates, state = optimizer.update(g, state, x, value=value, value_fn=loss)
            return (x + updates, state), None

        return jax.lax.scan(step, (x, optimizer.init(x)), length=3)[0][0]

    sharded = jax.jit(jax.shard_map(final, mesh=mesh, in_specs=spec, out_specs=spec))
    np.testing.assert_allclose(sharded(jnp.asarray(START)), final(jnp.asarray(START)), rtol=1e-13)


def test_names_resolve_through_wrappers_of_wrappers():
    optimizer = jm.average(jm.lookahead(jm.heavy_ball(0.1, 0.9), 5, 0.5, 0.3), beta=0.99)
    names = jm.hyperparameters(optimizer)
    assert names == {
        "average.beta": 0.99,
        "period": 5.0,
        "step": 0.5,
        "optimizer.lookahead.beta": 0.3,
        "learning_rate": 0.1,
        "optimizer.optimizer.beta": 0.9,
    }
    changed = jm.replace(optimizer, **{"lookahead.beta": 0.7, "optimizer.optimizer.beta": 0.2})
    assert list(jm.hyperparameters(changed).values()) == [0.99, 5.0, 0.5, 0.7, 0.1, 0.2]
    with pytest.raises(ValueError, match=r"several hyperparameters 'beta'; choose one of \['aver"):
        jm.replace(optimizer, beta=0.5)


def test_the_sum_of_parts_is_evaluated_or_refused():
    params = {"a": jnp.ones(2), "b": jnp.ones(())}
    parts = {"x": jm.average(jm.heavy_ball(0.1)), "y": jm.nesterov(0.1)}
    nesterov = jm.nesterov(0.1)
    for optimizer, message in (
        (jm.partition(parts, {"a": "x", "b": "y"}), "average around the whole partition"),
        (jm.chain(jm.average(optax.identity()), nesterov), "average around the whole chain"),
        (jm.mix([jm.average(nesterov), nesterov], [0.5, 0.5]), "average around the mixture"),
        (jm.cautious(nesterov), "report the loss at params"),
    ):
        with pytest.raises(ValueError, match=message):
            jm.eval_params(optimizer, params, optimizer.init(params))
    inside = jm.restart(nesterov)
    _, state = inside.update(params, inside.init(params), params)
    expected = jm.eval_params(nesterov, params, state.inner)
    chex.assert_trees_all_equal(jm.eval_params(inside, params, state), expected)


BASE = jm.heavy_ball(0.1)
AROUND = jm.lookahead(BASE, 3, 0.5)
WRONG = {
    "both": (lambda: jm.average(BASE, half_life=3.0, beta=0.9), "give one of them, or neither"),
    "beta of 1": (lambda: jm.average(BASE, beta=1.0), r"beta = 1.0 is outside of \[0, 1\)"),
    "no half-life": (
        lambda: jm.average(BASE, half_life=0),
        r"half_life = 0.0 is outside of \(0, inf",
    ),
    "one of many": (
        lambda: jm.average(BASE, beta=(0.5, 1.5)),
        r"beta = 1.5 is outside of \[0, 1\)",
    ),
    "another number": (
        lambda: jm.replace(jm.average(BASE, beta=(0.5, 0.9)), **{"average.beta": (0.5, 0.6, 0.7)}),
        r"beta has shape \(3,\), but this average was made for \(2,\)",
    ),
    "no average": (
        lambda: jm.read_averages(BASE, 1.0, ()),
        "an optimizer that jm.average has made",
    ),
    "period of 0": (lambda: jm.lookahead(BASE, 0, 0.5), r"period = 0.0 is outside of \[1, inf\)"),
    "half a period": (lambda: jm.lookahead(BASE, 2.5, 0.5), "counts updates; give a whole number"),
    "period below 1": (
        lambda: jm.restart(BASE, "scheduled", 0),
        r"period = 0.0 is outside of \[1, i",
    ),
    "a broken period": (lambda: jm.restart(BASE, "scheduled", 1.5), "counts updates; give a whole"),
    "no period": (lambda: jm.restart(BASE, "scheduled"), '"scheduled" needs a period'),
    "a needless period": (lambda: jm.restart(BASE, period=3), '"scheduled" needs a period'),
    "a scheme": (lambda: jm.restart(BASE, "speed"), '"function" or "scheduled", not \'speed\''),
    "lookahead twice": (lambda: jm.lookahead(AROUND, 3, 0.5), "around the inner optimizer alone"),
    "lookahead first": (lambda: jm.chain(AROUND, optax.scale(0.5)), "make it the last stage"),
    "lookahead mixed": (lambda: jm.mix([AROUND, BASE], [0.5, 0.5]), "put it around the mixture"),
    "a filter": (lambda: jm.cautious(optax.trace(0.9)), "around the chain that ends with a learn"),
    "ascent": (lambda: jm.cautious(jm.sgd(0.1, maximize=True)), "whose updates descend"),
    "lookahead masked": (lambda: jm.cautious(AROUND), "put it around cautious"),
    "lookahead restarted": (lambda: jm.restart(AROUND), "average and lookahead around restart"),
    "a factory": (lambda: jm.average(jm.heavy_ball), "expected an optax GradientTransformation"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_gets_a_sentence(name):
    attempt, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        attempt()


@pytest.mark.parametrize("name", ["average", "lookahead", "restart", "function"])
def test_params_are_needed(name):
    optimizer, g = make(name), {"a": jnp.ones(3), "b": jnp.ones(())}
    with pytest.raises(ValueError, match=r"needs params at every update"):
        optimizer.update(g, optimizer.init(g))
    if name == "function":
        with pytest.raises(ValueError, match=r"needs value and value_fn at every update"):
            optimizer.update(g, optimizer.init(g), g)


def test_a_batch_outside_vmap_is_refused():
    g = jnp.ones(2)
    batches = (
        jm.average(BASE, beta=jnp.array([0.5, 0.9])),
        jm.lookahead(BASE, jnp.array([2.0, 3.0]), 0.5),
        jm.restart(BASE, "scheduled", jnp.array([2.0, 3.0])),
    )
    for optimizer in batches:
        with pytest.raises(ValueError, match=r"has shape \(2,\).*jax\.vmap"):
            optimizer.update(g, optimizer.init(g), g)
