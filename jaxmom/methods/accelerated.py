"""Accelerated methods: Nesterov, triple momentum, Chebyshev, as optimizers."""

from jaxmom import coefficients
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule


def nesterov(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Nesterov's method: ``x' = y - alpha g; y <- x' + beta (x' - x); x <- x'``.

    params is y, where gradients are taken; `eval_params` is x. At constant hyperparameters the same
    as ``sgd(nesterov=True)``; under schedules still Nesterov's method.

    Args:
      learning_rate: alpha.
      beta: In (-1, 1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov(0.1, beta=jm.schedules.sutskever(beta_max=0.99))
    """
    return momentum_method(coefficients.nesterov, "inside", learning_rate=learning_rate, beta=beta)


def nesterov_convex(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Nesterov's method for convex functions: `nesterov` with ``beta_k = (t_k - 1) / t_{k+1}``.

    Args:
      learning_rate: alpha, at most 1/L for ``f(x_N) - f* <= 2 |x_0 - x*|^2 / (alpha (N + 1)^2)``.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov_convex(learning_rate=1 / 25.0)
    """
    return momentum_method(coefficients.nesterov_convex, "inside", learning_rate=learning_rate)


def nesterov_strongly_convex(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Nesterov's method tuned for curvatures in [mu, L]: `nesterov` with 1/L and beta from L/mu.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov_strongly_convex(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.nesterov_strongly_convex, "inside", mu=mu, L=L)


def triple_momentum(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Triple momentum for curvatures in [mu, L]; its rate is 1 - sqrt(mu/L), at `eval_params`.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.triple_momentum(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.triple_momentum, "inside", mu=mu, L=L)


def chebyshev(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Chebyshev's semi-iteration for quadratics with curvatures in [mu, L].

    Args:
      mu: The least curvature, positive.
      L: The greatest curvature.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.chebyshev(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.chebyshev, "inside", mu=mu, L=L)
