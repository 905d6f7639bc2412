"""Worst cases of N steps against theorems and PEPit, their proofs, and runs on worst functions."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory
from jaxmom.problems import interpolated

# The bound is above the exact worst case by the room that its proof needs, 1e-8 of the squares of
# start and gradients in units with L = 1, and by the gap at which the solver stops.
SLACK = 1e-5


def theta(steps):
    """theta_N of the optimized gradient method, whose last one is larger."""
    value = 1.0
    for t in range(steps):
        value = (1 + np.sqrt(1 + (8 if t == steps - 1 else 4) * value**2)) / 2
    return value


def ratio_of_item(q, steps):
    a = 0.0
    for _ in range(steps):
        a = ((1 + q) * a + 2 * (1 + np.sqrt((1 + a) * (1 + q * a)))) / (1 - q) ** 2
    return 1 / (1 + q * a)


# optimizer, steps, keywords, the theorem's number
THEOREMS = {
    "descent 1": (jm.gradient_descent(1.0), 1, {}, 1 / 6),
    "descent 7": (jm.gradient_descent(1.0), 7, {}, 1 / 30),
    "descent 20": (jm.gradient_descent(0.25), 20, {"L": 4.0}, 4 / 82),
    # Taylor, Hendrickx and Glineur 2018 (arXiv 1705.04398), theorem 1: all three measures.
    "descent, distance": (
        *(jm.gradient_descent(0.1), 3, {"mu": 1.0, "L": 10.0, "measure": "distance"}),
        0.9**6,
    ),
    "descent, gradient": (
        jm.gradient_descent(0.5),
        4,
        {"L": 2.0, "measure": "gradient_norm", "start": "value"},
        4 / (2 * 4 + 1),
    ),
    "OGM": (jm.optimized_gradient(0.5, steps=6), 6, {"L": 2.0}, 2 / (2 * theta(6) ** 2)),
    # The theta of OGM-G run backwards, and end as those of OGM do.
    "OGM-G": (
        jm.ogm_gradient(0.5, steps=6),
        6,
        {"L": 2.0, "measure": "gradient_norm", "start": "value"},
        4 / theta(6) ** 2,
    ),
    "ITEM": (
        jm.item(mu=1.0, L=20.0),
        6,
        {"mu": 1.0, "L": 20.0, "measure": "distance"},
        ratio_of_item(0.05, 6),
    ),
    # Van Scoy, Freeman and Lynch 2018: rho^(2 N) L kappa |x_0 - x*|^2 / 2. The worst function needs
    # a direction for each step, and its inequalities have little room.
    "triple momentum": (
        *(jm.triple_momentum(1.0, 100.0), 10, {"mu": 1.0, "L": 100.0}),
        0.9**20 * 100.0 * 100.0 / 2,
    ),
    # Of a distance the worst function is a parabola, and the bound is far below the start.
    "descent, small": (
        *(jm.gradient_descent(1.0), 15, {"mu": 0.3, "L": 1.0, "measure": "distance"}),
        0.7**30,
    ),
}


@functools.cache
def worst(name):
    optimizer, steps, keywords, _ = THEOREMS[name]
    return theory.worst_case(optimizer, steps, **keywords)


def attained(optimizer, steps, case, measure="value"):
    run = jm.optimize(case.function.loss, case.function.params, optimizer, steps)
    point = jm.eval_params(optimizer, run.params, run.state)
    if measure == "distance":
        return jnp.sum((point - case.points[-1]) ** 2)
    value, gradient = jax.value_and_grad(case.function.loss)(point)
    return value if measure == "value" else jnp.sum(gradient**2)


@pytest.mark.parametrize("name", THEOREMS)
def test_worst_cases_are_the_theorems(name):
    assert worst(name).bound == pytest.approx(THEOREMS[name][-1], rel=SLACK)
    assert worst(name).bound >= THEOREMS[name][-1] * (1 - 1e-9)


@pytest.mark.parametrize("name", THEOREMS)
def test_a_run_on_the_worst_function_attains_the_bound(name):
    optimizer, steps, keywords, _ = THEOREMS[name]
    found = attained(optimizer, steps, worst(name), keywords.get("measure", "value"))
    assert found == pytest.approx(worst(name).bound, rel=1e-4)


def test_a_nearly_degenerate_worst_function_attains_its_bound():
    """The bound is 2e-7 of the value at the start; the solver itself is right to 3e-5 there."""
    optimizer = jm.triple_momentum(1.0, 4.0)
    case = theory.worst_case(optimizer, 6, mu=1.0, L=4.0)
    assert 0.5**12 * 8 <= case.bound < 0.5**12 * 8 * (1 + 1e-4)
    assert case.verify()
    assert attained(optimizer, 6, case) == pytest.approx(case.bound, rel=1e-4)


@pytest.mark.slow
def test_a_bound_that_is_beyond_the_solver_is_refused():
    """Truly 1.2e-7; the solver's own numbers would make it four times as large."""
    with pytest.raises(RuntimeError, match="Take fewer steps"):
        theory.worst_case(jm.triple_momentum(1.0, 4.0), 12, mu=1.0, L=4.0)


