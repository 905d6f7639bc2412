"""The store: whatever happens to a sweep or to its folder, nothing is lost and nothing is wrong."""

import errno
import functools
import hashlib
import io
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest
from scripts.launch import output_of, start

import jaxmom as jm
from jaxmom import cli
from jaxmom.sweeps import grid, open_sweep, paired, sample, sweep, uniform
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, MISSING, OK
from jaxmom.sweeps.store.archive import Damaged, pack, unpack
from jaxmom.sweeps.store.files import Store

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def train(beta, learning_rate, seed=0, nesterov=False):
    make = jm.nesterov if nesterov else jm.heavy_ball
    x = jnp.array([2.0, 1.0]) + jnp.asarray(seed, float)
    optimizer = make(learning_rate, beta)
    return jm.optimize(lambda p: jnp.sum(p**2), x, optimizer, 6, every=3)


SPACE = grid(beta=[0.0, 0.5, 0.9], learning_rate=[0.1, 0.2, 9.0], nesterov=[False, True])
OTHER = grid(beta=[0.0, 0.5, 0.8], learning_rate=[0.1, 0.2, 9.0], nesterov=[False, True])


@pytest.fixture(scope="module")
def expected():
    return sweep(train, SPACE, width=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "store"
    sweep(train, SPACE, width=4, store=path)
    return path


@pytest.fixture
def store(finished, tmp_path):
    path = tmp_path / "a store of µ"
    shutil.copytree(finished, path)
    return path


def same(ours, theirs):
    return ours.load().drop_attrs().identical(theirs.load().drop_attrs())


def part_files(store):
    return sorted((store / "parts").glob("*.npz"))


# Host functions of a sweep


RATE = 1.0  # changed by a test


def scaled(x, rate):
    return (np.asarray(x) * rate).astype(x.dtype)


def with_counter(rate):
    calls = 0

    def host(x):
        nonlocal calls
        calls += 1
        return scaled(x, rate)

    return host


class Simulator:
    def __init__(self, rate):
        self.rate, self.lock = rate, threading.Lock()

    def __call__(self, x):
        return scaled(x, self.rate)


HOSTS = {
    "a closure": lambda rate: lambda x: scaled(x, rate),
    "an array": lambda rate: (lambda w: lambda x: scaled(x, w[0]))(np.full(2, rate)),
    "a default": lambda rate: lambda x, w=rate: scaled(x, w),
    "a list": lambda rate: (lambda w: lambda x: scaled(x, w[0]))([rate]),
    "a partial": lambda rate: functools.partial(scaled, rate=rate),
    "an object": Simulator,
    "a method": lambda rate: Simulator(rate).__call__,
    "a counter": with_counter,
    "a global": lambda _: lambda x: scaled(x, RATE),
    "a function within": lambda rate: (lambda f: lambda x: f(x))(lambda x: scaled(x, rate)),
}
CALLS = {
    "pure": functools.partial(jax.pure_callback, vmap_method="expand_dims"),
    "io": jax.experimental.io_callback,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("call", CALLS)
def test_another_host_function_is_another_sweep(tmp_path, monkeypatch, host, call):
    def run(rate):
        monkeypatch.setitem(globals(), "RATE", rate)
        function = HOSTS[host](rate)

        def fn(a):
            return {"y": CALLS[call](function, jax.ShapeDtypeStruct((), a.dtype), a)}

        return sweep(fn, grid(a=[1.0, 2.0]), width=2, store=tmp_path).y.values.tolist()

    assert run(3.0) == [3.0, 6.0]
    assert run(3.0) == [3.0, 6.0]
    with pytest.raises(ValueError, match=r"function \(all lanes\): was"):
        run(5.0)


def test_a_host_function_that_cannot_be_compared_needs_no_store(tmp_path):
    file = (tmp_path / "data").open("w")

    def host(x):
        assert not file.closed
        return x

    def fn(a):
        spec = jax.ShapeDtypeStruct((), a.dtype)
        return {"y": jax.pure_callback(host, spec, a, vmap_method="expand_dims")}

    with file:
        assert sweep(fn, grid(a=[1.0]), width=1).y.values.tolist() == [1.0]
        with pytest.raises(ValueError, match="reads a TextIOWrapper"):
            sweep(fn, grid(a=[1.0]), width=1, store=tmp_path / "store")


# Writing and reading


def test_a_stored_sweep_is_the_sweep_and_is_read_as_it_is_used(store, expected):
    runs = open_sweep(store)
    assert same(runs.value.isel(step=-1), expected.value.isel(step=-1))
    picked = {"beta": [2, 0], "learning_rate": 1, "step": slice(None, None, 2)}
    assert same(open_sweep(store).isel(picked), expected.isel(picked))
    assert same(runs, expected)
    assert runs.attrs["jax"] == expected.attrs["jax"]


def test_a_finished_sweep_computes_nothing_again(store, expected, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in part_files(store)}
    runs = sweep(train, SPACE, store=store)
    assert {path: path.stat().st_mtime_ns for path in part_files(store)} == before
    assert same(runs, expected)


def test_the_path_of_a_store_may_be_relative_and_a_link(store, expected, monkeypatch):
    link = store.parent / "link"
    link.symlink_to(store, target_is_directory=True)
    monkeypatch.chdir(store.parent)
    runs = open_sweep("link")
    assert same(runs, expected)
    part_files(store)[0].unlink()
    assert same(sweep(train, SPACE, store="link"), expected)


def test_times_of_files_do_not_matter(store, expected):
    for path in store.rglob("*"):
        os.utime(path, (0, 2**33))
    assert same(sweep(train, SPACE, store=store), expected)


def test_an_unfinished_sweep_says_what_is_missing(store):
    (store / "parts/0-1.npz").unlink()
    runs = open_sweep(store)
    gone = runs.status == MISSING
    assert int(gone.sum()) == 4
    assert np.isnan(runs.value.values[gone.values]).all()
    assert (runs.diverged_at.values[gone.values] == -1).all()


def test_groups_with_other_outputs_become_a_tree(tmp_path):
    def fn(x, long):
        return {"y": x * jnp.ones(3)} if long else {"y": x, "z": -x}

    space = grid(x=[1.0, 2.0, 3.0], long=[False, True])
    kept = sweep(fn, space, width=2)
    stored = sweep(fn, space, width=2, store=tmp_path)
    for tree in (kept, stored):
        assert set(tree.children) == {"long=False", "long=True"}
        short, long = tree["long=False"].ds, tree["long=True"].ds
        np.testing.assert_array_equal(short.z, [-1, -2, -3])
        np.testing.assert_array_equal(long.y.sel(x=2.0), [2, 2, 2])
        assert bool(long.long)
        assert (short.status == OK).all()


# Identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": OTHER}, "space.beta: was 3 values, 0 ... 0.9"),
        ({"width": 8}, "width: was 4, is 8"),
        ({"options": {"xla_cpu_enable_fast_math": False}}, "options.xla_cpu_enable_fast"),
    ],
)
def test_another_sweep_is_refused_and_the_field_is_named(store, change, message, expected):
    arguments = {"space": SPACE, "store": store, "width": 4} | change
    with pytest.raises(ValueError, match="holds another sweep") as caught:
        sweep(train, **arguments)
    assert message in str(caught.value)
    assert same(open_sweep(store), expected)


