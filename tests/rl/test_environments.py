"""The arrays of an environment answer like Gymnasium, step by step."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmom import rl

gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")


VARIANTS = sorted(set(rl.TOY_TEXT) - {"dry lake", "large dry lake"})  # six kinds, of the eight


LIMITS = {"slippery lake": 100, "cliff": None, "slippery cliff": None}


class Recorder:
    """A generator that keeps the uniform numbers it gave."""

    def __init__(self, seed):
        self.generator, self.given = np.random.default_rng(seed), []

    def random(self):
        self.given.append(self.generator.random())
        return self.given[-1]


def roll_out_in_gymnasium(name, kwargs, steps):
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
def replay(mdp, first, actions, drawn):
    """The same walk through the arrays."""

    def one(carry, given):
        state, elapsed = carry
        action, uniforms = given
        next_state, reward, terminated = rl.step(mdp, state, action, uniforms[0])
        limit = elapsed + 1 >= (mdp.time_limit or 2**30)
        done = terminated | limit
        begin = jnp.where(done, rl.reset(mdp, uniforms[1]), next_state)
        answer = (next_state, reward, terminated, limit, begin)
        return (begin, jnp.where(done, 0, elapsed + 1)), answer

    return jax.lax.scan(one, (first, jnp.int32(0)), (actions, drawn))[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_100_000_replayed_steps_agree(variant):
    name, kwargs = rl.TOY_TEXT[variant]
    mdp = rl.from_gymnasium(name, **kwargs)
    actions, first, uniform, drawn, rows = roll_out_in_gymnasium(name, kwargs, steps=100_000)
    assert int(rl.reset(mdp, uniform)) == first
    ours = replay(mdp, jnp.int32(first), actions, drawn)
    for mine, theirs in zip(ours, zip(*rows, strict=True), strict=True):
        np.testing.assert_array_equal(mine, np.array(theirs))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_time_limit_comes_from_the_registry(variant):
    name, kwargs = rl.TOY_TEXT[variant]
    assert rl.from_gymnasium(name, **kwargs).time_limit == LIMITS.get(variant, 200)


def test_a_map_does_not_change_the_limit_of_the_registry():
    mdp = rl.from_gymnasium("FrozenLake-v1", map_name="8x8")
    assert (mdp.time_limit, mdp.grid, mdp.states) == (100, (8, 8), 64)


def test_an_environment_made_by_the_user_keeps_its_map_and_limit():
    made = gymnasium.make("FrozenLake-v1", desc=["SFF", "FHG"], max_episode_steps=7)
    mdp = rl.from_gymnasium(made)
    assert (mdp.states, mdp.time_limit, mdp.grid) == (6, 7, (2, 3))
    with pytest.raises(ValueError, match="by name"):
        rl.from_gymnasium(made, is_slippery=False)


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("name", ["Taxi-v3", "CliffWalking-v0"])
def test_a_retired_name_gets_its_successors(name):
    with pytest.raises(ValueError, match="retired"):
        rl.from_gymnasium(name)


def test_an_environment_without_arrays_is_refused():
    with pytest.raises(ValueError, match=r"unwrapped\.P"):
        rl.from_gymnasium("Blackjack-v1")
    with pytest.raises(ValueError, match="fickle_passenger"):
        rl.from_gymnasium("Taxi-v4", fickle_passenger=True)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"jaxmom\[rl\]"):
        rl.from_gymnasium("FrozenLake-v1")
