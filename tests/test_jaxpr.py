"""Programs are read the same way on all versions of JAX: what they call, need, draw and hand on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p


@jax.custom_jvp
def with_jvp(x):
    return 2 * x


with_jvp.defjvp(lambda primals, tangents: (with_jvp(primals[0]), 3 * tangents[0]))


@jax.custom_vjp
def with_vjp(x):
    return 2 * x


with_vjp.defvjp(lambda x: (2 * x, None), lambda _, g: (g,))

CALLS = {
    "jit": jax.jit(lambda x: 2 * x),
    "checkpoint": jax.checkpoint(lambda x: 2 * x),
    "custom_jvp": with_jvp,
    "custom_vjp": with_vjp,
    "nested": jax.jit(jax.checkpoint(lambda x: with_jvp(x) + with_vjp(x))),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_looked_into(name):
    """An interpreter with numbers for values gives the function's value, through all calls."""
    program = jax.make_jaxpr(CALLS[name])(1.0)
    met = []

    def apply(equation, operands):
        called = _jaxpr.called_program(equation)
        if called is not None:
            return _jaxpr.interpret(called, operands, apply, jnp.asarray)
        met.append(equation.primitive)
        return _jaxpr.bind(equation, operands)

    (result,) = _jaxpr.interpret(program, [jnp.asarray(3.0)], apply, jnp.asarray)
    assert result == CALLS[name](3.0)
    assert p.mul_p in met


def test_a_rule_refuses_parameters_that_it_does_not_know():
    rules = _jaxpr.RuleTable()

    @rules.register(p.reshape_p, p.stack_p, params="new_sizes")
    def rule():
        pass

    def equation(function):
        return jax.make_jaxpr(function)(jnp.ones((2, 3))).eqns[0]

    plain = equation(lambda x: jax.lax.reshape(x, (6,)))
    assert rules.find(plain) is rule  # its other parameters are None
    assert rules.find(plain.replace(params={**plain.params, "sharding": "x"})) is None
    assert rules.find(plain.replace(params={**plain.params, "invented": 0})) is None
    assert rules.find(equation(jnp.transpose)) is None
    assert p.reshape_p in rules.primitives


def test_primitives_are_objects_and_misspelled_ones_are_errors():
    assert p.add_p is jax.make_jaxpr(lambda x: x + x)(1.0).eqns[0].primitive
    with pytest.raises(AttributeError, match="no primitive 'ad_p'"):
        p.ad_p  # noqa: B018
    for name in _jaxpr._NOT_EVERYWHERE:
        assert getattr(p, name) is None or str(getattr(p, name)) == name.removesuffix("_p")


def scanned(x):
    def step(carry, x):
        a, b = carry
        return (b, b), a * x

    return jax.lax.scan(step, (x["a"], x["b"]), x["xs"])


NEEDED = {
    "all": (lambda x: x["a"] + x["b"], "ab"),
    "not what is dropped": (lambda x: (x["a"] + x["b"], x["b"])[1], "b"),
    "within a call": (lambda x: jax.jit(lambda a, b: (a, 2 * b))(x["a"], x["b"])[1], "b"),
    "within a custom derivative": (lambda x: with_jvp(x["a"]), "a"),
    "a carry that moves on": (lambda x: scanned(x)[0][0], "ab"),
    "records": (lambda x: scanned(x)[1], ["a", "b", "xs"]),
    "how often a loop runs": (
        lambda x: jax.lax.while_loop(lambda c: c[0] < x["a"], lambda c: (c[0] + 1, -c[1]), (0, 1)),
        "a",
    ),
    "the branch that is taken": (
        lambda x: jax.lax.cond(x["a"] > 0, lambda y: y, lambda y: 2 * y, x["b"]),
        "ab",
    ),
    "only its shape": (lambda x: jnp.zeros_like(x["xs"]), ""),
    "nothing": (lambda x: 1.0, ""),
}


