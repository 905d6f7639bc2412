"""What functions capture: a change of it is seen, and nothing else makes a function another."""

import functools
import pickle
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import jaxmom as jm
from jaxmom._arguments import as_partial
from jaxmom._captures import with_captures

setting = 1.0  # a global of the functions below


def of_global(x):
    return x * setting


def through_another(x):
    return of_global(x)


def of_default(x, *, scale=1.0):
    return x * scale


class Model:
    def __init__(self):
        self.scale, self.calls = 1.0, 0

    def loss(self, x):
        self.calls += 1
        return x * self.scale

    def __call__(self, x):
        return self.loss(x)


def set_global(value):
    global setting
    setting = value


def closure():
    a = 1.0

    def change(value):
        nonlocal a
        a = value

    return (lambda x: x * a), change


def nested_closure():
    inner, change = closure()
    return (lambda x: (lambda y: inner(y))(x)), change


def in_container(container, key):
    return (lambda x: x * container[key]), functools.partial(container.__setitem__, key)


def in_attribute(value, make):
    return make(value), functools.partial(setattr, value, "scale")


CASES = {
    "global": lambda: (of_global, set_global),
    "global of a helper": lambda: (through_another, set_global),
    "closure": closure,
    "closure of a helper": nested_closure,
    "default": lambda: (of_default, lambda v: of_default.__kwdefaults__.update(scale=v)),
    "method": lambda: in_attribute(Model(), lambda m: m.loss),
    "callable object": lambda: in_attribute(Model(), lambda m: m),
    "attribute of an object": lambda: in_attribute(Model(), lambda m: lambda x: x * m.scale),
    "method of an object": lambda: in_attribute(Model(), lambda m: lambda x: m.loss(x)),
    "namespace": lambda: in_attribute(
        types.SimpleNamespace(scale=1.0), lambda m: lambda x: x * m.scale
    ),
    "dict": lambda: in_container({"a": 1.0}, "a"),
    "list": lambda: in_container([1.0], 0),
    "NumPy array": lambda: in_container(np.ones(1), 0),
    "partial": lambda: (lambda f, change: (functools.partial(f), change))(*closure()),
    "Partial": lambda: (lambda f, change: (Partial(f), change))(*closure()),
}


@pytest.fixture(autouse=True)
def as_at_first():
    yield
    set_global(1.0)
    of_default.__kwdefaults__["scale"] = 1.0


def key(function):
    """What jit compares."""
    return jax.tree.structure(as_partial(function))


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen_and_an_unchanged_function_is_the_same(name):
    function, change = CASES[name]()
    if isinstance(function, Model):
        function(0.0)
    before = key(function)
    function(0.0)
    assert key(function) == before
    assert hash(key(function)) == hash(before)
    change(2.0)
    assert function(1.0) == 2.0
    assert key(function) != before
    change(1.0)
    assert key(function) == before


@pytest.mark.parametrize(
    "values", [(1.0, 1), (True, 1), (0.0, -0.0), ((1, 2), (1, 3)), ("a", b"a"), ([1], [2])], ids=str
)
def test_values_that_differ(values):
    function, change = closure()
    keys = []
    for value in (*values, values[0]):
        change(value)
        keys.append(key(function))
    assert keys[0] == keys[2] != keys[1]


def test_arrays_of_jax_compare_by_identity():
    function, change = closure()
    arrays, keys = [jnp.ones(3), jnp.ones(3)], []
    for array in (arrays[0], arrays[0], arrays[1]):
        change(array)
        keys.append(key(function))
    assert keys[0] == keys[1] != keys[2]


def test_what_a_function_writes_does_not_count():
    traces, counts, n = [], {"calls": 0}, 0

    def function(x):
        nonlocal n
        n += 1
        counts["calls"] += 1
        traces.append(x)
        return x

    before = key(function)
    function(1.0)
    assert key(function) == before


def test_recursion_empty_cells_and_installed_functions():
    def function(x):
        return function(x - 1) + later if x else jnp.sum(x)

    assert key(function) == key(function)
    before = key(function)
    later = 1.0
    assert key(function) != before
    assert with_captures(jnp.sum) is jnp.sum
    assert with_captures(optax.linear_schedule) is optax.linear_schedule


def test_captured_functions_can_be_pickled():
    captured = with_captures(of_global)
    assert pickle.loads(pickle.dumps(captured)) == captured


def quadratic(x, batch=0.0):
    return (x - batch) ** 2


@pytest.mark.parametrize("place", ["loss", "batches", "record"])
def test_optimize_sees_what_has_changed_and_compiles_nothing_else(place):
    a, traces = 0.0, []

    def function(*args):
        traces.append(None)
        return {
            "loss": lambda x: (x - a) ** 2,
            "batches": lambda key, count: jnp.asarray(a),
            "record": lambda step: {"value": step.value + a**2},
        }[place](*args)

    options = {"loss": quadratic, place: function}
    if place == "batches":
        options["key"] = jax.random.key(0)
    values, numbers = [], []
    for a in (1.0, 1.0, 2.0):  # noqa: B007
        before = len(traces)
        run = jm.optimize(params=jnp.array(0.0), optimizer=jm.heavy_ball(0.1), steps=1, **options)
        numbers.append(len(traces) - before)
        values.append(run.history["value"][0])
    assert values == [1.0, 1.0, 4.0]
    assert numbers[0] == numbers[2] > numbers[1] <= 1  # the check of the loss's shape
