"""Does any momentum beat SpeedyQ, where a model samples every pair in each iteration?

Q-learning from a generative model at gamma = 0.99, on two slippery environments, by five rules that
are all ``Q + a (T Q' - Q) + b (T Q - T Q') + c (Q - Q')``: plain, Polyak's heavy ball, Nesterov's
accelerated target (two backups), SpeedyQ, and MomentumQ with the schedule of its paper, where c =
1 / (k + 1) and b = (k - m) / (k + 1), m at least 1 / gamma. Each rule has the numbers that are best
for it on ten seeds, and is judged on twenty others, by the median of max |Q - Q*|. Below, value
iteration by exact backups: plain, with two backups at the best of five betas, and with Goyal and
Grand-Clement's constants.

Answer: no. After 10,000 iterations SpeedyQ is at 0.018 on the lake and 1.67 on the cliff, the best
plain step at 0.032 and 5.91. Polyak's ball is as good as plain Q-learning with the step a / (1 -
beta). Two backups help early (0.079 against 0.135 after 1,000 iterations on the lake), and little
or not at all in the end. MomentumQ and SpeedyQ differ by less than their errors; a constant c above
1 - gamma makes SpeedyQ diverge, so that the term has to fade with a. By exact backups, two of them
save a third of the iterations on the small lake, where a beta of 0.3 is stable; elsewhere they cost
iterations or diverge, and Goyal and Grand-Clement's constants do better where any do.
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

ENVIRONMENTS = ("slippery lake", "slippery cliff")
PLANNED = ("slippery lake", "large slippery lake", "slippery cliff", "dry lake", "cliff", "taxi")
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5)
DISCOUNT = 0.99
# Rows (first, omega, scale, b0, b1, c0, c1): a_k = first / (1 + scale k)^omega, b = b0 + b1 a,
# c = c0 + c1 a.
ROWS = {
    "plain": [
        *[(1.0, omega, 1.0, 0.0, 1.0, 0.0, 0.0) for omega in (0.6, 0.8, 1.0)],
        (1.0, 1.0, 1 - DISCOUNT, 0.0, 1.0, 0.0, 0.0),
    ],
    "Polyak": [(1 - beta, 0.6, 1.0, 0.0, 1.0, beta, 0.0) for beta in (0.5, 0.9)],
    "two backups": [
        (1.0, omega, 1.0, 0.0, 1 + beta, beta, -beta)
        for omega, beta in ((0.6, 0.5), (0.7, 0.5), (0.8, 0.5), (0.7, 0.25))
    ],
    "SpeedyQ": [(1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0)],
    # Algorithm 1 of arXiv 2007.15418: c = a, b = (k - m) a = 1 - (1 + m) a, m = 1 / gamma + more.
    "MomentumQ": [
        (1.0, 1.0, 1.0, 1.0, -1 - 1 / DISCOUNT - more, 0.0, 1.0) for more in (0.0, 0.5, 1.0, 4.0)
    ],
}
STYLES = dict(zip(ROWS, ["#666666", "#0072B2", "#009E73", "#D55E00", "#CC79A7"], strict=True))


@dataclass(frozen=True)
class Config:
    """The size of the comparison."""

    iterations: int = option(10_000, "iterations of each run, a multiple of 10")
    tuning_seeds: int = option(10, "seeds on which the numbers of a rule are chosen")
    seeds: int = option(20, "seeds on which it is judged")
    width: int = option(105, "lanes at a time")


def solve(environment: str) -> tuple[jm.rl.Mdp, np.ndarray]:
    """Return a process, and its Q* with NaN where no agent acts."""
    name, kwargs = jm.rl.TOY_TEXT[environment]
    mdp = jm.rl.from_gymnasium(name, **kwargs)
    truth = jm.rl.value_iteration(mdp, DISCOUNT, tolerance=1e-12).q
    return mdp, np.where(jm.rl.reachable(mdp)[:, None], truth, np.nan)


def learn(config: Config) -> xr.DataArray:
    """Return the errors of all rows and seeds, ten records each."""
    table = jnp.array([row for rows in ROWS.values() for row in rows])
    solved = {environment: solve(environment) for environment in ENVIRONMENTS}

    def errors(environment, row, seed):
        mdp, truth = solved[environment]
        first, omega, scale, b0, b1, c0, c1 = table[row]

        def rate(k: jax.Array) -> jax.Array:
            return first / (1 + scale * k.astype(float)) ** omega

        run = jm.rl.momentum_q_learning(
            mdp,
            jax.random.key(seed),
            rate,
            lambda k: b0 + b1 * rate(k),
            lambda k: c0 + c1 * rate(k),
            iterations=config.iterations,
            discount=DISCOUNT,
            target=truth,
            every=config.iterations // 10,
        )
        return {"error": run.error}

    seeds = range(config.tuning_seeds + config.seeds)
    space = jm.grid(environment=list(ENVIRONMENTS), row=range(len(table)), seed=seeds)
    error = jm.sweep(errors, space, width=config.width).error
    error = error.rename(error_0="iteration").where(np.isfinite(error.values), np.inf)
    return error.assign_coords(iteration=config.iterations // 10 * np.arange(1, 11))


def plan() -> np.ndarray:
    """Return iterations by exact backups [environment, form], NaN where they do not converge."""
    found = np.full((len(PLANNED), 3), np.nan)
    for i, environment in enumerate(PLANNED):
        mdp, truth = solve(environment)
        best = [jm.rl.two_backups(beta) for beta in BETAS]
        for j, forms in enumerate(([None], best, [jm.rl.goyal_nesterov(DISCOUNT)])):
            plans = [
                jm.rl.value_iteration(
                    mdp, DISCOUNT, form, tolerance=1e-6, max_iterations=2000, target=truth
                )
                for form in forms
            ]
            counts = [int(plan.iterations) for plan in plans if plan.converged]
            found[i, j] = min(counts, default=np.nan)
    return found


def compute(config: Config) -> xr.Dataset:
    """Choose the numbers of each rule on some seeds, and return its errors on the others."""
    error = learn(config)
    tuning = error.isel(seed=slice(config.tuning_seeds), iteration=-1).median("seed")
    rule_of = np.array([rule for rule, rows in ROWS.items() for _ in rows])
    chosen = [
        [np.flatnonzero(rule_of == rule)[score[rule_of == rule].argmin()] for rule in ROWS]
        for score in tuning.transpose("environment", "row").values
    ]
    rows = xr.DataArray(
        np.array(chosen),
        coords={"environment": error.environment, "rule": list(ROWS)},
        dims=("environment", "rule"),
    )
    judged = error.isel(seed=slice(config.tuning_seeds, None)).isel(row=rows)
    numbers = np.array([row for group in ROWS.values() for row in group])[np.array(chosen)]
    names = ["first", "omega", "scale", "b0", "b1", "c0", "c1"]
    return xr.Dataset(
        {
            "error": judged.drop_vars("row"),
            "numbers": (("environment", "rule", "number"), numbers),
            "planned": (("process", "form"), plan()),
        },
        {"number": names, "process": list(PLANNED), "form": ["plain", "two backups", "Goyal's"]},
    )


def report(data: xr.Dataset) -> str:
    """Return the table of errors, and that of iterations by exact backups."""
    shown = data.iteration.values[[0, -1]]
    lines = [
        f"median of max |Q - Q*| over {data.sizes['seed']} seeds, and its standard error",
        f"{'':30s}" + "".join(f"{f'{k} iterations':>20s}" for k in shown) + "   a, b, c",
    ]
    for environment in data.environment.values:
        for rule in data.rule.values:
            cell = data.sel(environment=environment, rule=rule)
            values = cell.error.sel(iteration=shown)
            spread = 1.25 * values.std("seed", ddof=1) / data.sizes["seed"] ** 0.5
            cells = [
                f"{float(m):.4g} ± {float(s):.1g}"
                for m, s in zip(values.median("seed"), spread, strict=True)
            ]
            lines.append(
                f"{environment:16s}{rule:14s}"
                + "".join(f"{text:>20s}" for text in cells)
                + f"   {describe(*cell.numbers.values)}"
            )
    lines.append("iterations of exact backups to an error of 1e-6; - does not converge")
    lines.append(f"{'':30s}" + "".join(f"{form:>14s}" for form in data.form.values))
    for process in data.process.values:
        counts = data.planned.sel(process=process).values
        cells = ("-" if np.isnan(n) else f"{n:.0f}" for n in counts)
        lines.append(f"{process:30s}" + "".join(f"{text:>14s}" for text in cells))
    return "\n".join(lines)


def describe(
    first: float, omega: float, scale: float, b0: float, b1: float, c0: float, c1: float
) -> str:
    """Write a row as formulas."""
    clock = "k + 1" if scale == 1 else f"1 + {scale:.2g} k"
    power = "" if omega == 1 else f"^{omega:g}"
    return f"{first:.2g} / ({clock}){power}, {affine(b0, b1)}, {affine(c0, c1)}"


def affine(constant: float, slope: float) -> str:
    """Write a constant plus a multiple of a."""
    if slope == 0:
        return f"{constant:g}"
    multiple = "a" if abs(slope) == 1 else f"{abs(slope):g} a"
    if constant == 0:
        return f"{'-' if slope < 0 else ''}{multiple}"
    return f"{constant:g} {'-' if slope < 0 else '+'} {multiple}"


def draw(data: xr.Dataset) -> Figure:
    """Draw the medians over the iterations."""
    figure, panels = jm.plot.figure(12.0, 5.0, columns=2)
    for ax, environment in zip(panels.flat, data.environment.values, strict=True):
        for rule, color in STYLES.items():
            curve = data.error.sel(environment=environment, rule=rule).median("seed")
            ax.loglog(data.iteration, curve, "o-", color=color, markersize=3, label=rule)
        ax.set(title=environment, xlabel="iterations", ylabel="median of max |Q - Q*|")
    panels.flat[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
