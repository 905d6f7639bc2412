"""Warnings point at the line of the user's code."""

import linecache
import pathlib
import warnings

import jax
import pytest

import jaxmom as jm
from jaxmom._warn import warn

HERE = pathlib.Path(__file__).name
MERGED = [0.9, 0.99999999999]  # 1.0 in float32


def line_of(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    (one,) = [w for w in found if issubclass(w.category, UserWarning)]
    assert pathlib.Path(one.filename).name == HERE
    return linecache.getline(one.filename, one.lineno)


SPACES = {
    "grid": lambda: jm.grid(beta=MERGED),  # here
    "paired": lambda: jm.paired(beta=MERGED, rate=[1.0, 2.0]),  # here
    "log_uniform": lambda: jm.grid(beta=jm.log_uniform(0.9, 0.99999999999).points(3)),  # here
    "sample": lambda: jm.sample(4, beta=jm.uniform(0.9, 0.99999999999)),  # here
    "union": lambda: jm.grid(beta=[0.1]) + jm.grid(beta=[0.1 + 1e-12]),  # here
    "method": lambda: jm.grid(method=[1.0, 2.0]),  # here
}


@pytest.mark.parametrize("name", SPACES)
def test_a_warning_points_at_the_line_that_made_the_space(name):
    jax.config.update("jax_enable_x64", False)
    try:
        assert "# here" in line_of(SPACES[name])
    finally:
        jax.config.update("jax_enable_x64", True)


def test_a_warning_of_ours_skips_all_of_our_frames():
    def nested():
        namespace = {"__name__": "jaxmom.inner", "warn": warn}
        exec("def call():\n    warn('a sentence')", namespace)
        namespace["call"]()  # here

    assert "# here" in line_of(nested)
