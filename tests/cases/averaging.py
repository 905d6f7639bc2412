"""Methods that average their iterates: each paper's own loop, and the rows of the table."""

import jaxmom as jm
from cases.case import Case, Points


def primal_averaging(gradient, x, learning_rate, c) -> Points:
    z, t = x, 0
    while True:
        yield x, x
        z = z - learning_rate * gradient(x, t)
        x, t = (1 - c) * x + c * z, t + 1


def gpa(gradient, x, learning_rate, mu_x, mu_y) -> Points:
    z, t = x, 0
    while True:
        y = mu_y * x + (1 - mu_y) * z
        yield y, x
        z = z - learning_rate * gradient(y, t)
        x, t = mu_x * x + (1 - mu_x) * z, t + 1


def schedule_free(gradient, x, learning_rate, beta, warmup) -> Points:
    z, total, t = x, 0.0, 0
    while True:
        y = (1 - beta) * z + beta * x
        yield y, x
        gamma = learning_rate * min((t + 1) / warmup, 1.0)
        z = z - gamma * gradient(y, t)
        total += gamma**2
        c = gamma**2 / total
        x, t = (1 - c) * x + c * z, t + 1


def ema_nesterov(gradient, x, learning_rate, beta, gamma) -> Points:
    m, t = 0 * x, 0
    while True:
        y = x + beta * m
        yield y, x
        new = y - learning_rate * gradient(y, t)
        m = gamma * m + (1 - gamma) * (new - x)
        x, t = new, t + 1


METHODS = {
    "primal_averaging": Case(
        jm.primal_averaging, {"learning_rate": 0.3, "c": 0.2}, primal_averaging
    ),
    "gpa": Case(jm.gpa, {"learning_rate": 0.1, "mu_x": 0.9, "mu_y": 0.7}, gpa),
    "schedule_free": Case(
        jm.schedule_free, {"learning_rate": 0.2, "beta": 0.8, "warmup": 6.5}, schedule_free
    ),
    "ema_nesterov": Case(
        jm.ema_nesterov, {"learning_rate": 0.05, "beta": 0.6, "gamma": 0.9}, ema_nesterov
    ),
}
