"""An identical program is compiled once in a process, and another one is never taken for it."""

import contextlib
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jax.tree_util import Partial

from jaxmom.sweeps import grid, sweep
from jaxmom.sweeps.compile import executables, lane_checks
from jaxmom.sweeps.compile.executables import forget_executables, program_key
from tests.scripts import launch

SPACE = grid(x=[1.0, 2.0, 3.0])


@pytest.fixture(autouse=True)
def no_executables():
    forget_executables()


@contextlib.contextmanager
def compilations(caplog):
    """A list that gets the records of compilations of sweeps."""
    caplog.clear()
    found = []
    with jax.log_compiles(True):
        yield found
    words = "Finished XLA compilation of jit(call)"
    found += [record for record in caplog.records if words in record.getMessage()]


def scaled_by(factor):
    return lambda x: {"y": factor * jnp.sin(x)}


def test_an_identical_sweep_is_compiled_once_whatever_its_function_object(caplog):
    for expected in (1, 0, 0):
        with compilations(caplog) as found:
            runs = sweep(scaled_by(2.0), SPACE, width=2)
        assert len(found) == expected
        np.testing.assert_allclose(runs.y, 2 * np.sin(SPACE.labels(np.arange(3))["x"]))


def test_other_devices_get_copies_of_what_is_compiled_for_one():
    found = json.loads(launch.output_of(launch.start("copies")))
    compiled, sizes, placed, results = zip(*found["rounds"], *found["reversed"], strict=True)
    assert compiled == (1, 1, 1, 1, 1, 1)  # the third device is new in the second round
    assert all(placed)
    assert len(set(sizes)) == 1
    x = np.array([0.5, 2.0])[:, None, None] * np.eye(4)
    y = x
    for i in range(5):
        y = np.tanh(y @ x + i)
    np.testing.assert_allclose(results[0], y @ y, rtol=1e-5)
    kept = [result for name in ("written", "read") for *_, result in found[name]]
    for result in [*results[1:], *kept]:
        np.testing.assert_array_equal(result, results[0])
    # Functions of the host are known by an address.
    assert found["can copy"] == [True, False, False]


def test_bound_arrays_may_change_without_a_compilation_and_constants_not(caplog):
    values = SPACE.labels(np.arange(3))["x"]

    def summed(data, x):
        return {"y": jnp.sum(jnp.asarray(data)) * x}

    for number, factor in enumerate((2.0, 3.0)):
        data = np.full(3, factor)
        kinds = {"bound": Partial(summed, data), "closed over": functools.partial(summed, data)}
        for kind, fn in kinds.items():
            with compilations(caplog) as found:
                runs = sweep(fn, SPACE, width=3)
            assert len(found) == (number == 0 or kind == "closed over")
            np.testing.assert_allclose(runs.y, 3 * factor * values)


def test_another_width_option_name_or_setting_is_another_program(caplog):
    def product(x):
        return {"y": jnp.sum(jnp.ones((2, 2)) @ (x * jnp.ones((2, 2))))}

    def renamed(x):
        return {"z": product(x)["y"]}

    calls = [
        lambda: sweep(product, SPACE, width=2),
        lambda: sweep(product, SPACE, width=3),
        lambda: sweep(product, SPACE, width=2, options={"lanes_last": 1}),
        lambda: sweep(renamed, SPACE, width=2),
    ]
    for repeated, expected in ((False, 1), (True, 0)):
        for call in calls:
            with compilations(caplog) as found:
                (values,) = call().data_vars.values()
            assert len(found) == expected, repeated
            np.testing.assert_allclose(values, [8.0, 16.0, 24.0])
    with jax.default_matmul_precision("float32"), compilations(caplog) as found:
        calls[0]()
    assert len(found) == 1


def test_a_function_of_the_host_is_called_and_not_one_of_an_earlier_sweep():
    def fn(factor):
        def on_host(x):
            return factor * x

        def lane(x):
            spec = jax.ShapeDtypeStruct((), x.dtype)
            return {"y": jax.pure_callback(on_host, spec, x, vmap_method="expand_dims")}

        return lane

    for factor in (2.0, 3.0):
        np.testing.assert_array_equal(
            sweep(fn(factor), SPACE, width=3).y, [factor, 2 * factor, 3 * factor]
        )


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda primals, tangents: (doubled(*primals), 2 * tangents[0]))


