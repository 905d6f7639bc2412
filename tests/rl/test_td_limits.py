"""The stability limits of theory hold on real processes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_learning_loops import GAMMA, ring_of

from jaxmom import rl
from jaxmom.theory import td

BETAS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def test_the_limit_of_theory_by_brute_force():
    """At a fine grid of angles, all roots are inside below the limit, and one outside above."""
    printed = (1.00503, 0.192, 0.0615, 0.0258, 0.00613, 0.00149, 0.000059)
    for beta, number in zip(BETAS, printed, strict=True):
        limit = float(td.max_stable_alpha(beta, GAMMA))
        digits = 3 if number >= 1e-3 else 2
        assert float(f"{limit:.{digits - 1}e}") == float(f"{number:.{digits - 1}e}")
        angles = np.concatenate([np.linspace(0, np.pi, 20_001), np.geomspace(1e-6, 1, 20_001)])
        values = GAMMA * np.exp(1j * angles) - 1
        alpha = 0.999 * limit
        largest = [np.roots([1, -(1 + beta + alpha * x), beta]) for x in values[::40]]
        assert np.abs(largest).max() < 1
        assert float(td.td_growth(1.001 * limit, beta, values)) > 1


def test_no_process_diverges_below_the_limit():
    """The circle holds the eigenvalues of every transition matrix, and the ellipse is convex."""
    for seed in range(5):
        mdp = rl.random_mdp(jax.random.key(seed), 6, 2)
        matrix = rl.transition_matrix(mdp, np.full((6, 2), 0.5))
        spectrum = td.td_spectrum(matrix, GAMMA)
        for beta in BETAS:
            own, any_process = td.td_stable_alpha(beta, spectrum), td.max_stable_alpha(beta, GAMMA)
            assert own >= any_process
            assert td.td_growth(0.999 * own, beta, spectrum) < 1
            assert td.td_growth(1.001 * own, beta, spectrum) > 1


def test_growth_on_a_ring_is_measured():
    """Directed ring, alpha 0.1, beta 0.9, all entries at every step: 1.118 times per sweep."""
    ring = ring_of(64)
    spectrum = td.td_spectrum(rl.transition_matrix(ring, np.zeros(64, int)), GAMMA)
    predicted = float(td.td_growth(0.1, 0.9, spectrum))
    np.testing.assert_allclose(predicted, 1.11800, atol=1e-5)
    optimizer = rl.lazy_momentum(0.1, 0.9)
    sizes = [
        np.log(np.abs(rl.value_iteration(ring, GAMMA, optimizer, max_iterations=n).q).max())
        for n in (2000, 3000)
    ]
    np.testing.assert_allclose(np.exp((sizes[1] - sizes[0]) / 1000), predicted, rtol=1e-3)


def test_theory_is_traced_in_every_number():
    limits = jax.jit(jax.vmap(td.max_stable_alpha, (0, None)))(jnp.array(BETAS), 0.9)
    assert (jnp.diff(limits) < 0).all()
    slope = jax.grad(td.max_stable_alpha)(0.5, 0.9)
    ahead, behind = (td.max_stable_alpha(0.5 + h, 0.9) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)
    assert float(td.max_stable_alpha(-0.5, 0.9)) == pytest.approx(2 * 0.5 / 1.9)
    assert float(td.td_stable_alpha(0.5, [0.1, -1.0])) == 0.0
