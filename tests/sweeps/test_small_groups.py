"""Groups of few lanes run at a width of their own, which a store records."""

import concurrent.futures
import json
import multiprocessing
import shutil

import jax
import numpy as np
import pytest

from jaxmom import cli
from jaxmom.sweeps import explain, grid, halving, open_sweep, paired, sweep
from jaxmom.sweeps.compile.widths import group_width
from jaxmom.sweeps.results.dataset import FAILED
from jaxmom.sweeps.store.manifests import encode_manifest, manifest_name

WIDTH = 16


def train(x, kind="a"):
    """Return what shows each lane, with a transcendental whose bits a compiler may change."""
    factor = {"a": 1.0, "b": 2.0, "c": 3.0}[kind]
    return {"y": jax.numpy.exp(-factor * x) * factor}


def small(count, kind="b"):
    return paired(x=np.linspace(1.0, 2.0, 9)[:count], kind=[kind] * count)


SPACE = grid(x=np.arange(20.0), kind=["a"]) + small(2)


def expected(space):
    labels = space.labels(np.arange(space.size))
    factor = np.array([{"a": 1.0, "b": 2.0, "c": 3.0}[kind] for kind in labels["kind"]])
    return np.exp(-factor * labels["x"]) * factor


def recorded(store, number=0):
    """The width of each kind in a manifest."""
    widths = json.loads((store / manifest_name(number)).read_text())["identity"]["widths"]
    return {dict(json.loads(key)[0])["kind"]: width for key, width in widths.items()}


def parts(store):
    return {
        str(path.relative_to(store)): path.read_bytes() for path in sorted(store.glob("parts*/*"))
    }


def chunk_counts(store, capsys):
    cli.main(["status", str(store)])
    return [line.split(", ")[1] for line in capsys.readouterr().out.splitlines()]


def forget_widths(store):
    """Write the manifest as it was before groups had widths, and forget the parts."""
    path = store / "sweep.json"
    manifest = json.loads(path.read_text())
    del manifest["identity"]["widths"], manifest["checksum"]
    path.write_bytes(encode_manifest(manifest | {"format": 2}))
    shutil.rmtree(store / "parts")


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 48, 512])
@pytest.mark.parametrize("block", [None, 1, 3, 16])
def test_small_groups_are_filled_up_to_less_than_twice_their_lanes(width, block):
    options = {} if block is None else {"block": block}
    for lanes in range(1, 2 * width):
        own = group_width(width, options, lanes)
        if 4 * lanes > width:
            assert own == width
        else:
            assert lanes <= own <= width
            assert own < 2 * lanes + (block or 1)


def as_parts(store, **options):
    for i in (1, 0):
        runs = sweep(train, SPACE, width=WIDTH, store=store, part=(i, 2), **options)
    return runs


def interrupted(store, **options):
    def stop(dataset, progress):
        raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            sweep(train, SPACE, width=WIDTH, store=store, on_chunk=stop, **options)
    return sweep(train, SPACE, width=WIDTH, store=store, **options)


def with_an_executor(store, **options):
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        return sweep(train, SPACE, width=WIDTH, store=store, executor=executor, **options)


def on_devices(store, **options):
    return sweep(train, SPACE, width=WIDTH, store=store, devices=[jax.devices()[0]] * 3, **options)


def without_a_width(store, **options):
    """Begin with one chunk, and go on with the width of the store."""

    def stop(dataset, progress):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sweep(train, SPACE, width=WIDTH, store=store, on_chunk=stop, **options)
    return sweep(train, SPACE, store=store, **options)


@pytest.mark.parametrize(
    "way", [as_parts, interrupted, with_an_executor, on_devices, without_a_width]
)
def test_a_small_group_has_the_same_bytes_however_it_runs(way, tmp_path):
    once = sweep(train, SPACE, width=WIDTH, store=tmp_path / "once")
    other = way(tmp_path / "other")
    assert parts(tmp_path / "other") == parts(tmp_path / "once")
    assert recorded(tmp_path / "other") == recorded(tmp_path / "once") == {"a": 16, "b": 2}
    in_memory = sweep(train, SPACE, width=WIDTH)
    for runs in (other, in_memory, open_sweep(tmp_path / "once")):
        np.testing.assert_array_equal(runs.y, once.y)
    np.testing.assert_allclose(once.y, expected(SPACE), rtol=1e-13)


