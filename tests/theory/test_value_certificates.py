"""Certified rates of function values against the paper, theorems, exact worst cases and runs."""

import dataclasses
import functools
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


def best_heavy_ball(kappa):
    return jm.heavy_ball(
        4 / (np.sqrt(kappa) + 1) ** 2, beta=((np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)) ** 2
    )


METHODS = {
    "descent": lambda kappa: jm.gradient_descent(1 / kappa),
    "longest": lambda kappa: jm.gradient_descent(2 / (1 + kappa)),
    "best heavy ball": best_heavy_ball,
    "nesterov": lambda kappa: jm.nesterov_strongly_convex(1.0, kappa),
    "triple momentum": lambda kappa: jm.triple_momentum(1.0, kappa),
    "heavy ball": lambda kappa: jm.heavy_ball(1 / kappa, beta=0.5),
    "aggmo": lambda kappa: jm.aggmo(0.2 / kappa, betas=(0.0, 0.5, 0.9)),
}


@functools.cache
def proved(name, kappa, window=1, start="distance", tolerance=1e-3):
    return theory.certified_value_rate(
        METHODS[name](kappa), 1.0, kappa, window=window, start=start, tolerance=tolerance
    )


@functools.cache
def convex(name, window=1):
    return theory.certified_value_rate(METHODS[name](4.0), 0.0, 4.0, window=window)


# Figure 1 of Taylor, Van Scoy and Lessard 2018, from the data beside their code; they bisect to
# 1e-4. Their state holds as many gradients as past iterates.
FIGURE = [
    ("descent", 10.0, 1, 0.9000244),
    pytest.param("best heavy ball", 10.0, 2, 0.8602295, marks=pytest.mark.slow),
    pytest.param("nesterov", 10.0, 2, 0.7518311, marks=pytest.mark.slow),
    ("triple momentum", 10.0, 2, 0.6837769),
    pytest.param("best heavy ball", 10**1.25, 2, 0.9980469, marks=pytest.mark.slow),
    pytest.param("nesterov", 1000.0, 2, 0.9780884, marks=pytest.mark.slow),
    pytest.param("triple momentum", 100.0, 2, 0.9000244, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "kappa", "window", "rate"), FIGURE)
def test_rates_are_those_of_the_papers_figure(name, kappa, window, rate):
    proof = proved(name, kappa, window, tolerance=1e-4)
    assert proof.verify()
    np.testing.assert_allclose(proof.rate, rate, rtol=0, atol=1.5e-4)


@pytest.mark.slow
def test_beyond_the_figures_end_heavy_ball_has_no_proof():
    """At 10^1.375 its rate there is above 1."""
    proof = proved("best heavy ball", 10**1.375, 2)
    assert proof.rate == proof.constant == np.inf
    assert "Try a larger window" in proof.reason
    assert np.isinf(proof.bound([0, 5])).all()
    assert not proof.verify()


@pytest.mark.parametrize(
    ("name", "theorem"),
    [("descent", 0.9), pytest.param("longest", 9 / 11, marks=pytest.mark.slow)],
)
def test_descent_contracts_values_by_the_square_of_its_rate(name, theorem):
    """De Klerk, Glineur and Taylor 2017, from f(x_0) - f* with the constant 1."""
    proof = proved(name, 10.0, start="value")
    assert 1 - (1 - theorem) * 1.0001 <= proof.rate <= 1 - (1 - theorem) * 0.998
    np.testing.assert_allclose(proof.constant, 1.0, rtol=1e-5)
    exact = theory.worst_case(METHODS[name](10.0), 3, 1.0, 10.0, start="value").bound
    assert exact <= proof.bound(3) <= exact * 1.01


