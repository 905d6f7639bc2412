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
    """The same steps through the arrays."""

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


def make_lake(**kwargs):
    return gymnasium.make("FrozenLake-v1", is_slippery=False, **kwargs)


class StepPenalty(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward - 0.01


class Mirror(gymnasium.ActionWrapper):
    def action(self, action):
        return 3 - action


class Shifted(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return (observation + 1) % 16


class NoisyStep(gymnasium.Wrapper):
    def step(self, action):
        return self.env.step(self.env.action_space.sample())


class OtherStart(gymnasium.Wrapper):
    def reset(self, **kwargs):
        _, info = self.env.reset(**kwargs)
        return 5, info


class ShorterLimit(gymnasium.wrappers.TimeLimit):
    def step(self, action):
        state, reward, terminated, _, info = super().step(action)
        return state, reward, terminated, True, info


class FewerActions(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.action_space = gymnasium.spaces.Discrete(2)


class Named(gymnasium.Wrapper):
    """A wrapper that only adds something."""

    def name(self):
        return "lake"


def wrap_lake(wrapper):
    """Any of Gymnasium's wrappers around a lake, also those that are for images or boxes."""
    made = wrapper.__new__(wrapper)
    gymnasium.Wrapper.__init__(made, make_lake())
    return made


TRANSPARENT = {
    "Autoreset": gymnasium.wrappers.Autoreset,
    "OrderEnforcing": gymnasium.wrappers.OrderEnforcing,
    "PassiveEnvChecker": gymnasium.wrappers.PassiveEnvChecker,
    "RecordEpisodeStatistics": gymnasium.wrappers.RecordEpisodeStatistics,
    "TimeLimit": lambda env: gymnasium.wrappers.TimeLimit(env, 100),
    "own": Named,
    **{
        name: lambda env, name=name: wrap_lake(getattr(gymnasium.wrappers, name))
        for name in [
            *["AddWhiteNoise", "HumanRendering", "ObstructView", "RecordVideo"],
            "RenderCollection",
        ]
    },
}
OPAQUE = {
    "StepPenalty": StepPenalty,
    "Mirror": Mirror,
    "Shifted": Shifted,
    "NoisyStep": NoisyStep,
    "OtherStart": OtherStart,
    "ShorterLimit": lambda env: ShorterLimit(env, 7),
    "FewerActions": FewerActions,
    "TransformReward": lambda env: gymnasium.wrappers.TransformReward(env, lambda r: r - 0.01),
    "TransformAction": lambda env: gymnasium.wrappers.TransformAction(
        env, lambda a: 3 - a, env.action_space
    ),
    "TransformObservation": lambda env: gymnasium.wrappers.TransformObservation(
        env, lambda s: (s + 1) % 16, env.observation_space
    ),
    "StickyAction": lambda env: gymnasium.wrappers.StickyAction(env, 0.25),
    "NormalizeReward": gymnasium.wrappers.NormalizeReward,
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_a_transparent_wrapper_keeps_the_arrays(name):
    wrapped, bare = (
        rl.from_gymnasium(env) for env in (TRANSPARENT[name](make_lake()), make_lake())
    )
    assert wrapped.time_limit == bare.time_limit == 100
    for one, other in zip(jax.tree.leaves(wrapped), jax.tree.leaves(bare), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("outer", [lambda env: env, gymnasium.wrappers.RecordEpisodeStatistics])
@pytest.mark.parametrize("name", OPAQUE)
def test_a_wrapper_that_may_change_the_process_is_refused(name, outer):
    with pytest.raises(ValueError, match=f"wrapper {name} may change"):
        rl.from_gymnasium(outer(OPAQUE[name](make_lake())))


def test_each_wrapper_of_gymnasium_is_transparent_or_refused():
    wrappers = {
        name: value
        for name, value in vars(gymnasium.wrappers).items()
        if isinstance(value, type) and issubclass(value, gymnasium.Wrapper)
    }
    assert len(wrappers) > 25
    for name in set(wrappers) - set(TRANSPARENT):
        with pytest.raises(ValueError, match=f"wrapper {name} may change"):
            rl.from_gymnasium(wrap_lake(wrappers[name]))


def test_a_patched_step_is_refused():
    env = make_lake()
    env.step = lambda action: (0, 0.0, False, False, {})
    with pytest.raises(ValueError, match="its own step"):
        rl.from_gymnasium(env)


def test_a_wrapper_of_a_registered_name_is_refused():
    spec = gymnasium.spec("FrozenLake-v1")
    name = "PenaltyLake-v0"
    gymnasium.register(
        name,
        spec.entry_point,
        additional_wrappers=(
            gymnasium.wrappers.TransformReward.wrapper_spec(func=lambda reward: reward - 1),
        ),
    )
    with pytest.raises(ValueError, match="wrapper TransformReward may change"):
        rl.from_gymnasium(name)
    del gymnasium.registry[name]


def test_the_shortest_time_limit_holds():
    bare = make_lake().unwrapped
    limited = gymnasium.wrappers.TimeLimit
    assert rl.from_gymnasium(bare).time_limit is None
    assert rl.from_gymnasium(limited(bare, 7)).time_limit == 7
    assert rl.from_gymnasium(limited(limited(bare, 7), 30)).time_limit == 7
    assert rl.from_gymnasium(limited(make_lake(), 500)).time_limit == 100


class PenaltyLake(type(make_lake().unwrapped)):
    """A subclass whose step is not what its P states."""

    def step(self, action):
        state, reward, *others = super().step(action)
        return (state, reward - 0.01, *others)


def test_an_environment_that_does_not_do_what_it_states_is_refused():
    with pytest.raises(ValueError, match="PenaltyLake has a step of its own"):
        rl.from_gymnasium(PenaltyLake())
    env = make_lake()
    env.unwrapped.action_space = gymnasium.spaces.Discrete(3)
    with pytest.raises(ValueError, match="does not fit its spaces"):
        rl.from_gymnasium(env)
    for spaces in ({"action": 4, "observation": 17}, {"action": 4}, {"observation": 16}):
        env = make_lake()
        for name, n in spaces.items():
            setattr(env.unwrapped, f"{name}_space", gymnasium.spaces.Discrete(n, start=1))
        with pytest.raises(ValueError, match=r"start at [01] and [01], but arrays count"):
            rl.from_gymnasium(env.unwrapped)
    env = make_lake()
    env.unwrapped.P[3][4] = env.unwrapped.P[3].pop(0)
    with pytest.raises(ValueError, match="every action in every state, and count both from 0"):
        rl.from_gymnasium(env)
    with pytest.raises(TypeError, match=r"name of an environment or a gymnasium\.Env, not a dict"):
        rl.from_gymnasium({})


def test_changed_transitions_are_kept():
    env = make_lake()
    env.unwrapped.P[0][0] = [(1.0, 5, -3.0, True)]
    mdp = rl.from_gymnasium(env)
    assert (mdp.next_state[0, 0, 0], mdp.reward[0, 0, 0]) == (5, -3.0)
