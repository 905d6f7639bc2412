"""Which momentum is this? Ten implementations from the wild, compared pair by pair from their code.

Libraries and papers write momentum as sums or averages, with the learning rate inside or outside,
with Nesterov's look-ahead or without, with a first step of their own. Each of ten is one optax
chain here, at beta = 0.9 and learning rate 0.1; `jaxmom.theory.equivalent` reads each off its code
and proves that two of them are one method up to a factor of the learning rate, or says where they
differ.

Answer: the ten are five methods. PyTorch, Keras, optax and the averages of papers are one, with
learning rates that differ by 1 / (1 - beta); so are all that look ahead, Muon's filter among them.
PyTorch's dampening and a debiased average differ from all in their first steps only, and
Adam's numerator with Dozat's look-ahead in its first steps too.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option

SHOWN = 20  # steps in the figure


@dataclass(frozen=True)
class Config:
    """The numbers that all ten are given."""

    learning_rate: float = option(0.1, "learning rate")
    beta: float = option(0.9, "beta, mu or momentum")
    steps: int = option(100, "steps to compare where coefficients vary with time")


def implementations(alpha: float, beta: float) -> dict[str, optax.GradientTransformation]:
    """Return the ten, each as its source writes it."""
    descend = optax.scale(-alpha)
    average = jm.coefficients.ema_momentum(beta)
    ahead = jm.reading_new(decay=beta, gain=1 - beta, read=beta, direct=1 - beta)
    return {
        "PyTorch": jm.sgd(alpha, momentum=beta),
        "Keras: velocity": jm.heavy_ball(alpha, beta),
        "average of gradients": jm.chain(jm.scale_by_momentum(average), descend),
        "PyTorch, dampening": jm.sgd(alpha, momentum=beta, dampening=beta),
        "average, debiased": optax.chain(optax.ema(beta), descend),
        "PyTorch, nesterov": jm.sgd(alpha, momentum=beta, nesterov=True),
        "optax, nesterov": optax.sgd(alpha, beta, nesterov=True),
        "Muon's filter": jm.chain(jm.scale_by_momentum(ahead), descend),
        "QHM, nu = beta": jm.qhm(alpha, beta, nu=beta),
        "optax.nadam's numerator": optax.chain(nadam_numerator(beta), descend),
    }


def nadam_numerator(beta: float) -> optax.GradientTransformation:
    """Return the average of gradients that optax.nadam divides, debiased with its look-ahead."""

    def coefficients(count):
        t = jnp.asarray(count, float)
        return jm.reading_new(
            decay=beta,
            gain=1 - beta,
            read=beta / (1 - beta ** (t + 2)),
            direct=(1 - beta) / (1 - beta ** (t + 1)),
        )

    return jm.scale_by_momentum(coefficients)


def compute(config: Config) -> xr.Dataset:
    """Compare each with each that stands before it."""
    found = implementations(config.learning_rate, config.beta)
    names, n = list(found), len(found)
    same, scale, reason = np.eye(n, dtype=bool), np.eye(n), np.full((n, n), "itself", object)
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        pair = jm.theory.equivalent(found[names[i]], found[names[j]], steps=config.steps)
        same[i, j] = same[j, i] = pair.holds
        scale[i, j], scale[j, i] = pair.scale, 1 / pair.scale
        reason[i, j] = reason[j, i] = pair.reason
    counts = jnp.arange(SHOWN)
    first = [
        jax.vmap(lambda t, one=one: jm.theory.kernel(one, SHOWN, count=t)[t])(counts)
        / jnp.sum(jm.theory.kernel(one, 200, count=199))
        for one in found.values()
    ]
    dims = ("a", "b")
    return xr.Dataset(
        {
            "same": (dims, same),
            "scale": (dims, scale),
            "reason": (dims, reason.astype(str)),
            "first_gradient": (("a", "step"), np.asarray(first)),
        },
        {"a": names, "b": names, "step": np.arange(SHOWN)},
    )


def group(data: xr.Dataset) -> list[list[str]]:
    """Return the implementations by method: those that are the same, up to a factor."""
    groups: list[list[str]] = []
    for name in data.a.values:
        known = next((g for g in groups if bool(data.same.sel(a=name, b=g[0]))), None)
        groups.append([str(name)]) if known is None else known.append(str(name))
    return groups


def report(data: xr.Dataset) -> str:
    """Return the methods, with the factor to the first of each; and where methods part."""
    groups = group(data)
    lines = [f"{len(data.a)} implementations, {len(groups)} methods"]
    for members in groups:
        lines.append("")
        for name in members:
            factor = float(data.scale.sel(a=name, b=members[0]))
            lines.append(f"  {name:26s} {factor:6.3g} times the steps of {members[0]}")
    lines.append("\nwhere the methods part")
    for i, one in enumerate(groups):
        for other in groups[i + 1 :]:
            reason = str(data.reason.sel(a=one[0], b=other[0]).values)
            lines.append(f"  {one[0]} | {other[0]}\n      {reason}")
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw which are the same, and how long each method keeps the first gradient."""
    figure, (left, right) = jm.plot.figure(12.5, 5.4, columns=2)
    names, groups = list(data.a.values), group(data)
    same = data.same.values.astype(float)
    left.imshow(same, cmap=ListedColormap(["#f2f2f2", "#9ecae1"]), vmin=0, vmax=1)
    for i, j in np.argwhere(data.same.values):
        left.text(j, i, f"{data.scale.values[i, j]:.3g}", ha="center", va="center", fontsize=8)
    left.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.set_title("The same method, and how many times\nthe steps of the column the row takes")
    for index, members in enumerate(groups):
        shares = data.first_gradient.sel(a=members[0]).values
        color, dashes, _ = jm.plot.line_style(index, right)
        right.semilogy(data.step, shares, color=color, linestyle=dashes)
        label = members[0] + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        at = (8, shares[8]) if "dampening" in label else (0, shares[0])
        side = {"ha": "left", "va": "bottom"} if at[0] else {"ha": "right", "va": "center"}
        right.annotate(
            label, at, (4 if at[0] else -6, 0), textcoords="offset points", color=color, **side
        )
    right.set(xlim=(-14.5, SHOWN - 1), xticks=range(0, SHOWN, 5), xlabel="step")
    right.set_ylabel("weight of the first gradient / effective learning rate")
    right.set_title("What is left of the first gradient")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
