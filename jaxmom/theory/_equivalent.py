"""Whether two optimizers are one linear system, by comparing what is read off their code."""

import dataclasses

import numpy as np

from jaxmom._values import as_count
from jaxmom.theory._filters import Filter, filter_at_rest, steps_that_vary, steps_to_rest
from jaxmom.theory._systems import Linear, as_number


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """Whether two optimizers are one linear system; as a condition, it is true if they are.

    Attributes:
      holds: Whether they are.
      scale: The factor from the steps of the second to those of the first; NaN if they differ.
      reason: What was compared, or where they differ: the first against the second.
    """

    holds: bool
    scale: float
    reason: str

    def __bool__(self) -> bool:
        return self.holds


def equivalent(
    a: Linear, b: Linear, *, steps: int = 100, tolerance: float | None = None
) -> Equivalence:
    """Prove from their code that two optimizers are one linear system, or say where they differ.

    It holds if a takes `scale` times the steps of b, whatever the gradients are: b with `scale`
    times its learning rate is a. What the code makes of gradients, and of params (weight decay), is
    read off by `linearize`. Systems of n and m modes whose transfer functions agree at more than
    n + m points are the same, and the first steps are if n + m + 4 of them are; so this is a proof,
    up to the rounding of the numbers. Where coefficients vary with time, only the first `steps`
    steps are compared (for all gradients), and `reason` says so.

    Args:
      a: A linear optimizer, or its `LinearSystem`; of plain numbers.
      b: Another.
      steps: How many steps to compare if one of them varies with time.
      tolerance: The relative difference below which two weights or gains are one. By default 1e-9
        in float64 and 1e-4 in float32, besides what rounding of the coefficients can do.

    Returns:
      An `Equivalence`.

    Raises:
      NotLinearError: A stage of one of them is not linear.
      ValueError: Numbers are traced or not finite, `steps` is not a positive integer, the tolerance
        is not in [0, 1), or a `LinearSystem` has
        weight decay in a basis other than that of `linearize`, which hides it.

    Example:
      >>> import jaxmom as jm, optax
      >>> from jaxmom import theory
      >>> average = optax.chain(optax.ema(0.5, debias=False), optax.scale(-1.0))
      >>> theory.equivalent(jm.heavy_ball(0.5, beta=0.5), average)
      Equivalence(holds=True, scale=1.0, reason='one linear system, of 1 mode')
      >>> theory.equivalent(jm.nesterov(0.5, beta=0.5), average).reason
      'the reading of the buffers: Nesterov against none'
    """
    steps = as_count("steps", steps, "how many steps to compare")
    if tolerance is not None and not 0 <= as_number("tolerance", tolerance) < 1:
        raise ValueError(f"the tolerance is a relative difference, in [0, 1), got {tolerance}.")
    first, second = filter_at_rest(a), filter_at_rest(b)
    if first is None or second is None:
        return _compare_varying(steps_that_vary(a, steps), steps_that_vary(b, steps), tolerance)
    scale, reason = _compare_at_rest(first, second, tolerance)
    if not reason:
        few = first.modes + second.modes + 4
        weights = steps_to_rest(first, few), steps_to_rest(second, few)
        differences = _differences(weights[0], scale * weights[1])
        if np.any(differences > _tolerance(differences, tolerance)):
            reason = _explain_first_step(first, second, *weights)
    if reason:
        return Equivalence(False, np.nan, reason)
    modes = f"{first.modes} mode" + "s" * (first.modes != 1)
    return Equivalence(True, scale, f"one linear system, of {modes}")


def _compare_at_rest(a: Filter, b: Filter, tolerance: float | None) -> tuple[float, str]:
    """Return the factor between two filters, and where they differ or an empty text."""
    for index, name in enumerate(("first", "second")):
        if not (a, b)[index].moves and (a, b)[1 - index].moves:
            return np.nan, f"the gradient: the {name} takes no steps"
    scale = _factor(a.response, b.response)
    if scale < 0:
        return scale, "the direction: one descends where the other climbs"
    lags = a.modes + b.modes + 2
    weights, others = a.weights(lags), scale * b.weights(lags)
    margin = _tolerance(weights, tolerance)
    close = margin * np.abs(a.response) + a.rounding + abs(scale) * b.rounding
    is_same = np.all(np.abs(a.response - scale * b.response) <= close)
    if not is_same or np.any(np.abs(weights - others) > margin * np.max(np.abs(weights))):
        return scale, _explain_filters(a, b, margin)
    decay, other = a.decay, scale * b.decay
    if np.any(np.abs(decay - other) > margin * np.maximum(np.abs(decay), np.abs(other))):
        return scale, f"the weight decay: {_say_decays(decay, other)}"
    return scale, ""


