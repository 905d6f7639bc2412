"""Methods with a head after their filter: each paper's own loop, and the rows of the table."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from cases.case import Case, Points
from jaxmom.transform import TransformFns, assemble

# The laws are asked of vectors, and a polar factor is that of a matrix: a vector of six is seen as
# a matrix of two rows and three columns, and any other one as a matrix as square as it can be.


def matrix_shape(leaf):
    if len(leaf.shape) >= 2:
        return leaf.shape
    size = math.prod(leaf.shape)
    rows = max(n for n in range(1, math.isqrt(size) + 1) if size % n == 0)
    return rows, size // rows


def _as_matrices(tree):
    def reshape(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(matrix_shape(leaf), leaf.dtype)
        return leaf if jnp.ndim(leaf) >= 2 else jnp.reshape(leaf, matrix_shape(leaf))

    return jax.tree.map(reshape, tree)


def _init(hp, params):
    return hp["transforms"][0](_as_matrices(params))


def _update(hp, updates, state, params, **extra):
    matrices = None if params is None else _as_matrices(params)
    new, state = hp["transforms"][0](_as_matrices(updates), state, matrices, **extra)
    same = lambda u, old: u if u.shape == old.shape else u.reshape(old.shape)  # noqa: E731
    return jax.tree.map(same, new, updates), state


def on_matrices(method):
    """The method, beta by its own name, on arrays of any shape."""

    @functools.wraps(method)
    def make(learning_rate, beta, **hyperparameters):
        optimizer = method(learning_rate, beta, **hyperparameters)
        return assemble(TransformFns(_init, _update), (), {}, (optimizer,), ())

    return make


def newton_schulz(G, eps):
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / (np.linalg.norm(X) + eps)
    for _ in range(5):
        A = X @ X.T
        B = b * A + c * A @ A
        X = a * X + B @ X
    return X.T if G.shape[0] > G.shape[1] else X


def muon(gradient, x, learning_rate, beta, weight_decay, ns_eps, output_axis) -> Points:
    """The authors' code, in their layout: rows are outputs."""
    m, t = np.zeros(matrix_shape(x)), 0
    while True:
        yield x, x
        G, t = gradient(x, t).reshape(m.shape), t + 1
        m = m + (1 - beta) * (G - m)
        polar = newton_schulz(G + beta * (m - G), ns_eps) * max(1, m.shape[0] / m.shape[1]) ** 0.5
        x = x * (1 - learning_rate * weight_decay) - learning_rate * polar.ravel()


def normuon(gradient, x, learning_rate, beta, b2, eps, weight_decay, ns_eps, output_axis) -> Points:
    """The authors' code, in their layout: rows are outputs."""
    m, t = np.zeros(matrix_shape(x)), 0
    v = np.zeros((m.shape[0], 1))
    while True:
        yield x, x
        G, t = gradient(x, t).reshape(m.shape), t + 1
        m = m + (1 - beta) * (G - m)
        polar = newton_schulz(G + beta * (m - G), ns_eps)
        norm = np.linalg.norm(polar)
        v = v + (1 - b2) * (np.mean(polar * polar, axis=1, keepdims=True) - v)
        polar = polar / (np.sqrt(v) + eps)
        polar = (
            polar * norm / (np.linalg.norm(polar) + eps) * max(1, m.shape[0] / m.shape[1]) ** 0.5
        )
        x = x * (1 - learning_rate * weight_decay) - learning_rate * polar.ravel()


def normalized_momentum(gradient, x, learning_rate, beta, weight_decay) -> Points:
    m, t = np.zeros_like(x), 0
    while True:
        yield x, x
        m = beta * m + (1 - beta) * gradient(x, t)
        x, t = x - learning_rate * (m / np.linalg.norm(m) + weight_decay * x), t + 1


def nigt(gradient, x, learning_rate, beta) -> Points:
    previous, m, t = x, np.zeros_like(x), 0
    while True:
        y = x + beta / (1 - beta) * (x - previous)
        yield y, x
        m = beta * m + (1 - beta) * gradient(y, t)
        x, previous, t = x - learning_rate * m / np.linalg.norm(m), x, t + 1


def qhadam(gradient, x, learning_rate, b1, b2, nu1, nu2, eps, weight_decay) -> Points:
    m, v, t = np.zeros_like(x), np.zeros_like(x), 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        above = (1 - nu1) * g + nu1 * m / (1 - b1**t)
        below = np.sqrt((1 - nu2) * g * g + nu2 * v / (1 - b2**t)) + eps
        x = x - learning_rate * (above / below + weight_decay * x)


def nadam(gradient, x, learning_rate, b1, b2, eps, momentum_decay, weight_decay) -> Points:
    m, v, product, t = np.zeros_like(x), np.zeros_like(x), 1.0, 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        x = x - learning_rate * weight_decay * x
        mu = b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        product = product * mu
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        x = x - learning_rate * m_hat / (np.sqrt(v / (1 - b2**t)) + eps)


