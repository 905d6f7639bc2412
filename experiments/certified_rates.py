"""How much slower can a method be on convex functions than on quadratics of the same curvatures?

For methods at their usual tunings, and condition numbers from 2 to 1000, three rates: that on
quadratics (the spectral radius at the worst curvature); that which integral quadratic constraints
certify for every strongly convex smooth function, checked by eigenvalues; and that of the theorem.

Answer: gradient descent and triple momentum lose nothing: certified and quadratic rates agree.
Nesterov's method loses a little: its certified rate lies between the quadratic one and that of its
theorem, and costs about 1.4 times the steps at large kappa. The step that is best on quadratics
stays ahead of the usual one when certified too. Heavy ball with its tuning for quadratics, the
fastest of all there, loses everything: beyond kappa of about 18 no rate is certified.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The condition numbers; mu is 1."""

    kappas: int = option(12, "number of condition numbers, from 2 to the largest")
    largest: float = option(1000.0, "largest condition number")


# Method -> the optimizer for [1, kappa], and the rate that its theorem gives for distances.
METHODS = {
    "gradient descent": (
        lambda kappa: jm.gradient_descent(2 / (kappa + 1)),
        lambda kappa: (kappa - 1) / (kappa + 1),
    ),
    "Nesterov": (
        lambda kappa: jm.nesterov_strongly_convex(1.0, kappa),
        lambda kappa: np.sqrt(1 - 1 / np.sqrt(kappa)),
    ),
    "Nesterov, best on quadratics": (
        lambda kappa: jm.nesterov(**jm.theory.tune("nesterov", 1.0, kappa).hyperparameters),
        lambda kappa: np.nan,
    ),
    "triple momentum": (
        lambda kappa: jm.triple_momentum(1.0, kappa),
        lambda kappa: 1 - 1 / np.sqrt(kappa),
    ),
    "heavy ball, best on quadratics": (
        lambda kappa: jm.heavy_ball(**jm.theory.tune("heavy_ball", 1.0, kappa).hyperparameters),
        lambda kappa: np.nan,
    ),
}


def compute(config: Config) -> xr.Dataset:
    """Compute the three rates of every method at every condition number."""
    kappas = np.geomspace(2.0, config.largest, config.kappas)
    rows = []
    for make, theorem in METHODS.values():
        for kappa in kappas:
            optimizer = make(kappa)
            proof = jm.theory.certified_rate(optimizer, 1.0, kappa)
            quadratic = float(jm.theory.rate(optimizer, 1.0, kappa))
            rows.append((quadratic, proof.rate, theorem(kappa), proof.verify()))
    table = np.array(rows).reshape(len(METHODS), len(kappas), 4)
    names = ("quadratic", "certified", "theorem", "verified")
    parts = {name: (("method", "kappa"), table[..., i]) for i, name in enumerate(names)}
    return xr.Dataset(parts, {"method": list(METHODS), "kappa": kappas})


def report(data: xr.Dataset) -> str:
    """Return a table of every third condition number."""
    lines = [f"{'':31s} {'kappa':>8s} {'quadratic':>10s} {'certified':>10s} {'theorem':>10s}"]
    for name in data.method.values:
        rows = data.sel({"method": name})
        for i in range(0, data.sizes["kappa"], 3):
            row = rows.isel(kappa=i)
            values = (float(row[part]) for part in ("quadratic", "certified", "theorem"))
            cells = " ".join(f"{x:10.5f}" if np.isfinite(x) else f"{'none':>10s}" for x in values)
            lines.append(f"{name:31s} {float(row.kappa):8.1f} {cells}")
    found = np.isfinite(data.certified)
    lines.append(
        f"{int(found.sum())} certificates of {data.certified.size}, of which "
        f"{int(data.verified.sum())} pass the eigenvalue check"
    )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw steps for a factor e, on quadratics and certified; and the ratio of the two.

    Lines that coincide stay visible: those drawn later are thinner, and their markers smaller.
    """
    figure, (left, right) = jm.plot.figure(11.0, 4.8, columns=2)
    for i, name in enumerate(data.method.values):
        rows, look = data.sel({"method": name}), jm.plot.line_style(i)
        certified = rows.certified.where(np.isfinite(rows.certified))
        line = {"color": look.color, "marker": look.marker, "markerfacecolor": "none"}
        line |= {"linewidth": 3.0 - 0.5 * i, "markersize": 11 - 1.8 * i}
        quadratic = {"linestyle": "--", "color": look.color, "linewidth": 3.0 - 0.5 * i}
        left.loglog(data.kappa, -1 / np.log(rows.quadratic), alpha=0.6, **quadratic)
        left.loglog(data.kappa, -1 / np.log(certified), label=name, **line)
        right.semilogx(data.kappa, np.log(rows.quadratic) / np.log(certified), **line)
        slower = np.log(rows.quadratic) / np.log(rows.theorem)
        right.semilogx(data.kappa, slower, ":", color=look.color, linewidth=2.6 - 0.5 * i)
        _mark_last(right, name, np.log(rows.quadratic) / np.log(certified), look.color)
    left.plot([], [], "k--", linewidth=1, label="the same, on quadratics")
    left.set(xlabel="condition number kappa", ylabel="steps to divide the distance by e")
    left.set_title("Certified, and on quadratics", fontsize="medium")
    left.legend(frameon=False, fontsize="small", loc="upper left")
    right.plot([], [], "k:", linewidth=1, label="by the theorem of the method")
    right.axhline(1, color="#666666", linewidth=0.8)
    right.set(xlabel="condition number kappa", ylabel="steps certified / steps on quadratics")
    right.set_title("What a guarantee for all functions costs", fontsize="medium")
    right.legend(frameon=False, fontsize="small", loc="upper right")
    return figure


def _mark_last(ax: Axes, name: str, ratio: xr.DataArray, color: str) -> None:
    """Name the last condition number that has a certificate, if some have none."""
    found = ratio.dropna("kappa")
    if 0 < found.size < ratio.size:
        last = found.isel(kappa=-1)
        at = (float(last.kappa), float(last))
        text = f"{name}:\nno certificate from the next kappa on"
        ax.annotate(text, at, xytext=(8, -4), textcoords="offset points", color=color,
                    fontsize="small", va="top")  # fmt: skip


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
