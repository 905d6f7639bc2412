"""Job arrays: processes that write their shares of a sweep into one store, and no driver."""

import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from scripts.launch import finish, output_of, start
from scripts.workload import LONG_CHUNKS, parts, run_long

from jaxmom import cli
from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.results.dataset import MISSING, OK
from jaxmom.sweeps.store import atomic, files
from jaxmom.sweeps.store.files import Store
from jaxmom.sweeps.store.job_array import Share, as_share

SPACE = grid(a=np.arange(9.0), k=[False, True])
LARGER = grid(a=np.arange(12.0), k=[False, True])
CHUNKS = 10


def fn(a, k):
    return {"value": 2 * a if k else a, "history": a + jnp.arange(3.0)}


def run(store, part=None, space=SPACE, **options):
    return sweep(fn, space, **({"width": 2, "store": store, "part": part} | options))


def run_all(store, processes, **options):
    return [run(store, (process, processes), **options) for process in range(processes)][-1]


def contents(store):
    """Return the bytes of all manifests and parts."""
    found = itertools.chain(store.glob("sweep*.json"), store.glob("parts*/*"))
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    run(path)
    assert len(parts(path)) == CHUNKS
    return contents(path)


# Shares


def test_shares_deal_out_all_chunks_evenly():
    for processes in range(1, 7):
        shares = [Share(process, processes) for process in range(processes)]
        owners = [[share.process for share in shares if share.has(n)] for n in range(20)]
        assert owners == [[n % processes] for n in range(20)]


@pytest.mark.parametrize("processes", [1, 3, 16])
def test_all_parts_together_are_the_sweep_to_the_last_byte(tmp_path, whole, processes):
    runs = run_all(tmp_path, processes)
    assert contents(tmp_path) == whole
    assert (runs.status == OK).all()
    assert run(tmp_path).drop_attrs().identical(run(None).drop_attrs())
    assert not (tmp_path / "locks").exists()  # the call without part has cleaned up


def test_a_part_writes_its_own_chunks_and_sees_those_of_others(tmp_path, whole):
    runs = run(tmp_path, (1, 4))
    assert sorted(contents(tmp_path)) == sorted(
        ["sweep.json", "parts/0-1.npz", "parts/1-0.npz", "parts/1-4.npz"]
    )
    assert int((runs.status == MISSING).sum()) == SPACE.size - 5
    opened = open_sweep(tmp_path)
    run(tmp_path, (0, 4))
    for seen in (runs, opened):
        assert int((seen.status == MISSING).sum()) == SPACE.size - 10
    run(tmp_path)  # finishes what is missing
    assert contents(tmp_path) == whole


def test_the_command_line_counts_while_parts_are_missing(tmp_path, capsys):
    run(tmp_path, (1, 4))
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "5 of 18 lanes, 3 of 10 chunks of 2, 2 groups" in capsys.readouterr().out
    run_all(tmp_path, 4)
    assert cli.main(["status", str(tmp_path)]) == 0
    assert cli.main(["verify", str(tmp_path)]) == 0


def test_others_join_with_another_number_and_compute_nothing_twice(tmp_path, whole):
    run(tmp_path, (0, 3))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("parts/*")}
    run_all(tmp_path, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(tmp_path) == whole


def test_a_chunk_that_another_process_writes_meanwhile_is_left_out(tmp_path, monkeypatch):
    write, written = Store.write_part, []

    def write_with_another(self, extension_index, name, *rest):
        if not written:
            written.append(None)
            run(tmp_path, (1, 2))  # a process of another array comes and goes
        written.append(name)
        return write(self, extension_index, name, *rest)

    monkeypatch.setattr(Store, "write_part", write_with_another)
    runs = run(tmp_path, (0, 1), devices=None)
    assert (runs.status == OK).all()
    assert len(written) < 1 + CHUNKS + 5
    assert len(parts(tmp_path)) == CHUNKS


def grow(state, steps, a, k):
    state = a if state is None else state + a * steps
    return state, {"value": jnp.where(a > 6, jnp.nan, state) if k else state}


def test_segments_and_executors_share_a_sweep_too(tmp_path):
    def in_segments(store, part=None):
        options = {"segments": [2, 1, 1], "width": 2, "store": store, "part": part}
        return sweep(grow, SPACE, **options)

    def by_executor(store, part=None):
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            return run(store, part, executor=executor)

    for number, call in enumerate((in_segments, by_executor)):
        call(tmp_path / f"whole-{number}")
        for process in range(3):
            runs = call(tmp_path / f"array-{number}", (process, 3))
        assert contents(tmp_path / f"array-{number}") == contents(tmp_path / f"whole-{number}")
        assert (runs.status != MISSING).all()


def test_a_part_of_nothing_is_done_at_once(tmp_path):
    runs = run(tmp_path, (12, 16))
    assert (runs.status == MISSING).all()
    assert sorted(contents(tmp_path)) == ["sweep.json"]


# Refusals


@pytest.mark.parametrize(
    "part", [(0,), 3, "01", (0, 0), (2, 2), (-1, 2), (0.5, 2), (0, 1, 2), ("0", "2"), (0, None)]
)
def test_what_is_no_part_is_refused(tmp_path, part):
    with pytest.raises(ValueError, match=r"part is \(i, n\)"):
        run(tmp_path / "store", part)
    assert not (tmp_path / "store").exists()


def test_integers_of_numpy_and_lists_are_parts():
    assert as_share([np.int64(1), np.int32(4)], "store", "strict") == Share(1, 4)


def test_a_part_needs_a_store_and_a_width_and_deletes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"part=\(0, 2\) needs store="):
        run(None, (0, 2))
    with pytest.raises(ValueError, match=r"all parts of a sweep run at one width.*give width="):
        run(tmp_path, (0, 2), width="auto")
    assert contents(tmp_path) == {}
    run(tmp_path, (0, 2))
    with pytest.raises(ValueError, match=r"would delete what other parts have done"):
        run(tmp_path, (1, 2), resume="fresh")
    run(tmp_path, (1, 2), width="auto")  # that of the store
    assert len(parts(tmp_path)) == CHUNKS


