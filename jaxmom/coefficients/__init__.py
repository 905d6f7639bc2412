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
    triple_momentum,
)
from jaxmom.coefficients.adam import ademamix, mars, nadam, qhadam, simplified_ademamix
from jaxmom.coefficients.aggregated import aggmo, qhm
from jaxmom.coefficients.basic import ema_momentum, gradient_descent, heavy_ball, sgd
from jaxmom.coefficients.games import optimistic_gradient
from jaxmom.coefficients.scheduled import demon
from jaxmom.coefficients.sign import lion

__all__ = [
    "ademamix",
    "aggmo",
    "chebyshev",
    "demon",
    "ema_momentum",
    "gradient_descent",
    "heavy_ball",
    "lion",
    "mars",
    "nadam",
    "nesterov",
    "nesterov_convex",
    "nesterov_strongly_convex",
    "optimistic_gradient",
    "qhadam",
    "qhm",
    "sgd",
    "simplified_ademamix",
    "triple_momentum",
]
