"""What a linear optimizer must do, from the program of its update.

    theory.linearize            any linear optax chain as x <- A x + B g; others are refused by name
    theory.linearize_period     the systems of a period, for coefficients that repeat; `monodromy`
    theory.spectral_radius      the rate at one curvature; `rate` over all of [mu, L]
    theory.stability_limit      the largest stable curvature, for any number of buffers
    theory.stationary_variance  the noise floor; `curvature_noise_limit` for noise that multiplies
    theory.frequency_response   the filter's gain and delay; `effective_learning_rate`, `memory`
    theory.kernel               the weights of past gradients in a step; their `mean_age`
    theory.equivalent           whether two optimizers are one linear system, or where they differ
    theory.risk                 the expected loss of stochastic least squares at every step, exactly
    theory.tune                 the best hyperparameters on quadratics, with their rate
    theory.max_stable_alpha     the largest stable step of Q-learning with momentum
    theory.certified_rate       a rate for all smooth strongly convex functions, with a proof
    theory.certified_rates      such rates of many optimizers, each with its proof
    theory.certifiable_rate     the same rate as a number that compiles and differentiates
    theory.certified_value_rate such a rate of function values, also of convex functions
    theory.certified_noisy_rate such a rate for gradients with relative errors
    theory.certified_variance   the noise floor on all such functions; `certified_radius`, of bounds
    theory.worst_case           the exact worst case of N steps, its proof and its function

An optimizer is a pytree, so that all but `tune`, `minimal`, `regime`, `equivalent`, `worst_case`
and the functions called certified compile and map over its hyperparameters. An array of curvatures
is as many separate problems, with one result each. Curvatures of games may be complex, in
`iteration_matrix`, `monodromy`, `eigenvalues`, `characteristic_polynomial`, `spectral_radius`,
`period`, `transient_growth`, `stationary_covariance` and `stationary_variance`;
`stability_limit` takes their angle, and the others refuse them. Coefficients that repeat are
admitted by `monodromy`, `spectral_radius`, `rate`, `stability_limit` and `kernel`.
Exact formulas need exact numbers: enable ``jax_enable_x64``.
"""

from jaxmom.theory._certified_rates import CertifiedRates, certified_rates
from jaxmom.theory._constraints import inequality
from jaxmom.theory._equivalent import Equivalence, equivalent
from jaxmom.theory._frequency import certifiable_rate
from jaxmom.theory._kernel import kernel, mean_age
from jaxmom.theory._linearize import (
    NotLinearError,
    TimeVaryingError,
    linearize,
    linearize_period,
)
from jaxmom.theory._minimal import minimal
from jaxmom.theory._noisy_certificates import (
    NoiseFloor,
    NoisyRate,
    certified_noisy_rate,
    certified_radius,
    certified_variance,
)
from jaxmom.theory._risk import risk
from jaxmom.theory._systems import Linear
from jaxmom.theory._value_certificate import ValueCertificate, certified_value_rate
from jaxmom.theory._worst_case import WorstCase, worst_case
from jaxmom.theory.certificate import Certificate, certified_rate
from jaxmom.theory.linear_system import (
    LinearSystem,
    PeriodicSystem,
    dc_gain,
    nyquist_gain,
    transfer_function,
)
from jaxmom.theory.noise import (
    curvature_noise_limit,
    excess_loss,
    mean_square_rate,
    stationary_covariance,
    stationary_variance,
)
from jaxmom.theory.response import (
    effective_learning_rate,
    frequency_response,
    half_life,
    memory,
)
from jaxmom.theory.spectrum import (
    characteristic_polynomial,
    damping,
    eigenvalues,
    iteration_matrix,
    monodromy,
    period,
    rate,
    regime,
    spectral_radius,
)
from jaxmom.theory.stability import flip_bound, neimark_sacker_bound, stability_limit
from jaxmom.theory.td import max_stable_alpha, td_growth, td_spectrum, td_stable_alpha
from jaxmom.theory.transient import transient_growth
from jaxmom.theory.tuning import CLOSED_FORMS, Tuning, lower_bound, tune

__all__ = [
    "CLOSED_FORMS",
    "Certificate",
    "CertifiedRates",
    "Equivalence",
    "Linear",
    "LinearSystem",
    "NoiseFloor",
    "NoisyRate",
    "NotLinearError",
    "PeriodicSystem",
    "TimeVaryingError",
    "Tuning",
    "ValueCertificate",
    "WorstCase",
    "certifiable_rate",
    "certified_noisy_rate",
    "certified_radius",
    "certified_rate",
    "certified_rates",
    "certified_value_rate",
    "certified_variance",
    "characteristic_polynomial",
    "curvature_noise_limit",
    "damping",
    "dc_gain",
    "effective_learning_rate",
    "eigenvalues",
    "equivalent",
    "excess_loss",
    "flip_bound",
    "frequency_response",
    "half_life",
    "inequality",
    "iteration_matrix",
    "kernel",
    "linearize",
    "linearize_period",
    "lower_bound",
    "max_stable_alpha",
    "mean_age",
    "mean_square_rate",
    "memory",
    "minimal",
    "monodromy",
    "neimark_sacker_bound",
    "nyquist_gain",
    "period",
    "rate",
    "regime",
    "risk",
    "spectral_radius",
    "stability_limit",
    "stationary_covariance",
    "stationary_variance",
    "td_growth",
    "td_spectrum",
    "td_stable_alpha",
    "transfer_function",
    "transient_growth",
    "tune",
    "worst_case",
]
