"""Accelerated methods: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


def extrapolated(gradient, y, step, beta_of) -> Points:
    x, t = y, 0
    while True:
        yield y, x
        new = y - step * gradient(y, t)
        y, x, t = new + beta_of(t) * (new - x), new, t + 1


def nesterov(gradient, y, learning_rate, beta) -> Points:
    return extrapolated(gradient, y, learning_rate, lambda t: beta)


def nesterov_convex(gradient, y, learning_rate) -> Points:
    ts = [1.0]

    def beta_of(t):
        ts.append((1 + np.sqrt(1 + 4 * ts[t] ** 2)) / 2)
        return (ts[t] - 1) / ts[t + 1]

    return extrapolated(gradient, y, learning_rate, beta_of)


def nesterov_strongly_convex(gradient, y, mu, L) -> Points:
    q = np.sqrt(mu / L)
    return extrapolated(gradient, y, 1 / L, lambda t: (1 - q) / (1 + q))


def sutskever_nesterov(gradient, theta, learning_rate, beta) -> Points:
    v, t = np.zeros_like(theta), 0
    while True:
        yield theta + beta * v, theta
        v = beta * v - learning_rate * gradient(theta + beta * v, t)
        theta, t = theta + v, t + 1


def synthesized_nesterov(gradient, xi, learning_rate, beta1, beta2) -> Points:
    previous, t = xi, 0
    while True:
        y = xi + beta2 * (xi - previous)
        yield y, xi
        new = xi + beta1 * (xi - previous) - learning_rate * gradient(y, t)
        xi, previous, t = new, xi, t + 1


def robust_momentum(gradient, x, mu, L, rho) -> Points:
    kappa = L / mu
    alpha, beta = kappa * (1 - rho) ** 2 * (1 + rho) / L, kappa * rho**3 / (kappa - 1)
    gamma = rho**3 / ((kappa - 1) * (1 - rho) ** 2 * (1 + rho))
    return synthesized_nesterov(gradient, x, alpha, beta, gamma)


def optimal_heavy_ball(gradient, x, mu, L) -> Points:
    alpha = (2 / (np.sqrt(L) + np.sqrt(mu))) ** 2
    root, previous, t = (np.sqrt(L / mu) - 1) / (np.sqrt(L / mu) + 1), x, 0
    while True:
        yield x, x
        new = x - alpha * gradient(x, t) + root**2 * (x - previous)
        x, previous, t = new, x, t + 1


def triple_momentum(gradient, x, mu, L) -> Points:
    rho = 1 - 1 / np.sqrt(L / mu)
    alpha, beta = (1 + rho) / L, rho**2 / (2 - rho)
    gamma, delta = rho**2 / ((1 + rho) * (2 - rho)), rho**2 / (1 - rho**2)
    xi = previous = x
    t = 0
    while True:
        y = (1 + gamma) * xi - gamma * previous
        yield y, (1 + delta) * xi - delta * previous
        new = (1 + beta) * xi - beta * previous - alpha * gradient(y, t)
        xi, previous, t = new, xi, t + 1


def chebyshev(gradient, x, mu, L) -> Points:
    r, h = (L - mu) / (L + mu), 2 / (L + mu)
    yield x, x
    x, previous, omega, t = x - h * gradient(x, 0), x, 2.0, 1
    while True:
        yield x, x
        omega = 1 / (1 - r**2 * omega / 4)
        new = x + (omega - 1) * (x - previous) - h * omega * gradient(x, t)
        x, previous, t = new, x, t + 1


_BETA = {"learning_rate": 0.05, "beta": 0.9}
_CURVATURES = {"mu": 1.0, "L": 12.0}

METHODS = {
    "nesterov": Case(jm.nesterov, _BETA, nesterov),
    "nesterov_convex": Case(jm.nesterov_convex, {"learning_rate": 0.05}, nesterov_convex),
    "nesterov_strongly_convex": Case(
        jm.nesterov_strongly_convex, _CURVATURES, nesterov_strongly_convex, positive=("mu", "L")
    ),
    "sutskever_nesterov": Case(jm.sutskever_nesterov, _BETA, sutskever_nesterov),
    "synthesized_nesterov": Case(
        jm.synthesized_nesterov,
        {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.5},
        synthesized_nesterov,
    ),
    "robust_momentum": Case(
        jm.robust_momentum,
        {**_CURVATURES, "rho": 0.8},
        robust_momentum,
        positive=("mu", "L", "rho"),
    ),
    "optimal_heavy_ball": Case(
        jm.optimal_heavy_ball, _CURVATURES, optimal_heavy_ball, positive=("mu", "L")
    ),
    "triple_momentum": Case(jm.triple_momentum, _CURVATURES, triple_momentum, positive=("mu", "L")),
    "chebyshev": Case(jm.chebyshev, _CURVATURES, chebyshev, positive=("mu", "L")),
}
