"""How long a store of a million lanes takes to open in the explorer, and how long a brush takes.

A sweep of 100 betas, 100 learning rates, 10 dampings and 10 seeds is stored. A fresh process then
imports jaxmom, opens the store and makes all figures: that is the first number, as wall time and as
time of the processor, which says more on a machine that is busy. The others are what a brush takes
from the event to the new data of all figures, with medians over the seeds (100,000 cells) and
without (a million): the smallest and the largest of ten. What a browser then takes to draw is not
in them.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from experiments import command


def train(beta, learning_rate, damping, seed):
    """Return a loss that is known in closed form; lanes with large steps diverge."""
    rate = jnp.abs(1 - learning_rate * (1 - 0.5 * damping) / (1 - 0.9 * beta)) + 1e-3 * seed
    return {"value": rate**20, "diverged_at": jnp.where(rate < 1, -1, 20)}


def make_store(folder: pathlib.Path, side: int) -> None:
    """Sweep side x side x 10 x 10 lanes into a store."""
    space = jm.grid(
        beta=jm.memory(1, 1000).points(side),
        learning_rate=jm.log_uniform(1e-3, 10).points(side),
        damping=np.linspace(0, 0.9, 10),
        seed=range(10),
    )
    width = min(20_000, len(space))
    jm.sweep(train, space, width=width, store=folder, progress=False)


def open_and_brush(folder: pathlib.Path, started: float) -> None:
    """Open a store, brush it, and print the seconds."""
    session = jm.explore(folder).open_session()
    opened = time.time() - started
    lanes = sum(session.cells.lanes.values())
    print(f"{lanes:,} lanes: open in {opened:.2f} s, {time.process_time():.2f} s of the processor")
    for over in (["seed"], []):
        start = time.perf_counter()
        session.over.value = over
        changed = time.perf_counter() - start
        seconds = [_time_brush(session, number) for number in range(10)]
        print(
            f"{session.cells.size:,} cells: a brush in {min(seconds):.3f} to {max(seconds):.3f} s"
            + (f"; to take no median {changed:.2f} s" if not over else "")
        )


def _time_brush(session, number: int) -> float:
    """Brush the map, an axis, or the best cells, and return the seconds."""
    start = time.perf_counter()
    if number % 3 == 0:
        session.select(bins={"beta": (5 + number, 60), "learning_rate": (10, 70 - number)})
    elif number % 3 == 1:
        session.select(values=(0.0, 0.1 * (number + 1)))
    else:
        session.select(best=0.01 * number)
    return time.perf_counter() - start


def main() -> None:
    """Make a store, then open it in a fresh process."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument("--side", type=int, default=100, help="betas, and learning rates")
    parser.add_argument("--store", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        open_and_brush(pathlib.Path(options.store), options.started)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_store(pathlib.Path(folder) / "store", options.side)
        arguments = [sys.executable, "-m", "experiments.benchmarks.explorer"]
        arguments += ["--store", f"{folder}/store", "--started", str(time.time())]
        subprocess.run(arguments, check=True)


if __name__ == "__main__":
    main()
