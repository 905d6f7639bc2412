"""The time of a sweep, beside the bare compiled program and beside other ways to run trials.

Question: how much time do chunks, names, progress and a store add to `jit(vmap(fn))`, how much
faster are two devices, and how fast are other ways to run many trials?

Overheads are ratios within one run: the programs take turns, and the best round of each counts. In
the tables, slow ways run only some of the lanes, and the figure is lanes x steps per second,
without the time of compiling (except for optax, which compiles for each trial).

Answer: see docs/sweeps.md.
"""

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
from experiments import command
from experiments.benchmarks import peers
from experiments.benchmarks.peers import Axes, Call, TrainFn

QUADRATIC = jm.problems.tutorial_quadratic()
DIGITS_STEPS = 200
TORCH = importlib.util.find_spec("torch") is not None
OPTUNA = importlib.util.find_spec("optuna") is not None


def descend(steps: int, check: int = 1) -> TrainFn:
    """Return heavy ball on the quadratic of the tutorial, which outputs the final loss."""

    def train(beta, learning_rate):
        optimizer = jm.heavy_ball(learning_rate, beta)
        run = jm.optimize(
            QUADRATIC.loss, QUADRATIC.params, optimizer, steps, every=steps, check=check
        )
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train


def descend_by_hand(steps: int, unroll: int = 1) -> TrainFn:
    """Return the same without a library, and without a check for divergence."""

    def train(beta, learning_rate):
        def step(carry, _):
            x, v = carry
            v = beta * v - learning_rate * jnp.array([4.0, 1.0]) * x
            return (x + v, v), None

        start = (jnp.array([2.0, 2.0]), jnp.zeros(2))
        (x, _), _ = jax.lax.scan(step, start, length=steps, unroll=unroll)
        return {"value": jnp.sum(jnp.array([4.0, 1.0]) * x**2) / 2}

    return train


def train_digits(beta: jax.Array, seed: jax.Array) -> dict[str, jax.Array]:
    """Train a network with 32 hidden units on the digits; output the final loss."""
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


def sample_axes(lanes: int) -> Axes:
    """Return random betas and learning rates, the same at every call."""
    rng = np.random.default_rng(0)
    beta, rate = rng.uniform(0, 0.99, lanes), rng.uniform(0.001, 0.3, lanes)
    return {"beta": beta.astype(np.float32), "learning_rate": rate.astype(np.float32)}


