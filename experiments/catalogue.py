"""Which momentum is best, if all take the same step in a steady gradient?

Every method of the catalogue runs on five landscapes and on a small network on scikit-learn's
digits, with the defaults of its paper and sixteen effective learning rates: the learning rate times
what the filter makes of a steady gradient, which is read off the code half-way through a run.
Methods that are not linear (signs, norms, second moments, Polyak steps), and complex momentum, have
no such gain, and run at sixteen learning rates of their own. Methods with constant coefficients are
rows of one compiled program; each of the others is one more.

Answer: at small effective learning rates the method does not matter. At 0.01 all 36 methods with a
gain end between 0.088 and 0.122 of the first loss on the quadratic, and between 0.79 and 0.85 on
the digits: the columns of the figure have one color. Methods differ in how far the rate can be
raised: on the quadratic to 1 for descent, 6 for Nesterov's constant momentum, 16 for heavy ball, 40
for AggMo and for momentum that grows. At its best rate descent is 43rd of 51 by mean rank. MARS,
Adan, NAdam and ADOPT come first, and no method wins everywhere; near the limits of the curved
valleys one start and a grid of rates make the order a matter of luck. (Three minutes on 16 cores; a
quarter of an hour on two, beside other work.)
"""

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import scipy.stats
import xarray as xr
from jax.tree_util import Partial
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option

PROBLEMS = ("quadratic", "narrow valley", "Rosenbrock", "Beale", "Himmelblau", "digits")
KAPPA = 100.0  # of the quadratic, which methods that ask for mu and L are given


@dataclass(frozen=True)
class Config:
    """The length of the runs, and the learning rates."""

    steps: int = option(300, "steps of each run")
    rates: int = option(16, "effective learning rates, from 0.0001 to 100")
    methods: int = option(0, "take only so many methods of each kind; 0 for all")


