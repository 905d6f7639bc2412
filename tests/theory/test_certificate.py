"""Certified rates against theorems and PEPit, and every certificate checked without the solver."""

import dataclasses
import functools
import importlib
import sys

import jax
import jax.numpy as jnp
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
    # The default solver is off by 1e-5, more than the certificates are.
    return problem.solve(verbose=-1, solver="CLARABEL")


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


# Units, random methods and measured runs: a proof is never below what happens.


def quadratic_rate(optimizer, mu, L):
    """The largest spectral radius on [mu, L], by NumPy, from the matrices of the code."""
    system = theory.minimal(theory.linearize(optimizer))
    a, b, c = (np.asarray(x) for x in (system.A, system.B, system.C))
    curvatures = np.linspace(np.sqrt(mu), np.sqrt(L), 101) ** 2
    return max(np.abs(np.linalg.eigvals(a + k * np.outer(b, c))).max() for k in curvatures)


def in_units(scale):
    """Methods for curvatures in [1, 10] times a scale."""
    return {
        "optax": optax.sgd(0.05 / scale, momentum=0.5),
        "nesterov": jm.nesterov_strongly_convex(scale, 10 * scale),
        "aggmo": jm.aggmo(0.02 / scale, betas=(0.0, 0.5, 0.9)),
        "blind buffer": jm.qhm(0.1 / scale, beta=0.99, nu=0.0),
    }


@pytest.mark.parametrize("exponent", [-12, 10])
@pytest.mark.parametrize("name", in_units(1.0))
def test_a_certificate_is_the_same_in_all_units(name, exponent):
    scale = 10.0**exponent
    proof = theory.certified_rate(in_units(scale)[name], scale, 10 * scale)
    assert proof.verify()
    assert proof.rate >= quadratic_rate(in_units(1.0)[name], 1.0, 10.0) - 1e-12
    np.testing.assert_allclose(proof.rate, unit_rate(name), rtol=0, atol=1e-4)


@functools.cache
def unit_rate(name):
    return theory.certified_rate(in_units(1.0)[name], 1.0, 10.0).rate


def stepped_gradient(x, mu, L, at):
    """Of a function with curvature L within |x| < at, and mu outside."""
    return mu * x + (L - mu) * np.clip(x, -at, at)


