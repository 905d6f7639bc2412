"""The driver: its records, its test of divergence, its segments, and that it compiles once."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS
from jax.tree_util import Partial

import jaxmom as jm

CURVATURE = jnp.array([1.0, 4.0])
START = jnp.array([2.0, -1.0])
KEY = jax.random.key(0)


def quadratic(x):
    return jnp.sum(CURVATURE * x**2) / 2


def noisy(x, noise):
    return quadratic(x) + noise @ x


def python_loop(optimizer, steps, noise=None):
    """The loop of optax's documentation, one step at a time."""
    x, state, points = START, optimizer.init(START), [START]
    for t in range(steps):
        g = CURVATURE * x + (0.0 if noise is None else noise[t])
        updates, state = optimizer.update(g, state, x)
        x = optax.apply_updates(x, updates)
        points.append(x)
    return np.array(points)


@pytest.mark.parametrize("every", [1, 2, 3, 7, 10, 20])
def test_records_are_thinned_points_of_the_python_loop(every):
    optimizer = jm.heavy_ball(0.1, 0.9)
    points = python_loop(optimizer, 10)
    names = ("value", "params", "gradient_norm", "update_norm")
    run = jm.optimize(quadratic, START, optimizer, 10, record=names, every=every)
    steps = [*range(0, 10, every), 10]
    np.testing.assert_array_equal(run.steps, steps)
    np.testing.assert_allclose(run.history["params"], points[steps], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(run.params, points[10], rtol=1e-14)
    np.testing.assert_allclose(
        run.history["value"], [quadratic(p) for p in points[steps]], rtol=1e-13
    )
    gradients = np.asarray(CURVATURE) * points[steps]
    np.testing.assert_allclose(
        run.history["gradient_norm"], np.linalg.norm(gradients, axis=1), rtol=1e-13
    )
    moves = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(run.history["update_norm"][:-1], moves[steps[:-1]], rtol=1e-12)
    assert run.diverged_at == -1


def test_plain_optax_enters_too():
    for optimizer in (optax.sgd(0.1, momentum=0.9), optax.chain(optax.clip(0.5), optax.sgd(0.1))):
        run = jm.optimize(quadratic, START, optimizer, 10, record="params")
        np.testing.assert_allclose(
            run.history["params"], python_loop(optimizer, 10), rtol=1e-13, atol=1e-15
        )
    adam = jm.optimize(quadratic, START, optax.adam(0.1), 10)
    assert adam.history["value"][-1] < adam.history["value"][0]


def test_batches_as_arrays_and_as_a_function():
    noise = jax.random.normal(jax.random.key(0), (10, 2))
    optimizer = jm.heavy_ball(0.1, 0.9)
    run = jm.optimize(noisy, START, optimizer, 10, batches=noise, record="params")
    np.testing.assert_allclose(run.history["params"], python_loop(optimizer, 10, noise), rtol=1e-13)
    key = jax.random.key(7)
    draws = [jax.random.normal(jax.random.fold_in(key, t), (2,)) for t in range(10)]
    run = jm.optimize(
        noisy,
        START,
        optimizer,
        10,
        batches=lambda key, count: jax.random.normal(key, (2,)),
        key=key,
        record="params",
    )
    np.testing.assert_allclose(run.history["params"], python_loop(optimizer, 10, draws), rtol=1e-13)


def test_the_last_record_is_on_the_last_batch():
    noise = jnp.arange(6.0).reshape(3, 2)
    run = jm.optimize(noisy, START, jm.gradient_descent(0.1), 3, batches=noise)
    np.testing.assert_allclose(run.history["value"][-1], noisy(run.params, noise[2]), rtol=1e-14)


def test_record_may_be_a_function_of_the_step():
    def angle(step):
        return {"angle": jnp.arctan2(step.params[1], step.params[0]), "count": step.count}

    run = jm.optimize(quadratic, START, jm.gradient_descent(0.1), 4, record=["value", angle])
    points = python_loop(jm.gradient_descent(0.1), 4)
    np.testing.assert_allclose(run.history["angle"], np.arctan2(points[:, 1], points[:, 0]))
    np.testing.assert_array_equal(run.history["count"], range(5))


def test_records_are_dicts_with_names_of_their_own():
    def run(record):
        return jm.optimize(quadratic, START, jm.gradient_descent(0.1), 2, record=record)

    with pytest.raises(ValueError, match=r"two records have the names \['value'\]; rename"):
        run(["value", lambda step: {"value": step.value}])
    with pytest.raises(ValueError, match=r"two records have the names \['norm'\]"):
        run([lambda step: {"norm": step.value}, lambda step: {"norm": step.count}])
    with pytest.raises(TypeError, match=r"returns a dict of arrays by name, but .* returned "):
        run(lambda step: step.value)


def test_eval_value_is_the_loss_at_eval_params():
    optimizer = jm.nesterov(0.1, 0.9)
    run = jm.optimize(quadratic, START, optimizer, 5, record=("eval_value", "value"))
    x = jm.eval_params(optimizer, run.params, run.state)
    np.testing.assert_allclose(run.history["eval_value"][-1], quadratic(x), rtol=1e-14)
    assert run.history["eval_value"][-1] != run.history["value"][-1]


def test_pytrees_of_parameters():
    params = {"a": START, "b": [jnp.float32(3.0), None]}
    loss = lambda p: quadratic(p["a"]) + (p["b"][0] ** 2).astype(float)  # noqa: E731
    run = jm.optimize(loss, params, jm.heavy_ball(0.1), 10, record=("value", "params"))
    chex.assert_trees_all_equal_shapes_and_dtypes(run.params, params)
    assert run.history["params"]["a"].shape == (11, 2)
    np.testing.assert_allclose(run.params["a"], python_loop(jm.heavy_ball(0.1), 10)[-1])


def test_a_diverged_lane_is_frozen_and_its_neighbors_do_not_notice():
    """Descent on curvature 1 with rate a: |1 - a|^t, so f exceeds 1e6 f_0 at a known count."""
    rates = jnp.array([0.5, 3.0, 1.0, jnp.nan, 2.5])
    run = jax.jit(
        jax.vmap(
            lambda rate: jm.optimize(
                lambda x: x**2 / 2, jnp.array(1.0), jm.gradient_descent(rate), 100
            )
        )
    )
    batch = run(rates)
    first = [int(np.ceil(np.log(1e6) / (2 * np.log(abs(1 - a))))) for a in (3.0, 2.5)]
    np.testing.assert_array_equal(batch.diverged_at, [-1, first[0], -1, 1, first[1]])
    for lane, at in ((1, first[0]), (4, first[1])):
        values = batch.history["value"][lane]
        assert values[at] > 1e6 * values[0]
        assert values[at - 1] <= 1e6 * values[0]
        np.testing.assert_array_equal(values[at:], values[at])
        np.testing.assert_allclose(abs(batch.params[lane]), abs(1 - rates[lane]) ** at, rtol=1e-12)
    calm = run(jnp.array([0.5, 0.1, 1.0, 0.2, 0.3]))
    for lane in (0, 2):
        np.testing.assert_array_equal(batch.history["value"][lane], calm.history["value"][lane])


@pytest.mark.parametrize(("check", "every"), [(4, 100), (4, 10), (7, 3), (100, 25)])
def test_rare_tests_of_divergence_find_the_same_lanes_later(check, every):
    """Tests are before every `check` updates after a record, and at records."""
    rates = jnp.array([0.5, 3.0, 1.0, 2.5])

    def run(rate, **options):
        descent = jm.gradient_descent(rate)
        return jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), descent, 100, **options)

    exact = jax.vmap(run)(rates)
    rarely = jax.vmap(lambda rate: run(rate, check=check, every=every))(rates)
    tests = sorted({r + c for r in range(0, 100, every) for c in range(0, every, check)} | {100})
    for lane in (1, 3):
        expected = next(test for test in tests if test >= exact.diverged_at[lane])
        assert rarely.diverged_at[lane] == expected
        grown = abs(1 - rates[lane]) ** expected
        np.testing.assert_allclose(abs(rarely.params[lane]), grown, rtol=1e-12)
    for lane in (0, 2):
        assert rarely.diverged_at[lane] == -1
        np.testing.assert_allclose(rarely.params[lane], exact.params[lane], rtol=1e-14, atol=1e-30)


