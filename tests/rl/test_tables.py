"""Tables give each branch its probability, and equal values equal chances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_learning_loops import choose

from jaxmom import rl
from jaxmom.rl._tabular import tables


@pytest.mark.parametrize("slots", [True, False], ids=["equal slots", "thresholds"])
def test_bits_follow_the_probabilities(slots):
    """A grid of bits, evenly spaced, gives every branch its share to within the grid."""
    probability = np.array([[[0.3, 0.6, 0.1]], [[0.0, 1.0, 0.0]]])
    if not slots:
        probability = np.array([[[0.123456, 0.654321, 0.222223]], [[0.0, 1.0, 0.0]]])
    mdp = rl.Mdp(
        next_state=[[[0, 1, 2]], [[1, 2, 0]], [[2, 2, 2]]],
        probability=np.concatenate([probability, [[[1.0, 0.0, 0.0]]]]),
        reward=np.arange(9.0).reshape(3, 1, 3),
        terminated=np.arange(9).reshape(3, 1, 3) == 2,
        start=[0.25, 0.75, 0.0] if not slots else [0.5, 0.5, 0.0],
    )
    table = tables.build_tables(mdp, float)
    assert (table.slots, table.thresholds is None) == ((10, True) if slots else (3, False))
    bits = (np.arange(10_000, dtype=np.uint64) * 2**32 // 10_000 + 200_000).astype(np.uint32)
    sample = jax.vmap(
        lambda bits, state: tables.sample_transition(table, state, jnp.int32(0), bits), (0, None)
    )
    for state in range(3):
        next_state, reward, terminated = sample(jnp.asarray(bits), jnp.int32(state))
        for branch in range(3):
            mine = reward == mdp.reward[state, 0, branch]
            np.testing.assert_allclose(mine.mean(), mdp.probability[state, 0, branch], atol=1e-4)
            assert (next_state[mine] == mdp.next_state[state, 0, branch]).all()
            assert (terminated[mine] == mdp.terminated[state, 0, branch]).all()
    starts = jax.vmap(lambda drawn: tables.sample_start(table, drawn))(jnp.asarray(bits))
    np.testing.assert_allclose((starts == 0).mean(), mdp.start[0], atol=1e-4)
    assert set(np.unique(starts)) == {0, 1}


def test_the_high_half_is_that_of_64_bits():
    bits = np.random.default_rng(0).integers(2**32, size=10_000, dtype=np.uint64)
    for n in (2, 3, 10, 300, 2**15):
        ours = tables.multiply_high(jnp.asarray(bits.astype(np.uint32)), n)
        np.testing.assert_array_equal(ours, (bits * n) >> 32)


def bandit(actions, reward=0.0):
    shape = (1, actions, 1)
    ends = np.ones(shape, bool)
    return rl.Mdp(np.zeros(shape, int), np.ones(shape), np.full(shape, reward), ends, [1.0])


@pytest.mark.parametrize("actions", [2, 3, 5, 6, 9])
def test_ties_are_broken_evenly(actions):
    """Nine actions take the path without a table. Two standard errors are 1 % of the mean."""
    table = tables.build_tables(bandit(actions), float)
    bits = jax.random.bits(jax.random.key(0), (40_000 * actions,), jnp.uint32)
    row = jnp.where(jnp.arange(actions) == 1, -1.0, 2.0)
    pick = jax.jit(jax.vmap(lambda e, w: tables.choose_action(table, row, e, w), (None, 0)))
    for epsilon in (0.0, 0.3, 1.0):
        share = np.bincount(pick(jnp.float32(epsilon), bits), minlength=actions) / len(bits)
        expected = np.full(actions, (1 - epsilon) / (actions - 1) + epsilon / actions)
        expected[1] = epsilon / actions
        np.testing.assert_allclose(share, expected, atol=0.02 / actions)


def test_an_action_is_the_same_for_a_constant_and_a_traced_epsilon(small):
    """No compiler can round anything here."""
    table, epsilon = tables.build_tables(small, float), np.float32(0.1)
    bits = jax.random.bits(jax.random.key(0), (100_000,), jnp.uint32)
    row = jnp.array([1.0, 0.0, 1.0])
    traced = jax.jit(jax.vmap(lambda e, w: tables.choose_action(table, row, e, w), (None, 0)))
    constant = jax.jit(jax.vmap(lambda w: tables.choose_action(table, row, jnp.float32(0.1), w)))
    expected = [choose(np.array([1.0, 0.0, 1.0]), epsilon, drawn) for drawn in np.asarray(bits)]
    np.testing.assert_array_equal(traced(epsilon, bits), constant(bits))
    np.testing.assert_array_equal(constant(bits), expected)


def test_more_actions_than_32_bits_can_rank_are_refused():
    with pytest.raises(ValueError, match="at most 65535 actions"):
        tables.build_tables(bandit(2**16), float)