@pytest.mark.parametrize("seed", range(4))
def test_random_methods_never_leave_their_certificate(seed):
    """Random filters, condition numbers and units; runs by the code on stepped functions."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-12, 12)
    mu, L = scale, scale * 10.0 ** rng.uniform(0.3, 2)
    betas = tuple(rng.uniform(0, 0.9, rng.integers(1, 4)))
    optimizer = jm.aggmo(rng.uniform(0.2, 1.2) / L * (1 - max(betas)), betas)
    proof = theory.certified_rate(optimizer, mu, L)
    assert proof.verify()
    assert proof.rate >= quadratic_rate(optimizer, mu, L) - 1e-12
    update = jax.jit(optimizer.update)
    for at in (0.0, 0.01, 0.1, 0.5, 2.0):
        x, state, path = jnp.ones([]), optimizer.init(jnp.ones([])), [1.0]
        for _ in range(40):
            gradient = jnp.asarray(stepped_gradient(float(x), mu, L, at))
            step, state = update(gradient, state, x)
            x = x + step
            path.append(abs(float(x)))
        assert (path <= proof.bound() * proof.rate ** np.arange(41) * (1 + 1e-9)).all()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_no_better_rate_verifies_in_any_units(scale):
    """Not below the rate on quadratics, whatever P and the multipliers are made of."""
    optimizer = in_units(scale)["optax"]
    proof = theory.certified_rate(optimizer, scale, 10 * scale)
    least = quadratic_rate(in_units(1.0)["optax"], 1.0, 10.0)
    rng = np.random.default_rng(0)
    for rate in (least - 1e-9, least * (1 - 1e-6), 0.8, 0.45):
        assert not dataclasses.replace(proof, rate=rate).verify()
        for size in 10.0 ** rng.uniform(-30, 30, 5):
            exact = {"P": proof.P * size, "multipliers": proof.multipliers * size, "factor": None}
            assert not dataclasses.replace(proof, rate=rate, **exact).verify()
    noise = 1 + 1e-6 * rng.standard_normal(proof.P.shape)
    assert not dataclasses.replace(proof, P=proof.P * noise).verify()  # it is not symmetric
    assert not dataclasses.replace(proof, P=proof.P * 2).verify()  # it is not its factor's


def test_a_proof_leaves_room_for_rounding():
    """Every entry of the system may be off by one unit in its last place."""
    proof = theory.certified_rate(jm.nesterov_strongly_convex(1.0, 10.0), 1.0, 10.0)
    assert proof.verify()
    for sign in (-1, 1):
        parts = {
            name: np.asarray(getattr(proof.system, name)) * (1 + sign * 2.0**-52)
            for name in ("B", "C")
        }
        assert dataclasses.replace(
            proof, system=dataclasses.replace(proof.system, **parts)
        ).verify()


DECAYS = {
    "coupled": jm.sgd(0.1, momentum=0.9, weight_decay=0.1),
    "tiny": jm.sgd(0.1, momentum=0.9, weight_decay=1e-9),
    "optax": optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.1, 0.9)),
    "decoupled": optax.chain(optax.sgd(0.1, 0.9), optax.add_decayed_weights(-1e-4)),
    "growth": jm.sgd(0.1, momentum=0.9, weight_decay=jnp.array(-0.01)),
}


@pytest.mark.parametrize("name", DECAYS)
def test_a_pull_on_params_has_no_certificate(name):
    """They come to rest elsewhere than at the optimum."""
    system = theory.linearize(DECAYS[name])
    for optimizer in (DECAYS[name], system, theory.minimal(system)):
        with pytest.raises(ValueError, match=r"weight decay.*do not come to rest at the optimum"):
            theory.certified_rate(optimizer, 0.1, 1.0)
    proof = theory.certified_rate(jm.gradient_descent(0.1), 0.1, 1.0)
    small = theory.minimal(system)
    if len(small.names) == 1:
        assert not dataclasses.replace(proof, system=small).verify()


@pytest.mark.parametrize(
    ("learning_rate", "momentum", "dampening"),
    [(5.0, 0.9, 0.99), (1.0, 0.9, 0.9), (0.5, 0.5, 0.5), (0.3, 0.9, 0.0), (10.0, 0.5, 0.95)],
)
@pytest.mark.parametrize("curvature", [0.1, 0.3, 1.0])
def test_the_bound_covers_an_undamped_first_step(learning_rate, momentum, dampening, curvature):
    proof = damped_proof(learning_rate, momentum, dampening)
    optimizer = jm.sgd(learning_rate, momentum=momentum, dampening=dampening)
    run = jm.optimize(lambda x: curvature * x**2 / 2, jnp.ones([]), optimizer, 60, record="params")
    allowed = proof.bound() * proof.rate ** np.arange(61)
    assert (np.abs(run.history["params"]) <= allowed * (1 + 1e-9)).all()
    assert (proof.first_step is None) == (dampening == 0)


@functools.cache
def damped_proof(learning_rate, momentum, dampening):
    optimizer = jm.sgd(learning_rate, momentum=momentum, dampening=dampening)
    return theory.certified_rate(optimizer, 0.1, 1.0)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (jm.aggmo(0.01), 0.9936),
        (jm.aggmo(0.001), 0.9961),
        (jm.aggmo(0.01, (0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.9)), 0.9970),
    ],
    ids=["three", "three, slow", "seven"],
)
def test_many_buffers_lose_nothing(optimizer, rate):
    """Rates that the semidefinite program in the code's own coordinates reaches."""
    proof = theory.certified_rate(optimizer, 0.1, 1.0)
    assert quadratic_rate(optimizer, 0.1, 1.0) <= proof.rate < rate
    assert proof.verify()


