"""Mixtures of a gradient step and of averages: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


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


METHODS = {
    "qhm": Case(jm.qhm, {"learning_rate": 0.1, "beta": 0.95, "nu": 0.7}, qhm),
    "aggmo": Case(jm.aggmo, {"learning_rate": 0.03, "betas": (0.0, 0.9, 0.95)}, aggmo),
}
