"""Games: their fields, their spectra, and what momentum does in them, in runs and in theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom import problems, theory

SPECTRUM = [0.5 + 2.0j, 3.0, 1.0 - 1.0j]
PAYOFF = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.5]])


def field(game):
    return jax.jit(jax.grad(game.loss))


@pytest.mark.parametrize("key", [None, 3])
def test_a_quadratic_game_has_the_spectrum_that_is_asked_for(key):
    rotation = None if key is None else jax.random.key(key)
    optimum = jnp.arange(5.0)
    game = problems.quadratic_game(SPECTRUM, rotation, optimum=optimum)
    jacobian = np.array(jax.jacobian(jax.grad(game.loss))(game.params))
    expected = np.sort_complex([0.5 + 2j, 0.5 - 2j, 3.0, 1 - 1j, 1 + 1j])
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(jacobian)), expected, rtol=1e-12)
    np.testing.assert_allclose(problems.curvature(game), expected, rtol=1e-12)
    np.testing.assert_allclose(jacobian @ jacobian.T, jacobian.T @ jacobian, atol=1e-12)
    point = jnp.array([1.0, -2.0, 0.5, 3.0, 1.0])
    np.testing.assert_allclose(field(game)(point), jacobian @ (point - optimum), rtol=1e-12)
    np.testing.assert_allclose(game.loss(point), np.sum((point - optimum) ** 2) / 2, rtol=1e-12)


def test_a_bilinear_game_is_the_one_of_its_payoff():
    game, point = problems.bilinear_game(PAYOFF), jnp.array([1.0, -2.0, 0.5, 3.0, 1.0])
    x, y = point[:3], point[3:]

    def payoff(x, y):
        return x @ PAYOFF @ y

    descends, climbs = jax.grad(payoff, 0)(x, y), jax.grad(payoff, 1)(x, y)
    np.testing.assert_allclose(field(game)(point), [*descends, *-climbs], rtol=1e-12)
    singular = np.linalg.svd(PAYOFF)[1]
    expected = np.sort([*singular, *-singular, 0.0])
    np.testing.assert_allclose(np.sort(problems.curvature(game).imag), expected, atol=1e-12)
    np.testing.assert_allclose(problems.curvature(game).real, 0, atol=1e-12)


def test_a_run_in_a_game_is_the_loop_of_its_players():
    """Optimistic descent and ascent, as a plain loop over both players."""
    game, run_steps = problems.bilinear_game(PAYOFF), 40
    run = jm.optimize(game.loss, game.params, jm.optimistic_gradient(0.15), run_steps)
    x, y, before = np.ones(3), np.ones(2), (np.zeros(3), np.zeros(2))
    for _ in range(run_steps):
        now = PAYOFF @ y, -PAYOFF.T @ x
        x, y = x - 0.15 * (2 * now[0] - before[0]), y - 0.15 * (2 * now[1] - before[1])
        before = now
    np.testing.assert_allclose(run.params, [*x, *y], rtol=1e-12)
    np.testing.assert_allclose(run.history["value"][-1], (x @ x + y @ y) / 2, rtol=1e-12)


def test_the_optimistic_gradient_is_stable_up_to_one_over_root_three():
    """alpha |lambda| = 1 / sqrt(3) on bilinear games, in theory and in runs; descent never is."""
    limit = theory.stability_limit(jm.optimistic_gradient(0.5), angle=jnp.pi / 2)
    np.testing.assert_allclose(limit, 2 / np.sqrt(3), rtol=1e-9)
    for alpha in (1e-3, 0.1, 1.0):
        assert theory.stability_limit(jm.gradient_descent(alpha), angle=jnp.pi / 2) == 0
        np.testing.assert_allclose(
            theory.spectral_radius(jm.gradient_descent(alpha), 1j), np.hypot(1, alpha), rtol=1e-12
        )
    game = problems.bilinear_game([[1.0]])

    @jax.vmap
    def distance(alpha):
        run = jm.optimize(
            game.loss, game.params, jm.optimistic_gradient(alpha), 20_000, every=10_000, check=100
        )
        return run.history["value"][-1]

    edge = 1 / np.sqrt(3)
    below, above = distance(edge * jnp.array([1 - 1e-3, 1 + 1e-3]))
    assert below < 1e-6
    assert above > 1e5


def test_extragradient_is_stable_up_to_one():
    """Two updates multiply by 1 - a + a^2 with a = alpha lambda, on any eigenvalue of a game."""
    method = jm.extragradient(0.5)
    for curvature in (1j, 0.8, 0.5 + 1.5j):
        a = 0.5 * curvature
        np.testing.assert_allclose(
            theory.spectral_radius(method, curvature), abs(1 - a + a**2) ** 0.5, rtol=1e-12
        )
    limit = theory.stability_limit(method, angle=jnp.pi / 2)
    np.testing.assert_allclose(limit, 2.0, rtol=1e-9)
    np.testing.assert_allclose(theory.stability_limit(method), 2.0, rtol=1e-9)


def test_descent_at_an_angle_is_stable_up_to_twice_its_cosine():
    """|1 - alpha lambda| < 1 up to |lambda| = 2 cos(angle) / alpha, an identity of circles."""
    angles = jnp.array([0.0, 0.3, 1.2, 1.5, jnp.pi / 2, 2.0])
    found = theory.stability_limit(jm.gradient_descent(0.25), angle=angles)
    expected = np.where(np.cos(angles) > 1e-9, 8 * np.cos(angles), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    ball = jm.heavy_ball(0.25, beta=0.5)
    at_zero = theory.stability_limit(ball, angle=jnp.zeros([]))
    np.testing.assert_allclose(at_zero, theory.stability_limit(ball), rtol=1e-9)


def test_no_momentum_helps_in_a_bilinear_game_played_simultaneously():
    """Gidel et al. 2019: z^2 - (1 + beta - i a) z + beta has a root outside, always."""
    betas = jnp.linspace(-0.95, 0.95, 39)
    balls = jax.vmap(lambda beta: jm.heavy_ball(0.1, beta))(betas)
    radii = jax.vmap(theory.spectral_radius, (0, None))(balls, 1j)
    roots = [np.abs(np.roots([1, -(1 + b - 0.1j), b])).max() for b in np.asarray(betas)]
    np.testing.assert_allclose(radii, roots, rtol=1e-10)
    assert np.all(radii > 1)


def test_negative_momentum_helps_where_curvatures_turn():
    """Gidel et al. 2019: at the best step of descent, where the imaginary part dominates."""
    curvature = 0.3 + 1.0j
    alpha = (curvature / abs(curvature) ** 2).real  # minimizes |1 - alpha lambda|
    radii = [
        theory.spectral_radius(jm.heavy_ball(alpha, jnp.asarray(beta)), curvature)
        for beta in (-0.05, 0.0, 0.05)
    ]
    np.testing.assert_allclose(radii[1], abs(1 - alpha * curvature), rtol=1e-12)
    assert radii[0] < radii[1] < radii[2]


@pytest.mark.parametrize("curvature", [1j, 0.3 + 1.0j, 0.8])
def test_complex_momentum_has_the_spectrum_of_its_paper(curvature):
    """Lorraine et al. 2022: the matrix of (Re m, Im m, y) for simultaneous play."""
    beta, phi, alpha = 0.9, np.pi / 8, 0.05
    c, s = beta * np.cos(phi), beta * np.sin(phi)
    matrix = np.array(
        [[c, -s, -curvature], [s, c, 0], [alpha * c, -alpha * s, 1 - alpha * curvature]]
    )
    method = jm.complex_momentum(alpha, beta, phi)
    np.testing.assert_allclose(
        theory.spectral_radius(method, curvature),
        np.abs(np.linalg.eigvals(matrix)).max(),
        rtol=1e-12,
    )
    k = np.arange(6)
    weights = alpha * beta**k * np.cos(phi * k)  # Re of (beta e^{i phi})^k
    np.testing.assert_allclose(theory.kernel(method, 6), weights, rtol=1e-12, atol=1e-15)


def test_complex_momentum_converges_where_real_momentum_cannot():
    """On a purely rotating game, in theory and in a run."""
    method, game = jm.complex_momentum(0.1, 0.7, 0.9), problems.bilinear_game([[1.0]])
    radius = float(theory.spectral_radius(method, 1j))
    assert radius < 1 < float(theory.spectral_radius(jm.heavy_ball(0.1, 0.7), 1j))
    run = jm.optimize(game.loss, game.params, method, 2000, every=500)
    shrinks = (run.history["value"][-1] / run.history["value"][-3]) ** (1 / 2000)
    np.testing.assert_allclose(shrinks, radius, rtol=1e-4)


def test_noise_along_a_turning_direction():
    """E |params|^2 of both players of a game with noisy gradients, over many steps of many runs."""
    curvature, sigma = 0.4 + 0.8j, 0.3
    method = jm.optimistic_gradient(0.3)
    game = problems.quadratic_game([curvature], start=[0.0, 0.0])

    def square(key):
        def loss(params, noise):
            return game.loss(params) + noise @ params

        noise = sigma * jax.random.normal(key, (3000, 2))
        run = jm.optimize(
            loss, game.params, method, 3000, batches=noise, record="params", divergence=1e12
        )
        return jnp.sum(run.history["params"][200:] ** 2) / 2801

    means = jax.vmap(square)(jax.random.split(jax.random.key(0), 64))
    expected = 2 * theory.stationary_variance(method, curvature, sigma**2)  # of two conjugates
    error = np.std(means, ddof=1) / np.sqrt(64)
    assert abs(np.mean(means) - expected) < 4 * error
    assert error < 0.01 * expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: problems.quadratic_game(1.0), "must be a vector"),
        (lambda: problems.quadratic_game([]), "must be a vector"),
        (lambda: problems.quadratic_game([np.nan, 1.0]), "not finite"),
        (lambda: problems.quadratic_game([1j], optimum=[0.0]), "has 2 params"),
        (lambda: problems.quadratic_game([1j], start=[0.0] * 3), "has 2 params"),
        (lambda: problems.bilinear_game([1.0, 2.0]), "needs a matrix"),
        (lambda: problems.bilinear_game([[np.inf]]), "not finite"),
        (lambda: jax.jit(problems.quadratic_game)(jnp.array([1j])), "cannot be traced"),
    ],
)
def test_games_that_are_none_get_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
