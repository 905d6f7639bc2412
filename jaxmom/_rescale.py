"""Hyperparameters for another batch size, by the rules of the literature."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxmom.transform import NUMBER, Optimizer, hyperparameters, name_owners, replace

Rule: TypeAlias = Literal["half_life", "linear", "sqrt", "ema"]
# (what the number is: a decay by another name, too; whether it is of an average of params; value,
# ratio) -> new value or None
_ChangeFn: TypeAlias = Callable[[str, bool, Any, float], Any]

# The last part of the name of what an update keeps of a moment or an average.
_DECAYS = ("b1", "b2", "b3", "beta", "betas", "decay", "decays", "momentum")
# (filter, name) -> what the number is, where the name alone would tell wrong.
_KINDS = {
    ("ema_nesterov", "beta"): "look-ahead",
    ("schedule_free", "beta"): "look-ahead",
    ("gpa", "mu_x"): "decay",
    ("grokfast", "alpha"): "decay",
    ("complex_momentum", "phi"): "phase",
}


def rescale(
    optimizer: optax.GradientTransformation,
    *,
    batch: tuple[float, float],
    rule: Rule,
    names: Sequence[str] | None = None,
) -> Optimizer:
    """Return the optimizer for another batch size.

    With ``k = new / old``, the rules are

        half_life   beta -> beta^k: the same number of samples later, as much is left of a gradient
                    (and phi -> k phi, of complex momentum)
        linear      learning_rate -> k learning_rate
        sqrt        learning_rate -> sqrt(k) learning_rate; 1 - beta -> k (1 - beta);
                    eps -> eps / sqrt(k), eps_root -> eps_root / k
        ema         beta -> beta^k and half_life -> half_life / k of averages of params (`average`)

    Each changes the hyperparameters that it names and no other, so that they combine:
    ``rescale(rescale(optimizer, batch=b, rule="half_life"), batch=b, rule="linear")``. Where a
    method sums gradients (`heavy_ball`, `sgd`), another beta also changes the step in a steady
    gradient, which `jaxmom.conversions` can hold fixed.

    Args:
      optimizer: A pytree optimizer.
      batch: (old, new) batch sizes, samples or tokens.
      rule: "half_life", "linear", "sqrt" or "ema".
      names: The hyperparameters to change, as `hyperparameters` lists them; by default all that the
        rule knows, where b1, b2, b3, beta, betas, decay, decays and momentum are decays, as well as
        mu_x of `gpa` and alpha of `grokfast`, but not the look-ahead beta of `schedule_free` and
        `ema_nesterov`; and those of averages of params only by "ema".

    Returns:
      The optimizer with other values. A traced value cannot be refused: where a plain one would be,
      it becomes NaN, and so does the run.

    Raises:
      ValueError: The optimizer has nothing for the rule to change, the rule does not know a name,
        or its result is inadmissible: a sqrt rule with ``k (1 - beta) > 1``.
      TypeError: A hyperparameter to change is a schedule, whose steps change with the batch too.

    Source:
      Marek et al. 2025 (arXiv 2507.07101) hold the half-life of b2; Goyal et al. 2017 (arXiv
      1706.02677), linear; Malladi et al. 2022 (arXiv 2205.10287), sqrt, for Adam and RMSProp, all
      four of its changes: the learning rate, b1, b2 and eps; Busbridge et al. 2023 (arXiv
      2307.13813), ema.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.rescale(jm.ema_momentum(0.1, beta=0.5), batch=(64, 256), rule="half_life")
      >>> jm.hyperparameters(optimizer)
      {'learning_rate': 0.1, 'beta': 0.0625}
    """
    ratio = _read_ratio(batch)
    change = _find_rule(rule)
    old, owners = hyperparameters(optimizer), name_owners(optimizer)
    kinds = {name: _kind(name.rpartition(".")[2], owners[name]) for name in old}
    known = [name for name in old if change(*kinds[name], 0.5, 1.0) is not None]
    unknown = [name for name in names or () if name not in known]
    if unknown or not known:
        raise ValueError(
            f"the rule {rule!r} changes {known or 'nothing'} of this optimizer, which has "
            f"{list(old)}" + (f"; it does not know {unknown}." if unknown else ".")
        )
    if rule == "sqrt" and not any(last == "b2" for last, _ in kinds.values()):
        raise ValueError(
            "the sqrt rule is derived for Adam and RMSProp, and this optimizer has no decay b2 of "
            'second moments; for SGD take rule="linear".'
        )
    schedules = [name for name in names or known if not isinstance(old[name], NUMBER)]
    if schedules:
        raise TypeError(
            f"{schedules} are schedules, whose steps change with the batch as their values do; "
            "rescale the numbers that they are made from, or leave them out with names=."
        )
    new = {name: change(*kinds[name], old[name], ratio) for name in names or known}
    for name, value in new.items():
        if kinds[name][0] != "phase":
            new[name] = _admit(name, old[name], value, ratio)
    return replace(optimizer, **new)


def _kind(name: str, owner: str) -> tuple[str, bool]:
    return _KINDS.get((owner, name), name), owner == "average"


def _admit(name: str, old: Any, new: Any, ratio: float) -> Any:
    """Return a new value, refused if it is not admissible; NaN in place of it if it is traced."""
    if isinstance(old, Tracer):
        return jnp.where((old >= 0) & (new >= 0), new, jnp.nan)
    if np.any(np.iscomplex(new)) or np.any(np.less(new, 0)) or np.any(np.less(old, 0)):
        raise ValueError(
            f"this rule takes {name} = {old} to {new} at {ratio:g} times the batch; it is for "
            "decays from 0 to 1, and not for so large a change."
        )
    return new


def _keep_half_life(name: str, of_average: bool, value: Any, ratio: float) -> Any:
    if name == "phase":
        return ratio * value
    return value**ratio if name in _DECAYS and not of_average else None


def _scale_linearly(name: str, of_average: bool, value: Any, ratio: float) -> Any:
    del of_average
    return ratio * value if name == "learning_rate" else None


def _scale_by_root(name: str, of_average: bool, value: Any, ratio: float) -> Any:
    factors = {"learning_rate": ratio**0.5, "eps": ratio**-0.5, "eps_root": 1 / ratio}
    if name in factors:
        return factors[name] * value
    return 1 - ratio * (1 - value) if name in _DECAYS and not of_average else None


def _scale_averages(name: str, of_average: bool, value: Any, ratio: float) -> Any:
    if not of_average:
        return None
    return value / ratio if name == "half_life" else value**ratio


_RULES: dict[str, _ChangeFn] = {
    "half_life": _keep_half_life,
    "linear": _scale_linearly,
    "sqrt": _scale_by_root,
    "ema": _scale_averages,
}


def _find_rule(rule: str) -> _ChangeFn:
    if rule not in _RULES:
        raise ValueError(f"the rules are {list(_RULES)}, not {rule!r}.")
    return _RULES[rule]


def _read_ratio(batch: Any) -> float:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"batch is (old, new), as in batch=(64, 512), not {batch!r}.")
    old, new = map(float, batch)
    if not (old > 0 and new > 0 and math.isfinite(old) and math.isfinite(new)):
        raise ValueError(f"batch sizes are above zero, got {batch}.")
    return new / old
