"""The named methods as optimizers, in the families of `jaxmom.coefficients`.

The recurrences and sources of linear methods are in `jaxmom.coefficients`, under the same names;
those of the others are here. Every number is a leaf of the optimizer and may be a float, an array,
a tracer, a batch, or a schedule.
"""

from jaxmom.methods.accelerated import (
    chebyshev,
    nesterov,
    nesterov_convex,
    nesterov_strongly_convex,
    optimal_heavy_ball,
    robust_momentum,
    sutskever_nesterov,
    synthesized_nesterov,
    triple_momentum,
)
from jaxmom.methods.adam import ademamix, adopt, nadam, qhadam, simplified_ademamix
from jaxmom.methods.adaptive import adaptive_storm, storm, yellowfin
from jaxmom.methods.aggregated import aggmo, grokfast, maxwell, qhm
from jaxmom.methods.averaging import ema_nesterov, gpa, primal_averaging, schedule_free
from jaxmom.methods.basic import ema_momentum, gradient_descent, heavy_ball, sgd
from jaxmom.methods.differences import adan, mars
from jaxmom.methods.games import complex_momentum, extragradient, optimistic_gradient
from jaxmom.methods.norm import nigt, normalized_momentum
from jaxmom.methods.optimized import item, ogm_gradient, ogm_strongly_convex, optimized_gradient
from jaxmom.methods.polar import muon, normuon
from jaxmom.methods.polyak import adaptive_heavy_ball, momo, momsps
from jaxmom.methods.scheduled import am1, dana, demon, fsgdm
from jaxmom.methods.sign import lion, signum
from jaxmom.methods.stochastic import accelerated_sgd, mass, pid, pnm, unified_momentum

__all__ = [
    "accelerated_sgd",
    "adan",
    "adaptive_heavy_ball",
    "adaptive_storm",
    "ademamix",
    "adopt",
    "aggmo",
    "am1",
    "chebyshev",
    "complex_momentum",
    "dana",
    "demon",
    "ema_momentum",
    "ema_nesterov",
    "extragradient",
    "fsgdm",
    "gpa",
    "gradient_descent",
    "grokfast",
    "heavy_ball",
    "item",
    "lion",
    "mars",
    "mass",
    "maxwell",
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
    "optimal_heavy_ball",
    "optimistic_gradient",
    "optimized_gradient",
    "pid",
    "pnm",
    "primal_averaging",
    "qhadam",
    "qhm",
    "robust_momentum",
    "schedule_free",
    "sgd",
    "signum",
    "simplified_ademamix",
    "storm",
    "sutskever_nesterov",
    "synthesized_nesterov",
    "triple_momentum",
    "unified_momentum",
    "yellowfin",
]
