"""Every test runs in float64, with strict promotion, and with warnings as errors."""

import atexit
import os
import shutil
import tempfile

import chex
import jax
import jaxlib.version
import matplotlib
import pytest

# The programs of tests are small and run a few times, so that compiling them is most of the work.
# XLA's older emitter of kernels, in one piece, takes a third of the time; jaxlib 0.11 dropped it,
# and with that of jaxlib 0.8 two scans of one body differ in the last bit.
# It is read when the first program is compiled, and inherited by workers and subprocesses.
# `XLA_FLAGS= pytest` runs the tests with the kernels that users have.
if (0, 10) <= jaxlib.version.__version_info__ < (0, 11):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
# Workers and subprocesses of a run share what they compile, unless they share more already.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = tempfile.mkdtemp(prefix="jaxmom-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, value in {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)
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
