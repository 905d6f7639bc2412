"""jaxmom: a laboratory for momentum in JAX.

An optimizer is a pytree whose leaves are its hyperparameters, and still a real optax
transformation; momentum is a linear filter of the gradient, and a method is a few coefficients.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxmom import coefficients, conversions, schedules
from jaxmom._averages import average, read_averages
from jaxmom._cautious import cautious
from jaxmom._fit_kernel import fit_kernel, kernel_error
from jaxmom._hypergradient import hypergradient_descent, with_previous_gradient
from jaxmom._lift import lift
from jaxmom._optimize import Step, Trajectory, optimize
from jaxmom._outer import lookahead
from jaxmom._partition import masked, partition
from jaxmom._rescale import rescale
from jaxmom._restart import reset, restart
from jaxmom._version import __version__ as __version__
from jaxmom.combine import chain, mix
from jaxmom.filters import Coefficients, Recurrence, Stack, reading_new, stack
from jaxmom.methods import (
    accelerated_sgd,
    adan,
    adaptive_heavy_ball,
    adaptive_storm,
    ademamix,
    adopt,
    aggmo,
    am1,
    chebyshev,
    complex_momentum,
    dana,
    demon,
    ema_momentum,
    ema_nesterov,
    extragradient,
    fsgdm,
    gpa,
    gradient_descent,
    grokfast,
    heavy_ball,
    item,
    lion,
    mars,
    mass,
    maxwell,
    momo,
    momsps,
    muon,
    nadam,
    nesterov,
    nesterov_convex,
    nesterov_strongly_convex,
    nigt,
    normalized_momentum,
    normuon,
    ogm_gradient,
    ogm_strongly_convex,
    optimal_heavy_ball,
    optimistic_gradient,
    optimized_gradient,
    pid,
    pnm,
    primal_averaging,
    qhadam,
    qhm,
    robust_momentum,
    schedule_free,
    sgd,
    signum,
    simplified_ademamix,
    storm,
    sutskever_nesterov,
    synthesized_nesterov,
    triple_momentum,
    unified_momentum,
    yellowfin,
)
from jaxmom.methods._heads import scale_by_norm, scale_by_second_moment
from jaxmom.methods._polar import scale_by_polar_factor
from jaxmom.momentum import MomentumState, momentum_method, scale_by_momentum
from jaxmom.transform import (
    Optimizer,
    eval_params,
    hyperparameters,
    replace,
    transformation,
)

if TYPE_CHECKING:
    from jaxmom import plot, problems, rl, theory
    from jaxmom.explorer import explore, playground
    from jaxmom.rl.optimizers import lazy_momentum
    from jaxmom.sweeps import (
        Space,
        ask_tell,
        bands,
        best,
        explain,
        grid,
        half_life,
        halving,
        log_to,
        log_uniform,
        memory,
        open_sweep,
        paired,
        sample,
        sweep,
        uniform,
    )

__all__ = [
    "Coefficients",
    "MomentumState",
    "Optimizer",
    "Recurrence",
    "Space",
    "Stack",
    "Step",
    "Trajectory",
    "accelerated_sgd",
    "adan",
    "adaptive_heavy_ball",
    "adaptive_storm",
    "ademamix",
    "adopt",
    "aggmo",
    "am1",
    "ask_tell",
    "average",
    "bands",
    "best",
    "cautious",
    "chain",
    "chebyshev",
    "coefficients",
    "complex_momentum",
    "conversions",
    "dana",
    "demon",
    "ema_momentum",
    "ema_nesterov",
    "eval_params",
    "explain",
    "explore",
    "extragradient",
    "fit_kernel",
    "fsgdm",
    "gpa",
    "gradient_descent",
    "grid",
    "grokfast",
    "half_life",
    "halving",
    "heavy_ball",
    "hypergradient_descent",
    "hyperparameters",
    "item",
    "kernel_error",
    "lazy_momentum",
    "lift",
    "lion",
    "log_to",
    "log_uniform",
    "lookahead",
    "mars",
    "masked",
    "mass",
    "maxwell",
    "memory",
    "mix",
    "momentum_method",
    "momo",
    "momsps",
    "muon",
    "nadam",
    "nesterov",
    "nesterov_convex",
    "nesterov_strongly_convex",
    "nigt",
    "normalized_momentum",
    "normuon",
    "ogm_gradient",
    "ogm_strongly_convex",
    "open_sweep",
    "optimal_heavy_ball",
    "optimistic_gradient",
    "optimize",
    "optimized_gradient",
    "paired",
    "partition",
    "pid",
    "playground",
    "plot",
    "pnm",
    "primal_averaging",
    "problems",
    "qhadam",
    "qhm",
    "read_averages",
    "reading_new",
    "replace",
    "rescale",
    "reset",
    "restart",
    "rl",
    "robust_momentum",
    "sample",
    "scale_by_momentum",
    "scale_by_norm",
    "scale_by_polar_factor",
    "scale_by_second_moment",
    "schedule_free",
    "schedules",
    "sgd",
    "signum",
    "simplified_ademamix",
    "stack",
    "storm",
    "sutskever_nesterov",
    "sweep",
    "synthesized_nesterov",
    "theory",
    "transformation",
    "triple_momentum",
    "unified_momentum",
    "uniform",
    "with_previous_gradient",
    "yellowfin",
]


_LAZY = ("explorer", "plot", "problems", "rl", "sweeps", "theory")

_OWNERS = {"explore": "explorer", "playground": "explorer", "lazy_momentum": "rl"}


def __getattr__(name: str) -> Any:
    """Import sub-packages, and names that they define, at first use: this import stays fast."""
    if name in _LAZY:
        return importlib.import_module(f"jaxmom.{name}")
    if name in __all__:  # those that are not here already are of sweeps, but for these
        owner = _OWNERS.get(name, "sweeps")
        return getattr(importlib.import_module(f"jaxmom.{owner}"), name)
    raise AttributeError(f"module 'jaxmom' has no attribute {name!r}")


def __dir__() -> list[str]:
    dunders = {name for name in globals() if name.startswith("__")}
    return sorted({*__all__, *_LAZY, "methods", *dunders})