@pytest.mark.parametrize("change", [{"space": LARGER}, {"width": 3}, {"options": {"block": 1}}])
def test_a_part_of_another_sweep_is_refused(tmp_path, change):
    run(tmp_path, (0, 2))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds another sweep"):
        run(tmp_path, (1, 2), **change)
    assert contents(tmp_path) == before


def test_two_processes_of_one_part_are_refused_and_others_are_not(tmp_path):
    with Store(tmp_path).locked(Share(0, 2)):
        message = rf"process {os.getpid()} on .* is running part=\(0, 2\) of the sweep in .*; wait"
        with pytest.raises(RuntimeError, match=message):
            run(tmp_path, (0, 2))
        run(tmp_path, (1, 2))
        run(tmp_path, (0, 3))


def test_a_driver_and_a_job_array_keep_each_other_out(tmp_path):
    (tmp_path / "lock").write_text("1 on a machine that was switched off")
    with (
        Store(tmp_path).locked(Share(0, 2)),
        pytest.raises(RuntimeError, match=r"a job array .*locks name its processes\) is running"),
    ):
        run(tmp_path)
    with Store(tmp_path).locked(), pytest.raises(RuntimeError, match=rf"process {os.getpid()} on"):
        run(tmp_path, (0, 2))
    run_all(tmp_path, 2)
    run(tmp_path)


# The manifest


def test_of_many_first_processes_one_writes_the_manifest(tmp_path):
    barrier, errors = threading.Barrier(8), []

    def write(number):
        store = Store(tmp_path)
        store.share = Share(number, 8)
        barrier.wait()
        try:
            store.add_manifest(0, {"number": number})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert json.loads((tmp_path / "sweep.json").read_text())["number"] in range(8)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_a_process_that_finds_another_sweep_at_the_last_moment_is_refused(tmp_path, monkeypatch):
    add = Store.add_manifest

    def add_late(self, *rest):
        monkeypatch.setattr(Store, "add_manifest", add)
        run(tmp_path, (0, 2), width=3)
        add(self, *rest)

    monkeypatch.setattr(Store, "add_manifest", add_late)
    with pytest.raises(ValueError, match="width: was 3, is 2"):
        run(tmp_path, (1, 2))
    assert open_sweep(tmp_path).attrs["width"] == 3
    run(tmp_path, (1, 2), width=3)
    assert cli.main(["verify", str(tmp_path)]) == 0


def no_links(*_):
    raise PermissionError(1, "Operation not permitted")  # as FAT says


def test_disks_without_links_have_manifests_too(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(atomic.os, "link", no_links)
    run_all(tmp_path, 2)
    assert contents(tmp_path) == whole


def test_a_damaged_manifest_is_mended_by_the_call_without_part(tmp_path, whole):
    run_all(tmp_path, 2)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match="Make the same call without part"):
        run(tmp_path, (0, 2))
    run(tmp_path)
    found = contents(tmp_path)
    found.pop("sweep.bad", None)
    assert found == whole
    run_all(tmp_path, 2)


# Extensions


def test_parts_extend_a_sweep(tmp_path):
    run(tmp_path / "alone")
    run(tmp_path / "alone", space=LARGER, resume="extend")
    run_all(tmp_path / "array", 2)
    with pytest.raises(ValueError, match='resume="extend"'):
        run(tmp_path / "array", (0, 3), space=LARGER)
    runs = run_all(tmp_path / "array", 3, space=LARGER, resume="extend")
    assert contents(tmp_path / "array") == contents(tmp_path / "alone")
    assert (runs.status == OK).all()


