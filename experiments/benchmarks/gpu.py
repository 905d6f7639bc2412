"""One table of speeds on whatever accelerator there is.

Question: how much of the device do sweeps, filters and Q-learning use, does `width="auto"` find the
best width, and when do lanes belong last?

* The quadratic of the tutorial: lane-steps per second of a scan by hand and of `jm.optimize`, with
  lanes first (`jax.vmap`) and last, at fixed widths and at the width that "auto" chooses.
* Networks 64-H-H-10 on batches of 64 digits: 6 x 64 x (weights) floating-point operations a step,
  as a share of the rate of a matrix product measured in the same run.
* Q-learning on the frozen lake: environment steps per second.
* Filters of one and three buffers on 1e6 to 1e8 parameters: bytes that must move, as a share of the
  rate of a copy measured in the same run.

Rates leave the time of compiling out, except those of "auto", which are of the whole call: what it
runs to find a width it keeps as results. The column "whole call" has compilation and search in it.
Each rate is the best of some rounds.

Answer: see `docs/sweeps.md`, which has the table of one device, with its name.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from experiments import command
from experiments.benchmarks.sweep import descend, descend_by_hand

ROUNDS = 3
DIGITS_STEPS = 100
BATCH = 64
LAKE_STEPS = 2_000


class Row(NamedTuple):
    """A line of the table."""

    job: str
    program: str
    rate: str
    share: str = ""
    call: str = ""


def main() -> None:
    """Print the table."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument(
        "--only",
        choices=list(PARTS),
        nargs="+",
        default=list(PARTS),
        help="the parts to run",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor of the numbers of lanes and parameters"
    )
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n", flush=True)
    print("| job | program | rate | share of the peak | whole call |")
    print("|---|---|---|---|---|")
    for part in options.only:
        for row in PARTS[part](options.scale):
            print("| " + " | ".join(row) + " |", flush=True)


def measure_quadratic(scale: float) -> Iterator[Row]:
    """Compare programs and widths on the quadratic with two parameters."""
    lanes, steps = max(int(1_000_000 * scale), 1024), 1000
    random = np.random.default_rng(0)
    space = jm.paired(
        beta=random.uniform(0.0, 0.95, lanes).astype(np.float32),
        learning_rate=random.uniform(0.01, 0.3, lanes).astype(np.float32),
    )
    widths = [max(int(w * scale), 256) for w in (4096, 65_536, 1_000_000)]
    job = f"quadratic, {lanes:,} lanes x {steps:,}"
    fns = {"scan by hand": descend_by_hand(steps), "jm.optimize": descend(steps)}
    for name, fn in fns.items():
        for label, options in {"first": {}, "last": {"lanes_last": 1}}.items():
            for width in widths:
                rate, call = _time_sweep(fn, space, width, options)
                program = f"{name}, lanes {label}, width {width:,}"
                yield Row(job, program, f"{rate * steps:.3g} lane-steps/s", "", f"{call:.2f} s")
        yield _time_auto(job, name, fn, space, steps, "lane-steps/s")


