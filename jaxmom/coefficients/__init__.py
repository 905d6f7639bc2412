"""The named methods as data, a module per family: recurrence, source, coefficients.

Every function takes the hyperparameters of a method under its paper's names. It returns
`Coefficients`, or a `Recurrence` if they vary with the step. `jaxmom.methods` makes optimizers of
them; `jaxmom.stack` makes the constant ones the rows of one program. The recurrences are written
for a learning rate alpha and gradients g_t = grad f(y_t), where y is what optax calls params;
buffers start at zero.
"""

from jaxmom.coefficients.accelerated import (
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
from jaxmom.coefficients.adam import ademamix, mars, nadam, qhadam, simplified_ademamix
from jaxmom.coefficients.aggregated import aggmo, grokfast, maxwell, qhm
from jaxmom.coefficients.averaging import ema_nesterov, gpa, primal_averaging, schedule_free
from jaxmom.coefficients.basic import ema_momentum, gradient_descent, heavy_ball, sgd
from jaxmom.coefficients.games import complex_momentum, extragradient, optimistic_gradient
from jaxmom.coefficients.optimized import (
    item,
    ogm_gradient,
    ogm_strongly_convex,
    optimized_gradient,
)
from jaxmom.coefficients.scheduled import am1, dana, demon, fsgdm
from jaxmom.coefficients.sign import lion
from jaxmom.coefficients.stochastic import accelerated_sgd, mass, pid, pnm, unified_momentum

__all__ = [
    "accelerated_sgd",
    "ademamix",
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
    "nadam",
    "nesterov",
    "nesterov_convex",
    "nesterov_strongly_convex",
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
    "simplified_ademamix",
    "sutskever_nesterov",
    "synthesized_nesterov",
    "triple_momentum",
    "unified_momentum",
]
