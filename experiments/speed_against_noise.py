"""What does speed cost in noise: which method converges fastest at a given noise floor?

Curvatures fill [mu, L] evenly in the logarithm, gradients carry noise of variance 1. For every
linear method, tuned for speed at kappa = 10, 100 and 1000: its rate (the worst spectral radius)
against the loss that the noise leaves in the long run (discrete Lyapunov equation, mean over the
curvatures). Robust momentum goes from fast to robust by one letter; other methods by a smaller
learning rate, heavy ball with beta at critical damping of the flattest direction.

Answer: a faster method has a higher noise floor, and momentum has the better trade-off. At the rate
of the best descent the floor of Nesterov's method with a smaller learning rate is 3.6 times lower
at kappa 10, and 40 times lower at 1000; critically damped heavy ball is close behind, and robust
momentum next. Heavy ball with its tuning for quadratics is the fastest and among the noisiest; QHM
and AggMo, tuned for speed, reach the same point: another buffer or weight brings no speed. The
usual tuning of Nesterov's method is near the best trade-off everywhere. Optimistic gradient, tuned
for speed, is close to the instability of its complex pair, and by far the noisiest.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The sizes; L is 1."""

    points: int = option(40, "number of points on each curve")
    curvatures: int = option(60, "number of curvatures in [mu, L] over which the floor is averaged")


KAPPAS = (10.0, 100.0, 1000.0)


def robust_momentum(mu: float, rho: jax.Array) -> jm.Optimizer:
    """Robust momentum for L = 1, of Cyrus, Hu, Van Scoy and Lessard 2018 (arXiv 1710.04753)."""
    kappa = 1 / mu
    beta = kappa * rho**3 / (kappa - 1)
    coefficients = jm.reading_new(beta, 1.0, kappa * (1 - rho) ** 2 * (1 + rho) + beta - 1, 1.0)
    return jm.chain(jm.scale_by_momentum(coefficients), optax.scale(-1.0))


def curves(mu: float) -> dict[str, Callable[[jax.Array], jm.Optimizer]]:
    """Return, for each family, the optimizer at u in [0, 1], from fast to quiet."""
    fast, slow = 1 - mu**0.5, 1 - mu
    best = jm.theory.tune("heavy_ball", mu, 1.0).hyperparameters
    top = jm.theory.tune("gradient_descent", mu, 1.0).hyperparameters["learning_rate"]

    def damped(u):
        learning_rate = best["learning_rate"] * 1e-3**u
        return jm.heavy_ball(learning_rate, (1 - jnp.sqrt(learning_rate * mu)) ** 2)

    def extrapolated(u):
        learning_rate = 1e-3**u
        root = jnp.sqrt(learning_rate * mu)
        return jm.nesterov(learning_rate, (1 - root) / (1 + root))

    return {
        "robust momentum": lambda u: robust_momentum(mu, fast + u * (slow - fast)),
        "heavy ball, critically damped": damped,
        "Nesterov, smaller steps": extrapolated,
        "descent, smaller steps": lambda u: jm.gradient_descent(top * 0.03**u),
    }


def points(mu: float) -> dict[str, jm.Optimizer]:
    """Return every linear method at its best rate on quadratics, or at its usual tuning."""
    best = {name: jm.theory.tune(name, mu, 1.0) for name in jm.theory.CLOSED_FORMS}
    ball = best["heavy_ball"].hyperparameters
    rate, beta = ball["learning_rate"], ball["beta"]
    started = {
        "QHM": jm.qhm(rate / (1 - beta), beta, nu=0.9),
        "AggMo": jm.aggmo(0.5 * rate, betas=(0.5 * beta, beta)),
        "optimistic": jm.optimistic_gradient(0.3, optimism=0.5),
    }
    tuned = {
        name: jm.replace(start, **jm.theory.tune(start, mu, 1.0, points=33).hyperparameters)
        for name, start in started.items()
    }
    return {
        "gradient descent": jm.gradient_descent(**best["gradient_descent"].hyperparameters),
        "heavy ball": jm.heavy_ball(**ball),
        "EMA momentum": jm.ema_momentum(rate / (1 - beta), beta),
        "Nesterov, usual": jm.nesterov_strongly_convex(mu, 1.0),
        "Nesterov, best": jm.nesterov(**best["nesterov"].hyperparameters),
        "triple momentum": jm.triple_momentum(mu, 1.0),
        **tuned,
    }