@pytest.mark.parametrize("kappa", [1e4, 1e6])
@pytest.mark.parametrize(
    ("make", "theorem"),
    [
        (lambda k: jm.gradient_descent(1 / k), lambda k: 1 - 1 / k),
        (lambda k: jm.nesterov_strongly_convex(1.0, k), lambda k: np.sqrt(1 - k**-0.5)),
        (lambda k: jm.triple_momentum(1.0, k), lambda k: 1 - k**-0.5),
    ],
    ids=["descent", "nesterov", "triple momentum"],
)
def test_large_condition_numbers_reach_the_theorems(make, theorem, kappa):
    proof = theory.certified_rate(make(kappa), 1.0, kappa)
    assert proof.verify()
    assert np.log(proof.rate) < np.log(theorem(kappa)) * 0.99


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (jm.gradient_descent(0.0), "no gradient moves params"),
        (jm.heavy_ball(0.0, beta=0.9), "no gradient moves params"),
        (jm.gradient_descent(0.3), "does not converge on all quadratics"),
        (quadratic_heavy_ball(25.0), "prove no linear rate, or none that float64 can find"),
    ],
    ids=["no step", "no step, a buffer", "unstable", "heavy ball"],
)
def test_a_missing_certificate_says_why(optimizer, words):
    proof = theory.certified_rate(optimizer, 1.0, 25.0)
    assert words in proof.reason
    assert proof.rate == proof.bound() == np.inf
    assert not proof.verify()


def test_traced_numbers_are_refused():
    with pytest.raises(ValueError, match="outside jit, vmap and grad"):
        jax.jit(lambda a: theory.certified_rate(jm.gradient_descent(a), 1.0, 9.0).rate)(0.1)
    with pytest.raises(ValueError, match="mu is one plain number"):
        jax.jit(lambda mu: theory.certified_rate(jm.gradient_descent(0.1), mu, 9.0).rate)(1.0)


# The rate by frequencies, which needs no program: against certificates and finite differences.


@pytest.mark.parametrize("kappa", [4.0, 1e4, 1e6])
def test_certifiable_rates_are_the_theorems(kappa):
    s = np.sqrt(kappa)
    rho = 1 - 0.5 / s - 0.5 / kappa
    pairs = [
        (jm.heavy_ball(2 / (kappa + 1), beta=0.0), (kappa - 1) / (kappa + 1)),
        (jm.triple_momentum(1.0, kappa), 1 - 1 / s),
        (jm.robust_momentum(1.0, kappa, rho), rho),
    ]
    for optimizer, theorem in pairs:
        np.testing.assert_allclose(1 - certifiable(optimizer, kappa), 1 - theorem, rtol=1e-6)


def test_the_certifiable_rate_is_that_of_the_certificates():
    for optimizer in (jm.heavy_ball(0.05, 0.5), jm.aggmo(0.02, (0.0, 0.5, 0.9))):
        proof = theory.certified_rate(optimizer, 1.0, 10.0)
        rate = certifiable(optimizer, 10.0)
        assert rate - 1e-8 <= proof.rate <= rate + 3e-5 * (1 - rate)


@pytest.mark.parametrize("numbers", [(0.05, 0.3, 0.1), (0.08, 0.5, 0.7), (0.4, 0.8, 0.0)])
def test_the_gradient_of_a_certified_rate_by_the_envelope_theorem(numbers):
    """Against central differences; the last one converges on no class, and has a growth bound."""
    x, h = np.array(numbers), 1e-4  # the search ends at 1e-8 or so
    value, slope = rate_and_slope(x)
    assert (value >= 1) == (numbers[0] == 0.4)
    differences = [
        (rate_and_slope(x + h * e)[0] - rate_and_slope(x - h * e)[0]) / (2 * h) for e in np.eye(3)
    ]
    np.testing.assert_allclose(slope, differences, rtol=1e-3, atol=1e-4)


@functools.cache
def compiled(names):
    return jax.jit(lambda a, b, c, L: theory.certifiable_rate(
        theory.LinearSystem(a, b, c, jnp.zeros([]), names), 1.0, L))  # fmt: skip


def certifiable(optimizer, L):
    """Compiled once for each number of states."""
    system = theory.linearize(optimizer)
    names = tuple(map(str, range(len(system.names))))
    return float(compiled(names)(system.A, system.B, system.C, L))


@functools.cache
def compiled_rate():
    def rate(x):
        return theory.certifiable_rate(jm.unified_momentum(x[0], x[1], x[2]), 1.0, 10.0)

    return jax.jit(jax.value_and_grad(rate))


