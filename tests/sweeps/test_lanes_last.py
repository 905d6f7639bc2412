"""Lanes last give what `vmap` gives: for every operation with a rule, and for those without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom.sweeps import grid, open_sweep, paired, sweep
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
def test_a_loop_that_wants_its_lanes_first_says_so(body):
    with pytest.raises(UnsupportedPrimitive, match="lanes_last has no rule"):
        both(looped(body))


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

    def fn(method, seed):
        optimizer = jm.chain(jm.scale_by_momentum(method), optax.scale(-0.1))
        start = jax.random.normal(jax.random.key(seed), (2,))
        run = jm.optimize(PROBLEM.loss, start, optimizer, 20)
        return {"value": run.history["value"]}

    space = grid(method=methods, seed=range(3))
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
