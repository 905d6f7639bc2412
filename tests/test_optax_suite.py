"""optax's own tests, which its wheel ships, on lifted factories and on every method of ours."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parent / "scripts" / "optax_suite.py"
# Part, and the name of the test in optax -> how many rows there are at least.
TESTS = {
    ("alias", "test_optimizers_accept_extra_args"): 90,
    ("alias", "test_optimizers_can_be_wrapped_in_inject_hyperparams"): 90,
    ("alias", "test_preserve_dtype"): 180,
    ("alias", "test_gradient_accumulation"): 180,
    ("alias", "test_state_shape_dtype_shard_stability"): 540,
    ("contrib", "test_optimizers_accept_extra_args"): 70,
    ("contrib", "test_optimizers_can_be_wrapped_in_inject_hyperparams"): 20,
    ("contrib", "test_preserve_dtype"): 40,
    ("contrib", "test_gradient_accumulation"): 40,
    ("contrib", "test_state_shape_dtype_shard_stability"): 160,
}


def run(*arguments):
    pytest.importorskip("sklearn", reason="optax's tests import scikit-learn")
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_part_of_the_tests_of_optax_passes():
    found = run("alias", "test_optimizers_can_be_wrapped_in_inject_hyperparams", "name='adamw'")
    assert found == {"run": 1, "skipped": 0, "wrong": []}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name"), TESTS, ids=lambda value: value.removeprefix("test_"))
def test_the_tests_of_optax_pass(part, name):
    found = run(part, name)
    assert found["wrong"] == []
    assert found["run"] >= TESTS[part, name]
    assert found["skipped"] < found["run"] / 10
