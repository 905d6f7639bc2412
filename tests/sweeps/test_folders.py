"""Folders of stores: a store deletes only what it made, and survives damage to any of its files."""

import json
import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom import cli
from jaxmom.sweeps import best, grid, halving, open_sweep, sweep
from jaxmom.sweeps.compile import identity as identity_module
from jaxmom.sweeps.results.dataset import MISSING, OK
from jaxmom.sweeps.store import writer
from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.manifests import encode_manifest

SPACE = grid(a=np.arange(8.0))
LARGER = grid(a=np.arange(12.0))


def fn(a):
    return {"value": a, "history": a + jnp.arange(3.0)}


def run(store, space=SPACE, **options):
    return sweep(fn, space, **({"width": 2, "store": store} | options))


def same(ours, theirs):
    return ours.load().drop_attrs().identical(theirs.load().drop_attrs())


# Files of others

FOREIGN = [
    "session.tmp",
    "data/session.tmp",
    ".hidden.tmp",
    "parts/.notes.tmp",
    "parts/notes.csv",
    "parts_list/x.csv",
    "parts-old/0-0.npz",
    "failed_runs/1.json",
    "failed/readme.json",
    "inner/parts/.0-7.npz.999.tmp",
    "inner/parts/0-0.npz",
    "inner/sweep.json",
    "sweep-notes.json",
    "sweeps.json",
]


def act_run(store):
    run(store)


def act_go_on(store):
    run(store)
    for path in (store / "parts").glob("0-*.npz"):
        path.unlink()
    (store / "parts/.0-3.npz.123.tmp").write_bytes(b"half a part")
    run(store)
    assert not (store / "parts/.0-3.npz.123.tmp").exists()


def act_fresh(store):
    run(store)
    run(store, grid(a=[5.0]), resume="fresh")


def act_extend(store):
    run(store)
    run(store, LARGER, resume="extend")
    run(store, resume="fresh")


@pytest.mark.parametrize("act", [act_run, act_go_on, act_fresh, act_extend])
def test_files_of_others_stay(tmp_path, act):
    for name in FOREIGN:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "cache.tmp").mkdir()
    (tmp_path / "parts/.0-0.npz.1.tmp").mkdir()
    act(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in FOREIGN} == {n: n for n in FOREIGN}
    assert (tmp_path / "cache.tmp").is_dir()
    assert (open_sweep(tmp_path).status == OK).all()


def test_a_file_called_lock_that_is_none_stays(tmp_path):
    (tmp_path / "lock").write_text("dependencies = []")
    with pytest.raises(ValueError, match="file of something else"):
        run(tmp_path)
    assert (tmp_path / "lock").read_text() == "dependencies = []"


def test_a_manifest_of_something_else_is_kept_by_fresh(tmp_path):
    (tmp_path / "sweep.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="not the manifest"):
        run(tmp_path)
    run(tmp_path, resume="fresh")
    assert (tmp_path / "sweep.bad").read_text() == '{"mine": 1}'


# Damage

DAMAGE = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "bare": lambda text: '{"format": 1}',
    "list": lambda text: "[]",
    "letter": lambda text: text.replace('"history"', '"histora"', 1),
    "digit": lambda text: text.replace('"width": 2', '"width": 3', 1),
    "no checksum": lambda text: json.dumps(
        {k: v for k, v in json.loads(text).items() if k != "checksum"}
    ),
    "absent": None,
}


def damage(path, how):
    if DAMAGE[how] is None:
        path.unlink()
    else:
        changed = DAMAGE[how](path.read_text())
        assert changed != path.read_text()
        path.write_text(changed)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("width", [2, "auto"])
def test_a_damaged_manifest_is_written_again_by_the_same_call(tmp_path, how, width, capsys):
    expected = run(tmp_path).load()
    (tmp_path / "parts/0-3.npz").unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.npz")}
    damage(tmp_path / "sweep.json", how)
    for command in ("status", "verify", "export"):
        assert cli.main([command, str(tmp_path)]) == 2
    assert "sweep.json" in "".join(capsys.readouterr())
    with pytest.raises((ValueError, FileNotFoundError), match=r"sweep\.json"):
        open_sweep(tmp_path)
    if how == "absent" and width == "auto":
        width = 2  # nothing says that there was a sweep
    assert same(run(tmp_path, width=width), expected)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert same(run(tmp_path), expected)


@pytest.mark.parametrize("how", DAMAGE)
def test_fresh_starts_over_whatever_the_manifest_is(tmp_path, how):
    run(tmp_path)
    damage(tmp_path / "sweep.json", how)
    space = grid(a=[5.0, 6.0])
    assert same(run(tmp_path, space, resume="fresh"), run(None, space))


