"""Lanes last give what `vmap` gives: for every operation with a rule, and for those without."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom.sweeps import explain, grid, open_sweep, paired, sweep
from jaxmom.sweeps.compile.lanes_last import UnsupportedPrimitive, lanes_last

LANES = 5


def looped(body):
    """A function whose operations are in a loop, where all of them need a rule."""

    def call(shared, x):
        return jax.lax.scan(lambda y, _: (body(shared, y), None), x, length=3)[0]

    return call


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, t: (3 * x**2 * t,))


def records(shared, x):
    """A loop in a loop, with records of both kinds and counts that no lane changes."""

    def inner(carry, count):
        y, total = carry
        return (jnp.sin(y) + count * x[0], total + count), y[0]

    def outer(carry, count):
        (y, total), rows = jax.lax.scan(inner, carry, count + shared[:2], unroll=2)
        return (y, total), (rows, count, total)

    counts = jnp.arange(4.0)
    carry, ys = jax.lax.scan(outer, (x, jnp.zeros([])), counts, reverse=True)
    return carry, ys


def spreading(shared, x):
    """What is carried comes to differ between lanes only after three steps."""

    def step(carry, _):
        a, b, c = carry
        return (b, c, c + x), a

    return jax.lax.scan(step, (shared, shared, shared), length=6)


LOOPED = {
    "elementwise": lambda s, x: jnp.tanh(x * s) + jnp.where(x > 0, jnp.exp(-x), 2.0) ** 2 % 0.7,
    "a scalar that decides": lambda s, x: (
        jnp.where(x[0] > 0, x, -s) + jnp.clip(x, -(x[1] ** 2), 0.5)
    ),
    "reductions": lambda s, x: (
        x / jnp.linalg.norm(x) + jnp.max(x) - x.argmin().astype(float) * jnp.prod(s)
    ),
    "cumulations": lambda s, x: jnp.cumsum(x) - jnp.sort(x) + x[::-1],
    "shapes": lambda s, x: (x.reshape(3, 1) + jnp.ones((3, 2))).T.reshape(2, 3)[1] * 0.5,
    "slices": lambda s, x: jnp.concatenate([x[1:], s[:1]]) + jnp.pad(x[:2], (1, 0)) + x[0],
    "splits": lambda s, x: jnp.concatenate(jnp.split(x, [1])[::-1]) + jnp.stack([x, s]).sum(0),
    "matrix and vector": lambda s, x: jnp.outer(s, s) @ x * 0.1,
    "vector and matrix": lambda s, x: x @ jnp.outer(s, s) * 0.1,
    "calls": lambda s, x: jax.nn.relu(x) + cube(x) * 0.1 + jax.checkpoint(jnp.cos)(x),
    "gradients": lambda s, x: x - 0.1 * jax.grad(lambda y: jnp.sum(jnp.cos(y) * s * y**2))(x),
    "an index that all lanes share": lambda s, x: jax.lax.fori_loop(
        0, 3, lambda i, y: y + jax.lax.dynamic_index_in_dim(x, i, keepdims=False), x
    ),
    "random words": lambda s, x: x + jax.random.normal(jax.random.key(jnp.int32(99 * x[0])), (3,)),
}
WHOLE = {
    "records": records,
    "spreading": spreading,
    "both vary": lambda s, x: jnp.outer(x, s) @ x,
    "an index of each lane": lambda s, x: x[jnp.argmax(x)] * s,
    "a branch": lambda s, x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "a loop that ends when it may": lambda s, x: jax.lax.while_loop(
        lambda y: jnp.sum(y) < 9, lambda y: y + 1, x
    ),
    "nothing varies": lambda s, x: (s, x),
}
PROGRAMS = {name: looped(body) for name, body in LOOPED.items()} | WHOLE


def both(function, unroll=1):
    """The results of vmap and of lanes last."""
    rng = np.random.default_rng(0)
    shared, columns = jnp.array([0.3, -0.7, 1.1]), jnp.asarray(rng.normal(size=(LANES, 3)))

    def named(shared, x):
        leaves = jax.tree.leaves(function(shared, x))
        return {f"{i:02}": leaf for i, leaf in enumerate(leaves)}

    axes = dict.fromkeys(jax.eval_shape(named, shared, columns[0]), 0)
    expected = jax.jit(jax.vmap(named, in_axes=(None, 0)))(shared, columns)
    return expected, jax.jit(lanes_last(named, shared, columns[0], axes, LANES, unroll))(
        shared, columns
    )


@pytest.mark.parametrize(("name", "unroll"), [*((name, 2) for name in PROGRAMS), ("records", 1)])
def test_lanes_last_are_lanes(name, unroll):
    expected, found = both(PROGRAMS[name], unroll)
    assert list(expected) == list(found)
    for key in expected:
        assert expected[key].dtype == found[key].dtype
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "body",
    [
        lambda s, x: jnp.outer(x, s) @ x,
        lambda s, x: x[jnp.argmax(x)] * s,
        lambda s, x: x.at[jnp.argmax(x)].set(0.0),
        lambda s, x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    ],
    ids=["product", "gather", "scatter", "branch"],
)
def test_a_loop_that_cannot_have_its_lanes_last_says_so(body):
    with pytest.raises(UnsupportedPrimitive, match="lanes_last has no rule"):
        both(looped(body))


# Single operations with parameters and shapes of all kinds: (shared, x) -> an array, from values
# that are small whole numbers, so that the results are exact in any order of summation.
ROWS, COLUMNS = 3, 4  # of x; there are four lanes too, so that a confusion of axes has a shape


def numbers(s, x):
    return x[:, 0].astype(jnp.int32)


def ones(*shape):
    return jnp.ones(shape, jnp.float32)


def bits_of(dtype):
    return lambda s, x: jax.lax.bitcast_convert_type(x, dtype)


def words(s, x):
    """uint8[3, 4], as many as a float32 has bytes."""
    return x.astype(jnp.uint8)


@jax.custom_batching.custom_vmap
def doubled(x):
    return 2 * x


@doubled.def_vmap
def _(size, is_batched, x):
    return 3 * x, True  # says that its own rule was asked


def called_back(x):
    return jax.pure_callback(
        lambda y: np.asarray(2 * y),
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        x,
        vmap_method="sequential",
    )


ALONG = {
    "bitcast of equal width": bits_of(jnp.int32),
    "convert": lambda s, x: x.astype(jnp.int8) + (x > 0).astype(jnp.bfloat16).astype(jnp.int8),
    "reduce_precision": lambda s, x: jax.lax.reduce_precision(x + 0.3, 5, 2),
    "round": lambda s, x: jax.lax.round(x / 2, jax.lax.RoundingMethod.AWAY_FROM_ZERO),
    "round to even": lambda s, x: jax.lax.round(x / 2, jax.lax.RoundingMethod.TO_NEAREST_EVEN),
    "negative power": lambda s, x: jax.lax.integer_pow(x + 9, -2),
    "clamp by a scalar that varies": lambda s, x: jax.lax.clamp(-x[0, 0], x, jnp.float32(1)),
    "select among three": lambda s, x: jax.lax.select_n(
        jnp.abs(x).astype(jnp.int32) % 3, x, 2 * x, s * x
    ),
    "select by a scalar": lambda s, x: jax.lax.select(x[0, 0] > 0, x, s * x),
    "broadcasting": lambda s, x: x[:, :1] * s + x[:1],
    "nextafter": lambda s, x: jax.lax.nextafter(x, s * x),
    "cumsum": lambda s, x: jnp.cumsum(x, axis=0),
    "cumsum reversed": lambda s, x: jax.lax.cumsum(x, axis=1, reverse=True),
    "cumprod reversed": lambda s, x: jax.lax.cumprod(x, axis=0, reverse=True),
    "cummax reversed": lambda s, x: jax.lax.cummax(x, axis=1, reverse=True),
    "argmax": lambda s, x: jax.lax.argmax(x, 0, jnp.int16),
    "argmin": lambda s, x: jnp.argmin(x, axis=-1),
    "reductions": lambda s, x: jnp.stack([x.sum((0, 1)), x.prod(), x.max(), x.min()]),
    "reduction of one axis": lambda s, x: x.sum(0) + x.max(-1).sum(),
    "reduce_xor": lambda s, x: jax.lax.reduce_xor(numbers(s, x), (0,)),
    "sort by two keys": lambda s, x: jnp.stack(
        jax.lax.sort((jnp.round(x / 3), x, -x), dimension=0, num_keys=2, is_stable=False)
    ),
    "sort along the last axis": lambda s, x: jax.lax.sort((x, -x), dimension=1, num_keys=1)[1],
    "argsort": lambda s, x: jnp.argsort(x, axis=0),
    "rev": lambda s, x: x[::-1, ::-1],
    "squeeze": lambda s, x: x[:1, 1:2].squeeze() + x[:, :1].squeeze(1),
    "uneven split": lambda s, x: jnp.concatenate(jnp.split(x, [1, 3], axis=1)[::-1], axis=1),
    "stack at the end": lambda s, x: jnp.stack([x, 2 * x], axis=-1),
    "unstack": lambda s, x: jnp.unstack(x, axis=1)[2],
    "tile": lambda s, x: jnp.tile(x, (2, 1)),
    "broadcast between": lambda s, x: jax.lax.broadcast_in_dim(x, (3, 2, 4), (0, 2)),
    "reshape": lambda s, x: x.reshape(2, 6),
    "strides": lambda s, x: jax.lax.slice(x, (0, 1), (3, 4), (2, 2)),
    "dynamic_slice beyond the end": lambda s, x: jax.lax.dynamic_slice(x, (9, -9), (2, 3)),
    "dynamic_slice by a small integer": lambda s, x: jax.lax.dynamic_slice(
        x, (s.astype(jnp.int8), jnp.int8(1)), (1, 2)
    ),
    "transpose": lambda s, x: x.reshape(3, 2, 2).transpose(2, 0, 1),
    "padding less than nothing": lambda s, x: jax.lax.pad(
        x, jnp.float32(7), ((-1, 2, 1), (1, -2, 0))
    ),
    "product with batch axes": lambda s, x: jax.lax.dot_general(
        x.reshape(3, 2, 2), s * ones(3, 2, 5), (((2,), (1,)), ((0,), (0,)))
    ),
    "batch axes on the other side": lambda s, x: jax.lax.dot_general(
        s * ones(3, 2, 5), x.reshape(3, 2, 2), (((1,), (2,)), ((0,), (0,)))
    ),
    "product into another type": lambda s, x: jax.lax.dot_general(
        x, s * ones(4, 2), (((1,), (0,)), ((), ())), preferred_element_type=jnp.float64
    ),
    "product without a sum": lambda s, x: jnp.tensordot(x, s * ones(2), 0),
    "random bits": lambda s, x: jax.random.bits(jax.random.key(numbers(s, x)[0]), (2,), jnp.uint8),
    "raw keys": lambda s, x: jax.random.split(jax.random.PRNGKey(numbers(s, x)[1])),
    "keys that are carried": lambda s, x: jax.lax.scan(
        lambda key, _: (jax.random.split(key)[0], jax.random.bits(jax.random.fold_in(key, 1))),
        jax.random.key(numbers(s, x)[0]),
        length=3,
    )[1],
    "a choice of keys": lambda s, x: jax.random.key_data(
        jax.lax.select(x[0, 0] > 0, jax.random.key(1), jax.random.key(numbers(s, x)[1]))
    ),
    "a gamma": lambda s, x: jax.random.gamma(jax.random.key(numbers(s, x)[0]), 2.0) > 1,
}
REFUSED = {
    "bitcast to a narrower type": bits_of(jnp.uint8),
    "bitcast to a wider type": lambda s, x: jax.lax.bitcast_convert_type(words(s, x), jnp.float32),
    "bitcast of pairs": lambda s, x: jax.lax.bitcast_convert_type(x.reshape(3, 2, 2), jnp.uint64),
    "both sides of a product vary": lambda s, x: x @ x.T,
    "convolution": lambda s, x: jax.lax.conv(x[None, None], s * ones(1, 1, 2, 2), (1, 1), "SAME"),
    "gather": lambda s, x: x[jnp.array([0, 5])],
    "gather that fills": lambda s, x: x.at[jnp.array([0, 5])].get(mode="fill", fill_value=3),
    "scatter": lambda s, x: x.at[jnp.array([0, 2, 0])].add(x),
    "scatter that drops": lambda s, x: x.at[jnp.array([0, 7])].set(5, mode="drop"),
    "dynamic_slice by what varies": lambda s, x: jax.lax.dynamic_slice(
        x, (numbers(s, x)[0], jnp.int32(0)), (1, 2)
    ),
    "dynamic_update_slice": lambda s, x: jax.lax.dynamic_update_slice(x, x[:1], (1, 0)),
    "padding by what varies": lambda s, x: jax.lax.pad(x, x[0, 0], ((1, 1, 0), (0, 0, 0))),
    "reduce by a function": lambda s, x: jax.lax.reduce(
        x, jnp.float32(0), lambda a, b: a + 2 * b, (1,)
    ),
    "reduce_window": lambda s, x: jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (2, 2), (1, 1), "SAME"
    ),
    "top_k": lambda s, x: jax.lax.top_k(x, 2)[0],
    "rng_bit_generator": lambda s, x: jax.lax.rng_bit_generator(
        x[0].astype(jnp.int32).astype(jnp.uint32), (3,)
    )[1],
    "complex": lambda s, x: jax.lax.complex(x, -x),
    "a branch": lambda s, x: jax.lax.cond(x[0, 0] > 0, lambda y: y, lambda y: -y, x),
    "a while": lambda s, x: jax.lax.while_loop(lambda y: y[0, 0] < 9, lambda y: y + 1, x),
    "a batching rule of its own": lambda s, x: doubled(x),
    "a callback": lambda s, x: called_back(x),
    "cholesky": lambda s, x: jnp.linalg.cholesky(jnp.diag(x[0] ** 2 + 1)),
}
OPERATIONS = ALONG | REFUSED


def whole_numbers():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(-4, 5, (COLUMNS, ROWS, COLUMNS)), jnp.float32)


def last(function):
    """A function of all its lanes, with lanes last, from one that returns arrays by name."""
    names = jax.eval_shape(function, jnp.float32(2), whole_numbers()[0])
    return lanes_last(
        function, jnp.float32(2), whole_numbers()[0], dict.fromkeys(names, 0), COLUMNS, 1
    )


def in_loop(body):
    return lambda s, x: {"y": jax.lax.map(lambda k: body(s * k, x), jnp.ones(2, jnp.float32))}


def all_of(bodies):
    return lambda s, x: {name: body(s, x) for name, body in bodies.items()}


def assert_same_bits(function):
    lanes = whole_numbers()
    expected = jax.jit(jax.vmap(function, in_axes=(None, 0)))(jnp.float32(2), lanes)
    found = jax.jit(last(function))(jnp.float32(2), lanes)
    assert list(expected) == list(found)
    for name in expected:
        assert expected[name].dtype == found[name].dtype, name
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_outside_of_loops_every_operation_is_that_of_vmap():
    assert_same_bits(all_of(OPERATIONS))


def test_in_loops_operations_with_a_rule_are_those_of_vmap():
    assert_same_bits(lambda s, x: {n: in_loop(body)(s, x)["y"] for n, body in ALONG.items()})


@pytest.mark.parametrize("name", REFUSED)
def test_in_loops_operations_without_a_rule_are_refused(name):
    function = in_loop(REFUSED[name])
    with pytest.raises(UnsupportedPrimitive, match="lanes_last has no rule for this use of"):
        jax.eval_shape(last(function), jnp.float32(2), whole_numbers())


def test_callbacks_are_made_as_vmap_makes_them():
    met = []

    def body(s, x):
        jax.debug.callback(lambda y: met.append(np.asarray(y)), x)
        return x

    assert_same_bits(in_loop(body))
    jax.effects_barrier()
    calls = np.stack(met).reshape(2, -1, ROWS, COLUMNS)
    np.testing.assert_array_equal(np.sort(calls[0], axis=0), np.sort(calls[1], axis=0))


def test_references_are_refused():
    def accumulate(s, x):
        total = jax.new_ref(jnp.zeros_like(x))

        def step(carry, _):
            total[...] += s * x
            return carry, None

        jax.lax.scan(step, 0, length=2)
        return {"y": total[...]}

    with pytest.raises(UnsupportedPrimitive):
        jax.eval_shape(last(accumulate), jnp.float32(2), whole_numbers())


@pytest.mark.parametrize("lanes", [3, 4])
def test_a_default_sweep_views_floats_as_bytes(lanes):
    weights = np.array([1.0, 2.0, 3.0, 4.0], np.float32)

    def fn(a):
        def step(_, c):
            return c + jax.lax.bitcast_convert_type(c, jnp.uint8).astype(jnp.float32) @ weights

        return {"x": jax.lax.fori_loop(0, 3, step, a.astype(jnp.float32))}

    values = np.linspace(0.1, 0.9, lanes)
    expected = []
    for value in values.astype(np.float32):
        for _ in range(3):
            value = value + value.reshape(1).view(np.uint8).astype(np.float32) @ weights
        expected.append(value)
    np.testing.assert_allclose(sweep(fn, grid(a=values)).x, expected, rtol=1e-6)


def test_the_plan_names_the_primitive_that_has_no_rule():
    def fn(x):
        return {"y": looped(lambda s, y: y @ jnp.outer(y, y))(None, jnp.ones(2) * x)}

    plan = explain(fn, grid(x=np.linspace(0, 1, 4)))
    (note,) = plan.notes
    assert note == "lanes first: lanes_last has no rule for dot_general"
    assert note in str(plan)


def test_an_unsupported_primitive_says_which_after_pickling_too():
    error = pickle.loads(pickle.dumps(UnsupportedPrimitive("gather")))
    assert error.primitive == "gather"
    assert "has no rule for this use of gather" in str(error)


def test_a_sweep_finds_another_way_where_lanes_cannot_be_last():
    def fn(x):
        return {"y": looped(lambda s, y: y @ jnp.outer(y, y))(None, jnp.ones(2) * x)}

    space = grid(x=np.linspace(0, 1, 4))
    np.testing.assert_allclose(sweep(fn, space).y, sweep(fn, space, width=4).y, rtol=1e-14)
    with pytest.raises(UnsupportedPrimitive, match="dot_general"):
        sweep(fn, space, options={"lanes_last": 1})


PROBLEM = jm.problems.tutorial_quadratic()
METHODS = {
    "heavy ball": jm.heavy_ball,
    "nesterov": jm.nesterov,
    "adam": lambda learning_rate, beta: jm.lift(optax.adam)(learning_rate, b1=beta),
    "scheduled": lambda learning_rate, beta: jm.chain(
        jm.ema_momentum(learning_rate, beta),
        jm.lift(optax.scale_by_learning_rate)(jm.schedules.linear(1.0, 0.1, 20)),
    ),
}


def descended(method, beta, learning_rate):
    optimizer = METHODS[method](learning_rate, beta)
    return jm.optimize(
        PROBLEM.loss, PROBLEM.params, optimizer, 40, record=("value", "params"), every=7
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_sweep_with_lanes_last_is_the_sweep(method):
    rates = np.geomspace(0.01, 30, 12)  # some diverge
    space = paired(beta=np.linspace(0, 0.95, 12), learning_rate=rates)
    fn = functools.partial(descended, method)
    reference = sweep(fn, space, width=12)
    assert (reference.status == 2).any() == (method != "adam")
    for options in ({"lanes_last": 4}, {"lanes_last": 1, "block": 4}):
        runs = sweep(fn, space, width=12, options=options)
        for name in ("value", "params", "diverged_at"):
            np.testing.assert_allclose(runs[name], reference[name], rtol=1e-12, atol=1e-12)


def test_a_stack_of_methods_has_its_lanes_last_too():
    methods = jm.stack(
        {
            "heavy ball": jm.coefficients.heavy_ball(beta=0.5),
            "aggmo": jm.coefficients.aggmo(betas=(0.0, 0.5, 0.75)),
        }
    )

    def fn(momentum, seed):
        optimizer = jm.chain(jm.scale_by_momentum(momentum), optax.scale(-0.1))
        start = jax.random.normal(jax.random.key(seed), (2,))
        run = jm.optimize(PROBLEM.loss, start, optimizer, 20)
        return {"value": run.history["value"]}

    space = grid(momentum=methods, seed=range(3))
    reference = sweep(fn, space, width=6)
    runs = sweep(fn, space, width=6, options={"lanes_last": 2})
    np.testing.assert_allclose(runs.value, reference.value, rtol=1e-12)


def test_blocks_do_not_change_the_bits_of_their_width():
    fn = functools.partial(descended, "heavy ball")
    space = paired(beta=np.linspace(0, 0.95, 30), learning_rate=np.geomspace(0.01, 1, 30))
    narrow = sweep(fn, space, width=6, options={"lanes_last": 1})
    wide = sweep(fn, space, width=18, options={"lanes_last": 1, "block": 6})
    for name in narrow:
        np.testing.assert_array_equal(narrow[name], wide[name])


def test_blocks_divide_a_chunk():
    fn = functools.partial(descended, "heavy ball")
    space = paired(beta=[0.1, 0.2], learning_rate=[0.1, 0.1])
    with pytest.raises(ValueError, match="no whole number of blocks of 3"):
        sweep(fn, space, width=8, options={"block": 3})


def test_a_store_remembers_the_options(tmp_path):
    fn = functools.partial(descended, "heavy ball")
    space = paired(beta=np.linspace(0, 0.95, 9), learning_rate=np.full(9, 0.1))
    options = {"lanes_last": 2, "block": 2}
    runs = sweep(fn, space, width=4, options=options, store=tmp_path)
    (tmp_path / "parts" / "0-1.npz").unlink()
    again = sweep(fn, space, store=tmp_path)
    np.testing.assert_array_equal(again.value, runs.value)
    np.testing.assert_array_equal(open_sweep(tmp_path).value, runs.value)
    with pytest.raises(ValueError, match=r"options\.lanes_last: was 2, is \(nothing\)"):
        sweep(fn, space, width=4, options={"block": 2}, store=tmp_path)
