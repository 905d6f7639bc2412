"""Mixtures of a gradient step and of averages: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points
from jaxmom.methods._stages import scale_by_learning_rate


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


def maxwell(gradient, x, learning_rate, decays, weights, look_ahead) -> Points:
    averages, t = [np.zeros_like(x) for _ in decays], 0
    while True:
        yield x, x
        g = gradient(x, t)
        averages = [d * m + (1 - d) * g for d, m in zip(decays, averages, strict=True)]
        mixture = sum(w * m for w, m in zip(weights, averages, strict=True))
        step = (1 - look_ahead) * g + look_ahead * mixture if look_ahead > 0 else mixture
        x, t = x - learning_rate * step, t + 1


def grokfast_descent(gradient, x, learning_rate, alpha, lamb) -> Points:
    average, t = None, 0
    while True:
        yield x, x
        g = gradient(x, t)
        average = g if average is None else alpha * average + (1 - alpha) * g
        x, t = x - learning_rate * (g + lamb * average), t + 1


def grokfast(learning_rate, alpha, lamb):
    """A filter goes before an optimizer."""
    return jm.chain(jm.grokfast(alpha, lamb), scale_by_learning_rate(learning_rate))


METHODS = {
    "maxwell": Case(
        jm.maxwell,
        {
            "learning_rate": 0.05,
            "decays": (0.5, 0.9, 0.97),
            "weights": (0.3, 0.4, 0.3),
            "look_ahead": 0.9,
        },
        maxwell,
        positive=("look_ahead",),
    ),
    "grokfast": Case(
        grokfast, {"learning_rate": 0.02, "alpha": 0.9, "lamb": 2.0}, grokfast_descent
    ),
    "qhm": Case(jm.qhm, {"learning_rate": 0.1, "beta": 0.95, "nu": 0.7}, qhm),
    "aggmo": Case(jm.aggmo, {"learning_rate": 0.03, "betas": (0.0, 0.9, 0.95)}, aggmo),
}
