"""What a sweep costs, beside the bare compiled program and beside what people do today.

Question: what do chunks, names, progress and a store add to `jit(vmap(fn))`, what do two devices
give, and how far are other ways of running many trials from it?

Overheads are ratios within one run: the programs take turns, and the best round of each counts. In
the tables, slow ways run a part of the lanes, and the figure is lanes x steps per second.

Answer: see docs/sweeps.md.
"""

import argparse
import ctypes
import pathlib
import shutil
import subprocess
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
import optax

import jaxmom as jm

QUADRATIC = jm.problems.tutorial_quadratic()
DIGITS_STEPS = 200
C_SOURCE = """
#include <stddef.h>
void run(size_t lanes, int steps, const float *beta, const float *rate, float *loss) {
  for (size_t first = 0; first < lanes; first += 512) {
    float x[512], y[512], u[512], v[512];
    size_t n = lanes - first < 512 ? lanes - first : 512;
    const float *b = beta + first, *a = rate + first;
    for (size_t i = 0; i < n; i++) { x[i] = y[i] = 2; u[i] = v[i] = 0; }
    for (int t = 0; t < steps; t++)
      for (size_t i = 0; i < n; i++) {
        u[i] = b[i] * u[i] - a[i] * 4 * x[i]; x[i] += u[i];
        v[i] = b[i] * v[i] - a[i] * y[i]; y[i] += v[i];
      }
    for (size_t i = 0; i < n; i++) loss[first + i] = (4 * x[i] * x[i] + y[i] * y[i]) / 2;
  }
}
"""


def descend(steps: int, unroll: int = 1) -> Callable[..., dict[str, jax.Array]]:
    """Heavy ball on the quadratic of the tutorial: the final loss of one lane."""

    def train(beta, learning_rate):
        run = jm.optimize(
            QUADRATIC.loss,
            QUADRATIC.params,
            jm.heavy_ball(learning_rate, beta),
            steps,
            every=steps,
            unroll=unroll,
        )
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train


def by_hand(steps: int, unroll: int) -> Callable[..., dict[str, jax.Array]]:
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


def values(lanes: int) -> dict[str, np.ndarray]:
    """Betas and learning rates at random, the same at every call."""
    rng = np.random.default_rng(0)
    beta, rate = rng.uniform(0, 0.99, lanes), rng.uniform(0.001, 0.3, lanes)
    return {"beta": beta.astype(np.float32), "learning_rate": rate.astype(np.float32)}


def bare(fn: Callable[..., Any], axes: dict[str, np.ndarray], width: int) -> Callable[[], None]:
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


def quadratic_table(lanes: int, steps: int, seconds: float) -> None:
    """Ways to run the quadratic."""
    axes, table = values(lanes), {}
    for name, fn in [
        ("jm.sweep", descend(steps)),
        ("jm.sweep, unroll=6", descend(steps, 6)),
        ("jm.sweep of a scan by hand, unroll=6", by_hand(steps, 6)),
    ]:
        runs = jm.sweep(fn, jm.paired(**axes), progress=False)
        again = jm.sweep(fn, jm.paired(**axes), width=runs.attrs["width"], progress=False)
        table[f"{name} (width {runs.attrs['width']})"] = lanes / _running(again)
    whole = bare(descend(steps), axes, lanes)
    table["bare jit(vmap), all lanes at once"] = lanes / best_seconds({"": whole}, 2)[""]
    width = min(lanes, 4096)
    chunks = bare(descend(steps), axes, width)
    table[f"bare jit(vmap), chunks of {width}"] = lanes / best_seconds({"": chunks}, 2)[""]
    table["C, one core"] = lanes / best_seconds({"": in_c(axes, steps)}, 3)[""]
    table["NumPy, vectorized over 1,000 lanes"] = _rate(numpy_lanes(axes, steps), 1000, seconds)
    loops = {
        "Python loop over a jitted run": jitted_loop(axes, steps),
        "optax recompiled for each beta": recompiled_loop(axes, steps),
        "Optuna's random sampler over a jitted run": optuna_loop(steps),
        "NumPy loop over lanes": numpy_loop(axes, steps),
        "torch.optim loop": torch_loop(axes, steps),
    }
    for name, one in loops.items():
        table[name] = _rate(one, 1, seconds)
    table["torch.func.vmap over 10,000 lanes"] = _rate(torch_vmap(axes, steps), 10_000, seconds)
    _print(f"{lanes:,} lanes x {steps:,} steps of the quadratic", table, steps)


def digits_table(lanes: int, seconds: float) -> None:
    """Ways to train small networks on the digits."""
    problem, table = jm.problems.digits_mlp(), {}

    def train(seed):
        run = jm.optimize(
            problem.loss,
            problem.params,
            jm.heavy_ball(0.05, 0.9),
            DIGITS_STEPS,
            batches=problem.batches,
            key=jax.random.key(seed),
            every=DIGITS_STEPS,
        )
        return {"value": run.history["value"][-1]}

    space = jm.grid(seed=range(lanes))
    runs = jm.sweep(train, space, progress=False)
    again = jm.sweep(train, space, width=runs.attrs["width"], progress=False)
    table[f"jm.sweep (width {runs.attrs['width']})"] = lanes / _running(again)
    seeds = {"seed": np.arange(lanes)}
    for width in (lanes, runs.attrs["width"]):
        run = bare(train, seeds, width)
        table[f"bare jit(vmap), width {width}"] = lanes / best_seconds({"": run}, 1)[""]
    program = jax.jit(train)
    table["Python loop over a jitted run"] = _rate(
        lambda i: jax.block_until_ready(program(i)), 1, seconds
    )
    table["torch.optim loop"] = _rate(torch_digits(), 1, seconds)
    _print(f"{lanes:,} digits networks x {DIGITS_STEPS} steps", table, DIGITS_STEPS)


