"""Functions that people sweep, which `experiments.benchmarks.first_call` times in several ways.

Each workload is a function of the arguments of one lane, as `jm.sweep` and `jax.vmap` take it, and
the columns of its lanes. They differ in what a step is made of: a few numbers, products of
matrices of four sizes, convolutions, attention, gathers and scatters, rollouts of an environment,
and loops of which each lane ends at its own time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmom as jm
from experiments.benchmarks.ppo import train_ppo

Columns: TypeAlias = dict[str, np.ndarray]  # argument -> its value in each lane
LaneFn: TypeAlias = Callable[..., dict[str, jax.Array]]

NARROW, WIDE = (4, 16, 64, 256), (256, 2048, 16_384)  # widths for large and for small lanes
BATCH = 64  # images in each step of a network


class Workload(NamedTuple):
    """A function of one lane, the arguments of all lanes, and the products of matrices of a lane.

    Attributes:
      fn: Of one lane.
      columns: Of all lanes.
      widths: At which the functions are run in other ways than "auto".
      can_be_last: Whether a sweep may have the lanes last.
      operations: Additions and multiplications in the products of a lane, where these are nearly
        all of the work; 0 where they are not.
    """

    fn: LaneFn
    columns: Columns
    widths: tuple[int, ...]
    can_be_last: bool = False
    operations: float = 0.0

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(next(iter(self.columns.values())))


def quadratic(lanes: int, steps: int) -> Workload:
    """Return heavy ball on a quadratic of two parameters: a few operations on a few numbers."""
    problem = jm.problems.tutorial_quadratic()

    def train(beta, learning_rate):
        optimizer = jm.heavy_ball(learning_rate, beta)
        return final_loss(jm.optimize(problem.loss, problem.params, optimizer, steps, every=steps))

    return Workload(train, sample_columns(lanes), WIDE, can_be_last=True)


def network(hidden: int) -> Callable[[int, int], Workload]:
    """Return a workload that trains 64-hidden-hidden-10 networks on the digits, 64 at a time."""

    def make(lanes: int, steps: int) -> Workload:
        problem = jm.problems.digits_mlp((hidden, hidden), batch_size=BATCH)

        def train(beta, learning_rate, seed):
            optimizer = jm.heavy_ball(learning_rate, beta)
            key = jax.random.key(seed)
            run = jm.optimize(
                problem.loss, problem.params, optimizer, steps, batches=problem.batches, key=key
            )
            return final_loss(run)

        # A step: forward, for the gradient of the weights, and for that of the input but of the
        # first layer. The loss alone: of the reference's eight batches, and after the last step.
        weights = sum(layer["weight"].size for layer in problem.params)
        operations = 2.0 * BATCH * (steps * (3 * weights - 64 * hidden) + 9 * weights)
        return Workload(train, sample_columns(lanes, seeds=True), NARROW, operations=operations)

    return make


def convolutional(lanes: int, steps: int) -> Workload:
    """Return the training of two convolutions and a dense layer on the digits, 32 at a time."""
    base = jm.problems.digits_mlp((), batch_size=32)
    shapes = {"first": (3, 3, 1, 8), "second": (3, 3, 8, 16), "dense": (16 * 4, 10)}
    params = init_weights(shapes)

    def loss(params, batch):
        pixels, labels = batch
        x = pixels.reshape(-1, 8, 8, 1)
        for name in ("first", "second"):
            dims = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, params[name], (2, 2), "SAME", dimension_numbers=dims
            )
            x = jax.nn.relu(x)
        return cross_entropy(x.reshape(x.shape[0], -1) @ params["dense"], labels)

    def train(beta, learning_rate, seed):
        optimizer = jm.heavy_ball(learning_rate, beta)
        key = jax.random.key(seed)
        run = jm.optimize(loss, params, optimizer, steps, batches=base.batches, key=key)
        return final_loss(run)

    return Workload(train, sample_columns(lanes, seeds=True), NARROW)


def transformer(lanes: int, steps: int) -> Workload:
    """Return the training of one block of attention, to continue sums modulo 16."""
    length, size, vocabulary = 16, 32, 16
    shapes = {"embed": (vocabulary, size), "qkv": (size, 3 * size), "mix": (size, size)}
    shapes |= {"up": (size, 4 * size), "down": (4 * size, size), "read": (size, vocabulary)}
    params = init_weights(shapes)
    mask = np.where(np.tri(length, dtype=bool), np.float32(0), np.float32(-1e9))

    def block(params, x):
        q, k, v = jnp.split(x @ params["qkv"], 3, axis=-1)
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(size)) + mask)
        x = x + (weights @ v) @ params["mix"]
        return x + jax.nn.relu(x @ params["up"]) @ params["down"]

    def loss(params, tokens):
        logits = block(params, params["embed"][tokens[:, :-1]]) @ params["read"]
        return cross_entropy(logits, tokens[:, 1:])

    def draw(key, count):
        first = jax.random.randint(key, (16, 2), 0, vocabulary)
        series = [first[:, 0], first[:, 1]]
        for _ in range(length - 1):
            series.append((series[-1] + series[-2]) % vocabulary)
        return jnp.stack(series, axis=1)

    def train(beta, learning_rate, seed):
        optimizer = jm.heavy_ball(learning_rate, beta)
        key, batches = jax.random.key(seed), jax.tree_util.Partial(draw)
        return final_loss(jm.optimize(loss, params, optimizer, steps, batches=batches, key=key))

    return Workload(train, sample_columns(lanes, seeds=True), NARROW)


def q_learning(lanes: int, steps: int) -> Workload:
    """Return Q-learning with lazy momentum on a process of 64 states: gathers and scatters."""
    mdp = jm.rl.random_mdp(jax.random.key(0), states=64, actions=4)

    def learn(beta, learning_rate, seed):
        optimizer = jm.lazy_momentum(learning_rate, beta)
        run = jm.rl.q_learning(mdp, optimizer, jax.random.key(seed), steps=steps, discount=0.9)
        return {"value": run.max_abs_q[-1], "diverged_at": run.diverged_at}

    return Workload(learn, sample_columns(lanes, seeds=True), WIDE)


def ppo(lanes: int, steps: int) -> Workload:
    """Return PPO on CartPole: rollouts and tiny products, with so many updates."""

    def train(beta, learning_rate, seed):
        optimizer = jm.lift(optax.adam)(0.02 * learning_rate, b1=beta, eps=1e-5)
        return train_ppo(optimizer, jax.random.key(seed), steps)

    return Workload(train, sample_columns(lanes, seeds=True), NARROW)


def until_converged(lanes: int, steps: int) -> Workload:
    """Return descent until the gradient is small: each lane has its own number of steps."""
    curvature = np.linspace(0.1, 4, 8, dtype=np.float32)

    def descend(beta, learning_rate):
        def is_far(carry):
            x, _, count = carry
            return (jnp.sum(jnp.square(curvature * x)) > 1e-6) & (count < steps)

        def step(carry):
            x, v, count = carry
            v = beta * v - 0.1 * learning_rate * curvature * x
            return x + v, v, count + 1

        start = (jnp.ones(8, jnp.float32), jnp.zeros(8, jnp.float32), jnp.int32(0))
        x, _, count = jax.lax.while_loop(is_far, step, start)
        return {"value": jnp.sum(curvature * jnp.square(x)), "steps": count}

    return Workload(descend, sample_columns(lanes), WIDE)


# Name -> its function of lanes and steps, and these: in full, quickly, and as a test has them.
WORKLOADS: dict[str, tuple[Callable[[int, int], Workload], dict[str, tuple[int, int]]]] = {
    "quadratic": (
        quadratic,
        {"full": (1_600_000, 10_000), "quick": (100_000, 1000), "tiny": (9, 3)},
    ),
    "network-32": (network(32), {"full": (2048, 200), "quick": (128, 50), "tiny": (3, 2)}),
    "network-256": (network(256), {"full": (1024, 50), "quick": (64, 20), "tiny": (3, 2)}),
    "network-512": (network(512), {"full": (256, 50), "quick": (16, 20), "tiny": (2, 2)}),
    "network-1024": (network(1024), {"full": (128, 20), "quick": (8, 10), "tiny": (2, 2)}),
    "convolutional": (convolutional, {"full": (384, 100), "quick": (64, 20), "tiny": (3, 2)}),
    "transformer": (transformer, {"full": (128, 100), "quick": (64, 20), "tiny": (3, 2)}),
    "q_learning": (q_learning, {"full": (64_000, 4000), "quick": (2000, 2000), "tiny": (9, 5)}),
    "ppo": (ppo, {"full": (48, 39), "quick": (48, 10), "tiny": (2, 1)}),
    "until_converged": (
        until_converged,
        {"full": (400_000, 5000), "quick": (20_000, 2000), "tiny": (9, 9)},
    ),
}


def make_workload(name: str, size: str) -> Workload:
    """Return a workload in one of its sizes."""
    make, sizes = WORKLOADS[name]
    return make(*sizes[size])


def final_loss(run: Any) -> dict[str, jax.Array]:
    """Return what is kept of a run."""
    return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean of minus log of the probability of the labels."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    return -jnp.mean(chosen)


def init_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return normal weights that keep the size of what they are applied to, by name."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        for name, shape in shapes.items()
    }


def sample_columns(lanes: int, seeds: bool = False) -> Columns:
    """Return betas, learning rates and, if asked for, seeds: the same at every call."""
    rng = np.random.default_rng(0)
    columns: Columns = {
        "beta": rng.uniform(0, 0.95, lanes).astype(np.float32),
        "learning_rate": np.exp(rng.uniform(np.log(1e-3), np.log(0.3), lanes)).astype(np.float32),
    }
    return columns | ({"seed": np.arange(lanes, dtype=np.int32)} if seeds else {})
