"""The engine: equal to a plain loop, and to itself whatever surrounds a lane."""

import concurrent.futures
import io
import json
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm.auto
from jax.tree_util import Partial
from scripts import launch

import jaxmom as jm
from jaxmom.sweeps import estimate, explain, grid, log_uniform, memory, paired, sample, sweep
from jaxmom.sweeps.compile import choices
from jaxmom.sweeps.compile.executables import forget_executables
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, OK

CURVATURE = np.array([4.0, 1.0])
METHODS = {
    "descent": jm.coefficients.gradient_descent(),
    "nesterov": jm.coefficients.nesterov(beta=0.5),
    "aggmo": jm.coefficients.aggmo(betas=(0.0, 0.5)),
}
STEPS = 12


def loss(x):
    return jnp.sum(jnp.asarray(CURVATURE, x.dtype) * x**2) / 2


def start(seed, dtype=None):
    return jax.random.normal(jax.random.key(seed), (2,), dtype or float)


def train(beta, learning_rate, seed=0, nesterov=False):
    make = jm.nesterov if nesterov else jm.heavy_ball
    x = start(seed, jnp.result_type(beta) if isinstance(beta, jax.Array) else None)
    optimizer = make(learning_rate, beta)
    return jm.optimize(loss, x, optimizer, STEPS, record=("value", "params"), every=4)


def of_momentum(momentum, learning_rate):
    optimizer = jm.chain(jm.scale_by_momentum(momentum), jm.gradient_descent(learning_rate))
    return jm.optimize(loss, jnp.ones(2), optimizer, STEPS, every=4)


def of_factory(optimizer, learning_rate):
    return jm.optimize(loss, jnp.ones(2), optimizer(learning_rate), STEPS, every=4)


SWEEPS = {
    "grid": (train, lambda: grid(beta=[0.0, 0.5, 0.9], learning_rate=[0.1, 0.3], seed=range(3))),
    "paired": (train, lambda: paired(beta=[0.0, 0.5, 0.5], learning_rate=[0.1, 0.1, 0.2])),
    "sampled": (
        train,
        lambda: sample(11, beta=memory(1, 50), learning_rate=log_uniform(0.01, 0.4)),
    ),
    "labeled": (
        of_momentum,
        lambda: grid(momentum=jm.stack(METHODS), learning_rate=[0.1, 0.2, 0.3]),
    ),
    "groups": (
        train,
        lambda: grid(beta=[0.0, 0.5, 0.9], learning_rate=[0.1], nesterov=[False, True]),
    ),
    "factories": (
        of_factory,
        lambda: grid(optimizer=[jm.heavy_ball, jm.nesterov], learning_rate=[0.1, 0.2]),
    ),
    "union": (
        train,
        lambda: grid(beta=[0.1, 0.2], learning_rate=[0.1]) + paired(beta=[0.3], learning_rate=[1]),
    ),
}


def in_a_loop(fn, space):
    return [fn(**lane) for lane in space]


