"""Start the programs of this folder in processes of their own."""

import os
import pathlib
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TESTS = HERE.parent


def command(name, *arguments):
    return [sys.executable, str(HERE / f"{name}.py"), *map(str, arguments)]


def start(name, *arguments, before=(), **options):
    """Start a program, perhaps by means of another command."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    found = [TESTS, TESTS / "sweeps", os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, found))}
    return subprocess.Popen(
        [*before, *command(name, *arguments)],
        text=True,
        env=environment,
        start_new_session=True,
        **streams,
    )


def output_of(process, timeout=120):
    """Return what a process printed; if it hangs, it and its children are killed."""
    out, err = finish(process, timeout)
    assert process.returncode == 0, err
    return out


def finish(process, timeout=120):
    """Wait for a process that may fail, and return its output and its errors."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"it hangs:\n{out}\n{err}") from None
