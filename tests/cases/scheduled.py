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

METHODS = {
    "demon": Case(jm.demon, {**_BETA, "steps": 250.0}, demon, positive=("steps",)),
}
