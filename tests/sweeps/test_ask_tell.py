"""Optuna proposes batches of trials, and writers get live metrics."""

import itertools

import jax.numpy as jnp
import numpy as np
import optuna
import pytest

import jaxmom as jm

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_of(**options):
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), **options)


def loss(beta, learning_rate, nesterov):
    value = (beta - 0.7) ** 2 + jnp.log(learning_rate / 0.05) ** 2
    return {"value": value + (0.0 if nesterov else 1.0)}


SPACE = jm.sample(1, beta=jm.uniform(0, 1), learning_rate=jm.log_uniform(1e-3, 1)) * jm.grid(
    nesterov=[False, True]
)


def test_a_study_learns_from_its_batches():
    study = study_of()
    trials = jm.ask_tell(study, loss, SPACE, batch=16, rounds=4)
    assert [trial.number for trial in study.trials] == trials.trial.values.tolist()
    assert study.best_params["nesterov"] is True
    assert study.best_value < 0.3 * min(trial.value for trial in study.trials[:16])


def test_what_is_told_is_what_the_lanes_returned():
    study = study_of()
    trials = jm.ask_tell(study, loss, SPACE, batch=4, rounds=2)
    for trial, row in zip(study.trials, range(8), strict=True):
        lane = trials.isel(lane=row)
        assert {name: lane[name].item() for name in trial.params} == trial.params
        assert trial.value == float(lane.value)
        np.testing.assert_allclose(trial.value, loss(**trial.params)["value"], rtol=1e-12)


def test_the_best_of_a_study_that_maximizes_is_large():
    study = study_of(direction="maximize")
    jm.ask_tell(
        study, lambda x: {"score": x}, jm.sample(1, x=jm.uniform(0, 1)), 8, 3, value="score"
    )
    assert study.best_value > 0.9


@pytest.mark.parametrize(
    ("kind", "parameter", "value_of"),
    [
        ("memory", "beta_memory", lambda memory: 1 - 1 / memory),
        ("half_life", "beta_half_life", lambda steps: 0.5 ** (1 / steps)),
    ],
)
def test_a_memory_is_sampled_evenly_and_its_beta_is_kept(kind, parameter, value_of):
    study, seen = study_of(), getattr(jm, kind)(1, 1000)
    trials = jm.ask_tell(study, lambda beta: {"value": beta}, jm.sample(1, beta=seen), 8, 1)
    for trial, beta in zip(study.trials, trials.beta.values, strict=True):
        assert trial.user_attrs["beta"] == beta
        np.testing.assert_allclose(beta, value_of(trial.params[parameter]), rtol=1e-12)


def test_lanes_that_diverge_are_told_as_failed():
    study = study_of()
    space = jm.grid(x=[1.0, 2.0])
    runs = jm.ask_tell(study, lambda x: {"value": jnp.where(x > 1, jnp.inf, x)}, space, 8, 1)
    states = [trial.state.name for trial in study.trials]
    assert set(states) == {"COMPLETE", "FAIL"}
    assert states == ["FAIL" if x > 1 else "COMPLETE" for x in runs.x.values]


def test_an_error_leaves_no_trial_running():
    def broken(x):
        raise RuntimeError("broken")

    study = study_of()
    with pytest.raises(RuntimeError, match="broken"):
        jm.ask_tell(study, broken, jm.grid(x=[1.0, 2.0]), 4, 1)
    assert {trial.state.name for trial in study.trials} == {"FAIL"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((study_of(), loss, jm.paired(a=[1.0], b=[2.0]), 4, 1), "one by one, not together"),
        ((study_of(), loss, jm.grid(a=[1.0]) + jm.grid(a=[2.0]), 4, 1), "one by one"),
        ((study_of(), loss, jm.grid(fn=[max, min]), 4, 1), "numbers, booleans and strings"),
        ((study_of(), loss, SPACE, 0, 1), "batch is how many trials run at a time, at least 1"),
        ((study_of(), loss, SPACE, 4, 2.5), "rounds is how many batches run, at least 1, got 2.5"),
        ((study_of(directions=["minimize"] * 2), loss, SPACE, 4, 1), "has 2 objectives"),
    ],
    ids=["paired", "union", "functions", "no trials", "half a round", "two objectives"],
)
def test_what_optuna_cannot_choose_from_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jm.ask_tell(*arguments)
    assert not arguments[0].trials