def test_divergence_at_the_very_end_and_from_a_zero_value():
    grow = jm.gradient_descent(3.0)
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), grow, 10)
    assert run.diverged_at == 10
    assert jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), grow, 9).diverged_at == -1
    still = jm.optimize(
        lambda x, n: n * x, jnp.array(0.0), jm.gradient_descent(1.0), 9, batches=jnp.ones(9)
    )
    assert still.diverged_at == -1


def test_new_values_do_not_compile_anew():
    """Traced for the scalar check, the loop and the last record; then never again."""
    traces = []

    def loss(curvature, x):
        traces.append(x)
        return jnp.sum(curvature * x**2) / 2

    counts = []
    for beta, scale in [(0.5, 1.0), (0.9, 3.0), (0.1, 0.5)]:
        jm.optimize(
            Partial(loss, scale * CURVATURE),
            scale * START,
            jm.heavy_ball(0.1 * scale, beta),
            5,
            divergence=1e3 * scale,
        )
        counts.append(len(traces))
    first, second, third = counts
    assert second - first == third - second == 1  # the scalar check, which is only a trace


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Module:
    """A pytree that can be called, as the modules of equinox and their methods are."""

    scale: jax.Array

    def __call__(self, *args):
        return self.scale * quadratic(args[0]) if len(args) == 1 else self.scale