def _compare_varying(a: np.ndarray, b: np.ndarray, tolerance: float | None) -> Equivalence:
    """Compare weights [steps, steps, 2] of all gradients, and of params, in all steps."""
    half, scale, differences = len(a) // 2, np.nan, np.zeros(len(a))
    if np.any(a) != np.any(b):
        name = "second" if np.any(a) else "first"
        return Equivalence(False, np.nan, f"the gradient: the {name} takes no steps")
    # First as if they differed at the start, then as if they did from some step on.
    for row in (-1, 0):
        scale = _factor(a[row, :, 0], b[row, :, 0])
        differences = _differences(a, scale * b)
        if np.all(differences <= _tolerance(a, tolerance)) and scale > 0:
            reason = f"the first {len(a)} steps are the same; coefficients vary with time"
            return Equivalence(True, scale, reason + ", and later steps were not compared")
        if differences[:half].max(initial=0) > 10 * differences[half:].max():
            break
    if scale < 0:
        return Equivalence(False, np.nan, "the direction: one descends where the other climbs")
    # Not one that differs only because the scale is that of a step which is not yet at rest.
    least = max(_tolerance(a, tolerance), 0.01 * float(differences.max()))
    step = int(np.argmax(differences > least))
    return Equivalence(False, np.nan, _explain_step(step, a[step], scale * b[step]))


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the largest difference in each step, relative to its largest weight."""
    sizes = np.maximum(np.abs(a), np.abs(b)).max(axis=1, keepdims=True)
    relative = np.abs(a - b) / np.where(sizes > 0, sizes, 1)
    return np.where(np.isfinite(relative), relative, np.inf).max(axis=(1, 2))


def _factor(a: np.ndarray, b: np.ndarray) -> float:
    """Return the real s for which s b is nearest to a, each entry relative to its size."""
    if not np.any(b):
        return 1.0
    ratios = a[b != 0] / b[b != 0]
    return float(np.median(ratios.real))


def _tolerance(like: np.ndarray, tolerance: float | None) -> float:
    if tolerance is not None:
        return tolerance
    return 1e-9 if like.dtype == np.float64 else 1e-4


def _explain_filters(a: Filter, b: Filter, margin: float) -> str:
    if a.modes != b.modes:
        decays = " and ".join(_say(one.poles) for one in (a, b))
        return f"the number of modes: {a.modes} against {b.modes}; their decays are {decays}"
    if np.any(np.abs(a.poles - b.poles) > 10 * margin):
        return f"the decay{'' if a.modes == 1 else 's'}: {_say_pair(a.poles, b.poles)}"
    readings = [_name_reading(one, margin) for one in (a, b)]
    if readings[0] != readings[1] and all(readings):
        return f"the reading of the buffers: {readings[0]} against {readings[1]}"
    weights = (one.weights(3) for one in (a, b))
    pair = _say_pair(*(w / (w[0] if w[0] else 1) for w in weights))
    return f"the reading of the buffers: the last gradients have the weights {pair}"


def _name_reading(filter_: Filter, margin: float) -> str:
    """Name how a step reads its only buffer, by the nu of QHM: the share of the average in it."""
    pole = filter_.poles[0].real if filter_.modes == 1 else 0.0
    if pole in (0, 1):
        return ""
    direct, after = filter_.weights(2)
    of_average = after / pole / (1 - pole)
    nu = of_average / (direct - after / pole + of_average)
    if abs(nu - 1) <= 10 * margin:
        return "none"
    return "Nesterov" if abs(nu - pole) <= 10 * margin else f"nu = {_say(nu)}"


def _explain_first_step(a: Filter, b: Filter, *weights: np.ndarray) -> str:
    usual = [abs(one.weights(1)[0]) or 1.0 for one in (a, b)]
    shares = [abs(w[0, 0, 0]) / size for w, size in zip(weights, usual, strict=True)]
    if np.isclose(*shares):
        return "the first steps: they filter alike only when they have come to rest"
    pair = f"{_say(shares[0])} and {_say(shares[1])} times the weight of later ones"
    return f"the first step: dampening, or another start of a buffer; its gradient has {pair}"


def _explain_step(step: int, a: np.ndarray, b: np.ndarray) -> str:
    """Say how a step differs, whose weights of gradients and params are rows [steps, 2]."""
    of, is_decay = map(int, np.unravel_index(np.argmax(np.abs(a - b)), a.shape))
    lag = step - of
    what = "params" if is_decay else "its gradient" if lag == 0 else "the gradient"
    when = "" if lag == 0 else f" of {lag} step{'s' if lag > 1 else ''} before"
    where = "the first step" if step == 0 else f"step {step + 1}"
    pair = _say_pair(-a[of, is_decay], -b[of, is_decay])
    return f"{where}: {what}{when} has the weight {pair}"


def _say_decays(*decays: np.ndarray) -> str:
    """Say what steps take of steady params, and of params that alternate."""
    texts = [
        f"{_say(-decay[0])} of steady params ({_say(abs(decay[-1]))} of alternating ones)"
        if np.any(decay)
        else "none"
        for decay in decays
    ]
    return " against ".join(texts)


def _say_pair(a: np.ndarray | float, b: np.ndarray | float) -> str:
    """Write one against the other, with as many digits as it takes to tell them apart."""
    texts = [(_say(a, digits), _say(b, digits)) for digits in (4, 8, 16)]
    return " against ".join(next((pair for pair in texts if pair[0] != pair[1]), texts[-1]))


def _say(values: np.ndarray | float, digits: int = 4) -> str:
    """Write numbers, complex ones only where they are."""
    numbers = np.atleast_1d(values)
    small = 1e-6 * np.max(np.abs(numbers), initial=0)
    reals = [x.real if abs(x.imag) <= small else x for x in numbers]
    texts = [f"{x + 0.0:.{digits}g}" for x in reals]
    return "none" if not texts else texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
