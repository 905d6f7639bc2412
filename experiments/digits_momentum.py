"""On a small network, does the momentum method matter once learning rates mean the same?

A multilayer perceptron on scikit-learn's digits, mini-batches of 64, three seeds. Heavy ball,
Nesterov, QHM (nu = 0.7) and AggMo (0, 1 - sqrt(1 - beta), beta) are run over beta and over the
EFFECTIVE learning rate, which is the learning rate times the filter's gain for a steady gradient:
alpha / (1 - beta) for heavy ball and Nesterov. Methods are an axis of one compiled program.

Answer: at small effective learning rates all four reach the same loss, at every beta: only the gain
for a steady gradient counts there. They differ in the largest stable step. Momentum moves this
limit from about 1.6 to 3 and more, and the loss after 300 steps from 0.04 to below 0.01; AggMo
allows the largest steps and ends lowest (0.003), then QHM, Nesterov and heavy ball (0.004, 0.006,
0.008). On held-out digits there is no difference: 0.91 to 0.92 for all of them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.tree_util import Partial
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The grid; betas are evenly spaced in the logarithm of the memory 1 / (1 - beta)."""

    betas: int = option(8, "number of betas, with memories from 1 to `longest`")
    longest: float = option(300.0, "the longest memory, 1 / (1 - beta)")
    learning_rates: int = option(10, "number of effective learning rates, from 0.05 to 25")
    seeds: int = option(3, "number of seeds, of the weights and of the batches")
    steps: int = option(300, "steps of each run")


def methods(beta: jax.Array) -> jm.Stack:
    """Return the four filters at one beta, each divided by its gain for a steady gradient."""
    make = jm.coefficients
    filters = {
        "heavy ball": make.heavy_ball(beta),
        "Nesterov": make.nesterov(beta),
        "QHM": make.qhm(beta, 0.7),
        "AggMo": make.aggmo(jnp.stack([0 * beta, 1 - jnp.sqrt(1 - beta), beta])),
    }
    return jm.stack({name: normalize(c) for name, c in filters.items()})


def normalize(c: jm.Coefficients) -> jm.Coefficients:
    """Return the same filter with gain 1 for a steady gradient."""
    old = c.reading_old()
    gain = old.direct + jnp.sum(old.read * old.gain / (1 - old.decay))
    return jm.Coefficients(old.decay, old.gain, old.read / gain, old.direct / gain)


METHODS = ("heavy ball", "Nesterov", "QHM", "AggMo")


def compute(config: Config) -> xr.Dataset:
    """Run seeds, betas, methods and learning rates in one program, which is given the data once."""

    def train(problem, seed, beta, momentum, learning_rate):
        key, weights = jax.random.split(jax.random.key(seed))
        start = jm.problems.digits_mlp(key=weights).params
        coefficients = jax.tree.map(lambda row: row[momentum], methods(beta).values)
        optimizer = jm.chain(jm.scale_by_momentum(coefficients), optax.scale(-learning_rate))
        run = jm.optimize(
            problem.loss, start, optimizer, config.steps,
            batches=problem.batches, key=key, every=config.steps,
        )  # fmt: skip
        return {
            "loss": problem.full_loss(run.params),
            "accuracy": problem.accuracy(run.params),
            "diverged_at": run.diverged_at,
        }

    space = jm.grid(
        seed=range(config.seeds),
        beta=1 - 1 / np.geomspace(1.0, config.longest, config.betas),
        momentum=jm.Stack(METHODS, np.arange(len(METHODS))),
        learning_rate=np.geomspace(0.05, 25.0, config.learning_rates),
    )
    data = jm.sweep(Partial(train, jm.problems.digits_mlp()), space)
    data["learning_rate"].attrs["long_name"] = "effective learning rate"
    data["loss"].attrs["long_name"] = "training loss"
    return data.assign_attrs(steps=config.steps)


def medians(data: xr.Dataset) -> xr.DataArray:
    """Return the median loss over seeds, where a diverged seed counts as infinite."""
    return data.loss.where(data.diverged_at < 0, np.inf).median("seed", keep_attrs=True)


def report(data: xr.Dataset) -> str:
    """Return a table of the best cell of each method, with its held-out accuracy."""
    losses = medians(data)
    accuracy = data.accuracy.median("seed")
    lines = [f"{data.steps} steps, medians of {data.sizes['seed']} seeds, effective learning rates"]
    lines += [
        f"{'':12s} {'beta':>6s} {'learning rate':>14s} {'loss':>9s} {'held-out accuracy':>18s}"
    ]
    for method in data.momentum.values:
        one = losses.sel(momentum=method)
        for name, cells in ((method, one), (f"  at beta {0:g}", one.isel(beta=[0]))):
            cell = cells.isel(cells.argmin(...))
            hit = float(accuracy.sel(cell.coords.to_dataset().coords))
            lines.append(
                f"{name:12s} {float(cell.beta):6.3f} {float(cell.learning_rate):14.3f} "
                f"{float(cell):9.2e} {hit:18.3f}"
            )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw a map of the loss for each method, on one scale of colors with one color bar."""
    losses = medians(data)
    finite = losses.values[np.isfinite(losses.values)]
    limits = (float(finite.min()), float(np.log(10)))
    figure, panels = jm.plot.figure(14.0, 4.2, columns=data.sizes["momentum"])
    for ax, method in zip(panels, data.momentum.values, strict=True):
        runs = data.loss.sel(momentum=method, drop=True)
        jm.plot.heatmap(
            runs, x="beta", y="learning_rate", x_scale="memory", limits=limits, ax=ax,
            title=str(method),
        )  # fmt: skip
        ax.label_outer()
    for ax in panels[:-1]:
        for mesh in ax.collections:
            if mesh.colorbar is not None:
                mesh.colorbar.remove()
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
