"""Spectra against runs of the code, and against the closed forms of the literature."""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_linearize import LINEAR

import jaxmom as jm
from jaxmom import theory

CURVATURES = (0.15, 0.5, 1.0, 2.0, 3.6)


@functools.partial(jax.jit, static_argnames=("update", "blocks"))
def growth(update, state, curvature, blocks=2000, block=10):
    """The mean of log |state| per step of a run, rescaled after every block so that none ends."""

    def step(carry, _):
        params, state = carry
        updates, state = update(curvature * params, state, params)
        return (params + updates, state), None

    def advance(carry, _):
        carry, _ = jax.lax.scan(step, carry, length=block)
        floats = [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jnp.floating)]
        size = jnp.sqrt(sum(jnp.sum(x**2) for x in floats))
        scaled = jax.tree.map(
            lambda x: x / size if jnp.issubdtype(x.dtype, jnp.floating) else x, carry
        )
        return scaled, jnp.log(size)

    carry, _ = advance((jnp.ones([]), state), None)
    carry, logs = jax.lax.scan(advance, carry, length=blocks)
    return jnp.mean(logs) / block


def measured_rates(optimizer, curvatures):
    update = Hashable(optimizer.update)
    state = optimizer.init(jnp.ones([]))
    return jnp.exp(jax.vmap(lambda c: growth(update, state, c))(jnp.asarray(curvatures)))


class Hashable:
    """An update as a static argument."""

    def __init__(self, update):
        self.update = update

    def __call__(self, *args):
        with jax.numpy_dtype_promotion("standard"):
            return self.update(*args)


def radii(optimizer, curvatures):
    system = theory.linearize(optimizer)
    return jax.jit(jax.vmap(lambda c: theory.spectral_radius(system, c)))(jnp.asarray(curvatures))


@functools.cache
def facts(name):
    """The limit of stability, and the rates of runs at five curvatures and beside the limit."""
    limit = float(theory.stability_limit(LINEAR[name]))
    beside = [limit * (1 - 1e-3), limit * (1 + 1e-3)]
    rates = np.asarray(measured_rates(LINEAR[name], [*CURVATURES, *beside]))
    return limit, rates[:-2], rates[-2:]