@pytest.mark.parametrize("rate", [0.25])
def test_convex_descent_has_the_textbooks_bound(rate):
    """|x_0 - x*|^2 / (2 alpha t), and L / 2 at t = 0."""
    proof = theory.certified_value_rate(jm.gradient_descent(rate), 0.0, 4.0, window=1)
    assert proof.verify()
    assert proof.rate == 1.0
    np.testing.assert_allclose(proof.constant, 1 / (2 * rate), rtol=2e-3)
    np.testing.assert_allclose(proof.bound(0), 2.0, rtol=2e-3)
    assert (proof.bound(np.arange(1, 9)) <= 1 / (2 * rate * np.arange(1, 9))).all()


@pytest.mark.parametrize(
    "name",
    ["heavy ball", *(pytest.param(x, marks=pytest.mark.slow) for x in ("descent", "nesterov"))],
)
def test_no_exact_worst_case_exceeds_a_bound(name):
    steps = [4]
    proofs = {(1.0, 10.0): proved(name, 10.0)}
    if name != "nesterov":  # whose momentum is for mu = 1
        proofs[0.0, 4.0] = convex(name)
    for (mu, L), proof in proofs.items():
        optimizer = METHODS[name](L)
        exact = np.array([theory.worst_case(optimizer, n, mu, L).bound for n in steps])
        assert (exact <= proof.bound(steps)).all()
        assert (proof.bound(steps) <= exact * 12).all()


@pytest.mark.slow
def test_a_wider_window_proves_no_less():
    """The rates are those of AutoLyap 0.2.1, with its history h = window - 1."""
    rates = [proved("best heavy ball", 10.0, window).rate for window in (1, 2, 3)]
    assert rates[0] > rates[1] > rates[2] + 0.01
    np.testing.assert_allclose(rates, [0.8604086, 0.8602213, 0.8459061], rtol=0, atol=4e-4)
    constants = [convex("heavy ball", window).constant for window in (1, 2)]
    assert constants[1] < constants[0] - 1e-3


@pytest.mark.slow
def test_the_rate_is_at_most_that_of_the_quadratic_constraints():
    """They are sums of these inequalities, without values."""
    optimizer, proof = METHODS["heavy ball"](10.0), proved("heavy ball", 10.0)
    rate = theory.certified_rate(optimizer, 1.0, 10.0).rate
    assert float(theory.rate(optimizer, 1.0, 10.0)) <= proof.rate <= rate + 2e-3 * (1 - rate)
    np.testing.assert_allclose(proof.rate, 0.8169002, rtol=0, atol=4e-4)  # AutoLyap 0.2.1


def random_function(rng, mu, L, dims=3):
    """Steep ramps in random directions: curvature anywhere in [mu, L]; and its minimizer."""
    slopes = rng.standard_normal((6, dims))
    slopes = jnp.asarray(slopes / np.sqrt(np.linalg.norm(slopes.T @ slopes, 2)))
    centers, width = jnp.asarray(rng.standard_normal(6) * 0.3), 10 ** rng.uniform(-2, 0)

    def loss(x):
        u = slopes @ x - centers
        huber = jnp.where(jnp.abs(u) < width, u**2 / 2, width * jnp.abs(u) - width**2 / 2)
        return mu * (x @ x) / 2 + (L - mu) * jnp.sum(huber)

    return loss


@functools.cache
def long_run(seed, mu, L):
    rng = np.random.default_rng(seed)
    loss = random_function(rng, mu, L)
    start = jnp.asarray(rng.standard_normal(3) * 2)
    method = jm.nesterov_strongly_convex(max(mu, 1e-3), L)
    return loss, start, jm.optimize(loss, start, method, 3000).params


def run_of(optimizer, seed, mu, L, steps):
    loss, start, optimum = long_run(seed, mu, L)
    path = jm.optimize(loss, start, optimizer, steps, record="params").history["params"]
    gradients = jax.vmap(jax.grad(loss))(path)
    return path, gradients, jax.vmap(loss)(path) - loss(optimum), optimum


