"""Acceleration for noisy gradients: each paper's own loop, and the rows of the table."""

import numpy as np

import jaxmom as jm
from cases.case import Case, Points


def unified_momentum(gradient, x, learning_rate, beta, s) -> Points:
    ys, t = x, 0
    while True:
        yield x, x
        g = gradient(x, t)
        y, new_ys = x - learning_rate * g, x - s * learning_rate * g
        x, ys, t = y + beta * (new_ys - ys), new_ys, t + 1


def accelerated_sgd(gradient, y, learning_rate, kappa, xi, eps) -> Points:
    w, alpha, t = y, 1 - eps**2 * xi / kappa, 0
    while True:
        yield y, y
        g = gradient(y, t)
        w = alpha * w + (1 - alpha) * (y - kappa * learning_rate / eps * g)
        share = eps / (eps + 1 - alpha)
        y, t = share * (y - learning_rate * g) + (1 - share) * w, t + 1


def mass(gradient, u, learning_rate, gamma, compensation) -> Points:
    w, t = u, 0
    while True:
        yield u, w
        g = gradient(u, t)
        new = u - learning_rate * g
        u, w, t = new + gamma * (new - w) + compensation * learning_rate * g, new, t + 1


def pid(gradient, y, learning_rate, beta, integral, derivative) -> Points:
    v, d, previous, t = np.zeros_like(y), np.zeros_like(y), np.zeros_like(y), 0
    while True:
        yield y, y
        g = gradient(y, t)
        v, d = beta * v + g, beta * d + (1 - beta) * (g - previous)
        y, previous, t = y - learning_rate * (g + integral * v + derivative * d), g, t + 1


def pnm(gradient, y, learning_rate, beta, beta0) -> Points:
    before, last, t = np.zeros_like(y), np.zeros_like(y), 0
    while True:
        yield y, y
        m = beta**2 * before + (1 - beta**2) * gradient(y, t)
        norm = np.sqrt((1 + beta0) ** 2 + beta0**2)
        y = y - learning_rate / norm * ((1 + beta0) * m - beta0 * last)
        before, last, t = last, m, t + 1


METHODS = {
    "unified_momentum": Case(
        jm.unified_momentum, {"learning_rate": 0.04, "beta": 0.8, "s": 0.6}, unified_momentum
    ),
    "accelerated_sgd": Case(
        jm.accelerated_sgd,
        {"learning_rate": 0.04, "kappa": 100.0, "xi": 5.0, "eps": 0.7},
        accelerated_sgd,
        positive=("kappa", "xi", "eps"),
    ),
    "mass": Case(jm.mass, {"learning_rate": 0.05, "gamma": 0.8, "compensation": 0.6}, mass),
    "pid": Case(
        jm.pid, {"learning_rate": 0.01, "beta": 0.8, "integral": 2.0, "derivative": 3.0}, pid
    ),
    "pnm": Case(jm.pnm, {"learning_rate": 0.05, "beta": 0.9, "beta0": 0.8}, pnm),
}
