"""The autotuner: where it starts, when it searches, what that may cost, and what is kept of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxmom as jm
from jaxmom import _jaxpr
from jaxmom.sweeps import explain, grid, paired, sweep
from jaxmom.sweeps.compile import autotune, choices, first_choice
from jaxmom.sweeps.compile.autotune import Autotuner
from jaxmom.sweeps.compile.batching import BLOCK, IN_TURN, LANES_LAST
from jaxmom.sweeps.compile.choices import Choice, cache_folder, recall_choice, remember_choice
from jaxmom.sweeps.compile.first_choice import fit_choice
from jaxmom.sweeps.compile.prefix import shorten_group
from jaxmom.sweeps.compile.watchdog import Dispatcher
from jaxmom.sweeps.compile.work import count_work, shared_work
from jaxmom.sweeps.estimate import trace_groups

DEVICES = jax.local_devices()[:1]
SPACE = grid(x=np.linspace(0, 1, 10**4), y=np.linspace(0, 1, 10**4))


def tuner_of(fn, space=SPACE):
    (group,) = trace_groups(fn, space)
    return Autotuner(space, group, DEVICES, Dispatcher(DEVICES))


def loop(x, y):
    return {"z": jax.lax.fori_loop(0, 1000, lambda _, z: y * z + x, x)}


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXMOM_CACHE_DIR", str(tmp_path / "cache"))


# The work of a lane


def repeated(x, steps):
    return jax.lax.scan(lambda z, _: (x @ z, None), jnp.ones((4, 5)), length=steps)[0]


def branch(x):
    return jax.lax.cond(x[0, 0] > 0, lambda: x, lambda: x @ x @ x)


def convolved(x):
    return jax.lax.conv(x[None, None], jnp.ones((7, 1, 2, 2)), (1, 1), "VALID")


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x: x @ x, 2 * 4 * 4 * 4),
        (lambda x: repeated(x, 10), 10 * 2 * 4 * 4 * 5),
        (lambda x: jax.jit(repeated, static_argnums=1)(x, 3), 3 * 2 * 4 * 4 * 5),
        (branch, 2 * 2 * 4 * 4 * 4),
        (convolved, 2 * (7 * 3 * 3) * (2 * 2)),
        (lambda x: x + x, 0),
    ],
)
def test_products_are_counted_with_the_trips_of_their_loops(fn, expected):
    assert count_work(jax.make_jaxpr(fn)(jnp.ones((4, 4)))).multiplications == expected


@pytest.mark.parametrize(("name", "factor"), [("svd", 20), ("eigvalsh", 20), ("cholesky", 2)])
def test_calls_of_lapack_count_by_the_size_of_their_matrix(name, factor):
    work = count_work(jax.make_jaxpr(getattr(jnp.linalg, name))(jnp.eye(50)))
    assert factor * 50**3 <= work.elements <= 2.5 * factor * 50**3


def test_work_that_all_lanes_share_is_told_from_their_own():
    def fn(a, x):
        def step(carry, key):
            z, shared = carry
            return (z @ a + jax.random.normal(key, (50,)).sum(), shared @ a), None

        keys = jax.random.split(jax.random.key(0), 10)
        z, shared = jax.lax.scan(step, (x * jnp.ones((50, 50)), a), keys)[0]
        return jax.lax.cond(x > 0, lambda: z @ a, lambda: z) + shared

    program = jax.make_jaxpr(fn)(jnp.eye(50), 1.0)
    assert shared_work(program, 1) == pytest.approx(0.5, abs=0.1)
    assert shared_work(program, 0) < 0.1
    assert shared_work(program, 2) == 1.0
    assert shared_work(jax.make_jaxpr(lambda x: x)(1.0), 0) == 0.0


def test_elements_and_what_a_loop_carries_are_counted():
    def fn(x):
        return jax.lax.fori_loop(0, 10, lambda _, z: z * x, x)

    work = count_work(jax.make_jaxpr(fn)(jnp.ones(100, jnp.float32)))
    assert 10 * 100 <= work.elements <= 10 * 100 + 100
    assert 400 <= work.carried_bytes <= 420  # and the counter
    assert not work.has_unknown_loop
    assert not work.is_products

    def until(x):
        return jax.lax.while_loop(lambda z: jnp.sum(z) > 1, lambda z: z / 2, x)

    assert count_work(jax.make_jaxpr(until)(jnp.ones(100))).has_unknown_loop


# Where it starts


def of_network(hidden):
    problem = jm.problems.digits_mlp((hidden, hidden))

    def train(x, y):
        run = jm.optimize(
            *(problem.loss, problem.params, jm.heavy_ball(x, y), 50),
            batches=problem.batches,
            key=jax.random.key(0),
        )
        return {"value": run.history["value"][-1]}

    return train


def of_quadratic(x, y):
    run = jm.optimize(lambda z: jnp.sum(z**2), jnp.ones(2), jm.heavy_ball(x, y), 1000, every=1000)
    return {"value": run.history["value"][-1]}


def of_convolutions(channels, size):
    kernel, image = jnp.ones((channels, channels, 3, 3)), jnp.ones((1, channels, size, size))

    def convolve(x, y):
        def step(image, _):
            return jax.lax.conv(image, y * kernel, (1, 1), "SAME"), None

        return {"value": jnp.sum(jax.lax.scan(step, x * image, length=100)[0])}

    return convolve


def of_gathers(x, y):
    def step(table, i):
        place = (7 * i + (10 * x).astype(int)) % 64
        return table.at[place].add(y * table[(place + 1) % 64]), None

    return {"value": jnp.sum(jax.lax.scan(step, jnp.ones(64), jnp.arange(100))[0])}


def of_unknown_length(x, y):
    return {"value": jax.lax.while_loop(lambda z: z < 1, lambda z: z + x + y, x)}


def of_many_numbers(x, y):
    run = jm.optimize(lambda z: jnp.sum(z**2), jnp.ones(10**6), jm.heavy_ball(x, y), 10)
    return {"value": run.history["value"][-1]}


def of_steps_and_one_large_array(x, y):
    table = jnp.outer(jnp.arange(1000.0), jnp.arange(1000.0)) * x
    return {"value": of_gathers(x, y)["value"] + of_quadratic(x, y)["value"] + table.sum()}


def of_shared_factors(x, y):
    table = jnp.sin(jnp.arange(300.0 * 400).reshape(300, 400))
    u, s, v = jnp.linalg.svd(table, full_matrices=False)
    return {"value": jnp.sum((u * (s / (s**2 + x))[None]) @ v) * y}


def of_shared_batches(x, y):
    def step(z, key):
        table = jax.random.normal(key, (300, 300))
        return z - x * table @ (table @ z), None

    return {"value": jax.lax.scan(step, y * jnp.ones(300), jax.random.split(KEY, 9))[0].sum()}


KEY = jax.random.key(0)
LAST = {"lanes_last": 1}
# A function -> the least and the largest width, and the options of ours.
STARTS = {
    "quadratic": (of_quadratic, 128, 2048, LAST),
    "network of 32": (of_network(32), 16, 32, {}),
    "network of 256": (of_network(256), 1, 10**4, {"in_turn": True}),
    "network of 1024": (of_network(1024), 1, 10, {"in_turn": True}),
    "many numbers": (of_many_numbers, 1, 100, {"in_turn": True}),
    "convolutions of a small image": (of_convolutions(1, 8), 2, 16, {}),
    "convolutions of a large image": (of_convolutions(8, 64), 1, 100, {"in_turn": True}),
    "factors that all lanes share": (of_shared_factors, 16, 256, {}),
    "batches that all lanes share": (of_shared_batches, 2, 256, {}),
    "gathers": (of_gathers, 64, 256, {}),
    "gathers and one large array": (of_steps_and_one_large_array, 64, 256, {}),
    "a loop of unknown length": (of_unknown_length, 64, 256, {}),
}


@pytest.mark.parametrize("name", STARTS)
def test_the_work_of_a_lane_decides_where_the_search_starts(name):
    fn, least, largest, expected = STARTS[name]
    first = tuner_of(fn).choose_first(None)
    width = first.options.get(BLOCK, first.width)
    assert least <= width <= largest
    ours = {name: value for name, value in first.options.items() if not name.startswith("xla")}
    ours.pop(BLOCK, None)
    assert ours == expected


@pytest.mark.parametrize(("name", "divided"), [("network of 32", True), ("gathers", False)])
def test_one_device_divides_the_loops_between_large_products(name, divided):
    tuner = tuner_of(STARTS[name][0])
    choice = tuner.choose_first(None)
    left_out = first_choice.UNDIVIDED.items()
    assert (left_out <= choice.options.items()) != divided
    work = count_work(tuner.group.jaxpr)
    *_, other, plain = first_choice.other_programs(choice, work, DEVICES)  # of a long sweep
    assert (left_out <= other.options.items()) == divided
    assert not any(name.startswith("xla") for name in plain.options)
    tuner.devices = [*DEVICES, *DEVICES]
    assert left_out <= tuner.choose_first(None).options.items()


@pytest.mark.parametrize("version", [(0, 10, 2), (0, 11, 0)])
def test_lanes_with_lapack_run_in_turn_where_a_batch_could_use_one_core(monkeypatch, version):
    monkeypatch.setattr(_jaxpr, "jaxlib_version", lambda: version)

    def fn(x, y):
        q = jnp.linalg.qr(jnp.eye(32) + x)[0]
        return {"z": jnp.sum(jax.lax.fori_loop(0, 100, lambda _, z: jnp.tanh(q @ z), q * y))}

    tuner = tuner_of(fn)
    for count, in_turn in ((2, version < (0, 11)), (1, False)):
        tuner.devices = DEVICES * count
        assert (IN_TURN in tuner.choose_first(None).options) == in_turn
        assert len(tuner.devices) == count

    def with_a_batch(x, y):
        return {"z": jax.vmap(jnp.linalg.cholesky)(fn(x, y)["z"] + jnp.eye(32)[None] * y)}

    other = tuner_of(with_a_batch)
    other.devices = DEVICES * 2
    assert IN_TURN not in other.choose_first(None).options
    may_wait = any("can deadlock" in note for note in tuner.notes)
    assert may_wait == (version < (0, 11))  # on one device its lanes are side by side


def test_a_search_tries_batches_beside_lanes_in_turn_and_vice_versa():
    for name in ("network of 32", "network of 256"):
        tuner = tuner_of(STARTS[name][0])
        choice, work = tuner.choose_first(None), count_work(tuner.group.jaxpr)
        other = next(first_choice.other_programs(choice, work, DEVICES))
        assert (IN_TURN in choice.options) != (IN_TURN in other.options)
        assert other.width in (choice.width, 2)


def test_a_search_leaves_out_batches_of_what_cannot_be_batched(monkeypatch):
    def fn(x, y):
        def step(z, _):
            return jnp.tanh(z @ z / 30) * y, None

        z = jax.lax.scan(step, jnp.ones((300, 300)) * x, length=4)[0][0, 0]
        return {"z": jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((), z.dtype), z)}

    tuner, _ = searched(monkeypatch, lambda width, options: 1e-3 * width, fn=fn)
    assert len(tuner.tried) > 1
    assert all(IN_TURN in probe.options for probe in tuner.tried)
    space = paired(x=[0.1, 0.2], y=[0.5, 0.5])
    assert sweep(fn, space).z.shape == (2,)
    with pytest.raises(NotImplementedError) as caught:
        sweep(fn, space, width=2)
    assert any("runs lanes without vmap" in note for note in caught.value.__notes__)


def test_it_says_once_why_lanes_are_first():
    tuner = tuner_of(of_gathers)
    tuner.choose_first(None)
    (note,) = tuner.notes
    assert note.startswith("lanes first: lanes_last has no rule for ")
    assert sweep(of_gathers, paired(x=[0.1, 0.2], y=[0.1, 0.2])).attrs["options"]


@given(st.integers(1, 5000), st.integers(1, 5000), st.one_of(st.none(), st.integers(1, 600)))
def test_a_fitted_choice_is_no_wider_and_has_whole_blocks(width, lanes, block):
    options = {} if block is None else {BLOCK: block}
    asked = Choice(width * (block or 1), options)
    fitted = fit_choice(asked, lanes)
    assert 1 <= fitted.width <= asked.width
    chunks = -(-lanes // fitted.width)
    if BLOCK in fitted.options:
        assert fitted.width % block == 0
        assert fitted.width * chunks - lanes < block * chunks
    else:
        assert fitted.width <= lanes
        assert fitted.width * chunks - lanes < first_choice._EVEN * chunks


# When it searches, and what that may cost


def searched(monkeypatch, seconds, compile_seconds=0.01, fn=loop):
    """A search in which each program takes the seconds that a function says."""
    tuner = tuner_of(fn)
    compiled = []

    def compile_nothing(choice):
        compiled.append(choice)
        program = type("Program", (), {"width": choice.width, "bytes": 24 * choice.width})
        return [program], compile_seconds

    def time_nothing(programs, most):
        return seconds(*compiled[-1]), {0: compiled[-1]}, 1

    monkeypatch.setattr(tuner, "_compile", compile_nothing)
    monkeypatch.setattr(tuner, "_time_chunks", time_nothing)
    return tuner, tuner.search(None)


def test_a_short_sweep_compiles_one_program(monkeypatch):
    tuner, choice = searched(monkeypatch, lambda width, options: 2.0 * width / 10**8)
    assert len(tuner.tried) == 1
    assert choice == tuner.choose_first(None)
    assert tuner.computed == {0: choice}
    assert not cache_folder().exists()


WANTED = {
    "wider": lambda width, options: options.get(BLOCK, width) >= 2**12,
    "narrower": lambda width, options: options.get(BLOCK, width) <= 2**8,
    "unrolled": lambda width, options: options.get(LANES_LAST) == 4,
    "lanes first": lambda width, options: LANES_LAST not in options,
    "divided": lambda width, options: not first_choice.UNDIVIDED.items() <= options.items(),
    "XLA's own": lambda width, options: not any(name.startswith("xla") for name in options),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_long_sweep_finds_what_is_faster_and_keeps_its_results(monkeypatch, name):
    is_wanted = WANTED[name]

    def seconds(width, options):
        return width * 1e-6 * (1.0 if is_wanted(width, options) else 2.0)

    tuner, choice = searched(monkeypatch, seconds)
    assert is_wanted(*choice)
    assert tuner.computed == {0: choice}
    assert recall_choice(tuner.group, DEVICES) == choice


@pytest.mark.parametrize("job", [4.0, 40.0, 400.0, 4000.0])
def test_a_search_takes_at_most_a_tenth_of_the_time(monkeypatch, job):
    compile_seconds = 3.0
    tuner, _ = searched(
        monkeypatch, lambda width, options: job * width / 10**8, compile_seconds=compile_seconds
    )
    others = tuner.tried[1:]
    if job < 10 * compile_seconds:
        assert not others
    else:
        assert others


def test_the_seconds_that_a_search_has_spent_count(monkeypatch):
    tuner, _ = searched(monkeypatch, lambda width, options: 1e-6 * width)
    before = len(tuner.tried)
    tuner._spent = 0.1 * tuner._job_seconds()
    assert not tuner._try_if_worth(Choice(3, {}))
    assert len(tuner.tried) == before


def test_the_cost_of_compiling_counts_where_the_process_had_the_program():
    tuner = tuner_of(loop)
    for _ in range(2):  # the second time the process has the program
        (program,), seconds = tuner._compile(Choice(4, {}))
    assert seconds < program.compile_seconds
    seconds = program.compile_seconds
    tuner = tuner_of(loop)
    assert tuner.try_choice(Choice(4, {}))
    tuner._job_seconds = lambda: 5 * seconds  # a tenth of which is half of a compilation
    assert not tuner._try_if_worth(Choice(2, {}))


@pytest.mark.parametrize("budget", [1.0, 1e4])
def test_a_search_stays_within_the_memory(monkeypatch, budget):
    monkeypatch.setattr(autotune, "memory_budget", lambda devices: budget)
    tuner, choice = searched(monkeypatch, lambda width, options: 1e-3 * width)
    assert all(probe.bytes <= max(budget, 24) for probe in tuner.tried)
    assert choice.width <= max(budget / 24, 1)


# What is kept


def counting(ran):
    def fn(x):
        jax.debug.callback(lambda v: ran.append(float(v)), x)
        return {"y": 2 * x}

    return fn


def test_chunks_that_were_timed_are_not_run_again():
    ran = []
    runs = sweep(counting(ran), grid(x=np.arange(20.0)))
    jax.effects_barrier()
    assert sorted(ran) == runs.x.values.tolist()
    np.testing.assert_array_equal(runs.y, 2 * runs.x)


def test_results_of_the_search_have_the_bits_of_its_choice(tmp_path):
    space = grid(x=np.linspace(0.1, 1.0, 700), y=[0.5])
    runs = sweep(loop, space, store=tmp_path / "store")
    width, options = runs.attrs["width"], json.loads(runs.attrs["options"])
    again = sweep(loop, space, width=width, options=options)
    np.testing.assert_array_equal(runs.z, again.z)
    assert (runs.status == 1).all()


def test_what_is_remembered_takes_the_place_of_a_search(monkeypatch):
    (group,) = trace_groups(loop, SPACE)
    assert recall_choice(group, DEVICES) is None
    remember_choice(group, DEVICES, 96, {LANES_LAST: 4})
    assert recall_choice(group, DEVICES) == (96, {LANES_LAST: 4})
    assert recall_choice(group, DEVICES * 2) is None
    (other,) = trace_groups(lambda x, y: {"z": loop(x, y)["z"] + 1}, SPACE)
    assert recall_choice(other, DEVICES) is None
    monkeypatch.setattr(autotune, "_SHORT_SWEEP", 0.0)
    tuner, choice = searched(monkeypatch, lambda width, options: 1.0)
    assert choice == (96, {LANES_LAST: 4})
    assert tuner.tried == []
    assert any("earlier search" in note for note in tuner.notes)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"width": "a", "options": {}}', '{"width": 3}']
)
def test_a_damaged_memory_counts_as_none(content):
    (group,) = trace_groups(loop, SPACE)
    remember_choice(group, DEVICES, 96, {})
    (file,) = (cache_folder() / "choices").iterdir()
    file.write_text(content)
    assert recall_choice(group, DEVICES) is None


def test_a_memory_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    file = tmp_path / "a file"
    file.touch()
    monkeypatch.setenv("JAXMOM_CACHE_DIR", str(file))
    (group,) = trace_groups(loop, SPACE)
    remember_choice(group, DEVICES, 96, {})
    assert recall_choice(group, DEVICES) is None


def test_the_number_of_remembered_choices_is_bounded(monkeypatch):
    monkeypatch.setattr(choices, "_KEPT", 3)
    for number in range(5):
        (group,) = trace_groups(lambda x, y, n=number: {"z": x + n * y}, SPACE)
        remember_choice(group, DEVICES, number + 1, {})
    assert len(list((cache_folder() / "choices").iterdir())) == 3
    assert recall_choice(group, DEVICES) == (5, {})


def test_the_cache_of_the_user_is_used_by_default(monkeypatch):
    monkeypatch.delenv("JAXMOM_CACHE_DIR")
    assert cache_folder().name == "jaxmom"
    assert cache_folder().is_absolute()


# explain


def test_explain_runs_at_most_a_twentieth_and_says_what():
    ran = []
    few = explain(counting(ran), grid(x=np.arange(30.0)))
    jax.effects_barrier()
    assert ran == []
    assert "(nothing was run: counted)" in str(few)
    many = explain(counting(ran), grid(x=np.arange(1000.0)), width=50)
    jax.effects_barrier()
    assert set(ran) == set(range(50))
    assert "(ran 50 lanes)" in str(many)
    assert many.seconds > 0


def test_explain_runs_a_twentieth_of_the_steps_of_long_lanes(monkeypatch):
    monkeypatch.setattr(autotune, "_LONG_CHUNK", 1e-9)
    monkeypatch.setattr(autotune, "_SHORT_SWEEP", 0.0)  # so that what is timed is timed again
    steps, lanes = [], 100

    def train(x):
        def step(x, _):
            jax.debug.callback(lambda _: steps.append(1), x)
            return x / 2, None

        return {"z": jax.lax.scan(step, x, length=200)[0]}

    for width in (4, 40):
        steps.clear()
        plan = explain(train, grid(x=np.arange(float(lanes))), width=width)
        jax.effects_barrier()
        (probe,) = plan.probes
        assert 0 < len(steps) <= 0.05 * lanes * 200
        assert len(steps) == round(probe.lanes * probe.share * 200)


# The first steps of a lane


def of_records(x, y):
    run = jm.optimize(
        *(lambda z: jnp.sum(z**2), jnp.ones(2), jm.heavy_ball(0.01 * x, y), 600),
        every=50,
        record=("value", "params"),
    )
    return run, {
        "reversed": jax.lax.scan(lambda c, a: (c + a, c), x, jnp.arange(9.0), reverse=True)
    }


@pytest.mark.parametrize(("share", "rows"), [(0.5, 6), (1 / 12, 1), (0.01, 0)])
def test_a_shortened_lane_has_the_first_records_of_the_whole_one(share, rows):
    space = paired(x=[0.1, 0.2], y=[0.5, 0.9])
    (group,) = trace_groups(of_records, space)
    shortened = shorten_group(group, share)
    columns = {name: jnp.asarray(column) for name, column in space.take(np.arange(2)).items()}
    whole, part = (jax.vmap(one.call, (None, 0))((), columns) for one in (group, shortened))
    assert jax.tree.map(jnp.shape, part) == jax.tree.map(jnp.shape, whole)
    np.testing.assert_array_equal(part["value"][:, :rows], whole["value"][:, :rows])
    np.testing.assert_array_equal(part["params"][:, :rows], whole["params"][:, :rows])
    work = count_work(shortened.jaxpr).seconds / count_work(group.jaxpr).seconds
    assert work == pytest.approx(share, rel=0.3, abs=0.03)


def test_a_search_of_long_lanes_times_their_first_steps_and_keeps_nothing(monkeypatch):
    def long(x, y):
        ones = jnp.ones(1000)
        return {"z": jax.lax.fori_loop(0, 10**9, lambda _, z: y * z + x, x * ones)}

    tuner = tuner_of(long, paired(x=np.ones(8), y=np.ones(8)))
    seconds = []

    def time_nothing(programs, most):
        seconds.append(count_work(programs[0].group.jaxpr).seconds * programs[0].width)
        return seconds[-1], {0: {}}, 1

    monkeypatch.setattr(tuner, "_time_chunks", time_nothing)
    width, _ = tuner.search(None)
    assert len(tuner.tried) > 1
    assert sum(seconds) < 0.1 * 8 * count_work(tuner.group.jaxpr).seconds
    assert tuner.best.total == pytest.approx(8 * count_work(tuner.group.jaxpr).seconds, rel=0.1)
    assert tuner.computed == {}
    assert 1 <= width <= 8


def test_explain_runs_the_first_steps_of_long_lanes(monkeypatch):
    monkeypatch.setattr(autotune, "_LONG_CHUNK", 1e-7)

    def fn(x, y):
        ones = jnp.ones(100)
        return {"z": jax.lax.fori_loop(0, 1000, lambda _, z: y * z + x, x * ones)}

    plan = explain(fn, paired(x=[0.1, 0.2], y=[0.5, 0.9]))
    (probe,) = plan.probes
    assert 0 < probe.share <= 0.05
    assert "of the steps of 2 lanes)" in str(plan)
