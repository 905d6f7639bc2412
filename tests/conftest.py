"""Every test runs in float64, with strict promotion, and with warnings as errors."""

import os
import tempfile

import chex
import jax
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")
# What an earlier run of the tests has found out about speed must not decide what a test runs.
os.environ["JAXMOM_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"jaxmom-tests-{os.getpid()}")


@pytest.fixture(autouse=True)
def fresh_trace_counts():
    """Clear the counts of chex: it counts by source lines, which the rows of a table share."""
    chex.clear_trace_counter()
