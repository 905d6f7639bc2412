"""Optuna proposes a batch of trials, and one compiled program runs them."""

import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxmom._outcomes import Status
from jaxmom._values import as_count
from jaxmom.sweeps.compile.outputs import STEP
from jaxmom.sweeps.engine import sweep
from jaxmom.sweeps.estimate import trace_groups
from jaxmom.sweeps.results.summary import last_values
from jaxmom.sweeps.run.live import OnChunkFn, Progress
from jaxmom.sweeps.run.segmented import SegmentedSweep
from jaxmom.sweeps.run.segments import as_lengths
from jaxmom.sweeps.space.axes import Axis
from jaxmom.sweeps.space.components import ListedAxes, QuasiRandomSample
from jaxmom.sweeps.space.scales import Scale
from jaxmom.sweeps.space.space import Space, check_space, paired

if TYPE_CHECKING:
    import optuna
    import xarray


def ask_tell(
    study: "optuna.study.Study",
    fn: Callable[..., Any],
    space: Space,
    batch: int,
    rounds: int,
    *,
    value: str = "value",
    **options: Any,
) -> "xarray.Dataset":
    """Let a study of Optuna propose values in batches, and run each batch as one sweep.

    The program is compiled in the first round and used in all. A trial whose lane diverged, failed
    or ended in a number that is not finite is reported as failed, and samplers leave it out.

    Args:
      study: From `optuna.create_study`, with one objective; its direction counts.
      fn: As for `jaxmom.sweep`.
      space: What to choose from: a `jaxmom.sample`, whose scales are used and whose number of
        points is not; a `jaxmom.grid` of numbers, booleans or strings, which become categories; or
        a product of them. For the scales `memory` and `half_life` the study's parameter is
        ``<name>_memory`` or ``<name>_half_life``, on a logarithmic scale, and the value itself is
        in the trial's ``user_attrs``.
      batch: Trials at a time, which is the width of the sweep unless `options` has one.
      rounds: How many batches. Another call with the same study continues it.
      value: The output to tell, at its last record.
      **options: For `jaxmom.sweep`: ``devices``, ``executor``, ``progress`` and so on; without
        ``store``, as the study keeps its results. For ``on_chunk`` the rounds are one sweep.

    Returns:
      All trials of this call along the dimension ``lane``, with the coordinate ``trial``, the
      number that the study has given them.

    Raises:
      ValueError: The study has several objectives, there is no output `value`, `batch` or `rounds`
        is not 1 or more, the space has an axis that Optuna cannot choose from, or there is a
        `store`.
      TypeError: `study` is not a study, `space` is not a space, or `options` has a keyword that
        `jaxmom.sweep` does not know.

    Source: Optuna's ask-and-tell interface, in batches.

    Example:
      >>> import jaxmom as jm, optuna
      >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
      >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
      >>> def loss(beta):
      ...     return {"value": (beta - 0.7) ** 2}
      >>> trials = jm.ask_tell(study, loss, jm.sample(1, beta=jm.uniform(0, 1)), 16, rounds=4)
      >>> len(study.trials), abs(study.best_params["beta"] - 0.7) < 0.05
      (64, True)
    """
    import optuna
    import xarray

    if not isinstance(study, optuna.study.Study):
        raise TypeError(f"study is from optuna.create_study(), not {study!r}.")
    check_space(space)
    batch = as_count("batch", batch, "how many trials run at a time")
    rounds = as_count("rounds", rounds, "how many batches run")
    _refuse_store(options)
    inspect.signature(sweep).bind(fn, space, **options)  # before a trial is asked for
    if len(study.directions) != 1:
        raise ValueError(f"the study has {len(study.directions)} objectives; ask_tell tells one.")
    asks = dict(_read_axes(space))
    options = {"width": batch, **options}
    answers: list[xarray.Dataset] = []
    on_chunk, start = options.get("on_chunk"), time.perf_counter()
    for _ in range(rounds):
        if callable(on_chunk):
            options["on_chunk"] = _go_on(on_chunk, answers, batch * rounds, start)
        answers.append(_run_round(study, fn, asks, batch, value, options, is_first=not answers))
    return xarray.concat(answers, "lane")


def _refuse_store(options: dict[str, Any]) -> None:
    if given := [name for name in ("store", "resume", "part") if options.get(name) is not None]:
        raise ValueError(
            f"ask_tell got {given}, but each round is a sweep of its own and a store holds one; "
            "give the study a storage that lasts, as in "
            'optuna.create_study(storage="sqlite:///trials.db"), and keep what this returns.'
        )


