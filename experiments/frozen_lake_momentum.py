"""Does momentum help Q-learning on the frozen lake, and which beta?

FrozenLake-v1, slippery, 500 episodes, epsilon 0.1, gamma 0.99: every beta with every alpha, over
seeds, for the lazy rule of tutorials (an entry moves when it is visited) and for dense heavy ball
(every entry moves at every step, as in optax). All betas see the same random numbers.

Answer: no, once alpha is tuned for each beta. Plain Q-learning with alpha near 0.4 succeeds in 28 %
of the last 100 episodes. The lazy rule only loses with a longer memory: half of that at beta =
0.9, a fifth at 0.99. Dense heavy ball is neither better nor worse, within the errors, until its
memory is some thirty steps, and its best alpha falls in proportion to 1 - beta: it is plain
Q-learning with the step alpha / (1 - beta). At the alpha of tutorials, 0.1, which is too small
here, momentum seems to help (8 % without it, 18 % lazy and 27 % dense with beta = 0.7): the cause
is the larger step.
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
    """The sweep, and the comparison of errors."""

    betas: int = option(12, "number of betas from 0 to 0.99, even in log(1 / (1 - beta))")
    alphas: int = option(30, "number of alphas from 0.001 to 1, even in the logarithm")
    seeds: int = option(30, "number of seeds of each cell")
    episodes: int = option(500, "episodes of each run; the last 100 count")
    matched: float = option(0.1, "the step alpha / (1 - beta) of the comparison of errors")
    matched_steps: int = option(200_000, "steps of that comparison")
    width: int = option(500, "lanes at a time")


STYLES = {"lazy": ("#0072B2", "o"), "dense": ("#D55E00", "s")}


def make_rule(name, alpha, beta):
    """Return the optimizer of a kind of momentum."""
    return (jm.rl.lazy_momentum if name == "lazy" else jm.rl.dense_momentum)(alpha, beta)


def compute(config: Config) -> xr.Dataset:
    """Run all betas, alphas and seeds for both rules, and errors at a matched step."""
    mdp = jm.rl.from_gymnasium("FrozenLake-v1")
    truth = jm.rl.value_iteration(mdp, 0.99).q
    target = np.where(jm.rl.reachable(mdp)[:, None], truth, np.nan)
    betas = 1 - jnp.logspace(0, -2, config.betas)
    alphas, seeds = jnp.logspace(-3, 0, config.alphas), range(config.seeds)

    def measure_success(rule, beta, alpha, seed):
        optimizer = make_rule(rule, alpha, beta)
        options = {"episodes": config.episodes, "rng": "xoshiro"}
        run = jm.rl.q_learning(mdp, optimizer, jax.random.key(seed), **options)
        return {"success": jnp.nanmean(run.returns[-100:]), "diverged_at": run.diverged_at}

    def measure_error(rule, beta, seed):
        optimizer = make_rule(rule, config.matched * (1 - beta), beta)
        options = {"steps": config.matched_steps, "target": target, "rng": "xoshiro"}
        run = jm.rl.q_learning(mdp, optimizer, jax.random.key(seed), **options)
        return {"rmse": run.rmse[-1], "diverged_at": run.diverged_at}

    axes = {"rule": list(STYLES), "beta": betas}
    successes = jm.sweep(
        measure_success, jm.grid(**axes, alpha=alphas, seed=seeds), width=config.width
    )
    errors = jm.sweep(measure_error, jm.grid(**axes, seed=seeds), width=config.width)
    data = successes[["success"]].reset_coords("diverged_at").drop_vars("status")
    data["success"] = data.success.where(data.diverged_at < 0, 0.0)
    data["rmse"] = errors.rmse.where(errors.diverged_at < 0, np.inf).drop_vars(
        ["diverged_at", "status"]
    )
    data["limit"] = ("beta", np.asarray(jm.theory.max_stable_alpha(betas, 0.99)))
    data["rmse"].attrs["long_name"] = f"RMSE to Q* at alpha = {config.matched:g} (1 - beta)"
    data.attrs = {"matched": config.matched, "seeds": config.seeds}
    return data


def select_best(data: xr.Dataset) -> xr.Dataset:
    """Return the alpha of highest mean success for each rule and beta, with its standard error."""
    mean = data.success.mean("seed")
    at = mean.argmax("alpha")
    error = data.success.std("seed").isel(alpha=at) / np.sqrt(data.attrs["seeds"])
    return xr.Dataset({"success": mean.isel(alpha=at), "error": error, "alpha": data.alpha[at]})


def report(data: xr.Dataset) -> str:
    """Return a table of success with the best alpha and at 0.1, and of errors."""
    tuned, mean = select_best(data), data.success.mean("seed")
    lines = [
        f"{data.success.size:,} runs; success in the last 100 episodes, and the median RMSE to Q* "
        f"at alpha / (1 - beta) = {data.attrs['matched']:g}",
        f"{'rule':6s} {'beta':>6s} {'best alpha':>10s} {'success':>15s} {'alpha 0.1':>10s} "
        f"{'RMSE':>8s} {'stable alpha':>12s}",
    ]
    for rule in data.rule.values:
        for beta in data.beta.values:
            cell, here = tuned.sel(rule=rule, beta=beta), data.sel(rule=rule, beta=beta)
            at = float(mean.sel(rule=rule, beta=beta).sel(alpha=0.1, method="nearest"))
            lines.append(
                f"{rule:6s} {beta:6.3f} {float(cell.alpha):10.4f} {float(cell.success):8.3f} "
                f"+- {float(cell.error):.3f} {at:10.3f} {float(here.rmse.median()):8.3f} "
                f"{float(here.limit):12.5f}"
            )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the map of the lazy rule with the bound of theory, and both rules over beta."""
    figure, (left, middle, right) = jm.plot.figure(15.0, 4.8, columns=3)
    lazy = data.sel(rule="lazy")
    failures = (1 - lazy.success.mean("seed")).where((lazy.diverged_at < 0).all("seed"), np.inf)
    failures.attrs["long_name"] = f"failures in the last 100 episodes ({data.attrs['seeds']} seeds)"
    options = {"x": "beta", "y": "alpha", "x_scale": "memory", "log": False}
    jm.plot.heatmap(failures, **options, ax=left)
    left.plot(data.beta, data.limit, color="white", linewidth=4)
    left.plot(data.beta, data.limit, color="#D55E00", label="largest stable alpha of theory")
    left.set(title="lazy rule", ylim=(float(data.alpha[0]), float(data.alpha[-1])))
    left.legend(loc="lower left", fontsize=8)
    tuned = select_best(data)
    memory = 1 / (1 - data.beta.values)
    for rule, (color, marker) in STYLES.items():
        cell, style = tuned.sel(rule=rule), {"color": color, "marker": marker}
        middle.errorbar(memory, cell.success, cell.error, label=rule, capsize=2, **style)
        band = data.rmse.sel(rule=rule).quantile([0.25, 0.5, 0.75], "seed")
        right.fill_between(memory, band[0], band[2], alpha=0.2, color=color, linewidth=0)
        right.plot(memory, band[1], label=rule, **style)
    middle.set(ylabel="success, with standard errors", title="each rule at its best alpha")
    right.set(title="both rules at the same alpha / (1 - beta)")
    right.set(ylabel=f"{data.rmse.attrs['long_name']}\n(median, 25-75 % of seeds)")
    for ax in (middle, right):
        ax.set(xscale="log", xlabel="1 / (1 - beta)", ylim=(0, None))
        ax.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
