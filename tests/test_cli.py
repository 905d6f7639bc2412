"""The command itself; what it does with a store is tested with the stores."""

import subprocess
import sys

import pytest

import jaxmom as jm
from jaxmom.cli import main


def test_a_bare_call_prints_the_help(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for command in ("status", "verify", "export", "explore"):
        assert command in shown


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"jaxmom {jm.__version__}\n"


def test_the_module_is_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "jaxmom", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"jaxmom {jm.__version__}\n"