# What others do: each returns a function of the number of its call.


def in_c(axes: dict[str, np.ndarray], steps: int) -> Callable[[], None]:
    """The limit: a C program, compiled here."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "run.c").write_text(C_SOURCE)
    command = ["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", folder / "run.so", folder / "run.c"], check=True)
    library, loss = ctypes.CDLL(str(folder / "run.so")), np.empty_like(axes["beta"])
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*axes.values(), loss)]
    return lambda: library.run(ctypes.c_size_t(len(loss)), steps, *pointers)


def jitted_loop(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """One compiled run, called for each lane."""
    program = jax.jit(descend(steps))
    return lambda i: program(axes["beta"][i], axes["learning_rate"][i])["value"].item()


def recompiled_loop(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """An optax optimizer of Python floats, which are constants of its program."""

    def one(i):
        optimizer = optax.sgd(float(axes["learning_rate"][i]), momentum=float(axes["beta"][i]))

        @jax.jit
        def run(params):
            def step(carry, _):
                params, state = carry
                gradient = jax.grad(QUADRATIC.loss)(params)
                updates, state = optimizer.update(gradient, state, params)
                return (optax.apply_updates(params, updates), state), None

            carry, _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
            return QUADRATIC.loss(carry[0])

        run(QUADRATIC.params).item()

    return one


def optuna_loop(steps: int) -> Callable[[int], None]:
    """A trial at a time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    program = jax.jit(descend(steps))

    def objective(trial):
        beta = trial.suggest_float("beta", 0, 0.99)
        rate = trial.suggest_float("learning_rate", 0.001, 0.3)
        return program(np.float32(beta), np.float32(rate))["value"].item()

    return lambda _: study.optimize(objective, n_trials=1)


def numpy_loop(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """One lane at a time, as in tutorials."""
    curvature = np.array([4.0, 1.0])

    def one(i):
        x, v = np.array([2.0, 2.0]), np.zeros(2)
        for _ in range(steps):
            v = axes["beta"][i] * v - axes["learning_rate"][i] * curvature * x
            x = x + v

    return one


def numpy_lanes(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """Lanes as the last axis of the arrays, in place."""

    def one(i):
        part = slice(1000 * i, 1000 * (i + 1))
        beta, rate = (a[part] for a in axes.values())
        x = np.full((2, len(beta)), 2, np.float32)
        v, scaled = np.zeros_like(x), rate * np.array([[4], [1]], np.float32)
        for _ in range(steps):
            v *= beta
            v -= scaled * x
            x += v

    return one


def torch_loop(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """torch.optim.SGD, a lane at a time."""
    import torch

    curvature = torch.tensor([4.0, 1.0])

    def one(i):
        x = torch.tensor([2.0, 2.0], requires_grad=True)
        rate, beta = float(axes["learning_rate"][i]), float(axes["beta"][i])
        optimizer = torch.optim.SGD([x], lr=rate, momentum=beta)
        for _ in range(steps):
            optimizer.zero_grad()
            ((curvature * x**2).sum() / 2).backward()
            optimizer.step()

    return one


def torch_vmap(axes: dict[str, np.ndarray], steps: int) -> Callable[[int], None]:
    """torch.func.vmap of the gradient, and a loop over the steps."""
    import torch

    curvature = torch.tensor([4.0, 1.0])
    gradient = torch.func.vmap(torch.func.grad(lambda x: (curvature * x**2).sum() / 2))

    def one(i):
        part = slice(10_000 * i, 10_000 * (i + 1))
        beta, rate = (torch.tensor(a[part])[:, None] for a in axes.values())
        x = torch.full((len(beta), 2), 2.0)
        v = torch.zeros_like(x)
        for _ in range(steps):
            v = beta * v - rate * gradient(x)
            x = x + v

    return one


def torch_digits() -> Callable[[int], None]:
    """The same network and batches of the same size in PyTorch."""
    import torch

    data = jm.problems.digits()
    images, labels = (torch.tensor(np.array(a)) for a in (data.images, data.labels))

    def one(i):
        torch.manual_seed(i)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(DIGITS_STEPS):
            rows = torch.randint(len(images), (64,))
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows].long())
            loss.backward()
            optimizer.step()

    return one


def _running(runs: Any) -> float:
    """The seconds of a sweep without those of its compilation."""
    return runs.attrs["seconds"] - runs.attrs["compile_seconds"]


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
        print(f"  {name:52s} {rate * steps:10.3g} {rate:12.5g}")


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
    parser.add_argument("--only", choices=["overheads", "quadratic", "digits"])
    options = parser.parse_args()
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    print(f"{count} x {kind}, jax {jax.__version__}")
    if options.only in (None, "overheads"):
        overheads(options.lanes, 20 * options.steps, options.width, options.rounds)
    if options.only in (None, "quadratic"):
        quadratic_table(options.lanes, options.steps, options.seconds)
    if options.only in (None, "digits"):
        digits_table(options.networks, options.seconds)


if __name__ == "__main__":
    main()
