"""Halving: edges of its arguments, maximization, and rungs that are appended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom.sweeps import grid, halving
from jaxmom.sweeps.results.dataset import DIVERGED, OK

SPACE = grid(a=np.arange(1.0, 9.0))


def grow(state, steps, a):
    state = a if state is None else state + a * steps
    return state, {"value": state}


def best_of(runs):
    return runs.a.values[runs.rungs.values == runs.rungs.values.max()].tolist()


def test_large_is_good_where_it_is_maximized():
    assert best_of(halving(grow, SPACE, [1, 1, 1], width=4)) == [1.0, 2.0]
    runs = halving(grow, SPACE, [1, 1, 1], width=4, maximize=True)
    assert best_of(runs) == [7.0, 8.0]
    np.testing.assert_array_equal(runs.value.sel(a=8.0), [8.0, 16.0, 24.0])


@pytest.mark.parametrize("maximize", [False, True])
def test_infinite_values_are_bad_either_way(maximize):
    def explode(state, steps, a):
        sign = 1.0 if maximize else -1.0
        value = jnp.where(a > 4, sign * jnp.inf, a)
        return a, {"value": value}

    runs = halving(explode, SPACE, [1, 1], 1.0, width=4, maximize=maximize)
    assert runs.rungs.values.tolist() == [2] * 4 + [1] * 4


@pytest.mark.parametrize("when", [0, 1, 2])
def test_if_all_lanes_diverge_the_rest_is_empty(when, tmp_path):
    def diverge(state, steps, a):
        count = 0 if state is None else state + 1
        value = jnp.where(jnp.asarray(count) >= when, jnp.nan, a)
        return count, {"value": value}

    for store in (None, tmp_path):
        runs = halving(diverge, SPACE, [1, 1, 1, 1], 1.0, width=4, store=store)
        assert runs.rungs.values.tolist() == [when + 1] * 8
        assert (runs.status == DIVERGED).all()
        assert np.isnan(runs.value.isel(step=slice(when, None))).all()
        assert runs.step.values.tolist() == [1, 2, 3, 4]


STATES = {
    "dtype": (lambda a: jnp.zeros((), int), lambda a, state: state.astype(float)),
    "python number": (lambda a: 0, lambda a, state: state + 0.75),
    "shape": (lambda a: jnp.zeros(2), lambda a, state: jnp.zeros(3)),
    "structure": (lambda a: {"x": a}, lambda a, state: {"x": a, "y": a}),
    "order": (lambda a: (a, jnp.zeros(2)), lambda a, state: (jnp.zeros(2), a)),
    "names": (lambda a: {"x": a}, lambda a, state: {"y": a}),
    "none": (lambda a: (a, None), lambda a, state: (a, a)),
    "key": (lambda a: jax.random.key(0), lambda a, state: jax.random.key(0, impl="rbg")),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_changes_its_kind_is_refused_before_anything_runs(name):
    first, later = STATES[name]
    ran = []

    def segment(state, steps, a):
        jax.debug.callback(lambda: ran.append(steps))
        return (first(a) if state is None else later(a, state)), {"value": a}

    with pytest.raises(ValueError, match="the same structure, shapes and dtypes"):
        halving(segment, SPACE, [1, 1, 1], 1.0, width=4)
    assert not ran


ARGUMENTS = {
    "auto": ({"width": "auto"}, "number of lanes as width"),
    "no lanes": ({"width": 0}, "width is"),
    "by": ({"by": "loss"}, "there is no output 'loss'; the segment returns"),
    "keep": ({"keep": 0.0}, "keep is in"),
    "no rungs": ({"rungs": []}, "rungs are one positive number"),
    "rung of 0": ({"rungs": [1, 0]}, "rungs are one positive number"),
    "one rung": ({"rungs": 3}, "in a list such as"),
    "rung of 1.5": ({"rungs": [1.5]}, "in a list such as"),
    "over": ({"over": "sed"}, r"over is one of the dims \['a'\]"),
    "list of over": ({"over": ["a"]}, r"over is one of the dims \['a'\]"),
    "stall": ({"stall_seconds": -1.0}, "stall_seconds"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_checked(name):
    changed, message = ARGUMENTS[name]
    with pytest.raises(ValueError, match=message):
        halving(grow, SPACE, **({"rungs": [1, 1], "width": 4} | changed))


def vector(state, steps, a):
    return a, {"value": jnp.ones(3) * a}


def records_of_vectors(state, steps, a):
    start = jnp.ones(2) if state is None else state
    optimizer = jm.heavy_ball(0.1, 0.5)
    run = jm.optimize(jnp.sum, start, optimizer, steps, record=("value", "params"))
    return run, run


def outputs(**named):
    return lambda state, steps, a: (a, {"value": a} | named)


OUTPUTS = {  # the segment, the output to compare, and what is wrong with it
    "vector": (vector, "value", "several values for each lane"),
    "records of vectors": (records_of_vectors, "params", "several values for each lane"),
    "complex": (outputs(value=1j), "value", "complex numbers have no order"),
    "diverged_at": (outputs(diverged_at=-1), "diverged_at", "the outcome of a lane"),
    "no outcome": (grow, "diverged_at", "the outcome of a lane"),
    "status": (outputs(status=1), "status", "rename"),
    "no status": (grow, "status", "the outcome of a lane"),
    "step": (outputs(step=1.0), "step", "rename"),
    "no step": (grow, "step", "no output 'step'"),
    "rungs": (outputs(rungs=1.0), "rungs", "rename"),
    "no rungs": (grow, "rungs", "no output 'rungs'"),
    "another of rungs": (outputs(rungs=1.0), "value", "rename"),
    "another of ended_at": (outputs(ended_at=1.0), "value", "rename"),
    "unsigned": (outputs(diverged_at=jnp.uint8(255)), "value", "is a signed integer, not uint8"),
    "float": (outputs(diverged_at=-1.0), "value", "is a signed integer"),
}


LATER = [name for name, (_, by, _) in OUTPUTS.items() if by == "value"]  # as `grow` returns it


@pytest.mark.parametrize(
    ("name", "first"), [(name, False) for name in OUTPUTS] + [(name, True) for name in LATER]
)
def test_outputs_that_cannot_be_compared_are_refused_before_anything_runs(name, first):
    segment, by, message = OUTPUTS[name]
    ran = []

    def counting(state, steps, a):
        jax.debug.callback(lambda: ran.append(steps))
        return segment(state, steps, a)

    def segments(state, steps, a):
        begin = grow if state is None and first else counting
        return begin(state, steps, a)

    with pytest.raises(ValueError, match=message):
        halving(segments, SPACE, [1, 1], width=4, by=by)
    jax.effects_barrier()
    assert not ran


@pytest.mark.parametrize("returned", [{"value": 1.0}, {"a": 1.0, "b": 2.0}, jnp.ones(2), None, 1.0])
def test_a_segment_returns_a_state_and_outputs(returned):
    with pytest.raises(TypeError, match=r"the segment returned .*; it returns two things"):
        halving(lambda state, steps, a: returned, SPACE, [1, 1], width=4)


@pytest.mark.parametrize("name", ["state", "steps", "rungs", "ended_at"])
def test_axes_with_names_that_a_halving_uses_are_refused(name):
    with pytest.raises(ValueError, match=rf"the axes \['{name}'\] .* rename"):
        halving(grow, jm.grid(a=[1.0]) * jm.grid(**{name: [1.0, 2.0]}), [1, 1], width=4)


def test_arguments_of_other_names_leave_theirs_to_axes():
    def segment(carry, count, /, state):
        return grow(carry, count, state)

    runs = halving(segment, grid(state=[1.0, 2.0]), [1, 1], width=2)
    assert runs.rungs.values.tolist() == [2, 1]


@pytest.mark.parametrize("keep", [0.07, 0.14, 0.28, 0.55, 0.56, 0.57])
def test_a_share_that_is_a_whole_number_of_lanes_keeps_so_many(keep):
    runs = halving(grow, grid(a=np.arange(100.0)), [1, 1], keep, width=100)
    assert int((runs.rungs == 2).sum()) == round(100 * keep)


def test_records_say_which_lanes_ran():
    runs = halving(grow, SPACE, [1, 2, 3], width=4)
    assert runs.ended_at.values.tolist() == [6, 6, 3, 3, 1, 1, 1, 1]
    ran = runs.step <= runs.ended_at
    np.testing.assert_array_equal(runs.value.notnull(), ran.transpose(*runs.value.dims))


@pytest.mark.parametrize("lost", [0, 1])
def test_bands_of_cells_that_were_dropped_are_not_a_number(lost):
    def segment(state, steps, a, seed):
        state, _ = grow(state, steps, a)
        return state, {"value": jnp.where((a > 6) | ((a > 2) & (seed < lost)), jnp.inf, state)}

    runs = halving(segment, SPACE * grid(seed=range(4)), [1, 1], 0.25, width=4)
    expected = [2.0, 4.0, *[np.nan] * 4, np.inf, np.inf]
    for one in (runs, runs.isel(step=[-1])):
        np.testing.assert_array_equal(jm.bands(one).middle.isel(step=-1), expected)
    np.testing.assert_array_equal(jm.bands(runs.isel(step=-1)).middle, expected)
    np.testing.assert_array_equal(jm.bands(runs.isel(step=-1, drop=True)).middle, expected)
    everywhere = jm.bands(runs.isel(step=0)).middle
    assert not np.isnan(everywhere).any()


def test_integers_of_numpy_are_rungs_and_widths():
    runs = halving(grow, SPACE, np.array([1, 2]), width=np.int64(4))
    assert runs.step.values.tolist() == [1, 3]


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_rungs_are_appended_to_those_that_are_done(tmp_path, keep):
    lengths = []

    def segment(state, steps, a):
        lengths.append(steps)
        return grow(state, steps, a)

    options = {"keep": keep, "width": 4}
    halving(segment, SPACE, [1, 2], store=tmp_path, **options)
    lengths.clear()
    runs = halving(segment, SPACE, [1, 2, 3, 4], store=tmp_path, **options)
    whole = halving(grow, SPACE, [1, 2, 3, 4], **options)
    assert runs.drop_attrs().identical(whole.drop_attrs())
    assert {3, 4} <= set(lengths)
    again = halving(segment, SPACE, [1, 2, 3, 4], store=tmp_path, **options)
    assert again.drop_attrs().identical(whole.drop_attrs())


@pytest.mark.parametrize("rungs", [[1], [2, 2, 3], [1, 3, 2]])
def test_other_rungs_than_those_that_are_done_are_refused(tmp_path, rungs):
    halving(grow, SPACE, [1, 2], 1.0, width=4, store=tmp_path)
    with pytest.raises(ValueError, match="the store"):
        halving(grow, SPACE, rungs, 1.0, width=4, store=tmp_path)


@pytest.mark.parametrize("change", [{"keep": 0.5}, {"maximize": True}, {"width": 8}])
def test_another_halving_is_refused(tmp_path, change):
    options = {"keep": 1.0, "width": 4, "store": tmp_path}
    halving(grow, SPACE, [1, 2], **options)
    with pytest.raises(ValueError, match="holds something else"):
        halving(grow, SPACE, [1, 2], **(options | change))


def test_a_sweep_in_the_store_is_refused(tmp_path):
    jm.sweep(lambda a: {"value": a}, SPACE, width=4, store=tmp_path)
    with pytest.raises(ValueError, match="it is a sweep, and no halving"):
        halving(grow, SPACE, [1, 2], 1.0, width=4, store=tmp_path)


def test_a_run_and_a_dict_of_arrays_are_outputs_together():
    def segment(run, steps, a):
        start = jnp.ones(2) if run is None else run
        run = jm.optimize(lambda x: jnp.sum(x**2), start, jm.heavy_ball(0.01 * a, 0.5), steps)
        return run, (run, {"norm": jnp.sum(run.params**2)})

    runs = halving(segment, SPACE, [3, 3], 1.0, by="norm", width=4)
    assert (runs.status == OK).all()
    values = halving(lambda *args, **axes: segment(*args, **axes), SPACE, [3, 3], 1.0, width=4)
    np.testing.assert_array_equal(runs.norm, values.value)


def continue_by(factor, scale=1.0):
    """Return a segment whose later segments alone depend on a factor."""

    def segment(state, steps, a):
        state = a * scale if state is None else state + factor * a * steps
        return state, {"value": state}

    return segment


@pytest.mark.parametrize("rungs", [[1], [1, 2]])
def test_a_stored_halving_goes_on_with_its_own_continuation_alone(tmp_path, rungs):
    options = {"keep": 1.0, "width": 4, "store": tmp_path}
    halving(continue_by(1.0), SPACE, rungs, **options)
    with pytest.raises(ValueError, match=r"later segments \(all lanes\): was"):
        halving(continue_by(2.0), SPACE, [*rungs, 3], **options)
    runs = halving(continue_by(1.0), SPACE, [*rungs, 3], **options)
    whole = halving(continue_by(1.0), SPACE, [*rungs, 3], 1.0, width=4)
    assert runs.drop_attrs().identical(whole.drop_attrs())


def test_a_segment_that_has_run_is_compared_at_its_own_length(tmp_path):
    """Even a function that changes at the length of a later rung alone does not go on."""

    def segments(factor):
        at_two = continue_by(factor)
        return lambda state, steps, a: (at_two if steps == 2 else grow_by_one)(state, steps, a=a)

    grow_by_one = continue_by(1.0)
    options = {"keep": 1.0, "width": 4, "store": tmp_path}
    halving(segments(1.0), SPACE, [1, 2], **options)
    with pytest.raises(ValueError, match="segment 2, of 2 updates, would not compute"):
        halving(segments(2.0), SPACE, [1, 2, 3], **options)
    runs = halving(segments(1.0), SPACE, [1, 2, 3], **options)
    whole = halving(segments(1.0), SPACE, [1, 2, 3], 1.0, width=4)
    assert runs.drop_attrs().identical(whole.drop_attrs())


def test_continuations_are_compared_group_by_group_with_runs_in_the_state(tmp_path):
    def descend(rate, factor):
        def segment(run, steps, a, k):
            start = jnp.ones(2) if run is None else run
            at = rate if run is None or not k else factor * rate
            run = jm.optimize(lambda x: a * jnp.sum(x**2), start, jm.heavy_ball(at, 0.5), steps)
            return run, run

        return segment

    space = grid(a=[1.0, 2.0], k=[False, True])
    halving(descend(0.1, 1.0), space, [2, 2], width=2, store=tmp_path)
    with pytest.raises(ValueError, match=r"holds something else:\n  .*\(k=True\): was .*\nChoose"):
        halving(descend(0.1, 0.5), space, [2, 2, 2], width=2, store=tmp_path)
    halving(descend(0.1, 1.0), space, [2, 2, 2], width=2, store=tmp_path)


def test_a_state_without_arrays_is_no_first_segment_after_a_restart(tmp_path):
    def segment(state, steps, a):
        return (), {"value": a if state is None else a * steps}

    options = {"keep": 1.0, "width": 4}
    halving(segment, SPACE, [5], store=tmp_path, **options)
    runs = halving(segment, SPACE, [5, 3], store=tmp_path, **options)
    np.testing.assert_array_equal(runs.value.isel(step=-1), 3 * SPACE.labels(np.arange(8))["a"])


def test_equal_arguments_of_another_type_are_the_same_halving(tmp_path):
    halving(grow, SPACE, [1, 2], 1, width=4, store=tmp_path)
    for keep in (1.0, np.float32(1.0), np.array(1)):
        halving(grow, SPACE, [1, 2], keep, maximize=np.bool_(False), width=4, store=tmp_path)


@pytest.mark.parametrize("keep", ["half", None, [0.5, 0.5], 1.5, np.nan])
def test_a_share_that_is_none_is_refused(keep):
    with pytest.raises(ValueError, match=r"keep is in \(0, 1\]"):
        halving(grow, SPACE, [1, 1], keep, width=4)