def _go_on(
    on_chunk: OnChunkFn, answers: "Sequence[xarray.Dataset]", total: int, start: float
) -> OnChunkFn:
    """Return an `on_chunk` whose progress counts the rounds before, too."""
    earlier = [status for answer in answers for status in answer.status.values.tolist()]
    failed, diverged = earlier.count(Status.FAILED), earlier.count(Status.DIVERGED)
    done = len(earlier) - failed

    def count_all(dataset: "xarray.Dataset", progress: Progress) -> None:
        lanes, seconds = done + progress.lanes, time.perf_counter() - start
        all_failed = failed + progress.failed
        left = (total - lanes - all_failed) * seconds / lanes
        counts = lanes, total, diverged + progress.diverged, all_failed
        on_chunk(dataset, Progress(*counts, seconds, left))

    return count_all


def _run_round(
    study: Any,
    fn: Callable[..., Any],
    asks: dict[str, "_Ask"],
    batch: int,
    value: str,
    options: dict[str, Any],
    is_first: bool,
) -> "xarray.Dataset":
    from optuna.trial import TrialState

    trials = [study.ask() for _ in range(batch)]
    try:
        proposed = {name: [ask(trial) for trial in trials] for name, ask in asks.items()}
        if is_first:
            _check_output(fn, paired(**{n: v[:1] for n, v in proposed.items()}), value, options)
        runs: Any = sweep(fn, paired(**proposed), **options)
        values = last_values(runs, value).values
    except BaseException:  # none of them is left as running
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL)
        raise
    for trial, status, number in zip(trials, runs.status.values, values, strict=True):
        if status == Status.OK and math.isfinite(number):
            study.tell(trial, float(number))
        else:
            study.tell(trial, state=TrialState.FAIL)
    return runs.assign_coords(trial=("lane", [trial.number for trial in trials]))


def _check_output(fn: Callable[..., Any], lane: Space, value: str, options: dict[str, Any]) -> None:
    """Refuse a name that the function does not return, before a round has run.

    Args:
      fn: As for `ask_tell`.
      lane: A space of one lane.
      value: As for `ask_tell`.
      options: As for `ask_tell`; segments are traced as a whole run.
    """
    segments = options.get("segments")
    if segments is None:
        (traced,) = trace_groups(fn, lane)
    else:
        (traced,) = SegmentedSweep(fn, as_lengths("segments", segments), lane).whole
    names = [name for name in traced.outputs if name != STEP]
    if value not in names:
        raise ValueError(f"value is the name of an output, one of {names}, not {value!r}.")


# trial -> the value of one argument, as the study proposes it
_Ask: TypeAlias = Callable[[Any], Any]


def _read_axes(space: Space) -> Iterator[tuple[str, _Ask]]:
    for component in space.components:
        if isinstance(component, QuasiRandomSample):
            for name, scale in component.scales.items():
                yield name, _ask_scale(name, scale)
        elif isinstance(component, ListedAxes) and not component.paired:
            yield component.axes[0].name, _ask_choice(component.axes[0])
        else:
            raise ValueError(
                f"Optuna chooses {list(component.names)} one by one, not together; give each of "
                "them to jm.sample or jm.grid instead of jm.paired or a union."
            )


def _ask_scale(name: str, scale: Scale | Axis) -> _Ask:
    if isinstance(scale, Axis):
        return _ask_choice(scale)
    if scale.kind in ("uniform", "log_uniform"):
        log = scale.kind == "log_uniform"
        return lambda trial: trial.suggest_float(name, scale.low, scale.high, log=log)
    return lambda trial: _suggest_on_scale(trial, name, scale)


def _suggest_on_scale(trial: Any, name: str, scale: Scale) -> float:
    asked = trial.suggest_float(f"{name}_{scale.kind}", scale.low, scale.high, log=True)
    chosen = scale.to_hyperparameter(asked)
    trial.set_user_attr(name, chosen)
    return chosen


def _ask_choice(axis: Axis) -> _Ask:
    choices = axis.values.tolist() if axis.kind == "number" else list(axis.values or ())
    if axis.kind == "labeled" or not all(isinstance(c, bool | int | float | str) for c in choices):
        raise ValueError(
            f"Optuna chooses among numbers, booleans and strings, which the axis {axis.name!r} "
            "does not have; give names, and let the function look up what they stand for."
        )
    return lambda trial: trial.suggest_categorical(axis.name, choices)
