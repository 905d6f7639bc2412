"""Compiled groups: outputs by name, identities and their changes, draws and LAPACK in a batch."""

import functools
import logging
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxmom as jm
from jaxmom import _jaxpr
from jaxmom.sweeps import explain, grid, paired, sample, sweep
from jaxmom.sweeps.compile import identity, lapack, meanwhile
from jaxmom.sweeps.compile.identity import diff_identities, sweep_identity
from jaxmom.sweeps.compile.program import compile_group
from jaxmom.sweeps.estimate import trace_groups

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


def scaled(a, b=1.0):
    return {"y": a * b}


def identity_of(fn=scaled, space=None, width=2, options=None, backend="cpu"):
    space = grid(a=[1.0, 2.0]) if space is None else space
    return sweep_identity(space, width, trace_groups(fn, space), options or {}, backend)


def heavy_ball_of_loops(p, m):
    """Heavy ball by hand, on a gradient from a loop: XLA may write m before p has read it."""
    for _ in range(3):
        g = np.zeros_like(p)
        for _ in range(2):
            g = g * p + 1
        p, m = p - 0.1 * m, g + m
    return m


@pytest.mark.parametrize("options", [None, {"block": 2}, {"lanes_last": 1}, {"in_turn": True}])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, "auto"])
def test_what_a_loop_within_a_loop_changes_is_read_before_it_is_written(width, options):
    """With xla_cpu_copy_insertion_use_region_analysis all of these lanes are wrong."""
    start = np.array([0.5, 0.3, 0.1])

    def run(x):
        def inner(p):
            return jax.lax.fori_loop(0, 2, lambda _, g: g * p + 1, jnp.zeros_like(p))

        def outer(_, carry):
            p, m = carry
            return p - 0.1 * m, inner(p) + m

        return {"m": jax.lax.fori_loop(0, 3, outer, (x * start, x * start))[1]}

    if options is not None and width != "auto" and width % 2 and "block" in options:
        width += 1  # whole blocks
    values = np.linspace(0.1, 1, 9)
    found = sweep(run, grid(x=values), width=width, options=options, progress=False).m.values
    expected = [heavy_ball_of_loops(x * start, x * start) for x in values]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_xarray_is_loaded_while_a_program_compiles():
    program = """
import sys, threading
from jaxmom.sweeps.compile.meanwhile import loading_xarray
assert "xarray" not in sys.modules
with loading_xarray():
    pass
assert "xarray" in sys.modules
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_xarray_that_cannot_be_loaded_does_not_stop_the_compiler(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    meanwhile._load_xarray()


# What is changed -> kind, name, whether there was something before, whether there is something now.
CHANGES = {
    "width": ({"width": 4}, [("width", "width", True, True)]),
    "backend": ({"backend": "gpu"}, [("backend", "backend", True, True)]),
    "a new option": ({"options": {"block": 1}}, [("options", "block", False, True)]),
    "function": ({"fn": lambda a: {"y": a + 1}}, [("function", "all lanes", True, True)]),
    "values": ({"space": grid(a=[1.0, 3.0])}, [("space", "a", True, True)]),
    "a new axis": (
        {"space": grid(a=[1.0, 2.0], b=[3.0])},
        [
            ("function", "all lanes", True, True),
            ("space", "b", False, True),
            ("space", "1", False, True),
        ],
    ),
    "a sample": (
        {"space": sample(4, a=(0.0, 1.0))},
        [
            ("space", "a", True, True),
            ("space", "sample", False, True),
            ("space", "0", True, True),
        ],
    ),
    "pairs": ({"space": paired(a=[1.0, 2.0])}, [("space", "0", True, True)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_of_an_identity_have_a_kind_and_a_name(name):
    given, expected = CHANGES[name]
    old, new = identity_of(), identity_of(**given)
    changes = diff_identities(old, new)
    found = [(c.kind, c.name, c.old is not None, c.new is not None) for c in changes]
    assert sorted(found) == sorted(expected)
    back = diff_identities(new, old)
    assert sorted((c.kind, c.name, c.new, c.old) for c in back) == sorted(
        (c.kind, c.name, c.old, c.new) for c in changes
    )
    for change in changes:
        assert str(change).endswith(
            f"was {change.old or '(nothing)'}, is {change.new or '(nothing)'}"
        )
    assert diff_identities(new, new) == []


def test_changes_of_labeled_values_settings_and_versions_have_kinds():
    def fn(momentum):
        return {"y": jnp.sum(momentum.decay)}

    def space(beta):
        betas = {"x": 0.5, "y": beta}
        return grid(momentum=jm.stack({k: jm.coefficients.heavy_ball(b) for k, b in betas.items()}))

    old, new = identity_of(fn, space(0.6)), identity_of(fn, space(0.7))
    (change,) = diff_identities(old, new)
    assert (change.kind, change.name) == ("values", "momentum=y")
    assert str(change).startswith("values of momentum=y: was ")
    for kind in ("settings", "versions"):
        name = next(iter(old[kind]))
        (change,) = diff_identities(old, old | {kind: old[kind] | {name: "changed"}})
        assert (change.kind, change.name, change.new) == (kind, name, "changed")
        assert str(change).startswith(f"{kind}.{name}: was ")


def test_a_fingerprint_is_computed_when_it_is_asked_for():
    space = grid(a=[1.0, 2.0])
    (group,) = trace_groups(scaled, space)
    compile_group(group, 2, jax.local_devices(), {})
    assert "fingerprint" not in vars(group)
    identity = sweep_identity(space, 2, [group], {}, "cpu")
    assert vars(group)["fingerprint"] in identity["programs"].values()


def test_a_fingerprint_follows_the_computation_and_its_data_alone():
    def fingerprint(fn):
        return trace_groups(fn, grid(a=[1.0, 2.0]))[0].fingerprint

    def renamed(a):
        unread = jnp.ones(3)  # noqa: F841
        other_name = a * 1.0
        return {"y": other_name}

    assert fingerprint(scaled) == fingerprint(renamed)
    assert fingerprint(scaled) != fingerprint(lambda a: {"y": a * 2.0})
    assert fingerprint(scaled) != fingerprint(lambda a: {"z": a * 1.0})
    bound = [Partial(lambda data, a: {"y": a * data}, jnp.array(x)) for x in (1.0, 2.0)]
    assert fingerprint(bound[0]) != fingerprint(bound[1])


# Outputs


def run_of(a):
    return jm.optimize(
        lambda x: jnp.sum(x**2), jnp.ones(3), jm.heavy_ball(a, 0.5), 6, record=("value", "params")
    )


def as_tuple(a):
    run = run_of(a)
    return run, {"final": run.params, "deep": {"norm": jnp.linalg.norm(run.params)}}


def as_dict(a):
    run, others = as_tuple(a)
    return {"run": run, **others}


@pytest.mark.parametrize(("fn", "prefix"), [(as_tuple, ""), (as_dict, "run.")])
@pytest.mark.parametrize("options", [None, {"lanes_last": 2, "block": 2}])
def test_a_run_goes_with_other_arrays(fn, prefix, options):
    space = grid(a=[0.1, 0.2, 0.3, 90.0])
    alone = sweep(run_of, space, width=4, options=options)
    runs = sweep(fn, space, width=4, options=options)
    for name in ("value", "params"):
        xr_name = prefix + name
        assert runs[xr_name].dims[:2] == alone[name].dims[:2] == ("a", "step")
        np.testing.assert_array_equal(runs[xr_name], alone[name])
    for name in ("step", "status", "diverged_at"):
        np.testing.assert_array_equal(runs[name], alone[name])
    assert runs.status.values.tolist() == [1, 1, 1, 2]
    np.testing.assert_array_equal(runs["final"], alone.params[:, -1])
    assert runs["deep.norm"].dims == ("a",)
    assert set(runs.data_vars) == {prefix + "value", prefix + "params", "final", "deep.norm"}


def test_arrays_of_a_second_run_go_beside_the_first():
    def fn(a):
        other = run_of(2 * a)
        return run_of(a), {"other": other.history["value"], "other_at": other.diverged_at}

    runs = sweep(fn, grid(a=[0.1, 90.0]), width=2)
    assert runs["other"].shape == runs["value"].shape == (2, 7)
    assert runs.status.values.tolist() == [1, 2]
    assert (runs["other_at"].values >= 0).tolist() == [False, True]


def with_record(**record):
    def fn(a, **others):
        run = run_of(a)
        return run._replace(history={**run.history, **record})

    return fn


# What cannot be named: the function, further axes, and words of the message.
NAMELESS = {
    "nested and joined": (lambda a: {"m.x": a, "m": {"x": 2 * a}}, {}, "several outputs.*'m.x'"),
    "a number and its text": (lambda a: {"1": a, "m": {"x": a}, "m.x": a}, {}, "m.x"),
    "status": (lambda a: {"status": a}, {}, "rename"),
    "lane": (lambda a: {"lane": a}, {}, "rename"),
    "step": (lambda a: {"step": a}, {}, "rename"),
    "a record called status": (with_record(status=jnp.zeros(7)), {}, "'status'.*rename"),
    "a record called step": (with_record(step=jnp.zeros(7)), {}, "rename"),
    "a record called diverged_at": (with_record(diverged_at=jnp.zeros(7)), {}, "several outputs"),
    "a record and an array": (lambda a: (run_of(a), {"value": a}), {}, "several outputs"),
    "diverged_at beside a run": (lambda a: (run_of(a), {"diverged_at": a}), {}, "diverged_at"),
    "step beside a run": (lambda a: {"run": run_of(a), "step": a}, {}, "step"),
    "an axis": (lambda a: {"a": a}, {}, "names of axes"),
    "a record and an axis": (with_record(), {"value": [1.0]}, "names of axes"),
    "a dimension and an axis": (lambda a, w_0: {"w": a * jnp.ones(3)}, {"w_0": [1.0]}, "w_0"),
    "a dimension and an output": (lambda a: {"w": a * jnp.ones(3), "w_0": a}, {}, "w_0"),
    "two runs": (lambda a: {"x": run_of(a), "y": run_of(2 * a)}, {}, "'y' is a Trajectory"),
    "a run within a dict": (lambda a: {"m": {"run": run_of(a)}}, {}, "'m.run' is a Trajectory"),
    "a run within a list": (lambda a: {"m": [a, run_of(a)]}, {}, "'m.1' is a Trajectory"),
    "a run beside a run": (lambda a: (run_of(a), {"aux": run_of(a)}), {}, "'aux' is a Traject"),
    "a run below a run": (
        lambda a: {"run": run_of(a), "m": {"aux": run_of(a)}},
        {},
        "'m.aux' is a Trajectory",
    ),
    "diverged_at of several numbers": (
        lambda a: {"y": a, "diverged_at": jnp.zeros(3, int)},
        {},
        "one number",
    ),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_outputs_without_a_name_of_their_own_are_refused_before_a_run(name):
    fn, axes, message = NAMELESS[name]
    ran = []

    def watched(a, **others):
        jax.debug.callback(lambda _: ran.append(1), a)
        return fn(a, **others)

    with pytest.raises(ValueError, match=message):
        sweep(watched, grid(a=[1.0, 2.0], **axes), width=2)
    jax.effects_barrier()
    assert ran == []


@pytest.mark.parametrize("result", [0.0, [1.0], (1.0, 2.0), (1.0, {"y": 2.0}), "words"])
def test_results_of_another_kind_are_refused_with_what_is_admitted(result):
    with pytest.raises(TypeError, match=f"returned {type(result).__name__}.*dict of arrays.*both"):
        sweep(lambda a: result, grid(a=[1.0]), width=1)


def test_the_advice_for_other_results_keeps_the_status():
    with pytest.raises(TypeError, match=r"run itself, or 'diverged_at': run\.diverged_at"):
        sweep(lambda a: run_of(a).history["value"], grid(a=[0.1]), width=1)


@pytest.mark.parametrize("value", ["words", np.array(["words"]), object(), b"bytes"])
def test_outputs_that_are_no_arrays_are_refused_with_a_sentence(value):
    for fn in (lambda a: {"m": {"x": value}, "y": a}, lambda a: (run_of(a), {"m": {"x": value}})):
        with pytest.raises(TypeError, match=r"the output 'm\.x' is .*which is not an array"):
            sweep(fn, grid(a=[0.1]), width=1)


def test_records_at_steps_that_depend_on_the_lane_are_refused():
    earlier = jm.Stack(("x", "y"), jax.vmap(run_of)(jnp.array([0.1, 0.2])))
    space = grid(earlier=earlier, a=[0.1])

    def go_on(earlier, a):
        return jm.optimize(lambda x: jnp.sum(x**2), earlier, jm.heavy_ball(a, 0.5), 6)

    def with_common_steps(earlier, a):
        return go_on(earlier._replace(steps=jnp.array([6], jnp.int32)), a)

    def as_arrays(earlier, a):
        run = go_on(earlier, a)
        return {"value": run.history["value"], "diverged_at": run.diverged_at}

    for fn in (go_on, lambda earlier, a: {"n": a, "run": go_on(earlier, a)}):
        for run in (sweep, explain):
            with pytest.raises(ValueError, match=r"depend on the axes \['earlier'\].*diverged_at"):
                run(fn, space, width=2)
    assert sweep(with_common_steps, space, width=2).step.values.tolist() == list(range(6, 13))
    assert sweep(as_arrays, space, width=2).value.shape == (2, 1, 7)


def take_steps(a, steps, rate=0.1):
    return jm.optimize(lambda x: jnp.sum(x**2), jnp.ones(2), jm.heavy_ball(a, 0.5), steps)


@pytest.mark.parametrize(
    ("fn", "space", "note"),
    [
        (take_steps, {"steps": [5, 10]}, "steps={'5': 5, '10': 10}"),
        (Partial(take_steps, steps=5), {}, "by functools.partial or in a closure"),
    ],
)
def test_an_error_of_types_says_how_a_number_becomes_static(fn, space, note):
    with pytest.raises(TypeError) as caught:
        sweep(fn, grid(a=[0.1], **space), width=1)
    assert any(note in one for one in caught.value.__notes__)


def test_a_number_becomes_static_as_the_notes_say():
    named = grid(a=[0.1], steps={"5": 5, "10": 10})
    ends = sweep(take_steps, named, width=1)
    assert sorted(int(node.step[-1]) for node in ends.leaves) == [5, 10]
    bound = Partial(functools.partial(take_steps, steps=5))
    assert sweep(bound, grid(a=[0.1]), width=1).step[-1] == 5


# Random bits that a batch would share

DRAWS = {
    "normal": jax.random.normal,
    "after a split": lambda key: jax.random.normal(jax.random.split(key)[1]),
    "in a loop": lambda key: jax.lax.scan(lambda k, _: (k, jax.random.uniform(k)), key, length=2)[
        1
    ],
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_whose_draws_a_batch_would_share_are_refused(draw, impl):
    space = grid(seed=[0, 1, 2, 3])

    def fn(seed):
        return {"x": DRAWS[draw](jax.random.key(seed, impl=impl))}

    for run in (sweep, explain):
        with pytest.raises(ValueError, match=f"by {impl} from keys.*threefry2x32"):
            run(fn, space, width=4)
    with jax.default_prng_impl(impl), pytest.raises(ValueError, match=impl):
        sweep(lambda seed: {"x": DRAWS[draw](jax.random.key(seed))}, space, width=4)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg", "threefry2x32"])
def test_a_key_that_all_lanes_share_draws_what_it_draws_alone(impl):
    def fn(a):
        return {"x": a * jax.random.normal(jax.random.key(3, impl=impl), (2,))}

    alone = jax.jit(fn)(jnp.array(2.0))["x"]
    runs = sweep(fn, grid(a=[1.0, 2.0, 3.0]), width=3)
    np.testing.assert_allclose(runs.x.sel(a=2.0), alone, rtol=1e-15)


def test_a_lane_has_the_bits_of_its_own_key_among_any_neighbors():
    def fn(seed):
        return {"x": jax.random.normal(jax.random.key(seed))}

    first = sweep(fn, grid(seed=[0, 1, 2, 3]), width=4)
    second = sweep(fn, grid(seed=[3, 1, 2, 0]), width=4)
    np.testing.assert_array_equal(first.x, second.x.sel(seed=first.seed))
    np.testing.assert_array_equal(first.x, [fn(seed)["x"] for seed in range(4)])


# LAPACK

IS_FAULTY = lapack._FIRST_FAULTY <= _jaxpr.jaxlib_version() < lapack._FIRST_SOUND
CALLS = {
    "qr": lambda a: jnp.linalg.qr(a)[0],
    "eigh": lambda a: jnp.linalg.eigh(a)[0],
    "svd": lambda a: jnp.linalg.svd(a)[1],
    "cholesky": jnp.linalg.cholesky,
    "solve": lambda a: jnp.linalg.solve(a, a),
    "triangular solve": lambda a: jax.scipy.linalg.solve_triangular(a, a),
    "lu": lambda a: jax.scipy.linalg.lu(a)[2],
    "eig": lambda a: jnp.abs(jnp.linalg.eig(a)[0]),
    "orthogonal": lambda a: a @ jax.nn.initializers.orthogonal()(jax.random.key(0), a.shape),
}


def called(name):
    return lambda x: {"y": CALLS[name](x * jnp.eye(4) + jnp.ones((4, 4)))}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("version", [(0, 9, 2), (0, 10, 0), (0, 10, 2), (0, 11, 0), (0, 12, 1)])
def test_programs_that_could_stand_still_get_options_and_one_device(name, version, monkeypatch):
    monkeypatch.setattr(_jaxpr, "jaxlib_version", lambda: version)
    (group,) = trace_groups(called(name), grid(x=[1.0, 2.0]))
    devices = [jax.devices()[0], "another device"]
    used, options = lapack.avoid_deadlock(group.jaxpr, devices, {"a": 1})
    if version[:2] == (0, 10):
        assert used == [devices[0]] * 2
        assert options.pop("xla_cpu_scheduler_type") == "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
        assert "can deadlock" in lapack.deadlock_note(group.jaxpr, devices)
    assert options == {"a": 1}
    assert (used == devices) == (version[:2] != (0, 10))
    given = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_DEFAULT"}
    assert lapack.avoid_deadlock(group.jaxpr, devices, given)[1] == given


def test_programs_without_lapack_keep_their_options_and_devices(monkeypatch):
    monkeypatch.setattr(_jaxpr, "jaxlib_version", lambda: (0, 10, 2))
    (group,) = trace_groups(lambda x: {"y": x * jnp.eye(3) @ jnp.eye(3)}, grid(x=[1.0, 2.0]))
    devices = [jax.devices()[0], "another device"]
    assert lapack.avoid_deadlock(group.jaxpr, devices, {"a": 1}) == (devices, {"a": 1})
    assert lapack.deadlock_note(group.jaxpr, devices) is None


@pytest.mark.parametrize("name", CALLS)
def test_lanes_in_turn_need_precautions_for_their_own_batches_alone(name, monkeypatch):
    monkeypatch.setattr(_jaxpr, "jaxlib_version", lambda: (0, 10, 2))
    devices = jax.devices()[:1] * 2
    (group,) = trace_groups(called(name), grid(x=[1.0, 2.0]))
    assert lapack.avoid_deadlock(group.jaxpr, devices, {}, in_turn=True) == (devices, {})

    def batch(x):
        return {"y": jax.vmap(CALLS[name])(x * jnp.ones((2, 4, 4)) + jnp.eye(4)[None])}

    (group,) = trace_groups(batch, grid(x=[1.0, 2.0]))
    note = lapack.deadlock_note(group.jaxpr, devices, in_turn=True)
    assert (note is None) == (name == "orthogonal")  # whose matrix is not in the batch


def test_lapack_in_turn_runs_on_all_threads_with_the_values_of_numpy():
    def fn(x):
        a = x * jnp.eye(20) + jnp.cos(jnp.arange(400.0)).reshape(20, 20)
        return {name: jnp.sort(jnp.abs(call(a)).ravel()) for name, call in CALLS.items()}

    space = grid(x=np.linspace(30, 40, 200))
    (group,) = trace_groups(fn, space)
    programs = compile_group(group, 2, jax.devices()[:1] * 2, {"in_turn": True})
    assert [(program.thread, program.is_alone) for program in programs] == [(0, False), (1, False)]
    runs = sweep(fn, space, width=2, devices=jax.devices()[:1] * 4, options={"in_turn": True})
    for i in (0, 77, 199):
        a = float(space.take(np.array([i]))["x"][0]) * np.eye(20)
        a += np.cos(np.arange(400.0)).reshape(20, 20)
        values = np.sort(np.abs(np.linalg.svd(a, compute_uv=False)))
        np.testing.assert_allclose(runs.svd[i], values, rtol=1e-10)
        np.testing.assert_allclose(runs.eig[i], np.sort(np.abs(np.linalg.eigvals(a))), rtol=1e-10)
        q = np.sort(np.abs(np.linalg.qr(a)[0]).ravel())
        np.testing.assert_allclose(runs.qr[i], q, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not IS_FAULTY, reason="this version of jaxlib has no such deadlock")
def test_the_plan_and_the_log_say_what_is_done_about_it(caplog):
    lapack._log_once.cache_clear()
    space = grid(x=[1.0, 2.0])
    with caplog.at_level(logging.WARNING, "jaxmom"):
        plan = explain(called("qr"), space, width=2)
        sweep(called("qr"), space, width=2)
    (record,) = caplog.records
    assert "batched LAPACK calls (qr) can deadlock" in record.message
    assert any("batched LAPACK calls (qr)" in note for note in plan.notes)


@pytest.mark.parametrize(("name", "threads"), [("plain", [0, 1]), ("host", [0, 0]), ("qr", None)])
def test_a_device_that_is_there_twice_has_two_threads_if_that_is_safe(name, threads):
    def host(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": jax.pure_callback(np.sin, spec, x, vmap_method="expand_dims")}

    fn = {"plain": lambda x: {"y": 2 * x}, "host": host, "qr": called("qr")}[name]
    (group,) = trace_groups(fn, grid(x=[1.0, 2.0]))
    programs = compile_group(group, 2, jax.devices()[:1] * 2, {})
    assert programs[0].compiled is programs[1].compiled
    expected = threads or ([0, 0] if IS_FAULTY else [0, 1])
    assert [program.thread for program in programs] == expected


@pytest.mark.parametrize("devices", [1, 2])
def test_batched_calls_of_lapack_end_with_the_values_of_numpy(devices):
    script = [sys.executable, SCRIPTS / "batched_lapack.py", str(devices)]
    subprocess.run(script, timeout=300, check=True)


def test_a_package_that_only_lies_on_the_path_has_no_version():
    assert identity._read_version("jax") == jax.__version__
    assert identity._read_version("no-package-of-this-name") == "not installed"
