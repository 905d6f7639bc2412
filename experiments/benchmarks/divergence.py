"""The price of testing for divergence at every step, beside a test at every 50th.

Question: how much slower is `jm.optimize` with its default, `check=1`, than with `check=50`?

The two functions of a pair differ in `check` alone; where the sweep chooses its width, the choices
may differ too. They run one after the other, and the best round of each counts, without compiling.
The quadratic has two parameters, so that the loss alone, which a rare test leaves out, is as much
work as the step.

Answer: see docs/sweeps.md. Nothing in sweeps that choose their width; in a bare `jit(vmap)` of the
quadratic, three quarters of the step at 1,024 lanes and several times the step at more.
"""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from experiments import command

TimedFn: TypeAlias = Callable[[], object]  # runs a compiled program to its end
TrainFn: TypeAlias = Callable[..., dict[str, jax.Array]]  # (beta, learning_rate) -> results

CHECKS = (1, 50)


def train_quadratic(steps: int, check: int) -> TrainFn:
    """Return heavy ball on the quadratic of the tutorial, which outputs the final loss."""
    problem = jm.problems.tutorial_quadratic()

    def train(beta, learning_rate):
        optimizer = jm.heavy_ball(learning_rate, beta)
        run = jm.optimize(problem.loss, problem.params, optimizer, steps, every=steps, check=check)
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train


def train_network(steps: int, check: int, hidden: int = 32) -> TrainFn:
    """Return heavy ball on a network 64-H-10 in batches of 64, which outputs the final loss."""
    inputs = jax.random.normal(jax.random.key(0), (1024, 64))
    classes = jax.random.randint(jax.random.key(1), (1024,), 0, 10)
    layers = [
        0.1 * jax.random.normal(jax.random.key(2), (64, hidden)),
        0.1 * jax.random.normal(jax.random.key(3), (hidden, 10)),
    ]

    def loss(layers, rows):
        logits = jnp.tanh(inputs[rows] @ layers[0]) @ layers[1]
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), classes[rows][:, None], axis=1)
        return -jnp.mean(chosen)

    def draw(key, count):
        return jax.random.randint(key, (64,), 0, 1024)

    def train(beta, learning_rate):
        run = jm.optimize(
            loss,
            layers,
            jm.heavy_ball(learning_rate, beta),
            steps,
            batches=draw,
            key=jax.random.key(4),
            every=steps,
            check=check,
        )
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train


def sample_axes(lanes: int) -> dict[str, np.ndarray]:
    """Return betas and learning rates of which none diverges."""
    rng = np.random.default_rng(0)
    found = {"beta": rng.uniform(0.0, 0.9, lanes), "learning_rate": rng.uniform(1e-3, 0.3, lanes)}
    return {name: values.astype(np.float32) for name, values in found.items()}


def compile_vmap(train: TrainFn, lanes: int) -> TimedFn:
    """Return a call of a bare `jit(vmap)` of all lanes."""
    axes = sample_axes(lanes)
    columns = (jnp.asarray(axes["beta"]), jnp.asarray(axes["learning_rate"]))
    compiled = jax.jit(jax.vmap(train)).lower(*columns).compile()
    return lambda: jax.block_until_ready(compiled(*columns))


def prepare_sweep(train: TrainFn, lanes: int, width: int | str) -> TimedFn:
    """Return a call of a sweep, whose program is compiled by the first call and kept."""
    space = jm.paired(**sample_axes(lanes))
    return lambda: jm.sweep(train, space, width=width, progress=False)


def time_in_turn(calls: dict[int, TimedFn], rounds: int) -> dict[int, float]:
    """Return the seconds of the best round of each call."""
    best = dict.fromkeys(calls, np.inf)
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number > 0:  # the first round compiles
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    parser = command.make_parser("experiments.benchmarks.divergence", __doc__ or "")
    parser.add_argument("--lanes", type=int, default=200_000, help="lanes of the quadratic")
    parser.add_argument(
        "--steps", type=int, default=4000, help="of the quadratic, a multiple of 500"
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each pair; the best counts")
    given = parser.parse_args()
    lanes, steps = given.lanes, given.steps

    def pair(make: Callable[[int], TrainFn], prepare: Callable[[TrainFn], TimedFn]) -> Any:
        return {check: prepare(make(check)) for check in CHECKS}

    def quadratic(check: int) -> TrainFn:
        return train_quadratic(steps, check)

    def network(hidden: int) -> Callable[[int], TrainFn]:
        return lambda check: train_network(steps // 10, check, hidden)

    pairs = {
        "quadratic, jm.sweep": pair(quadratic, lambda train: prepare_sweep(train, lanes, "auto")),
        "quadratic, jm.sweep, width 1,024": pair(
            quadratic, lambda train: prepare_sweep(train, lanes, 1024)
        ),
        "quadratic, bare jit(vmap) of 1,024": pair(
            quadratic, lambda train: compile_vmap(train, 1024)
        ),
        "network 64-32-10, jm.sweep": pair(
            network(32), lambda train: prepare_sweep(train, 128, "auto")
        ),
        "network 64-256-10, jm.sweep": pair(
            network(256), lambda train: prepare_sweep(train, 32, "auto")
        ),
    }
    print("| | check=1, s | check=50, s | ratio |\n| --- | --- | --- | --- |")
    for name, calls in pairs.items():
        often, rarely = time_in_turn(calls, given.rounds).values()
        print(f"| {name} | {often:.3g} | {rarely:.3g} | {often / rarely:.2f} |", flush=True)


if __name__ == "__main__":
    main()
