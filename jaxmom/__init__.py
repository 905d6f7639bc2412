"""jaxmom: a laboratory for momentum in JAX.

An optimizer is a pytree whose leaves are its hyperparameters, and still a real optax
transformation; momentum is a linear filter of the gradient, and a method is a few coefficients.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxmom import coefficients, schedules
from jaxmom.combine import chain, mix
from jaxmom.filters import Coefficients, Recurrence, Stack, reading_new, stack
from jaxmom.lift import lift
from jaxmom.methods import (
    aggmo,
    chebyshev,
    demon,
    ema_momentum,
    gradient_descent,
    heavy_ball,
    lion,
    nesterov,
    nesterov_convex,
    nesterov_strongly_convex,
    optimistic_gradient,
    qhm,
    sgd,
    signum,
    triple_momentum,
)
from jaxmom.momentum import MomentumState, momentum_method, scale_by_momentum
from jaxmom.optimize import Step, Trajectory, optimize
from jaxmom.transform import (
    Optimizer,
    eval_params,
    hyperparameters,
    replace,
    transformation,
)

if TYPE_CHECKING:
    from jaxmom import plot, problems, theory

__version__ = "0.1.0"

__all__ = [
    "Coefficients",
    "MomentumState",
    "Optimizer",
    "Recurrence",
    "Stack",
    "Step",
    "Trajectory",
    "aggmo",
    "chain",
    "chebyshev",
    "coefficients",
    "demon",
    "ema_momentum",
    "eval_params",
    "gradient_descent",
    "heavy_ball",
    "hyperparameters",
    "lift",
    "lion",
    "mix",
    "momentum_method",
    "nesterov",
    "nesterov_convex",
    "nesterov_strongly_convex",
    "optimistic_gradient",
    "optimize",
    "plot",
    "problems",
    "qhm",
    "reading_new",
    "replace",
    "scale_by_momentum",
    "schedules",
    "sgd",
    "signum",
    "stack",
    "theory",
    "transformation",
    "triple_momentum",
]


def __getattr__(name: str) -> Any:
    """Load sub-packages on first use, for `import jaxmom` shall cost little."""
    if name in ("plot", "problems", "theory"):
        return importlib.import_module(f"jaxmom.{name}")
    raise AttributeError(f"module 'jaxmom' has no attribute {name!r}")