@pytest.mark.parametrize("window", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mu", [1.0, 0.0])
def test_the_lyapunov_function_falls_and_stays_above_the_value(mu, window):
    L = 10.0 if mu else 4.0
    proof = proved("heavy ball", L, window) if mu else convex("heavy ball", window)
    path, gradients, values, optimum = run_of(METHODS["heavy ball"](L), 0, mu, L, 40)
    V = proof.lyapunov(path, gradients, values, optimum)
    assert len(V) == 42 - window
    assert (V[1:] <= proof.rate**2 * V[:-1] * (1 + 1e-6) + 1e-9).all()
    ages = 1.0 if mu else np.arange(len(V)) + proof.offset
    assert (ages * values[: len(V)] * (1 - 1e-6) - 1e-9 <= V).all()
    distance = np.sum((path[0] - optimum) ** 2)
    assert V[0] <= distance * proof.constant * (1 + 1e-6)
    assert (values <= distance * proof.bound(np.arange(41)) + 1e-9).all()
    with pytest.raises(ValueError, match="no params and gradients of a run"):
        proof.lyapunov(path, 2 * gradients, values, optimum)


def test_what_is_stored_is_checked():
    proof = proved("heavy ball", 10.0)
    assert not dataclasses.replace(proof, rate=proof.rate - 1e-2).verify()
    assert not dataclasses.replace(proof, constant=proof.constant * 0.99).verify()
    assert not dataclasses.replace(proof, L=11.0).verify()
    assert not dataclasses.replace(proof, mu=0.5).verify()
    for change in (lambda w: -w, lambda w: 2 * w, lambda w: w[:-1], lambda w: w + np.eye(len(w))):
        wrong = {name: change(one) for name, one in proof.multipliers.items()}
        assert not dataclasses.replace(proof, multipliers=wrong).verify()
    assert not dataclasses.replace(proof, multipliers={}).verify()
    proof = convex("heavy ball")
    assert not dataclasses.replace(proof, offset=proof.offset * 1.1).verify()
    assert not dataclasses.replace(proof, constant=proof.constant * 0.98).verify()
    assert not dataclasses.replace(proof, rate=0.99).verify()
    form = proof.potential.growth._replace(values=proof.potential.growth.values * 1.001)
    V = proof.potential._replace(growth=form)
    assert not dataclasses.replace(proof, potential=V).verify()


def test_an_undamped_first_step_is_part_of_the_bound():
    optimizer = jm.sgd(0.1, momentum=0.5, dampening=0.5)
    proof = theory.certified_value_rate(optimizer, 1.0, 10.0, window=1)
    assert proof.verify()
    assert np.isinf(proof.bound(0))
    path, gradients, values, optimum = run_of(optimizer, 0, 1.0, 10.0, 30)
    steps = np.arange(31)
    assert (values <= np.sum((path[0] - optimum) ** 2) * proof.bound(steps) + 1e-9).all()
    V = proof.lyapunov(path, gradients, values, optimum)
    assert (V[1:] <= proof.rate**2 * V[:-1] * (1 + 1e-6) + 1e-9).all()
    for curvature in (1.0, 3.0, 10.0):
        run = jm.optimize(lambda x, k=curvature: k * x**2 / 2, 1.0, optimizer, 30)
        assert (run.history["value"] <= proof.bound(steps)).all()


@pytest.mark.parametrize("scale", [pytest.param(1e-9, marks=pytest.mark.slow), 1e9])
def test_units_change_the_constant_alone(scale):
    proof = theory.certified_value_rate(
        optax.sgd(0.1 / scale, momentum=0.5), scale, 10 * scale, window=1
    )
    ours = proved("heavy ball", 10.0)
    assert proof.verify()
    np.testing.assert_allclose(proof.rate, ours.rate, rtol=0, atol=1e-9)
    np.testing.assert_allclose(proof.constant, scale * ours.constant, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mu": 20.0}, "0 <= mu < L, got mu=20.0"),
        ({"mu": -1.0}, "0 <= mu < L, got mu=-1.0"),
        ({"mu": np.nan}, "0 <= mu < L, got mu=nan"),
        ({"mu": 0.0, "start": "value"}, 'give start="distance", or mu > 0'),
        ({"start": "gradient"}, "start"),
        ({"window": 0}, "window"),
        ({"tolerance": 0.0}, "tolerance is the share"),
        ({"tolerance": np.array([0.1, 0.2])}, "tolerance is one plain number"),
        ({"optimizer": jm.gradient_descent(jnp.array([0.1, 0.2]))}, "vmap"),
        ({"optimizer": jm.sgd(0.1, momentum=0.5, weight_decay=0.1)}, "weight decay"),
    ],
)
def test_what_has_no_meaning_is_refused(changes, words):
    given = {"optimizer": jm.gradient_descent(0.1), "mu": 1.0, "L": 10.0} | changes
    with pytest.raises(ValueError, match=words):
        theory.certified_value_rate(
            given.pop("optimizer"), given.pop("mu"), given.pop("L"), **given
        )


