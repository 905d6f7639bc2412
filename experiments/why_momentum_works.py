"""Why does momentum work: where does it converge, how fast, and in which directions?

Heavy ball on one curvature is a damped oscillator. Four figures compare runs with theory: the phase
diagram of measured rates, the path of the eigenvalues as beta grows, the best rate for each
condition number, and the remainder of every mode of a polynomial regression.

Answer: it converges for learning rate * curvature < 2 (1 + beta), twice as far as gradient descent,
and 2,500 measured rates agree with the spectral radius, in the median to a thousandth. Beta at
critical damping, (1 - sqrt(a))^2, is best for one curvature a; beyond it the rate is sqrt(beta) for
every curvature at once, so that all directions shrink alike. Therefore the best rate is
(sqrt(kappa) - 1) / (sqrt(kappa) + 1), as good as a first-order method can be. Of the flattest mode
of a polynomial regression, 200 steps of descent leave 79 %, and of heavy ball 0.06 %.
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

COLORS = {"gradient descent": "#0072B2", "heavy ball": "#D55E00"}


@dataclass(frozen=True)
class Config:
    """The sizes of the four parts."""

    cells: int = option(50, "number of betas, and of learning rates, in the phase diagram")
    steps: int = option(300, "steps of each run of the phase diagram")
    degree: int = option(5, "degree of the polynomial in the regression")
    regression_steps: int = option(200, "steps of the regression")


def measured_rate(beta: jax.Array, learning_rate: jax.Array, steps: int) -> jax.Array:
    """Return the factor per step in the second half of a run on x^2 / 2; inf if it diverges."""

    def record(step):
        return {"x": step.params}

    optimizer = jm.heavy_ball(learning_rate, beta)
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, steps, record=record)
    size = jnp.maximum(jnp.abs(run.history["x"][1:]), jnp.abs(run.history["x"][:-1]))
    middle = steps // 2
    rate = jnp.exp((jnp.log(size[-1]) - jnp.log(size[middle - 1])) / (steps - middle))
    ended = size[-1] == 0  # exactly at the optimum: faster than can be measured
    return jnp.where(run.diverged_at >= 0, jnp.inf, jnp.where(ended, 0.0, rate))


def phases(config: Config) -> xr.Dataset:
    """Compute measured rates and spectral radii over beta and the learning rate, at curvature 1."""

    def over_grid(f, cells, prefix=""):
        betas, rates = jnp.linspace(0.0, 0.98, cells), jnp.linspace(0.05, 4.4, cells)
        values = jax.jit(jax.vmap(jax.vmap(f, (0, None)), (None, 0)))(betas, rates)
        names = (f"{prefix}learning_rate", f"{prefix}beta")
        coordinates = dict(zip(names, (np.asarray(rates), np.asarray(betas)), strict=True))
        return xr.DataArray(np.asarray(values), coordinates, names)

    def measured(beta, learning_rate):
        return measured_rate(beta, learning_rate, config.steps)

    def radius(beta, learning_rate):
        return jm.theory.spectral_radius(jm.heavy_ball(learning_rate, beta), 1.0)

    return xr.Dataset(
        {
            "measured": over_grid(measured, config.cells),
            "radius": over_grid(radius, config.cells),
            "fine_radius": over_grid(radius, 8 * config.cells, "fine_"),
        }
    )


def eigenvalues() -> xr.DataArray:
    """Compute the two eigenvalues at learning rate * curvature = 0.25, as beta grows."""
    betas = jnp.linspace(0.0, 1.0, 201)
    roots = jax.vmap(lambda beta: jm.theory.eigenvalues(jm.heavy_ball(0.25, beta), 1.0))(betas)
    coordinates = {"moving_beta": ("moving_beta", np.asarray(betas), {"long_name": "beta"})}
    return xr.DataArray(np.asarray(roots), coordinates, ("moving_beta", "root"))


def optimal_rates() -> xr.Dataset:
    """Compute the best rate of descent and of heavy ball for each condition number."""
    kappas = np.geomspace(2.0, 1e4, 24)
    names = ("gradient_descent", "heavy_ball")
    best = [[jm.theory.tune(name, 1.0, kappa).rate for kappa in kappas] for name in names]
    bound = [jm.theory.lower_bound(1.0, kappa) for kappa in kappas]
    coordinates = {"kappa": kappas, "method": ["gradient descent", "heavy ball"]}
    data = {"best_rate": (("method", "kappa"), best), "lower_bound": ("kappa", bound)}
    return xr.Dataset(data, coordinates)


def regression(config: Config) -> xr.Dataset:
    """Compute the remainder of each eigenmode of a least-squares fit, after each step."""
    points = np.linspace(-1.0, 1.0, 50)
    features = np.vander(points, config.degree + 1, increasing=True)
    curvatures, modes = np.linalg.eigh(features.T @ features / len(points))
    mu, L = float(curvatures[0]), float(curvatures[-1])

    def loss(weights):
        return jnp.mean((features @ weights) ** 2) / 2

    start = jnp.asarray(modes.sum(axis=1))  # one unit of every mode
    optimizers = {
        "gradient descent": jm.gradient_descent(2 / (mu + L)),
        "heavy ball": jm.heavy_ball(**jm.theory.tune("heavy_ball", mu, L).hyperparameters),
    }
    steps = config.regression_steps
    paths = [
        jm.optimize(loss, start, optimizer, steps, record="params").history["params"]
        for optimizer in optimizers.values()
    ]
    left = np.abs(np.stack(paths) @ modes)
    coordinates = {"curvature": curvatures, "step": np.arange(steps + 1)}
    return xr.Dataset({"left": (("method", "step", "curvature"), left)}, coordinates)


def compute(config: Config) -> xr.Dataset:
    """Compute all four parts; netCDF has no complex numbers, so eigenvalues are pairs of reals."""
    roots = eigenvalues()
    parts = {"root_real": roots.real, "root_imaginary": roots.imag}
    return xr.merge([phases(config), xr.Dataset(parts), optimal_rates(), regression(config)])


def report(data: xr.Dataset) -> str:
    """Return how well theory fits the runs, and what momentum gains."""
    inside = data.radius < 0.99
    error = np.abs(data.measured - data.radius).where(inside & np.isfinite(data.measured))
    agree = np.isfinite(data.measured) == (data.radius < 1)
    last = data.left.isel(step=-1)
    lines = [
        f"{data.measured.size:,} runs: measured rate - spectral radius, median "
        f"{float(error.median()):.1e}, worst {float(error.max()):.1e} (where the radius is < 0.99)",
        f"diverged exactly where the radius is above 1: {100 * float(agree.mean()):.2f} % of cells",
        f"{'kappa':>10s} {'descent':>10s} {'heavy ball':>10s} {'lower bound':>12s}",
    ]
    for kappa in (10.0, 100.0, 1000.0, 10_000.0):
        near = data.isel(kappa=int(np.argmin(np.abs(np.log(data.kappa.values / kappa)))))
        rates = near.best_rate.values
        lines.append(
            f"{float(near.kappa):10.1f} {rates[0]:10.5f} {rates[1]:10.5f} "
            f"{float(near.lower_bound):12.5f}"
        )
    lines += [
        "remainder of each mode of the regression:",
        f"{'curvature':>10s}    descent  heavy ball",
    ]
    lines += [
        f"{float(curvature):10.2e} {float(mode[0]):10.1e}  {float(mode[1]):10.1e}"
        for curvature, mode in zip(data.curvature, last.T.values, strict=True)
    ]
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the phase diagram, eigenvalues, best rates, and the modes of the regression."""
    figure, panels = jm.plot.figure(11.0, 8.6, rows=2, columns=2)
    data.measured.attrs["long_name"] = "measured rate per step"
    data.learning_rate.attrs["long_name"] = "learning rate × curvature"
    fine = data.fine_radius.rename(fine_beta="beta", fine_learning_rate="learning_rate")
    jm.plot.stability_map(
        data.measured, fine, x="beta", y="learning_rate", levels=(0.5, 0.7, 0.8, 0.9),
        x_scale="linear", y_scale="linear", ax=panels[0, 0],
        title="Measured rates of runs, and theory over them",
    )  # fmt: skip
    jm.plot.spectrum(
        data.root_real + 1j * data.root_imaginary, name="beta", ax=panels[0, 1],
        title="The two eigenvalues, for learning rate × curvature = 0.25",
    )  # fmt: skip
    _draw_rates(panels[1, 0], data)
    _draw_modes(panels[1, 1], data)
    return figure


