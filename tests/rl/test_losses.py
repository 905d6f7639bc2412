"""The gradients of the losses are the semi-gradients, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def test_a_batch_needs_vmap():
    """Without it, the maximum would be over all rows of the batch."""
    q = jnp.arange(15.0).reshape(5, 3)
    batch = rl.Transition(*(jnp.zeros(4, kind) for kind in (int, int, float, int, bool)))
    losses = jax.vmap(rl.td_loss, (None, 0, None))(q, batch, GAMMA)
    assert losses.shape == (4,)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        rl.td_loss(q, batch, GAMMA)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        rl.double_td_loss(jnp.stack([q, q]), batch, GAMMA, second=True)


def test_values_are_floats_and_rewards_any_numbers():
    numbers = rl.Transition(2, 1, 0.5, 3, False)
    q = np.arange(10.0).reshape(5, 2)
    assert float(rl.td_loss(q, numbers, GAMMA)) == (0.5 + GAMMA * 7.0 - 5.0) ** 2 / 2
    with pytest.raises(ValueError, match="are floats"):
        rl.td_loss(q.astype(int), numbers, GAMMA)
