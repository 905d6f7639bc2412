"""Q-learning as plain loops over Gymnasium and NumPy, fed with the random bits of our runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmom as jm
from jaxmom import rl
from jaxmom.rl._tabular import random_bits, tables

GAMMA = 0.99
STEPS = 3000
RULES = {
    "lazy": rl.lazy_momentum(0.1, 0.6),
    "lazy, scheduled": rl.lazy_momentum(jm.schedules.linear(0.1, 0.01, STEPS), 0.6),
    "dense": rl.dense_momentum(0.1, 0.6),
    "dense, no memory": rl.dense_momentum(0.1, 0.0),
    "dense, long memory": rl.dense_momentum(0.002, 0.995),
}


@functools.cache
def environment(name, **kwargs):
    """The arrays of a Gymnasium environment; skips the test where Gymnasium is missing."""
    pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")
    return rl.from_gymnasium(name, **kwargs)


def corridor(time_limit=None, terminated=False):
    """Two states in a line; the second leads to itself, or ends."""
    return rl.Mdp(
        next_state=[[[1]], [[1]]],
        probability=[[[1.0]], [[1.0]]],
        reward=[[[0.0]], [[1.0]]],
        terminated=[[[False]], [[terminated]]],
        start=[1.0, 0.0],
        time_limit=time_limit,
    )


def ring_of(n, back=0.0):
    """A ring of n states, whose moves go on or back; the reward is for entering state 0."""
    state = np.arange(n)
    next_state = np.stack([(state + 1) % n, (state - 1) % n], axis=-1)[:, None]
    weights = np.broadcast_to([1 - back, back], (n, 1, 2))
    reward = np.where(next_state == 0, 1.0, 0.0)
    return rl.Mdp(next_state, weights, reward, np.zeros((n, 1, 2), bool), np.full(n, 1 / n))


def choose(row, epsilon, bits):
    """The action, in NumPy: explore by the size of the bits, pick a sixtieth by their hash."""
    explores = np.float32(bits >> 8) * np.float32(2.0**-24) < np.float32(epsilon)
    admitted = np.arange(len(row)) if explores else np.flatnonzero(row == row.max())
    sixtieth = 60 * (int(bits) * 0x9E3779B9 % 2**32) // 2**32
    return admitted[sixtieth * len(admitted) // 60]


def draw_bits(key, table, steps):
    """The bits of the first reset, and those of each step."""
    start_key, steps_key = jax.random.split(key)
    blocks = jax.vmap(lambda block: random_bits.draw_block(steps_key, block, table.draws))(
        jnp.arange(-(-steps // 16), dtype=jnp.int32)
    )
    first = int(jax.random.bits(start_key, (), jnp.uint32))
    return first, np.asarray(blocks).reshape(-1, table.draws)[:steps]


class Uniforms:
    """A NumPy generator whose uniform number is set from outside."""

    def __init__(self):
        self.next = 0.0

    def random(self):
        return self.next


def begin_in_gymnasium(name, key, steps, kwargs):
    """An environment in its first state, its source of uniform numbers, and our bits for them."""
    import gymnasium

    table = tables.build_tables(environment(name, **kwargs), float)
    env = gymnasium.make(name, disable_env_checker=True, **kwargs)
    env.reset(seed=0)
    uniforms = env.unwrapped.np_random = Uniforms()
    first, bits = draw_bits(key, table, steps)
    uniforms.next = (first + 0.5) / 2**32
    state, _ = env.reset()
    return table, env, uniforms, state, bits


def learn_in_gymnasium(name, key, alpha, beta, epsilon, steps, kwargs):
    """The tutorial's loop in Gymnasium's interface, whose uniform numbers are our bits."""
    table, env, uniforms, state, bits = begin_in_gymnasium(name, key, steps, kwargs)
    q = np.zeros((table.states, table.actions))
    v = np.zeros_like(q)
    for drawn in bits:
        action = choose(q[state], epsilon, drawn[0])
        uniforms.next = (drawn[1 if table.slots > 1 else 0] + 0.5) / 2**32
        next_state, reward, terminated, truncated, _ = env.step(int(action))
        target = reward + GAMMA * q[next_state].max() * (not terminated)
        v[state, action] = beta * v[state, action] + alpha * (target - q[state, action])
        q[state, action] += v[state, action]
        state = next_state
        if terminated or truncated:
            uniforms.next = (drawn[-1] + 0.5) / 2**32
            state, _ = env.reset()
    return q


def sarsa_in_gymnasium(name, key, alpha, beta, epsilon, steps, kwargs):
    """The loop of Sutton and Barto in Gymnasium's interface: choose the next action, then learn.

    epsilon is a function of the step in which an action is taken.
    """
    table, env, uniforms, state, bits = begin_in_gymnasium(name, key, steps, kwargs)
    q = np.zeros((table.states, table.actions))
    v = np.zeros_like(q)
    start_key, _ = jax.random.split(key)
    begin = jax.random.bits(jax.random.fold_in(start_key, 1), (), jnp.uint32)
    action = choose(q[state], epsilon(0), np.asarray(begin))
    for t, drawn in enumerate(bits):
        uniforms.next = (drawn[1 if table.slots > 1 else 0] + 0.5) / 2**32
        next_state, reward, terminated, truncated, _ = env.step(int(action))
        next_action = choose(q[next_state], epsilon(t + 1), drawn[0])
        target = reward + GAMMA * q[next_state, next_action] * (not terminated)
        v[state, action] = beta * v[state, action] + alpha * (target - q[state, action])
        q[state, action] += v[state, action]
        state, action = next_state, next_action
        if terminated or truncated:
            uniforms.next = (drawn[-1] + 0.5) / 2**32
            state, _ = env.reset()
            action = choose(q[state], epsilon(t + 1), drawn[0])
    return q


def learn_by_episodes(mdp, key, epsilon, alpha, beta, steps):
    """Lazy momentum whose epsilon and alpha are functions of the episode."""
    table = tables.build_tables(mdp, float)
    first, bits = draw_bits(key, table, steps)
    sample = jax.jit(functools.partial(tables.sample_transition, table))
    state, elapsed, episode = int(tables.sample_start(table, jnp.uint32(first))), 0, 0
    q, v = np.zeros((2, mdp.states, mdp.actions))
    for drawn in bits:
        action = choose(q[state], epsilon(episode), drawn[0])
        answer = sample(jnp.int32(state), jnp.int32(action), jnp.uint32(drawn[1]))
        next_state, reward, terminated = (x.item() for x in answer)
        difference = reward + GAMMA * q[next_state].max() * (not terminated) - q[state, action]
        v[state, action] = beta * v[state, action] + alpha(episode) * difference
        q[state, action] += v[state, action]
        state, elapsed = next_state, elapsed + 1
        if terminated or elapsed >= mdp.time_limit:
            state, elapsed = int(tables.sample_start(table, jnp.uint32(drawn[-1]))), 0
            episode += 1
    return q, episode


def learn_double_q(mdp, key, epsilon, alpha, steps):
    """Two tables; the coin is the lowest bit of the draw that chooses the action."""
    table = tables.build_tables(mdp, float)
    first, bits = draw_bits(key, table, steps)
    sample = jax.jit(functools.partial(tables.sample_transition, table))
    state, elapsed = int(tables.sample_start(table, jnp.uint32(first))), 0
    q = np.zeros((2, mdp.states, mdp.actions))
    for drawn in bits:
        action = choose(q[0, state] + q[1, state], epsilon, drawn[0])
        answer = sample(jnp.int32(state), jnp.int32(action), jnp.uint32(drawn[1]))
        next_state, reward, terminated = (x.item() for x in answer)
        coin = int(drawn[0]) & 1
        best = q[coin, next_state].argmax()
        later = 0.0 if terminated else GAMMA * q[1 - coin, next_state, best]
        q[coin, state, action] += alpha * (reward + later - q[coin, state, action])
        state, elapsed = next_state, elapsed + 1
        if terminated or elapsed >= mdp.time_limit:
            state, elapsed = int(tables.sample_start(table, jnp.uint32(drawn[-1]))), 0
    return q.mean(0)
