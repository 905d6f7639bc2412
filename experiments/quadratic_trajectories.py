"""How does momentum move on a quadratic, and what does a wrong gradient hide?

A well-known tutorial runs v <- beta v - alpha g; theta <- theta + v on f(x, y) = (4 x^2 + y^2) / 2
from (2, 2), with alpha = 0.1, 30 steps, and beta = 0 against 0.9. It writes the gradient by hand as
(4 x, 2 y); that of its f is (4 x, y).

Answer: in both versions momentum overshoots, oscillates, and ends higher than plain descent. With
the printed gradient, which makes the slow direction twice as steep, descent looks a thousand times
better than it is (3.1e-6 instead of 3.6e-3). Autodiff cannot make this mistake.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The tutorial's numbers."""

    learning_rate: float = option(0.1, "alpha")
    beta: float = option(0.9, "beta of the run with momentum")
    steps: int = option(30, "steps of each run")


def height(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return f(x, y), which the tutorial draws and minimizes."""
    return (4 * x**2 + y**2) / 2


def printed_height(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the function whose gradient the tutorial wrote down."""
    return (4 * x**2 + 2 * y**2) / 2


def compute(config: Config) -> xr.Dataset:
    """Run both methods, with the gradient of f by autodiff and with the printed one."""
    start = jm.problems.tutorial_quadratic().params
    betas = jnp.array([0.0, config.beta])

    def path(descended, beta):
        def loss(point):
            return descended(*point)

        optimizer = jm.heavy_ball(config.learning_rate, beta)
        return jm.optimize(loss, start, optimizer, config.steps, record="params").history["params"]

    paths = jnp.stack(
        [jax.vmap(lambda beta, f=f: path(f, beta))(betas) for f in (height, printed_height)]
    )
    dims = ("gradient", "optimizer", "step", "coordinate")
    methods = ["gradient descent", f"momentum, beta = {config.beta:g}"]
    coordinates = {
        "gradient": ["true", "printed"], "optimizer": methods,
        "step": np.arange(config.steps + 1), "coordinate": ["x", "y"],
    }  # fmt: skip
    data = xr.Dataset({"path": (dims, np.asarray(paths))}, coordinates)
    data["f"] = height(data.path.sel(coordinate="x"), data.path.sel(coordinate="y"))
    return data


def report(data: xr.Dataset) -> str:
    """Return a table of the last point of each run."""
    lines = [f"after {data.sizes['step'] - 1} steps{'':28s} x               y               f"]
    for gradient in data.gradient.values:
        for method in data.optimizer.values:
            end = data.sel(gradient=gradient, optimizer=method).isel(step=-1)
            x, y = end.path.values
            name = f"{method:22s} {gradient + ' gradient':17s}"
            lines.append(f"{name} {x:15.8e} {y:15.8e} {float(end.f):15.7e}")
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the paths with either gradient, over the function of which it is the gradient."""
    figure, panels = jm.plot.figure(10.5, 5.2, columns=2)
    shown = {
        "The gradient of f, by autodiff: (4x, y)": height,
        "The printed gradient, (4x, 2y),\nand the function to which it belongs": printed_height,
    }
    for ax, gradient, title in zip(panels, data.gradient.values, shown, strict=True):
        paths = data.path.sel(gradient=gradient).drop_vars("gradient")
        jm.plot.trajectories(
            paths,
            loss=shown[title],
            extent=(-2.5, 2.5, -2.5, 2.5),
            ax=ax,
            title=title,
            legend="above",
        )
        ax.set_aspect("equal")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