@pytest.mark.parametrize("name", ["descent 7", "OGM-G", "ITEM"])
def test_a_proof_needs_no_solver_and_a_better_bound_has_none(name):
    case = worst(name)
    assert case.verify()
    assert case.verify(exact=True)
    better = dataclasses.replace(case, bound=case.bound * (1 - 1e-4))
    assert not better.verify()
    assert not better.verify(exact=True)
    wrong = dataclasses.replace(case, multipliers=case.multipliers * 1.01)
    assert not wrong.verify()
    negative = dataclasses.replace(case, multipliers=-case.multipliers)
    assert not negative.verify()


@pytest.mark.parametrize("steps", [2, 4])
def test_heavy_ball_is_that_of_pepit(steps):
    pytest.importorskip("PEPit")
    module = importlib.import_module(
        "PEPit.examples.unconstrained_convex_minimization.heavy_ball_momentum"
    )
    mu, L, alpha = 0.1, 1.0, 0.5
    beta = np.sqrt((1 - alpha * mu) * (1 - L * alpha))
    theirs, _ = module.wc_heavy_ball_momentum(
        mu, L, alpha, beta, steps, solver="CLARABEL", verbose=-1
    )
    ours = theory.worst_case(jm.heavy_ball(alpha, beta), steps, mu=mu, L=L, start="value")
    assert ours.bound == pytest.approx(theirs, rel=SLACK)


def test_an_interpolated_function_has_its_values_and_gradients():
    case = worst("ITEM")
    loss = case.function.loss
    values, gradients = jax.vmap(jax.value_and_grad(loss))(jnp.asarray(case.points))
    np.testing.assert_allclose(values, case.values, atol=1e-6)
    np.testing.assert_allclose(gradients, case.gradients, atol=2e-3)


def test_an_interpolated_function_is_smooth_and_convex():
    generator = np.random.default_rng(0)
    problem = jm.problems.quadratic([1.0, 3.0, 9.0])
    points = generator.normal(size=(6, 3))
    values, gradients = jax.vmap(jax.value_and_grad(problem.loss))(jnp.asarray(points))
    found = interpolated(points, gradients, values, mu=0.5, L=10.0)
    x, y = generator.normal(size=(2, 200, 3))
    at = jax.jit(jax.vmap(jax.value_and_grad(found.loss)))
    (fx, gx), (fy, gy) = at(jnp.asarray(x)), at(jnp.asarray(y))
    gap = fx - fy - jnp.sum(gy * (x - y), axis=1)
    dx, dg = jnp.sum((x - y) ** 2, axis=1), jnp.sum((gx - gy) ** 2, axis=1)
    cross = jnp.sum((gx - gy) * (x - y), axis=1)
    least = (dg / 10.0 + 0.5 * dx - 0.1 * cross) / (2 * (1 - 0.05))
    assert jnp.all(gap >= least - 1e-9)
    assert jnp.min(gap - least) < 1
    curvature = jnp.linalg.eigvalsh(jax.hessian(found.loss)(jnp.asarray(x[0])))
    assert curvature[0] >= 0.5 - 1e-6
    assert curvature[-1] <= 10 + 1e-6
    ahead, behind = (found.loss(jnp.asarray(x[0] + h * y[0])) for h in (1e-6, -1e-6))
    slope = (ahead - behind) / 2e-6
    np.testing.assert_allclose(slope, gx[0] @ y[0], rtol=1e-6)


def test_a_schedule_is_a_method_of_its_own():
    # Two steps of 3/2 and 1/2, by hand on quadratics and the Huber function: no closed form, so
    # the worst case must lie above every quadratic, and below that of no steps.
    schedule = lambda t: jnp.where(t == 0, 1.5, 0.5)  # noqa: E731
    case = theory.worst_case(jm.gradient_descent(schedule), 2)
    curvatures = jnp.linspace(0, 1, 101)
    quadratics = curvatures / 2 * ((1 - 1.5 * curvatures) * (1 - 0.5 * curvatures)) ** 2
    assert float(jnp.max(quadratics)) <= case.bound < 0.5
    assert attained(jm.gradient_descent(schedule), 2, case) == pytest.approx(case.bound, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "at least 1, got 0"),
        ({"steps": 2.0}, "at least 1, got 2.0"),
        ({"mu": 2.0}, "0 <= mu < L, got mu=2.0 and L=1.0"),
        ({"measure": "gradient"}, "measure is one of"),
        ({"start": "gradient_norm"}, "start is one of"),
        ({"measure": "distance", "start": "value"}, "the distance has no bound"),
        ({"optimizer": optax.chain(optax.clip(1.0), optax.sgd(1.0))}, "clip is not linear"),
        ({"optimizer": jm.sgd(1.0, weight_decay=0.1)}, "weight decay"),
    ],
)
def test_what_has_no_answer_is_refused(change, message):
    arguments = {"optimizer": jm.gradient_descent(1.0), "steps": 2, **change}
    with pytest.raises(ValueError, match=message):
        theory.worst_case(**arguments)


def test_traced_hyperparameters_are_refused():
    with pytest.raises(ValueError, match="plain numbers"):
        jax.jit(lambda rate: theory.worst_case(jm.gradient_descent(rate), 1).bound)(1.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([[0.0]], [[0.0, 1.0]], [0.0]), r"\[n, d\]"),
        (([[0.0], [1.0]], [[0.0], [-1.0]], [0.0, 1.0]), "miss the interpolation inequality"),
        (([[0.0]], [[0.0]], [0.0], 2.0, 1.0), "0 <= mu < L"),
    ],
)
def test_data_of_no_function_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        interpolated(*data)
