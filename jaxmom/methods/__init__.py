"""The named methods as optimizers, in the families of `jaxmom.coefficients`.

The recurrences and their sources are in `jaxmom.coefficients`, under the same names. Every number
is a leaf of the optimizer and may be a float, an array, a tracer, a batch, or a schedule.
"""

from jaxmom.methods.accelerated import (
    chebyshev,
    nesterov,
    nesterov_convex,
    nesterov_strongly_convex,
    triple_momentum,
)
from jaxmom.methods.adam import ademamix, adopt, nadam, qhadam, simplified_ademamix
from jaxmom.methods.aggregated import aggmo, qhm
from jaxmom.methods.basic import ema_momentum, gradient_descent, heavy_ball, sgd
from jaxmom.methods.differences import adan, mars
from jaxmom.methods.games import optimistic_gradient
from jaxmom.methods.norm import nigt, normalized_momentum
from jaxmom.methods.polar import muon, normuon
from jaxmom.methods.scheduled import demon
from jaxmom.methods.sign import lion, signum

__all__ = [
    "adan",
    "ademamix",
    "adopt",
    "aggmo",
    "chebyshev",
    "demon",
    "ema_momentum",
    "gradient_descent",
    "heavy_ball",
    "lion",
    "mars",
    "muon",
    "nadam",
    "nesterov",
    "nesterov_convex",
    "nesterov_strongly_convex",
    "nigt",
    "normalized_momentum",
    "normuon",
    "optimistic_gradient",
    "qhadam",
    "qhm",
    "sgd",
    "signum",
    "simplified_ademamix",
    "triple_momentum",
]
