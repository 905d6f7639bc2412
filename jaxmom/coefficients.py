"""The named methods as data: a paper's recurrence, its source, and a few lines of coefficients.

Every function here takes a method's letters and returns its law: `Coefficients`, or a `Recurrence`
if they vary with the step. `jaxmom.methods` makes optimizers of them; `jaxmom.stack` makes the
constant ones the rows of one program. The recurrences are written for a learning rate alpha and
gradients g_t = grad f(y_t), where y is what optax calls params; buffers start at zero.
"""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom import schedules
from jaxmom.filters import Coefficients, Recurrence, letter, reading_new


def gradient_descent() -> Coefficients:
    """Gradient descent: ``y_{t+1} = y_t - alpha g_t``."""
    return Coefficients(decay=[], gain=[], read=[], direct=1.0)


def heavy_ball(beta: ArrayLike = 0.9) -> Coefficients:
    """Heavy ball: ``y_{t+1} = y_t - alpha g_t + beta (y_t - y_{t-1})``.

    Source: Polyak 1964 (USSR Comput. Math. Math. Phys. 4(5)), equation 9.
    """
    beta = letter("beta", beta, "(-1, 1)")
    return reading_new(decay=beta, gain=1.0, read=1.0)


def ema_momentum(beta: ArrayLike = 0.9, debias: bool = False) -> Coefficients | Recurrence:
    """Averaged gradient: ``m_{t+1} = beta m_t + (1 - beta) g_t; y_{t+1} = y_t - alpha m_{t+1}``.

    With `debias`, m is divided by ``1 - beta^{t+1}``, the weight of the gradients in it.

    Source: Gupal and Bazhenov 1972; the debiasing is that of Kingma and Ba 2015 (arXiv 1412.6980).
    """
    beta = letter("beta", beta, "[0, 1)")
    if debias:
        return Recurrence(1.0, Partial(_debiased, beta=beta))
    return reading_new(decay=beta, gain=1 - beta, read=1.0)


def _debiased(power: Any, beta: Any) -> tuple[Any, Coefficients]:
    power = power * beta  # beta^{t+1} as a running product: pow costs five times the whole step
    return power, reading_new(decay=beta, gain=1 - beta, read=1 / (1 - power))


def sgd(
    momentum: ArrayLike = 0.0, dampening: ArrayLike = 0.0, nesterov: bool = False
) -> Coefficients:
    """PyTorch's: ``b_{t+1} = mu b_t + (1 - tau) g_t; y_{t+1} = y_t - alpha b_{t+1}``.

    With `nesterov` the step is ``alpha (g_t + mu b_{t+1})``. PyTorch's first buffer is g_0 without
    dampening, which is ``start="first_gradient"`` here; its mu = 0 ignores the dampening.

    Source: PyTorch 2.13 documentation of torch.optim.SGD.
    """
    mu = letter("momentum", momentum, "[0, inf)")
    tau = letter("dampening", dampening)
    tau = jnp.where(mu == 0, 0.0, tau)
    if nesterov:
        return reading_new(decay=mu, gain=1 - tau, read=mu, direct=1.0)
    return reading_new(decay=mu, gain=1 - tau, read=1.0)


def nesterov(beta: ArrayLike = 0.9) -> Coefficients:
    """Nesterov: ``x_{t+1} = y_t - alpha g_t; y_{t+1} = x_{t+1} + beta_t (x_{t+1} - x_t)``.

    The buffer is y - x. At constant beta and alpha this is PyTorch's and optax's Nesterov momentum,
    and Sutskever's seen at its look-ahead point. Under a schedule it is still Nesterov's, with
    beta_t = mu_{t+1} of Sutskever's velocities; theirs uses mu_t in both places, and is not.

    Source: Nesterov 1983 (Soviet Math. Dokl. 27(2)); Sutskever et al. 2013 (ICML), section 2.
    """
    return _extrapolated(1.0, letter("beta", beta, "(-1, 1)"))


def nesterov_convex() -> Recurrence:
    """Nesterov for convex functions: `nesterov` with ``beta_k = (t_k - 1) / t_{k+1}``.

    ``t_0 = 1; t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2``. With alpha = 1/L, ``f(x_N) - f* <=
    2 L |x_0 - x*|^2 / (N + 1)^2``.

    Source: Nesterov 1983; Beck and Teboulle 2009 (SIAM J. Imaging Sci. 2(1)), theorem 4.4.
    """
    return Recurrence(1.0, Partial(_nesterov_convex))


def _nesterov_convex(t: Any) -> tuple[Any, Coefficients]:
    following = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
    return following, _extrapolated(1.0, (t - 1) / following)


