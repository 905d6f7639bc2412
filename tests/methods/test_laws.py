"""Laws that every method in the table keeps: its paper's iteration, and a pytree's contract."""

import functools
import importlib
import inspect
import itertools
import pkgutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS, Case

import jaxmom as jm
from jaxmom import coefficients, methods

STEPS, DIMENSION = 200, 6

every_method = pytest.mark.parametrize("case", METHODS.values(), ids=METHODS)


@functools.cache
def quadratic():
    """H with eigenvalues in [1, 12], a start, and the noise of every step's gradient."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))
    hessian = basis @ np.diag(np.linspace(1.0, 12.0, DIMENSION)) @ basis.T
    return hessian, rng.normal(size=DIMENSION), rng.normal(size=(STEPS, DIMENSION))


def make(case: Case, **changes):
    return case.make(**{**case.hyperparameters, **changes}, **case.static)


def descend(optimizer, steps):
    """Return params and `eval_params` before each step; it compiles faster than `optimize`."""
    hessian, start, noise = quadratic()

    def step(carry, e):
        y, state = carry
        gradient = hessian @ y + e
        extra = {"value": (gradient + e) @ y / 2, "grad": gradient}
        updates, after = optimizer.update(gradient, state, y, **extra)
        return (y + updates, after), (y, jm.eval_params(optimizer, y, state))

    start = jnp.asarray(start)
    return jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(noise[:steps]))[1]


def test_every_method_has_a_row():
    assert {case.make.__name__ for case in METHODS.values()} == set(methods.__all__)


@pytest.mark.parametrize("package", [methods, coefficients], ids=["methods", "coefficients"])
def test_a_package_exports_all_of_its_families(package):
    modules = [importlib.import_module(m.name) for m in _public_modules(package)]
    for module in modules:
        own = inspect.getmembers(module, lambda f: getattr(f, "__module__", "") == module.__name__)  # noqa: B023
        for name, function in own:
            assert name.startswith("_") or getattr(package, name) is function
            assert name.startswith("_") or name in package.__all__
    families = {m.__name__.rpartition(".")[2] for m in modules}
    # What is linear is in both packages; a head is in methods only.
    assert families <= {m.name.rpartition(".")[2] for m in _public_modules(methods)}


def _public_modules(package):
    found = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [m for m in found if not m.name.rpartition(".")[2].startswith("_")]


@every_method
def test_equals_the_papers_recurrence(case):
    hessian, start, noise = quadratic()
    found = jax.jit(descend, static_argnames="steps")(make(case), steps=STEPS)
    paper = case.paper(
        lambda point, t: hessian @ point + noise[t], start, **case.hyperparameters, **case.static
    )
    points = list(itertools.islice(paper, STEPS))
    for actual, expected in zip(found, zip(*points, strict=True), strict=True):
        expected = np.array(expected)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-12)
    moved = np.abs(points[-1][0] - start).max()
    assert moved > 0.01, "a recurrence that stays where it is proves nothing"


def scaled(value, factor):
    return tuple(v * factor for v in value) if isinstance(value, tuple) else value * factor


@every_method
def test_new_values_do_not_retrace(case):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def first_update(optimizer, gradient):
        state = optimizer.init(gradient)
        return optimizer.update(gradient, state, gradient)[0]

    gradient = jnp.ones(3)
    updates = [
        first_update(make(case, **{name: scaled(value, factor)}), gradient)
        for name, value in case.hyperparameters.items()
        for factor in (1.0, 0.9)
    ]
    assert all(np.isfinite(update).all() for update in updates)


@every_method
def test_vmap_equals_separate_runs(case):
    factors = jnp.linspace(0.5, 1.0, 64)
    optimizer = make(case)

    @jax.jit
    def final(factor):
        scaled = {
            name: jnp.asarray(value) * factor
            for name, value in jm.hyperparameters(optimizer).items()
        }
        return descend(jm.replace(optimizer, **scaled), steps=50)[0][-1]

    alone = np.stack([final(factor) for factor in factors])
    np.testing.assert_allclose(jax.vmap(final)(factors), alone, rtol=1e-12, atol=1e-12)
    assert len(np.unique(alone[:, 0])) > 32


def types(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


TREES = {
    "float32": {"a": jnp.ones(3, jnp.float32)},
    "bfloat16": {"a": jnp.ones(3, jnp.bfloat16)},
    "float64": {"a": jnp.ones(3, jnp.float64)},
    "mixed": {
        "a": jnp.ones(3, jnp.bfloat16),
        "b": [jnp.ones((2, 2), jnp.float32), None],
        "c": jnp.ones((), jnp.float64),
    },
}


@every_method
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("dtype", [None, jnp.float32])
def test_types_are_stable(case, tree, dtype):
    """In scan and cond, for plain numbers and for strongly typed float32 tracers.

    Types are known without compiling: so much is asked of each method here that it pays.
    """
    values = jm.hyperparameters(make(case))
    if dtype is not None:
        values = jax.tree.map(lambda value: jnp.asarray(value, dtype), values)

    def two_steps(values):
        optimizer = jm.replace(make(case), **values)
        state = optimizer.init(tree)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), updates

        (params, state), updates = jax.lax.scan(step, (tree, state), length=2)
        skipped, state = jax.lax.cond(
            jnp.array(True),
            lambda: optimizer.update(params, state, params),
            lambda: (jax.tree.map(jnp.zeros_like, params), state),
        )
        return optimizer.init(tree), state, updates, skipped

    before, after, updates, skipped = jax.eval_shape(two_steps, values)
    assert types(before) == types(after)
    assert types(skipped) == types(jax.tree.map(jnp.asarray, tree))
    assert [u.dtype for u in jax.tree.leaves(updates)] == [p.dtype for p in jax.tree.leaves(tree)]
    floats = [x.dtype for x in jax.tree.leaves(after) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(jnp.finfo(dtype).bits >= 32 for dtype in floats)


@every_method
def test_init_takes_shapes(case):
    params = {"a": jnp.ones((3, 2)), "b": None, "c": jnp.ones((), jnp.float32)}
    shapes = jax.eval_shape(lambda: params)
    chex.assert_trees_all_equal_shapes_and_dtypes(make(case).init(shapes), make(case).init(params))


@every_method
def test_leaves_without_gradient_stand_still(case):
    params = {"a": jnp.ones(2), "b": None}
    optimizer = make(case)
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert updates["b"] is None
    assert types(state) == types(optimizer.init(params))


@every_method
def test_a_frozen_array_keeps_its_buffers(case):
    """The gradient of one array is None; the method leaves that array's buffers alone."""
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    optimizer = make(case)
    _, state = optimizer.update(params, optimizer.init(params), params)
    updates, after = optimizer.update({"a": jnp.ones(2), "b": None}, state, params)
    assert updates["b"] is None
    old, new = leaves_of(state, "b"), leaves_of(after, "b")
    assert len(old) == len(leaves_of(state, "a"))
    chex.assert_trees_all_equal(old, new)