def test_losses_and_batches_may_be_modules():
    def run(scale):
        module = Module(jnp.array(scale))
        alone = jm.optimize(module, START, jm.heavy_ball(0.1), 5)
        loss, key = lambda x, batch: batch * quadratic(x), jax.random.key(0)
        drawn = jm.optimize(loss, START, jm.heavy_ball(0.1), 5, batches=module, key=key)
        return alone, drawn

    expected = jm.optimize(lambda x: 0.5 * quadratic(x), START, jm.heavy_ball(0.1), 5)
    for found in run(0.5):
        np.testing.assert_allclose(found.history["value"], expected.history["value"], rtol=1e-14)


def test_it_can_be_vmapped_and_differentiated():
    def final(beta, start):
        run = jm.optimize(quadratic, start, jm.heavy_ball(0.1, beta), 20, every=6)
        return run.history["value"][-1]

    betas = jnp.linspace(0, 0.9, 5)
    starts = jnp.outer(jnp.linspace(1.0, 2.0, 5), START)
    batch = jax.vmap(final)(betas, starts)
    alone = [final(beta, start) for beta, start in zip(betas, starts, strict=True)]
    np.testing.assert_allclose(batch, alone, rtol=1e-12)
    slope, h = jax.grad(final)(betas[3], START), 1e-6
    difference = (final(betas[3] + h, START) - final(betas[3] - h, START)) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


# Going on


def joined(*histories):
    """The history of one long run: where segments meet, the record is the later one's."""
    cut = [{n: h[:-1] for n, h in history.items()} for history in histories[:-1]]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *cut, histories[-1])


def decaying(rate, beta):
    return jm.heavy_ball(jm.schedules.linear(rate, 0.1 * rate, steps=20), beta)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("make", [decaying, jm.nesterov, lambda a, b: jm.lift(optax.adam)(a, b1=b)])