def test_another_function_is_refused(store):
    def other(beta, learning_rate, nesterov):
        return train(beta, learning_rate * 1.0000001, nesterov=nesterov)

    with pytest.raises(ValueError, match=r"function \(nesterov=False\): was"):
        sweep(other, SPACE, store=store)


def test_the_values_behind_a_label_are_part_of_the_sweep(tmp_path):
    def fn(momentum):
        return {"y": momentum["a"]}

    labels = ("one", "two")
    sweep(fn, grid(momentum=jm.Stack(labels, {"a": np.arange(2.0)})), width=2, store=tmp_path)
    with pytest.raises(ValueError, match="values of momentum=two"):
        sweep(fn, grid(momentum=jm.Stack(labels, {"a": np.array([0.0, 3.0])})), store=tmp_path)


def test_a_store_in_float64_is_refused_in_float32(store):
    out = output_of(start("float32", store))
    assert "settings.jax_enable_x64: was True, is False" in out


def test_fresh_starts_over(store, tmp_path):
    space = paired(beta=[0.5], learning_rate=[0.3])
    runs = sweep(train, space, width=4, store=store, resume="fresh")
    assert same(runs, sweep(train, space, width=4))
    assert len(part_files(store)) == 1


@pytest.mark.parametrize("lost", [None, "parts/1-0.npz", "parts-1/0-1.npz"])
def test_an_extension_runs_the_new_lanes_alone_and_is_the_larger_sweep(tmp_path, lost):
    def fn(beta, learning_rate, seed, nesterov):
        return train(beta, learning_rate, seed, nesterov)

    small = grid(seed=range(2), nesterov=[False, True], beta=[0.0, 0.9], learning_rate=[0.1, 9.0])
    large = grid(
        beta=[0.9, 0.5, 0.0], nesterov=[True, False], learning_rate=[0.1, 9.0], seed=range(3)
    )
    sweep(fn, small, width=4, store=tmp_path)
    before = {path: path.read_bytes() for path in part_files(tmp_path)}
    with pytest.raises(ValueError, match='resume="extend"'):
        sweep(fn, large, store=tmp_path)
    runs = sweep(fn, large, store=tmp_path, resume="extend")
    whole = sweep(fn, large, width=4)
    assert same(runs, whole)
    assert {path: path.read_bytes() for path in part_files(tmp_path)} == before
    new = list((tmp_path / "parts-1").glob("*.npz"))
    sizes = [len(np.load(path)["status"]) for path in new]
    assert sum(sizes) == large.size - small.size
    if lost is not None:
        (tmp_path / lost).unlink()
        assert (open_sweep(tmp_path).status == MISSING).any()
    assert same(sweep(fn, large, store=tmp_path), whole)
    axes = {"beta": [0.9, 0.5, 0.0], "nesterov": [True, False], "learning_rate": [0.1, 9.0]}
    with pytest.raises(ValueError, match="lacks 12 lanes"):
        sweep(fn, grid(**axes, seed=range(1, 4)), store=tmp_path, resume="extend")


