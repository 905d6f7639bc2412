"""What a step of a pytree optimizer costs, beside optax and a step written by hand.

Question: do coefficients, leaves and general filters cost anything once XLA has compiled them?

Each program is a jitted scan of the same number of steps on a diagonal quadratic, gradient written
by hand, so that nothing but the update differs. All of them are timed in turn, round after round,
and the best round of each counts. The bound for k buffers is the time of the handwritten one-buffer
step times the bytes that must move, k + 2 arrays read (params, buffers, curvature) and k + 1
written, against its 3 and 2.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from tqdm import tqdm

import jaxmom as jm

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
    ("aggmo (k = 3)", "handwritten heavy ball", 9 / 5),
    ("sgd", "optax.sgd(momentum)", 1.0),
    ("lifted adam", "optax.adam", 1.0),
]


def scanned(make: Callable[[Any], Any], steps: int) -> Callable[..., Any]:
    """``run(beta, params, curvature) -> params`` for a transformation."""

    def run(beta, params, curvature):
        optimizer = make(beta)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(curvature * params, state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0]

    return run


def heavy_ball_by_hand(steps: int) -> Callable[..., Any]:
    """The same without any library: ``v <- beta v - alpha g; x <- x + v``."""

    def run(beta, params, curvature):
        def step(carry, _):
            x, v = carry
            v = beta * v - 1e-3 * (curvature * x)
            return (x + v, v), None

        return jax.lax.scan(step, (params, jnp.zeros_like(params)), length=steps)[0][0]

    return run


def qhm_by_hand(steps: int) -> Callable[..., Any]:
    """``m <- beta m + (1 - beta) g; x <- x - alpha (0.3 g + 0.7 m)``."""

    def run(beta, params, curvature):
        def step(carry, _):
            x, m = carry
            g = curvature * x
            m = beta * m + (1 - beta) * g
            return (x - 1e-3 * (0.3 * g + 0.7 * m), m), None

        return jax.lax.scan(step, (params, jnp.zeros_like(params)), length=steps)[0][0]

    return run


def programs(size: int, lanes: int, steps: int) -> dict[str, Callable[[], Any]]:
    """Compiled programs by name, ready to be called, on `size` parameters in `lanes` lanes."""
    curvature = jnp.linspace(1.0, 4.0, size)
    params = jnp.full((size,), 2.0)
    made = {name: scanned(make, steps) for name, make in (OURS | OPTAX).items()}
    made["handwritten heavy ball"] = heavy_ball_by_hand(steps)
    made["handwritten QHM"] = qhm_by_hand(steps)
    beta = jnp.float32(0.9) if lanes == 1 else jnp.linspace(0.0, 0.99, lanes)
    calls = {}
    for name, run in made.items():
        run = run if lanes == 1 else jax.vmap(run, in_axes=(0, None, None))
        calls[name] = _bound(jax.jit(run).lower(beta, params, curvature).compile(), beta, params, curvature)
    return calls


def _bound(compiled: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: compiled(*arguments).block_until_ready()


def best_times(calls: dict[str, Callable[[], Any]], rounds: int, label: str) -> dict[str, float]:
    """The least seconds of a call over some rounds, in each of which all programs take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in tqdm(range(rounds), desc=label, leave=False):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="rounds to take the best of")
    rounds = parser.parse_args().rounds
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, optax {optax.__version__}")
    print("microseconds per step, best of", rounds, "rounds")
    cases = [(2, 1, 100_000), (10_000, 1, 3_000), (1_000_000, 1, 50), (2, 10_000, 1_000)]
    for size, lanes, steps in cases:
        title = f"{size:,} parameters" + (f", {lanes:,} betas" if lanes > 1 else "")
        best = best_times(programs(size, lanes, steps), rounds, title)
        print(f"\n{title}")
        for name, seconds in best.items():
            print(f"  {name:24s} {seconds / steps * 1e6:10.3f}")
        for ours, peer, bytes_ratio in COMPARISONS:
            ratio = best[ours] / (best[peer] * bytes_ratio)
            bound = "" if bytes_ratio == 1 else f" x {bytes_ratio:.2f} (bytes)"
            print(f"  {ours} / {peer}{bound}: {ratio:.3f}")


if __name__ == "__main__":
    main()
