"""The table of methods: how to make each, its hyperparameters, and its paper's own loop.

A new method is one row here; `methods/test_laws.py` then asks all its laws of it. A recurrence is
written as its source writes it (two steps, two sequences, velocities ...), never in the form in
which jaxmom stores it. It gets ``gradient(point, t)`` and yields the points at which it asks for
gradients, and, where they differ, the points that its theorem speaks of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jaxmom as jm

Points = Iterator[tuple[np.ndarray, np.ndarray]]  # (where the gradient is taken, eval_params)


@dataclass(frozen=True)
class Case:
    make: Callable[..., jm.Optimizer]
    hyperparameters: dict[str, Any]  # floats; every one of them is a leaf
    paper: Callable[..., Points]
    static: dict[str, Any] = field(default_factory=dict)
    positive: tuple[str, ...] = ()  # hyperparameters that may not be zero
    with_zero: dict[str, dict[str, float]] = field(default_factory=dict)  # others to set then
    linear: bool = True


def gradient_descent(gradient, x, learning_rate) -> Points:
    t = 0
    while True:
        yield x, x
        x, t = x - learning_rate * gradient(x, t), t + 1


def heavy_ball(gradient, x, learning_rate, beta) -> Points:
    previous, t = x, 0
    while True:
        yield x, x
        new = x - learning_rate * gradient(x, t) + beta * (x - previous)
        x, previous, t = new, x, t + 1


def ema_momentum(gradient, x, learning_rate, beta, debias=False) -> Points:
    v, t = np.zeros_like(x), 0
    while True:
        yield x, x
        v = beta * v + (1 - beta) * gradient(x, t)
        x = x - learning_rate * (v / (1 - beta ** (t + 1)) if debias else v)
        t += 1


def sgd(
    gradient, x, learning_rate, momentum, dampening, weight_decay, nesterov=False, maximize=False
) -> Points:
    buffer, t = None, 0
    while True:
        yield x, x
        g = -gradient(x, t) if maximize else gradient(x, t)
        g = g + weight_decay * x
        if momentum != 0:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        x, t = x - learning_rate * g, t + 1


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


def qhm(gradient, x, learning_rate, beta, nu) -> Points:
    m, t = np.zeros_like(x), 0
    while True:
        yield x, x
        g = gradient(x, t)
        m = beta * m + (1 - beta) * g
        x, t = x - learning_rate * ((1 - nu) * g + nu * m), t + 1


def aggmo(gradient, x, learning_rate, betas) -> Points:
    vs, t = [np.zeros_like(x) for _ in betas], 0
    while True:
        yield x, x
        g = gradient(x, t)
        vs = [beta * v - g for beta, v in zip(betas, vs, strict=True)]
        x, t = x + learning_rate / len(vs) * sum(vs), t + 1


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


def demon(gradient, x, learning_rate, steps, beta) -> Points:
    v, t = np.zeros_like(x), 0
    while True:
        yield x, x
        left = max(1 - t / steps, 0.0)
        beta_t = beta * left / ((1 - beta) + beta * left)
        v = beta_t * v - learning_rate * gradient(x, t)
        x, t = x + v, t + 1


def signum(gradient, x, learning_rate, beta, weight_decay) -> Points:
    m, t = np.zeros_like(x), 0
    while True:
        yield x, x
        m = (1 - beta) * gradient(x, t) + beta * m
        x, t = x - learning_rate * (np.sign(m) + weight_decay * x), t + 1


def lion(gradient, x, learning_rate, b1, b2, weight_decay) -> Points:
    m, t = np.zeros_like(x), 0
    while True:
        yield x, x
        g = gradient(x, t)
        update = np.sign(b1 * m + (1 - b1) * g)
        x, m, t = x - learning_rate * (update + weight_decay * x), b2 * m + (1 - b2) * g, t + 1


def optimistic_gradient(gradient, x, learning_rate, optimism) -> Points:
    previous, t = np.zeros_like(x), 0
    while True:
        yield x, x
        g = gradient(x, t)
        x = x - learning_rate * (1 + optimism) * g + learning_rate * optimism * previous
        previous, t = g, t + 1


_BETA = {"learning_rate": 0.05, "beta": 0.9}
_SGD = {"learning_rate": 0.03, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.02}
_CURVATURES = {"mu": 1.0, "L": 12.0}

METHODS: dict[str, Case] = {
    "gradient_descent": Case(jm.gradient_descent, {"learning_rate": 0.1}, gradient_descent),
    "heavy_ball": Case(jm.heavy_ball, _BETA, heavy_ball),
    "negative heavy_ball": Case(jm.heavy_ball, {**_BETA, "beta": -0.5}, heavy_ball),
    "ema_momentum": Case(jm.ema_momentum, _BETA, ema_momentum),
    "debiased ema_momentum": Case(jm.ema_momentum, _BETA, ema_momentum, {"debias": True}),
    "sgd": Case(jm.sgd, _SGD, sgd, with_zero={"momentum": {"dampening": 0.0}}),
    "ascending sgd": Case(
        jm.sgd,
        {**_SGD, "weight_decay": 14.0, "dampening": 0.0},
        sgd,
        {"maximize": True},
        with_zero={"weight_decay": {"learning_rate": 1e-3}},
    ),
    "nesterov sgd": Case(jm.sgd, {**_SGD, "dampening": 0.0}, sgd, {"nesterov": True}),
    "nesterov": Case(jm.nesterov, _BETA, nesterov),
    "nesterov_convex": Case(jm.nesterov_convex, {"learning_rate": 0.05}, nesterov_convex),
    "nesterov_strongly_convex": Case(
        jm.nesterov_strongly_convex, _CURVATURES, nesterov_strongly_convex, positive=("mu", "L")
    ),
    "qhm": Case(jm.qhm, {"learning_rate": 0.1, "beta": 0.95, "nu": 0.7}, qhm),
    "aggmo": Case(jm.aggmo, {"learning_rate": 0.03, "betas": (0.0, 0.9, 0.95)}, aggmo),
    "triple_momentum": Case(jm.triple_momentum, _CURVATURES, triple_momentum, positive=("mu", "L")),
    "chebyshev": Case(jm.chebyshev, _CURVATURES, chebyshev, positive=("mu", "L")),
    "demon": Case(jm.demon, {**_BETA, "steps": 250.0}, demon, positive=("steps",)),
    "signum": Case(jm.signum, {**_BETA, "weight_decay": 0.1}, signum, linear=False),
    "lion": Case(
        jm.lion,
        {"learning_rate": 0.03, "b1": 0.9, "b2": 0.98, "weight_decay": 0.1},
        lion,
        linear=False,
    ),
    "optimistic_gradient": Case(
        jm.optimistic_gradient, {"learning_rate": 0.05, "optimism": 0.8}, optimistic_gradient
    ),
}
