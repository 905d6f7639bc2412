"""Momentum that decays over the run: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


def demon(gradient, x, learning_rate, steps, beta) -> Points:
    v, t = np.zeros_like(x), 0
    while True:
        yield x, x
        left = max(1 - t / steps, 0.0)
        beta_t = beta * left / ((1 - beta) + beta * left)
        v = beta_t * v - learning_rate * gradient(x, t)
        x, t = x + v, t + 1


_BETA = {"learning_rate": 0.05, "beta": 0.9}


def fsgdm(gradient, x, learning_rate, steps, stages, c, v) -> Points:
    length, buffer, t = steps // stages, None, 0
    while True:
        yield x, x
        stage = (t + 1) // length * length
        u = stage / (stage + c * steps)
        g = gradient(x, t)
        buffer = g if buffer is None else u * buffer + v * g
        x, t = x - learning_rate * buffer, t + 1


def dana(gradient, theta, learning_rate, delta, gamma3, kappa) -> Points:
    y, t = np.zeros_like(theta), 0
    while True:
        yield theta, theta
        g = gradient(theta, t)
        y = (1 - 1 / (1 + t / delta)) * y + g
        theta = theta - learning_rate * g - learning_rate * gamma3 * (1 + t) ** -kappa * y
        t += 1


def am1(gradient, w, learning_rate, alpha, delta) -> Points:
    """(w; u) <- (1, b; 0, D) (w; u) + (-a; c) g, with the effective rate a - b c / (1 - D)."""
    u, t = np.zeros_like(w), 0
    while True:
        yield w, w
        keep = 1 - (t + 1) ** -delta
        effective = learning_rate * (t + 1) ** alpha
        b = (effective - learning_rate) * (1 - keep) / learning_rate
        g = gradient(w, t)
        w, u, t = w - learning_rate * g + b * u, keep * u - learning_rate * g, t + 1


METHODS = {
    "fsgdm": Case(
        jm.fsgdm,
        {"learning_rate": 0.03, "steps": 250.0, "stages": 47.0, "c": 0.1, "v": 0.8},
        fsgdm,
        positive=("steps", "stages"),
    ),
    "dana": Case(
        jm.dana,
        {"learning_rate": 0.05, "delta": 6.0, "gamma3": 0.2, "kappa": 0.6},
        dana,
        positive=("delta",),
    ),
    "am1": Case(jm.am1, {"learning_rate": 0.05, "alpha": 0.4, "delta": 0.9}, am1),
    "demon": Case(jm.demon, {**_BETA, "steps": 250.0}, demon, positive=("steps",)),
}