def test_a_pull_to_a_buffer_that_starts_at_zero_is_refused():
    """Whatever is near the minimizer then moves away, first at once and then in all updates."""

    def pulled(start, rate):
        def update(g, state, x):
            z, count = state
            return -rate(count) * g + 0.1 * (z - x), ((z + x) / 2, jnp.minimum(count + 1, 1))

        return optax.GradientTransformation(lambda x: (start(x), jnp.zeros([], int)), update)

    for rate in (lambda count: 0.1, lambda count: jnp.where(count == 0, 0.2, 0.1)):
        with pytest.raises(ValueError, match="moves params without gradients"):
            theory.certified_value_rate(pulled(jnp.zeros_like, rate), 1.0, 10.0, window=1)
    copied = pulled(lambda x: x * 1.0, lambda count: 0.1)
    proof = theory.certified_value_rate(copied, 1.0, 10.0, window=1, tolerance=0.1)
    run = jm.optimize(lambda x: (x - 500.0) ** 2 / 2, 501.0, copied, 60)
    assert (run.history["value"] <= proof.bound(np.arange(61))).all()


def test_a_stage_that_is_not_linear_is_named():
    with pytest.raises(theory.NotLinearError, match="clip"):
        theory.certified_value_rate(optax.chain(optax.clip(1.0), optax.sgd(0.1)), 1.0, 10.0)
    with pytest.raises(theory.NotLinearError):
        theory.certified_value_rate(jm.nesterov_convex(0.1), 0.0, 10.0)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (jm.gradient_descent(0.0), "the learning rate is 0"),
        (jm.gradient_descent(0.3), "does not converge on all quadratics"),
    ],
)
def test_no_proof_says_why(optimizer, words):
    for mu in (0.0, 1.0):
        proof = theory.certified_value_rate(optimizer, mu, 10.0)
        assert words in proof.reason
        assert proof.rate == np.inf
        with pytest.raises(ValueError, match=words):
            proof.lyapunov(np.ones(3), np.ones(3), np.ones(3), 0.0)


def test_steps_are_counts():
    with pytest.raises(ValueError, match="counts of updates"):
        proved("heavy ball", 10.0).bound(-1)
    with pytest.raises(ValueError, match="counts of updates"):
        proved("heavy ball", 10.0).bound(0.5)


def test_a_missing_solver_is_named_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"jaxmom\[certify\]"):
        theory.certified_value_rate(jm.gradient_descent(0.1), 1.0, 10.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_optimizers_stay_below_their_bounds(seed):
    rng = np.random.default_rng(seed)
    mu, L = (1.0, 10.0) if seed % 2 else (0.0, 4.0)
    betas = tuple(rng.uniform(0, 0.8, 2))
    optimizer = jm.aggmo(rng.uniform(0.1, 0.8) / L * (1 - max(betas)), betas)
    proof = theory.certified_value_rate(optimizer, mu, L, window=1 + seed % 3)
    assert proof.verify()
    for problem in range(8):
        path, _, values, optimum = run_of(optimizer, problem, mu, L, 40)
        allowed = np.sum((path[0] - optimum) ** 2) * proof.bound(np.arange(41))
        assert (values <= allowed + 1e-9).all()