def loop(body, length=3, start=1.0):
    return lambda x: jax.lax.scan(lambda c, _: (body(c, x), c), start, length=length)


ALIKE = {
    "names": (lambda x: x + 1, lambda z: z + 1),
    "relu": (lambda x: jax.nn.relu(x) + doubled(x), lambda y: jax.nn.relu(y) + doubled(y)),
    "a loop": (loop(lambda c, x: c * x), loop(lambda d, y: d * y)),
    "random numbers": (lambda x: jax.random.normal(jax.random.key(0), dtype=x.dtype),) * 2,
    "constants": (lambda x: x * np.arange(3.0), lambda x: x * jnp.array([0.0, 1.0, 2.0])),
    "not a number": (lambda x: x * float("nan"), lambda x: x * float("nan")),
}
DIFFERENT = {
    "an operation": (lambda x: x + 1, lambda x: x - 1),
    "a number": (lambda x: x + 1.0, lambda x: x + 2.0),
    "the sign of zero": (lambda x: x * 0.0, lambda x: x * -0.0),
    "operands": (lambda x: x - 2 * x, lambda x: 2 * x - x),
    "results": (lambda x: (x, 2 * x), lambda x: (2 * x, x)),
    "the length of a loop": (loop(lambda c, x: c * x), loop(lambda c, x: c * x, 4)),
    "the body of a loop": (loop(lambda c, x: c * x), loop(lambda c, x: c + x)),
    "content": (lambda x: x * jnp.array([1.0, 2.0]), lambda x: x * jnp.array([1.0, 3.0])),
    "precision": (
        lambda x: jnp.dot(x[None], x[None]),
        lambda x: jnp.dot(x[None], x[None], precision="highest"),
    ),
    "a key": (
        lambda x: jax.random.normal(jax.random.key(0), dtype=x.dtype),
        lambda x: jax.random.normal(jax.random.key(1), dtype=x.dtype),
    ),
}


def keys_of(pair):
    return [program_key(jax.make_jaxpr(fn)(1.0)) for fn in pair]


@pytest.mark.parametrize("name", ALIKE)
def test_programs_that_compute_the_same_have_one_key(name):
    first, second = keys_of(ALIKE[name])
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize("name", DIFFERENT)
def test_programs_that_compute_something_else_have_other_keys(name):
    first, second = keys_of(DIFFERENT[name])
    assert first != second


def test_the_type_of_an_argument_is_part_of_the_key():
    def key_for(*arguments):
        return program_key(jax.make_jaxpr(lambda x: x * 2)(*arguments))

    variants = [1.0, 1, jnp.float32(1), jnp.ones(1), jnp.ones(2)]
    assert len({key_for(one) for one in variants}) == len(variants)


def test_the_number_of_kept_executables_is_bounded(caplog, monkeypatch):
    monkeypatch.setattr(executables, "_KEPT", 2)
    for factor in (1.0, 2.0, 3.0):
        with compilations(caplog) as found:
            sweep(scaled_by(factor), SPACE, width=2)
        assert len(found) == 1
    for factor, count in ((3.0, 0), (2.0, 0), (1.0, 1), (3.0, 1), (1.0, 0)):
        with compilations(caplog) as found:
            sweep(scaled_by(factor), SPACE, width=2)
        assert len(found) == count, factor


def test_a_large_constant_is_warned_of_and_bound_data_are_not(monkeypatch):
    monkeypatch.setattr(lane_checks, "_LARGE_CONSTANT", 1e3)
    data = jnp.arange(1000.0)

    def fn(data, x):
        return {"y": jnp.sum(data) * x}

    with pytest.warns(UserWarning, match=r"float64\[1000\] of 0 MB.*jax\.tree_util\.Partial"):
        closed = sweep(lambda x: fn(data, x), SPACE, width=3)
    bound = sweep(Partial(fn, data), SPACE, width=3)
    np.testing.assert_allclose(closed.y, bound.y)


def test_the_persistent_cache_of_jax_is_used_if_there_is_one(tmp_path, caplog):
    limits = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in limits}
    try:
        for name, value in limits.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        with caplog.at_level("DEBUG", "jax._src.compiler"):
            first = sweep(scaled_by(2.0), SPACE, width=2)
            forget_executables()
            caplog.clear()
            second = sweep(scaled_by(2.0), SPACE, width=2)
        assert any("cache hit for 'jit_call'" in r.getMessage() for r in caplog.records)
        np.testing.assert_array_equal(first.y, second.y)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
