"""Is the tuning of heavy ball that is optimal on quadratics safe on other convex functions?

Heavy ball, tuned for quadratics with curvatures in [mu, L], runs on a function whose curvature is
25, then 1, then 25 again: it is smooth and strongly convex, and no quadratic (Lessard, Recht and
Packard 2016, section 4.6). Certificates are computed at condition numbers from 1.5 to 40.

Answer: no. From x = 3.3 it ends in a cycle of three points, (792, -2208, 2592) / 1225, and never
leaves it; the same holds from 12 % of all starts in [-6, 6]. Beyond kappa of about 18 no rate is
certified, while its rate on quadratics is optimal; Nesterov's method is certified at every kappa.
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

MU, L = 1.0, 25.0
COLORS = {"heavy ball": "#D55E00", "Nesterov": "#0072B2"}
CYCLE = np.array([792.0, -2208.0, 2592.0]) / 1225


@dataclass(frozen=True)
class Config:
    """The runs, and the condition numbers."""

    start: float = option(3.3, "the first point")
    steps: int = option(60, "steps of the run in the figure")
    starts: int = option(400, "number of starting points in [-6, 6]")
    kappas: int = option(14, "number of condition numbers, from 1.5 to 40")


def bent(x: jax.Array) -> jax.Array:
    """Return f(x): 25 x^2 / 2 up to 1, curvature 1 between 1 and 2, and 25 beyond."""
    middle = x**2 / 2 + 24 * x - 12
    return jnp.where(x < 1, 12.5 * x**2, jnp.where(x < 2, middle, 12.5 * x**2 - 24 * x + 36))


def heavy_ball(kappa: float) -> jm.Optimizer:
    """Return heavy ball, optimal for quadratics with curvatures in [1, kappa]."""
    return jm.heavy_ball(**jm.theory.tune("heavy_ball", 1.0, kappa).hyperparameters)


def compute(config: Config) -> xr.Dataset:
    """Run heavy ball and Nesterov's method, from many starts too, and compute certificates."""
    optimizers = {"heavy ball": heavy_ball(L / MU), "Nesterov": jm.nesterov_strongly_convex(MU, L)}
    start = jnp.array(config.start)
    paths = [
        jm.optimize(bent, start, optimizer, config.steps, record="params").history["params"]
        for optimizer in optimizers.values()
    ]
    starts = jnp.linspace(-6.0, 6.0, config.starts)

    @jax.vmap
    def last(x):
        return jm.optimize(bent, x, optimizers["heavy ball"], 2000, every=2000).params

    kappas = np.geomspace(1.5, 40.0, config.kappas)
    makers = {
        "heavy ball": heavy_ball,
        "Nesterov": lambda kappa: jm.nesterov_strongly_convex(1.0, kappa),
    }
    certified = [
        [jm.theory.certified_rate(make(kappa), 1.0, kappa).rate for kappa in kappas]
        for make in makers.values()
    ]
    quadratic = [
        [float(jm.theory.rate(make(kappa), 1.0, kappa)) for kappa in kappas]
        for make in makers.values()
    ]
    return xr.Dataset(
        {
            "x": (("method", "step"), np.asarray(paths)),
            "last": ("start", np.asarray(last(starts))),
            "certified": (("method", "kappa"), certified),
            "quadratic": (("method", "kappa"), quadratic),
        },
        {
            "method": list(optimizers),
            "step": np.arange(config.steps + 1),
            "start": np.asarray(starts),
            "kappa": kappas,
        },
    )


def report(data: xr.Dataset) -> str:
    """Return the cycle, its distance from the exact one, and the certified rates."""
    ends = data.x.isel(step=slice(-3, None)).values
    cycle = np.sort(ends[0])
    found = np.isfinite(data.certified.values[0])
    lines = [
        "heavy ball's last three points:  " + ", ".join(f"{x:.12f}" for x in ends[0]),
        f"farthest from the exact cycle:   {np.abs(cycle - np.sort(CYCLE)).max():.1e}",
        f"Nesterov's last point:           {ends[1][-1]:.1e}",
        f"starts that cycle:               {100 * float((abs(data['last']) > 0.1).mean()):.1f} %",
        "",
        f"{'kappa':>8s} {'quadratic':>10s} {'certified':>10s}   Nesterov: quadratic, certified",
    ]
    for i, kappa in enumerate(data.kappa.values):
        ball, nesterov = data.isel(kappa=i, method=0), data.isel(kappa=i, method=1)
        proof = f"{float(ball.certified):10.4f}" if found[i] else f"{'none':>10s}"
        lines.append(
            f"{kappa:8.2f} {float(ball.quadratic):10.4f} {proof}   "
            f"{float(nesterov.quadratic):19.4f} {float(nesterov.certified):10.4f}"
        )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the run, the cycle on the function, and the certified rates."""
    figure, (left, middle, right) = jm.plot.figure(13.0, 3.9, columns=3)
    for name, color in COLORS.items():
        path = data.x.sel({"method": name})
        left.plot(data.step, path, "o-", color=color, markersize=3, linewidth=1, label=name)
    left.set(xlabel="step", ylabel="x")
    left.set_title("From one start: heavy ball cycles", fontsize="medium")
    left.legend(frameon=False, fontsize="small", loc="upper right")
    x = np.linspace(-2.6, 2.9, 400)
    middle.plot(x, bent(jnp.asarray(x)), color="#666666", linewidth=1.2)
    middle.axvspan(1, 2, color="#56B4E9", alpha=0.25, linewidth=0, label="curvature 1, else 25")
    points = np.append(CYCLE, CYCLE[0])
    heights = np.asarray(bent(jnp.asarray(points)))
    middle.plot(points, heights, "o--", color="#D55E00", linewidth=1.2, label="the cycle")
    for k, (at, height) in enumerate(zip(CYCLE, heights, strict=False)):
        middle.annotate(f"{k + 1}", (at, height), xytext=(6, -12), textcoords="offset points")
    middle.set(xlabel="x", ylabel="f(x)")
    middle.set_title("A cycle of three points", fontsize="medium")
    middle.legend(frameon=False, fontsize="small", loc="upper center")
    for name, color in COLORS.items():
        rates = data.sel({"method": name})
        right.semilogx(data.kappa, rates.quadratic, "--", color=color, label=f"{name}, quadratics")
        certified = rates.certified.where(np.isfinite(rates.certified))
        right.semilogx(data.kappa, certified, "o-", color=color, markersize=4,
                       label=f"{name}, certified")  # fmt: skip
    none = data.kappa.where(~np.isfinite(data.certified.isel(method=0)))
    right.plot(none, np.ones(none.size), "x", color="#D55E00", label="heavy ball, no certificate")
    right.set(xlabel="condition number kappa", ylabel="rate per step", ylim=(0, 1.05))
    right.set_title("Rates on quadratics, and certified", fontsize="medium")
    right.set_xticks([2, 5, 10, 20, 40], labels=["2", "5", "10", "20", "40"])
    right.minorticks_off()
    right.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
