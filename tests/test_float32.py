"""What users meet first: pages of doctests in float32, with JAX's defaults and -W error."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "scripts" / "run_doctests.py"


@pytest.mark.parametrize(("page", "least"), [("README.md", 30), ("docs/conversions.md", 15)])
def test_a_page_runs_in_float32_with_the_defaults_of_jax(page, least):
    environment = {n: v for n, v in os.environ.items() if n[:4] not in ("JAX_", "XLA_")}
    done = subprocess.run(
        [sys.executable, SCRIPT, ROOT / page],
        capture_output=True,
        text=True,
        env={**environment, "MPLBACKEND": "Agg"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    attempted = int(done.stdout.rpartition("attempted=")[2].rstrip(")\n"))
    assert attempted > least
