"""Schedules: optax's numbers where optax has them, finite everywhere, traceable in every number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import schedules

COUNTS = np.arange(0, 25)

MADE = {
    "constant": (schedules.constant, {"value": 0.3}),
    "linear": (schedules.linear, {"init_value": 1.0, "end_value": 0.1, "steps": 10}),
    "polynomial": (
        schedules.polynomial,
        {"init_value": 1.0, "end_value": 0.1, "steps": 10, "power": 1.5},
    ),
    "cosine": (schedules.cosine, {"init_value": 1.0, "end_value": 0.1, "steps": 10}),
    "exponential": (schedules.exponential, {"init_value": 1.0, "rate": 0.9, "steps": 3}),
    "half_life": (schedules.half_life, {"init_value": 0.9, "end_value": 0.999, "steps": 10}),
    "demon": (schedules.demon, {"beta": 0.9, "steps": 10}),
    "sutskever": (schedules.sutskever, {"beta_max": 0.9, "period": 5}),
    "warmup": (schedules.warmup, {"schedule": 0.5, "steps": 10}),
    "warmup_cosine": (
        schedules.warmup_cosine,
        {"init_value": 0.1, "peak_value": 1.0, "warmup": 4, "steps": 10, "end_value": 0.2},
    ),
    "one_cycle": (
        schedules.one_cycle,
        {
            "peak_value": 1.0,
            "steps": 10,
            "pct_start": 0.4,
            "div_factor": 5.0,
            "final_div_factor": 100.0,
        },
    ),
    "trapezoid": (
        schedules.trapezoid,
        {"peak_value": 0.8, "steps": 10, "warmup": 3, "decay": 5, "end_value": 0.1},
    ),
    "join": (
        lambda first, rate, boundary: schedules.join(
            [first, schedules.exponential(1.0, rate)], [boundary]
        ),
        {"first": 0.5, "rate": 0.9, "boundary": 7},
    ),
}

FORMULAS = {
    "constant": lambda t: 0.3,
    "linear": lambda t: 1.0 - 0.9 * min(t / 10, 1),
    "polynomial": lambda t: 0.1 + 0.9 * (1 - min(t / 10, 1)) ** 1.5,
    "cosine": lambda t: 0.1 + 0.9 * (1 + np.cos(np.pi * min(t / 10, 1))) / 2,
    "exponential": lambda t: 0.9 ** (t / 3),
    "half_life": lambda t: np.exp(
        np.log(0.5)
        / (
            np.log(0.5) / np.log(0.9) * (1 - min(t / 10, 1))
            + np.log(0.5) / np.log(0.999) * min(t / 10, 1)
        )
    ),
    "demon": lambda t: 0.9 * (1 - min(t / 10, 1)) / (1 - 0.9 + 0.9 * (1 - min(t / 10, 1))),
    "sutskever": lambda t: min(1 - 2.0 ** (-1 - np.log2(t // 5 + 1)), 0.9),
    "warmup": lambda t: 0.5 * min(1, (t + 1) / 10),
    "warmup_cosine": lambda t: (
        0.1 + 0.9 * t / 4 if t < 4 else 0.2 + 0.8 * (1 + np.cos(np.pi * min((t - 4) / 6, 1))) / 2
    ),
    "one_cycle": lambda t: (
        1.0 - 0.8 * (1 + np.cos(np.pi * t / 4)) / 2
        if t < 4
        else 0.002 + 0.998 * (1 + np.cos(np.pi * min((t - 4) / 6, 1))) / 2
    ),
    "trapezoid": lambda t: min(1, (t + 1) / 3) * (0.1 + 0.7 * min(1, max(0, (10 - t) / 5))),
    "join": lambda t: 0.5 if t < 7 else 0.9 ** (t - 7),
}

every_schedule = pytest.mark.parametrize("name", MADE)


@every_schedule
def test_formula_exact_in_float64_with_all_numbers_traced(name):
    make, numbers = MADE[name]

    @jax.jit
    def values(numbers, counts):
        return jax.vmap(make(**numbers))(counts)

    expected = [FORMULAS[name](int(t)) for t in COUNTS]
    traced = jax.tree.map(lambda v: jnp.asarray(v, float), numbers)
    actual = values(traced, jnp.asarray(COUNTS, jnp.int32))
    assert actual.dtype == jnp.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


@every_schedule
def test_finite_with_finite_derivatives_at_and_after_the_end(name):
    make, numbers = MADE[name]
    numbers = {n: jnp.asarray(v, float) for n, v in numbers.items()}
    for count in (0, 9, 10, 11, 10**6):
        value, slope = jax.value_and_grad(lambda v: make(**v)(jnp.int32(count)))(numbers)  # noqa: B023
        assert np.isfinite(value)
        assert all(np.isfinite(leaf) for leaf in slope.values())


WHOLE = {"plain": int, "of NumPy": np.int64, "of JAX": jnp.int32}


@every_schedule
@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_have_derivatives(name, whole):
    """As in steps=100 of every docstring; the same derivatives as those of 100.0."""
    make, numbers = MADE[name]
    given = {n: whole(v) if isinstance(v, int) else v for n, v in numbers.items()}
    slope = jax.grad(lambda schedule: schedule(jnp.int32(3)))
    floats = make(**{n: float(v) for n, v in numbers.items()})
    for one, other in zip(
        jax.tree.leaves(slope(make(**given))), jax.tree.leaves(slope(floats)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13)


@every_schedule
def test_a_saturated_count_is_after_the_end(name):
    make, numbers = MADE[name]
    last = make(**numbers)(jnp.int32(2**31 - 1))
    np.testing.assert_allclose(last, FORMULAS[name](2**31 - 1), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("steps", [10, 300, 500, 600, 1000, 2000])
def test_a_fractional_power_is_no_nan_at_the_end_under_jit(steps):
    """Where optax's polynomial_schedule is NaN, XLA having rounded t / T to more than 1."""
    with jax.enable_x64(False):
        schedule = jax.jit(schedules.polynomial(1.0, 0.0, steps, power=1.5))
        assert schedule(jnp.int32(steps)) == 0.0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schedules.linear(1.0, 0.1, 10), optax.linear_schedule(1.0, 0.1, 10)),
        (schedules.polynomial(1.0, 0.1, 10, 3.0), optax.polynomial_schedule(1.0, 0.1, 3.0, 10)),
        (schedules.cosine(1.0, 0.1, 10), optax.cosine_decay_schedule(1.0, 10, alpha=0.1)),
        (
            schedules.exponential(1.0, 0.5, 4),
            optax.exponential_decay(1.0, 4, 0.5),
        ),
        (
            schedules.join([schedules.linear(0.0, 1.0, 5), 0.25], [5]),
            optax.join_schedules(
                [optax.linear_schedule(0.0, 1.0, 5), optax.constant_schedule(0.25)], [5]
            ),
        ),
    ],
)
def test_the_same_as_optax(ours, theirs):
    with jax.numpy_dtype_promotion("standard"):
        expected = [theirs(jnp.int32(t)) for t in COUNTS]
    np.testing.assert_allclose([ours(jnp.int32(t)) for t in COUNTS], expected, rtol=1e-6)


