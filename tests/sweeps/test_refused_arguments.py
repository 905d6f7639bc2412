"""Arguments that cannot be right are refused with a sentence, before anything runs."""

import functools

import jax
import numpy as np
import pytest

from jaxmom import cli
from jaxmom.sweeps import best, explain, grid, halving, log_to, open_sweep, paired, sweep
from jaxmom.sweeps.store.export import FORMATS, export
from jaxmom.sweeps.store.files import Store

SPACE = grid(x=np.arange(3.0))


def fn(x):
    return {"value": x}


def segment(state, steps, x):
    return (x if state is None else state) * 1.0, {"value": x}


def never(x):
    raise AssertionError("it was traced")


RUNS = {
    "sweep": functools.partial(sweep, never, SPACE, width=2),
    "explain": functools.partial(explain, never, SPACE, width=2),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("options", "problem"),
    {
        "ours": ({"lane_last": 1}, "Did you mean 'lanes_last'"),
        "another of ours": ({"narow": 1}, "Did you mean 'narrow'"),
        "the compiler's": ({"xla_cpu_enable_fast_mth": True}, "mean 'xla_cpu_enable_fast_math'"),
        "beside a good one": ({"lanes_last": 1, "blok": 2}, "Did you mean 'block'"),
        "no truth value": ({"in_turn": 1}, "option 'in_turn' is True or False; got 1"),
        "two axes": ({"in_turn": True, "block": 2}, "'in_turn' and 'block' exclude each other"),
        "no axis last": ({"in_turn": True, "lanes_last": 1}, "'in_turn' and 'lanes_last' excl"),
        "a value": ({"xla_cpu_enable_fast_math": "maybe"}, "'maybe' is not a valid bool"),
        "a list": ({"xla_cpu_enable_fast_math": [1]}, "the compiler, which does not take it"),
        "no name": ({1: 2}, r"options has 1: 2, .* \(no name\)"),
    }.values(),
)
def test_an_option_that_nobody_knows_is_refused(run, options, problem, tmp_path):
    with pytest.raises(ValueError, match=problem):
        RUNS[run](options=options)
    if run == "sweep":
        with pytest.raises(ValueError, match=problem):
            RUNS[run](options=options, store=tmp_path / "store", part=(0, 2))
        assert not (tmp_path / "store").exists()


class Counting:
    def __call__(self, dataset):
        raise AssertionError("it was called")


@pytest.mark.parametrize(
    "on_chunk",
    [lambda: 0, lambda dataset: 0, lambda dataset, progress, more: 0, lambda *, a: 0, Counting()],
    ids=["none", "one", "three", "keyword", "object"],
)
def test_an_on_chunk_of_other_arguments_is_refused(on_chunk):
    with pytest.raises(ValueError, match=r"called with two arguments, on_chunk\(dataset, progress"):
        RUNS["sweep"](on_chunk=on_chunk)


@pytest.mark.parametrize("on_chunk", [lambda *a: 0, lambda a, b, c=1: 0, max, print])
def test_an_on_chunk_may_have_more_arguments_that_are_optional(on_chunk):
    with pytest.raises(AssertionError, match="it was traced"):
        RUNS["sweep"](on_chunk=on_chunk)


BOOLS = [True, np.bool_(True)]


@pytest.mark.parametrize("true", BOOLS)
def test_truth_values_are_no_counts(true, tmp_path):
    for part in ((true, 2), (0, true)):
        with pytest.raises(ValueError, match=r"part is \(i, n\)"):
            RUNS["sweep"](part=part, store=tmp_path / "store")
    for lengths in ([true], [1, true]):
        with pytest.raises(ValueError, match="segments are one positive number"):
            sweep(segment, SPACE, segments=lengths, width=2)
        with pytest.raises(ValueError, match="rungs are one positive number"):
            halving(segment, SPACE, lengths, width=2)
    for run in (sweep, explain):
        with pytest.raises(ValueError, match="width is"):
            run(never, SPACE, width=true)
    with pytest.raises(ValueError, match="workers is a positive number"):
        RUNS["sweep"](workers=true)
    with pytest.raises(ValueError, match=r"keep is in \(0, 1\]"):
        halving(segment, SPACE, [1], keep=true, width=2)


@pytest.mark.parametrize("lengths", [{3: 4}, b"12", "12", [1.0], [np.nan], []])
def test_what_is_no_list_of_counts_is_no_lengths(lengths):
    with pytest.raises(ValueError, match="segments are one positive number"):
        sweep(segment, SPACE, segments=lengths, width=2)


@pytest.mark.parametrize("given", ["no", 1, None, np.nan, []])
def test_other_things_are_no_truth_values(given):
    with pytest.raises(ValueError, match="progress is True or False"):
        RUNS["sweep"](progress=given)
    with pytest.raises(ValueError, match="maximize is True or False"):
        halving(segment, SPACE, [1], width=2, maximize=given)
    with pytest.raises(ValueError, match="maximize is True or False"):
        log_to(Writer(), maximize=given)


class Writer:
    def add_scalar(self, tag, scalar_value, global_step):
        raise AssertionError("it was called")


