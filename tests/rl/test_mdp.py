"""Processes as arrays are Gymnasium's, step by step; those made by hand are checked."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import rl
from jaxmom.rl import tables as layout

gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")

VARIANTS = sorted(set(rl.TOY_TEXT) - {"dry lake", "large dry lake"})  # six kinds, of the eight
LIMITS = {"slippery lake": 100, "cliff": None, "slippery cliff": None}
ONE = {"next_state": [[[0]]], "probability": [[[1.0]]], "reward": [[[0.0]]], "start": [1.0]}


class Recorder:
    """A generator that keeps the uniform numbers it gave."""

    def __init__(self, seed):
        self.generator, self.given = np.random.default_rng(seed), []

    def random(self):
        self.given.append(self.generator.random())
        return self.given[-1]


def gymnasium_walk(name, kwargs, steps):
    """Random actions in Gymnasium: what it drew, and what it answered, at every step."""
    environment = gymnasium.make(name, disable_env_checker=True, **kwargs)
    environment.reset(seed=0)
    recorder = environment.unwrapped.np_random = Recorder(1)
    actions = np.random.default_rng(2).integers(environment.action_space.n, size=steps)
    first, _ = environment.reset()
    rows, drawn = [], [recorder.given.pop()]
    for action in actions.tolist():
        state, reward, terminated, truncated, _ = environment.step(action)
        uniforms = [recorder.given.pop(), 0.0]
        begin = state
        if terminated or truncated:
            begin, _ = environment.reset()
            uniforms[1] = recorder.given.pop()
        rows.append((state, reward, terminated, truncated, begin))
        drawn.append(uniforms)
    return actions, int(first), drawn[0], np.array(drawn[1:]), rows


@jax.jit
def replayed(mdp, first, actions, drawn):
    """The same walk through the arrays."""

    def one(carry, given):
        state, elapsed = carry
        action, uniforms = given
        following, reward, terminated = rl.step(mdp, state, action, uniforms[0])
        limit = elapsed + 1 >= (mdp.time_limit or 2**30)
        over = terminated | limit
        begin = jnp.where(over, rl.reset(mdp, uniforms[1]), following)
        answer = (following, reward, terminated, limit, begin)
        return (begin, jnp.where(over, 0, elapsed + 1)), answer

    return jax.lax.scan(one, (first, jnp.int32(0)), (actions, drawn))[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_100_000_replayed_steps_without_a_mismatch(variant):
    name, kwargs = rl.TOY_TEXT[variant]
    mdp = rl.from_gymnasium(name, **kwargs)
    actions, first, uniform, drawn, rows = gymnasium_walk(name, kwargs, steps=100_000)
    assert int(rl.reset(mdp, uniform)) == first
    ours = replayed(mdp, jnp.int32(first), actions, drawn)
    for mine, theirs in zip(ours, zip(*rows, strict=True), strict=True):
        np.testing.assert_array_equal(mine, np.array(theirs))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_time_limit_is_the_registry_s(variant):
    name, kwargs = rl.TOY_TEXT[variant]
    assert rl.from_gymnasium(name, **kwargs).time_limit == LIMITS.get(variant, 200)


def test_a_map_does_not_change_the_limit_of_the_registry():
    mdp = rl.from_gymnasium("FrozenLake-v1", map_name="8x8")
    assert (mdp.time_limit, mdp.grid, mdp.states) == (100, (8, 8), 64)


def test_an_environment_made_elsewhere_and_a_map_of_one_s_own():
    made = gymnasium.make("FrozenLake-v1", desc=["SFF", "FHG"], max_episode_steps=7)
    mdp = rl.from_gymnasium(made)
    assert (mdp.states, mdp.time_limit, mdp.grid) == (6, 7, (2, 3))
    with pytest.raises(ValueError, match="by name"):
        rl.from_gymnasium(made, is_slippery=False)


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("name", ["Taxi-v3", "CliffWalking-v0"])
def test_retired_names_say_which_ones_to_use(name):
    with pytest.raises(ValueError, match="retired"):
        rl.from_gymnasium(name)


def test_what_has_no_arrays_is_refused():
    with pytest.raises(ValueError, match=r"unwrapped\.P"):
        rl.from_gymnasium("Blackjack-v1")
    with pytest.raises(ValueError, match="fickle_passenger"):
        rl.from_gymnasium("Taxi-v4", fickle_passenger=True)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"jaxmom\[rl\]"):
        rl.from_gymnasium("FrozenLake-v1")


@pytest.mark.parametrize(
    ("change", "words"),
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
def test_a_process_by_hand_is_checked(change, words):
    with pytest.raises(ValueError, match=words):
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


@pytest.mark.parametrize("slots", [True, False], ids=["equal slots", "thresholds"])
def test_words_follow_the_probabilities(slots):
    """A grid of words, evenly spaced, gives every branch its share to within the grid."""
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
    table = layout.tables(mdp, float)
    assert (table.slots, table.thresholds is None) == ((10, True) if slots else (3, False))
    words = (np.arange(10_000, dtype=np.uint64) * 2**32 // 10_000 + 200_000).astype(np.uint32)
    at = jax.vmap(lambda word, state: layout.follow(table, state, jnp.int32(0), word), (0, None))
    for state in range(3):
        following, reward, over = at(jnp.asarray(words), jnp.int32(state))
        for branch in range(3):
            mine = reward == mdp.reward[state, 0, branch]
            np.testing.assert_allclose(mine.mean(), mdp.probability[state, 0, branch], atol=1e-4)
            assert (following[mine] == mdp.next_state[state, 0, branch]).all()
            assert (over[mine] == mdp.terminated[state, 0, branch]).all()
    starts = jax.vmap(lambda word: layout.first(table, word))(jnp.asarray(words))
    np.testing.assert_allclose((starts == 0).mean(), mdp.start[0], atol=1e-4)
    assert set(np.unique(starts)) == {0, 1}


def test_the_high_word_is_that_of_64_bits():
    words = np.random.default_rng(0).integers(2**32, size=10_000, dtype=np.uint64)
    for n in (2, 3, 10, 300, 2**15):
        ours = layout.high(jnp.asarray(words.astype(np.uint32)), n)
        np.testing.assert_array_equal(ours, (words * n) >> 32)
