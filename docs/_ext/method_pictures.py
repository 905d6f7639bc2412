"""The picture of a method: kernel, frequency response, poles, rate and noise floor."""

import pathlib

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from method_facts import FREQUENCIES, HORIZON, LAGS, Facts, filter_kernel

import jaxmom as jm

STEPS = (5, 20, HORIZON - 1)  # at which the kernel of a varying filter is drawn


def draw_picture(facts: Facts, path: pathlib.Path) -> bool:
    """Write the picture of a method; return whether there is anything to draw."""
    if facts.system is not None:
        figure = draw_system(facts)
    elif facts.filters is not None:
        figure = draw_filter(facts)
    else:
        return False
    with matplotlib.rc_context({"savefig.dpi": 90}):
        figure.savefig(path, pil_kwargs={"optimize": True})
    matplotlib.pyplot.close(figure)
    return True


def draw_system(facts: Facts) -> Figure:
    """Draw what theory says of a linear system."""
    numbers = facts.numbers
    figure, panels = matplotlib.pyplot.subplots(2, 2, figsize=(9.0, 6.6))
    figure.subplots_adjust(0.08, 0.09, 0.91, 0.94, wspace=0.36, hspace=0.42)
    weights = numbers["kernel"]
    ax = jm.plot.kernel(weights, ax=panels[0, 0], title="Kernel", legend="")
    ax.plot(np.arange(LAGS), weights, ".", color="0.3", markersize=3)
    jm.plot.frequency(
        numbers["response"],
        frequencies=FREQUENCIES,
        ax=panels[0, 1],
        title="Frequency response",
        legend="",
    )
    size = len(facts.system.names)  # the padding of a system is at the end: it has eigenvalues 0
    stable = numbers["curvatures"] <= 1.0001 * numbers["stability limit"]
    jm.plot.spectrum(
        numbers["eigenvalues"][stable, :size],
        parameter=numbers["curvatures"][stable],
        name="curvature",
        ax=panels[1, 0],
        title="Poles, up to the limit of stability",
        scale="log",
        legend="",
    )
    draw_rate(facts, panels[1, 1])
    return figure


def draw_rate(facts: Facts, ax: Axes) -> None:
    """Draw the rate and the noise floor over the curvature, with the limit of stability."""
    numbers = facts.numbers
    at, limit = numbers["curvatures"], numbers["stability limit"]
    radius = np.abs(numbers["eigenvalues"]).max(axis=-1)
    color, dashes, _ = jm.plot.line_style(0, ax)
    ax.semilogx(at, radius, color=color, linestyle=dashes)
    ax.axvline(limit, color="0.4", linewidth=0.8)
    ax.set(xlabel="curvature", ylim=(0.0, 1.1))
    ax.set_title(f"Rate and noise floor; stable up to {limit:.4g}")
    ax.set_ylabel("rate: distance kept per step", color=color)
    twin = ax.twinx()
    color, dashes, _ = jm.plot.line_style(1, ax)
    finite = np.isfinite(numbers["variance"])
    twin.loglog(at[finite], numbers["variance"][finite], color=color, linestyle="--")
    twin.set_ylabel("variance, for noise of variance 1", color=color)


def draw_filter(facts: Facts) -> Figure:
    """Draw the kernel of the filter of a method whose coefficients vary, or that has a head."""
    figure, ax = matplotlib.pyplot.subplots(figsize=(7.5, 3.4))
    figure.subplots_adjust(0.11, 0.16, 0.72, 0.9)
    varies = len(facts.filters) > 1
    steps = STEPS if varies else (LAGS - 1,)
    kernels = {}
    for step in steps:
        weights = np.full(max(steps) + 1, np.nan)
        weights[: step + 1] = filter_kernel(facts.filters, step)
        kernels[f"at step {step}" if varies else "at every step"] = weights
    for place, (label, weights) in enumerate(kernels.items()):
        color, dashes, _ = jm.plot.line_style(place, ax)
        ax.plot(np.arange(len(weights)), weights, color=color, linestyle=dashes, label=label)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.set(xlabel="age of the gradient [steps]", ylabel="weight in the filter's output")
    ax.set_title("Kernel of the filter")
    if varies:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
