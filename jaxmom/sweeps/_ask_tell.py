"""Optuna proposes a batch of trials, and one compiled program runs them."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxmom._outcomes import Status
from jaxmom.sweeps.engine import sweep
from jaxmom.sweeps.results.summary import last_values
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
    or ended in a number that is not finite is told to the study as failed, and samplers leave it
    out.

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
      **options: For `jaxmom.sweep`: ``devices``, ``executor``, ``progress`` and so on.

    Returns:
      All trials of this call along the dimension ``lane``, with the coordinate ``trial``, the
      number that the study has given them.

    Raises:
      ValueError: The study has several objectives, `batch` or `rounds` is not 1 or more, or the
        space has an axis that Optuna cannot choose from.
      TypeError: `space` is not a space.

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
    import xarray

    check_space(space)
    if min(batch, rounds) < 1:
        raise ValueError(f"batch and rounds are 1 or more; got {batch} and {rounds}.")
    if len(study.directions) != 1:
        raise ValueError(f"the study has {len(study.directions)} objectives; ask_tell tells one.")
    asks = dict(_read_axes(space))
    options = {"width": batch, **options}
    answers = [_run_round(study, fn, asks, batch, value, options) for _ in range(rounds)]
    return xarray.concat(answers, "lane")


def _run_round(
    study: Any,
    fn: Callable[..., Any],
    asks: dict[str, "_Ask"],
    batch: int,
    value: str,
    options: dict[str, Any],
) -> "xarray.Dataset":
    from optuna.trial import TrialState

    trials = [study.ask() for _ in range(batch)]
    try:
        proposed = {name: [ask(trial) for trial in trials] for name, ask in asks.items()}
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
    fraction = math.log(asked / scale.low) / math.log(scale.high / scale.low)
    chosen = float(scale.at(np.array(fraction)))
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