def ademamix(
    gradient, x, learning_rate, b1, b2, b3, alpha, eps, weight_decay, steps=None
) -> Points:
    m1, m2, v, t = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        b3_t, alpha_t = b3, alpha
        if steps is not None:
            share, low, high = min(t / steps, 1), np.log(b1), np.log(b3)
            alpha_t = alpha * share
            b3_t = min(np.exp(low * high / ((1 - share) * high + share * low)), b3)
        m1, m2 = b1 * m1 + (1 - b1) * g, b3_t * m2 + (1 - b3_t) * g
        v = b2 * v + (1 - b2) * g**2
        above = m1 / (1 - b1**t) + alpha_t * m2
        below = np.sqrt(v / (1 - b2**t)) + eps
        x = x - learning_rate * (above / below + weight_decay * x)


def simplified_ademamix(gradient, x, learning_rate, b1, b2, alpha, eps, weight_decay) -> Points:
    m, v, t = np.zeros_like(x), np.zeros_like(x), 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        m, v = b1 * m + g, b2 * v + (1 - b2) * g**2
        u = (m + alpha * g) / (np.sqrt(v / (1 - b2**t)) + eps)
        x = x - learning_rate * (u + weight_decay * x)


def adan(gradient, x, learning_rate, b1, b2, b3, eps, weight_decay) -> Points:
    m, v, n, previous, t = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), None, 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        difference = np.zeros_like(g) if previous is None else g - previous
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * difference
        n = b3 * n + (1 - b3) * (g + b2 * difference) ** 2
        above = m / (1 - b1**t) + b2 * v / (1 - b2**t)
        step = learning_rate * above / (np.sqrt(n / (1 - b3**t)) + eps)
        x, previous = (x - step) / (1 + learning_rate * weight_decay), g


def mars(gradient, x, learning_rate, b1, b2, gamma, eps, weight_decay) -> Points:
    m, v, previous, t = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0
    while True:
        yield x, x
        g, t = gradient(x, t), t + 1
        c = g + gamma * b1 / (1 - b1) * (g - previous)
        c = c / max(np.linalg.norm(c), 1)
        m, v = b1 * m + (1 - b1) * c, b2 * v + (1 - b2) * c**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        x, previous = x - learning_rate * (u + weight_decay * x), g


def adopt(gradient, x, learning_rate, b1, b2, eps, weight_decay) -> Points:
    m, v, t = np.zeros_like(x), None, 0
    while True:
        yield x, x
        g = gradient(x, t)
        if v is None:
            v, step = g**2, np.zeros_like(x)
        else:
            normalized = np.clip(g / np.maximum(np.sqrt(v), eps), -(t**0.25), t**0.25)
            m = b1 * m + (1 - b1) * normalized
            v, step = b2 * v + (1 - b2) * g**2, m
        x, t = x - learning_rate * (step + weight_decay * x), t + 1


_BETA = {"learning_rate": 0.03, "beta": 0.9}
_MATRIX = {**_BETA, "weight_decay": 0.1, "ns_eps": 1e-3}
_ROWS = {"output_axis": -2}  # the authors' layout
_ADAM = {"learning_rate": 0.03, "b1": 0.9, "b2": 0.98, "eps": 0.5, "weight_decay": 0.1}
_ADEMAMIX = {**_ADAM, "b3": 0.99, "alpha": 2.0}

METHODS = {
    "normalized_momentum": Case(
        jm.normalized_momentum, {**_BETA, "weight_decay": 0.1}, normalized_momentum, linear=False
    ),
    "nigt": Case(jm.nigt, _BETA, nigt, linear=False),
    "muon": Case(on_matrices(jm.muon), _MATRIX, muon, _ROWS, linear=False),
    "normuon": Case(
        on_matrices(jm.normuon),
        {**_MATRIX, "b2": 0.95, "eps": 1e-3},
        normuon,
        _ROWS,
        linear=False,
    ),
    "qhadam": Case(jm.qhadam, {**_ADAM, "nu1": 0.7, "nu2": 0.8}, qhadam, linear=False),
    "nadam": Case(jm.nadam, {**_ADAM, "momentum_decay": 4e-3}, nadam, linear=False),
    "ademamix": Case(jm.ademamix, _ADEMAMIX, ademamix, linear=False),
    "growing ademamix": Case(
        jm.ademamix,
        {**_ADEMAMIX, "learning_rate": 0.01, "steps": 150.0},
        ademamix,
        positive=("steps", "b1", "b3"),
        linear=False,
    ),
    "simplified_ademamix": Case(
        jm.simplified_ademamix,
        {**_ADAM, "learning_rate": 0.003, "alpha": 3.0},
        simplified_ademamix,
        linear=False,
    ),
    "adan": Case(jm.adan, {**_ADAM, "b3": 0.97}, adan, linear=False),
    "mars": Case(jm.mars, {**_ADAM, "gamma": 0.05}, mars, linear=False),
    "adopt": Case(jm.adopt, _ADAM, adopt, linear=False),
}