@pytest.mark.parametrize(("every", "check"), [(1, 1), (4, 1), (4, 2)])
def test_segments_are_one_run_bit_for_bit(dtype, make, every, check):
    def loss(x, noise):
        return jnp.sum(CURVATURE.astype(dtype) * x**2) / 2 + noise @ x

    def draw(key, count):
        return jax.random.normal(key, (2,), dtype) * (count % 3).astype(dtype)

    def run(start, steps):
        return jm.optimize(
            loss,
            start,
            make(jnp.asarray(0.1, dtype), jnp.asarray(0.9, dtype)),
            steps,
            batches=draw,
            key=jax.random.key(3),
            record=("value", "params", "eval_value"),
            every=every,
            check=check,
        )

    start = START.astype(dtype)
    one, first = run(start, 32), run(start, 8)
    second = run(first, 8)
    third = run(second, 16)
    history = joined(first.history, second.history, third.history)
    whole = one._replace(history=history, steps=third.steps)
    chex.assert_trees_all_equal_shapes_and_dtypes(third._replace(history=history), whole)
    chex.assert_trees_all_equal(third._replace(history=one.history), whole)
    np.testing.assert_array_equal(second.steps, range(8, 17, every))


def test_lanes_go_on_and_the_frozen_stay_frozen():
    """Under vmap and jit; the limit is that of the first value, though it has shrunk by then."""
    rates = jnp.array([0.5, 3.0, 1.0, jnp.nan, 2.01, 1.9])

    def run(start, rate, steps):
        descent = jm.gradient_descent(rate)
        return jm.optimize(lambda x: x**2 / 2, start, descent, steps, divergence=1e3)

    start = jnp.full(len(rates), 0.7)
    lanes = jax.jit(jax.vmap(run, in_axes=(0, 0, None)), static_argnums=2)
    one = lanes(start, rates, 600)
    first = lanes(start, rates, 6)
    later = lanes(first, rates, 594)
    np.testing.assert_array_equal(first.diverged_at > 0, [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(one.diverged_at > 0, [0, 1, 0, 1, 1, 0])
    assert one.diverged_at[4] > 300
    for name in ("params", "state", "diverged_at", "first_value"):
        chex.assert_trees_all_equal(getattr(later, name), getattr(one, name))
    values = [run.history["value"] for run in (first, later)]
    np.testing.assert_array_equal(
        np.concatenate([values[0][:, :-1], values[1]], axis=1), one.history["value"]
    )
    np.testing.assert_array_equal(later.steps[0], range(6, 601))


def test_lanes_with_a_common_key_go_on_sharing_their_batches():
    def draw(key, count):
        return jax.random.normal(key, (8, 2))

    def run(start, rate, steps):
        def loss(x, rows):
            return quadratic(x) + jnp.mean(jnp.tanh(rows @ x))

        descent, key = jm.heavy_ball(rate, 0.5), jax.random.key(0)
        return jm.optimize(loss, start, descent, steps, batches=draw, key=key)

    axes = jm.Trajectory(0, 0, None, 0, 0, 0)
    rates = jnp.linspace(0.01, 0.2, 5)
    one, first = (
        jax.jit(jax.vmap(lambda rate, n=n: run(START, rate, n), out_axes=axes))(rates)
        for n in (20, 8)
    )
    on = jax.vmap(lambda start, rate: run(start, rate, 12), in_axes=(axes, 0), out_axes=axes)
    later = jax.jit(on)(first, rates)
    np.testing.assert_array_equal(later.params, one.params)
    np.testing.assert_array_equal(later.steps, range(8, 21))


def test_arrays_of_batches_are_those_of_the_segment():
    """A bad value on the last batch alone, which a long run does not see, is tested again."""
    noise = jax.random.normal(jax.random.key(0), (10, 2))

    def run(start, batches):
        return jm.optimize(
            noisy, start, jm.heavy_ball(0.1), len(batches), batches=batches, divergence=2.0
        )

    one = run(START, noise)
    first = run(START, noise[:4])
    chex.assert_trees_all_equal(run(first, noise[4:]).params, one.params)
    jump = lambda x, at: jnp.where(at > 0, 1.0, 0.0) * x  # noqa: E731
    descent = jm.gradient_descent(jnp.array(-1.0))
    ends = jm.optimize(jump, jnp.array(1.0), descent, 2, batches=jnp.ones(2), divergence=2.5)
    assert ends.diverged_at == 2
    on = jm.optimize(jump, ends, descent, 2, batches=jnp.array([0.0, 1.0]), divergence=2.5)
    batches = jnp.array([1.0, 1.0, 0.0, 1.0])
    long = jm.optimize(jump, jnp.array(1.0), descent, 4, batches=batches, divergence=2.5)
    assert on.diverged_at == long.diverged_at == 3


def test_going_on_from_other_counts_does_not_compile_anew():
    run = jm.optimize(quadratic, START, jm.heavy_ball(0.1), 3)

    @chex.assert_max_traces(n=5)  # the loop and the last record once, the scalar check each time
    def loss(x):
        return quadratic(x)

    for _ in range(3):
        run = jm.optimize(loss, run, jm.heavy_ball(0.1), 5)
    assert run.steps[-1] == 18


def test_the_hypergradient_through_two_segments_is_that_of_one_run():
    def final(beta, *segments):
        run = START
        for steps in segments:
            run = jm.optimize(quadratic, run, jm.heavy_ball(0.1, beta), steps)
        return run.history["value"][-1]

    one, two = (jax.grad(final)(0.8, *segments) for segments in ((20,), (8, 12)))
    np.testing.assert_allclose(one, two, rtol=1e-13)


def test_counts_saturate_in_a_run_that_goes_on_for_ever():
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), jm.gradient_descent(3.0), 2)
    largest = np.iinfo(np.int32).max
    late = run._replace(steps=jnp.array([largest - 3], jnp.int32))
    on = jm.optimize(lambda x: x**2 / 2, late, jm.gradient_descent(3.0), 12)
    assert on.steps.dtype == jnp.int32
    np.testing.assert_array_equal(on.steps, np.minimum(largest - 3 + np.arange(13.0), largest))
    assert on.diverged_at == largest
    again = jm.optimize(lambda x: x**2 / 2, on, jm.gradient_descent(3.0), 2)
    assert again.diverged_at == largest