def settings(steps: int) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters that have no default."""
    return {
        "accelerated_sgd": {"kappa": KAPPA, "xi": 5.0},
        "demon": {"steps": float(steps)},
        "fsgdm": {"steps": float(steps), "stages": steps / 5},
        "maxwell": {"decays": (0.5, 0.9, 0.97), "weights": (0.3, 0.4, 0.3)},
        "ogm_gradient": {"steps": float(steps)},
        "optimized_gradient": {"steps": float(steps)},
        "robust_momentum": {"rho": 0.95},
        "synthesized_nesterov": {"beta1": 0.9, "beta2": 0.5},
        "sgd": {"momentum": 0.9},
        "qhm": {"beta": 0.99},
    }


# What has no place here: STORM needs the gradient of each batch at the point before, and the polar
# factor needs matrices; extra-gradient steps take two gradients each, on other terms than the rest.
LEFT_OUT = {"storm", "adaptive_storm", "muon", "normuon", "extragradient"}


def make(name: str, rate: Any, steps: int) -> jm.Optimizer:
    """Return a method at a learning rate, or with L = 1 / rate if it asks for curvatures."""
    if name == "grokfast":
        return jm.chain(jm.grokfast(), jm.gradient_descent(rate))
    factory = getattr(jm.methods, name)
    asked = inspect.signature(factory).parameters
    extra = settings(steps).get(name, {})
    if "L" in asked:
        return factory(mu=1 / (KAPPA * rate), L=1 / rate, **extra)
    return factory(rate, **extra) if "learning_rate" in asked else factory(**extra)


def find_gain(optimizer: jm.Optimizer, steps: int) -> float:
    """Return the step in a steady gradient half-way through a run; NaN if it is not linear."""
    try:
        half = steps // 2
        return float(jnp.sum(jm.theory.kernel(optimizer, half + 1, count=half)))
    except jm.theory.NotLinearError:
        return float("nan")


def find_coefficients(name: str, steps: int) -> jm.Coefficients | None:
    """Return the real, constant coefficients of a method, or None if it has no such."""
    function = getattr(jm.coefficients, name, None)
    if function is None or name == "grokfast":
        return None
    asked = inspect.signature(function).parameters
    letters = {"mu": 1 / KAPPA, "L": 1.0} if "L" in asked else {}
    extra = {n: x for n, x in settings(steps).get(name, {}).items() if n in asked}
    found = function(**letters, **extra)
    is_plain = isinstance(found, jm.Coefficients) and not jnp.iscomplexobj(found.decay)
    return found if is_plain else None


def problems() -> list[jm.problems.Problem]:
    """Return the five landscapes, and the network on digits."""
    make_problem = jm.problems
    return [
        make_problem.quadratic(jnp.geomspace(1 / KAPPA, 1.0, 5)),
        make_problem.narrow_valley(),
        make_problem.rosenbrock(),
        make_problem.beale(),
        make_problem.himmelblau(),
        make_problem.digits_mlp(hidden=(16,)),
    ]


def run_all(given: list[Any], optimizer: jm.Optimizer, steps: int) -> dict[str, jax.Array]:
    """Return the last loss on each problem, relative to the first; infinite if it diverged."""
    losses = {}
    for name, problem in zip(PROBLEMS, given, strict=True):
        options = {} if problem.batches is None else {"batches": problem.batches}
        run = jm.optimize(
            problem.loss, problem.params, optimizer, steps,
            key=jax.random.key(0), every=steps, **options,
        )  # fmt: skip
        first, last = problem.full_loss(problem.params), problem.full_loss(run.params)
        losses[name] = jnp.where(run.diverged_at < 0, last / first, jnp.inf)
    return losses


def compute(config: Config) -> xr.Dataset:
    """Run the methods with constant coefficients in one program, and each other in its own."""
    names = [name for name in jm.methods.__all__ if name not in LEFT_OUT]
    gains = {name: find_gain(make(name, 1.0, config.steps), config.steps) for name in names}
    constant = {
        name: None if np.isnan(gains[name]) else find_coefficients(name, config.steps)
        for name in names
    }
    rows = {name: c for name, c in constant.items() if c is not None}
    others = [name for name in names if name not in rows]
    if config.methods:
        rows = dict(list(rows.items())[: config.methods])
        others = others[: config.methods]
    rates = np.geomspace(1e-4, 1e2, config.rates)
    given = problems()
    stacked = jm.stack(rows).values

    def run_row(data, momentum, rate):
        row = jax.tree.map(lambda x: x[momentum], data[1])
        filtered = jm.chain(
            jm.scale_by_momentum(row), jm.lift(optax.scale)(-rate / data[2][momentum])
        )
        return run_all(data[0], filtered, config.steps)

    data = (given, stacked, jnp.asarray([gains[name] for name in rows]))
    space = jm.grid(momentum=range(len(rows)), rate=rates)
    parts = [jm.sweep(Partial(run_row, data), space, width=16, progress=False)]
    parts[0] = parts[0].assign_coords(momentum=list(rows))
    for name in others:
        scale = 1.0 if np.isnan(gains[name]) else gains[name]

        def run_other(data, rate, name=name, scale=scale):
            return run_all(data, make(name, rate / scale, config.steps), config.steps)

        found = jm.sweep(Partial(run_other, given), jm.grid(rate=rates), width=16, progress=False)
        parts.append(found.expand_dims(momentum=[name]))
    joined = xr.concat([part[list(PROBLEMS)] for part in parts], "momentum")
    matched = [not np.isnan(gains[str(name)]) for name in joined.momentum.values]
    return joined.assign_coords(matched=("momentum", matched)).assign_attrs(
        steps=config.steps, programs=len(parts)
    )


def rank(data: xr.Dataset) -> xr.DataArray:
    """Return the best loss of each method on each problem [momentum, problem]."""
    return data[list(PROBLEMS)].to_array("problem").fillna(np.inf).min("rate")


def sort_methods(data: xr.Dataset) -> np.ndarray:
    """Return the methods by their mean rank over the problems, the best first."""
    return np.argsort(scipy.stats.rankdata(rank(data).values, axis=-1).mean(axis=0))


def report(data: xr.Dataset) -> str:
    """Return a table of the best losses, the best methods first; and where methods diverge."""
    order = sort_methods(data)
    head = " ".join(f"{name:>13s}" for name in PROBLEMS)
    lines = [
        f"{len(order)} methods in {data.programs} programs, {data.steps} steps: the last loss over "
        f"the first, at the best of {data.sizes['rate']} rates (* at the least or the greatest)",
        f"{'':25s} {head}",
    ]
    for index in order:
        one = data.isel(momentum=index)
        cells = []
        for name in PROBLEMS:
            losses = one[name].fillna(np.inf).values
            at = int(np.argmin(losses))
            edge = "*" if at in (0, len(losses) - 1) else " "
            cells.append(f"{losses[at]:12.2e}{edge}")
        kind = "" if bool(one.matched) else " (own rates)"
        lines.append(f"{str(one.momentum.values) + kind:33s} {' '.join(cells)}")
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw a map for each problem: methods by learning rates, best methods on top."""
    figure, panels = jm.plot.figure(17.0, 17.0, columns=3, rows=2)
    order = sort_methods(data)
    names = [str(name) for name in data.momentum.values[order]]
    matched = data.matched.values[order]
    labels = [
        name if is_matched else f"{name} °" for name, is_matched in zip(names, matched, strict=True)
    ]
    colors = mpl.colormaps["viridis_r"].with_extremes(bad="0.85")
    image, rates = None, data.rate.values
    for ax, name in zip(panels.ravel(), PROBLEMS, strict=True):
        losses = data[name].transpose("momentum", "rate").values[order]
        shown = np.where(np.isfinite(losses), np.log10(np.clip(losses, 1e-8, 1.0)), np.nan)
        image = ax.imshow(shown, cmap=colors, vmin=-8, vmax=0, aspect="auto")
        decades = np.arange(-4, 3)
        at = np.interp(decades, np.log10(rates), np.arange(len(rates)))
        ax.set_xticks(at, [f"$10^{{{d}}}$" for d in decades])
        ax.set_yticks(range(len(labels)), labels if ax in panels[:, 0] else [], fontsize=8)
        ax.set(title=name, xlabel="effective learning rate (° learning rate)")
    bar = figure.colorbar(image, ax=panels, shrink=0.4, location="right")
    bar.set_label("last loss over first, decades; gray: diverged")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
