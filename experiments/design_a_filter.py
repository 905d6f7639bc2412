"""How much do two and three buffers gain over one, and when?

A momentum filter of k buffers has 2 k + 1 numbers: k decays, k weights, and the weight of the
newest gradient. Here all of them are tuned by gradient, from many starts at once, for what is left
of the error after a fixed number of steps in four situations: the worst curvature in [mu, L]; the
same with gradients that arrive some steps late; a power-law spectrum of curvatures; and that
spectrum with batches of one row and noisy labels. One program per situation holds all k: unused
buffers have the weight 0.

Answer: nothing at the worst curvature, a little on a known spectrum, more against delays. In the
long run over [mu, L] heavy ball, with one buffer, attains the rate 0.818 that no linear method
beats (Nemirovski); within 30 steps, too, one buffer is within 6 % of what no method can leave less
of, so that two and three gain nothing. On the power law they leave 0.94 of what one leaves. With
gradients two steps late two buffers leave 0.85 and three 0.81, one of them with a negative decay,
far above the bound. With batches of one row nothing is gained. (A search of a tenth of these
iterations finds large gains: it is then one buffer that is badly tuned.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option

MU, L, BUFFERS = 0.01, 1.0, 3
ROOT = (L**0.5 - MU**0.5) / (L**0.5 + MU**0.5)  # the best rate on [mu, L]
SITUATIONS = ("worst curvature", "late gradients", "power law", "power law with noise")


@dataclass(frozen=True)
class Config:
    """The problem and the size of the search."""

    steps: int = option(30, "T, the steps of a run")
    delay: int = option(2, "how many steps late gradients come")
    curvatures: int = option(40, "curvatures, in [mu, L] or of the power law")
    iterations: int = option(2000, "steps of Adam on the numbers of the filter")
    starts: int = option(6, "starts of the search, for each number of buffers")


def delayed(steps: int) -> optax.GradientTransformation:
    """Return a stage that hands on the gradient of so many steps ago, zero at first."""

    def init(params: Any) -> tuple[Any, ...]:
        return tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(steps))

    def update(updates: Any, state: tuple[Any, ...], params: Any = None) -> tuple[Any, Any]:
        del params
        waiting = (*state, updates)
        return waiting[0], waiting[1:]

    return optax.GradientTransformation(init, update)


def make_filter(numbers: dict[str, jax.Array], late: int = 0) -> jm.Optimizer:
    """Return the optimizer of decays [k], weights [k] and a direct weight."""
    decay = jnp.tanh(numbers["angle"])
    momentum = jm.scale_by_momentum(
        jm.reading_new(decay, jnp.ones(BUFFERS), numbers["weight"], direct=numbers["direct"])
    )
    stages = [delayed(late)] if late else []
    return jm.chain(*stages, momentum, optax.scale(-1.0))


def errors_left(optimizer: jm.Optimizer, curvatures: jax.Array, steps: int) -> jax.Array:
    """Return the error in each direction after so many steps on a quadratic, from 1."""
    system = jm.theory.linearize(optimizer)
    start = jnp.zeros((len(curvatures), len(system.B))).at[:, 0].set(1.0)

    def step(states: jax.Array, _: None) -> tuple[jax.Array, None]:
        gradients = curvatures * (states @ system.C)
        return states @ system.A.T + jnp.outer(gradients, system.B), None

    return jax.lax.scan(step, start, None, steps)[0] @ system.C


def make_objectives(config: Config) -> dict[str, Callable[[Any], jax.Array]]:
    """Return, for each situation, what the largest of is minimized, from the filter's numbers."""
    # Chebyshev's points are where the best polynomials have their extremes.
    nodes = np.cos(np.pi * np.arange(config.curvatures) / (config.curvatures - 1))
    interval = jnp.asarray((L + MU) / 2 + (L - MU) / 2 * nodes)
    falling = jnp.arange(1, config.curvatures + 1.0) ** -1.5
    start = jnp.ones(config.curvatures)

    def worst(late: int) -> Callable[[Any], jax.Array]:
        def left(numbers: Any) -> jax.Array:
            return jnp.abs(errors_left(make_filter(numbers, late), interval, config.steps))

        return left

    def risk(noise: float, batch_size: float) -> Callable[[Any], jax.Array]:
        def left(numbers: Any) -> jax.Array:
            given = {"start": start, "noise": noise, "batch_size": batch_size}
            return jm.theory.risk(make_filter(numbers), falling, config.steps, **given)[-1:]

        return left

    kinds = (worst(0), worst(config.delay), risk(0.0, 1e30), risk(0.1, 1.0))
    return dict(zip(SITUATIONS, kinds, strict=True))


def soften(parts: jax.Array) -> jax.Array:
    """Return nearly the largest of positive numbers: an l_p mean, which has gradients."""
    largest = jnp.max(parts)
    return largest * jnp.mean((parts / largest) ** 40) ** (1 / 40)