def test_a_run_of_another_optimizer_is_refused():
    run = jm.optimize(quadratic, START, jm.heavy_ball(0.1), 3)
    with pytest.raises(ValueError, match="give the optimizer of that run, or only its params"):
        jm.optimize(quadratic, run, jm.lift(optax.adam)(0.1), 3)
    assert jm.optimize(quadratic, run.params, jm.lift(optax.adam)(0.1), 3).steps[0] == 0


# The reference of divergence, where there are batches


SCALES = jnp.array([1e-12, 1.0, 1.0, 1.0, 2.0, *[1.0] * 15])  # the first batch happens to be easy


def scaled(x, scale):
    return scale * x**2 / 2


def draw_scale(key, count):
    return SCALES[jnp.minimum(count, len(SCALES) - 1)]


STACKED_AND_DRAWN = {
    "stacked": {"batches": SCALES},
    "drawn": {"batches": draw_scale, "key": jax.random.key(0)},
}


@pytest.mark.parametrize("options", STACKED_AND_DRAWN.values(), ids=STACKED_AND_DRAWN)
def test_a_tiny_first_batch_freezes_nothing_but_what_diverges(options):
    """Descent with rate a on curvature 1: |1 - a|^t; the reference is that of scale 2, 1."""

    def run(rate):
        return jm.optimize(scaled, jnp.array(1.0), jm.gradient_descent(rate), 20, **options)

    rates = jnp.array([0.5, 3.0, 0.1, 2.5])
    batch = jax.jit(jax.vmap(run))(rates)
    np.testing.assert_array_equal(batch.first_value, np.ones(4))

    def first_bad(rate):
        x, scales = 1.0, np.asarray(SCALES)
        for t, scale in enumerate([*scales, scales[-1]]):
            if scale * x**2 / 2 > 1e6:
                return t
            x -= rate * scale * x
        return -1

    expected = [first_bad(float(rate)) for rate in rates]
    assert expected[0] == expected[2] == -1 < min(expected[1], expected[3])
    np.testing.assert_array_equal(batch.diverged_at, expected)
    for lane, at in ((1, expected[1]), (3, expected[3])):
        np.testing.assert_array_equal(
            batch.history["value"][lane, at:], np.repeat(batch.history["value"][lane, at], 21 - at)
        )
    assert batch.history["value"][0, -1] < 1e-10