def speed_and_floor(
    optimizer: jm.Optimizer, mu: float, curvatures: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the worst rate over [mu, 1], and the mean loss that unit noise leaves."""
    system = jm.theory.linearize(optimizer)
    floor = jax.vmap(lambda curvature: jm.theory.excess_loss(system, curvature))(curvatures)
    return jm.theory.rate(system, mu, 1.0), jnp.mean(floor)


def compute(config: Config) -> xr.Dataset:
    """Compute the rate and the floor of every curve and point at every kappa."""
    on_curve, at_point = [], []
    u = jnp.linspace(0.0, 1.0, config.points)
    for kappa in KAPPAS:
        mu = 1 / kappa
        spread = jnp.geomspace(mu, 1.0, config.curvatures)

        def along(make, mu=mu, spread=spread):
            return jax.jit(jax.vmap(lambda v: speed_and_floor(make(v), mu, spread)))(u)

        on_curve.append([along(make) for make in curves(mu).values()])
        measure = jax.jit(lambda optimizer, mu=mu, s=spread: speed_and_floor(optimizer, mu, s))
        at_point.append([measure(optimizer) for optimizer in points(mu).values()])
    curve, point = np.array(on_curve), np.array(at_point)
    return xr.Dataset(
        {
            "curve_rate": (("kappa", "family", "place"), curve[:, :, 0]),
            "curve_floor": (("kappa", "family", "place"), curve[:, :, 1]),
            "rate": (("kappa", "optimizer"), point[..., 0]),
            "floor": (("kappa", "optimizer"), point[..., 1]),
        },
        {"kappa": list(KAPPAS), "family": list(curves(0.1)), "optimizer": NAMES},
    )


NAMES = ["gradient descent", "heavy ball", "EMA momentum", "Nesterov, usual", "Nesterov, best",
         "triple momentum", "QHM", "AggMo", "optimistic"]  # fmt: skip


def report(data: xr.Dataset) -> str:
    """Return a table of rates and floors, and the floors of the curves at one speed."""
    heads = "".join(f"   kappa = {kappa:<12g}" for kappa in data.kappa.values)
    lines = [f"{'':22s}{heads}", f"{'':22s}" + "      rate     floor  " * data.sizes["kappa"]]
    for name in data.optimizer.values:
        row = data.sel(optimizer=name)
        pairs = zip(row.rate.values, row.floor.values, strict=True)
        lines.append(f"{name:22s}" + "".join(f"{r:10.5f} {f:9.3f}  " for r, f in pairs))
    lines.append("\nfloor of each curve where its rate is that of descent's best:")
    for family in data.family.values:
        floors = [floor_at(data, kappa, family) for kappa in data.kappa.values]
        lines.append(f"{family:32s}" + " ".join(f"{floor:9.4f}" for floor in floors))
    return "\n".join(lines)


def floor_at(data: xr.Dataset, kappa: float, family: str) -> float:
    """Return the floor of a curve at the rate of the best descent, interpolated."""
    target = np.log1p(-float(data.rate.sel(kappa=kappa, optimizer="gradient descent")))
    curve = data.sel(kappa=kappa, family=family)
    speeds, floors = np.log1p(-curve.curve_rate.values), np.log(curve.curve_floor.values)
    order = np.argsort(speeds)
    return float(np.exp(np.interp(target, speeds[order], floors[order])))


# The methods that share a marker reach the same point when they are tuned for speed.
MARKERS = {
    "gradient descent": ("o", ["gradient descent"]),
    "heavy ball, EMA momentum,\nQHM and AggMo": (
        "s",
        ["heavy ball", "EMA momentum", "QHM", "AggMo"],
    ),
    "Nesterov, usual tuning": ("P", ["Nesterov, usual"]),
    "Nesterov, best on quadratics": ("h", ["Nesterov, best"]),
    "triple momentum": ("D", ["triple momentum"]),
    "optimistic gradient": (">", ["optimistic"]),
}


def draw(data: xr.Dataset) -> Figure:
    """Draw a panel for each kappa: the noise floor over the steps for a factor e."""
    figure, panels = jm.plot.figure(13.5, 4.6, columns=data.sizes["kappa"])
    for ax, kappa in zip(panels, data.kappa.values, strict=True):
        panel = data.sel(kappa=kappa)
        for i, family in enumerate(data.family.values):
            curve, look = panel.sel(family=family), jm.plot.line_style(i)
            ax.loglog(-1 / np.log(curve.curve_rate), curve.curve_floor, color=look.color,
                      linestyle=look.linestyle, label=family)  # fmt: skip
        usual = panel.floor.drop_sel(optimizer="optimistic")
        top = 3 * max(float(panel.curve_floor.max()), float(usual.max()))
        for label, (marker, names) in MARKERS.items():
            points = panel.sel(optimizer=names)
            _draw_points(
                ax, -1 / np.log(points.rate.values), points.floor.values, top, marker, label
            )
        ax.set(xlabel="steps to divide the distance by e")
        ax.set_ylim(top=top)
        ax.set_title(f"kappa = {kappa:g}", fontsize="medium", pad=12)
    panels[0].set_ylabel("excess loss under unit gradient noise")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _draw_points(
    ax: Axes, steps: np.ndarray, floors: np.ndarray, top: float, marker: str, label: str
) -> None:
    """Draw the points of a method; one above the frame is at its edge, with its floor."""
    look = {"linestyle": "none", "color": "black", "markerfacecolor": "white", "clip_on": False}
    ax.loglog(steps, np.minimum(floors, top), marker=marker, label=label, zorder=4, **look)
    for step, floor in zip(steps, floors, strict=True):
        if floor > top:
            text = f"{label}:\n{floor:.2g}, above the frame"
            ax.annotate(text, (step, top), xytext=(8, -4), textcoords="offset points",
                        fontsize="small", va="top")  # fmt: skip


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