def draw_starts(config: Config) -> dict[str, jax.Array]:
    """Return starts [k, starts, ...]: heavy balls of many memories, with other buffers beside."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (BUFFERS, config.starts, BUFFERS)
    memory = jnp.exp(jax.random.uniform(keys[0], shape, minval=0.0, maxval=3.0))
    share = jnp.exp(jax.random.uniform(keys[1], shape, minval=-7.0, maxval=-2.0))
    used = jnp.tril(jnp.ones((BUFFERS, BUFFERS)))[:, None, :]  # row k uses k + 1 buffers
    return {
        "angle": jnp.arctanh(1 - 1 / (1 + memory)),
        "weight": used * share / memory,
        "direct": jnp.exp(jax.random.uniform(keys[2], shape[:2], minval=-4.0, maxval=-1.5)),
    }


def search(objective: Callable[[Any], jax.Array], config: Config) -> tuple[Any, np.ndarray]:
    """Return the best numbers for each k, and the values that all starts reached [k, starts]."""
    used = jnp.tril(jnp.ones((BUFFERS, BUFFERS)))
    adam = jm.lift(optax.adam)(jm.schedules.linear(0.03, 0.0, config.iterations))

    def descend(start: Any, mask: jax.Array) -> tuple[Any, jax.Array]:
        def masked(numbers: Any) -> Any:
            return numbers | {"weight": mask * numbers["weight"]}

        def loss(numbers: Any) -> jax.Array:
            return jnp.log(soften(objective(masked(numbers))))

        run = jm.optimize(loss, start, adam, config.iterations, every=config.iterations)
        return masked(run.params), jnp.max(objective(masked(run.params)))

    over_starts = jax.vmap(descend, (0, None))
    found, values = jax.jit(jax.vmap(over_starts))(draw_starts(config), used)
    values = np.where(np.isfinite(values), values, np.inf)
    best = values.argmin(axis=1)
    return jax.tree.map(lambda x: np.asarray(x)[np.arange(BUFFERS), best], found), values


def lower_bounds(config: Config) -> list[float]:
    """Return what no linear method can beat on [mu, L]: the error of Chebyshev's polynomial."""
    effective = [config.steps, config.steps - config.delay]
    return [2 / (ROOT**t + ROOT**-t) for t in effective] + [np.nan, np.nan]


def compute(config: Config) -> xr.Dataset:
    """Tune filters of one, two and three buffers in each situation."""
    values, kernels, decays = [], [], []
    for objective in make_objectives(config).values():
        best, reached = search(objective, config)
        values.append(reached)
        ages = np.arange(config.steps)
        decay = np.tanh(best["angle"])
        kernel = np.sum(best["weight"][:, None] * decay[:, None] ** ages[:, None], axis=-1)
        kernel[:, 0] += best["direct"]
        kernels.append(kernel)
        decays.append(np.where(best["weight"] != 0, decay, np.nan))
    return xr.Dataset(
        {
            "reached": (("situation", "buffers", "start"), np.array(values)),
            "kernel": (("situation", "buffers", "age"), np.array(kernels)),
            "decay": (("situation", "buffers", "buffer"), np.array(decays)),
            "bound": ("situation", lower_bounds(config)),
            "rate": jm.theory.tune("heavy_ball", MU, L).rate,
            "rate_bound": jm.theory.lower_bound(MU, L),
        },
        {"situation": list(SITUATIONS), "buffers": np.arange(1, BUFFERS + 1)},
    )


def report(data: xr.Dataset) -> str:
    """Return a table of what is left of the error, and of the decays."""
    best = data.reached.min("start")
    lines = [f"{'':22s} {'one buffer':>11s} {'two':>11s} {'three':>11s} {'no method':>11s}"]
    for name in data.situation.values:
        cells = " ".join(f"{x:11.4e}" for x in best.sel(situation=name).values)
        bound = float(data.bound.sel(situation=name))
        lines.append(f"{name:22s} {cells} " + (f"{bound:11.4e}" if bound > 0 else f"{'-':>11s}"))
    lines.append("\nthe decays of three buffers")
    for name in data.situation.values:
        decays = np.sort(data.decay.sel(situation=name, buffers=BUFFERS).values)
        lines.append(f"{name:22s} " + " ".join(f"{x:11.4f}" for x in decays))
    lines.append(
        f"\nin the long run on [mu, L]: rate {float(data.rate):.6f} with one buffer (heavy ball); "
        f"no linear method has less than {float(data.rate_bound):.6f}"
    )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the gain over one buffer, and the kernels."""
    figure, panels = jm.plot.figure(15.0, 3.6, columns=1 + data.sizes["situation"])
    left, best = panels[0], data.reached.min("start")
    for i, name in enumerate(data.situation.values):
        look, gains = jm.plot.line_style(i), best.sel(situation=name)
        relative = gains / gains.sel(buffers=1)
        left.plot(data.buffers, relative, look.marker + "-", color=look.color, label=name)
        bound = float(data.bound.sel(situation=name) / gains.sel(buffers=1))
        if bound > 0.4:  # far below, it says nothing
            left.axhline(bound, color=look.color, linestyle=":", linewidth=1)
    left.plot([], [], "k:", label="no linear method is below")
    left.set(xlabel="buffers", ylabel="left after T steps / with one buffer")
    left.set_ylim(0.4, 1.05)
    left.set_xticks(data.buffers.values)
    left.legend(frameon=False, fontsize="x-small", loc="lower left")
    for ax, name in zip(panels[1:], data.situation.values, strict=True):
        for i, k in enumerate(data.buffers.values):
            look = jm.plot.line_style(i)
            kernel = data.kernel.sel(situation=name, buffers=k)
            ax.plot(data.age, kernel, color=look.color, linewidth=2.4 - 0.6 * i, label=f"{k}")
        ax.axhline(0, color="#666666", linewidth=0.6)
        ax.set(xlabel="age of the gradient", xlim=(0, data.sizes["age"]))
        ax.set_title(name, fontsize="small")
    panels[1].set_ylabel("weight in a step")
    panels[1].legend(title="buffers", frameon=False, fontsize="small")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