@pytest.mark.parametrize("steps", [1, 3, 8, 20])
def test_the_reference_is_the_largest_loss_of_the_first_batches(steps):
    signs = jnp.array([1e-12, -3.0, 2.0, jnp.nan, jnp.inf, 1.0, 0.0, 1.0, *[100.0] * 12])
    run = jm.optimize(
        lambda x, scale: scale * jnp.exp(0 * x),
        jnp.array(1.0),
        jm.gradient_descent(0.1),
        steps,
        batches=signs[:steps],
    )
    expected = np.abs(signs[: min(steps, 8)])
    np.testing.assert_array_equal(run.first_value, expected[np.isfinite(expected)].max())


def test_without_batches_the_reference_is_the_first_value():
    run = jm.optimize(lambda x: x - 3.0, jnp.array(1.0), jm.gradient_descent(0.1), 5)
    assert run.first_value == -2.0
    zero = jm.optimize(lambda x: x**2, jnp.array(0.0), jm.gradient_descent(0.1), 5, divergence=2.0)
    assert zero.first_value == 0.0
    assert zero.diverged_at == -1


@pytest.mark.parametrize("options", STACKED_AND_DRAWN.values(), ids=STACKED_AND_DRAWN)
def test_segments_keep_the_reference_of_the_first(options):
    def run(start, rate, first, last):
        cut = {**options}
        if "key" not in cut:
            cut["batches"] = SCALES[first:last]
        return jm.optimize(scaled, start, jm.gradient_descent(rate), last - first, **cut)

    for rate in (0.5, 3.0):
        one = run(jnp.array(1.0), rate, 0, 20)
        two = run(run(jnp.array(1.0), rate, 0, 8), rate, 8, 20)
        chex.assert_trees_all_equal(two.params, one.params)
        assert two.diverged_at == one.diverged_at
        assert two.first_value == one.first_value


# Complex params


TARGET = jnp.array([1.0 + 2.0j, -1.0j])


def distance(z):
    return jnp.sum(CURVATURE * jnp.abs(z - TARGET) ** 2) / 2


def distance_of_parts(x):
    parts = jnp.stack([TARGET.real, TARGET.imag])
    return jnp.sum(CURVATURE[None] * (x - parts) ** 2) / 2


LINEAR = [name for name, case in METHODS.items() if case.linear and not case.is_complex]


@pytest.mark.parametrize("name", LINEAR)
def test_complex_params_run_as_their_real_and_imaginary_parts(name):
    case = METHODS[name]
    optimizer = case.make(**case.hyperparameters, **case.static)
    start = jnp.array([0.5 - 1.0j, 2.0 + 0.0j])
    run = jm.optimize(distance, start, optimizer, 12, record=("value", "params"))
    parts = jm.optimize(
        distance_of_parts, jnp.stack([start.real, start.imag]), optimizer, 12, record="params"
    )
    points = np.asarray(parts.history["params"])
    expected = points[:, 0] + 1j * points[:, 1]
    np.testing.assert_allclose(run.history["params"], expected, rtol=1e-11, atol=1e-12)
    assert run.params.dtype == start.dtype
    assert run.history["value"].dtype == float


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(0.3),
        jm.lift(optax.adam)(0.3),
        optax.contrib.split_real_and_imaginary(optax.sgd(0.2, 0.5)),
        optax.lbfgs(),
        optax.polyak_sgd(1.0),
    ],
    ids=["adam", "lifted adam", "split", "lbfgs", "polyak"],
)
def test_optax_descends_in_complex_params(optimizer):
    with jax.numpy_dtype_promotion("standard"):
        run = jm.optimize(distance, jnp.array([0.5 - 1.0j, 2.0 + 0.0j]), optimizer, 150)
    assert run.diverged_at == -1
    assert run.history["value"][-1] < 1e-3 * run.history["value"][0]