@pytest.mark.parametrize("case", NEEDED)
def test_the_inputs_that_a_function_needs(case):
    function, names = NEEDED[case]
    inputs = {"a": jnp.array(1.0), "b": jnp.array(2.0), "xs": jnp.ones(3)}
    assert _jaxpr.inputs_needed(function, inputs) == tuple(names)


def drawn(impl, use):
    """A program of one number that draws from keys of some kind."""

    def call(seed):
        return use(jax.random.key(seed, impl=impl))

    return jax.make_jaxpr(call)(0)


USES = {
    "bits": jax.random.bits,
    "normal": lambda key: jax.random.normal(key, (2,)),
    "gamma": lambda key: jax.random.gamma(key, 2.0),
    "in a loop": lambda key: jax.lax.scan(
        lambda k, _: (jax.random.fold_in(k, 1), jax.random.uniform(k)), key, length=2
    ),
    "in a while": lambda key: jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + jax.random.uniform(c[1]), c[1]), (0.0, key)
    )[0],
    "in a branch": lambda key: jax.lax.cond(
        jnp.array(True), jax.random.uniform, lambda k: jnp.zeros([]), key
    ),
    "in a composite": jax.lax.composite(lambda key: jax.random.uniform(key), "drawn"),
    "in a call": lambda key: jax.jit(jax.checkpoint(jax.random.uniform))(key),
}


@pytest.mark.parametrize("use", USES)
def test_draws_that_a_batch_would_share_are_found(use):
    assert _jaxpr.shared_draws(drawn("threefry2x32", USES[use]), [True]) is None
    for impl in ("rbg", "unsafe_rbg"):
        program = drawn(impl, USES[use])
        assert _jaxpr.shared_draws(program, [True]) == impl
        assert _jaxpr.shared_draws(program, [False]) is None


def test_keys_that_only_derive_keys_are_judged_by_how_they_do():
    def derive(key):
        return jax.random.key_data(jax.random.split(jax.random.fold_in(key, 1)))

    assert _jaxpr.shared_draws(drawn("rbg", derive), [True]) is None
    assert _jaxpr.shared_draws(drawn("unsafe_rbg", derive), [True]) == "unsafe_rbg"
    raw = jax.make_jaxpr(lambda k: jax.lax.rng_bit_generator(k, (3,)))(jnp.zeros(4, jnp.uint32))
    assert _jaxpr.shared_draws(raw, [True]) == "lax.rng_bit_generator"


LINEAR_ALGEBRA = {
    "cholesky": (jnp.linalg.cholesky, {"cholesky"}),
    "qr": (jnp.linalg.qr, {"qr"}),
    "eigh": (jnp.linalg.eigh, {"eigh"}),
    "eig": (jnp.linalg.eig, {"eig"}),
    "svd": (jnp.linalg.svd, {"svd"}),
    "lu": (jax.lax.linalg.lu, {"lu"}),
    "solve": (lambda a: jnp.linalg.solve(a, a), {"lu", "triangular_solve"}),
    "det": (jnp.linalg.det, {"lu"}),
    "schur": (jax.lax.linalg.schur, {"schur"}),
    "hessenberg": (jax.lax.linalg.hessenberg, {"hessenberg"}),
    "orthogonal": (
        lambda a: jax.nn.initializers.orthogonal()(jax.random.key(0), a.shape),
        {"qr"},
    ),
    "in a loop": (lambda a: jax.lax.fori_loop(0, 2, lambda _, b: jnp.linalg.inv(b), a), {"lu"}),
    "none": (lambda a: a @ a, set()),
}


@pytest.mark.parametrize("name", LINEAR_ALGEBRA)
def test_calls_of_lapack_are_found_wherever_they_are(name):
    function, expected = LINEAR_ALGEBRA[name]
    found = _jaxpr.lapack_calls(jax.make_jaxpr(function)(np.eye(4)))
    assert expected <= set(found)
    assert bool(found) == bool(expected)