def leaves_of(state, name):
    """What a state holds for one array of params, by where it is."""
    found, key = jax.tree_util.tree_leaves_with_path(state), jax.tree_util.DictKey(name)
    return {jax.tree_util.keystr(path): leaf for path, leaf in found if key in path}


@every_method
def test_hypergradients_equal_central_differences(case):
    """Of every float hyperparameter, at its value and at 0 where 0 is admissible."""
    base, h = jm.hyperparameters(make(case)), 1e-6
    base = jax.tree.map(lambda value: jnp.asarray(value, float), base)

    @jax.jit
    @jax.value_and_grad
    def outcome(values):
        return descend(jm.replace(make(case), **values), steps=13)[0][-1].sum()

    places = [base]
    for name in base:
        if name not in case.positive:
            zero = {name: jnp.zeros_like(base[name]), **case.with_zero.get(name, {})}
            places.append({**base, **{n: jnp.asarray(v, float) for n, v in zero.items()}})
    for values in places:
        _, actual = outcome(values)
        for name, value in values.items():
            if name == "dampening" and values["momentum"] == 0:
                continue  # PyTorch ignores it there, so that it is a step and has no derivative
            if name == "momentum" and value == 0 and values["dampening"] != 0:
                continue
            for index in np.ndindex(value.shape):
                up, down = ({**values, name: value.at[index].add(s * h)} for s in (1, -1))
                expected = (outcome(up)[0] - outcome(down)[0]) / (2 * h)
                assert np.isfinite(actual[name][index])
                np.testing.assert_allclose(actual[name][index], expected, rtol=2e-6, atol=2e-7)


@every_method
def test_extra_arguments_pass_through(case):
    optimizer = make(case)
    gradient = jnp.ones(3)
    plain, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    extra, _ = optimizer.update(
        gradient, optimizer.init(gradient), gradient, value=1.0, unheard_of=object()
    )
    np.testing.assert_array_equal(plain, extra)


@every_method
def test_donation(case):
    optimizer = make(case)
    params = {"a": jnp.arange(1.0, 4.0), "b": jnp.arange(2.0)}
    state = jax.jit(optimizer.init)(params)

    def step(params, state):
        updates, state = optimizer.update(jax.tree.map(jnp.negative, params), state, params)
        return optax.apply_updates(params, updates), state

    expected, _ = step(*step(params, state))
    donating, first = jax.jit(step, donate_argnums=(0, 1)), params
    donated, _ = donating(*donating(params, state))
    chex.assert_trees_all_close(donated, expected, rtol=1e-14)
    assert first["a"].is_deleted()


WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(1e3), tx),
    "masked": lambda tx: optax.masked(tx, {"a": True, "b": False}),
    "partition": lambda tx: optax.partition(
        {"ours": tx, "none": optax.set_to_zero()}, {"a": "ours", "b": "none"}
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "schedule_free": lambda tx: optax.contrib.schedule_free(tx, 0.1, b1=0.9),
    "jm.chain": lambda tx: jm.chain(optax.clip(1e3), tx),
    "jm.mix": lambda tx: jm.mix([tx, optax.identity()], [1.0, 0.0]),
}


@every_method
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_optax_wrappers_accept_it(case, wrap):
    """In a scan with bfloat16 parameters and float32 traced hyperparameters."""
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    values = jm.hyperparameters(make(case))
    values = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), values)

    def step(wrapped, carry):
        params, state = carry
        with jax.numpy_dtype_promotion("standard"):  # optax's own wrappers promote
            updates, state = wrapped.update(params, state, params)
        return optax.apply_updates(params, updates), state

    def start(values):
        wrapped = wrap(jm.replace(make(case), **values))
        with jax.numpy_dtype_promotion("standard"):
            return wrapped, (params, wrapped.init(params))

    def steps(values):
        wrapped, carry = start(values)
        return jax.lax.scan(lambda carry, _: (step(wrapped, carry), None), carry, length=4)[0][0]

    assert jax.eval_shape(steps, values)["a"].dtype == jnp.bfloat16
    # Step by step, the operations are those of all methods, and need not be compiled for each.
    with jax.disable_jit():
        wrapped, carry = start(values)
        for _ in range(4):
            carry = step(wrapped, carry)
    after = carry[0]
    assert after["a"].dtype == jnp.bfloat16
    assert not np.array_equal(after["a"], params["a"])
    assert np.isfinite(after["a"].astype(jnp.float32)).all()
