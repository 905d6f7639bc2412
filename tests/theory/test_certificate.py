"""Certified rates against theorems and PEPit, and every certificate checked without the solver."""

import dataclasses
import importlib
import sys

import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory

pytest.importorskip("cvxpy")
pytest.importorskip("clarabel")


def robust_momentum(mu, L, rho):
    """Cyrus, Hu, Van Scoy and Lessard 2018 (arXiv 1710.04753), as a filter."""
    kappa = L / mu
    b = kappa * rho**3 / (kappa - 1)
    law = jm.reading_new(b, 1.0, kappa * (1 - rho) ** 2 * (1 + rho) + b - 1, 1.0)
    return jm.chain(jm.scale_by_momentum(law), optax.scale(-1 / L))


def quadratic_heavy_ball(kappa):
    return jm.heavy_ball(**theory.tune("heavy_ball", 1.0, kappa).hyperparameters)


def negative_definite(proof):
    """The inequality of the theorem, written out anew: V falls by rate^2 whatever the gradient."""
    a, b, c = (np.asarray(x) for x in (proof.system.A, proof.system.B, proof.system.C))
    n, rng, worst = len(b), np.random.default_rng(0), -np.inf
    for _ in range(2000):
        x, e, g = rng.standard_normal(n), rng.standard_normal() * proof.L, rng.standard_normal()
        g = g * proof.L
        y = c @ x
        after = np.append(a @ x + b * g, g - proof.L * y)
        before = np.append(x, e)
        w, sector = g - proof.mu * y, proof.L * y - g
        gap = after @ proof.P @ after - proof.rate**2 * before @ proof.P @ before
        gap += 2 * proof.multipliers[0] * sector * w
        gap += 2 * proof.multipliers[1] * (sector + proof.rate**2 * e) * w
        worst = max(worst, gap)
    return worst <= 0


@pytest.mark.parametrize("kappa", [4.0, 10.0, 100.0])
def test_certified_rates_are_the_theorems(kappa):
    s = np.sqrt(kappa)
    descent = theory.certified_rate(jm.gradient_descent(2 / (kappa + 1)), 1.0, kappa)
    np.testing.assert_allclose(descent.rate, (kappa - 1) / (kappa + 1), rtol=0, atol=1e-3)
    triple = theory.certified_rate(jm.triple_momentum(1.0, kappa), 1.0, kappa)
    np.testing.assert_allclose(triple.rate, 1 - 1 / s, rtol=0, atol=1e-3)
    optimizer = jm.nesterov_strongly_convex(1.0, kappa)
    nesterov = theory.certified_rate(optimizer, 1.0, kappa)
    assert theory.rate(optimizer, 1.0, kappa) < nesterov.rate < np.sqrt(1 - 1 / s)
    for proof in (descent, triple, nesterov):
        assert proof.verify()
        assert np.linalg.eigvalsh(proof.P).min() > 0
        assert negative_definite(proof)


@pytest.mark.parametrize("kappa", [25.0, 100.0])
def test_the_quadratic_heavy_ball_has_no_certificate(kappa):
    proof = theory.certified_rate(quadratic_heavy_ball(kappa), 1.0, kappa)
    assert proof.rate == np.inf
    assert proof.P is None
    assert not proof.verify()
    assert proof.bound() == np.inf


def test_a_forged_certificate_does_not_verify():
    proof = theory.certified_rate(jm.nesterov_strongly_convex(1.0, 10.0), 1.0, 10.0)
    better = dataclasses.replace(proof, rate=proof.rate - 1e-3)
    other = dataclasses.replace(proof, L=11.0)
    negative = dataclasses.replace(proof, multipliers=-proof.multipliers)
    assert proof.verify()
    assert not better.verify()
    assert not other.verify()
    assert not negative.verify()


def test_units_do_not_matter():
    """Curvatures times c and learning rates over c is the same problem."""
    for scale in (1e-3, 1e3):
        proof = theory.certified_rate(jm.nesterov_strongly_convex(scale, 10 * scale), scale,
                                      10 * scale)  # fmt: skip
        np.testing.assert_allclose(proof.rate, 0.7518, rtol=0, atol=2e-4)
        assert proof.verify()


def test_redundant_buffers_and_optax_chains():
    """A blind buffer with decay 0.99 does not count; optax's chain has the certificate of ours."""
    blind = theory.certified_rate(jm.qhm(0.2, beta=0.99, nu=0.0), 1.0, 9.0)
    np.testing.assert_allclose(blind.rate, 0.8, rtol=0, atol=1e-3)
    ours, theirs = jm.nesterov(0.1, beta=0.5), optax.sgd(0.1, momentum=0.5, nesterov=True)
    rates = [theory.certified_rate(optimizer, 1.0, 9.0).rate for optimizer in (ours, theirs)]
    np.testing.assert_allclose(*rates, rtol=0, atol=2e-5)


def test_many_buffers():
    optimizer = jm.aggmo(0.02, betas=(0.0, 0.5, 0.9))
    proof = theory.certified_rate(optimizer, 1.0, 10.0)
    assert proof.verify()
    assert theory.rate(optimizer, 1.0, 10.0) <= proof.rate < 1


