"""A search for runs above a bound: many optimizers on many functions; none is above."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory
from jaxmom.theory import _performance
from jaxmom.theory._performance import Estimation

RATIO, STEPS, DRAWS = 0.1, 3, 50  # mu / L; N; optimizers of each method

# Method -> random hyperparameters; a dozen ways to make a filter of the gradient.
METHODS = {
    "heavy_ball": lambda r: {"beta": r.uniform(-0.3, 0.95)},
    "ema_momentum": lambda r: {"beta": r.uniform(0.0, 0.95)},
    "nesterov": lambda r: {"beta": r.uniform(0.0, 0.95)},
    "qhm": lambda r: {"beta": r.uniform(0.3, 0.99), "nu": r.uniform(0.0, 1.2)},
    "aggmo": lambda r: {"betas": r.uniform(0.0, 0.99, 3)},
    "unified_momentum": lambda r: {"beta": r.uniform(0.0, 0.9), "s": r.uniform(0.0, 2.0)},
    "mass": lambda r: {"gamma": r.uniform(0.0, 0.9), "compensation": r.uniform(0.0, 1.0)},
    "pid": lambda r: {"beta": r.uniform(0.0, 0.9), "integral": 0.3, "derivative": r.uniform(0, 1)},
    "maxwell": lambda r: {"decays": r.uniform(0.0, 0.99, 2), "look_ahead": r.uniform(0.0, 1.0)},
    "optimistic_gradient": lambda r: {"optimism": r.uniform(-0.5, 1.5)},
}


def draw_optimizers():
    """Filters of all methods, padded to one shape, and their learning rates."""
    generator, filters = np.random.default_rng(0), {}
    for name, draw in METHODS.items():
        for i in range(DRAWS):
            c = getattr(jm.coefficients, name)(**draw(generator))
            filters[f"{name} {i}"] = dataclasses.replace(c, evaluate=None)  # measured at params
    return jm.stack(filters).values, generator.uniform(0.05, 1.5, len(filters))


def step_matrix(c, alpha):
    """H [N + 1, N] of one filter, from its recurrence, as a plain loop over unit gradients."""
    buffers, moved = np.zeros((c["decay"].size, STEPS)), [np.zeros(STEPS)]
    for g in np.eye(STEPS):
        new = c["decay"][:, None] * buffers + c["gain"][:, None] * g
        step = c["direct"] * g + c["read"] @ buffers + c["read_new"] @ new
        moved.append(moved[-1] + alpha * step)
        buffers = new
    return np.array(moved)


def project_on_polygon(x, corners):
    """The nearest point of the regular polygon of roots of unity, of radius 1."""
    half = jnp.pi / corners
    turn = (2 * half) * jnp.round((jnp.arctan2(x[1], x[0]) - half) / (2 * half)) + half
    c, s = jnp.cos(turn), jnp.sin(turn)
    across, along = c * x[0] + s * x[1], c * x[1] - s * x[0]
    inside = jnp.stack([jnp.minimum(across, jnp.cos(half)), jnp.clip(along, -jnp.sin(half),
                        jnp.sin(half))])  # fmt: skip
    at = jnp.where(across <= jnp.cos(half), jnp.stack([across, along]), inside)
    return jnp.stack([c * at[0] - s * at[1], s * at[0] + c * at[1]])


def project_on_box(x, low, high):
    return jnp.clip(x, -low, high)


def smooth_loss(x, project):
    """``q |x|^2 / 2 + (1 - q) (|x|^2 - dist(x, C)^2) / 2``: in the class if C is convex."""
    nearest = jax.lax.stop_gradient(project(x))  # its change does not count: it is the nearest
    return RATIO * x @ x / 2 + (1 - RATIO) * (x @ nearest - nearest @ nearest / 2)


def draw_functions():
    """Pairs of a loss (x, numbers) and numbers [12, ...]: minimum 0 at 0, L = 1, mu = 0.1."""
    generator = np.random.default_rng(1)
    directions = np.linalg.qr(generator.normal(size=(12, 2, 2)))[0]
    radii = 10 ** generator.uniform(-2, 0, 12)

    def quadratic(x, numbers):
        turn, curvatures = numbers
        return jnp.sum(curvatures * (turn @ x) ** 2) / 2

    def piecewise(x, widths):  # curvature 1 in a box and mu beyond, as sharp as may be
        return smooth_loss(x, lambda y: project_on_box(y, widths[0], widths[1]))

    def cycle(x, numbers):
        corners, radius = numbers
        return smooth_loss(x, lambda y: radius * project_on_polygon(y / radius, corners))

    def rounded(x, numbers):  # ln cosh has its largest curvature, 1, at 0
        turn, radius = numbers
        at = turn @ x / radius
        bent = radius**2 * jnp.sum(jnp.logaddexp(at, -at) - jnp.log(2.0))
        return RATIO * x @ x / 2 + (1 - RATIO) * bent

    return [
        (quadratic, (directions, generator.uniform(RATIO, 1.0, (12, 2)))),
        (piecewise, 10 ** generator.uniform(-2, 0, (12, 2, 2))),
        (cycle, (np.arange(3.0, 15.0), radii)),
        (rounded, (directions, radii)),
    ]


def run_all(filters, rates, steps):
    """Values and squared distances [optimizers, runs, steps + 1], by the code of optimizers."""
    angles = jnp.linspace(0, 2 * jnp.pi, 24, endpoint=False)
    starts = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)

    def run_optimizer(c, rate):
        optimizer = jm.chain(jm.scale_by_momentum(c), optax.scale(-1.0), scaled(rate))
        values, squares = [], []
        for loss, numbers in draw_functions():
            numbers = jax.tree.map(jnp.asarray, numbers)

            def run(start, one, loss=loss):
                record = ("value", "params")
                done = jm.optimize(lambda x: loss(x, one), start, optimizer, steps, record=record,
                                   divergence=jnp.inf)  # fmt: skip
                return done.history["value"], jnp.sum(done.history["params"] ** 2, axis=-1)

            found = jax.vmap(jax.vmap(run, (None, 0)), (0, None))(starts, numbers)
            values.append(found[0].reshape(-1, steps + 1))
            squares.append(found[1].reshape(-1, steps + 1))
        return jnp.concatenate(values), jnp.concatenate(squares)

    return jax.jit(jax.vmap(run_optimizer))(filters, jnp.asarray(rates))


def scaled(rate):
    return jm.lift(optax.scale)(rate)


@pytest.mark.slow
def test_no_run_of_500_optimizers_is_above_its_worst_case():
    filters, rates = draw_optimizers()
    worst = [np.max(found[..., STEPS], axis=1) for found in run_all(filters, rates, STEPS)]
    parts = {name: np.asarray(getattr(filters, name), float)
             for name in ("decay", "gain", "read", "read_new", "direct")}  # fmt: skip
    shares = []
    for i, rate in enumerate(rates):
        matrix = step_matrix({name: part[i] for name, part in parts.items()}, rate)
        measure = ("value", "distance")[i % 2]
        bound = _performance.solve(Estimation(matrix, RATIO, measure, "distance")).bound
        shares.append(worst[i % 2][i] / bound)
    assert len(shares) == 500
    assert np.max(shares) <= 1 + 1e-9
    assert np.max(shares) > 0.99  # some function of the search is a worst one
    assert np.median(shares) > 0.8


@pytest.mark.slow
def test_no_run_is_above_what_worst_case_and_certified_rate_return():
    """One filter of each method, through the public functions."""
    filters, rates = draw_optimizers()
    chosen = np.arange(7, 500, DRAWS)
    some, rates = jax.tree.map(lambda x: x[chosen], filters), 0.3 * rates[chosen]
    values, squares = run_all(some, rates, 40)
    for i, rate in enumerate(rates):
        c = jax.tree.map(lambda x, i=i: x[i], some)
        optimizer = jm.chain(jm.scale_by_momentum(c), optax.scale(-float(rate)))
        case = theory.worst_case(optimizer, STEPS, mu=RATIO, L=1.0)
        assert np.max(values[i, :, STEPS]) <= case.bound * (1 + 1e-9)
        proof = theory.certified_rate(optimizer, RATIO, 1.0)
        limit = proof.bound() * min(proof.rate, 1.0) ** np.arange(41)
        assert np.all(np.sqrt(np.max(squares[i], axis=0)) <= limit * (1 + 1e-9))
