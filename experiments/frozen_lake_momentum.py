"""Does momentum help Q-learning on the frozen lake, and which beta?

FrozenLake-v1, slippery, 500 episodes, epsilon 0.1, gamma 0.99: every beta with every alpha, over
seeds, for the lazy rule of tutorials (an entry's velocity ticks when it is visited) and for dense
heavy ball (all of them tick at every step, as in optax). All betas see the same random numbers.

Answer: no, once alpha is tuned for each beta. Plain Q-learning with alpha near 0.4 succeeds in 28 %
of the last 100 episodes. The lazy rule only loses with a longer memory: half of that at beta =
0.9, a fifth at 0.99. Dense heavy ball is neither better nor worse, within the errors, until its
memory is some thirty steps, and its best alpha falls in proportion to 1 - beta: it is plain
Q-learning with the step alpha / (1 - beta). At the alpha of tutorials, 0.1, which is too small
here, momentum seems to help (8 % without it, 18 % lazy and 27 % dense with beta = 0.7): that is
the larger step.
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
    """What is swept."""

    betas: int = option(12, "values of beta from 0 to 0.99, even in log(1 / (1 - beta))")
    alphas: int = option(30, "values of alpha from 0.001 to 1, even in the logarithm")
    seeds: int = option(30, "seeds of every cell")
    episodes: int = option(500, "episodes of each run; the last 100 count")
    matched: float = option(0.1, "the step alpha / (1 - beta) of the comparison of errors")
    matched_steps: int = option(200_000, "steps of that comparison")
    width: int = option(500, "lanes at a time")


LOOKS = {"lazy": ("#0072B2", "o"), "dense": ("#D55E00", "s")}


def rule_of(name, alpha, beta):
    """The optimizer of a kind of momentum."""
    return (jm.rl.lazy_momentum if name == "lazy" else jm.rl.dense_momentum)(alpha, beta)


def compute(config: Config) -> xr.Dataset:
    """The product of betas, alphas and seeds for both rules, and errors at a matched step."""
    mdp = jm.rl.from_gymnasium("FrozenLake-v1")
    truth = jm.rl.value_iteration(mdp, 0.99).q
    target = np.where(jm.rl.reachable(mdp)[:, None], truth, np.nan)
    betas = 1 - jnp.logspace(0, -2, config.betas)
    alphas, seeds = jnp.logspace(-3, 0, config.alphas), range(config.seeds)

    def tuned(rule, beta, alpha, seed):
        optimizer = rule_of(rule, alpha, beta)
        options = {"episodes": config.episodes, "rng": "xoshiro"}
        run = jm.rl.q_learning(mdp, optimizer, jax.random.key(seed), **options)
        return {"success": jnp.nanmean(run.returns[-100:]), "diverged_at": run.diverged_at}

    def matched(rule, beta, seed):
        optimizer = rule_of(rule, config.matched * (1 - beta), beta)
        options = {"steps": config.matched_steps, "target": target, "rng": "xoshiro"}
        run = jm.rl.q_learning(mdp, optimizer, jax.random.key(seed), **options)
        return {"rmse": run.rmse[-1], "diverged_at": run.diverged_at}

    axes = {"rule": list(LOOKS), "beta": betas}
    at_all = jm.sweep(tuned, jm.grid(**axes, alpha=alphas, seed=seeds), width=config.width)
    at_step = jm.sweep(matched, jm.grid(**axes, seed=seeds), width=config.width)
    data = at_all[["success"]].reset_coords("diverged_at").drop_vars("status")
    data["success"] = data.success.where(data.diverged_at < 0, 0.0)
    data["rmse"] = at_step.rmse.where(at_step.diverged_at < 0, np.inf).drop_vars(
        ["diverged_at", "status"]
    )
    data["limit"] = ("beta", np.asarray(jm.theory.max_stable_alpha(betas, 0.99)))
    data["rmse"].attrs["long_name"] = f"RMSE to Q* at alpha = {config.matched:g} (1 - beta)"
    data.attrs = {"matched": config.matched, "seeds": config.seeds}
    return data


def best(data: xr.Dataset) -> xr.Dataset:
    """For each rule and beta the alpha of highest mean success, with its standard error."""
    mean = data.success.mean("seed")
    at = mean.argmax("alpha")
    error = data.success.std("seed").isel(alpha=at) / np.sqrt(data.attrs["seeds"])
    return xr.Dataset({"success": mean.isel(alpha=at), "error": error, "alpha": data.alpha[at]})


def report(data: xr.Dataset) -> str:
    """Success with the best alpha, at alpha 0.1, and the error at a matched step."""
    tuned, mean = best(data), data.success.mean("seed")
    lines = [
        f"{data.success.size:,} runs; success in the last 100 episodes, and the median RMSE to Q* "
        f"at alpha / (1 - beta) = {data.attrs['matched']:g}",
        f"{'rule':6s} {'beta':>6s} {'best alpha':>10s} {'success':>15s} {'alpha 0.1':>10s} "
        f"{'RMSE':>8s} {'stable alpha':>12s}",
    ]
    for rule in data.rule.values:
        for beta in data.beta.values:
            cell, there = tuned.sel(rule=rule, beta=beta), data.sel(rule=rule, beta=beta)
            at = float(mean.sel(rule=rule, beta=beta).sel(alpha=0.1, method="nearest"))
            lines.append(
                f"{rule:6s} {beta:6.3f} {float(cell.alpha):10.4f} {float(cell.success):8.3f} "
                f"+- {float(cell.error):.3f} {at:10.3f} {float(there.rmse.median()):8.3f} "
                f"{float(there.limit):12.5f}"
            )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """The map with the bound of theory, what each beta can do, and errors at a matched step."""
    figure, (left, middle, right) = jm.plot.figure(15.0, 4.8, columns=3)
    lazy = data.sel(rule="lazy")
    failures = (1 - lazy.success.mean("seed")).where((lazy.diverged_at < 0).all("seed"), np.inf)
    failures.attrs["long_name"] = f"failures in the last 100 episodes ({data.attrs['seeds']} seeds)"
    jm.plot.heatmap(failures, x="beta", y="alpha", x_scale="memory", log=False, ax=left)
    left.plot(data.beta, data.limit, color="white", linewidth=4)
    left.plot(data.beta, data.limit, color="#D55E00", label="largest stable alpha of theory")
    left.set_ylim(float(data.alpha[0]), float(data.alpha[-1]))
    left.legend(loc="lower left", fontsize=8)
    tuned = best(data)
    memory = 1 / (1 - data.beta.values)
    for rule, (color, marker) in LOOKS.items():
        cell, look = tuned.sel(rule=rule), {"color": color, "marker": marker}
        middle.errorbar(memory, cell.success, cell.error, label=rule, capsize=2, **look)
        band = data.rmse.sel(rule=rule).quantile([0.25, 0.5, 0.75], "seed")
        right.fill_between(memory, band[0], band[2], alpha=0.2, color=color, linewidth=0)
        right.plot(memory, band[1], label=rule, **look)
    middle.set(ylabel="success at its best alpha, with standard errors")
    right.set(ylabel=f"{data.rmse.attrs['long_name']}\n(median, 25-75 % of seeds)")
    for ax in (middle, right):
        ax.set(xscale="log", xlabel="1 / (1 - beta)", ylim=(0, None))
        ax.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