def test_a_store_without_widths_goes_on_at_the_whole_width(tmp_path, capsys):
    store = tmp_path / "store"
    sweep(train, SPACE, width=WIDTH, store=store)
    forget_widths(store)
    before = (store / "sweep.json").read_bytes()
    whole = sweep(train, SPACE, width=WIDTH, options={"narrow": 0})
    old = sweep(train, SPACE, store=store)
    np.testing.assert_array_equal(old.y, whole.y)
    assert (store / "sweep.json").read_bytes() == before
    larger = SPACE + small(3, "c")
    extended = sweep(train, larger, store=store, resume="extend")
    assert "widths" not in json.loads((store / "sweep-1.json").read_text())["identity"]
    np.testing.assert_allclose(extended.y, expected(larger), rtol=1e-13)
    assert chunk_counts(store, capsys) == ["3 of 3 chunks of 16", "1 of 1 chunks of 16"]


def test_lanes_that_join_a_small_group_run_at_its_width_as_it_is_then(tmp_path, capsys):
    store = tmp_path / "store"
    sweep(train, SPACE, width=WIDTH, store=store)
    before = parts(store)
    larger = grid(x=np.arange(20.0), kind=["a"]) + small(9) + small(3, "c")
    runs = sweep(train, larger, store=store, resume="extend")
    assert recorded(store) == {"a": 16, "b": 2}
    assert recorded(store, 1) == {"a": 16, "b": 16, "c": 4}
    assert parts(store).items() >= before.items()
    for found in (runs, open_sweep(store), sweep(train, larger, store=store)):
        np.testing.assert_allclose(found.y, expected(larger), rtol=1e-13)
        assert (found.status == 1).all()
    # Seven new lanes of "b" at a time, and three of "c".
    assert chunk_counts(store, capsys) == ["3 of 3 chunks of 16", "2 of 2 chunks of 16"]
    assert cli.main(["verify", str(store)]) == 0


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_manifest_is_mended_with_the_widths_that_it_had(number, tmp_path):
    store = tmp_path / "store"
    larger = grid(x=np.arange(20.0), kind=["a"]) + small(9) + small(3, "c")
    sweep(train, SPACE, width=WIDTH, store=store)
    sweep(train, larger, store=store, resume="extend")
    before, manifest = parts(store), store / manifest_name(number)
    widths = recorded(store, number)
    manifest.write_text("{")
    (store / "parts-1/1-0.npz").unlink()
    runs = sweep(train, larger, store=store)
    np.testing.assert_allclose(runs.y, expected(larger), rtol=1e-13)
    assert recorded(store, number) == widths
    assert parts(store) == before


def test_a_damaged_manifest_of_a_store_without_widths_gets_none(tmp_path):
    store = tmp_path / "store"
    sweep(train, SPACE, width=WIDTH, store=store)
    forget_widths(store)
    sweep(train, SPACE, store=store)
    before = parts(store)
    (store / "sweep.json").write_text("{")
    (store / "parts/0-0.npz").unlink()
    sweep(train, SPACE, store=store)
    assert "widths" not in json.loads((store / "sweep.json").read_text())["identity"]
    assert parts(store) == before


@pytest.mark.parametrize("way", ["whole", "executor", "segments"])
def test_a_chunk_from_before_a_group_grew_is_computed_again_at_its_width(way, tmp_path):
    store, larger = tmp_path / "store", grid(x=np.arange(20.0), kind=["a"]) + small(9)
    fn, more = (segment, {"segments": [2, 3]}) if way == "segments" else (train, {})
    sweep(fn, SPACE, width=WIDTH, store=store, **more)
    runs = sweep(fn, larger, store=store, width=WIDTH, resume="extend", **more)
    before = parts(store)
    for name in ("parts/1-0.npz", "parts-1/1-0.npz", "parts/0-1.npz"):
        (store / name).unlink()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        own = {"executor": executor} if way == "executor" else {}
        again = sweep(fn, larger, store=store, width=WIDTH, **more, **own)
    assert parts(store) == before
    np.testing.assert_array_equal(*(r["value" if more else "y"] for r in (again, runs)))


