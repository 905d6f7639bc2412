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


NAMES = ("next_state", "probability", "reward", "terminated", "start")


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, np.ndarray.tolist])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": [[[0.5]]]}, "sums to 0.5"),
        ({"next_state": [[[7]]]}, r"in \[0, 1\)"),
        ({"next_state": [[[0.5]]]}, "next_state holds integers only"),
        ({"terminated": [[[0.5]]]}, "terminated holds booleans only"),
        ({"reward": [[[np.nan]]]}, "finite"),
        ({"reward": 0.5}, r"all \[states, actions, branches\]"),
        ({"start": [0.5]}, "start sums to 0.5"),
    ],
)
def test_arrays_of_any_library_are_checked(kind, change, message):
    given = ONE | {"terminated": [[[True]]]} | change
    given = {n: kind(np.asarray(v)) for n, v in given.items()}
    with pytest.raises(ValueError, match=message):
        rl.Mdp(**given)


def test_arrays_of_jax_become_exact_arrays_on_the_host():
    mdp = rl.random_mdp(jax.random.key(0), 6, 3)
    again = rl.Mdp(**{name: jnp.asarray(getattr(mdp, name)) for name in NAMES})
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(again))
    assert again.reward.dtype == np.float64


def test_a_process_needs_a_state_and_a_whole_limit():
    empty = np.zeros((0, 1, 1))
    with pytest.raises(ValueError, match="needs a state"):
        rl.Mdp(empty, empty, empty, empty, np.zeros(0))
    for limit in (0, 2.5):
        with pytest.raises(ValueError, match="integer of at least 1"):
            rl.Mdp(**ONE, terminated=[[[True]]], time_limit=limit)


def test_processes_may_be_lanes():
    """Batched by tree_map, and with rewards that are traced."""
    one, other = (rl.random_mdp(jax.random.key(seed), 6, 3) for seed in range(2))
    both = jax.tree.map(lambda *leaves: np.stack(leaves), one, other)
    q = jax.vmap(lambda mdp: rl.value_iteration(mdp, 0.9).q)(both)
    np.testing.assert_allclose(q[1], rl.value_iteration(other, 0.9).q, atol=1e-12)

    def best_with_penalty(penalty):
        return rl.value_iteration(dataclasses.replace(one, reward=one.reward - penalty), 0.9).value

    values = jax.vmap(best_with_penalty)(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(values[0] - values[1], 10.0, atol=1e-8)


def test_a_step_is_one_step_of_what_there_is():
    mdp = rl.random_mdp(jax.random.key(0), 6, 3)
    for given in ((6, 0, 0.5), (-1, 0, 0.5), (0, 3, 0.5), (0, 0, 1.0), (0, 0, -0.1)):
        with pytest.raises(ValueError, match=r"is in \[0, "):
            rl.step(mdp, *given)
    for call in (lambda: rl.step(mdp, np.arange(3), 0, 0.5), lambda: rl.reset(mdp, np.zeros(3))):
        with pytest.raises(ValueError, match=r"use jax\.vmap"):
            call()


def test_a_random_process_is_made_on_the_host():
    with pytest.raises(TypeError, match="close over it"):
        jax.jit(lambda key: rl.random_mdp(key, 4, 2).reward)(jax.random.key(0))
    with pytest.raises(ValueError, match=r"termination is in \[0, 1\], got 1.5"):
        rl.random_mdp(jax.random.key(0), 4, 2, termination=1.5)


def test_static_parts_may_be_of_any_library():
    mdp = rl.Mdp(**ONE, terminated=[[[True]]], time_limit=np.int64(5), grid=[1, 1])
    assert (mdp.time_limit, mdp.grid) == (5, (1, 1))
    assert jax.jit(lambda m: m.reward.sum())(mdp) == 0.0