def test_records_see_the_gradient_that_the_update_gets():
    start = jnp.array([0.5 - 1.0j, 2.0 + 0.0j])
    record = lambda step: {"gradient": step.gradient}  # noqa: E731
    run = jm.optimize(distance, start, jm.gradient_descent(0.1), 3, record=record)
    np.testing.assert_allclose(
        run.history["gradient"][0], np.asarray(CURVATURE) * np.asarray(start - TARGET)
    )


# Kinds of arguments


@pytest.mark.parametrize(
    ("params", "dtype"),
    [
        (3, "int64"),
        (np.array([1, 2], np.int32), "int32"),
        (jnp.array([True]), "bool"),
        ({"w": jnp.ones(2), "count": jnp.array(3, jnp.uint8)}, "uint8"),
    ],
)
def test_params_that_cannot_move_are_refused(params, dtype):
    loss = lambda p: sum(jnp.sum(jnp.asarray(x, float)) for x in jax.tree.leaves(p))  # noqa: E731
    with pytest.raises(TypeError, match=f"leaves of dtype {dtype}, along which no step"):
        jm.optimize(loss, params, jm.heavy_ball(0.1), 3)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, jnp.int32, jnp.asarray])
def test_steps_may_be_integers_of_any_library(integer):
    def run(kind):
        options = {name: kind(n) for name, n in (("every", 2), ("check", 2), ("unroll", 1))}
        return jm.optimize(quadratic, START, jm.heavy_ball(0.1), kind(6), **options)

    chex.assert_trees_all_equal(run(integer), run(int))


def test_steps_that_are_no_integers_are_refused():
    for steps in (3.0, "3", None):
        with pytest.raises(TypeError, match="are integers and not traced, got steps="):
            jm.optimize(quadratic, START, jm.heavy_ball(0.1), steps)
    with pytest.raises(TypeError, match="are integers and not traced"):
        jax.jit(lambda n: jm.optimize(quadratic, START, jm.heavy_ball(0.1), n))(3)


def test_losses_that_are_not_real_are_refused():
    for loss in (lambda x: jnp.sum(x.astype(complex)), lambda x: jnp.sum(x > 0)):
        with pytest.raises(ValueError, match="must return a real floating number"):
            jm.optimize(loss, START, jm.heavy_ball(0.1), 3)


# Meshes

MANY_STATES = {
    "sgd": optax.sgd(0.1, 0.9),
    "adam": optax.adam(0.1),
    "heavy_ball": jm.heavy_ball(0.1, 0.9),
    "scheduled": jm.heavy_ball(jm.schedules.linear(0.1, 0.01, 5.0), 0.9),
    "lifted": jm.lift(optax.lion)(0.1),
}


@pytest.mark.parametrize("optimizer", MANY_STATES.values(), ids=MANY_STATES)
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_a_run_in_shard_map_is_the_run_outside(optimizer, axis_type):
    """One device suffices: the types of values that vary over a mesh are checked all the same."""
    mesh = jax.make_mesh((1,), ("x",), axis_types=(getattr(jax.sharding.AxisType, axis_type),))
    spec = jax.sharding.PartitionSpec("x")

    def run(p, **options):
        first = jm.optimize(lambda p: jnp.sum(p**2), p, optimizer, 4, **options)
        return jm.optimize(lambda p: jnp.sum(p**2), first, optimizer, 4, **options).params

    p = jnp.arange(8.0).reshape(4, 2)
    p = jax.device_put(p, jax.sharding.NamedSharding(mesh, spec))
    for options in ({}, {"every": 3, "check": 2, "record": ("value", "eval_value")}):
        inside = jax.shard_map(
            lambda p, options=options: run(p, **options), mesh=mesh, in_specs=spec, out_specs=spec
        )
        np.testing.assert_allclose(jax.jit(inside)(p), run(p, **options), rtol=1e-12)