def _draw_rates(ax: Axes, data: xr.Dataset) -> None:
    for label, color in COLORS.items():
        steps = -1 / np.log(data.best_rate.sel({"method": label}))
        ax.loglog(data.kappa, steps, color=color, label=f"{label}, best tuning")
    ax.loglog(data.kappa, -1 / np.log(data.lower_bound), "k.", markersize=4, label="lower bound")
    ax.set(xlabel="condition number kappa", ylabel="steps to divide the distance by e")
    ax.set_title(
        "Descent needs about kappa / 2 steps, heavy ball sqrt(kappa) / 2", fontsize="medium"
    )
    ax.legend(frameon=False, fontsize="small")


def _draw_modes(ax: Axes, data: xr.Dataset) -> None:
    for name, color in COLORS.items():
        for step, marker in ((20, "o"), (data.sizes["step"] - 1, "s")):
            left = np.maximum(data.left.sel({"method": name}).isel(step=step), 1e-17)
            label = f"{name}, {step} steps"
            ax.loglog(data.curvature, left, marker=marker, color=color, markersize=5,
                      linestyle="--" if step == 20 else "-", label=label)  # fmt: skip
    ax.set(xlabel="curvature of the mode", ylabel="remaining share of the mode")
    ax.set_title("The modes of a polynomial regression", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="lower left")


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
