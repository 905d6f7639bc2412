"""Exports of stored sweeps: what they hold, and that they overwrite nothing else."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import xarray
from scripts.launch import output_of, start

from jaxmom import cli
from jaxmom.sweeps import grid, sweep
from jaxmom.sweeps.store import slabs
from jaxmom.sweeps.store.export import FORMATS

SPACE = grid(a=[1.0, 2.0, 3.0], flag=[False, True])


def fn(a, flag):
    return {"value": 2 * a if flag else a, "w": a * jnp.arange(6.0).reshape(2, 3)}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    sweep(fn, SPACE, width=2, store=path)
    return path


def export(store, to, *out):
    return cli.main(["export", str(store), "--to", to, *(["--out", str(out[0])] if out else [])])


def read(path, to):
    if to == "netcdf":
        return xarray.load_dataset(path, engine="h5netcdf")
    if to == "zarr":
        return xarray.open_zarr(path, consolidated=False).load()
    return pandas.read_parquet(path)


def snapshot(folder):
    return {p: p.read_bytes() for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
def test_arrays_come_back_whatever_their_type(tmp_path, to):
    def every_type(a):
        kinds = {
            "complex": jax.lax.complex(a, jnp.asarray(2.0)),
            "half": a.astype(jnp.bfloat16),
            "none": jnp.zeros((0,)),
        }
        return kinds | {"bool": a > 1, "int": a.astype(int), "small": a.astype(jnp.float16)}

    runs = sweep(every_type, grid(a=[1.0, 2.0]), width=2, store=tmp_path / "s")
    assert export(tmp_path / "s", to) == 0
    data = read(tmp_path / f"s{FORMATS[to].suffix}", to)
    np.testing.assert_array_equal(data["half"], runs.half.astype(np.float32))
    for name in ("none", "bool", "int", "small"):
        np.testing.assert_array_equal(data[name], runs[name])
    whole = data["complex"] if to == "zarr" else data["complex.real"] + 1j * data["complex.imag"]
    np.testing.assert_array_equal(whole, runs["complex"])


def test_a_table_has_a_row_for_each_lane_and_record(tmp_path):
    def with_records(a):
        many = {"w": a * jnp.ones((20, 30)), "b": a * jnp.arange(40.0), "none": jnp.zeros((0, 2))}
        return many | {"value": a, "z": jax.lax.complex(a, jnp.asarray(1.0))}

    sweep(with_records, grid(a=[1.0, 2.0]), width=2, store=tmp_path / "s")
    assert export(tmp_path / "s", "parquet") == 0
    table = read(tmp_path / "s.parquet", "parquet")
    assert len(table) == 2
    for row, a in zip(table.itertuples(), [1.0, 2.0], strict=True):
        np.testing.assert_array_equal(np.stack(row.w), a * np.ones((20, 30)))
        np.testing.assert_array_equal(row.b, a * np.arange(40.0))
        assert row.value == a
        assert len(row.none) == 0
    np.testing.assert_array_equal(table["z.real"] + 1j * table["z.imag"], table.a + 1j)


def test_a_table_of_records_repeats_what_has_none(tmp_path):
    import jaxmom as jm

    def run(beta):
        made = jm.optimize(lambda x: jnp.sum(x**2), jnp.ones(2), jm.heavy_ball(0.1, beta), 4)
        return made, {"end": made.params}

    runs = sweep(run, grid(beta=[0.0, 0.5]), width=2, store=tmp_path / "s")
    assert export(tmp_path / "s", "parquet") == 0
    table = read(tmp_path / "s.parquet", "parquet")
    assert len(table) == 2 * 5
    for beta in (0.0, 0.5):
        rows = table[table.beta == beta].sort_values("step")
        np.testing.assert_array_equal(rows.value, runs.value.sel(beta=beta))
        for end in rows.end:
            np.testing.assert_array_equal(end, runs.end.sel(beta=beta))


@pytest.mark.parametrize("to", FORMATS)
def test_exports_of_other_stores_have_other_names(tmp_path, to, capsys):
    names = ["lr0.1", "lr0.2", f"runs{FORMATS[to].suffix}"]
    for number, name in enumerate(names):
        space = grid(a=[float(number)], flag=[False])
        sweep(fn, space, width=1, store=tmp_path / name)
    before = snapshot(tmp_path)
    for number, name in enumerate(names):
        assert export(tmp_path / name, to) == 0
        out = tmp_path / (name + FORMATS[to].suffix)
        assert capsys.readouterr().out.strip() == str(out)
        assert np.ravel(read(out, to)["value"]).tolist() == [number]
    assert {path: snapshot(tmp_path)[path] for path in before} == before


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    "kind", ["file", "folder", "link", "other store", "other export", "mixed", "store", "parent"]
)
def test_an_export_overwrites_nothing_but_an_earlier_one(tmp_path, store, to, kind, capsys):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("my only copy")
    elif kind == "folder":
        out.mkdir()
        (out / "thesis.txt").write_text("my only copy")
    elif kind == "link":
        (tmp_path / "real").write_text("my only copy")
        out.symlink_to("real")
    elif kind in ("other store", "other export"):
        sweep(fn, SPACE, width=3, store=tmp_path / "other")
        if kind == "other export":
            assert export(tmp_path / "other", to, out) == 0
        else:
            out = tmp_path / "other"
    elif kind == "mixed":
        assert export(store, to, out) == 0
        if not out.is_dir():
            out.write_bytes(out.read_bytes() + b"more")
            pytest.skip("a file is an export whole or not at all")
        (out / "notes.txt").write_text("my only copy")
    else:
        out = store if kind == "store" else tmp_path
    before = snapshot(tmp_path)
    capsys.readouterr()
    assert export(store, to, out) == 2
    assert "give another --out" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_may_be_made_anew(tmp_path, store, to):
    assert export(store, to) == 0
    (store / "parts/0-0.npz").unlink()
    sweep(fn, SPACE, width=2, store=store)
    assert export(store, to) == 0
    assert np.size(read(tmp_path / f"store{FORMATS[to].suffix}", to)["value"]) == SPACE.size
    assert not list(tmp_path.glob(".jaxmom-export-*"))


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_that_fails_leaves_nothing_behind(tmp_path, store, to, monkeypatch):
    def fail(data, path):
        path.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setitem(FORMATS, to, FORMATS[to]._replace(write=fail))
    before = snapshot(tmp_path)
    assert export(store, to) == 2
    assert snapshot(tmp_path) == before
    assert sorted(tmp_path.iterdir()) == [store]


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
def test_names_with_a_slash_are_refused_where_they_are_folders(tmp_path, to, capsys):
    sweep(lambda a: {"loss/train": a}, grid(a=[1.0]), width=1, store=tmp_path / "s")
    assert export(tmp_path / "s", to) == 2
    assert "loss/train" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_table_has_names_with_a_slash(tmp_path):
    sweep(lambda a: {"loss/train": a}, grid(a=[1.0]), width=1, store=tmp_path / "s")
    assert export(tmp_path / "s", "parquet") == 0
    assert read(tmp_path / "s.parquet", "parquet")["loss/train"].tolist() == [1.0]


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
def test_a_tree_is_exported_with_its_groups(tmp_path, to):
    def of_two_kinds(a, flag):
        return {"value": a * jnp.ones(2)} if flag else {"value": a}

    tree = sweep(of_two_kinds, SPACE, width=2, store=tmp_path / "s")
    for _ in range(2):  # and anew
        assert export(tmp_path / "s", to) == 0
    options = (
        {"engine": "h5netcdf"} if to == "netcdf" else {"engine": "zarr", "consolidated": False}
    )
    with xarray.open_datatree(tmp_path / f"s{FORMATS[to].suffix}", **options) as made:
        for name, node in tree.children.items():
            np.testing.assert_array_equal(made[name]["value"], node["value"])


def test_a_tree_is_no_table(tmp_path, capsys):
    def of_two_kinds(a, flag):
        return {"value": a * jnp.ones(2)} if flag else {"value": a}

    sweep(of_two_kinds, SPACE, width=2, store=tmp_path / "s")
    assert export(tmp_path / "s", "parquet") == 2
    assert "use netcdf" in capsys.readouterr().err


EVERY_AXIS = {
    "numbers": lambda: grid(a=np.arange(7.0)),
    "labels": lambda: grid(a=[1.0, 2.0], name={"b": 1.0, "longer": 2.0, "c": 3.0}),
    "lanes": lambda: grid(a=[1.0, 2.0], name=["x"]) + grid(a=[3.0, 4.0, 5.0], name=["longer"]),
    "groups": lambda: grid(a=[1.0, 2.0, 3.0], flag=[False, True]),
}


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
@pytest.mark.parametrize("name", EVERY_AXIS)
def test_slabs_are_the_same_export(tmp_path, monkeypatch, to, name):
    def every_type(a, name="", flag=False):
        half = (a * jnp.arange(4.0)).astype(jnp.bfloat16)
        made = {"half": half, "bool": jnp.stack([a > 1, a > 2]), "value": a + len(str(name))}
        return made | {"z": jax.lax.complex(a, a * jnp.ones(2))} | ({"w": a} if flag else {})

    sweep(every_type, EVERY_AXIS[name](), width=2, store=tmp_path / "s")
    assert export(tmp_path / "s", to, tmp_path / "whole") == 0
    monkeypatch.setattr(slabs, "SLAB_BYTES", 80)  # of a lane or two
    assert export(tmp_path / "s", to, tmp_path / "slabs") == 0
    engine = {"netcdf": "h5netcdf", "zarr": "zarr"}[to]
    options = {"engine": engine} | ({"consolidated": False} if to == "zarr" else {})
    with (
        xarray.open_datatree(tmp_path / "whole", **options) as whole,
        xarray.open_datatree(tmp_path / "slabs", **options) as made,
    ):
        assert made.identical(whole)
        for theirs in whole.subtree:  # which zarr lists in any order
            ours = made[theirs.path]
            assert {n: array.dtype for n, array in ours.variables.items()} == {
                n: array.dtype for n, array in theirs.variables.items()
            }


@pytest.mark.slow
def test_an_export_may_be_larger_than_the_memory(tmp_path):
    out = output_of(start("large_export", tmp_path), 300)
    size, allowed, *outcomes = out.split()
    assert int(size) > 2 * int(allowed)
    assert outcomes == ["netcdf", "zarr", "too", "large"]


@pytest.mark.parametrize("to", FORMATS)
def test_what_cannot_be_loaded_is_refused_before_it_is_written(
    tmp_path, store, to, monkeypatch, capsys
):
    monkeypatch.setattr(slabs, "available_memory", lambda: 100.0)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 80)
    before = snapshot(tmp_path)
    assert export(store, to) == 2
    assert "1e-07 GB are free; select less" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_exports_hold_the_sweep(tmp_path, capsys):
    from test_store import SPACE, same, train

    store = tmp_path / "store"
    expected = sweep(train, SPACE, width=4).load()
    sweep(train, SPACE, width=4, store=store)
    for kind in ("netcdf", "zarr", "parquet"):
        out = tmp_path / f"out.{kind}"
        assert cli.main(["export", str(store), "--to", kind, "--out", str(out)]) == 0
        assert capsys.readouterr().out.strip() == str(out)
    with xarray.open_dataset(tmp_path / "out.netcdf", engine="h5netcdf") as data:
        assert same(data.assign_coords(nesterov=data.nesterov.astype(bool)), expected)
    with xarray.open_zarr(tmp_path / "out.zarr", consolidated=False) as data:
        assert same(data, expected)
    table = pandas.read_parquet(tmp_path / "out.parquet")
    assert len(table) == SPACE.size * 3
    row = table[(table.beta == 0.5) & (table.learning_rate == 0.2) & ~table.nesterov]
    cell = expected.sel(beta=0.5, learning_rate=0.2, nesterov=False)
    np.testing.assert_array_equal(row.value, cell.value)
    frame = expected.isel(step=-1).to_dataframe()
    assert len(frame) == SPACE.size
