"""The progress bar on a terminal of its own, and without tqdm."""

import os
import pty
import termios

import pytest
from scripts.launch import output_of, start
from scripts.workload import parts, run


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("expected")
    run(path)
    return path


def on_a_terminal(*arguments):
    """Return what the sweep shows on a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    try:
        assert output_of(start("run_sweep", *arguments, stderr=theirs)) == "done\n"
        os.set_blocking(ours, False)
        try:
            return os.read(ours, 1 << 16).decode()
        except BlockingIOError:
            return ""
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bar_on_a_terminal_shows_the_rate_and_changes_no_bit(tmp_path, expected):
    shown = on_a_terminal(tmp_path, "--progress")
    assert "40.0/40.0" in shown
    assert "lanes/s" in shown
    assert parts(tmp_path) == parts(expected)


@pytest.mark.parametrize("progress", [[], ["--progress"]])
def test_without_tqdm_there_is_no_bar_and_the_same_result(tmp_path, expected, progress):
    assert on_a_terminal(tmp_path, *progress, "--without", "tqdm") == ""
    assert parts(tmp_path) == parts(expected)
