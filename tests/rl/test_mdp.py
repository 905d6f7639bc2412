"""A process made by hand is checked, and is a pytree."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import rl

ONE = {"next_state": [[[0]]], "probability": [[[1.0]]], "reward": [[[0.0]]], "start": [1.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": [[[0.5]]]}, r"sums to 0.5 at \(state, action\) = \(0, 0\)"),
        ({"probability": [[[-1.0]]]}, "negative"),
        ({"probability": [[[np.nan]]]}, "NaN"),
        ({"start": [0.5]}, "start sums to 0.5"),
        ({"start": [0.5, 0.5]}, "one probability per state"),
        ({"next_state": [[[1]]]}, r"in \[0, 1\)"),
        ({"reward": [[[np.inf]]]}, "finite"),
        ({"reward": [[0.0]]}, r"all \[states, actions, branches\]"),
        ({"time_limit": 0}, "at least 1"),
    ],
)
def test_a_process_made_by_hand_is_checked(change, message):
    with pytest.raises(ValueError, match=message):
        rl.Mdp(**(ONE | {"terminated": [[[True]]]} | change))


def test_a_process_is_a_pytree():
    mdp = rl.random_mdp(jax.random.key(0), 6, 3, time_limit=9)
    leaves, treedef = jax.tree.flatten(mdp)
    again = jax.tree.unflatten(treedef, leaves)
    assert (again.time_limit, len(leaves)) == (9, 5)
    best = jax.jit(lambda m: jnp.max(m.reward))(mdp)
    assert best == mdp.reward.max()
    assert dataclasses.replace(mdp, time_limit=None).time_limit is None


def test_a_random_process_comes_from_its_key():
    def make(seed):
        return rl.random_mdp(jax.random.key(seed), 20, 3, 5, termination=0.2)

    one, same, other = make(0), make(0), make(1)
    np.testing.assert_array_equal(one.next_state, same.next_state)
    assert (one.next_state != other.next_state).any()
    assert all(len(set(row)) == 5 for row in one.next_state.reshape(-1, 5).tolist())
    assert 0.1 < one.terminated.mean() < 0.3
    with pytest.raises(ValueError, match="branches=4"):
        rl.random_mdp(jax.random.key(0), 3, 2, branches=4)
