"""Full and failing disks: errors name the file, nothing partial is seen, nothing is lost."""

import builtins
import errno
import importlib
import itertools
import os
import resource
import shutil
import subprocess

import pytest
from scripts.launch import output_of, start
from scripts.workload import CHUNKS, WIDTH, parts, run

from jaxmom.sweeps import open_sweep
from jaxmom.sweeps.results.dataset import OK


def same(ours, theirs):
    return ours.load().drop_attrs().identical(theirs.load().drop_attrs())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("expected")
    run(path)
    assert len(parts(path)) == CHUNKS
    return path


def file_names(store):
    """In the order of writing."""
    return [store / "sweep.json", *(store / f"parts/0-{chunk}.npz" for chunk in range(CHUNKS))]


def assert_whole(store, count):
    assert len(parts(store)) == count
    assert not list(store.rglob("*.tmp"))
    if count:
        assert int((open_sweep(store).status == OK).sum()) == count * WIDTH


@pytest.mark.parametrize(("number", "on_error"), [(0, "raise"), (1, "record"), (3, "raise")])
def test_a_full_device_is_named_and_nothing_partial_is_seen(
    tmp_path, monkeypatch, expected, number, on_error
):
    turns = itertools.count()

    def opened(path, mode="r", **options):
        if mode == "wb" and next(turns) == number:
            os.symlink("/dev/full", path)
        return builtins.open(path, mode, **options)

    store_module = importlib.import_module("jaxmom.sweeps.store.atomic")
    monkeypatch.setattr(store_module, "open", opened, raising=False)
    with pytest.raises(OSError, match="Make room or choose another folder") as caught:
        run(tmp_path, on_error=on_error)
    assert caught.value.errno == errno.ENOSPC
    assert f"cannot write {file_names(tmp_path)[number]} (No space left" in str(caught.value)
    assert_whole(tmp_path, max(number - 1, 0))
    run(tmp_path)
    assert parts(tmp_path) == parts(expected)
    assert os.path.exists("/dev/full")


@pytest.mark.parametrize(
    ("turn", "number", "done"),
    # Two turns for each file: its content, and then the folder, when the file is there and whole.
    [
        (0, errno.ENOSPC, 0),
        (1, errno.EIO, 0),
        (2, errno.EIO, 0),
        (3, errno.ENOSPC, 1),
        (6, errno.ENOSPC, 2),
        (7, errno.EIO, 3),
    ],
)
def test_a_disk_that_cannot_be_forced_is_named_and_leaves_nothing_partial(
    tmp_path, monkeypatch, expected, turn, number, done
):
    turns, fsync, seen = itertools.count(), os.fsync, []

    def failing(descriptor):
        if next(turns) == turn:
            seen.append(len(parts(tmp_path)))
            raise OSError(number, os.strerror(number))
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="run the same call again") as caught:
        run(tmp_path)
    assert caught.value.errno == number
    assert f"{file_names(tmp_path)[turn // 2]} ({os.strerror(number)})" in str(caught.value)
    assert_whole(tmp_path, done)
    assert seen == [done]  # what is not on the disk yet has another name
    run(tmp_path)
    assert parts(tmp_path) == parts(expected)


def can_mount():
    try:
        command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="a disk of one's own needs user namespaces")
def test_a_real_disk_that_is_full_loses_nothing(tmp_path):
    (tmp_path / "disk").mkdir()
    process = start("small_disk", tmp_path / "disk", tmp_path / "beside", before=["unshare", "-rm"])
    first, second, equal = output_of(process).splitlines()
    number, done, message = first.split(maxsplit=2)
    assert int(number) == errno.ENOSPC
    assert 0 < int(done) < CHUNKS
    assert f"cannot write {tmp_path}/disk/store/parts/0-{done}.npz" in message
    assert second == first
    assert equal == "True"


def test_a_complete_sweep_is_returned_even_if_nothing_can_be_written(tmp_path, expected):
    shutil.copytree(expected, tmp_path, dirs_exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        runs = run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(runs, open_sweep(expected))
