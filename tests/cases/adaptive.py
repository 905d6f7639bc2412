"""Momentum that depends on the data.

The laws call all methods with gradients alone, so here the loss and the gradient at the previous
params are stand-ins, functions of the gradient. `methods/test_adaptive.py` has the real ones.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from cases.case import Case, Points
from jaxmom.transform import TransformFns, assemble


def value_of(g):
    return 0.3 + 0.01 * np.sum(g**2)


def previous_of(g):
    return 0.5 * g + 0.1


def init(hp, params):
    return hp["transforms"][0](params)


def update(hp, updates, state, params, **extra):
    squares = [jnp.sum(g.astype(float) ** 2) for g in jax.tree.leaves(updates)]
    extra["value"] = 0.3 + 0.01 * sum(squares, jnp.zeros([]))
    extra["previous_grad"] = jax.tree.map(lambda g: 0.5 * g + 0.1, updates)
    return hp["transforms"][0](updates, state, params, **extra)


STAND_INS = TransformFns(init, update)


def with_stand_ins(method):
    @functools.wraps(method)
    def make(*args, **kwargs):
        return assemble(STAND_INS, (), {}, [method(*args, **kwargs)], ())

    return make


def momsps(gradient, x, learning_rate, beta, c, lower_bound) -> Points:
    previous, t = x, 0
    while True:
        yield x, x
        g = gradient(x, t)
        step = min((value_of(g) - lower_bound) / (c * g @ g), learning_rate)
        x, previous = x - (1 - beta) * step * g + beta * (x - previous), x
        t += 1


def adaptive_heavy_ball(gradient, x, optimum) -> Points:
    previous, last_g, last_f, t = x, np.zeros_like(x), 1.0, 0
    while True:
        yield x, x
        g = gradient(x, t)
        f = value_of(g) - optimum
        h = 2 * f / (g @ g)
        b = -f * (g @ last_g) / (last_f * (g @ g) + f * (g @ last_g))
        x, previous = x - (1 + b) * h * g + b * (x - previous), x
        last_g, last_f, t = g, f, t + 1


def momo(gradient, x, learning_rate, beta, lower_bound, weight_decay) -> Points:
    d = f = p = None
    t = 0
    while True:
        yield x, x
        g = gradient(x, t)
        if d is None:
            d, f, p = g, value_of(g), g @ x
        d = beta * d + (1 - beta) * g
        f = beta * f + (1 - beta) * value_of(g)
        p = beta * p + (1 - beta) * (g @ x)
        shrink = 1 + learning_rate * weight_decay
        model = shrink * (f - lower_bound - p) + d @ x
        x, t = (x - min(learning_rate, max(model, 0.0) / (d @ d)) * d) / shrink, t + 1


def storm(gradient, x, learning_rate, a) -> Points:
    d, t = None, 0
    while True:
        yield x, x
        g = gradient(x, t)
        d = g if d is None else g + (1 - a) * (d - previous_of(g))
        x, t = x - learning_rate * d, t + 1


def adaptive_storm(gradient, x, k, w, c) -> Points:
    d, total, a, t = None, w, None, 0
    while True:
        yield x, x
        g = gradient(x, t)
        d = g if d is None else g + (1 - a) * (d - previous_of(g))
        total += g @ g
        rate = k / np.cbrt(total)
        a = min(1.0, c * rate**2)
        x, t = x - rate * d, t + 1


def yellowfin(gradient, x, learning_rate, initial, beta, window) -> Points:
    eps, norms = 1e-6, []
    low = high = square = norm = distance = 0.0
    mean, v, t = np.zeros_like(x), np.zeros_like(x), 0
    while True:
        yield x, x
        g = gradient(x, t)
        norms.append(g @ g)
        recent, debias = norms[-window:], 1 - beta ** (t + 1)
        low = beta * low + (1 - beta) * np.log(min(recent) + eps)
        high = beta * high + (1 - beta) * max(recent)
        square = beta * square + (1 - beta) * (g @ g)
        mean = beta * mean + (1 - beta) * g
        norm = beta * norm + (1 - beta) * np.sqrt(g @ g)
        distance = beta * distance + (1 - beta) * norm / (square + eps)
        h_min, h_max = np.exp(low / debias), high / debias
        variance = max(square / debias - mean @ mean / debias**2, eps)
        mu, rate = 0.0, initial
        if t:
            p = (distance / debias + eps) ** 2 * (h_min + eps) ** 2 / 2 / (variance + eps)
            w = -np.cbrt((np.sqrt(p**2 + 4 / 27 * p**3) + p) / 2)
            root = w - p / 3 / (w + eps) + 1
            r = np.sqrt(max((h_max + eps) / (h_min + eps), 1 + eps))
            mu = max(root**2, ((r - 1) / (r + 1)) ** 2)
            rate = (1 - np.sqrt(mu)) ** 2 / (h_min + eps) * min(1.0, (t + 1) / (10 * window))
            rate *= learning_rate
        v = mu * v + g
        x, t = x - rate * v, t + 1


_MOMO = {"learning_rate": 0.08, "beta": 0.8, "lower_bound": 0.1, "weight_decay": 0.02}

METHODS: dict[str, Case] = {
    "momsps": Case(
        with_stand_ins(jm.momsps),
        {"learning_rate": 0.1, "beta": 0.6, "c": 0.9, "lower_bound": 0.1},
        momsps,
        positive=("c",),
        linear=False,
    ),
    "adaptive_heavy_ball": Case(
        with_stand_ins(jm.adaptive_heavy_ball), {"optimum": 0.29}, adaptive_heavy_ball, linear=False
    ),
    "momo": Case(with_stand_ins(jm.momo), _MOMO, momo, linear=False),
    "storm": Case(with_stand_ins(jm.storm), {"learning_rate": 0.05, "a": 0.7}, storm, linear=False),
    "adaptive_storm": Case(
        with_stand_ins(jm.adaptive_storm),
        {"k": 0.3, "w": 2.0, "c": 20.0},
        adaptive_storm,
        positive=("w",),
        linear=False,
    ),
    "yellowfin": Case(
        with_stand_ins(jm.yellowfin),
        {"learning_rate": 2.0, "initial": 0.01, "beta": 0.9},
        yellowfin,
        {"window": 5},
        positive=("beta",),  # the variance of one gradient is zero, below its least value
        linear=False,
    ),
}
