"""PPO on CartPole in plain JAX, as one function of the optimizer and a key.

It is here as a program of a kind that the other workloads have not: a rollout of an environment
within a loop of updates, orthogonal initializers (which call LAPACK), permutations, and hundreds of
tiny products. The environment has the equations of Gymnasium's ``CartPole-v1``; an episode that
ends starts again at once.
"""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

ENVIRONMENTS, STEPS = 4, 128  # of a rollout
EPOCHS, MINIBATCHES = 4, 4  # of an update
DISCOUNT, TRACE, CLIP = 0.99, 0.95, 0.2
VALUE_WEIGHT, ENTROPY_WEIGHT = 0.5, 0.01
LONGEST_EPISODE = 500

Params: TypeAlias = dict[str, list[tuple[jax.Array, jax.Array]]]  # "actor", "critic" -> layers


class CartPole(NamedTuple):
    """The state of one environment: position, velocity, angle, angular velocity [4]; its age."""

    physics: jax.Array
    age: jax.Array


class Transition(NamedTuple):
    """What one environment does in one step, and what the agent thought of it."""

    observation: jax.Array
    action: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def reset(key: jax.Array) -> CartPole:
    """Return an environment at the start of an episode."""
    return CartPole(jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05), jnp.int32(0))


def move_cart(physics: jax.Array, action: jax.Array) -> jax.Array:
    """Return position, velocity, angle and angular velocity after 0.02 s of a push of 10 N.

    Args:
      physics: Those before [4].
      action: 1 for a push to the right, 0 for one to the left.
    """
    _, velocity, angle, spin = physics
    pole, total, half_length = 0.1, 1.1, 0.5
    push = jnp.where(action == 1, 10.0, -10.0).astype(physics.dtype)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    drift = (push + pole * half_length * spin**2 * sine) / total
    torque = 9.8 * sine - cosine * drift
    bend = torque / (half_length * (4.0 / 3.0 - pole * cosine**2 / total))
    pull = drift - pole * half_length * bend * cosine / total
    return physics + 0.02 * jnp.stack([velocity, pull, spin, bend])


def step_environment(
    state: CartPole, action: jax.Array, key: jax.Array
) -> tuple[CartPole, jax.Array]:
    """Return the next state, that of a new episode where one has ended, and whether one has."""
    moved = CartPole(move_cart(state.physics, action), state.age + 1)
    position, _, angle, _ = moved.physics
    fallen = (jnp.abs(position) > 2.4) | (jnp.abs(angle) > jnp.pi / 15)
    done = fallen | (moved.age >= LONGEST_EPISODE)
    return jax.tree.map(lambda new, old: jnp.where(done, new, old), reset(key), moved), done


def init_agent(key: jax.Array) -> Params:
    """Return an actor and a critic of two hidden layers of 64, with orthogonal weights."""
    params: Params = {}
    for name, last, scale in (("actor", 2, 0.01), ("critic", 1, 1.0)):
        layers = []
        for rows, columns, gain in ((4, 64, 2**0.5), (64, 64, 2**0.5), (64, last, scale)):
            key, used = jax.random.split(key)
            weights = jax.nn.initializers.orthogonal(gain)(used, (rows, columns), jnp.float32)
            layers.append((weights, jnp.zeros(columns, jnp.float32)))
        params[name] = layers
    return params