def measure_networks(scale: float) -> Iterator[Row]:
    """Compare widths on networks of three sizes, against the rate of a matrix product."""
    peak = _matmul_rate(max(int(8192 * min(scale, 1.0)), 256))
    yield Row("matrix product, float32", "jnp.dot", f"{peak / 1e12:.3g} TFLOP/s")
    for hidden, lanes in ((32, 8192), (256, 2048), (1024, 256)):
        lanes = max(int(lanes * scale), 16)
        fn, operations = _train_network(hidden)
        space = jm.grid(
            beta=np.linspace(0.0, 0.95, 8, dtype=np.float32), seed=range(max(lanes // 8, 1))
        )
        job = f"digits, H = {hidden}, {space.size:,} lanes x {DIGITS_STEPS}"
        for width in sorted({min(w, space.size) for w in (16, 128, 1024)}):
            rate, call = _time_sweep(fn, space, width, {})
            work = rate * operations
            yield Row(
                job,
                f"width {width:,}",
                f"{rate:.4g} lanes/s, {work / 1e12:.3g} TFLOP/s",
                f"{work / peak:.2f}",
                f"{call:.2f} s",
            )
        yield _time_auto(job, "jm.optimize", fn, space, 1, "lanes/s")


def measure_q_learning(scale: float) -> Iterator[Row]:
    """Time sweeps of tabular Q-learning."""
    mdp = jm.rl.from_gymnasium("FrozenLake-v1")

    def learn(beta, seed):
        rule = jm.rl.lazy_momentum(0.02, beta)
        run = jm.rl.q_learning(mdp, rule, jax.random.key(seed), steps=LAKE_STEPS)
        return {"largest": run.max_abs_q[-1]}

    lanes = max(int(100_000 * scale), 64)
    space = jm.grid(beta=np.array([0.0, 0.5], np.float32), seed=range(lanes // 2))
    job = f"Q-learning on the lake, {space.size:,} lanes x {LAKE_STEPS:,}"
    for width in sorted({min(w, space.size) for w in (1000, 10_000, 100_000)}):
        rate, call = _time_sweep(learn, space, width, {})
        yield Row(job, f"width {width:,}", f"{rate * LAKE_STEPS:.3g} steps/s", "", f"{call:.2f} s")
    yield _time_auto(job, "jm.rl.q_learning", learn, space, LAKE_STEPS, "steps/s")


def measure_filters(scale: float) -> Iterator[Row]:
    """Compare the bytes that a step of a filter must move with the rate of a copy."""
    sizes = [max(int(size * scale), 1000) for size in (1e6, 1e7, 1e8)]
    copied = _copy_rate(sizes[-1])
    yield Row("copy of an array", "x + 1", f"{copied / 1e9:.4g} GB/s")
    betas = (0.0, 0.9, 0.99)
    filters = {
        "heavy_ball": (jm.heavy_ball(1e-3, 0.9), 1),
        "aggmo, 3 buffers": (jm.aggmo(1e-3, betas), 3),
    }
    for size in sizes:
        for name, (optimizer, buffers) in filters.items():
            # Read the gradient, the params and the buffers, and write all but the gradient.
            moved = 4 * size * (3 + 2 * buffers)
            seconds = _time_step(optimizer, size)
            yield Row(
                f"step on {size:.0e} parameters",
                name,
                f"{moved / seconds / 1e9:.4g} GB/s",
                f"{moved / seconds / copied:.2f}",
            )


def _time_sweep(
    fn: Callable[..., Any], space: Any, width: int, options: dict[str, Any]
) -> tuple[float, float]:
    """Return lanes per second without compilation, and the seconds of the first call."""
    start = time.perf_counter()
    attrs = [jm.sweep(fn, space, width=width, options=options, progress=False).attrs]
    call = time.perf_counter() - start
    attrs += [
        jm.sweep(fn, space, width=width, options=options, progress=False).attrs
        for _ in range(ROUNDS - 1)
    ]
    return space.size / min(a["seconds"] - a["compile_seconds"] for a in attrs), call


def _time_auto(
    job: str, name: str, fn: Callable[..., Any], space: Any, steps: int, unit: str
) -> Row:
    """Time a whole call that chooses its width itself, and say what it chose."""
    start = time.perf_counter()
    attrs = jm.sweep(fn, space, progress=False).attrs
    call = time.perf_counter() - start
    options = json.loads(attrs["options"])
    ours = "".join(f", {n}={v}" for n, v in options.items() if not n.startswith("xla"))
    program = f"{name}, auto: width {attrs['width']:,}{ours}"
    rate = f"{space.size * steps / call:.3g} {unit} in the whole call"
    return Row(job, program, rate, "", f"{call:.2f} s")


def _train_network(hidden: int) -> tuple[Callable[..., Any], float]:
    """Return the training of a network 64-H-H-10, and its floating-point operations."""
    problem = jm.problems.digits_mlp((hidden, hidden), batch_size=BATCH)
    weights = sum(layer["weight"].size for layer in problem.params)

    def train(beta, seed):
        run = jm.optimize(
            problem.loss,
            problem.params,
            jm.heavy_ball(0.05, beta),
            DIGITS_STEPS,
            batches=problem.batches,
            key=jax.random.key(seed),
            every=DIGITS_STEPS,
        )
        return {"value": run.history["value"][-1], "diverged_at": run.diverged_at}

    return train, 6.0 * BATCH * weights * DIGITS_STEPS


def _matmul_rate(size: int) -> float:
    """Return floating-point operations per second of a product of matrices, as JAX does it."""
    x = jnp.ones((size, size), jnp.float32)
    return 2 * size**3 / _best_seconds(jax.jit(jnp.dot), x, x)


def _copy_rate(size: int, passes: int = 20) -> float:
    """Return bytes per second, read and written, of passes over an array."""

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, passes, lambda _, x: x + 1, x)

    return 8 * size * passes / _best_seconds(run, jnp.zeros(size, jnp.float32))


def _time_step(optimizer: jm.Optimizer, size: int, steps: int = 20) -> float:
    """Return the seconds of one step in a scan, for a gradient that is an array."""
    params = jnp.ones(size, jnp.float32)

    def run(optimizer: Any, params: jax.Array, gradient: jax.Array) -> jax.Array:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0]

    return _best_seconds(jax.jit(run), optimizer, params, params) / steps


def _best_seconds(fn: Callable[..., Any], *arguments: Any) -> float:
    jax.block_until_ready(fn(*arguments))
    seconds = []
    for _ in range(3 * ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(fn(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


PARTS: dict[str, Callable[[float], Iterator[Row]]] = {
    "quadratic": measure_quadratic,
    "networks": measure_networks,
    "q_learning": measure_q_learning,
    "filters": measure_filters,
}


if __name__ == "__main__":
    main()
