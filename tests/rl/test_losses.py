"""The gradients of the losses are the semi-gradients, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from q_learning_loops import GAMMA

from jaxmom import rl


def test_the_gradient_is_minus_the_difference():
    """The semi-gradient, by hand: at the visited entry alone, and nothing through the target."""
    q = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))
    for terminated in (False, True):
        transition = rl.Transition(*map(jnp.asarray, (2, 1, 0.7, 2, terminated)))
        expected = np.zeros((5, 3))
        expected[2, 1] = -(0.7 + GAMMA * float(q[2].max()) * (not terminated) - float(q[2, 1]))
        np.testing.assert_allclose(jax.grad(rl.td_loss)(q, transition, GAMMA), expected, atol=1e-15)