@pytest.mark.parametrize("name", LINEAR)
def test_radius_is_the_measured_rate(name):
    _, rates, _ = facts(name)
    np.testing.assert_allclose(radii(LINEAR[name], CURVATURES), rates, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", LINEAR)
def test_stability_limit_brackets_the_measured_divergence(name):
    """A thousandth below the limit the run shrinks, a thousandth above it grows."""
    limit, _, (below, above) = facts(name)
    assert 0 < limit < np.inf
    assert below < 1 < above


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("a", [0.05, 0.7, 1.3])
def test_characteristic_polynomial_of_one_buffer(a, beta):
    """z^2 - (1 + beta - a c) z + beta (1 - a direct); its roots are the eigenvalues."""
    methods = {
        "heavy ball": (jm.heavy_ball(a, beta), 1.0, 0.0),
        "nesterov": (jm.nesterov(a, beta), 1 + beta, 1.0),
        "qhm": (jm.qhm(a, beta, nu=0.7), 1 - 0.7 * beta, 0.3),
    }
    for optimizer, c, direct in methods.values():
        expected = [1.0, -(1 + beta - a * c), beta * (1 - a * direct)]
        found = theory.characteristic_polynomial(optimizer, 1.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        roots = np.roots(expected)
        distinct = np.abs(np.subtract(*roots)) > 1e-3
        if distinct:
            np.testing.assert_allclose(
                np.sort_complex(theory.eigenvalues(optimizer, 1.0)),
                np.sort_complex(roots.astype(complex)),
                rtol=0,
                atol=1e-12,
            )


def test_characteristic_polynomial_of_many_buffers():
    """1 + a H(z) / (z - 1) = 0, multiplied out, for three buffers."""
    betas, a = np.array([0.1, 0.6, 0.9]), 0.4
    others = sum(np.poly(betas[betas != b]) for b in betas)
    expected = np.poly([1.0, *betas]) + np.append(0.0, a / 3 * np.append(others, 0.0))
    found = theory.characteristic_polynomial(jm.aggmo(a, betas=tuple(betas)), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_heavy_ball_in_closed_form():
    """sqrt(beta) from critical damping on, (1 - sqrt(a))^2; the roots of Goh's quadratic before."""
    betas, a = np.linspace(0.0, 0.99, 34), 0.36
    found = jax.vmap(lambda b: theory.spectral_radius(jm.heavy_ball(a, b), 1.0))(jnp.asarray(betas))
    roots = [np.abs(np.roots([1.0, -(1 + b - a), b])).max() for b in betas]
    np.testing.assert_allclose(found, roots, rtol=0, atol=1e-12)
    under = betas > 0.16 + 1e-6
    np.testing.assert_allclose(found[under], np.sqrt(betas[under]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kappa", [4.0, 10.0, 100.0, 1000.0])
def test_optimal_rates(kappa):
    s, best = np.sqrt(kappa), np.sqrt(3 * kappa + 1)
    cases = [
        (jm.gradient_descent(2 / (kappa + 1)), (kappa - 1) / (kappa + 1)),
        (jm.heavy_ball((2 / (s + 1)) ** 2, ((s - 1) / (s + 1)) ** 2), (s - 1) / (s + 1)),
        (jm.nesterov_strongly_convex(1.0, kappa), 1 - 1 / s),
        (jm.nesterov(4 / (3 * kappa + 1), (best - 2) / (best + 2)), 1 - 2 / best),
        (jm.triple_momentum(1.0, kappa), 1 - 1 / s),
    ]
    for optimizer, expected in cases:
        np.testing.assert_allclose(theory.rate(optimizer, 1.0, kappa), expected, rtol=0, atol=1e-12)


def test_damping_period_and_regime():
    a = 0.25
    for beta, word in ((0.1, "over"), (0.25, "critical"), (0.6, "under")):
        optimizer = jm.heavy_ball(a, beta)
        assert theory.regime(optimizer, 1.0) == word
    phase = np.arccos((1 + 0.6 - a) / (2 * np.sqrt(0.6)))
    np.testing.assert_allclose(theory.damping(optimizer, 1.0), np.cos(phase), rtol=1e-12)
    np.testing.assert_allclose(theory.period(optimizer, 1.0), 2 * np.pi / phase, rtol=1e-12)
    assert theory.period(jm.gradient_descent(0.5), 1.0) == np.inf
    assert theory.period(jm.gradient_descent(1.5), 1.0) == 2.0
    assert theory.damping(jm.gradient_descent(0.5), 1.0) == np.inf
    many = jm.aggmo(0.1, betas=(0.0, 0.9, 0.99))
    roots = np.asarray(theory.eigenvalues(many, 1.0))
    assert abs(roots[0]) >= abs(roots[1]) >= abs(roots[2]) >= abs(roots[3])
    np.testing.assert_allclose(
        theory.damping(many, 1.0), abs(roots[0].real) / abs(roots[0]), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        (
            lambda a, b: jm.heavy_ball(a, b),
            lambda b: (1 - b**0.5) ** 2,
            lambda b: (1 + b**0.5) ** 2,
        ),
        (lambda a, b: jm.nesterov(a, b), lambda b: ((1 - b) / (1 + b)) ** 2, lambda b: 1.0),
        (
            lambda a, b: jm.qhm(a, b, 0.7),
            lambda b: (1 - b) / (1 + (0.7 * b) ** 0.5) ** 2,
            lambda b: (1 - b) / (1 - (0.7 * b) ** 0.5) ** 2,
        ),
    ],
    ids=["heavy_ball", "nesterov", "qhm"],
)
@pytest.mark.parametrize("beta", [0.3, 0.8])
def test_oscillation_begins_and_ends_where_it_should(method, low, high, beta):
    """The discriminant's zeros: inside of them the eigenvalues are complex."""
    for edge, inside in ((low(beta), 1.0), (high(beta), -1.0)):
        ratios = [theory.damping(method(edge * (1 + d * inside), beta), 1.0) for d in (-1e-3, 1e-3)]
        assert ratios[0] > 1 > ratios[1]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_edges_of_stability(beta):
    b = beta
    edges = [
        (jm.gradient_descent(1.0), 2.0),
        (jm.heavy_ball(1.0, b), 2 * (1 + b)),
        (jm.ema_momentum(1.0, b), 2 * (1 + b) / (1 - b)),
        (jm.nesterov(1.0, b), 2 * (1 + b) / (1 + 2 * b)),
        (jm.qhm(1.0, b, 0.7), 2 * (1 + b) / (1 + b - 1.4 * b)),
        (jm.aggmo(1.0, (0.0, b, 0.99)), 2 / np.mean([1.0, 1 / (1 + b), 1 / 1.99])),
    ]
    for optimizer, edge in edges:
        np.testing.assert_allclose(theory.stability_limit(optimizer), edge, rtol=1e-12)


def test_the_complex_pair_leaves_first_with_too_much_extrapolation():
    """QHM with nu > 1: a < (1 - beta) / (beta (nu - 1)), far below the flip bound."""
    optimizer = jm.qhm(0.1, beta=0.9, nu=1.02)
    limit = theory.stability_limit(optimizer)
    np.testing.assert_allclose(limit, 10 * 0.1 / (0.9 * 0.02), rtol=1e-12)
    np.testing.assert_allclose(theory.flip_bound(optimizer), 593.75, rtol=1e-10)
    assert theory.neimark_sacker_bound(optimizer) == limit
    below, above = measured_rates(optimizer, [limit * (1 - 1e-3), limit * (1 + 1e-3)])
    assert below < 1 < above


def test_a_pair_of_many_buffers():
    """Three buffers of which one is read with the wrong sign: a pair leaves, and runs say so."""
    law = jm.Coefficients([0.2, 0.5, 0.9], [1.0, 1.0, 1.0], read_new=[-0.4, 0.9, 0.3])
    optimizer = jm.chain(jm.scale_by_momentum(law), optax.scale(-0.1))
    limit = theory.stability_limit(optimizer)
    assert limit == theory.neimark_sacker_bound(optimizer) < theory.flip_bound(optimizer)
    below, above = measured_rates(optimizer, [limit * (1 - 1e-3), limit * (1 + 1e-3)])
    assert below < 1 < above


def test_never_and_always_stable():
    assert theory.stability_limit(jm.heavy_ball(0.1, jnp.array(1.1))) == 0.0
    assert theory.stability_limit(jm.gradient_descent(jnp.array(-0.1))) == 0.0
    assert theory.stability_limit(jm.gradient_descent(0.0)) == 0.0  # it stands still
    shrinking = jm.chain(LINEAR["gradient_descent"], jm.sgd(0.0))
    assert theory.stability_limit(shrinking) == 0.0


def test_slopes_are_right():
    """Against central differences, for a closed form, for eigvals, and for the limit."""
    betas = lambda b: jnp.stack([jnp.zeros_like(b), b, b**2])  # noqa: E731
    functions = [
        lambda b: theory.spectral_radius(jm.heavy_ball(0.1, b), 1.0),
        lambda b: theory.spectral_radius(jm.aggmo(0.1, betas(b)), 2.0),
        lambda b: theory.stability_limit(jm.aggmo(0.1, betas(b))),
        lambda b: theory.stability_limit(jm.qhm(0.1, b, 1.02)),
        lambda b: theory.stationary_variance(jm.aggmo(0.1, betas(b)), 2.0),
        lambda b: theory.memory(jm.aggmo(0.1, betas(b))),
    ]
    both = jax.jit(lambda b: ([f(b) for f in functions], [jax.grad(f)(b) for f in functions]))
    (_, slopes), (above, _), (below, _) = (both(0.8 + d) for d in (0.0, 1e-6, -1e-6))
    differences = (np.array(above) - np.array(below)) / 2e-6
    np.testing.assert_allclose(slopes, differences, rtol=1e-6)


def test_ten_thousand_radii_of_three_buffers_take_less_than_a_second():
    def radius(beta, learning_rate):
        betas = jnp.stack([jnp.zeros_like(beta), beta, beta**2])
        return theory.spectral_radius(jm.aggmo(learning_rate, betas), 1.0)

    grid = jax.jit(jax.vmap(jax.vmap(radius, (0, None)), (None, 0)))
    betas, rates = jnp.linspace(0.0, 0.99, 100), jnp.geomspace(1e-2, 10.0, 100)
    jax.block_until_ready(grid(betas, rates))
    start = time.perf_counter()
    found = jax.block_until_ready(grid(betas, rates))
    assert time.perf_counter() - start < 1.0
    b = np.asarray(betas)
    limits = 2 / np.mean([np.ones(100), 1 / (1 + b), 1 / (1 + b**2)], axis=0)
    stable = np.asarray(rates)[:, None] < limits[None]
    np.testing.assert_array_equal(np.asarray(found) < 1, stable)


def test_single_precision_works():
    jax.config.update("jax_enable_x64", False)
    try:
        radius = theory.spectral_radius(jm.heavy_ball(0.25, 0.81), 1.0)
    finally:
        jax.config.update("jax_enable_x64", True)
    assert radius.dtype == jnp.float32
    np.testing.assert_allclose(radius, 0.9, rtol=1e-6)


CURVATURE_FUNCTIONS = (
    theory.iteration_matrix,
    theory.eigenvalues,
    theory.characteristic_polynomial,
    theory.spectral_radius,
    theory.damping,
    theory.period,
    theory.transient_growth,
    theory.stationary_covariance,
    theory.stationary_variance,
    theory.excess_loss,
    theory.curvature_noise_limit,
)


@pytest.mark.parametrize("function", CURVATURE_FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(2,), (3,), (1,), (2, 2)], ids=str)
def test_arrays_of_curvatures_are_problems_of_their_own(function, shape):
    """As long as the state, longer, one, two-dimensional; stable and unstable ones mixed."""
    system = theory.linearize(jm.heavy_ball(0.1, beta=0.9))
    curvatures = jnp.asarray([0.5, 60.0, 7.0, 20.0])[: int(np.prod(shape))].reshape(shape)
    found = function(system, curvatures)
    expected = np.array([function(system, float(c)) for c in curvatures.ravel()])
    np.testing.assert_allclose(found, expected.reshape(shape + expected.shape[1:]), rtol=1e-12)
    mapped = jax.vmap(lambda c: function(system, c))(curvatures.ravel())
    np.testing.assert_allclose(mapped, expected, rtol=1e-12)


def test_intervals_and_second_arguments_broadcast():
    ball = jm.heavy_ball(0.1, beta=0.5)
    lows, highs = jnp.array([0.5, 1.0]), jnp.array([10.0, 20.0])
    expected = [theory.rate(ball, mu, L) for mu, L in zip(lows, highs, strict=True)]
    np.testing.assert_allclose(theory.rate(ball, lows, highs), expected, rtol=1e-12)
    many = theory.mean_square_rate(ball, 1.0, jnp.array([0.0, 0.1, 0.2]))
    np.testing.assert_allclose(many[1], theory.mean_square_rate(ball, 1.0, 0.1), rtol=1e-12)
    noisy = theory.excess_loss(ball, jnp.array([1.0, 2.0]), jnp.array([[1.0], [4.0]]))
    assert noisy.shape == (2, 2)
    np.testing.assert_allclose(noisy[1], 4 * noisy[0], rtol=1e-12)


def test_what_takes_one_number_refuses_arrays():
    ball, pair = jm.heavy_ball(0.1, beta=0.5), jnp.array([1.0, 2.0])
    with pytest.raises(ValueError, match="one curvature"):
        theory.regime(ball, pair)
    for function in (theory.certified_rate, theory.tune):
        with pytest.raises(ValueError, match="mu is one plain number"):
            function(ball, pair, 10.0)
    with pytest.raises(ValueError, match="L is one plain number"):
        theory.lower_bound(1.0, pair)
    with pytest.raises(ValueError, match="it is NaN"):
        theory.regime(ball, np.nan)


@pytest.mark.parametrize("points", [1, 0, 2.5])
def test_a_rate_over_an_interval_looks_at_both_ends(points):
    with pytest.raises(ValueError, match="at least"):
        theory.rate(jm.heavy_ball(0.1, beta=0.5), 1.0, 10.0, points=points)


@pytest.mark.parametrize(
    "function",
    [
        theory.linearize,
        theory.linearize_period,
        theory.minimal,
        theory.dc_gain,
        theory.mean_age,
        theory.stability_limit,
        lambda x: theory.kernel(x, 3),
        lambda x: theory.spectral_radius(x, 1.0),
        lambda x: theory.risk(x, [1.0], 1, start=[1.0]),
        lambda x: theory.worst_case(x, 1),
        lambda x: theory.equivalent(x, x),
    ],
)
def test_what_is_no_optimizer_is_refused_by_its_type(function):
    with pytest.raises(TypeError, match="got Coefficients"):
        function(jm.coefficients.heavy_ball(0.9))


@pytest.mark.parametrize("function", [theory.rate, theory.tune])
@pytest.mark.parametrize(("mu", "L"), [(2.0, 1.0), (-1.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_curvatures_in_the_wrong_order_are_refused(function, mu, L):
    with pytest.raises(ValueError, match=r"<= L, got mu"):
        function(jm.heavy_ball(0.1, beta=0.5), mu, L)
    with pytest.raises(ValueError, match=r"<= L, got mu"):
        theory.lower_bound(mu, L)


def test_systems_that_do_not_fit_together_are_refused():
    system = theory.linearize(jm.heavy_ball(0.1, beta=0.5))
    batch = jax.vmap(lambda beta: theory.linearize(jm.heavy_ball(0.1, beta)))(jnp.arange(2) / 3)
    with pytest.raises(ValueError, match=r"got shapes \(2, 2, 2\).*jax.vmap"):
        theory.spectral_radius(batch, 1.0)
    with pytest.raises(ValueError, match=r"A \[n, n\], B \[n\]"):
        theory.stability_limit(dataclasses.replace(system, B=jnp.ones(3)))
    with pytest.raises(ValueError, match="D must be 0"):
        theory.dc_gain(dataclasses.replace(system, D=jnp.ones([])))