# Damage


def damaged(content, how):
    if how == "flipped":
        place = content.index(b"\x93NUMPY") + 130  # in the numbers of the first array
        return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    return {"empty": b"", "half": content[: len(content) // 2], "short": content[:-1]}[how]


@pytest.mark.parametrize("how", ["flipped", "empty", "half", "short"])
def test_a_damaged_part_is_named_and_computed_again_alone(store, expected, how, capsys):
    victim, *others = part_files(store)
    victim.write_bytes(damaged(victim.read_bytes(), how))
    before = {path: path.stat().st_mtime_ns for path in others}
    assert cli.main(["verify", str(store)]) == 1
    message = capsys.readouterr().out
    assert f"{victim} is damaged" in message
    assert "1 chunks damaged, 5 chunks whole" in message
    runs = open_sweep(store)
    if how == "short":  # the last byte is none of an array
        assert same(runs, expected)
    else:
        with pytest.warns(UserWarning, match="count as missing"):
            assert runs.diverged_at.values.size  # the first array
        assert int((runs.status == MISSING).sum()) == 4
    assert same(sweep(train, SPACE, store=store), expected)
    assert {path: path.stat().st_mtime_ns for path in others} == before
    assert victim.with_suffix(".bad").exists()
    assert cli.main(["verify", str(store)]) == 0


def test_every_byte_of_a_part_counts():
    content = pack({"a": np.arange(3.0)}, {})
    for place in range(len(content)):
        wrong = bytearray(content)
        wrong[place] ^= 1
        with pytest.raises(Damaged):
            unpack(bytes(wrong), pathlib.Path("part.npz"))


def test_parts_of_another_sweep_or_place_do_not_count(store, expected, tmp_path):
    other = tmp_path / "other"
    sweep(train, OTHER, width=4, store=other)
    shutil.copy(other / "parts/0-0.npz", store / "parts/0-0.npz")
    shutil.copy(store / "parts/1-0.npz", store / "parts/1-1.npz")
    with pytest.warns(UserWarning, match="another sweep"):
        assert int((open_sweep(store).status == MISSING).sum()) == 8
    assert same(sweep(train, SPACE, store=store), expected)


def test_leftovers_of_a_writer_that_was_killed_are_deleted(store, expected):
    leftover = store / "parts/.0-0.npz.123.tmp"
    leftover.write_bytes(b"half a part")
    assert same(open_sweep(store), expected)
    sweep(train, SPACE, store=store)
    assert not leftover.exists()


def test_a_manifest_of_the_future_or_of_nothing_is_refused(store):
    path = store / "sweep.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        open_sweep(store)
    path.write_text("{")
    with pytest.raises(ValueError, match="not the manifest"):
        open_sweep(store)


# Failures


def test_chunks_that_fail_are_in_the_store_and_are_tried_again(tmp_path):
    outage = tmp_path / "outage"  # a file, since another closure would be another sweep
    outage.touch()
    tmp_path = tmp_path / "store"

    def check(x):
        if outage.exists() and (np.asarray(x) == 5.0).any():
            raise ArithmeticError(f"{x.max()} is refused")
        return x

    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": 2 * jax.pure_callback(check, spec, x, vmap_method="expand_dims")}

    space = grid(x=np.arange(10.0))
    runs = sweep(fn, space, width=2, store=tmp_path, on_error="record")
    assert runs.status.values.tolist() == [OK] * 4 + [FAILED] * 2 + [OK] * 4
    assert cli.main(["status", str(tmp_path)]) == 1
    sweep(fn, space, store=tmp_path, on_error="record")
    assert Store(tmp_path).read_failures(0)["0-2"]["attempts"] == 2
    outage.unlink()
    runs = sweep(fn, space, store=tmp_path)
    assert (runs.status == OK).all()
    assert Store(tmp_path).read_failures(0) == {}


def test_a_full_disk_loses_nothing(tmp_path, expected):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = tmp_path / "store"
    sweep(train, SPACE, width=4, store=store)
    for path in part_files(store)[2:]:
        path.unlink()
    # XLA writes nothing here, and a part needs more than a kilobyte.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="chunks that are done stay") as caught:
            sweep(train, SPACE, store=store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert len(part_files(store)) == 2
    assert not list(store.rglob("*.tmp"))
    assert same(sweep(train, SPACE, store=store), expected)


def test_a_folder_that_can_only_be_read_holds_a_complete_sweep(store):
    incomplete = store.with_name("incomplete")
    shutil.copytree(store, incomplete)
    (incomplete / "parts/0-0.npz").unlink()
    for folder in (store, incomplete):
        (folder / "lock").unlink()
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    above = store.parent
    while above != pathlib.Path("/"):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)
        above = above.parent
    out = output_of(start("unprivileged", store, incomplete))
    opened, again, message = out.split("\n", 2)
    assert int(opened) == int(again) == SPACE.size
    assert f"cannot write to {incomplete}" in message
    assert "another folder" in message
    for folder in (store, incomplete):
        folder.chmod(0o755)


# Formats


def make_golden(path, width=4):  # pragma: no cover
    """How tests/golden/format-2 was made, and format-3 with width=32, whose groups are small.

    A format that has been released is never made again.
    """
    space = sample(6, beta=uniform(0, 1), learning_rate=[0.1, 9.0]) * grid(nesterov=[False, True])
    space = space + paired(beta=[0.5], learning_rate=[0.2], nesterov=[True])
    sweep(train, space, width=width, store=path)
    larger = space + paired(beta=[0.7], learning_rate=[0.2], nesterov=[True])
    sweep(train, larger, store=path, resume="extend")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_stores_of_every_format_are_read(version):
    runs = open_sweep(GOLDEN / f"format-{version}").load()
    assert cli.main(["verify", str(GOLDEN / f"format-{version}")]) == 0
    assert runs.sizes == {"lane": 14, "step": 3}
    assert set(np.unique(runs.status)) == {OK, DIVERGED}
    assert runs.beta.values[-2:].tolist() == [0.5, 0.7]
    for lane in range(14):
        cell = runs.isel(lane=lane)
        arguments = {n: cell[n].item() for n in ("beta", "learning_rate")}
        nesterov = str(cell.nesterov.item()) in ("True", "1.0")
        again = train(**arguments, nesterov=nesterov)
        np.testing.assert_allclose(cell.value, again.history["value"], rtol=1e-12)


def as_format_1(store):
    """Write the files of a store as version 1 of the format had them."""
    for path in store.glob("parts/*.npz"):
        arrays, meta = unpack(path.read_bytes(), path)
        meta = {"sweep": meta["sweep"], "chunk": meta["chunk"]}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, meta=np.array(json.dumps(meta)))
        body = buffer.getvalue()[:-2] + (71).to_bytes(2, "little")
        path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    manifest = json.loads((store / "sweep.json").read_text())
    outputs = {f"nesterov={json.loads(key)[0][0][1]}": o for key, o in manifest["outputs"].items()}
    kept = {name: manifest[name] for name in ("identity", "provenance")}
    (store / "sweep.json").write_text(json.dumps({"format": 1, "outputs": outputs} | kept))


def test_a_store_of_format_1_is_read_and_goes_on(store, expected):
    as_format_1(store)
    assert same(open_sweep(store), expected)
    assert cli.main(["verify", str(store)]) == 0
    (store / "parts/1-1.npz").unlink()
    before = {path: path.read_bytes() for path in part_files(store)}
    assert int((open_sweep(store).status == MISSING).sum()) == 4
    assert same(sweep(train, SPACE, store=store), expected)
    assert {path: path.read_bytes() for path in before} == before
    larger = grid(beta=[0.0, 0.5, 0.9, 0.95], learning_rate=[0.1, 0.2, 9.0], nesterov=[False, True])
    assert same(sweep(train, larger, store=store, resume="extend"), sweep(train, larger, width=4))


def test_the_command_line_counts_what_is_done(store, capsys):
    assert cli.main(["status", str(store)]) == 0
    assert "18 of 18 lanes, 6 of 6 chunks of 4, 2 groups" in capsys.readouterr().out
    (store / "parts/1-2.npz").unlink()
    assert cli.main(["status", str(store)]) == 1
    assert "17 of 18 lanes, 5 of 6 chunks" in capsys.readouterr().out
    assert cli.main(["status", str(store / "nothing")]) == 2
    done = subprocess.run(
        [sys.executable, "-m", "jaxmom", "verify", store],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == "1 chunks missing, 5 chunks whole\n"
