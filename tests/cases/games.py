"""Methods for games and saddle points: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


def optimistic_gradient(gradient, x, learning_rate, optimism) -> Points:
    previous, t = np.zeros_like(x), 0
    while True:
        yield x, x
        g = gradient(x, t)
        x = x - learning_rate * (1 + optimism) * g + learning_rate * optimism * previous
        previous, t = g, t + 1


def complex_momentum(gradient, x, learning_rate, beta, phi) -> Points:
    momentum, t = np.zeros_like(x) * 1j, 0
    while True:
        yield x, x
        momentum = beta * np.exp(1j * phi) * momentum - gradient(x, t)
        x, t = x + (learning_rate * momentum).real, t + 1


def extragradient(gradient, x, learning_rate) -> Points:
    t = 0
    while True:
        yield x, x
        z = x - learning_rate * gradient(x, t)
        yield z, x
        x, t = x - learning_rate * gradient(z, t + 1), t + 2


METHODS = {
    "complex_momentum": Case(
        jm.complex_momentum,
        {"learning_rate": 0.05, "beta": 0.8, "phi": 0.4},
        complex_momentum,
        is_complex=True,
    ),
    "extragradient": Case(jm.extragradient, {"learning_rate": 0.05}, extragradient),
    "optimistic_gradient": Case(
        jm.optimistic_gradient, {"learning_rate": 0.05, "optimism": 0.8}, optimistic_gradient
    ),
}