def flat(dataset, name):
    """The values of a variable, lane by lane."""
    lanes = dataset.status.ndim
    values = dataset[name].values
    return values.reshape(-1, *values.shape[lanes:])


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_the_plain_loop(name):
    fn, space = SWEEPS[name][0], SWEEPS[name][1]()
    loop = in_a_loop(fn, space)
    for options in (None, {"in_turn": True}):
        runs = sweep(fn, space, width=4, options=options)
        for variable in runs:
            expected = np.stack([run.history[variable] for run in loop])
            np.testing.assert_allclose(flat(runs, variable), expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_array_equal(flat(runs, "diverged_at"), [run.diverged_at for run in loop])
        np.testing.assert_array_equal(runs.step, loop[0].steps)
    labels = space.labels(np.arange(space.size))
    for argument in space.names:
        column = runs[argument].broadcast_like(runs.status).values.ravel()
        np.testing.assert_array_equal(column, labels[argument])


def test_a_sweep_in_float32_is_the_loop_to_six_digits():
    axes = {"beta": np.float32([0.0, 0.5, 0.9]), "learning_rate": np.float32([0.1, 0.3])}
    runs = sweep(train, grid(**axes), width=6)
    assert runs.value.dtype == np.float32
    for beta in axes["beta"]:
        for rate in axes["learning_rate"]:
            x, v = np.asarray(start(0, jnp.float32), np.float64), np.zeros(2)
            for _ in range(STEPS):
                v = beta * v - rate * CURVATURE * x
                x = x + v
            expected = np.sum(CURVATURE * x**2) / 2
            got = runs.value.sel(beta=beta, learning_rate=rate).values
            largest = float(got.max())
            np.testing.assert_allclose(got[-1], expected, rtol=1e-6, atol=1e-6 * largest)


def test_a_dict_of_arrays_is_a_result_too():
    def fn(a, b):
        return {"sum": a + b, "nested": {"outer": jnp.outer(jnp.array([a, b]), jnp.ones(3))}}

    runs = sweep(fn, grid(a=[1.0, 2.0], b=[3.0, 4.0]), width=3)
    np.testing.assert_array_equal(runs["sum"], [[4, 5], [5, 6]])
    assert runs["nested.outer"].dims == ("a", "b", "nested.outer_0", "nested.outer_1")
    np.testing.assert_array_equal(runs["nested.outer"].sel(a=2.0, b=3.0), [[2] * 3, [3] * 3])
    assert (runs.status == OK).all()


def test_a_space_of_groups_alone_has_a_lane_in_each():
    runs = sweep(lambda flag: {"y": 2.0 if flag else 1.0}, grid(flag=[False, True]), width=2)
    assert runs.y.values.tolist() == [1.0, 2.0]
    for options in ({"lanes_last": 1}, {"in_turn": True}):
        runs = sweep(lambda flag: {"y": jnp.ones(2)}, grid(flag=[True]), options=options)
        assert runs.y.values.tolist() == [[1.0, 1.0]]


def test_of_lanes_in_turn_only_the_branch_that_is_taken_runs():
    ran = []

    def note(x):
        jax.debug.callback(lambda value: ran.append(float(value)), x)
        return x

    def fn(x):
        return {"y": jax.lax.cond(x > 2.5, note, lambda x: -x, x)}

    runs = sweep(fn, grid(x=np.arange(5.0)), width=5, options={"in_turn": True})
    jax.effects_barrier()
    assert sorted(ran) == [3.0, 4.0]
    assert runs.y.values.tolist() == [0.0, -1.0, -2.0, 3.0, 4.0]


def test_widths_of_several_lanes_in_turn_have_the_same_bits():
    space = paired(beta=np.linspace(0, 0.9, 23), learning_rate=np.linspace(0.1, 1, 23))
    whole = sweep(train, space, width=23, options={"in_turn": True})
    for width, more in ((2, {}), (7, {}), (16, {"narrow": 3})):
        runs = sweep(train, space, width=width, options={"in_turn": True} | more)
        for name in whole:
            np.testing.assert_array_equal(runs[name], whole[name])


def test_status_marks_what_diverged():
    space = grid(learning_rate=[0.1, 2.0, np.inf, np.nan], beta=[0.5])
    runs = sweep(train, space, width=2)
    assert flat(runs, "status").tolist() == [OK, DIVERGED, DIVERGED, DIVERGED]
    assert (flat(runs, "diverged_at") >= 0).tolist() == [False, True, True, True]

    def reciprocal(x):
        return {"y": 1 / x, "n": jnp.int32(3)}

    runs = sweep(reciprocal, grid(x=[0.0, 1.0]), width=2)
    assert runs.status.values.tolist() == [DIVERGED, OK]
    assert runs.diverged_at.values.tolist() == [-1, -1]


@pytest.mark.parametrize("values", [[1.0], [-0.5], [1.5, 0.0]])
def test_inadmissible_hyperparameters_are_lanes_like_any_other(values):
    runs = sweep(train, grid(beta=values, learning_rate=[0.0]), width=2)
    first = loss(start(0))
    np.testing.assert_allclose(runs.value, np.full(runs.value.shape, first), rtol=1e-14)


# What a lane's bits do not depend on


WIDTH, LANES = 16, 70
RNG = np.random.default_rng(0)
BETAS, RATES = RNG.uniform(0, 1, LANES), RNG.uniform(0.01, 0.5, LANES)


@pytest.fixture(scope="module")
def reference():
    space = paired(beta=BETAS, learning_rate=RATES)
    return sweep(train, space, width=WIDTH)


def test_bits_do_not_depend_on_the_order_of_the_lanes(reference):
    order = RNG.permutation(LANES)
    runs = sweep(train, paired(beta=BETAS[order], learning_rate=RATES[order]), width=WIDTH)
    for name in reference:
        np.testing.assert_array_equal(runs[name], reference[name].values[order])


def test_bits_do_not_depend_on_the_neighbors(reference):
    rates = np.where(np.arange(LANES) % 3 == 0, np.nan, RATES)
    runs = sweep(train, paired(beta=BETAS, learning_rate=rates), width=WIDTH)
    well = np.flatnonzero(np.isfinite(rates))
    for name in reference:
        np.testing.assert_array_equal(runs[name][well], reference[name][well])
    assert (runs.status[rates != rates] == DIVERGED).all()


def test_bits_do_not_depend_on_how_many_programs_a_device_runs_at_a_time(reference):
    space = paired(beta=BETAS, learning_rate=RATES)
    for times in (1, 3):
        runs = sweep(train, space, width=WIDTH, devices=jax.devices()[:1] * times)
        assert runs.attrs["devices"] == 1
        for name in reference:
            np.testing.assert_array_equal(runs[name], reference[name])


def test_bits_do_not_depend_on_the_option_that_the_plan_may_choose(reference):
    space = paired(beta=BETAS, learning_rate=RATES)
    runs = sweep(train, space, width=WIDTH, options={})
    for name in reference:
        np.testing.assert_array_equal(runs[name], reference[name])


@pytest.mark.parametrize(
    ("devices", "options"),
    [(2, {}), (3, {}), (2, {"lanes_last": 4, "block": WIDTH // 2}), (2, {"in_turn": True})],
)
def test_bits_do_not_depend_on_the_number_of_devices(reference, devices, options, tmp_path):
    path = tmp_path / "runs.npz"
    launch.output_of(launch.start("devices", devices, path, json.dumps(options)))
    if options:
        reference = sweep(
            train, paired(beta=BETAS, learning_rate=RATES), width=WIDTH, options=options
        )
    with np.load(path) as runs:
        for name in reference:
            np.testing.assert_array_equal(runs[name], reference[name])


def test_the_width_may_change_the_last_bits_and_no_more(reference):
    runs = sweep(train, paired(beta=BETAS, learning_rate=RATES), width=1)
    np.testing.assert_allclose(runs.value, reference.value, rtol=1e-12)


# What it costs


def compiled_programs(records):
    return [r for r in records if "Finished XLA compilation of jit(call)" in r.getMessage()]


def test_there_is_one_compilation_for_each_group(caplog):
    space = grid(beta=np.linspace(0, 0.9, 33), learning_rate=[0.1], nesterov=[False, True])
    forget_executables()
    with jax.log_compiles(True):
        sweep(train, space, width=4)
    assert len(compiled_programs(caplog.records)) == 2


def test_data_in_a_partial_are_an_argument_of_the_program():
    from jaxmom.sweeps.compile.program import compile_group
    from jaxmom.sweeps.estimate import trace_groups

    def fn(data, scale):
        return {"y": scale * jnp.sum(data)}

    data = jnp.arange(10_000.0)
    space = grid(scale=[1.0, 2.0])
    (lanes,) = trace_groups(Partial(fn, data), space)
    (program,) = compile_group(lanes, 2, jax.local_devices(), {})
    assert len(program.compiled.as_text()) < 10_000
    runs = sweep(Partial(fn, data), space, width=2)
    np.testing.assert_allclose(runs.y, [data.sum(), 2 * data.sum()], rtol=1e-14)


def test_explain_estimates_a_sweep_and_auto_follows_it():
    space = grid(beta=np.linspace(0, 0.9, 300), learning_rate=[0.1, 0.2], nesterov=[False, True])
    plan = explain(train, space)
    assert (plan.lanes, plan.groups) == (1200, 2)
    assert plan.chunks == 2 * -(-600 // plan.width)
    lane = 4 * 8 + 4 * 2 * 8 + 4  # values, params and diverged_at
    assert plan.result_bytes == 1200 * lane
    assert plan.device_bytes > 0
    assert plan.seconds > 0
    assert "1,200 lanes in 2 groups" in str(plan)
    runs = sweep(train, space)
    options = json.loads(runs.attrs["options"])
    known = sweep(train, space, width=runs.attrs["width"], options=options)
    np.testing.assert_array_equal(runs.value, known.value)


# What goes wrong


def test_what_cannot_be_traced_is_raised_once_and_at_once():
    calls = []

    def wrong(beta):
        calls.append(beta)
        raise RuntimeError("broken by hand")

    with pytest.raises(RuntimeError, match="broken by hand") as caught:
        sweep(wrong, grid(beta=np.arange(100.0)), width=4, on_error="record")
    assert len(calls) == 1
    assert any("tracing lanes of {'beta'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda a: a, "needs a Trajectory"),
        (lambda a: {"a": a}, "names of axes"),
        (lambda a: {"status": a}, "rename"),
        (lambda a, b: {"c": a}, "'b'"),
        (lambda a: {"c": {}, "d": None}, "no arrays"),
        (lambda a: {"c": jax.random.key(0)}, "random key"),
    ],
)
def test_functions_of_another_kind_are_refused(fn, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sweep(fn, grid(a=[1.0]), width=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "bool", "float32"])
def test_diverged_at_is_a_signed_integer(dtype):
    with pytest.raises(ValueError, match=f"a signed integer, not {dtype}"):
        sweep(lambda a: {"y": a, "diverged_at": jnp.array(1, dtype)}, grid(a=[1.0]), width=1)


@pytest.mark.parametrize("argument", [{"width": 0}, {"resume": "maybe"}, {"on_error": "ignore"}])
def test_arguments_are_checked(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        sweep(train, grid(beta=[0.1], learning_rate=[0.1]), **{"width": 1, **argument})


def fails_at(bad, trouble=None):
    """A function that fails on one value, as long as there is a file, if one is given."""

    def check(x):
        if (x == bad).any() and (trouble is None or trouble.exists()):
            raise ArithmeticError(f"{bad} is refused")
        return x

    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": 2 * jax.pure_callback(check, spec, x, vmap_method="expand_dims")}

    return fn


def test_a_chunk_that_fails_alone_is_recorded_and_the_rest_goes_on():
    space = grid(x=np.arange(20.0))
    runs = sweep(fails_at(9.0), space, width=4, on_error="record")
    failed = (runs.x >= 8) & (runs.x < 12)
    np.testing.assert_array_equal(runs.status == FAILED, failed)
    np.testing.assert_array_equal(runs.y[~failed.values], 2 * runs.x[~failed.values])
    assert "9.0 is refused" in json.loads(runs.attrs["failed"])["0-2"]
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"9\.0 is refused") as caught:
        sweep(fails_at(9.0), space, width=4)
    assert "chunk 2 of all lanes" in caught.value.__notes__[0]


def test_a_result_that_does_not_fit_into_memory_needs_a_store():
    def fn(x):
        return {"y": jnp.full(10_000_000, x)}

    with pytest.raises(MemoryError, match="give store="):
        sweep(fn, grid(x=np.arange(1e5)), width=1)


@pytest.mark.parametrize("bad", [3.0, 500.0, 999.0])
@pytest.mark.parametrize("options", [None, {}])
def test_a_lane_that_fails_while_widths_are_tried_is_recorded(bad, options, tmp_path):
    space, trouble = grid(x=np.arange(1000.0)), tmp_path / "trouble"
    trouble.touch()
    fn = fails_at(bad, trouble)
    for store in (None, tmp_path / "store"):
        runs = sweep(fn, space, on_error="record", options=options, store=store)
        failed = runs.status.values == FAILED
        assert failed[int(bad)]
        width = runs.attrs["width"]
        assert failed.sum() <= width
        np.testing.assert_array_equal(
            runs.y[~failed], 2 * space.labels(np.arange(1000))["x"][~failed]
        )
        assert (runs.status.values[~failed] == OK).all()
    trouble.unlink()
    assert sweep(fn, space, store=tmp_path / "store").status.values.tolist() == [OK] * 1000


def test_a_lane_that_fails_while_widths_are_tried_is_raised():
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"3\.0 is refused"):
        sweep(fails_at(3.0), grid(x=np.arange(1000.0)))


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_what_cannot_be_compiled_is_raised_at_once(on_error):
    with pytest.raises(ValueError, match="no whole number of blocks"):
        sweep(
            lambda x: {"y": x},
            grid(x=np.arange(10.0)),
            width=4,
            options={"block": 3},
            on_error=on_error,
        )


@pytest.mark.parametrize("width", [np.int64(4), np.int32(4), np.uint8(4), jnp.int32(4)])
def test_integers_of_any_library_are_widths(width):
    runs = sweep(lambda x: {"y": x}, grid(x=np.arange(10.0)), width=width)
    assert runs.attrs["width"] == 4
    assert explain(lambda x: {"y": x}, grid(x=np.arange(10.0)), width=width).width == 4


@pytest.mark.parametrize("width", [0, -1, 2.0, np.float32(2), True, np.bool_(True), "2", None])
def test_other_things_are_no_widths(width):
    for run in (sweep, explain):
        with pytest.raises(ValueError, match='width is "auto" or a positive number'):
            run(lambda x: {"y": x}, grid(x=np.arange(10.0)), width=width)


@pytest.mark.parametrize("name", ["lanes_last", "block", "narrow"])
@pytest.mark.parametrize("value", [0, -1, 2.0, np.float32(2), True, False, np.bool_(True), "2"])
def test_options_of_ours_are_positive_integers(name, value):
    for run in (sweep, explain):
        if (name, value) == ("narrow", 0) and value is not False:  # no chunk is narrower
            run(lambda x: {"y": x}, grid(x=np.arange(4.0)), width=4, options={name: value})
            continue
        with pytest.raises(ValueError, match=f"option '{name}' is a positive integer"):
            run(lambda x: {"y": x}, grid(x=np.arange(4.0)), width=4, options={name: value})


def test_options_may_be_numpy_integers_or_none():
    def run(options):
        return sweep(lambda x: {"y": x}, grid(x=np.arange(4.0)), width=4, options=options)

    given = {"lanes_last": np.uint8(2), "block": np.int64(2)}
    assert json.loads(run(given).attrs["options"]) == {"lanes_last": 2, "block": 2}
    assert json.loads(run({"in_turn": np.bool_(True)}).attrs["options"]) == {"in_turn": True}
    assert json.loads(run({"in_turn": False, "block": 2}).attrs["options"]) == {"block": 2}
    nothing = {"lanes_last": None, "block": None, "xla_cpu_enable_fast_math": None}
    assert json.loads(run(nothing).attrs["options"]) == {}
    with pytest.raises(ValueError, match="options are a mapping"):
        run("lanes_last")


def test_an_error_with_an_option_of_the_compiler_says_which_are_ours():
    with pytest.raises(ValueError, match="'lane_last'") as caught:
        sweep(lambda x: {"y": x}, grid(x=[1.0]), width=1, options={"lane_last": 1})
    assert "jm.sweep has the options 'lanes_last', 'block', 'narrow', 'in_turn'" in str(
        caught.value
    )


def test_one_device_counts_as_a_list_of_it():
    for given in (jax.devices()[0], None, tuple(jax.devices()[:1])):
        runs = sweep(lambda x: {"y": x}, grid(x=[1.0]), width=1, devices=given)
        assert runs.attrs["device"] == jax.devices()[0].device_kind


def test_by_default_each_core_has_a_program_and_a_device_that_is_given_one():
    local, cores = jax.local_devices(), choices.count_cores()
    is_cpu = local[0].platform == "cpu"
    used = estimate.as_devices(None)
    assert len(used) == (max(cores // len(local), 1) * len(local) if is_cpu else len(local))
    assert set(used) == set(local)
    assert estimate.as_devices(local[0]) == local[:1]
    assert estimate.as_devices(local[:1] * 3) == local[:1] * 3


@pytest.mark.parametrize("given", ["cpu", 1, ["cpu"], {"cpu": 1}])
def test_other_things_are_no_devices(given):
    for run in (sweep, explain):
        with pytest.raises(ValueError, match=r"devices are some of jax\.local_devices\(\), not"):
            run(lambda x: {"y": x}, grid(x=[1.0]), width=1, devices=given)


def test_a_run_and_a_final_metric_are_returned_together(tmp_path):
    def run(beta):
        made = jm.optimize(loss, jnp.ones(2), jm.heavy_ball(0.1, beta), STEPS, every=4)
        return made, jnp.sum(jnp.abs(made.params))

    kinds = {
        "pair": lambda beta: (run(beta)[0], {"norm": run(beta)[1]}),
        "dict": lambda beta: {"run": run(beta)[0], "norm": run(beta)[1]},
    }
    for kind, fn in kinds.items():
        name = "run.value" if kind == "dict" else "value"
        for store in (None, tmp_path / kind):
            runs = sweep(fn, grid(beta=[0.0, 0.5]), width=2, store=store)
            assert runs[name].dims == ("beta", "step")
            assert runs.norm.dims == ("beta",)
            assert runs.step.values.tolist() == [0, 4, 8, 12]
            for beta in (0.0, 0.5):
                made, norm = run(beta)
                cell = runs.sel(beta=beta)
                np.testing.assert_allclose(cell[name], made.history["value"], rtol=1e-12)
                np.testing.assert_allclose(cell.norm, norm, rtol=1e-12)


# Progress


def test_progress_shows_rate_divergence_and_best_and_changes_nothing(monkeypatch):
    shown = io.StringIO()

    class Terminal(tqdm.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "file": shown, "disable": False, "mininterval": 0})

    space = grid(beta=[0.0, 0.5], learning_rate=[0.1, 0.2, 5.0])
    silent = sweep(train, space, width=2, progress=False)
    monkeypatch.setattr(tqdm.auto, "tqdm", Terminal)
    loud = sweep(train, space, width=2)
    assert silent.identical(loud.assign_attrs(silent.attrs))
    last = shown.getvalue().split("\r")[-1]
    assert "6.00/6.00" in last
    assert "lanes/s" in last
    assert "diverged=33%" in last
    best = float(silent.value.isel(step=-1).where(silent.status == OK).min())
    assert f"best={best:.4g}" in last


@pytest.mark.parametrize("width", ["auto", 2])
def test_the_seconds_of_a_sweep_count_its_search_and_its_compiling(width):
    def slowly(beta):  # made anew, so that nothing is compiled before
        return {"value": jnp.sin(beta) + 1}

    start = time.perf_counter()
    attrs = sweep(slowly, grid(beta=[0.1, 0.2, 0.3]), width=width, progress=False).attrs
    whole = time.perf_counter() - start
    assert 0 < attrs["compile_seconds"] < attrs["seconds"] < whole


def test_progress_is_silent_without_a_terminal(capfd):
    sweep(train, grid(beta=[0.0], learning_rate=[0.1]), width=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_hundred_thousand_chunks_leave_the_memory_of_the_host_flat(caplog):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fn(x):
        return {"y": x + 1}

    sweep(fn, grid(x=np.arange(2_000.0)), width=1)
    handles = len(os.listdir("/proc/self/fd"))
    forget_executables()
    before, result = resident(), 100_000 * (8 + 8 + 1 + 4)
    with jax.log_compiles(True):
        runs = sweep(fn, grid(x=np.arange(100_000.0)), width=1)
    np.testing.assert_array_equal(runs.y, np.arange(100_000.0) + 1)
    assert resident() - before < result + 20e6
    assert len(os.listdir("/proc/self/fd")) == handles
    assert len(compiled_programs(caplog.records)) == 1


# Groups and last chunks of few lanes


def lanes_run(fn, space, **options):
    """A sweep, and how many lanes its programs ran, with those that fill chunks up."""
    ran = []

    def counted(x, **others):
        jax.debug.callback(lambda _: ran.append(1), x)
        return fn(x, **others)

    runs = sweep(counted, space, **options)
    jax.effects_barrier()
    return runs, len(ran)


def squared(x, kind="a"):
    return {"y": x * x + (1.0 if kind == "b" else 0.0)}


def with_small_groups():
    return grid(x=np.arange(100.0)) * grid(kind=["a"]) + paired(x=[7.0, 8.0]) * grid(kind=["b"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 7 * 16 + 2),  # the small group alone
        ({"narrow": 0}, 7 * 16 + 16),
        ({"narrow": 9}, 6 * 16 + 4 + 2),
        ({"narrow": 1}, 6 * 16 + 8 + 8),
    ],
)
def test_small_groups_run_narrow_and_last_chunks_if_asked_for(options, expected, tmp_path):
    space = with_small_groups()
    runs, count = lanes_run(squared, space, width=16, options=options)
    assert count == expected
    values = space.labels(np.arange(space.size))
    np.testing.assert_array_equal(runs.y, values["x"] ** 2 + (values["kind"] == "b"))
    stored = sweep(squared, space, width=16, options=options, store=tmp_path / "s")
    np.testing.assert_array_equal(stored.y, runs.y)
    again = sweep(squared, space, width=16, options=options, store=tmp_path / "s")
    np.testing.assert_array_equal(again.y, runs.y)


def test_auto_does_not_fill_up_small_groups_and_explain_counts_them():
    space = with_small_groups()
    runs, count = lanes_run(squared, space)
    width, options = runs.attrs["width"], json.loads(runs.attrs["options"])
    assert options["narrow"] > 0
    assert count < 1.1 * space.size + 2 * 8
    plan = explain(squared, space, width=width, options=options)
    filled = explain(squared, space, width=width, options={**options, "narrow": 0})
    assert plan.chunks == filled.chunks
    assert plan.seconds < filled.seconds


def test_a_narrow_sweep_has_its_bits_with_an_executor_too():
    space = with_small_groups()
    options = {"narrow": 9}
    here = sweep(squared, space, width=16, options=options)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        there = sweep(squared, space, width=16, options=options, executor=executor)
    np.testing.assert_array_equal(here.y, there.y)