@pytest.mark.parametrize("name", [["value"], {"a": 1}, None, 1])
def test_other_things_name_no_output(name):
    with pytest.raises(ValueError, match="value is the name of an output"):
        log_to(Writer(), name)
    with pytest.raises(ValueError, match="by is the name of an output"):
        halving(segment, SPACE, [1], width=2, by=name)
    with pytest.raises(ValueError, match="a variable is chosen by its name"):
        best(sweep(fn, SPACE, width=2), name)


@pytest.mark.parametrize("given", ["train", None, 1.0, {"value": 1}])
def test_other_things_are_no_functions(given):
    for run in (sweep, explain):
        with pytest.raises(TypeError, match="a sweep runs a function"):
            run(given, SPACE, width=2)
    with pytest.raises(TypeError, match="a segment is a function"):
        sweep(given, SPACE, segments=[1], width=2)
    with pytest.raises(TypeError, match="a segment is a function"):
        halving(given, SPACE, [1], width=2)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a\0b", "a\nb", "x" * 201, "a\x7f"])
def test_names_that_no_file_can_hold_are_refused(name, tmp_path):
    for options in ({}, {"store": tmp_path / "store"}):
        with pytest.raises(ValueError, match="outputs have the names"):
            sweep(lambda x: {name: x}, SPACE, width=2, **options)
    assert not list(tmp_path.glob("store/*.json"))


@pytest.mark.parametrize("name", ["-", "con", "a b", "ä", "x" * 200, "a'b\"", "a.b"])
def test_other_names_are_written_and_read_by_every_format(name, tmp_path):
    runs = sweep(lambda x: {name: x}, SPACE, width=2, store=tmp_path / "store")
    np.testing.assert_array_equal(runs[name], SPACE.labels(np.arange(3))["x"])
    for form in FORMATS:
        assert export(Store(tmp_path / "store"), form).exists()


@pytest.mark.parametrize("form", list(FORMATS))
def test_an_export_into_a_folder_that_is_not_there_is_refused(form, tmp_path):
    sweep(fn, SPACE, width=2, store=tmp_path / "store")
    target = tmp_path / "nowhere" / "out"
    with pytest.raises(ValueError, match="is not a folder that exists"):
        export(Store(tmp_path / "store"), form, target)
    assert not target.parent.exists()


def test_a_file_or_a_path_that_no_folder_can_have_is_no_store(tmp_path):
    sweep(fn, SPACE, width=2, store=tmp_path)
    for given in (tmp_path / "sweep.json", "a\0b"):
        for run in (open_sweep, lambda path: sweep(fn, SPACE, width=2, store=path)):
            with pytest.raises(ValueError, match="a store is"):
                run(given)
    assert cli.main(["status", str(tmp_path / "sweep.json")]) == 2


@pytest.mark.parametrize("resume", ["fresh", "extend"])
def test_there_is_nothing_to_resume_without_a_store(resume):
    with pytest.raises(ValueError, match="give store= too"):
        RUNS["sweep"](resume=resume)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_is_no_axis_as_its_order_is_none(kind):
    for make in (grid, paired):
        with pytest.raises(ValueError, match=r"'x' is a set, .* sorted"):
            make(x=kind([1.0, 2.0]), y=[3.0, 4.0])
    assert grid(x=dict.fromkeys("ab").keys()).size == 2


@pytest.mark.parametrize("devices", [[], (), "cpu", [0], {}])
def test_other_things_are_no_devices(devices):
    with pytest.raises(ValueError, match="devices are some of"):
        RUNS["sweep"](devices=devices)


def test_a_sweep_says_that_its_store_holds_a_halving(tmp_path):
    halving(segment, SPACE, [1], width=2, store=tmp_path)
    with pytest.raises(ValueError, match="holds a halving"):
        sweep(fn, SPACE, width=2, store=tmp_path)


STATES = {
    "text": lambda x: {"a": "text", "b": x},
    "object": lambda x: (object(), x),
    "array of objects": lambda x: [np.array([None]), x],
    "array of text": lambda x: np.array(["a"]),
    "function": lambda x: (x, jax.numpy.sin),
}
ARRAYS = {
    "key": lambda x: (jax.random.key(0), x),
    "numbers": lambda x: (x, 1.0, 2, True, np.float32(1.0), np.ones(2)),
    "nothing": lambda x: (x, None, ()),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_keys_and_numbers_are_admitted_in_a_state(kind):
    def plain(state, steps, x):
        return jax.tree.map(jax.numpy.asarray, ARRAYS[kind](x)), {"value": x}

    runs = sweep(plain, SPACE, segments=[1, 1], width=2)
    np.testing.assert_array_equal(runs.value, SPACE.labels(np.arange(3))["x"])


@pytest.mark.parametrize("kind", STATES)
def test_a_state_with_something_that_is_no_array_is_refused(kind):
    def odd(state, steps, x):
        return STATES[kind](x), {"value": x}

    with pytest.raises(TypeError, match="is a pytree of arrays, and that of this segment has"):
        sweep(odd, SPACE, segments=[1, 1], width=2)
    with pytest.raises(TypeError, match="is a pytree of arrays, and that of this segment has"):
        halving(odd, SPACE, [1, 1], width=2)