def rate_and_slope(x):
    return compiled_rate()(x)


# Maps of hyperparameters, and Lyapunov functions along runs.


def test_a_map_has_a_proof_for_every_cell():
    alphas, betas = (x.ravel() for x in np.meshgrid([0.02, 0.08, 0.19, 0.25], [0.0, 0.3, 0.8]))
    found = theory.certified_rates(jax.vmap(jm.heavy_ball)(alphas, betas), 1.0, 10.0)
    optimizers = [jm.heavy_ball(a, b) for a, b in zip(alphas, betas, strict=True)]
    rates = [certifiable(one, 10.0) for one in optimizers]
    for optimizer, rate, proof in zip(optimizers, rates, found.proofs, strict=True):
        assert proof.verify() == (rate < 1)
        if rate < 1:
            assert rate - 1e-9 <= proof.rate <= rate + 1e-3 * (1 - rate)
            assert proof.rate >= quadratic_rate(optimizer, 1.0, 10.0) - 1e-12
            assert np.isfinite(proof.bound())
        else:
            assert proof.rate == np.inf
            assert proof.reason
    np.testing.assert_array_equal(found.rates, [proof.rate for proof in found.proofs])
    assert 3 <= np.sum(np.isfinite(found.rates)) <= 10


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 0.6, np.nan])
@pytest.mark.parametrize("function", [theory.certified_rate, theory.certified_rates])
def test_a_tolerance_that_leaves_no_proof_is_refused(function, tolerance):
    """It must not read as if there were no certificate."""
    with pytest.raises(ValueError, match="tolerance is the share"):
        function(jax.vmap(jm.gradient_descent)(jnp.array([0.1])), 1.0, 4.0, tolerance=tolerance)


def test_a_map_refuses_what_is_no_batch():
    with pytest.raises(ValueError, match="one leading axis"):
        theory.certified_rates(jm.heavy_ball(0.1, beta=0.5), 1.0, 10.0)
    with pytest.raises(ValueError, match="without strong convexity"):
        theory.certified_rates(jax.vmap(jm.gradient_descent)(np.ones(2)), [0.0, 1.0], 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_lyapunov_function_falls_on_random_convex_functions(seed):
    """Sums of steep ramps in random directions: curvature anywhere in [mu, L]."""
    rng = np.random.default_rng(seed)
    mu, L = 1.0, 10.0
    slopes = rng.standard_normal((6, 3))
    slopes = jnp.asarray(slopes / np.sqrt(np.linalg.norm(slopes.T @ slopes, 2)))
    centers = jnp.asarray(rng.standard_normal(6) * 0.3)

    def loss(x):
        u = slopes @ x - centers
        huber = jnp.where(jnp.abs(u) < 0.2, u**2 / 2, 0.2 * jnp.abs(u) - 0.02)
        return mu * (x @ x) / 2 + (L - mu) * jnp.sum(huber)

    start = jnp.asarray(rng.standard_normal(3) * 2)
    optimum = jm.optimize(loss, start, jm.nesterov_strongly_convex(mu, L), 600).params
    for optimizer in (jm.nesterov_strongly_convex(mu, L), jm.aggmo(0.02, (0.0, 0.5, 0.9))):
        run = jm.optimize(loss, start, optimizer, 30, record="params")
        path, proof = run.history["params"], lyapunov_proof(optimizer)
        gradients = jax.vmap(jax.grad(loss))(path)
        values = jax.vmap(loss)(path) - loss(optimum)
        V = proof.lyapunov(path, gradients, values, optimum)
        assert (V[1:] <= proof.rate**2 * V[:-1] * (1 + 1e-6) + 1e-12).all()
        assert V[-1] < 0.2 * V[0]
    with pytest.raises(ValueError, match="no params and gradients of a run"):
        proof.lyapunov(path, 2 * gradients, values, optimum)


PROOFS = {}


def lyapunov_proof(optimizer):
    name = str(jm.hyperparameters(optimizer))
    if name not in PROOFS:
        PROOFS[name] = theory.certified_rate(optimizer, 1.0, 10.0)
    return PROOFS[name]