def twin_of_exponential(init, steps, rate, begin, end):
    decay = schedules.join([init, schedules.exponential(init, rate, steps)], [begin])
    return lambda count: jnp.maximum(decay(count), end)


def twin_of_stairs(init, steps, rate):
    decay = schedules.exponential(init, rate, steps)
    return lambda count: decay(jnp.floor(jnp.asarray(count, float) / steps) * steps)


def twin_of_sgdr(peaks, warmup, steps):
    cycles = [schedules.warmup_cosine(0.1, peak, warmup, steps, 0.05) for peak in peaks]
    return schedules.join(cycles, [steps * (i + 1) for i in range(len(peaks) - 1)])


# Schedules of optax whose shape cannot be traced there -> ours, of the same traced numbers.
TWINS = {
    "cosine_onecycle": (
        lambda steps, peak, share: optax.cosine_onecycle_schedule(steps, peak, share),
        schedules.one_cycle,
        {"steps": 20, "peak": 0.7, "share": 0.3},
        lambda make, steps, peak, share: make(peak, steps, share),
    ),
    "linear_onecycle": (
        lambda steps, peak: optax.linear_onecycle_schedule(steps, peak, 0.3, 0.85),
        lambda peak, steps: schedules.join(
            [
                schedules.linear(peak / 25, peak, 0.3 * steps),
                schedules.linear(peak, peak / 25, 0.55 * steps),
                schedules.linear(peak / 25, peak / 25e4, 0.15 * steps),
            ],
            [0.3 * steps, 0.85 * steps],
        ),
        {"steps": 20, "peak": 0.7},
        lambda make, steps, peak: make(peak, steps),
    ),
    "warmup_cosine_decay": (
        optax.warmup_cosine_decay_schedule,
        schedules.warmup_cosine,
        {
            "init_value": 0.1,
            "peak_value": 0.7,
            "warmup_steps": 4,
            "decay_steps": 20,
            "end_value": 0.05,
        },
        lambda make, **v: make(*v.values()),
    ),
    "warmup_exponential_decay": (
        lambda init, peak, warmup, steps, rate: optax.warmup_exponential_decay_schedule(
            init, peak, warmup, steps, rate
        ),
        lambda init, peak, warmup, steps, rate: schedules.join(
            [schedules.linear(init, peak, warmup), schedules.exponential(peak, rate, steps)],
            [warmup],
        ),
        {"init": 0.1, "peak": 0.7, "warmup": 4, "steps": 3, "rate": 0.9},
        lambda make, **v: make(*v.values()),
    ),
    "warmup_constant": (
        optax.warmup_constant_schedule,
        schedules.linear,
        {"init_value": 0.1, "peak_value": 0.7, "warmup_steps": 4},
        lambda make, **v: make(*v.values()),
    ),
    "exponential_decay": (
        lambda init, steps, rate, begin, end: optax.exponential_decay(
            init, steps, rate, begin, end_value=end
        ),
        twin_of_exponential,
        {"init": 0.7, "steps": 3, "rate": 0.8, "begin": 4, "end": 0.3},
        lambda make, **v: make(*v.values()),
    ),
    "exponential_decay with stairs": (
        lambda init, steps, rate: optax.exponential_decay(init, steps, rate, staircase=True),
        twin_of_stairs,
        {"init": 0.7, "steps": 3, "rate": 0.8},
        lambda make, **v: make(*v.values()),
    ),
    "polynomial": (
        lambda init, end, power, steps, begin: optax.polynomial_schedule(
            init, end, power, steps, begin
        ),
        lambda init, end, power, steps, begin: schedules.join(
            [init, schedules.polynomial(init, end, steps, power)], [begin]
        ),
        {"init": 0.7, "end": 0.1, "power": 2.0, "steps": 9, "begin": 4},
        lambda make, **v: make(*v.values()),
    ),
    "cosine_decay": (
        lambda init, steps, alpha: optax.cosine_decay_schedule(init, steps, alpha),
        lambda init, steps, alpha: schedules.cosine(init, alpha * init, steps),
        {"init": 0.7, "steps": 9, "alpha": 0.1},
        lambda make, **v: make(*v.values()),
    ),
    "piecewise_constant": (
        lambda init, first, second: optax.piecewise_constant_schedule(init, {5: first, 12: second}),
        lambda init, first, second: schedules.join(
            [init, init * first, init * first * second], [5, 12]
        ),
        {"init": 0.7, "first": 0.5, "second": 0.1},
        lambda make, **v: make(*v.values()),
    ),
    "sgdr": (
        lambda first, second: optax.sgdr_schedule(
            [
                {
                    "init_value": 0.1,
                    "peak_value": peak,
                    "warmup_steps": 3,
                    "decay_steps": 10,
                    "end_value": 0.05,
                }
                for peak in (first, second)
            ]
        ),
        lambda first, second: twin_of_sgdr((first, second), 3, 10),
        {"first": 0.7, "second": 0.4},
        lambda make, **v: make(*v.values()),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_schedules_of_optax_have_twins_that_may_be_traced(name):
    theirs, ours, numbers, call = TWINS[name]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        schedule = theirs(**numbers)
        expected = [schedule(jnp.int32(t)) for t in COUNTS]

    @jax.jit
    def values(traced):
        in_order = {n: traced[n] for n in numbers}
        return jax.vmap(call(ours, **in_order))(jnp.asarray(COUNTS, jnp.int32))

    traced = {n: jnp.asarray(v, float) for n, v in numbers.items()}
    np.testing.assert_allclose(values(traced), expected, rtol=1e-6)


def test_a_trapezoid_may_be_prolonged():
    short, long = (schedules.trapezoid(0.5, steps, 10, 20) for steps in (100, 1000))
    for t in range(81):
        assert short(t) == long(t)
    assert short(90) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.trapezoid(1.0, 10, 6, 5), "longer than the whole: steps=10, warmup=6"),
        (lambda: schedules.trapezoid(1.0, 10, -1), "warmup = -1 cannot be the length"),
        (lambda: schedules.trapezoid(1.0, 10, decay=-1), "decay = -1 cannot be the length"),
        (lambda: schedules.warmup_cosine(0.0, 1.0, 11, 10), "longer than the whole: steps=10"),
        (lambda: schedules.one_cycle(1.0, 10, 1.5), "pct_start = 1.5 is not a share"),
        (lambda: schedules.one_cycle(1.0, 10, div_factor=0), "div_factor = 0 is not a divisor"),
        (lambda: schedules.one_cycle(1.0, 10, final_div_factor=-1.0), "is not a divisor"),
    ],
)
def test_parts_that_do_not_fit_get_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ENDS = {
    "linear": lambda steps: schedules.linear(1.0, 0.25, steps),
    "polynomial": lambda steps: schedules.polynomial(1.0, 0.25, steps, 1.5),
    "cosine": lambda steps: schedules.cosine(1.0, 0.25, steps),
    "half_life": lambda steps: schedules.half_life(0.9, 0.25, steps),
    "demon": lambda steps: schedules.demon(0.9, steps),
    "warmup": lambda steps: schedules.warmup(0.25, steps),
    "warmup_cosine": lambda steps: schedules.warmup_cosine(1.0, 0.5, 0, steps, 0.25),
    "one_cycle": lambda steps: schedules.one_cycle(0.5, steps, 0.3, 2.0, 1.0),
    "trapezoid": lambda steps: schedules.trapezoid(1.0, steps, 0, 0, 0.25),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_schedule_of_no_steps_is_at_its_end(name):
    make, end = ENDS[name], 0.0 if name == "demon" else 0.25
    for steps in (0, 0.0, np.array(0), jnp.array(0.0)):
        for count in (0, 1, 1000):
            np.testing.assert_allclose(make(steps)(jnp.int32(count)), end, rtol=1e-15)
            slope = jax.grad(lambda schedule: schedule(jnp.int32(count)))(make(steps))  # noqa: B023
            assert np.isfinite(jax.tree.leaves(slope)).all()


LENGTHS = {
    **{name: (make, 0) for name, make in ENDS.items()},
    "exponential": (lambda steps: schedules.exponential(1.0, 0.9, steps), 1),
    "sutskever": (lambda steps: schedules.sutskever(0.9, steps), 1),
}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("plain", [int, float, np.int64, np.array])
def test_a_plain_length_that_is_none_is_refused(name, plain):
    make, least = LENGTHS[name]
    assert np.isfinite(make(plain(least))(0))
    with pytest.raises(ValueError, match="cannot be the length of a schedule"):
        make(plain(least - 1))
    with pytest.raises(ValueError, match="nan cannot be the length"):
        make(float("nan"))


def test_a_traced_period_of_zero_is_the_limit_of_short_ones():
    """And has finite derivatives; a plain one is refused."""
    for make, values in (
        (lambda steps: schedules.exponential(2.0, 0.5, steps), [2.0, 0.0, 0.0]),
        (lambda steps: schedules.exponential(2.0, 1.5, steps), [2.0, np.inf, np.inf]),
        (lambda steps: schedules.exponential(2.0, 1.0, steps), [2.0, 2.0, 2.0]),
        (lambda steps: schedules.sutskever(0.9, steps), [0.5, 0.9, 0.9]),
    ):
        for zero in (jnp.array(0.0), jnp.array(0, jnp.int32), jnp.array(1e-300)):
            found = [make(zero)(jnp.int32(count)) for count in (0, 1, 1000)]
            np.testing.assert_allclose(found, values, rtol=1e-15)
        for count in (0, 1, 1000):
            slope = jax.grad(lambda schedule: schedule(jnp.int32(count)))(make(jnp.array(0.0)))  # noqa: B023
            finite = np.isfinite(jax.tree.leaves(slope)).all()
            assert finite or values[1] == np.inf


TABLE = np.array([0.5, 0.25, 0.125, 0.0625, 0.0])


def test_a_function_that_is_joined_gets_a_whole_count():
    """As for an index into a table; also where the join is a part of others."""
    table = lambda count: jnp.asarray(TABLE)[count]  # noqa: E731
    inner = schedules.join([table, 1.0], [3])
    for schedule, expected in (
        (schedules.join([1.0, table], [2]), [1.0, 1.0, *TABLE]),
        (schedules.join([1.0, schedules.warmup(table, 1)], [2]), [1.0, 1.0, *TABLE]),
        (schedules.join([2.0, inner], [1]), [2.0, *TABLE[:3], 1.0]),
        (schedules.join([2.0, schedules.join([1.0, table], [1.0])], [1]), [2.0, 1.0, *TABLE]),
    ):
        counts = jnp.arange(len(expected), dtype=jnp.int32)
        np.testing.assert_array_equal(jax.vmap(schedule)(counts), expected)
        np.testing.assert_array_equal([schedule(int(t)) for t in counts], expected)
    last = schedules.join([0.0, lambda count: count.astype(float)], [7])
    for x64 in (True, False):
        with jax.enable_x64(x64):
            assert last(jnp.int32(2**31 - 1)) > 2**31 - 200


@functools.partial(jax.tree_util.register_dataclass, data_fields=["start"], meta_fields=[])
@dataclasses.dataclass
class Decay:
    """A schedule that is a pytree itself."""

    start: float

    def __call__(self, count):
        return self.start / (1 + count.astype(float))


def test_a_schedule_that_is_a_pytree_keeps_its_leaves():
    for make in (
        lambda decay: jm.heavy_ball(decay, 0.0),
        lambda decay: jm.replace(jm.heavy_ball(0.1, 0.0), learning_rate=decay),
        lambda decay: jm.heavy_ball(schedules.warmup(decay, 1), 0.0),
        lambda decay: jm.heavy_ball(schedules.join([decay, 1.0], [5]), 0.0),
    ):
        optimizer = make(Decay(0.25))
        assert 0.25 in jax.tree.leaves(optimizer)
        state = optimizer.init(jnp.ones(()))
        for t in range(3):
            update, state = optimizer.update(jnp.ones(()), state)
            np.testing.assert_allclose(update, -0.25 / (1 + t))


@pytest.mark.parametrize(
    "maker",
    [
        optax.linear_schedule,
        optax.cosine_decay_schedule,
        optax.join_schedules,
        functools.partial(optax.linear_schedule, 0.1),
        schedules.linear,
        schedules.demon,
        schedules.join,
        lambda count, scale: scale,
    ],
)
def test_a_maker_of_schedules_that_was_not_called_is_refused(maker):
    for make in (
        lambda: jm.heavy_ball(maker),
        lambda: jm.heavy_ball(0.1, maker),
        lambda: jm.replace(jm.heavy_ball(0.1), beta=maker),
        lambda: jm.lift(optax.adam)(maker),
    ):
        with pytest.raises(TypeError, match="is not a schedule: a schedule is called"):
            make()


def test_bad_boundaries_get_a_sentence():
    with pytest.raises(ValueError, match="3 schedules need 2 boundaries between them, got 1"):
        schedules.join([0.1, 0.2, 0.3], [5])
