"""Does momentum speed value iteration up?

Iterations until no entry of Q is further than 1e-6 from Q*, at gamma = 0.99, on eight variants of
Gymnasium's toy-text environments: plain value iteration, momentum and Nesterov's acceleration with
the constants of Goyal and Grand-Clement, anchoring, and a derivative gain of PID control.

Answer: on the slippery ones, where moves diffuse, momentum takes a third of the iterations on the
small lake, and Nesterov half of them on all; a derivative gain of 0.5 does as well. On the
deterministic ones, momentum diverges, as it must: their chains are not reversible. There plain
iteration ends after as many iterations as the longest path has steps, and nothing can beat it.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxmom as jm
from experiments import command
from experiments.command import option

ENVIRONMENTS = {
    "slippery lake": ("FrozenLake-v1", {}),
    "large slippery lake": ("FrozenLake8x8-v1", {}),
    "slippery cliff": ("CliffWalkingSlippery-v1", {}),
    "dry lake": ("FrozenLake-v1", {"is_slippery": False}),
    "large dry lake": ("FrozenLake8x8-v1", {"is_slippery": False}),
    "cliff": ("CliffWalking-v1", {}),
    "taxi": ("Taxi-v4", {}),
    "taxi in rain": ("Taxi-v4", {"is_rainy": True}),
}


@dataclass(frozen=True)
class Config:
    """Where to stop."""

    discount: float = option(0.99, "gamma")
    tolerance: float = option(1e-6, "the largest error of an entry")
    most: int = option(20_000, "iterations after which a form has failed")


def forms(discount: float) -> dict:
    """The forms of value iteration: optax transformations of Q - T Q."""
    return {
        "plain": None,
        "momentum": jm.rl.goyal_momentum(discount),
        "Nesterov": jm.rl.goyal_nesterov(discount),
        "anchored": jm.rl.anchored(discount),
        "PID, kd = 0.2": jm.rl.lazy_pid(1.0, kd=0.2),
        "PID, kd = 0.5": jm.rl.lazy_pid(1.0, kd=0.5),
    }


def compute(config: Config) -> xr.Dataset:
    """Iterations of every form on every environment; NaN where it did not arrive."""
    methods = forms(config.discount)
    iterations = np.full((len(ENVIRONMENTS), len(methods)), np.nan)
    for i, (name, kwargs) in enumerate(tqdm(ENVIRONMENTS.values(), "environments")):
        mdp = jm.rl.from_gymnasium(name, **kwargs)
        truth = jm.rl.value_iteration(mdp, config.discount, tolerance=1e-13).q
        for j, form in enumerate(methods.values()):
            plan = jm.rl.value_iteration(
                mdp,
                config.discount,
                form,
                tolerance=config.tolerance,
                max_iterations=config.most,
                target=truth,
            )
            iterations[i, j] = plan.iterations if plan.converged else np.nan
    return xr.Dataset(
        {"iterations": (("environment", "form"), iterations)},
        {"environment": list(ENVIRONMENTS), "form": list(methods)},
        {"tolerance": config.tolerance, "discount": config.discount},
    )


def report(data: xr.Dataset) -> str:
    """The table."""
    lines = [f"iterations to an error of {data.attrs['tolerance']:g}; - never arrives"]
    lines += [" " * 20 + "".join(f"{form:>15s}" for form in data.form.values)]
    for environment in data.environment.values:
        row = data.iterations.sel(environment=environment).values
        cells = ("-" if np.isnan(x) else f"{x:.0f}" for x in row)
        lines.append(f"{environment:20s}" + "".join(f"{cell:>15s}" for cell in cells))
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Iterations relative to plain value iteration; crosses for forms that never arrive."""
    figure, ax = jm.plot.figure(8.5, 4.2)
    ratio = data.iterations / data.iterations.sel(form="plain")
    for j, form in enumerate(data.form.values[1:]):
        y = np.arange(len(data.environment)) + 0.14 * (j - 2)
        x = ratio.sel(form=form).values
        (line,) = ax.plot(x, y, "o", label=form)
        lost = np.isnan(x)
        ax.plot(np.full(lost.sum(), 300.0), y[lost], "x", color=line.get_color())
    ax.axvline(1, color="#666666", linewidth=0.8)
    ax.set(xscale="log", xlabel="iterations / those of plain value iteration (x: never arrives)")
    ax.set_yticks(range(len(data.environment)), data.environment.values)
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
