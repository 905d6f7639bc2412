"""Methods whose worst case was optimized: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


def optimized_gradient(gradient, y, learning_rate, steps) -> Points:
    x, theta, t, steps = y, 1.0, 0, int(steps)
    while True:
        yield y, y
        new = y - learning_rate * gradient(y, t)
        following = (1 + np.sqrt(1 + (8 if t == steps - 1 else 4) * theta**2)) / 2
        beta, gamma = (theta - 1) / following, theta / following
        y, x, theta, t = new + beta * (new - x) + gamma * (new - y), new, following, t + 1


def ogm_strongly_convex(gradient, y, mu, L) -> Points:
    x, q, t = y, mu / L, 0
    gamma = (2 + q - np.sqrt(q**2 + 8 * q)) / 2
    beta = (2 + q - np.sqrt(q**2 + 8 * q)) ** 2 / (4 * (1 - q))
    while True:
        yield y, y
        new = y - gradient(y, t) / L
        y, x, t = new + beta * (new - x) + gamma * (new - y), new, t + 1


def ogm_gradient(gradient, y, learning_rate, steps) -> Points:
    thetas, steps = [1.0], int(steps)
    for i in range(steps - 1, -1, -1):
        thetas.insert(0, (1 + np.sqrt(1 + (4 if i > 0 else 8) * thetas[0] ** 2)) / 2)
    x, t = y, 0
    while True:
        yield y, y
        new = y - learning_rate * gradient(y, t)
        if t < steps:
            now, following = thetas[t], thetas[t + 1]
            gamma = (2 * following - 1) / (2 * now - 1)
            y, x = new + gamma * (now - 1) / now * (new - x) + gamma * (new - y), new
        else:  # the method is over
            y = new
        t += 1


def item(gradient, x, mu, L) -> Points:
    z, a, q, t = x, 0.0, mu / L, 0
    while True:
        root = np.sqrt((1 + a) * (1 + q * a))
        following = ((1 + q) * a + 2 * (1 + root)) / (1 - q) ** 2
        beta = a / ((1 - q) * following)
        delta = ((1 - q) ** 2 * following - (1 + q) * a) / (2 * (1 + q + q * a))
        y = (1 - beta) * z + beta * x
        yield y, z
        g = gradient(y, t)
        x, z = y - g / L, (1 - q * delta) * z + q * delta * y - delta / L * g
        a, t = following, t + 1


_CURVATURES = {"mu": 1.0, "L": 12.0}
_HORIZON = {"learning_rate": 1 / 14, "steps": 150.5}  # rounded down, away from the next

METHODS = {
    "optimized_gradient": Case(
        jm.optimized_gradient, _HORIZON, optimized_gradient, positive=("steps",)
    ),
    "ogm_strongly_convex": Case(
        jm.ogm_strongly_convex, _CURVATURES, ogm_strongly_convex, positive=("mu", "L")
    ),
    "ogm_gradient": Case(jm.ogm_gradient, _HORIZON, ogm_gradient, positive=("steps",)),
    "item": Case(jm.item, _CURVATURES, item, positive=("mu", "L")),
}
