"""What a sweep costs, beside the bare compiled program and beside what people do today.

Question: what do chunks, names, progress and a store add to `jit(vmap(fn))`, what do two devices
give, and how far are other ways of running many trials from it?

Overheads are ratios within one run: the programs take turns, and the best round of each counts. In
the tables, slow ways run a part of the lanes, and the figure is lanes x steps per second, without
the time of compiling (but for optax, which compiles for each trial; that is its way).

Answer: see docs/sweeps.md.
"""

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

if "--devices" in sys.argv:  # before anything is computed
    jax.config.update("jax_num_cpu_devices", int(sys.argv[sys.argv.index("--devices") + 1]))

import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from experiments.benchmarks import peers
from experiments.benchmarks.peers import Axes, Call

QUADRATIC = jm.problems.tutorial_quadratic()
DIGITS_STEPS = 200
TORCH = importlib.util.find_spec("torch") is not None
OPTUNA = importlib.util.find_spec("optuna") is not None


def descend(steps: int, check: int = 1) -> Callable[..., dict[str, jax.Array]]:
    """Heavy ball on the quadratic of the tutorial: the final loss of one lane."""

    def train(beta, learning_rate):
        optimizer = jm.heavy_ball(learning_rate, beta)
        run = jm.optimize(
            QUADRATIC.loss, QUADRATIC.params, optimizer, steps, every=steps, check=check
        )
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train


def by_hand(steps: int, unroll: int = 1) -> Callable[..., dict[str, jax.Array]]:
    """The same without a library, and without looking for divergence."""

    def train(beta, learning_rate):
        def step(carry, _):
            x, v = carry
            v = beta * v - learning_rate * jnp.array([4.0, 1.0]) * x
            return (x + v, v), None

        start = (jnp.array([2.0, 2.0]), jnp.zeros(2))
        (x, _), _ = jax.lax.scan(step, start, length=steps, unroll=unroll)
        return {"value": jnp.sum(jnp.array([4.0, 1.0]) * x**2) / 2}

    return train


def learn_digits(beta, seed):
    """A network with 32 hidden units on the digits: the final loss of one lane."""
    problem = jm.problems.digits_mlp()
    run = jm.optimize(
        problem.loss,
        problem.params,
        jm.heavy_ball(peers.RATE, beta),
        DIGITS_STEPS,
        batches=problem.batches,
        key=jax.random.key(seed),
        every=DIGITS_STEPS,
    )
    return {"value": run.history["value"][-1]}


def values(lanes: int) -> Axes:
    """Betas and learning rates at random, the same at every call."""
    rng = np.random.default_rng(0)
    beta, rate = rng.uniform(0, 0.99, lanes), rng.uniform(0.001, 0.3, lanes)
    return {"beta": beta.astype(np.float32), "learning_rate": rate.astype(np.float32)}