def segment(state, steps, x, kind):
    y = x if state is None else state
    y = y * (1.0 - 0.1 * {"a": 1.0, "b": 2.0}[kind]) ** steps
    return y, {"value": y}


def test_segments_and_halvings_use_the_widths_of_groups(tmp_path):
    store, halved = tmp_path / "store", tmp_path / "halved"
    in_segments = sweep(segment, SPACE, segments=[2, 3], width=WIDTH, store=store)
    assert recorded(store) == {"a": 16, "b": 2}
    in_memory = sweep(segment, SPACE, segments=[2, 3], width=WIDTH)
    kept = halving(segment, SPACE, [2, 3], 1.0, over="", width=WIDTH, store=halved)
    assert recorded(halved) == {"a": 16, "b": 2}
    np.testing.assert_array_equal(in_segments.value, in_memory.value)
    np.testing.assert_array_equal(kept.value[..., -1], in_memory.value)
    labels = SPACE.labels(np.arange(SPACE.size))
    rates = np.where(labels["kind"] == "a", 0.9, 0.8)
    np.testing.assert_allclose(in_memory.value, labels["x"] * rates**5, rtol=1e-13)


def refuse_b(x, kind):
    """Fail in the small group."""

    def check(value):
        if kind == "b":
            raise ArithmeticError("b is refused")
        return value

    spec = jax.ShapeDtypeStruct((), x.dtype)
    return {"y": 2 * jax.pure_callback(check, spec, x, vmap_method="expand_dims")}


@pytest.mark.slow
def test_processes_compute_the_bytes_of_small_groups(tmp_path):
    """Whole lanes, lanes in segments, lanes that fail, and halvings."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        for fn, options in (
            (train, {}),
            (segment, {"segments": [2, 3]}),
            (refuse_b, {"on_error": "record"}),
        ):
            here, there = (tmp_path / f"{fn.__name__}-{place}" for place in ("here", "there"))
            one = sweep(fn, SPACE, width=WIDTH, store=here, **options)
            other = sweep(fn, SPACE, width=WIDTH, store=there, executor=executor, **options)
            assert parts(here) == parts(there)
            assert one.identical(other.assign_attrs(one.attrs))
        assert (one.status == FAILED).sum() == 2
        options = {"over": "", "width": WIDTH}
        one = halving(segment, SPACE, [2, 3], 0.5, **options)
        other = halving(segment, SPACE, [2, 3], 0.5, executor=executor, **options)
        assert one.identical(other.assign_attrs(one.attrs))


def test_a_halving_that_began_without_widths_goes_on_at_the_whole_width(tmp_path):
    store = tmp_path / "store"
    first = halving(segment, SPACE, [2], 1.0, over="", width=WIDTH, store=store)
    forget_widths(store)
    again = halving(segment, SPACE, [2], 1.0, over="", width=WIDTH, store=store)
    np.testing.assert_array_equal(first.value, again.value)
    assert "widths" not in json.loads((store / "sweep.json").read_text())["identity"]


def test_explain_says_which_groups_run_at_a_smaller_width():
    plan = explain(train, SPACE + small(3, "c"), width=WIDTH)
    assert plan.notes[-1] == "2 groups of few lanes run at a width of 2 to 4"
    assert plan.width == WIDTH
    assert plan.chunks == 4
    whole = explain(train, SPACE, width=WIDTH, options={"narrow": 0})
    assert not whole.notes
    assert (
        plan.seconds
        < explain(train, SPACE + small(3, "c"), width=WIDTH, options={"narrow": 0}).seconds
    )
