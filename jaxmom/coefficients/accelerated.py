"""Accelerated methods: Nesterov, triple and robust momentum, Chebyshev, as coefficients."""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom.filters import Coefficients, Recurrence, as_curvatures, as_hyperparameter, reading_new


def nesterov(beta: ArrayLike = 0.9) -> Coefficients:
    """Nesterov: ``x_{t+1} = y_t - alpha g_t; y_{t+1} = x_{t+1} + beta_t (x_{t+1} - x_t)``.

    The buffer is y - x. At constant beta and alpha this is PyTorch's and optax's Nesterov momentum,
    and Sutskever's seen at its look-ahead point. Under a schedule it is still Nesterov's, with
    beta_t = mu_{t+1} of Sutskever's velocities; theirs use mu_t in both places, so they are not
    Nesterov's.

    Source:
      Nesterov 1983 (Soviet Math. Dokl. 27(2)); Sutskever et al. 2013 (ICML), section 2.
    """
    return _extrapolated(1.0, as_hyperparameter("beta", beta, "(-1, 1)"))


def sutskever_nesterov(beta: ArrayLike = 0.9, next_beta: ArrayLike | None = None) -> Coefficients:
    """Nesterov's in Sutskever's velocities, at the point of the gradient.

    ``v_{t+1} = mu_t v_t - alpha grad f(theta_t + mu_t v_t); theta_{t+1} = theta_t + v_{t+1}``.
    params is ``theta_t + mu_t v_t``, and theta is `eval_params`. The decay is mu_t, and the
    extrapolation to the next point mu_{t+1}: with mu_t in both places it would not be Nesterov's.

    Args:
      beta: mu_t, in (-1, 1).
      next_beta: mu_{t+1}; the same by default.

    Source:
      Sutskever, Martens, Dahl and Hinton 2013 (ICML), equations 3 and 4.
    """
    mu = as_hyperparameter("beta", beta, "(-1, 1)")
    ahead = mu if next_beta is None else as_hyperparameter("next_beta", next_beta, "(-1, 1)")
    return reading_new(decay=mu, gain=1.0, read=ahead, direct=1.0, evaluate=-mu)


def nesterov_convex() -> Recurrence:
    """Nesterov for convex functions: `nesterov` with ``beta_k = (t_k - 1) / t_{k+1}``.

    ``t_0 = 1; t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2``. With alpha = 1/L, ``f(x_N) - f* <=
    2 L |x_0 - x*|^2 / (N + 1)^2``.

    Source:
      Nesterov 1983; Beck and Teboulle 2009 (SIAM J. Imaging Sci. 2(1)), theorem 4.4.
    """
    return Recurrence(1.0, Partial(_nesterov_convex))


def _nesterov_convex(t: Any) -> tuple[Any, Coefficients]:
    following = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
    return following, _extrapolated(1.0, (t - 1) / following)


