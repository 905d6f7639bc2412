"""What functions capture: a change of it is seen, and nothing else makes a function another."""

import functools
import pickle
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS
from jax.tree_util import Partial

import jaxmom as jm
from jaxmom._captures import as_partial, with_captures

setting = 1.0  # a global of the functions below


def of_global(x):
    return x * setting


def through_another(x):
    return of_global(x)


def beside_an_attribute(x):
    box = types.SimpleNamespace()
    box.setting = x  # an attribute of the name of a global that the code reads
    return box.setting * setting


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
    "global named as an attribute that is set": lambda: (beside_an_attribute, set_global),
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


@pytest.mark.parametrize("name", METHODS)
def test_every_method_sees_what_its_schedules_capture(name):
    """The same key for the same captures, another for others; in parts of schedules, too."""
    case = METHODS[name]
    for letter, value in case.hyperparameters.items():
        array = np.asarray(value, float).copy()

        def schedule(count, array=array):
            return jnp.asarray(array)

        def key_now(schedule=schedule, letter=letter):
            values = {**case.hyperparameters, letter: schedule}
            return jax.tree.structure(case.make(**values, **case.static))

        before = key_now()
        assert key_now() == before
        array[...] = np.where(array == 0, 0.5, 0.5 * array)
        assert key_now() != before
        array[...] = value
        assert key_now() == before


def test_optimizers_that_exist_see_what_their_schedules_capture():
    """Also in a Partial, in a part of a schedule, in lifted optax, and in optax's own form."""
    rate = 0.0

    def schedule(count):
        return jnp.asarray(rate, float)

    def update(updates, state, params=None):
        return -rate * updates, state

    optimizers = (
        jm.heavy_ball(schedule, 0.0),
        jm.heavy_ball(Partial(schedule), 0.0),
        jm.heavy_ball(jm.schedules.warmup(schedule, 1), 0.0),
        jm.heavy_ball(jm.schedules.join([schedule, 1.0], [5]), 0.0),
        jm.chain(jm.heavy_ball(schedule, 0.0), optax.identity()),
        jm.lift(optax.sgd)(schedule),
        optax.GradientTransformation(lambda params: (), update),
    )
    for optimizer in optimizers:
        for rate in (0.25, 0.25, 0.5):
            run = jm.optimize(quadratic, jnp.array(1.0), optimizer, 1)
            np.testing.assert_allclose(run.params, 1 - 2 * rate, rtol=1e-15)


def test_lifted_factories_see_what_their_functions_capture():
    on, traces = True, []

    def mask(params):
        return jax.tree.map(lambda _: on, params)

    def factory(learning_rate):
        return optax.sgd(learning_rate if on else 2 * learning_rate)

    @jax.jit
    def step(optimizer):
        traces.append(None)
        return optimizer.update(jnp.array(0.0), optimizer.init(jnp.array(0.0)), jnp.array(1.0))[0]

    @jax.jit
    def descend(optimizer):
        return optimizer.update(jnp.array(1.0), optimizer.init(jnp.array(0.0)))[0]

    for on, decay, rate in ((True, -0.5, -0.25), (True, -0.5, -0.25), (False, 0.0, -0.5)):  # noqa: B007
        lifted = jm.lift(optax.adamw)(1.0, weight_decay=0.5, mask=mask)
        np.testing.assert_allclose(step(lifted), decay)
        np.testing.assert_allclose(descend(jm.lift(factory)(0.25)), rate)
    assert len(traces) == 2
