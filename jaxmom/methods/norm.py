"""Methods that step by a fixed length, as optimizers: the momentum over its norm."""

from typing import Any

from jaxmom import coefficients
from jaxmom._per_part import put_together, take_apart
from jaxmom.combine import chain
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter
from jaxmom.methods._heads import scale_by_norm
from jaxmom.methods._stages import descend
from jaxmom.momentum import momentum_method
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    read_out,
    transformation,
)


def normalized_momentum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    per_array: bool = False,
) -> Optimizer:
    """Normalized SGD with momentum: ``m <- beta m + (1-beta) g; y <- y - alpha m / |m|``.

    For any other filter before the norm, chain it with `scale_by_norm`.

    Args:
      learning_rate: alpha, the length of the step.
      beta: In [0, 1).
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.
      per_array: Whether each array of params has its own norm, and not all of them together.

    Source:
      Cutkosky and Mehta 2020 (arXiv 2002.03305).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.normalized_momentum(0.1, beta=0.9)
    """
    filtered = momentum_method(coefficients.ema_momentum, None, beta=beta)
    stages = (filtered, scale_by_norm(per_array))
    return descend(*stages, learning_rate=learning_rate, weight_decay=weight_decay)


def nigt(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, per_array: bool = False
) -> Optimizer:
    """Normalized momentum with implicit gradient transport.

    ``m <- beta m + (1-beta) grad f(y); x' = x - eta m / |m|; y = x' + beta/(1-beta) (x' - x)``.
    params is y, where gradients are taken; `eval_params` is x. m starts at zero, as in the authors'
    code (google-research, nigt_optimizer), which has a trust ratio in place of 1 / |m|.

    Args:
      learning_rate: eta, the length of the step of x.
      beta: In [0, 1).
      per_array: Whether each array of params has its own norm, and not all of them together.

    Source:
      Cutkosky and Mehta 2020 (arXiv 2002.03305), NIGT, with constant parameters.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nigt(0.1, beta=0.9)
    """
    values = take_apart({"learning_rate": learning_rate, "beta": beta})
    needs = [name for name in values if name != "trees"]
    hp = {**values, "per_array": per_array}
    return transformation(
        _init_nigt, _transport, hp, init_needs=needs, readout=_back_to_x, check=_check_nigt
    )


# Two filters around the norm; they share beta, so the chain is made of the hyperparameters anew.


def _chain_of(hp: Hyperparameters) -> Optimizer:
    rate, beta = put_together(hp, "learning_rate"), put_together(hp, "beta")
    average = momentum_method(_average, None, beta=beta)
    ahead = momentum_method(_go_ahead, "inside", learning_rate=rate, beta=beta)
    return chain(average, scale_by_norm(hp["per_array"]), ahead)


def _average(beta: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(as_hyperparameter("beta", beta, "[0, 1)"))


def _go_ahead(beta: Any) -> Coefficients:
    """Return the filter of steps of x that makes those of y; its buffer is y - x."""
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    further = beta / (1 - beta)
    return Coefficients(decay=0.0, gain=further, read=-1.0, direct=1 / (1 - beta), evaluate=-1.0)


def _check_nigt(hp: Hyperparameters) -> None:
    _chain_of(hp)


def _init_nigt(hp: Hyperparameters, params: PyTree) -> PyTree:
    return _chain_of(hp).init(params)


def _transport(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    return _chain_of(hp).update(updates, state, params, **extra)


def _back_to_x(hp: Hyperparameters, state: PyTree, params: PyTree) -> PyTree | None:
    return read_out(_chain_of(hp).update, state, params)
