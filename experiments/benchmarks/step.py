"""The time of a step of a pytree optimizer, beside optax and a step written by hand.

Question: do coefficients, leaves and general filters cost anything once XLA has compiled them?

Each program is a jitted scan of the same number of steps on a diagonal quadratic, whose gradient is
written by hand, so that only the updates differ. All programs are timed in turn, round after round,
and the best round of each counts.

The bound for three buffers is in bytes. XLA on a CPU writes every array in a loop of its own: the
one-buffer step reads (curvature, params, v), writes v, reads (params, v) and writes params, 7
arrays; three buffers and params are 3 x (3 + 1) + (4 + 1) = 17. So the bound is 17/7 of the time of
the handwritten one-buffer step. A single loop that wrote all four arrays would need 9 arrays, and 5
for one buffer: that bound, 9/5, is printed too, but XLA on a CPU makes no such loop.

Answer (2 cores of an AMD EPYC, jax 0.10.2): one buffer costs what the handwritten step costs, three
stay within the first bound, lifted Adam costs what optax.adam costs.
"""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from tqdm import tqdm

import jaxmom as jm
from experiments import command

RunFn: TypeAlias = Callable[..., jax.Array]  # (beta, params, curvature) -> params
TimedFn: TypeAlias = Callable[[], object]  # runs a compiled program to its end

OURS = {
    "heavy_ball": lambda beta: jm.heavy_ball(1e-3, beta),
    "sgd": lambda beta: jm.sgd(1e-3, momentum=beta),
    "qhm": lambda beta: jm.qhm(1e-3, beta, 0.7),
    "aggmo (k = 3)": lambda beta: jm.aggmo(1e-3, jnp.stack([0 * beta, beta, beta**0.5])),
    "lifted adam": lambda beta: jm.lift(optax.adam)(1e-3, b1=beta),
}
OPTAX = {
    "optax.sgd(momentum)": lambda beta: optax.sgd(1e-3, momentum=beta),
    "optax.adam": lambda beta: optax.adam(1e-3, b1=beta),
}
COMPARISONS = [
    ("heavy_ball", "handwritten heavy ball", 1.0),
    ("qhm", "handwritten QHM", 1.0),
    ("aggmo (k = 3)", "handwritten AggMo", 1.0),
    ("aggmo (k = 3)", "handwritten heavy ball", 17 / 7),
    ("aggmo (k = 3)", "handwritten heavy ball", 9 / 5),
    ("sgd", "optax.sgd(momentum)", 1.0),
    ("lifted adam", "optax.adam", 1.0),
]


def scan_steps(make: Callable[[Any], optax.GradientTransformation], steps: int) -> RunFn:
    """Return a run of the transformation that `make` makes of beta."""

    def run(beta, params, curvature):
        optimizer = make(beta)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(curvature * params, state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0]

    return run


def heavy_ball_by_hand(steps: int) -> RunFn:
    """Return a run without any library: ``v <- beta v - alpha g; x <- x + v``."""

    def run(beta, params, curvature):
        def step(carry, _):
            x, v = carry
            v = beta * v - 1e-3 * (curvature * x)
            return (x + v, v), None

        return jax.lax.scan(step, (params, jnp.zeros_like(params)), length=steps)[0][0]

    return run


def qhm_by_hand(steps: int) -> RunFn:
    """Return a run of ``m <- beta m + (1 - beta) g; x <- x - alpha (0.3 g + 0.7 m)``."""

    def run(beta, params, curvature):
        def step(carry, _):
            x, m = carry
            g = curvature * x
            m = beta * m + (1 - beta) * g
            return (x - 1e-3 * (0.3 * g + 0.7 * m), m), None

        return jax.lax.scan(step, (params, jnp.zeros_like(params)), length=steps)[0][0]

    return run


def aggmo_by_hand(steps: int) -> RunFn:
    """Return a run of ``v_i <- beta_i v_i - g; x <- x + (alpha / 3) sum_i v_i``."""

    def run(beta, params, curvature):
        betas = (0 * beta, beta, beta**0.5)

        def step(carry, _):
            x, vs = carry
            g = curvature * x
            vs = tuple(b * v - g for b, v in zip(betas, vs, strict=True))
            return (x + 1e-3 / 3 * (vs[0] + vs[1] + vs[2]), vs), None

        start = (params, (jnp.zeros_like(params),) * 3)
        return jax.lax.scan(step, start, length=steps)[0][0]

    return run


def compile_programs(size: int, lanes: int, steps: int) -> dict[str, TimedFn]:
    """Compile all programs, by name, on `size` parameters in `lanes` lanes."""
    curvature = jnp.linspace(1.0, 4.0, size)
    params = jnp.full((size,), 2.0)
    made = {name: scan_steps(make, steps) for name, make in (OURS | OPTAX).items()}
    made["handwritten heavy ball"] = heavy_ball_by_hand(steps)
    made["handwritten QHM"] = qhm_by_hand(steps)
    made["handwritten AggMo"] = aggmo_by_hand(steps)
    beta = jnp.float32(0.9) if lanes == 1 else jnp.linspace(0.0, 0.99, lanes)
    calls = {}
    for name, run in made.items():
        run = run if lanes == 1 else jax.vmap(run, in_axes=(0, None, None))
        arguments = (beta, params, curvature)
        calls[name] = _bind(jax.jit(run).lower(*arguments).compile(), *arguments)
    return calls


def _bind(compiled: Callable[..., jax.Array], *arguments: Any) -> TimedFn:
    """Return a call of a compiled program that waits for its result."""
    return lambda: compiled(*arguments).block_until_ready()


def measure_best(calls: dict[str, TimedFn], rounds: int, label: str) -> dict[str, float]:
    """Return the best seconds of each program over rounds in which all take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in tqdm(range(rounds), desc=label, leave=False):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Print the times of all programs, and their ratios."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument(
        "--rounds", type=int, default=40, help="number of rounds, of which the best counts"
    )
    rounds = parser.parse_args().rounds
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, optax {optax.__version__}")
    print("microseconds per step, best of", rounds, "rounds")
    cases = [(2, 1, 100_000), (10_000, 1, 3_000), (1_000_000, 1, 50), (2, 10_000, 1_000)]
    for size, lanes, steps in cases:
        title = f"{size:,} parameters" + (f", {lanes:,} betas" if lanes > 1 else "")
        best = measure_best(compile_programs(size, lanes, steps), rounds, title)
        print(f"\n{title}")
        for name, seconds in best.items():
            print(f"  {name:24s} {seconds / steps * 1e6:10.3f}")
        for ours, peer, bytes_ratio in COMPARISONS:
            ratio = best[ours] / (best[peer] * bytes_ratio)
            bound = "" if bytes_ratio == 1 else f" x {bytes_ratio:.2f} (bytes)"
            print(f"  {ours} / {peer}{bound}: {ratio:.3f}")


if __name__ == "__main__":
    main()