@pytest.mark.parametrize("how", [how for how in DAMAGE if how != "absent"])
def test_another_sweep_does_not_write_over_a_damaged_manifest(tmp_path, how):
    run(tmp_path)
    damage(tmp_path / "sweep.json", how)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path, grid(a=[5.0, 6.0]))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_manifest_of_an_extension_is_written_again(tmp_path, how):
    run(tmp_path)
    expected = run(tmp_path, LARGER, resume="extend").load()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    damage(tmp_path / "sweep-1.json", how)
    assert same(run(tmp_path, LARGER, resume="extend"), expected)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["sweep.json", "sweep-1.json"])
def test_manifests_of_an_extended_store_are_restored_to_the_last_byte(tmp_path, name, how):
    largest = grid(a=np.arange(14.0))
    run(tmp_path)
    for space in (LARGER, largest):
        expected = run(tmp_path, space, resume="extend").load()
    before = {path: path.read_bytes() for path in tmp_path.glob("parts*/*.npz")}
    before |= {path: path.read_bytes() for path in tmp_path.glob("sweep*.json")}
    damage(tmp_path / name, how)
    with pytest.raises(ValueError, match=r"The same call of jm\.sweep writes it again"):
        open_sweep(tmp_path)
    assert same(run(tmp_path, largest), expected)  # which is what the message advises
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / name).with_suffix(".bad").exists() == (how != "absent")


@pytest.mark.parametrize("how", DAMAGE)
def test_an_extended_store_without_copies_is_mended_as_its_message_advises(tmp_path, how):
    run(tmp_path)
    expected = run(tmp_path, LARGER, resume="extend").load()
    later = json.loads((tmp_path / "sweep-1.json").read_text())
    bare = {key: later[key] for key in later if key not in ("previous", "checksum")}
    (tmp_path / "sweep-1.json").write_bytes(encode_manifest(bare))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    damage(tmp_path / "sweep.json", how)
    with pytest.raises(ValueError, match="make the call of that sweep, which writes it again"):
        run(tmp_path, LARGER)
    with pytest.raises(ValueError, match=r"holds another sweep:\n  space\.a: was 12 values"):
        run(tmp_path)
    assert same(run(tmp_path, LARGER), expected)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def grow(state, steps, a):
    state = a if state is None else state + a * steps
    return state, {"value": state}


@pytest.mark.parametrize("how", [how for how in DAMAGE if how not in ("absent", "letter")])
def test_a_damaged_manifest_of_a_halving_is_mended_as_its_message_advises(tmp_path, how):
    expected = halving(grow, SPACE, [1, 2, 3], 1.0, width=2)
    halving(grow, SPACE, [1, 2], 1.0, width=2, store=tmp_path)
    text = (tmp_path / "sweep.json").read_text()
    damage(tmp_path / "sweep.json", how)
    with pytest.raises(ValueError, match=r"The same call of jm\.halving writes it again") as caught:
        halving(grow, LARGER, [1, 2], 1.0, width=2, store=tmp_path)
    assert "fresh" not in str(caught.value)
    runs = halving(grow, SPACE, [1, 2, 3], 1.0, width=2, store=tmp_path)
    assert same(runs, expected)
    assert (tmp_path / "sweep.json").read_text() == text


def test_orphaned_parts_of_another_sweep_do_not_count(tmp_path):
    run(tmp_path, grid(a=[5.0, 6.0, 7.0]))
    (tmp_path / "sweep.json").unlink()  # as by a kill in the middle of resume="fresh"
    assert same(run(tmp_path), run(None))


# Reading


def read_bytes():
    counts = pathlib.Path("/proc/self/io").read_text()
    return int(counts.split("rchar:")[1].split()[0])


@pytest.mark.skipif(not pathlib.Path("/proc/self/io").exists(), reason="counts bytes by /proc")
def test_small_outputs_are_read_without_the_large_ones(tmp_path):
    def large(a):
        return {"history": jnp.zeros(20_000) + a, "value": a, "loss": 2 * a}

    runs = sweep(large, grid(a=np.arange(400.0)), width=50, store=tmp_path)
    looks = {
        "status": lambda: runs.status.values,
        "value": lambda: runs.value.isel(a=slice(3, 9)).values,
        "best": lambda: best(runs, "loss"),
        "open": lambda: open_sweep(tmp_path),
    }
    for name, look in looks.items():
        start = read_bytes()
        look()
        assert read_bytes() - start < 8e6, name  # of 64 MB
    np.testing.assert_array_equal(runs.history.isel(history_0=7), np.arange(400.0))