@pytest.mark.parametrize("options", [{"store": "x"}, {"store": "x", "resume": "fresh"}])
def test_rounds_that_would_share_a_store_are_refused(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of()
    with pytest.raises(ValueError, match=r"got \['store'.*a store holds one"):
        jm.ask_tell(study, loss, SPACE, 4, 2, **options)
    assert not study.trials
    assert not list(tmp_path.iterdir())


def test_outputs_that_differ_from_group_to_group_are_refused_by_name():
    def of_group(name, x):
        return {"value": x, **({"norm": x} if name == "a" else {})}

    study = study_of()
    with pytest.raises(ValueError, match="different outputs, and it is a DataTree"):
        jm.ask_tell(study, of_group, jm.grid(name=["a", "b"], x=[1.0, 2.0]), 8, 1)
    assert {trial.state.name for trial in study.trials} == {"FAIL"}


@pytest.mark.parametrize("value", ["los", "x", "status", ["value"], None])
@pytest.mark.parametrize("segments", [None, [1, 2]])
def test_a_value_that_is_no_output_is_refused_before_a_round_runs(value, segments, monkeypatch):
    fn = (lambda x: {"loss": x}) if segments is None else lambda state, steps, x: (x, {"loss": x})
    monkeypatch.setattr("jaxmom.sweeps._ask_tell.last_values", lambda *_: pytest.fail("it ran"))
    study, space = study_of(), jm.sample(1, x=jm.uniform(0, 1))
    with pytest.raises(ValueError, match=r"name of an output, one of .*'loss'"):
        jm.ask_tell(study, fn, space, 4, 1, value=value, segments=segments)
    assert {trial.state.name for trial in study.trials} == {"FAIL"}


@pytest.mark.parametrize("study", [None, "study", optuna.study.Study])
def test_other_things_are_no_studies(study):
    with pytest.raises(TypeError, match="study is from optuna"):
        jm.ask_tell(study, final, SPACE, 4, 1)


def test_an_unknown_keyword_is_refused_before_a_trial_is_asked_for():
    study = study_of()
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        jm.ask_tell(study, final, jm.grid(x=[1.0]), 4, 1, widht=2)
    assert not study.trials


class Writer:
    def __init__(self):
        self.rows = []

    def add_scalar(self, tag, value, step):
        self.rows.append((tag, value, step))

    def of(self, tag):
        return [(step, value) for name, value, step in self.rows if name == tag]


def final(x):
    return {"value": jnp.where(x > 3, jnp.nan, x)}


@pytest.mark.parametrize(("maximize", "best"), [(False, [3.0, 1.0, 1.0]), (True, [3.0, 3.0, 3.0])])
def test_a_writer_gets_the_metrics_of_each_chunk(maximize, best):
    writer = Writer()
    space = jm.grid(x=[3.0, 2.0, 1.0, 5.0, 6.0, 7.0])
    live = jm.log_to(writer, maximize=maximize)
    jm.sweep(final, space, width=2, on_chunk=live, progress=False)
    best = [2.0 if value == 3.0 and not maximize else value for value in best]
    assert writer.of("value/best") == list(zip([2, 4, 6], best, strict=True))
    assert writer.of("value/median") == [(2, 2.5), (4, 1.0)]
    assert writer.of("sweep/diverged") == [(2, 0.0), (4, 0.5), (6, 1.0)]
    assert all(rate > 0 for _, rate in writer.of("sweep/lanes_per_second"))


def test_a_writer_without_add_scalar_is_refused():
    with pytest.raises(TypeError, match=r"add_scalar\(tag, value, step\)"):
        jm.log_to(print)


def test_the_rounds_of_a_study_are_one_curve():
    seen, writer = [], Writer()
    live = jm.log_to(writer)

    def on_chunk(dataset, progress):
        seen.append(progress)
        live(dataset, progress)

    space = jm.grid(x=[1.0, 2.0, 5.0])
    trials = jm.ask_tell(study_of(), final, space, 6, 3, width=3, on_chunk=on_chunk)
    assert [(progress.lanes, progress.total) for progress in seen] == [
        (lanes, 18) for lanes in range(3, 19, 3)
    ]
    assert seen[-1].diverged == int((trials.x > 3).sum())
    assert seen[-1].seconds_left == 0
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(seen))
    steps = [step for step, _ in writer.of("sweep/diverged")]
    assert steps == list(range(3, 19, 3))
    rates = [progress.lanes / progress.seconds for progress in seen]
    assert [rate for _, rate in writer.of("sweep/lanes_per_second")] == rates
    least = np.minimum.accumulate(np.where(trials.x > 3, np.inf, trials.x))[2::3]
    assert writer.of("value/best") == [
        (step, best) for step, best in zip(steps, least, strict=True) if np.isfinite(best)
    ]


@pytest.mark.parametrize("counts", [[1, 1], [2, 4], [4, 2], [3, 1, 2]])
def test_a_writer_of_several_sweeps_begins_anew_with_each(counts):
    writer, seconds = Writer(), []
    live = jm.log_to(writer)

    def on_chunk(dataset, progress):
        seconds.append(progress.seconds)
        live(dataset, progress)

    for sweep, count in enumerate(counts):
        space = jm.grid(x=np.linspace(sweep + 0.5, sweep + 0.6, count))
        jm.sweep(final, space, width=1, on_chunk=on_chunk, progress=False)
    expected = [(i + 1, sweep + 0.5) for sweep, n in enumerate(counts) for i in range(n)]
    np.testing.assert_allclose(writer.of("value/best"), expected)
    lanes = [step for step, _ in expected]
    rates = [rate for _, rate in writer.of("sweep/lanes_per_second")]
    np.testing.assert_allclose(rates, np.divide(lanes, seconds))
