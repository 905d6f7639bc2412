"""Gradient descent and classical momentum: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


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


_BETA = {"learning_rate": 0.05, "beta": 0.9}
_SGD = {"learning_rate": 0.03, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.02}

METHODS = {
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
}
