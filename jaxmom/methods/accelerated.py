"""Accelerated methods: Nesterov, triple and robust momentum, Chebyshev, as optimizers."""

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


def sutskever_nesterov(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Nesterov in velocities: ``v <- mu_t v - alpha g(theta + mu_t v); theta <- theta + v``.

    params is ``theta + mu_t v``, where gradients are taken; `eval_params` is theta. A schedule is
    read twice: mu_t decays the velocity, mu_{t+1} places the next gradient.

    Args:
      learning_rate: alpha.
      beta: mu, in (-1, 1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.sutskever_nesterov(0.01, beta=jm.schedules.sutskever(beta_max=0.99))
    """
    return momentum_method(
        coefficients.sutskever_nesterov, "inside", learning_rate=learning_rate, beta=beta
    )


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


def synthesized_nesterov(
    learning_rate: ScalarOrSchedule, beta1: ScalarOrSchedule, beta2: ScalarOrSchedule
) -> Optimizer:
    """Synthesized Nesterov: ``xi <- xi + b1 (xi - xi_previous) - alpha g(y)``, y by b2 ahead of xi.

    params is y; `eval_params` is xi. beta2 = 0 is `heavy_ball`, beta2 = beta1 is `nesterov`.

    Args:
      learning_rate: alpha.
      beta1: That of the step, in (-1, 1).
      beta2: That of the point of the gradient. A schedule is read at the step of that point.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.synthesized_nesterov(0.1, beta1=0.9, beta2=0.6)
    """
    return momentum_method(
        coefficients.synthesized_nesterov,
        "inside",
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
    )


def robust_momentum(mu: ScalarOrSchedule, L: ScalarOrSchedule, rho: ScalarOrSchedule) -> Optimizer:
    """Robust momentum for curvatures in [mu, L]: one knob from speed to robustness.

    The theory has constant mu and L; where a schedule changes them, the buffer stays as it is.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.
      rho: The rate, in [1 - sqrt(mu/L), 1 - mu/L]: from `triple_momentum` to `gradient_descent`.
        A schedule is read at the step of the point of the gradient.

    Raises:
      ValueError: Plain numbers with rho outside of that interval.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.robust_momentum(mu=1.0, L=25.0, rho=0.9)
    """
    return momentum_method(coefficients.robust_momentum, "inside", mu=mu, L=L, rho=rho)


def triple_momentum(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Triple momentum for curvatures in [mu, L]; its rate is 1 - sqrt(mu/L), at `eval_params`.

    The theory has constants; where a schedule changes them, the buffer stays as it is.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.triple_momentum(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.triple_momentum, "inside", mu=mu, L=L)


def optimal_heavy_ball(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """The heavy ball with Polyak's constants for quadratics with curvatures in [mu, L].

    Args:
      mu: The least curvature, positive.
      L: The greatest curvature.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.optimal_heavy_ball(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.optimal_heavy_ball, "inside", mu=mu, L=L)


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
