"""The benchmark of whole calls: every way computes the same, and the table is of what it took."""

import json
import sys

import gymnasium
import numpy as np
import pytest

import jaxmom as jm
from experiments.benchmarks import compare, first_call, ppo
from experiments.benchmarks.workloads import WORKLOADS, make_workload
from jaxmom.sweeps.compile.choices import count_cores

WAYS = [first_call.AUTO, "jm.sweep, width 4", "jit(vmap), width 4", first_call.LOOP]


def lanes_for_each_core(workload):
    return -(-workload.lanes // count_cores())


def test_every_way_to_run_a_workload_has_the_same_results():
    workload = make_workload("until_converged", "tiny")
    expected = [float(workload.fn(**lane)["value"]) for lane in jm.paired(**workload.columns)]
    widths = (lanes_for_each_core(workload), 4, 4, 1)
    for candidate, width in zip(WAYS, widths, strict=True):
        chosen, arrays = first_call.make_call(candidate, workload)()
        assert chosen["width"] == width
        np.testing.assert_allclose(arrays["value"], expected, rtol=1e-5)
        assert arrays["steps"].shape == (workload.lanes,)


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_have_columns_of_one_length(name):
    workload = make_workload(name, "tiny")
    assert {len(column) for column in workload.columns.values()} == {workload.lanes}
    assert WORKLOADS[name][1]["tiny"][0] == workload.lanes


def measured(first, again, **chosen):
    return {"first": first, "again": again, **chosen}


RESULTS = {
    "quadratic": {
        first_call.AUTO: measured(2.0, 1.0, width=512, options={"lanes_last": 1, "xla_a": "b"}),
        "jit(vmap), width 4": measured(4.0, 0.5, width=4),
        first_call.LOOP: None,
    }
}


def test_the_table_has_the_ratios_to_the_best_other_way():
    row = first_call.format_table(RESULTS).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "quadratic",
        *("2.00 s", "4.00 s (jit(vmap), width 4)", "0.50"),
        *("1.00 s", "0.50 s (jit(vmap), width 4)", "2.00"),
        "512, lanes_last=1",
        "-",
    ]


def test_two_results_are_compared_with_what_their_machines_do_not_share(
    tmp_path, capsys, monkeypatch
):
    paths = []
    for name, factor in (("before", 1.0), ("after", 2.0)):
        results = {"quadratic": {"jit(vmap), width 4": measured(4.0 * factor, 0.5, width=4)}}
        content = {"machine": {"cores": 2 * factor}, "size": "tiny", "results": results}
        paths.append(tmp_path / name)
        paths[-1].write_text(json.dumps(content))
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, paths)])
    compare.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "cores: 2.0 -> 4.0"
    assert printed[-1] == "| quadratic | jit(vmap), width 4 | 4.00 s | 8.00 s | 2.00 |"


def test_a_second_run_keeps_the_least_of_each_candidate():
    before = {"machine": {}, "size": "tiny", "results": RESULTS, "operations": {}, "peaks": {}}
    found = {
        "jit(vmap), width 4": measured(3.0, 0.7, width=4),
        first_call.LOOP: measured(9.0, 8.0),
        first_call.AUTO: None,
    }
    after = {**before, "results": {"quadratic": found}, "peaks": {"network-32": 2.0}}
    merged = first_call.merge_contents(before, after)
    assert merged["peaks"] == {"network-32": 2.0}
    assert merged["results"]["quadratic"] == {
        first_call.AUTO: RESULTS["quadratic"][first_call.AUTO],
        "jit(vmap), width 4": measured(3.0, 0.5, width=4),
        first_call.LOOP: measured(9.0, 8.0),
    }
    with pytest.raises(ValueError, match="results of tiny and of full"):
        first_call.merge_contents(before, {**after, "size": "full"})


def test_the_cart_moves_as_that_of_gymnasium():
    environment = gymnasium.make("CartPole-v1").unwrapped
    environment.reset(seed=0)
    physics = np.array(environment.state)
    for action in (0, 1, 1, 0, 1, 1, 1):
        physics = ppo.move_cart(physics, action)
        np.testing.assert_allclose(physics, environment.step(action)[0], rtol=1e-6)


def test_advantages_are_the_sums_of_their_definition():
    random = np.random.default_rng(0)
    reward, value = random.normal(size=(2, 6, 3))
    done, last = random.random((6, 3)) < 0.3, random.normal(size=3)
    expected = np.zeros((6, 3))
    after = np.concatenate([value[1:], last[None]])
    for start in range(6):
        weight = np.ones(3)
        for step in range(start, 6):
            goes_on = ~done[step]
            error = reward[step] + ppo.DISCOUNT * after[step] * goes_on - value[step]
            expected[start] += weight * error
            weight = weight * ppo.DISCOUNT * ppo.TRACE * goes_on
    seen = ppo.Transition(None, None, None, value, reward, done)
    np.testing.assert_allclose(ppo.estimate_advantages(seen, last), expected, rtol=1e-12)


@pytest.mark.slow
def test_a_candidate_runs_in_a_fresh_process():
    found = first_call.run_fresh("until_converged", "tiny", first_call.AUTO, devices=1, limit=300)
    assert found["width"] == lanes_for_each_core(make_workload("until_converged", "tiny"))
    assert found["first"] > 0
    assert first_call.run_fresh("until_converged", "tiny", first_call.LOOP, 1, limit=0.01) is None
