"""Sign methods: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


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


_BETA = {"learning_rate": 0.05, "beta": 0.9}

METHODS = {
    "signum": Case(jm.signum, {**_BETA, "weight_decay": 0.1}, signum, linear=False),
    "lion": Case(
        jm.lion,
        {"learning_rate": 0.03, "b1": 0.9, "b2": 0.98, "weight_decay": 0.1},
        lion,
        linear=False,
    ),
}
