"""Does momentum speed value iteration up?

Iterations until no entry of Q is further than 1e-6 from Q*, at gamma = 0.99, on eight variants of
Gymnasium's toy-text environments: plain value iteration, momentum and Nesterov's acceleration with
the constants of Goyal and Grand-Clement, anchoring, and a derivative gain of PID control.

Answer: on the slippery ones, where moves diffuse, Nesterov's form takes from a third to three
quarters of the iterations, and a derivative gain of 0.5 less than half of them. Momentum takes a
third on the small lake and diverges on the other two: its constants are for reversible chains. On
the deterministic ones and on the taxi, both diverge or are far slower. There plain iteration
ends after as many iterations as the longest path has steps, and no method can beat it.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxmom as jm
from experiments import command
from experiments.command import option

# Environments whose values are drawn: the moves of their actions, and names at (column, row).
HOLES = {(1.5, 1.5): "hole", (3.5, 1.5): "hole", (3.5, 2.5): "hole", (0.5, 3.5): "hole"}
SHOWN = {
    "slippery lake": (jm.plot.LAKE, {(0.5, 0.8): "start", (3.5, 3.5): "goal", **HOLES}),
    "slippery cliff": (
        jm.plot.CLIFF,
        {(0.5, 3.8): "start", (6.0, 3.5): "cliff", (11.5, 3.5): "goal"},
    ),
}
# The colors and markers of all forms but the plain one.
STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v")]


@dataclass(frozen=True)
class Config:
    """The discount, and when to stop."""

    discount: float = option(0.99, "gamma")
    tolerance: float = option(1e-6, "the largest error of an entry")
    most: int = option(20_000, "most iterations of a form")


def make_forms(discount: float) -> dict:
    """Return the forms of value iteration: optax transformations of Q - T Q."""
    return {
        "plain": None,
        "momentum": jm.rl.goyal_momentum(discount),
        "Nesterov": jm.rl.goyal_nesterov(discount),
        "anchored": jm.rl.anchored(discount),
        "PID, kd = 0.2": jm.rl.lazy_pid(1.0, kd=0.2),
        "PID, kd = 0.5": jm.rl.lazy_pid(1.0, kd=0.5),
    }


def compute(config: Config) -> xr.Dataset:
    """Count the iterations of each form on each environment; NaN where it does not converge."""
    methods = make_forms(config.discount)
    iterations = np.full((len(jm.rl.TOY_TEXT), len(methods)), np.nan)
    for i, (name, kwargs) in enumerate(tqdm(jm.rl.TOY_TEXT.values(), "environments")):
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
    data = xr.Dataset(
        {"iterations": (("environment", "form"), iterations)},
        {"environment": list(jm.rl.TOY_TEXT), "form": list(methods)},
        {"tolerance": config.tolerance, "discount": config.discount},
    )
    for name in SHOWN:
        environment, kwargs = jm.rl.TOY_TEXT[name]
        mdp = jm.rl.from_gymnasium(environment, **kwargs)
        acted = jm.rl.reachable(mdp) & ~np.asarray(mdp.terminated).all((1, 2))
        data[name] = (f"{name} state", "action"), jm.rl.value_iteration(mdp, config.discount).q
        data[f"{name}, acted"] = f"{name} state", acted
        data[name].attrs["shape"] = mdp.grid
    return data


def report(data: xr.Dataset) -> str:
    """Return the table of iterations."""
    lines = [f"iterations to an error of {data.attrs['tolerance']:g}; - does not converge"]
    lines += [" " * 20 + "".join(f"{form:>15s}" for form in data.form.values)]
    for environment in data.environment.values:
        row = data.iterations.sel(environment=environment).values
        cells = ("-" if np.isnan(x) else f"{x:.0f}" for x in row)
        lines.append(f"{environment:20s}" + "".join(f"{cell:>15s}" for cell in cells))
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw iterations relative to plain value iteration, and V* with the best actions below.

    Forms that never converge are at the right.
    """
    figure, ax = jm.plot.figure(14.0, 9.5)
    ax.remove()
    grid = figure.add_gridspec(2, 2, height_ratios=(1.6, 1.0), width_ratios=(1.0, 2.5))
    for column, (name, (moves, places)) in enumerate(SHOWN.items()):
        ax = jm.plot.value_grid(
            data[name],
            tuple(data[name].attrs["shape"]),
            moves=moves,
            acted=data[f"{name}, acted"].values,
            numbers=column == 0,
            ax=figure.add_subplot(grid[1, column]),
            title=f"{name}: V*",
        )
        for at, place in places.items():
            color = "white" if place == "start" else "#333333"
            ax.text(*at, place, ha="center", va="center", fontsize=9, color=color)
    ax = figure.add_subplot(grid[0, :])
    ratio = data.iterations / data.iterations.sel(form="plain")
    never = 5 * float(ratio.max())
    for j, (form, (color, marker)) in enumerate(zip(data.form.values[1:], STYLES, strict=True)):
        y = np.arange(len(data.environment)) + 0.15 * (j - 2)
        x = ratio.sel(form=form).values
        ax.plot(x, y, marker, color=color, label=form)
        failed = np.isnan(x)
        ax.plot(np.full(failed.sum(), never), y[failed], "x", color=color)
    ax.axvline(1, color="#666666", linewidth=0.8)
    ax.text(1.03, -0.4, "plain value iteration", fontsize=8, color="#666666")
    ax.axvline(never / 2.2, color="#666666", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", xlabel="iterations / those of plain value iteration")
    ax.set_xlim(None, 2 * never)
    ax.set_xticks([*10.0 ** np.arange(0, np.log10(never / 2.2)), never])
    ax.set_xticklabels([*(f"{x:g}" for x in ax.get_xticks()[:-1]), "never"])
    ax.minorticks_off()
    ax.set_yticks(range(len(data.environment)), data.environment.values)
    for y in np.arange(len(data.environment) - 1) + 0.5:
        ax.axhline(y, color="#DDDDDD", linewidth=0.6)
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(0.84, 1.0))
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
