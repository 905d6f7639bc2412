"""Are the methods different at all, once their learning rates mean the same?

A dozen momentum methods times 200 learning rates, in ONE compiled program: methods are rows of
coefficients, padded with zeros, and the method is an axis like any other. All are normalized to a
steady gain of one, so that a steady gradient moves every one of them by the learning rate, and all
start at the same point of a quadratic with condition number 1000.

Answer: yes, at large learning rates. At small ones a method whose memory is much shorter than the
run is known by its effective learning rate alone, and the curves lie on one another. At large ones
they become unstable at different limits: descent at 2 / L, heavy ball at 2 (1 + beta) /
((1 - beta) L); between the two, momentum helps. In 300 steps heavy ball with beta = 0.9 reaches
1e-11 there, ten orders below descent; AggMo and Nesterov's method with the same beta reach 1e-4;
and heavy ball with beta = 0.99, whose memory is a third of the run, ends above descent.
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
    """The grid, the quadratic, and the length of the runs."""

    learning_rates: int = option(200, "number of learning rates")
    lowest: float = option(1e-2, "smallest learning rate, in units of 1 / L")
    highest: float = option(1e3, "largest learning rate, in units of 1 / L")
    condition: float = option(1000.0, "L / mu of the quadratic, with mu = 1")
    dimension: int = option(10, "dimension of the quadratic; its spectrum is even in the logarithm")
    steps: int = option(300, "steps of each run")


def methods() -> dict[str, jm.Coefficients]:
    """Return a dozen filters with a gain of one for a steady gradient."""
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
    """Run every method at every learning rate."""
    spectrum = jm.problems.log_spectrum(1.0, config.condition, config.dimension)
    problem = jm.problems.quadratic(spectrum)

    def train(momentum, learning_rate):
        optimizer = jm.chain(
            jm.scale_by_momentum(momentum), jm.gradient_descent(learning_rate / config.condition)
        )
        run = jm.optimize(problem.loss, problem.params, optimizer, config.steps, every=config.steps)
        return {"loss": run.history["value"][-1], "diverged_at": run.diverged_at}

    rates = jm.log_uniform(config.lowest, config.highest).points(config.learning_rates)
    data = jm.sweep(train, jm.grid(momentum=jm.stack(methods()), learning_rate=rates))
    data.learning_rate.attrs["long_name"] = "learning rate x L"
    data.loss.attrs["long_name"] = f"f after {config.steps} steps"
    return data


def best(data: xr.Dataset) -> xr.Dataset:
    """Return each method at its best learning rate."""
    loss = data.loss.where(data.status == 1, np.inf)
    return data.isel(learning_rate=loss.argmin("learning_rate"))


def report(data: xr.Dataset) -> str:
    """Return a table of the best loss of each method, and its largest stable learning rate."""
    lines = [f"{data.loss.size:,} runs, {data.sizes['momentum']} methods, one program"]
    lines += [f"{'':22s} {'best rate x L':>14s} {'final loss':>11s} {'stable up to':>13s}"]
    top = best(data)
    for method in top.momentum.values:
        cell, runs = (part.sel(momentum=method) for part in (top, data))
        edge = runs.learning_rate.where(runs.status == 1).max()
        lines += [
            f"{method:22s} {float(cell.learning_rate):14.3g} {float(cell.loss):11.2e} "
            f"{float(edge):13.3g}"
        ]
    small = data.loss.isel(learning_rate=0)
    spread = float(small.max() / small.min() - 1)
    return "\n".join(
        [*lines, f"At the smallest learning rate they differ by {spread:.1%} at most."]
    )


def draw(data: xr.Dataset) -> Figure:
    """Draw the final loss over the learning rate, and name each method where it diverges.

    A dotted line leads from the last value of a method to its row at the top, where its name is.
    """
    figure, ax = jm.plot.figure(10.0, 6.0)
    jm.plot.sensitivity(data.loss, x="learning_rate", ax=ax, legend="")
    rows = [line for line in ax.lines if line.get_label() == "_diverged"]
    curves = {str(line.get_label()): line for line in ax.lines}
    lost = data.momentum.values[(data.status != 1).any("learning_rate").values]
    for method, row in zip(lost, rows, strict=True):
        (x, y), (steps, values) = (
            np.array(line.get_data(), float) for line in (row, curves[str(method)])
        )
        first, last = np.isfinite(y).argmax(), np.flatnonzero(np.isfinite(values))[-1]
        end = ax.transAxes.inverted().transform(ax.transData.transform((steps[last], values[last])))
        color, across = row.get_color(), ax.get_xaxis_transform()
        leader = [steps[last], x[first]], [end[1], y[first]]
        ax.plot(*leader, ":", color=color, linewidth=0.8, transform=across)
        ax.annotate(
            method, (x[first], y[first]), xycoords=across, xytext=(-7, 0), va="center",
            textcoords="offset points", ha="right", color=color, fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip
    handles, names = ax.get_legend_handles_labels()
    notes = [i for i, name in enumerate(names) if name not in data.momentum.values]
    ax.legend([handles[i] for i in notes], [names[i] for i in notes], loc="lower left")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