def nesterov_strongly_convex(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """Nesterov for strongly convex functions: `nesterov` with alpha and beta from mu and L.

    ``alpha = 1/L; beta = (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu))``, and then ``f(x_N) - f* <=
    (1 - sqrt(mu/L))^N (f(x_0) - f* + mu |x_0 - x*|^2 / 2)``.

    Source: Nesterov 2018 (Lectures on Convex Optimization), constant step scheme III, (2.2.22).
    """
    mu, L = letter("mu", mu, "(0, inf)"), letter("L", L, "(0, inf)")
    return _extrapolated(1 / L, (jnp.sqrt(L) - jnp.sqrt(mu)) / (jnp.sqrt(L) + jnp.sqrt(mu)))


def _extrapolated(step: Any, beta: Any) -> Coefficients:
    return reading_new(decay=beta, gain=beta * step, read=1.0, direct=step, evaluate=-1.0)


def qhm(beta: ArrayLike = 0.999, nu: ArrayLike = 0.7) -> Coefficients:
    """Quasi-hyperbolic momentum: a gradient step and an averaged step, mixed.

    ``m_{t+1} = beta m_t + (1-beta) g_t; y_{t+1} = y_t - alpha ((1-nu) g_t + nu m_{t+1})``: nu = 0
    is gradient descent, nu = 1 averaged momentum, nu = beta Nesterov's with alpha (1 - beta).

    Source: Ma and Yarats 2019 (arXiv 1810.06801), equation 3.
    """
    beta, nu = letter("beta", beta, "[0, 1)"), letter("nu", nu)
    return reading_new(decay=beta, gain=1 - beta, read=nu, direct=1 - nu)


def aggmo(betas: Any = (0.0, 0.9, 0.99)) -> Coefficients:
    """Aggregated: ``v_i <- beta_i v_i - g_t; y_{t+1} = y_t + (alpha / K) sum_i v_i``, K betas.

    Source: Lucas, Sun, Zemel and Grosse 2019 (arXiv 1804.00325), equation 2.
    """
    betas = letter("betas", betas, "(-1, 1)")
    one = jnp.ones_like(betas)
    return reading_new(decay=betas, gain=one, read=one / betas.shape[-1])


def triple_momentum(mu: ArrayLike, L: ArrayLike) -> Coefficients:
    """Triple momentum: the fastest first-order method known for smooth strongly convex functions.

    ``xi_{t+1} = (1+b) xi_t - b xi_{t-1} - a g(y_t); y_t = (1+c) xi_t - c xi_{t-1}``, and the
    guarantee ``|x_t - x*| = O(rho^t)`` is for ``x_t = (1+d) xi_t - d xi_{t-1}``, with
    ``rho = 1 - sqrt(mu/L)``, ``a = (1+rho)/L``, ``b = rho^2/(2-rho)``,
    ``c = rho^2/((1+rho)(2-rho))``, ``d = rho^2/(1-rho^2)``.

    Source: Van Scoy, Freeman and Lynch 2018 (IEEE Control Syst. Lett. 2(1)), section II.
    """
    mu, L = letter("mu", mu, "(0, inf)"), letter("L", L, "(0, inf)")
    rho = 1 - jnp.sqrt(mu / L)
    ahead, out = rho**2 / ((1 + rho) * (2 - rho)), rho**2 / (1 - rho**2)
    return reading_new(
        decay=rho**2 / (2 - rho),
        gain=1 / L,
        read=2 * rho / (2 - rho),
        direct=1 / L,
        evaluate=(out - ahead) * (1 + rho),
    )


def chebyshev(mu: ArrayLike, L: ArrayLike) -> Recurrence:
    """Chebyshev semi-iteration: no polynomial method is faster on all spectra in [mu, L].

    ``x_1 = x_0 - 2/(L+mu) g_0``, then ``x_{t+1} = x_t + (w_{t+1} - 1)(x_t - x_{t-1}) -
    (2/(L+mu)) w_{t+1} g_t`` with ``w_1 = 2; w_{t+1} = 1 / (1 - r^2 w_t / 4); r = (L-mu)/(L+mu)``.
    For quadratics only.

    Source: Golub and Varga 1961 (Numer. Math. 3), section 2.
    """
    mu, L = letter("mu", mu, "(0, inf)"), letter("L", L, "(0, inf)")
    return Recurrence(0.0, Partial(_chebyshev, mu=mu, L=L))


def _chebyshev(w: Any, mu: Any, L: Any) -> tuple[Any, Coefficients]:
    # From w = 0 the recurrence gives the 1 of the first step, which w_1 = 2 follows.
    following = 1 / (1 - ((L - mu) / (L + mu)) ** 2 * w / 4)
    c = reading_new(decay=following - 1, gain=2 * following / (L + mu), read=1.0)
    return jnp.where(w == 0, 2.0, following), c


def demon(steps: ArrayLike, beta: ArrayLike = 0.9) -> Recurrence:
    """Decaying momentum: `heavy_ball` with ``beta_t`` of `schedules.demon`, T = `steps`.

    Source: Chen, Wolfe, Li and Kyrillidis 2022 (arXiv 1910.04952), algorithm 1.
    """
    beta, steps = letter("beta", beta, "[0, 1)"), letter("steps", steps, "(0, inf]")
    return Recurrence(0, Partial(_demon, schedule=schedules.demon(beta, steps)))


def _demon(count: Any, schedule: Any) -> tuple[Any, Coefficients]:
    return count + 1, heavy_ball(schedule(count))


def lion(b1: ArrayLike = 0.9, b2: ArrayLike = 0.99) -> Coefficients:
    """The filter in front of Lion's sign, which reads the buffer before it writes it.

    ``u_t = b1 m_t + (1-b1) g_t; m_{t+1} = b2 m_t + (1-b2) g_t; y_{t+1} = y_t - alpha sign(u_t)``.

    Source: Chen et al. 2023 (arXiv 2302.06675), algorithm 2.
    """
    b1, b2 = letter("b1", b1, "[0, 1]"), letter("b2", b2, "[0, 1)")
    return Coefficients(decay=b2, gain=1 - b2, read=b1, direct=1 - b1)


def optimistic_gradient(optimism: ArrayLike = 1.0) -> Coefficients:
    """Optimistic gradient: ``y_{t+1} = y_t - alpha (g_t + o (g_t - g_{t-1}))``, with g_{-1} = 0.

    The previous gradient is a buffer with decay 0: a pure delay. (`optax` lets the first gradient
    be its own predecessor; that is ``start="first_gradient"``.)

    Source: Rakhlin and Sridharan 2013 (arXiv 1311.1869), M_{t+1} = g_t; Daskalakis et al. 2018
    (arXiv 1711.00141), equation 6, both with o = 1.
    """
    o = letter("optimism", optimism)
    return Coefficients(decay=0.0, gain=1.0, read=-o, direct=1 + o)