def bare(fn: Callable[..., Any], axes: Axes, width: int) -> Callable[[], None]:
    """The compiled program in a loop over chunks, results copied to the host."""
    program = jax.jit(jax.vmap(lambda lane: fn(**lane)))
    program = program.lower({n: a[:width] for n, a in axes.items()}).compile()
    lanes = len(next(iter(axes.values())))
    axes = {n: np.resize(a, -(-lanes // width) * width) for n, a in axes.items()}  # whole chunks

    def run():
        pieces, flight = [], None
        for start in range(0, lanes, width):
            chunk = program({n: jnp.asarray(a[start : start + width]) for n, a in axes.items()})
            if flight is not None:
                pieces.append(jax.tree.map(np.asarray, flight))
            flight = chunk
        pieces.append(jax.tree.map(np.asarray, flight))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)

    return run


def best_seconds(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least seconds of each, over rounds in which all of them take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def overheads(lanes: int, steps: int, width: int, rounds: int) -> None:
    """The engine, and the engine with a store, against the bare program."""
    fn, axes = descend(steps), values(lanes)
    space = jm.paired(**axes)
    folder = tempfile.mkdtemp()

    def stored():
        shutil.rmtree(folder)
        jm.sweep(fn, space, width=width, store=folder)

    seconds = best_seconds(
        {
            "bare": lambda: bare(fn, axes, width)(),
            "engine": lambda: jm.sweep(fn, space, width=width),
            "store": stored,
        },
        rounds,
    )
    shutil.rmtree(folder)
    print(f"\n{lanes:,} lanes x {steps:,} steps of the quadratic, width {width}")
    for name, taken in seconds.items():
        ratio = taken / seconds["bare"]
        print(f"  {name:8s} {taken:7.2f} s   {ratio:.3f} of bare, compilation included")


def devices_ratio(lanes: int, steps: int, rounds: int) -> None:
    """All devices against the first one, in ten chunks of blocks of a thousand lanes."""
    space, width = jm.paired(**values(lanes)), max(lanes // 10000, 1) * 1000
    print(f"\n{lanes:,} lanes x {steps:,} steps of the quadratic, without compilation")
    for name, fn, options in [
        ("jm.optimize, lanes first", descend(steps), {}),
        ("jm.optimize, lanes last", descend(steps), {"lanes_last": 1}),
        ("a scan by hand, lanes last, unrolled", by_hand(steps), {"lanes_last": 4}),
    ]:
        best = dict.fromkeys((1, jax.device_count()), float("inf"))
        for _ in range(rounds):
            for count in best:
                used = jax.devices()[:count]
                told = jm.sweep(
                    fn, space, width=width, devices=used, options={**options, "block": 1000}
                ).attrs
                best[count] = min(best[count], told["seconds"] - told["compile_seconds"])
        rates = ", ".join(f"{lanes * steps / s:.3g} on {n}" for n, s in best.items())
        ratio = best[1] / best[jax.device_count()]
        print(f"  {name:40s} {ratio:.2f} times as fast: {rates} lane-steps per second")


def quadratic_table(lanes: int, steps: int, seconds: float) -> None:
    """Ways to run the quadratic."""
    axes, table = values(lanes), {}
    space = jm.paired(**axes)
    for name, fn in [
        ("jm.optimize", descend(steps)),
        (f"jm.optimize, check={min(steps, 50)}", descend(steps, min(steps, 50))),
        ("a scan by hand", by_hand(steps)),
    ]:
        table |= {f"jm.sweep of {name}{how}": rate for how, rate in _swept(fn, space).items()}
        for width in (4096, lanes):
            chunks = bare(fn, axes, min(width, lanes))
            label = f"bare jit(vmap) of {name}, width {width}"
            table[label] = lanes / best_seconds({"": chunks}, 2)[""]
    chunks = bare(by_hand(steps, 6), axes, min(4096, lanes))
    table["bare jit(vmap) of a scan by hand, unroll=6"] = lanes / best_seconds({"": chunks}, 2)[""]
    if shutil.which("cc"):
        table["C, one core"] = lanes / best_seconds({"": peers.in_c(axes, steps)}, 3)[""]

    def trial(i: int) -> Any:
        return axes["learning_rate"][i], axes["beta"][i], lambda count: count

    recompiled = peers.recompiled_loop(
        lambda params, _: QUADRATIC.loss(params), QUADRATIC.params, trial, steps
    )
    others: dict[str, tuple[Call, int]] = {
        "NumPy, 1,000 lanes at a time": (peers.numpy_lanes(axes, steps, 1000), 1000),
        "NumPy loop": (peers.numpy_loop(axes, steps), 1),
        "Python loop over a jitted run": (peers.jitted_loop(descend(steps), axes), 1),
        "optax, compiled for each trial": (recompiled, 1),
    }
    if OPTUNA:
        optuna_loop = peers.optuna_loop(descend(steps), axes)
        others["Optuna's random sampler over a jitted run"] = optuna_loop, 1
    if TORCH:
        others["torch.optim loop"] = peers.torch_loop(axes, steps), 1
        vmapped = peers.torch_lanes(axes, steps, 10_000)
        others["torch.func.vmap, 10,000 lanes at a time"] = vmapped, 10_000
    table |= {name: _rate(call, width, seconds) for name, (call, width) in others.items()}
    _print(f"{lanes:,} lanes x {steps:,} steps of the quadratic", table, steps)


def digits_table(lanes: int, seconds: float) -> None:
    """Ways to train small networks on the digits."""
    problem, table = jm.problems.digits_mlp(), {}
    many = max(lanes, 10_000)  # others take as many as they can
    axes = {
        "beta": np.random.default_rng(0).uniform(0, 0.95, many).astype(np.float32),
        "seed": np.arange(many, dtype=np.int32),
    }
    ours = {name: a[:lanes] for name, a in axes.items()}
    table |= {f"jm.sweep{how}": r for how, r in _swept(learn_digits, jm.paired(**ours)).items()}
    for width in (8, 64, 256, lanes):
        chunks = bare(learn_digits, ours, min(width, lanes))
        table[f"bare jit(vmap), width {width}"] = lanes / best_seconds({"": chunks}, 1)[""]

    def trial(i: int) -> Any:
        key = jax.random.key(i)
        return peers.RATE, axes["beta"][i], lambda count: problem.batches(key, count)

    recompiled = peers.recompiled_loop(problem.loss, problem.params, trial, DIGITS_STEPS)
    others: dict[str, tuple[Call, int]] = {
        "NumPy, 64 networks at a time": (peers.numpy_digits(axes, DIGITS_STEPS, 64), 64),
        "NumPy loop": (peers.numpy_digits(axes, DIGITS_STEPS, 1), 1),
        "Python loop over a jitted run": (peers.jitted_loop(learn_digits, axes), 1),
        "optax, compiled for each trial": (recompiled, 1),
    }
    if OPTUNA:
        optuna_loop = peers.optuna_loop(learn_digits, axes)
        others["Optuna's random sampler over a jitted run"] = optuna_loop, 1
    if TORCH:
        others["torch.optim loop"] = peers.torch_digits(axes, DIGITS_STEPS), 1
        vmapped = peers.torch_digits_lanes(axes, DIGITS_STEPS, 64)
        others["torch.func.vmap, 64 networks at a time"] = vmapped, 64
    table |= {name: _rate(call, width, seconds) for name, (call, width) in others.items()}
    _print(f"{lanes:,} digits networks x {DIGITS_STEPS} steps", table, DIGITS_STEPS)


def _swept(fn: Callable[..., Any], space: Any) -> dict[str, float]:
    """Lanes per second of a sweep that chose its own width and program, and what it chose."""
    runs = jm.sweep(fn, space, progress=False)
    width, options = runs.attrs["width"], json.loads(runs.attrs["options"])
    ours = {name: value for name, value in options.items() if not name.startswith("xla")}
    told = "".join(f", {name}={value}" for name, value in {"width": width, **ours}.items())
    rates = []
    for _ in range(2):
        runs = jm.sweep(fn, space, width=width, options=options, progress=False)
        seconds = runs.attrs["seconds"] - runs.attrs["compile_seconds"]
        rates.append(space.size / seconds)
    return {told: max(rates)}


def _rate(one: Callable[[int], Any], lanes: int, seconds: float) -> float:
    """Lanes per second, from as many calls as fit into some seconds, after one to warm up."""
    one(0)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        calls += 1
        one(calls)
    return lanes * calls / (time.perf_counter() - start)


def _print(title: str, table: dict[str, float], steps: int) -> None:
    print(f"\n{title}: lanes x steps per second, and lanes per second")
    for name, rate in sorted(table.items(), key=lambda item: -item[1]):
        print(f"  {name:68s} {rate * steps:10.3g} {rate:12.5g}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1, help="CPU devices to use")
    parser.add_argument("--lanes", type=int, default=1_000_000, help="of the quadratic")
    parser.add_argument("--steps", type=int, default=1000, help="of the quadratic")
    parser.add_argument("--networks", type=int, default=1024, help="on the digits")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each slow way")
    parser.add_argument("--rounds", type=int, default=2, help="of the comparison of overheads")
    parser.add_argument("--width", type=int, default=4096, help="in the comparison of overheads")
    parser.add_argument("--only", choices=["overheads", "devices", "quadratic", "digits"])
    options = parser.parse_args()
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    print(f"{count} x {kind}, jax {jax.__version__}")
    if options.only in (None, "overheads"):
        overheads(options.lanes, 20 * options.steps, options.width, options.rounds)
    if options.only in (None, "devices") and jax.device_count() > 1:
        devices_ratio(options.lanes // 5, 5 * options.steps, options.rounds)
    if options.only in (None, "quadratic"):
        quadratic_table(options.lanes, options.steps, options.seconds)
    if options.only in (None, "digits"):
        digits_table(options.networks, options.seconds)


if __name__ == "__main__":
    main()
