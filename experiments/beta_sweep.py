"""Which beta is best on a quadratic, by how much, and does theory agree?

The quadratic is f(x, y) = (4 x^2 + y^2) / 2 from (2, 2), on which a well-known tutorial shows
momentum with beta = 0.9 and learning rate 0.1. In its 30 steps that run ends at f = 0.134, and
plain descent at 0.0036: the tutorial's momentum loses. A thousand betas times fifty learning rates,
in one compiled program, show why.

Answer: kappa is only 4, so a long memory gains little. The best beta, 0.12 at learning rate 0.45,
is close to the optimum of theory, ((sqrt(kappa) - 1) / (sqrt(kappa) + 1))^2 = 1/9 at 4/9, and
leaves 15 orders of magnitude less loss than the best plain descent. With beta = 0.9 no learning
rate gets far below a factor of sqrt(0.9) per step: to the right of the dark wedge the factor is
sqrt(beta), for every learning rate. Losses grow exactly beyond the line 2 (1 + beta) / L.
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
    """The grid and the length of the runs."""

    betas: int = option(1000, "number of betas, evenly spaced in [0, 1)")
    learning_rates: int = option(50, "number of learning rates")
    lowest: float = option(0.01, "smallest learning rate")
    per_decade: int = option(23, "learning rates per decade; from 0.01, the 23rd is 0.1")
    steps: int = option(30, "steps of each run")


def compute(config: Config) -> xr.Dataset:
    """Run every lane, in chunks of one compiled program."""
    problem = jm.problems.tutorial_quadratic()
    rates = config.lowest * 10 ** (np.arange(config.learning_rates) / config.per_decade)
    betas = np.linspace(0.0, 1.0, config.betas, endpoint=False)

    def train(learning_rate, beta):
        optimizer = jm.heavy_ball(learning_rate, beta)
        run = jm.optimize(problem.loss, problem.params, optimizer, config.steps, every=config.steps)
        return {"loss": run.history["value"][-1], "diverged_at": run.diverged_at}

    data = jm.sweep(train, jm.grid(learning_rate=rates, beta=betas))
    data["loss"].attrs["long_name"] = f"f after {config.steps} steps"
    facts = {"mu": float(problem.mu), "L": float(problem.L), "steps": config.steps}
    return data.assign_attrs(facts)


def theory(data: xr.Dataset) -> jm.theory.Tuning:
    """Return the optimum on quadratics with curvatures in [mu, L], as steps go to infinity."""
    return jm.theory.tune("heavy_ball", data.attrs["mu"], data.attrs["L"])


def stable_rates(data: xr.Dataset) -> np.ndarray:
    """Return the largest stable learning rate at each beta, from the optimizer's own code."""
    limit = jax.vmap(lambda beta: jm.theory.stability_limit(jm.heavy_ball(1.0, beta)))
    return np.asarray(limit(jnp.asarray(data.beta.values))) / data.attrs["L"]


def best(data: xr.Dataset, **where: float) -> xr.Dataset:
    """Return the cell of smallest final loss among those that did not diverge."""
    chosen = data.sel(where, method="nearest") if where else data
    return chosen.isel(chosen.loss.where(chosen.diverged_at < 0).argmin(...))


def report(data: xr.Dataset) -> str:
    """Return a table of the best beta beside beta = 0 and the tutorial's 0.9."""
    optimum = theory(data)
    values = optimum.hyperparameters
    rows = [
        ("best of all", best(data)),
        ("beta = 0, best learning rate", best(data, beta=0.0)),
        ("beta = 0.9, best learning rate", best(data, beta=0.9)),
        ("learning rate 0.1, best beta", best(data, learning_rate=0.1)),
        ("the tutorial: beta 0.9, rate 0.1", best(data, beta=0.9, learning_rate=0.1)),
    ]
    lines = [f"{data.sizes['beta'] * data.sizes['learning_rate']:,} runs of heavy ball"]
    lines += [f"{'':31s} {'beta':>6s} {'learning rate':>14s} {'final loss':>11s}"]
    lines += [
        f"{name:31s} {float(cell.beta):6.3f} {float(cell.learning_rate):14.4f} "
        f"{float(cell.loss):11.2e}"
        for name, cell in rows
    ]
    ratio = [float(cell.loss / rows[0][1].loss) for _, cell in rows[1:3]]
    lines += [
        f"The best beta leaves {ratio[0]:.1e} times less loss than beta 0, "
        f"and {ratio[1]:.1e} times less than 0.9.",
        f"Theory, as steps go to infinity: beta = {values['beta']:.3f}, learning rate = "
        f"{values['learning_rate']:.3f}, each step times {optimum.rate:.3f}.",
    ]
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the map with theory over it, and the best loss of each beta."""
    optimum = theory(data).hyperparameters
    figure, (left, right) = jm.plot.figure(11.0, 4.4, columns=2)
    figure.get_layout_engine().set(wspace=0.06)
    field = data.loss.where(data.diverged_at < 0, np.inf)
    jm.plot.heatmap(field, x="beta", y="learning_rate", ax=left, limits=(1e-16, None))
    betas = data.beta.values
    theory_style = {"color": "#D55E00", "zorder": 6}
    left.plot(betas, stable_rates(data), linewidth=1.5, label="limit of stability", **theory_style)
    at = (optimum["beta"], optimum["learning_rate"])
    left.plot(
        *at, "D", markeredgecolor="white", markersize=5, label="optimum of theory", **theory_style
    )
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    tutorial = field.sel(learning_rate=0.1, method="nearest")
    right.semilogy(betas, field.min("learning_rate"), label="its best learning rate")
    right.semilogy(betas, tutorial, "--", color="#009E73", label="learning rate 0.1")
    right.axvline(optimum["beta"], linewidth=1, label="optimum of theory", **theory_style)
    slow = betas[betas >= optimum["beta"]]
    label = r"$\propto \beta^{\,\mathrm{steps}}$: $\sqrt{\beta}$ per step"
    right.semilogy(slow, 10 * slow ** data.attrs["steps"], ":", color="#666666", label=label)
    right.set(xlabel="beta", ylabel=data.loss.attrs["long_name"], ylim=(1e-32, 1e2), xlim=(0, 1))
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
