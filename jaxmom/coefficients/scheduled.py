"""Momentum that decays over the run, as coefficients."""

from typing import Any

import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom import schedules
from jaxmom.coefficients.basic import heavy_ball
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter


def demon(steps: ArrayLike, beta: ArrayLike = 0.9) -> Recurrence:
    """Decaying momentum: `heavy_ball` with ``beta_t`` of `schedules.demon`, T = `steps`.

    Source:
      Chen, Wolfe, Li and Kyrillidis 2022 (arXiv 1910.04952), algorithm 1.
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    steps = as_hyperparameter("steps", steps, "(0, inf]")
    return Recurrence(0, Partial(_demon, schedule=schedules.demon(beta, steps)))


def _demon(count: Any, schedule: Any) -> tuple[Any, Coefficients]:
    return optax.safe_increment(count), heavy_ball(schedule(count))
