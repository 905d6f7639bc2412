"""Problems: losses with data, a starting point, and known facts such as mu, L and the optimum."""

from jaxmom.problems._games import bilinear_game, quadratic_game
from jaxmom.problems._interpolated import interpolated
from jaxmom.problems._quadratic import (
    chebyshev_spectrum,
    log_spectrum,
    quadratic,
    tutorial_quadratic,
    uniform_spectrum,
)
from jaxmom.problems.data import Digits, digits, with_intercept
from jaxmom.problems.landscapes import (
    HIMMELBLAU_MINIMA,
    beale,
    himmelblau,
    narrow_valley,
    rosenbrock,
)
from jaxmom.problems.networks import digits_mlp
from jaxmom.problems.problem import Problem, cast, curvature, with_optimum
from jaxmom.problems.regression import (
    digits_logistic,
    least_squares,
    logistic_regression,
    tutorial_regression,
)

__all__ = [
    "HIMMELBLAU_MINIMA",
    "Digits",
    "Problem",
    "beale",
    "bilinear_game",
    "cast",
    "chebyshev_spectrum",
    "curvature",
    "digits",
    "digits_logistic",
    "digits_mlp",
    "himmelblau",
    "interpolated",
    "least_squares",
    "log_spectrum",
    "logistic_regression",
    "narrow_valley",
    "quadratic",
    "quadratic_game",
    "rosenbrock",
    "tutorial_quadratic",
    "tutorial_regression",
    "uniform_spectrum",
    "with_intercept",
    "with_optimum",
]