def apply_layers(layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    """Return the output of a network with tanh between its layers."""
    for weights, bias in layers[:-1]:
        x = jnp.tanh(x @ weights + bias)
    weights, bias = layers[-1]
    return x @ weights + bias


def evaluate_agent(params: Params, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the log-probabilities of the actions [..., 2], and the values [...]."""
    logits = apply_layers(params["actor"], observations)
    return jax.nn.log_softmax(logits), apply_layers(params["critic"], observations)[..., 0]


def roll_out(
    params: Params, states: CartPole, key: jax.Array
) -> tuple[CartPole, Transition, jax.Array]:
    """Return the states after a rollout, its transitions [steps, environments], and last values."""

    def step(states: CartPole, key: jax.Array) -> tuple[CartPole, Transition]:
        draw, *starts = jax.random.split(key, 1 + ENVIRONMENTS)
        logs, value = evaluate_agent(params, states.physics)
        action = jax.random.categorical(draw, logs)
        log_probability = jnp.take_along_axis(logs, action[:, None], axis=1)[:, 0]
        moved, done = jax.vmap(step_environment)(states, action, jnp.stack(starts))
        reward = jnp.ones_like(value)
        seen = Transition(states.physics, action, log_probability, value, reward, done)
        return moved, seen

    states, seen = jax.lax.scan(step, states, jax.random.split(key, STEPS))
    return states, seen, evaluate_agent(params, states.physics)[1]


def estimate_advantages(seen: Transition, last_value: jax.Array) -> jax.Array:
    """Return the generalized advantage estimates of a rollout [steps, environments]."""

    def step(carry: Any, one: Transition) -> tuple[Any, jax.Array]:
        advantage, next_value = carry
        goes_on = jnp.where(one.done, 0, 1).astype(one.value.dtype)
        delta = one.reward + DISCOUNT * next_value * goes_on - one.value
        advantage = delta + DISCOUNT * TRACE * goes_on * advantage
        return (advantage, one.value), advantage

    start = (jnp.zeros_like(last_value), last_value)
    return jax.lax.scan(step, start, seen, reverse=True)[1]


def ppo_loss(params: Params, batch: tuple[Transition, jax.Array, jax.Array]) -> jax.Array:
    """Return the clipped objective of a minibatch, with those of the values and the entropy."""
    seen, advantage, target = batch
    logs, value = evaluate_agent(params, seen.observation)
    log_probability = jnp.take_along_axis(logs, seen.action[:, None], axis=1)[:, 0]
    ratio = jnp.exp(log_probability - seen.log_probability)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
    clipped = seen.value + jnp.clip(value - seen.value, -CLIP, CLIP)
    errors = jnp.maximum(jnp.square(value - target), jnp.square(clipped - target))
    entropy = -jnp.sum(jnp.exp(logs) * logs, axis=-1)
    return -gain.mean() + VALUE_WEIGHT * errors.mean() / 2 - ENTROPY_WEIGHT * entropy.mean()


def train_ppo(
    optimizer: optax.GradientTransformation, key: jax.Array, updates: int
) -> dict[str, jax.Array]:
    """Return the mean length of the episodes in the last rollout, and in all of them.

    Args:
      optimizer: Of the agent.
      key: For all that is random.
      updates: The number of rollouts, each of 512 steps in all and followed by 16 steps of the
        optimizer.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optimizer)

    def descend(carry: Any, batch: Any) -> tuple[Any, None]:
        params, state = carry
        changes, state = optimizer.update(jax.grad(ppo_loss)(params, batch), state, params)
        return (optax.apply_updates(params, changes), state), None

    def update(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        agent, states = carry
        roll, *epochs = jax.random.split(key, 1 + EPOCHS)
        states, seen, last_value = roll_out(agent[0], states, roll)
        advantage = estimate_advantages(seen, last_value)
        batch = seen, advantage, advantage + seen.value
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

        def epoch(agent: Any, key: jax.Array) -> tuple[Any, None]:
            order = jax.random.permutation(key, ENVIRONMENTS * STEPS).reshape(MINIBATCHES, -1)
            return jax.lax.scan(descend, agent, jax.tree.map(lambda x: x[order], flat))

        agent, _ = jax.lax.scan(epoch, agent, jnp.stack(epochs))
        return (agent, states), jnp.sum(seen.done)

    init, start, run = jax.random.split(key, 3)
    params = init_agent(init)
    states = jax.vmap(reset)(jax.random.split(start, ENVIRONMENTS))
    carry = (params, optimizer.init(params)), states
    _, ended = jax.lax.scan(update, carry, jax.random.split(run, updates))
    return {
        "value": ENVIRONMENTS * STEPS / jnp.maximum(ended[-1], 1).astype(jnp.float32),
        "mean": updates * ENVIRONMENTS * STEPS / jnp.maximum(ended.sum(), 1).astype(jnp.float32),
    }
