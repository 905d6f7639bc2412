"""For which beta and learning rate does a network train, and where does it diverge?

A network with one hidden layer of tanh units, 16 samples of a random teacher, full-batch heavy
ball: a thousand values of beta (even in the logarithm of the memory 1 / (1 - beta)) times a
thousand learning rates, and as many again in a window around the smallest learning rate that
diverges at the middle beta. Each pixel is one run, two million in all.

Answer: the edge of divergence hardly moves with beta (learning rates of 0.8 to 1.1), unlike the
line of a quadratic, 2 (1 + beta) / L. And it is not a line: in the window, bands and single runs of
either kind lie within one another, as Sohl-Dickstein 2024 (arXiv 2402.06184) found over the
learning rates of two layers. The smallest losses are below the edge: in narrow streaks where the
learning rate falls as beta grows, and in single runs of the rough region above these streaks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

import jaxmom as jm
from experiments import command
from experiments.command import option

Params: TypeAlias = dict[str, jax.Array]


@dataclass(frozen=True)
class Config:
    """The map, the network, and the length of the runs."""

    betas: int = option(1000, "number of betas")
    learning_rates: int = option(1000, "number of learning rates")
    memory: float = option(100.0, "longest memory 1 / (1 - beta)")
    lowest: float = option(0.02, "smallest learning rate")
    highest: float = option(2.0, "largest learning rate")
    hidden: int = option(4, "number of tanh units")
    samples: int = option(16, "number of samples of the teacher")
    steps: int = option(200, "steps of each run")
    zoom: float = option(20.0, "ratio of the map to the window, along either axis")


def network(config: Config) -> tuple[Callable[[Params], jax.Array], Params]:
    """Return the loss, a function of the weights, and the weights at the start."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(config.samples, config.hidden), (config.samples,)]
    shapes += [(config.hidden, config.hidden), (config.hidden,)]
    inputs, targets, first, second = (
        jax.random.normal(key, shape, jnp.float32) for key, shape in zip(keys, shapes, strict=True)
    )
    scale = config.hidden**-0.5
    params = {"first": scale * first, "second": scale * second}

    def loss(params):
        hidden = jnp.tanh(inputs @ params["first"])
        return jnp.mean((hidden @ params["second"] - targets) ** 2)

    return loss, params


def compute(config: Config) -> xr.Dataset:
    """Run the map and the window, each as one sweep."""
    loss, params = network(config)

    def train(beta, learning_rate):
        optimizer = jm.heavy_ball(learning_rate, beta)
        run = jm.optimize(loss, params, optimizer, config.steps, every=config.steps)
        return {"loss": run.history["value"][-1], "diverged_at": run.diverged_at}

    def run_grid(memories, rates):
        betas = jm.memory(*memories).points(config.betas)
        rates = jm.log_uniform(*rates).points(config.learning_rates)
        axes = {"beta": betas.astype(np.float32), "learning_rate": rates.astype(np.float32)}
        return jm.sweep(train, jm.grid(**axes))

    runs = run_grid((1, config.memory), (config.lowest, config.highest))
    memory, rate = boundary(runs)
    shrink = [np.log(config.memory), np.log(config.highest / config.lowest)]
    half = [np.exp(width / config.zoom / 2) for width in shrink]
    window = run_grid(
        (max(1, memory / half[0]), memory * half[0]), (rate / half[1], rate * half[1])
    )
    names = {"beta": "window_beta", "learning_rate": "window_learning_rate"}
    names |= {"loss": "window_loss", "status": "window_status", "diverged_at": "window_diverged_at"}
    return xr.merge([runs, window.rename(names)], combine_attrs="override")


def boundary(data: xr.Dataset) -> tuple[float, float]:
    """Return the middle memory 1 / (1 - beta), and the rate where divergence begins there."""
    beta = float(data.beta[data.sizes["beta"] // 2])
    column = data.isel(beta=data.sizes["beta"] // 2)
    first = int((column.status != 1).argmax("learning_rate"))
    return 1 / (1 - beta), float(data.learning_rate[first])


def report(data: xr.Dataset) -> str:
    """Return the share of runs that diverged, and how often the edge is crossed."""
    lines = [f"{data.loss.size + data.window_loss.size:,} runs"]
    for name, prefix in (("the map", ""), ("the window", "window_")):
        bad = (data[f"{prefix}status"] != 1).transpose(f"{prefix}beta", f"{prefix}learning_rate")
        changes = np.abs(np.diff(bad.values.astype(int), axis=1)).sum(axis=1)
        lines.append(
            f"{name:10s}: {float(bad.mean()):.1%} diverged; along the learning rate the edge is "
            f"crossed {changes.mean():.2f} times (once, if it were smooth), at most {changes.max()}"
        )
    cell = jm.best(data, "loss")
    lines.append(
        f"smallest loss of the map {float(cell.loss):.3g} at beta = {float(cell.beta):.4f}, "
        f"learning rate {float(cell.learning_rate):.3g}"
    )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the map with the place of the window, and the window beside it, in the same colors."""
    figure, axes = jm.plot.figure(12.0, 4.8, columns=2)
    titles = ("The map; the box is the window", "The window")
    for ax, prefix, title in zip(axes, ("", "window_"), titles, strict=True):
        data[f"{prefix}beta"].attrs["long_name"] = "beta"
        data[f"{prefix}learning_rate"].attrs["long_name"] = "learning rate"
        jm.plot.heatmap(
            data[f"{prefix}loss"].where(data[f"{prefix}status"] == 1, np.inf),
            x=f"{prefix}beta",
            y=f"{prefix}learning_rate",
            x_scale="memory",
            y_scale="log",
            limits=(1e-3, 10.0),
            star=False,
            ax=ax,
            title=title,
        )
    (left, right), (low, high) = axes[1].get_xlim(), axes[1].get_ylim()
    box = {"edgecolor": "white", "facecolor": "none", "linewidth": 1.5, "zorder": 6}
    outline = [withStroke(linewidth=3.0, foreground="black")]
    window = Rectangle((left, low), right - left, high - low, path_effects=outline, **box)
    axes[0].add_patch(window)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
