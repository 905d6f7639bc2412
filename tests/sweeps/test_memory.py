"""Sweeps where memory is short: chunks that do not fit, results that do not, lanes by millions."""

import shutil
import tracemalloc

import numpy as np
import pytest
from scripts.launch import output_of, start
from scripts.workload import SPACE, WIDTH, make

from jaxmom.sweeps import explain, grid
from jaxmom.sweeps.results.dataset import MISSING, OK


@pytest.mark.parametrize("kind", ["memory", "store"])
def test_out_of_memory_before_the_first_part_shrinks_the_width(kind, tmp_path):
    store = [tmp_path] if kind == "store" else []
    one_arena = ("env", "MALLOC_ARENA_MAX=1")  # each of others takes 64 MB of the addresses
    process = start("shrink_width", *store, before=one_arena)
    width, warned, message = output_of(process, 300).split(maxsplit=2)
    assert int(width) == 64 >> int(warned)
    assert int(warned) >= 1
    assert "do not fit into memory; going on with 32" in message


def test_out_of_memory_after_the_first_part_keeps_width_and_results(tmp_path):
    out = output_of(start("little_memory", tmp_path)).splitlines()
    note, status, usable, end, of_array, equal = out
    assert note.startswith("True This was chunk 1 of all lanes; 1 of 2 chunks are done")
    assert status == f"[{OK:d}] [{MISSING:d}]"
    assert usable == "[4. 6.]"
    assert end == "True 64"
    assert of_array.startswith(
        "True This was chunk 1 of all lanes; 0 of 2 chunks are done. Give it"
    )
    assert equal == "True"


@pytest.mark.slow
def test_a_result_that_is_larger_than_the_memory_runs_with_a_store(tmp_path):
    try:
        numbers, control = output_of(start("large_result", tmp_path), 500).splitlines()
    finally:
        shutil.rmtree(tmp_path)
    size, limit, grown = map(int, numbers.split())
    assert size >= 1.5e9
    assert size > 2 * limit
    assert grown < 200e6
    assert control == "too large"


@pytest.mark.slow
def test_ten_million_lanes_stream_into_a_store(tmp_path):
    try:
        numbers = output_of(start("stream", tmp_path), 500)
    finally:
        shutil.rmtree(tmp_path)
    lanes, size, grown = map(int, numbers.split())
    assert lanes == 10**7
    assert grown < size / 2


def test_a_hundred_million_lanes_are_planned_without_a_list_of_them():
    fn = make()
    explain(fn, SPACE, width=WIDTH)  # imports and caches are not the plan's
    tracemalloc.start()
    plan = explain(fn, grid(x=np.linspace(0, 1, 10_000), seed=range(10_000)), width=WIDTH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (plan.lanes, plan.chunks) == (10**8, 10**8 // WIDTH)
    assert peak < 20e6