def test_parts_that_another_extension_left_are_no_lanes_of_this_one(tmp_path):
    run(tmp_path, space=grid(a=[0.0, 1.0], k=[True]))
    space = grid(a=[0.0, 1.0, 2.0, 3.0], k=[True])
    run(tmp_path, space=space, resume="extend")
    for name in ("sweep-1.json", "sweep.json"):  # what a kill within resume="fresh" leaves
        (tmp_path / name).unlink()
    run(tmp_path, (0, 1), grid(a=[2.0, 3.0], k=[True]))
    runs = run(tmp_path, (0, 2), space, resume="extend")  # whose own chunk is there
    assert runs.value.sel(a=[2.0, 3.0]).values.ravel().tolist() == [4.0, 6.0]
    assert (runs.status.sel(a=[0.0, 1.0]) == MISSING).all()
    runs = run(tmp_path, (1, 2), space, resume="extend")
    assert runs.value.values.ravel().tolist() == [0.0, 2.0, 4.0, 6.0]


# Files


def test_a_part_mends_its_own_damaged_chunks_and_leaves_those_of_others(tmp_path, whole):
    run_all(tmp_path, 2)
    for name in ("0-0", "0-1"):
        (tmp_path / f"parts/{name}.npz").write_bytes(b"nothing")
    run(tmp_path, (0, 2))
    assert (tmp_path / "parts/0-0.bad").exists()
    assert (tmp_path / "parts/0-1.npz").read_bytes() == b"nothing"
    run(tmp_path)
    assert {name: contents(tmp_path)[name] for name in whole} == whole


def test_a_part_deletes_its_own_leftovers_alone(tmp_path):
    (tmp_path / "parts").mkdir()
    mine, other, old = (
        tmp_path / f"parts/.0-0.npz.{writer}.tmp"
        for writer in ("9-0a1b2c-0-2", "9-0a1b2c-0-3", "9")
    )
    for path in (mine, other, old):
        path.write_bytes(b"half a part")
    run(tmp_path, (0, 2))
    assert [path.exists() for path in (mine, other, old)] == [False, True, True]
    run(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_of_locks_keeps_files_of_others(tmp_path):
    note = tmp_path / "locks/note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    run_all(tmp_path, 2)
    run(tmp_path)
    assert note.read_text() == "mine"
    assert [path.name for path in note.parent.iterdir()] == ["note.txt"]


def test_names_of_writers_are_those_that_are_deleted():
    for share in (None, Share(3, 12)):
        store = Store("folder")
        store.share = share
        for file in ("sweep.json", "sweep-2.json", "0-3.npz", "10-33.json"):
            assert files._TEMPORARY.fullmatch(f".{file}.{store._writer_name()}.tmp")


# Processes


def wait_for_parts(store, count, processes):
    deadline = time.monotonic() + 120
    while len(parts(store)) < count and any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("long")
    run_long(path)
    assert len(parts(path)) == LONG_CHUNKS
    return contents(path)


def test_processes_share_a_sweep_and_one_that_is_killed_comes_again(tmp_path, long):
    victim, other = (start("run_part", tmp_path, process, 2) for process in range(2))
    wait_for_parts(tmp_path, 4, [victim, other])
    victim.send_signal(signal.SIGKILL)
    finish(victim)
    open_sweep(tmp_path).status.load()  # readers are welcome
    run_long(tmp_path, part=(0, 2))
    output_of(other)
    assert contents(tmp_path) == long
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_eight_processes_and_kills_at_random_leave_the_same_bytes(tmp_path, long, seed):
    out = output_of(start("job_array", tmp_path, seed, 8, 20), 600)
    killed, places = map(int, out.split())
    assert killed == 20
    assert places > 3
    assert contents(tmp_path) == long
    run_long(tmp_path)
    assert contents(tmp_path) == long
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_what_dead_processes_leave_is_finished_without_part(tmp_path, long):
    processes = [start("run_part", tmp_path, process, 8) for process in range(8)]
    wait_for_parts(tmp_path, 12, processes)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        finish(process)
    assert 12 <= len(parts(tmp_path)) < LONG_CHUNKS
    run_long(tmp_path)
    assert contents(tmp_path) == long
    assert not list(pathlib.Path(tmp_path).rglob("*.tmp"))


@pytest.mark.slow
def test_the_script_of_the_docs_runs(tmp_path):
    page = (pathlib.Path(__file__).parents[2] / "docs/sweeps.md").read_text(encoding="utf8")
    section = page.split("## Job arrays")[1].split("\n## ")[0]
    code, script = re.findall(r"```(?:python|sh)\n(.*?)```", section, re.DOTALL)
    (tmp_path / "sweep_beta.py").write_text(code)
    (tmp_path / "job.sh").write_text(script)
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", script).groups())
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    jobs = [
        subprocess.Popen(
            ["bash", "job.sh"],
            cwd=tmp_path,
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(number), "PATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(first, last + 1)
    ]
    for job in jobs:
        _, errors = finish(job)
        assert job.returncode == 0, errors
    runs = open_sweep(tmp_path / "beta_sweep")
    assert (runs.status != MISSING).all()
    assert cli.main(["status", str(tmp_path / "beta_sweep")]) == 0