def test_the_bound_holds_on_a_function_that_is_no_quadratic():
    """Softplus steps between curvatures 1 and 10: never farther than bound * rate^t."""
    import jax
    import jax.numpy as jnp

    def loss(x):
        return x**2 / 2 + 9 * jax.nn.softplus(4 * (x - 0.1)) / 4  # curvature in [1, 1 + 9]

    optimizer = jm.nesterov_strongly_convex(1.0, 10.0)
    proof = theory.certified_rate(optimizer, 1.0, 10.0)
    steps = jnp.linspace(-10.0, 10.0, 21)
    run = jax.vmap(lambda x: jm.optimize(loss, x, optimizer, 60, record="params"))(steps)
    best = jm.optimize(loss, jnp.zeros([]), optimizer, 400).params
    distance = np.abs(run.history["params"] - best)
    allowed = proof.bound() * distance[:, :1] * proof.rate ** np.arange(61)
    assert (distance <= allowed + 1e-12).all()


def test_mu_zero_is_refused_and_says_why():
    with pytest.raises(ValueError, match="without strong convexity there is none"):
        theory.certified_rate(jm.gradient_descent(0.1), 0.0, 10.0)


def test_a_missing_solver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"jaxmom\[certify\]"):
        theory.certified_rate(jm.gradient_descent(0.1), 1.0, 10.0)


# PEPit finds the exact worst case of a few steps; a certificate bounds all of them.


def pepit(name):
    pytest.importorskip("PEPit")
    module = "PEPit.examples.unconstrained_convex_minimization"
    return getattr(importlib.import_module(f"{module}.{name}"), f"wc_{name}")


def test_triple_momentum_agrees_with_pepit():
    """The ratio of its exact worst cases after n and n + 1 steps is the certified rate squared."""
    worst = pepit("triple_momentum")
    few, more = (worst(mu=0.1, L=1.0, n=n, verbose=-1)[0] for n in (2, 3))
    proof = theory.certified_rate(jm.triple_momentum(0.1, 1.0), 0.1, 1.0)
    np.testing.assert_allclose(proof.rate, np.sqrt(more / few), rtol=0, atol=1e-3)


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.7])
def test_robust_momentum_agrees_with_pepit(lam):
    mu, L = 0.1, 1.0
    worst, _ = pepit("robust_momentum")(mu=mu, L=L, lam=lam, verbose=-1)
    rho = lam * (1 - mu / L) + (1 - lam) * (1 - np.sqrt(mu / L))
    proof = theory.certified_rate(robust_momentum(mu, L, rho), mu, L)
    np.testing.assert_allclose(proof.rate, np.sqrt(worst), rtol=0, atol=1e-3)
    assert proof.verify()


def exact_worst_case(recurrence, mu, L, steps):
    """PEPit's largest |x_n - x*|^2 over the class, from |x_0 - x*| = 1 and empty buffers."""
    pep = pytest.importorskip("PEPit")
    functions = importlib.import_module("PEPit.functions")
    problem = pep.PEP()
    f = problem.declare_function(functions.SmoothStronglyConvexFunction, mu=mu, L=L)
    optimum, start = f.stationary_point(), problem.set_initial_point()
    problem.set_initial_condition((start - optimum) ** 2 <= 1)
    problem.set_performance_metric((recurrence(f, start, steps) - optimum) ** 2)
    return problem.solve(verbose=-1)


def descent(f, x, steps):
    for _ in range(steps):
        x = x - 2 / 11 * f.gradient(x)
    return x


def accelerated(f, y, steps):
    x, beta = y, (np.sqrt(10) - 1) / (np.sqrt(10) + 1)
    for _ in range(steps):
        new = y - f.gradient(y) / 10
        y, x = new + beta * (new - x), new
    return y


def slow_ball(f, x, steps):
    previous = x
    for _ in range(steps):
        x, previous = x - 0.05 * f.gradient(x) + 0.3 * (x - previous), x
    return x


@pytest.mark.parametrize(
    ("recurrence", "optimizer"),
    [
        (descent, jm.gradient_descent(2 / 11)),
        (accelerated, jm.nesterov_strongly_convex(1.0, 10.0)),
        (slow_ball, jm.heavy_ball(0.05, beta=0.3)),
    ],
    ids=["descent", "nesterov", "heavy ball"],
)
def test_no_exact_worst_case_exceeds_the_certified_bound(recurrence, optimizer):
    proof = theory.certified_rate(optimizer, 1.0, 10.0)
    worst = np.array([exact_worst_case(recurrence, 1.0, 10.0, n) for n in (1, 2, 4)])
    allowed = (proof.bound() * proof.rate ** np.array([1, 2, 4])) ** 2
    assert (worst <= allowed * (1 + 1e-6)).all()
    if recurrence is descent:  # where the certificate is tight at every step
        np.testing.assert_allclose(worst, allowed, rtol=1e-2)