def run_bare(fn: TrainFn, axes: Axes, width: int) -> Callable[[], Any]:
    """Return a loop of the compiled program over chunks, whose results go to the host."""
    program = jax.jit(jax.vmap(lambda lane: fn(**lane)))
    program = program.lower({n: a[:width] for n, a in axes.items()}).compile()
    lanes = len(next(iter(axes.values())))
    axes = {n: np.resize(a, -(-lanes // width) * width) for n, a in axes.items()}  # whole chunks

    def run():
        pieces, in_flight = [], None
        for start in range(0, lanes, width):
            chunk = program({n: jnp.asarray(a[start : start + width]) for n, a in axes.items()})
            if in_flight is not None:
                pieces.append(jax.tree.map(np.asarray, in_flight))
            in_flight = chunk
        pieces.append(jax.tree.map(np.asarray, in_flight))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)

    return run


def measure_best(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the best seconds of each call over rounds in which all take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure_overheads(lanes: int, steps: int, width: int, rounds: int) -> None:
    """Time the engine, and the engine with a store, against the bare program."""
    fn, axes = descend(steps), sample_axes(lanes)
    space = jm.paired(**axes)
    folder = tempfile.mkdtemp()

    def stored():
        shutil.rmtree(folder)
        jm.sweep(fn, space, width=width, store=folder)

    seconds = measure_best(
        {
            "bare": lambda: run_bare(fn, axes, width)(),
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


def measure_chunks(chunks: int, rounds: int, width: int = 16) -> None:
    """Time many chunks of next to no work: what each of them costs beyond the bare program."""
    fn, axes = descend(1), sample_axes(chunks * width)
    space, folder = jm.paired(**axes), tempfile.mkdtemp()

    def sweep(**more: Any) -> float:
        attrs = jm.sweep(fn, space, width=width, progress=False, **more).attrs
        return attrs["seconds"] - attrs["compile_seconds"]

    def stored() -> float:
        shutil.rmtree(folder)
        return sweep(store=folder)

    bare = run_bare(fn, axes, width)
    least = measure_best({"bare": bare}, rounds)["bare"]
    print(f"\n{chunks:,} chunks of {width} lanes and one step, in microseconds for each chunk")
    print(f"  bare     {least / chunks * 1e6:8.1f}")
    for name, call in {"engine": sweep, "store": stored}.items():
        seconds = min(call() for _ in range(rounds))
        print(f"  {name:8s} {seconds / chunks * 1e6:8.1f}")
    shutil.rmtree(folder)


def measure_devices(lanes: int, steps: int, rounds: int) -> None:
    """Time all devices against the first one, in ten chunks of blocks of a thousand lanes."""
    space, width = jm.paired(**sample_axes(lanes)), max(lanes // 10000, 1) * 1000
    print(f"\n{lanes:,} lanes x {steps:,} steps of the quadratic, without compilation")
    for name, fn, options in [
        ("jm.optimize, lanes first", descend(steps), {}),
        ("jm.optimize, lanes last", descend(steps), {"lanes_last": 1}),
        ("a scan by hand, lanes last, unrolled", descend_by_hand(steps), {"lanes_last": 4}),
    ]:
        best = dict.fromkeys((1, jax.device_count()), float("inf"))
        for _ in range(rounds):
            for count in best:
                used = jax.devices()[:count]
                attrs = jm.sweep(
                    fn, space, width=width, devices=used, options={**options, "block": 1000}
                ).attrs
                best[count] = min(best[count], attrs["seconds"] - attrs["compile_seconds"])
        rates = ", ".join(f"{lanes * steps / s:.3g} on {n}" for n, s in best.items())
        ratio = best[1] / best[jax.device_count()]
        print(f"  {name:40s} {ratio:.2f} times as fast: {rates} lane-steps per second")


def tabulate_quadratic(lanes: int, steps: int, seconds: float) -> None:
    """Time many ways to run the quadratic."""
    axes, table = sample_axes(lanes), {}
    space = jm.paired(**axes)
    for name, fn in [
        ("jm.optimize", descend(steps)),
        (f"jm.optimize, check={min(steps, 50)}", descend(steps, min(steps, 50))),
        ("a scan by hand", descend_by_hand(steps)),
    ]:
        table |= {f"jm.sweep of {name}{how}": rate for how, rate in _time_sweep(fn, space).items()}
        for width in (4096, lanes):
            chunks = run_bare(fn, axes, min(width, lanes))
            label = f"bare jit(vmap) of {name}, width {width}"
            table[label] = lanes / measure_best({"": chunks}, 2)[""]
    chunks = run_bare(descend_by_hand(steps, 6), axes, min(4096, lanes))
    table["bare jit(vmap) of a scan by hand, unroll=6"] = lanes / measure_best({"": chunks}, 2)[""]
    if shutil.which("cc"):
        table["C, one core"] = lanes / measure_best({"": peers.in_c(axes, steps)}, 3)[""]

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
    table |= {name: _time_calls(call, width, seconds) for name, (call, width) in others.items()}
    _print_table(f"{lanes:,} lanes x {steps:,} steps of the quadratic", table, steps)


def tabulate_digits(lanes: int, seconds: float) -> None:
    """Time many ways to train small networks on the digits."""
    problem, table = jm.problems.digits_mlp(), {}
    many = max(lanes, 10_000)  # the other ways run as many as they can
    axes = {
        "beta": np.random.default_rng(0).uniform(0, 0.95, many).astype(np.float32),
        "seed": np.arange(many, dtype=np.int32),
    }
    ours = {name: a[:lanes] for name, a in axes.items()}
    table |= {
        f"jm.sweep{how}": r for how, r in _time_sweep(train_digits, jm.paired(**ours)).items()
    }
    for width in (8, 64, 256, lanes):
        chunks = run_bare(train_digits, ours, min(width, lanes))
        table[f"bare jit(vmap), width {width}"] = lanes / measure_best({"": chunks}, 1)[""]

    def trial(i: int) -> Any:
        key = jax.random.key(i)
        return peers.RATE, axes["beta"][i], lambda count: problem.batches(key, count)

    recompiled = peers.recompiled_loop(problem.loss, problem.params, trial, DIGITS_STEPS)
    others: dict[str, tuple[Call, int]] = {
        "NumPy, 64 networks at a time": (peers.numpy_digits(axes, DIGITS_STEPS, 64), 64),
        "NumPy loop": (peers.numpy_digits(axes, DIGITS_STEPS, 1), 1),
        "Python loop over a jitted run": (peers.jitted_loop(train_digits, axes), 1),
        "optax, compiled for each trial": (recompiled, 1),
    }
    if OPTUNA:
        optuna_loop = peers.optuna_loop(train_digits, axes)
        others["Optuna's random sampler over a jitted run"] = optuna_loop, 1
    if TORCH:
        others["torch.optim loop"] = peers.torch_digits(axes, DIGITS_STEPS), 1
        vmapped = peers.torch_digits_lanes(axes, DIGITS_STEPS, 64)
        others["torch.func.vmap, 64 networks at a time"] = vmapped, 64
    table |= {name: _time_calls(call, width, seconds) for name, (call, width) in others.items()}
    _print_table(f"{lanes:,} digits networks x {DIGITS_STEPS} steps", table, DIGITS_STEPS)


def _time_sweep(fn: TrainFn, space: Any) -> dict[str, float]:
    """Return the width and program that a sweep chose, and its lanes per second with these."""
    runs = jm.sweep(fn, space, progress=False)
    width, options = runs.attrs["width"], json.loads(runs.attrs["options"])
    ours = {name: value for name, value in options.items() if not name.startswith("xla")}
    chosen = "".join(f", {name}={value}" for name, value in {"width": width, **ours}.items())
    rates = []
    for _ in range(2):
        runs = jm.sweep(fn, space, width=width, options=options, progress=False)
        seconds = runs.attrs["seconds"] - runs.attrs["compile_seconds"]
        rates.append(space.size / seconds)
    return {chosen: max(rates)}


def _time_calls(call: Callable[[int], Any], lanes: int, seconds: float) -> float:
    """Return lanes per second, over as many calls as fit into some seconds, after a first one."""
    call(0)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        calls += 1
        call(calls)
    return lanes * calls / (time.perf_counter() - start)


def _print_table(title: str, table: dict[str, float], steps: int) -> None:
    """Print a table of rates, the fastest first."""
    print(f"\n{title}: lanes x steps per second, and lanes per second")
    for name, rate in sorted(table.items(), key=lambda item: -item[1]):
        print(f"  {name:68s} {rate * steps:10.3g} {rate:12.5g}")


def main() -> None:
    """Print the tables."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument("--devices", type=int, default=1, help="CPU devices to use")
    parser.add_argument(
        "--lanes", type=int, default=1_000_000, help="number of lanes of the quadratic"
    )
    parser.add_argument("--steps", type=int, default=1000, help="steps of the quadratic")
    parser.add_argument(
        "--networks", type=int, default=1024, help="number of networks on the digits"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each slow way")
    parser.add_argument(
        "--rounds", type=int, default=2, help="rounds of the comparison of overheads"
    )
    parser.add_argument(
        "--width", type=int, default=4096, help="width in the comparison of overheads"
    )
    parser.add_argument(
        "--only", choices=["overheads", "chunks", "devices", "quadratic", "digits"], help="one part"
    )
    options = parser.parse_args()
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    print(f"{count} x {kind}, jax {jax.__version__}")
    if options.only in (None, "overheads"):
        measure_overheads(options.lanes, 20 * options.steps, options.width, options.rounds)
    if options.only in (None, "chunks"):
        measure_chunks(max(options.lanes // 500, 10), options.rounds)
    if options.only in (None, "devices") and jax.device_count() > 1:
        measure_devices(options.lanes // 5, 5 * options.steps, options.rounds)
    if options.only in (None, "quadratic"):
        tabulate_quadratic(options.lanes, options.steps, options.seconds)
    if options.only in (None, "digits"):
        tabulate_digits(options.networks, options.seconds)


if __name__ == "__main__":
    main()