@pytest.mark.parametrize("copy", [lambda x: pickle.loads(pickle.dumps(x)), lambda x: x.copy()])
def test_results_in_a_store_are_copied_and_stay_lazy(tmp_path, copy):
    runs = run(tmp_path)
    for data in (runs, open_sweep(tmp_path), runs.isel(a=slice(2, 5))):
        assert copy(data).identical(data.copy())
    one = copy(runs.history)
    np.testing.assert_array_equal(one, runs.history)
    copied = copy(runs)
    (tmp_path / "parts/0-1.npz").unlink()
    assert int((copied.status == MISSING).sum()) == 2


def test_trees_in_a_store_are_pickled(tmp_path):
    def of_two_kinds(a, flag):
        return {"value": a * jnp.ones(2)} if flag else {"value": a}

    tree = sweep(of_two_kinds, grid(a=[1.0, 2.0], flag=[False, True]), width=2, store=tmp_path)
    again = pickle.loads(pickle.dumps(tree))
    for name, node in tree.children.items():
        np.testing.assert_array_equal(again[name]["value"], node["value"])


def test_what_has_been_done_since_is_seen(tmp_path):
    run(tmp_path)
    names = ["0-3", "0-1", "0-0"]
    for name in names:
        (tmp_path / f"parts/{name}.npz").unlink()
    runs = open_sweep(tmp_path)
    assert int((runs.status == MISSING).sum()) == 6
    assert np.isnan(runs.value.values).sum() == 6
    run(tmp_path)
    assert (runs.status == OK).all()
    np.testing.assert_array_equal(runs.value, np.arange(8.0))


def test_a_part_that_was_damaged_is_seen_once_it_is_computed_anew(tmp_path):
    run(tmp_path)
    (tmp_path / "parts/0-1.npz").write_bytes(b"nothing")
    runs = open_sweep(tmp_path)
    with pytest.warns(UserWarning, match="computes this chunk anew"):
        assert int((runs.status == MISSING).sum()) == 2
    run(tmp_path)
    assert (runs.status == OK).all()


def test_failures_are_seen_as_they_come_and_go(tmp_path):
    from scripts.workload import refuse

    mended = tmp_path / "mended"
    fn = refuse(5.0, until=mended)
    runs = sweep(fn, grid(x=np.arange(8.0)), width=2, store=tmp_path, on_error="record")
    assert runs.status.values.tolist() == [1, 1, 1, 1, 3, 3, 1, 1]
    mended.touch()
    sweep(fn, grid(x=np.arange(8.0)), width=2, store=tmp_path)
    assert (runs.status == OK).all()


# Paths and arguments


class PathOfBytes:
    def __fspath__(self):
        return b"runs"


