"""On which function is a method as slow as its bound says?

For five methods, the worst smooth convex function of N steps (L = 1; mu = 0.1 for triple momentum,
0 for the others) is found with its proof, and the method is run on it. A worst function of one
dimension is drawn as a curve. Of one with more, the plane is drawn that holds most of the run.

Answer: gradient descent and Nesterov's method are slowest in one dimension, on a corner that is as
sharp as smoothness allows: when the steps are used up, they are still on the slope beside it. Heavy
ball with beta = 0.5 needs two dimensions: it passes the minimum and swings back. Of OGM and triple
momentum the run turns in a new direction at nearly every step. Each run attains its bound to 1e-5,
and each bound is proved in exact arithmetic.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The number of steps, and what is drawn."""

    steps: int = option(6, "N, the steps of each run")
    cells: int = option(81, "points along each axis of the drawings")


# Method -> the optimizer for N steps, and mu.
METHODS = {
    "gradient descent": (lambda steps: jm.gradient_descent(1.0), 0.0),
    "heavy ball, 0.5": (lambda steps: jm.heavy_ball(1.0, beta=0.5), 0.0),
    "Nesterov": (lambda steps: jm.nesterov_convex(1.0), 0.0),
    "OGM": (lambda steps: jm.optimized_gradient(1.0, steps=steps), 0.0),
    "triple momentum": (lambda steps: jm.triple_momentum(0.1, 1.0), 0.1),
}


def compute_method(name: str, config: Config) -> xr.Dataset:
    """Find the worst function of a method, run the method on it, and evaluate it on a plane."""
    make, mu = METHODS[name]
    optimizer = make(config.steps)
    case = jm.theory.worst_case(optimizer, config.steps, mu=mu)
    problem, minimizer = case.function, case.points[-1]
    run = jm.optimize(problem.loss, problem.params, optimizer, config.steps, record="params")
    end = jm.eval_params(optimizer, run.params, run.state)
    points = np.vstack([run.history["params"][:-1], end]) - minimizer
    directions = np.linalg.svd(points, full_matrices=False)[2][:2]
    path = points @ directions.T
    shown = np.zeros((config.steps + 1, 2))
    shown[:, : path.shape[1]] = path
    side = np.linspace(-1.3, 1.3, config.cells) * np.abs(shown).max()
    plane = np.zeros((2, len(minimizer)))
    plane[: len(directions)] = directions
    value = jax.jit(jax.vmap(jax.vmap(lambda a: problem.loss(minimizer + a @ jnp.asarray(plane)))))
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1)
    at_points = jax.vmap(problem.loss)(jnp.asarray(points + minimizer))
    return xr.Dataset(
        {
            "bound": case.bound,
            "attained": float(at_points[-1]),
            "proved": int(case.verify(exact=True)),
            "dimension": len(minimizer),
            "share": float(np.sum(shown**2) / np.sum(points**2)),
            "path": (("step", "axis"), shown),
            "f": ("step", np.asarray(at_points)),
            "side": ("cell", side),
            "surface": (("row", "cell"), np.asarray(value(grid))),
        },
        {"step": np.arange(config.steps + 1), "method": name},
    )


def compute(config: Config) -> xr.Dataset:
    """Compute all methods."""
    return xr.concat([compute_method(name, config) for name in METHODS], "method")


def report(data: xr.Dataset) -> str:
    """Return a table of bounds, and of what runs on the worst functions attain."""
    lines = [f"{'':18s} {'bound':>10s} {'attained':>10s} {'short by':>9s}  dimension  proved"]
    for name in data.method.values:
        row = data.sel({"method": name})
        bound, attained = float(row.bound), float(row.attained)
        lines.append(
            f"{name:18s} {bound:10.6f} {attained:10.6f} {1 - attained / bound:9.1e}  "
            f"{int(row.dimension):9d}  {'exactly' if row.proved else 'no'}"
        )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw each function with the run on it, and its values along the run below."""
    count = data.sizes["method"]
    figure, panels = jm.plot.figure(3.0 * count, 5.6, rows=2, columns=count)
    for i, name in enumerate(data.method.values):
        row, look = data.sel({"method": name}), jm.plot.line_style(i)
        draw_function(panels[0, i], row, look.color)
        dimension = int(row.dimension)
        title = f"{name}: {dimension} dimension{'s' * (dimension > 1)}"
        if dimension > 2:
            title += f"\nthe plane has {100 * float(row.share):.0f} % of the run"
        panels[0, i].set_title(title, fontsize="small")
        below = panels[1, i]
        below.plot(row.step, row.f, "o-", color=look.color, markersize=4, linewidth=1)
        below.axhline(float(row.bound), color="#666666", linestyle="--", linewidth=1)
        below.set(xlabel="step", yscale="log")
    panels[1, 0].set_ylabel("f - f* (dashed: the bound)")
    return figure


def draw_function(ax: Axes, row: xr.Dataset, color: str) -> None:
    """Draw a curve if the function has one dimension, else its level lines in the plane."""
    side, path = row.side.values, row.path.values
    if int(row.dimension) == 1:
        ax.plot(side, row.surface.values[0], color="#666666", linewidth=1.2)
        ax.plot(path[:, 0], row.f, "o-", color=color, markersize=4, linewidth=0.8)
        ax.set(xlabel="x - x*", ylabel="f - f*")
        last = (path[-1, 0], float(row.f[-1]))
    else:
        levels = np.quantile(row.surface, np.linspace(0.0, 1.0, 12))
        ax.contour(side, side, row.surface, np.unique(levels), colors="#999999", linewidths=0.7)
        ax.plot(*path.T, "o-", color=color, markersize=4, linewidth=0.8)
        ax.plot(0, 0, "+", color="black")
        ax.set(xlabel="first direction of the run", ylabel="second", aspect="equal")
        last = path[-1]
    ax.plot(*last, "s", color=color, markersize=7, markerfacecolor="none")


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
