"""Are the methods different at all, once their learning rates mean the same?

A dozen momentum methods times 200 learning rates, in ONE compiled program: methods are rows of
coefficients, padded with zeros, and the method is an axis like any other. All are normalized to a
steady gain of one, so that a steady gradient moves every one of them by the learning rate, and all
start at the same point of a quadratic with condition number 1000.

Answer: yes, where the steps are large. Far to the left a method with a memory much shorter than the
run is its effective learning rate and nothing else, and the curves lie on one another. To the right
they end at different places: descent at 2 / L, heavy ball at 2 (1 + beta) / ((1 - beta) L), and
what lies between the two is what momentum is for. In 300 steps a heavy ball of beta = 0.9 gets to
1e-11 there, ten orders below descent; AggMo and Nesterov's method with the same beta get to 1e-4;
and beta = 0.99, whose memory is a third of the run, gains nothing.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """What is swept."""

    learning_rates: int = option(200, "values of the learning rate")
    lowest: float = option(1e-2, "the least one, in units of 1 / L")
    highest: float = option(1e3, "the largest one")
    condition: float = option(1000.0, "L / mu of the quadratic, with mu = 1")
    dimension: int = option(10, "of the quadratic; its spectrum is even in the logarithm")
    steps: int = option(300, "steps of each run")


def methods() -> dict[str, jm.Coefficients]:
    """A dozen filters with a steady gain of one."""
    named = {"descent": jm.coefficients.gradient_descent()}
    for beta in (0.5, 0.9, 0.99):
        named[f"heavy ball {beta}"] = jm.coefficients.ema_momentum(beta)
        named[f"Nesterov {beta}"] = jm.coefficients.qhm(beta, nu=beta)
    for nu in (0.3, 0.7, 0.95):
        named[f"QHM 0.99, nu {nu}"] = jm.coefficients.qhm(0.99, nu)
    for betas in ((0.0, 0.9), (0.0, 0.9, 0.99)):
        aggmo = jm.coefficients.aggmo(betas)
        gain = sum(1 / (1 - beta) for beta in betas) / len(betas)
        label = f"AggMo {', '.join(map(str, betas))}"
        named[label] = jm.reading_new(aggmo.decay, aggmo.gain, aggmo.read_new / gain)
    return named


def compute(config: Config) -> xr.Dataset:
    """Run every lane."""
    spectrum = jm.problems.log_spectrum(1.0, config.condition, config.dimension)
    problem = jm.problems.quadratic(spectrum)

    def train(method, learning_rate):
        optimizer = jm.chain(
            jm.scale_by_momentum(method), jm.gradient_descent(learning_rate / config.condition)
        )
        run = jm.optimize(problem.loss, problem.params, optimizer, config.steps, every=config.steps)
        return {"loss": run.history["value"][-1], "diverged_at": run.diverged_at}

    rates = jm.log_uniform(config.lowest, config.highest).points(config.learning_rates)
    data = jm.sweep(train, jm.grid(method=jm.stack(methods()), learning_rate=rates))
    data.learning_rate.attrs["long_name"] = "learning rate x L"
    data.loss.attrs["long_name"] = f"f after {config.steps} steps"
    return data


def best(data: xr.Dataset) -> xr.Dataset:
    """Each method at its best learning rate."""
    loss = data.loss.where(data.status == 1, np.inf)
    return data.isel(learning_rate=loss.argmin("learning_rate"))


def report(data: xr.Dataset) -> str:
    """What each method can do, and where it ends."""
    lines = [f"{data.loss.size:,} runs, {data.sizes['method']} methods, one program"]
    lines += [f"{'':22s} {'best rate x L':>14s} {'final loss':>11s} {'stable up to':>13s}"]
    top = best(data)
    for method in top.method.values:
        cell, own = (part.sel({"method": method}) for part in (top, data))
        edge = own.learning_rate.where(own.status == 1).max()
        lines += [
            f"{method:22s} {float(cell.learning_rate):14.3g} {float(cell.loss):11.2e} "
            f"{float(edge):13.3g}"
        ]
    small = data.loss.isel(learning_rate=0)
    spread = float(small.max() / small.min() - 1)
    return "\n".join([*lines, f"At the least learning rate they differ by {spread:.1%} at most."])


def draw(data: xr.Dataset) -> Figure:
    """Final loss over the learning rate, a line for each method."""
    figure, ax = jm.plot.figure(9.0, 4.8)
    loss = data.loss.where(data.status == 1, np.inf).drop_vars(["status", "diverged_at"])
    jm.plot.sensitivity(loss, x="learning_rate", ax=ax)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