def test_unrolling_changes_nothing():
    one = jm.optimize(quadratic, START, jm.heavy_ball(0.1), 10)
    for check in (1, 5):
        two = jm.optimize(quadratic, START, jm.heavy_ball(0.1), 10, unroll=4, check=check)
        np.testing.assert_allclose(one.history["value"], two.history["value"], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "check and unroll are at least 1, got steps=0"),
        ({"every": 0}, "are at least 1, got steps=5, every=0, check=1"),
        ({"record": "loss"}, r"record has no \['loss'\]; it knows \['value', 'params'"),
        ({"loss": lambda x: x}, r"loss must return one number \(shape \(\)\)"),
        ({"loss": lambda x: (x.sum(), x)}, "loss must return one number"),
        (
            {"loss": noisy, "batches": jnp.ones((4, 2))},
            r"leading axis of length steps=5, one batch for each update; .*\(4, 2\)",
        ),
        ({"loss": noisy, "batches": jnp.ones(())}, "leading axis of length steps=5"),
        (
            {"loss": noisy, "batches": lambda key, count: jnp.ones(2)},
            r"function of \(key, count\): give key=",
        ),
        (
            {"loss": noisy, "batches": lambda key, count: jnp.ones(2), "key": 0},
            r"give key=jax.random.key\(seed\), got 0",
        ),
        *[
            (
                {"loss": noisy, "batches": lambda key, count: jnp.ones(2), "key": key},
                r"give key=jax.random.key\(seed\), got ",
            )
            for key in (np.int64(0), np.uint32(3), 0.5, jnp.ones(2), jax.random.split(KEY))
        ],
        ({"loss": noisy, "batches": [jnp.ones(2)] * 5}, r"jnp.stack\(list\(batches\)\)"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, message):
    good = {"loss": quadratic, "params": START, "optimizer": jm.heavy_ball(0.1), "steps": 5}
    with pytest.raises(ValueError, match=message):
        jm.optimize(**{**good, **arguments})


def test_bad_optimizers_get_a_sentence():
    with pytest.raises(TypeError, match="expected an optax GradientTransformation"):
        jm.optimize(quadratic, START, jm.heavy_ball, 5)


def test_divergence_of_none_gets_a_sentence():
    with pytest.raises(TypeError, match=r"for no limit give divergence=jnp.inf"):
        jm.optimize(quadratic, START, jm.heavy_ball(0.1), 5, divergence=None)


@pytest.mark.parametrize("lifted", [False, True])
def test_updates_get_only_the_extra_arguments_that_they_admit(lifted):
    make = jm.lift(optax.contrib.sam) if lifted else optax.contrib.sam
    optimizer = make(optax.sgd(0.1), optax.sgd(0.01))
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, 2)
    np.testing.assert_allclose(run.params, 1.0 - 0.1 * 1.01, rtol=1e-12)


def test_keys_may_be_typed_or_raw():
    def draw(key, count):
        return jax.random.normal(key, (2,))

    typed, raw = (
        jm.optimize(noisy, START, jm.heavy_ball(0.1), 3, batches=draw, key=key).params
        for key in (jax.random.key(5), jax.random.PRNGKey(5))
    )
    np.testing.assert_array_equal(typed, raw)


def sam():
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    return optax.contrib.sam(optax.sgd(0.1), ascent, sync_period=2)


def test_a_stage_that_takes_no_extra_arguments_is_named():
    """optax.chain passes value, grad and value_fn to all of its stages, and sam takes none."""
    with pytest.raises(TypeError, match=r"is passed 'value'.*compose with jm.chain"):
        jm.optimize(quadratic, START, optax.chain(optax.clip(1.0), sam()), 4)
    clip = optax.clip(1.0)
    ours, lifted = (
        jm.optimize(quadratic, START, chain(clip, sam()), 4).params
        for chain in (jm.chain, jm.lift(optax.chain))
    )
    state, x = optax.chain(clip, sam()).init(START), START
    for _ in range(4):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optax.chain(clip, sam()).update(CURVATURE * x, state, x)
        x = x + updates
    np.testing.assert_allclose(ours, x, rtol=1e-14)
    np.testing.assert_allclose(lifted, x, rtol=1e-14)