def nesterov_strongly_convex(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """Nesterov for strongly convex functions: `nesterov` with alpha and beta from mu and L.

    ``alpha = 1/L; beta = (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu))``, and then ``f(x_N) - f* <=
    (1 - sqrt(mu/L))^N (f(x_0) - f* + mu |x_0 - x*|^2 / 2)``.

    Source:
      Nesterov 2018 (Lectures on Convex Optimization), constant step scheme III, (2.2.22).
    """
    mu, L = as_curvatures(mu, L)
    return _extrapolated(1 / L, (jnp.sqrt(L) - jnp.sqrt(mu)) / (jnp.sqrt(L) + jnp.sqrt(mu)))


def _extrapolated(step: Any, beta: Any) -> Coefficients:
    return reading_new(decay=beta, gain=beta * step, read=1.0, direct=step, evaluate=-1.0)


def synthesized_nesterov(
    beta1: ArrayLike, beta2: ArrayLike, next_beta2: ArrayLike | None = None
) -> Coefficients:
    """Synthesized Nesterov: all methods of two points, one for the gradient and one to move.

    ``xi_{t+1} = xi_t + beta_1 (xi_t - xi_{t-1}) - alpha g(y_t); y_t = xi_t + beta_2 (xi_t -
    xi_{t-1})``. params is y, and xi is `eval_params`: beta_2 = 0 is the heavy ball, beta_2 = beta_1
    Nesterov's method.

    Args:
      beta1: beta_1, in (-1, 1).
      beta2: beta_2, which places y_t.
      next_beta2: That of the next step; the same by default.

    Source:
      Lessard, Recht and Packard 2016 (arXiv 1408.3595), section 6.
    """
    beta1 = as_hyperparameter("beta1", beta1, "(-1, 1)")
    beta2 = as_hyperparameter("beta2", beta2)
    ahead = beta2 if next_beta2 is None else as_hyperparameter("next_beta2", next_beta2)
    return Coefficients(
        decay=beta1,
        gain=1.0,
        read=beta1 + (ahead * beta1 - beta2),
        direct=1 + ahead,
        evaluate=-beta2,
    )


def robust_momentum(
    mu: ArrayLike, L: ArrayLike, rho: ArrayLike, next_rho: ArrayLike | None = None
) -> Coefficients:
    """Robust momentum: from triple momentum to gradient descent, slower and less sensitive.

    ``x_{t+1} = x_t + beta (x_t - x_{t-1}) - alpha g(y_t); y_t = x_t + gamma (x_t - x_{t-1})`` with
    kappa = L/mu and ``alpha = kappa (1-rho)^2 (1+rho) / L``, ``beta = kappa rho^3 / (kappa-1)``,
    ``gamma = rho^3 / ((kappa-1) (1-rho)^2 (1+rho))``. params is y; the rate rho is that of x, which
    is `eval_params`.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness, above mu.
      rho: In [1 - sqrt(mu/L), 1 - mu/L]; the least is triple momentum, the greatest gradient
        descent with the learning rate 1/L.
      next_rho: That of the next step, which places y_{t+1}; the same by default.

    Source:
      Cyrus, Hu, Van Scoy and Lessard 2018 (arXiv 1710.04753), section II.
    """
    mu, L = as_curvatures(mu, L)
    rho = as_hyperparameter("rho", rho, "[0, 1)")
    _check_rate(mu, L, rho)
    ahead = rho if next_rho is None else as_hyperparameter("next_rho", next_rho, "[0, 1)")
    step = _robust_step(mu, L, rho)
    beta = rho**3 * L / (L - mu)
    return reading_new(
        decay=beta,
        gain=step / L,
        read=1 + ahead**3 * L / (L - mu) / _robust_step(mu, L, ahead) - 1 / step,
        direct=1 / L,
        evaluate=-beta / step,
    )


def _robust_step(mu: Any, L: Any, rho: Any) -> Any:
    """Return ``alpha L``, which is ``beta / gamma`` too."""
    return (1 - rho) ** 2 * (1 + rho) * L / mu


def _check_rate(mu: Any, L: Any, rho: Any) -> None:
    if not all(isinstance(number, float) for number in (mu, L, rho)):
        return
    least, greatest, rounding = 1 - (mu / L) ** 0.5, 1 - mu / L, 1e-6
    if mu == L or not least - rounding <= rho <= greatest + rounding:
        raise ValueError(
            f"rho = {rho} is not a rate of robust momentum for mu = {mu} and L = {L}: mu is below "
            f"L, and rho in [1 - sqrt(mu/L), 1 - mu/L] = [{least:.6g}, {greatest:.6g}]."
        )


def triple_momentum(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """Triple momentum: the fastest first-order method known for smooth strongly convex functions.

    ``xi_{t+1} = (1+b) xi_t - b xi_{t-1} - a g(y_t); y_t = (1+c) xi_t - c xi_{t-1}``, and the
    guarantee ``|x_t - x*| = O(rho^t)`` is for ``x_t = (1+d) xi_t - d xi_{t-1}``, with
    ``rho = 1 - sqrt(mu/L)``, ``a = (1+rho)/L``, ``b = rho^2/(2-rho)``,
    ``c = rho^2/((1+rho)(2-rho))``, ``d = rho^2/(1-rho^2)``.

    Source:
      Van Scoy, Freeman and Lynch 2018 (IEEE Control Syst. Lett. 2(1)), section II.
    """
    mu, L = as_curvatures(mu, L)
    gap = jnp.sqrt(mu / L)
    rho = 1 - gap
    ahead, out = rho**2 / ((1 + rho) * (2 - rho)), rho**2 / (gap * (1 + rho))
    return reading_new(
        decay=rho**2 / (2 - rho),
        gain=1 / L,
        read=2 * rho / (2 - rho),
        direct=1 / L,
        evaluate=(out - ahead) * (1 + rho),
    )


def optimal_heavy_ball(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """The heavy ball with the best constants for quadratics with curvatures in [mu, L].

    ``alpha = (2 / (sqrt(L) + sqrt(mu)))^2; beta = ((sqrt(L) - sqrt(mu)) / (sqrt(L) +
    sqrt(mu)))^2``, of rate sqrt(beta). Off quadratics it may cycle forever.

    Source:
      Polyak 1964 (USSR Comput. Math. Math. Phys. 4(5)); Lessard, Recht and Packard 2016
      (arXiv 1408.3595), proposition 1.
    """
    mu, L = as_curvatures(mu, L)
    total = jnp.sqrt(L) + jnp.sqrt(mu)
    beta = ((jnp.sqrt(L) - jnp.sqrt(mu)) / total) ** 2
    return reading_new(decay=beta, gain=(2 / total) ** 2, read=1.0)


def chebyshev(mu: ArrayLike, L: ArrayLike) -> Recurrence:
    """Chebyshev semi-iteration: no polynomial method is faster on all spectra in [mu, L].

    ``x_1 = x_0 - 2/(L+mu) g_0``, then ``x_{t+1} = x_t + (w_{t+1} - 1)(x_t - x_{t-1}) -
    (2/(L+mu)) w_{t+1} g_t`` with ``w_1 = 2; w_{t+1} = 1 / (1 - r^2 w_t / 4); r = (L-mu)/(L+mu)``.
    For quadratics only.

    Source:
      Golub and Varga 1961 (Numer. Math. 3), section 2.
    """
    mu, L = as_curvatures(mu, L)
    return Recurrence(0.0, Partial(_chebyshev, mu=mu, L=L))


def _chebyshev(w: Any, mu: Any, L: Any) -> tuple[Any, Coefficients]:
    mu, L = as_curvatures(mu, L)
    # From w = 0 the recurrence gives the 1 of the first step, which w_1 = 2 follows.
    following = 1 / (1 - ((L - mu) / (L + mu)) ** 2 * w / 4)
    c = reading_new(decay=following - 1, gain=2 * following / (L + mu), read=1.0)
    return jnp.where(w == 0, 2.0, following), c
