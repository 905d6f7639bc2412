"""Every test runs in float64, with strict promotion, and with warnings as errors."""

import chex
import jax
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def fresh_trace_counts():
    """Clear the counts of chex: it counts by source lines, which the rows of a table share."""
    chex.clear_trace_counter()