@pytest.mark.parametrize(
    "store", [3, "", b"runs", ["runs"], 0.5, PathOfBytes()], ids=lambda one: type(one).__name__
)
def test_what_is_no_path_is_no_store(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = [
        lambda: run(store),
        lambda: open_sweep(store),
        lambda: halving(grow, SPACE, [1], width=2, store=store),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="a store is the path of a folder, such as 'runs'"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sweep.json", "parts/0-0.npz", "failed/0-0.json"])
def test_a_folder_with_the_name_of_a_file_is_refused_and_stays(tmp_path, name, capsys):
    run(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name / "mine").mkdir(parents=True)
    (tmp_path / "parts/0-3.npz").unlink()
    message = rf"{name} is a folder, and a store keeps a file of this name; move it away"
    if name != "failed/0-0.json":  # which nobody needs
        with pytest.raises(ValueError, match=message):
            run(tmp_path)
    for command in ("status", "verify"):
        assert cli.main([command, str(tmp_path)]) in (1, 2)
    assert (tmp_path / name / "mine").is_dir()
    (tmp_path / name).rename(tmp_path / "mine")
    run(tmp_path)
    assert cli.main(["verify", str(tmp_path)]) == 0


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run("~/runs")
    assert (tmp_path / "runs/sweep.json").exists()
    assert not (tmp_path / "~").exists()
    assert (open_sweep("~/runs").status == OK).all()
    assert cli.main(["verify", "~/runs"]) == 0
    assert cli.main(["export", "~/runs", "--out", "~/out.nc"]) == 0
    assert (tmp_path / "out.nc").exists()


@pytest.mark.parametrize("options", [None, {"lanes_last": 2}, {"lanes_last": np.int64(2)}])
def test_the_options_of_a_store_are_those_of_the_sweep(tmp_path, options):
    runs = run(tmp_path, options=options, width=np.int32(4))
    opened = open_sweep(tmp_path)
    for name in ("width", "options"):
        assert opened.attrs[name] == runs.attrs[name]
    assert opened.attrs["width"] == 4
    again = run(None, options=json.loads(opened.attrs["options"]), width=opened.attrs["width"])
    assert same(again, opened)
    assert same(sweep(fn, SPACE, store=tmp_path), opened)  # the same call without them goes on


# Unions


UNIONS = {
    "other arguments": lambda: grid(a=[5.0, 6.0, 7.0], b=[3.0, 4.0]) + grid(a=[1.0, 2.0]),
    "disjoint": lambda: grid(a=[1.0, 2.0]) + grid(b=[3.0]),
    "labels too": lambda: grid(a=[1.0], k=[False, True]) + grid(b=[2.0, 3.0], k=[True]),
    "product": lambda: (grid(a=[1.0, 2.0]) + grid(b=[3.0])) * grid(c=[0.5, 0.25]),
}


@pytest.mark.parametrize("name", UNIONS)
def test_unions_of_other_arguments_are_the_same_in_a_store(tmp_path, name):
    def some(a=0.0, b=0.0, c=0.0, k=False):
        parts = (jnp.asarray(one, float) for one in (a, b, c))
        return {"x": sum(part * 10.0**place for place, part in enumerate(parts)) + 0.1 * k}

    space = UNIONS[name]()
    expected = [float(some(**lane)["x"]) for lane in space]
    runs = sweep(some, space, width=2, store=tmp_path)
    np.testing.assert_allclose(runs.x.values.ravel(), expected, rtol=1e-15)
    np.testing.assert_allclose(open_sweep(tmp_path).x.values.ravel(), expected, rtol=1e-15)


def test_an_extension_to_a_union_keeps_the_lanes_that_are_there(tmp_path):
    def some(a=0.0, b=0.0):
        return {"x": jnp.asarray(a, float) + 10 * jnp.asarray(b, float)}

    sweep(some, grid(a=[1.0, 2.0]), width=2, store=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    space = grid(a=[1.0, 2.0]) + grid(b=[3.0])
    runs = sweep(some, space, width=2, store=tmp_path, resume="extend")
    assert runs.x.values.tolist() == [1.0, 2.0, 30.0]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert runs.x.values.tolist() == sweep(some, space, width=2, store=tmp_path).x.values.tolist()


def by_label(k, a=1.0):
    return {"x": a * k["a"]}


def stack(*values, names="xyz"):
    return jm.Stack(tuple(names[: len(values)]), {"a": np.array(values)})


def test_a_label_may_have_other_values_in_each_space_of_a_union(tmp_path):
    def run(space, store=tmp_path, **options):
        return sweep(by_label, space, width=2, store=store, **options).x.values.tolist()

    run(grid(k=stack(1.0)))
    union = grid(k=stack(1.0)) + grid(k=stack(2.0, 3.0))
    assert run(union, resume="extend") == [1.0, 2.0, 3.0]
    larger = grid(k=stack(1.0, 5.0, names="xw")) + grid(k=stack(2.0, 3.0))
    assert run(larger, resume="extend") == run(larger, None) == [1.0, 5.0, 2.0, 3.0]


@pytest.mark.parametrize("values", [(4.0, 3.0), (2.0, 4.0)])
def test_any_value_of_a_label_that_changes_is_another_sweep(tmp_path, values):
    first, second = values
    union = grid(k=stack(2.0)) + grid(k=stack(3.0)) * grid(a=[1.0, 2.0])
    sweep(by_label, union, width=2, store=tmp_path)
    changed = grid(k=stack(first)) + grid(k=stack(second)) * grid(a=[1.0, 2.0])
    for resume in ("strict", "extend"):
        with pytest.raises(ValueError, match=r"values of (0\+1\.)?k=x: was"):
            sweep(by_label, changed, width=2, store=tmp_path, resume=resume)


def test_labels_of_one_text_and_another_type_are_other_lanes(tmp_path):
    def some(k):
        return {"x": jnp.asarray(1.0 if k else 2.0)}

    sweep(some, grid(k=[False, True]), width=1, store=tmp_path)
    named = grid(k={"False": False, "True": True})
    with pytest.raises(ValueError, match=r"lacks 2 lanes .* use a new store"):
        sweep(some, named, width=1, store=tmp_path, resume="extend")


# Versions of JAX


def set_versions(monkeypatch, **versions):
    """Pretend that other versions are installed."""
    known = identity_module.read_versions()
    for module in (identity_module, writer):
        monkeypatch.setattr(module, "read_versions", lambda: known | versions)


def versions_of_parts(store):
    names = {path.stem: Store(store).read_meta(0, path.stem) for path in store.glob("parts/*.npz")}
    return {name: meta["versions"]["jaxlib"] for name, meta in names.items()}


def test_an_extension_goes_on_with_another_jaxlib_and_each_part_records_it(tmp_path, monkeypatch):
    expected = run(tmp_path).load()
    first = identity_module.read_versions()["jaxlib"]
    (tmp_path / "parts/0-2.npz").unlink()
    set_versions(monkeypatch, jaxlib="99.0.0")
    with pytest.raises(ValueError, match=r'versions\.jaxlib: was .*, is 99(?s:.*)resume="extend"'):
        run(tmp_path)
    assert same(run(tmp_path, resume="extend"), expected)
    assert versions_of_parts(tmp_path) == {
        "0-0": first,
        "0-1": first,
        "0-2": "99.0.0",
        "0-3": first,
    }
    assert same(run(tmp_path), expected)  # the sweep is one of the new version from now on
    assert cli.main(["verify", str(tmp_path)]) == 0
    runs = run(tmp_path, LARGER, resume="extend")
    assert same(runs, run(None, LARGER))


@pytest.mark.parametrize("change", ["function", "width", "options", "setting"])
def test_another_jaxlib_excuses_no_other_change(tmp_path, monkeypatch, change):
    run(tmp_path)
    set_versions(monkeypatch, jaxlib="99.0.0")
    function, options = fn, {"resume": "extend", "store": tmp_path, "width": 2}
    if change == "function":
        function = lambda a: {"value": a, "history": a + 1.0 + jnp.arange(3.0)}  # noqa: E731
    elif change == "width":
        options["width"] = 4
    elif change == "options":
        options["options"] = {"lanes_last": 1}
    else:
        known = identity_module.read_settings()
        monkeypatch.setattr(
            identity_module, "read_settings", lambda: known | {"jax_default_prng_impl": "rbg"}
        )
    with pytest.raises(ValueError, match="holds another sweep"):
        sweep(function, SPACE, **options)


def test_files_of_others_with_names_like_ours_stay(tmp_path):
    mine = {
        "parts/2024-12.json": "{}",
        "failed/2024-11.json": '{"note": 1}',
        "parts/2024-11.npz": "no archive",
    }
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for resume in ("strict", "fresh", "strict"):
        runs = sweep(lambda a: {"y": a}, grid(a=[1.0, 2.0]), width=1, store=tmp_path, resume=resume)
        assert runs.y.values.tolist() == [1.0, 2.0]
    assert {name: (tmp_path / name).read_text() for name in mine} == mine


def test_parts_of_an_extension_that_lost_its_manifest_are_computed_again(tmp_path):
    def run(values, resume="strict"):
        space = grid(a=values)
        runs = sweep(lambda a: {"y": a}, space, width=2, store=tmp_path, resume=resume)
        return runs.y.values.tolist()

    run([1.0, 2.0])
    run([1.0, 2.0, 3.0, 4.0], "extend")
    for name in ("sweep-1.json", "sweep.json"):  # what a kill within resume="fresh" leaves
        (tmp_path / name).unlink()
    assert run([3.0, 4.0]) == [3.0, 4.0]
    assert run([1.0, 2.0, 3.0, 4.0], "extend") == [1.0, 2.0, 3.0, 4.0]


def test_a_damaged_record_of_a_failure_counts_as_one(tmp_path):
    sweep(lambda a: {"y": a}, grid(a=[1.0]), width=1, store=tmp_path)
    (tmp_path / "failed").mkdir(exist_ok=True)
    (tmp_path / "failed" / "0-0.json").write_text("")
    assert Store(tmp_path).read_failures(0)["0-0"]["attempts"] == 0


def test_fresh_deletes_lanes_between_segments_and_no_files_of_others(tmp_path):
    run(tmp_path)
    (tmp_path / "lanes").mkdir()
    (tmp_path / "parts/0-1.npz").rename(tmp_path / "lanes/0-1.npz")
    (tmp_path / "lanes/0-2.npz").write_text("mine")
    (tmp_path / "lanes/.0-3.npz.123.tmp").write_bytes(b"half")
    run(tmp_path, grid(a=[5.0, 6.0]), resume="fresh")
    assert [path.name for path in (tmp_path / "lanes").iterdir()] == ["0-2.npz"]
