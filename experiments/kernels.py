"""Does the shape of the momentum kernel matter, before Adam and before the polar factor?

Records of training small language models are held by mixtures of averages in the place of one
average of gradients. Here a transformer of 31,000 parameters predicts the next character of the
topics of Python's own help, with four kernels: one average (EMA), two, six with evenly spaced
logarithms of their memories, and the six that `jaxmom.fit_kernel` finds for a power law. All have
the sum 1, and each is tuned by itself: the learning rate and the mean age of the gradients in a
step, on seeds of their own. Then all run on the same new seeds, so that differences are paired.

Answer: a little before Adam, not at all before the polar factor, at this size. Before Adam, two,
six and power-law averages end 0.031 +- 0.008, 0.035 +- 0.007 and 0.024 +- 0.008 nats below the
2.392 of one average (mean and standard error over 16 seeds); before the polar factor all end within
0.009 +- 0.006 of its 2.313. What mixtures buy is tolerance. The best single average forgets within
one or two steps in runs as short as these. At a mean age of 16 steps, and the best learning rate
there, it ends 0.16 (Adam) and 0.19 (polar factor) above its best, while the power law is best
there. (The help of Python 3.11.7. Other help shifts all losses: one average before Adam ends at
2.35 on that of 3.12.1 and 2.41 on that of 3.13.0. A run on an H100, on help of a version not noted,
had 2.447 and 2.357, and gains of 0.025 +- 0.005, 0.037 +- 0.006 and 0.022 +- 0.009. Two quiet cores
take some eleven minutes.)
"""

import pydoc_data.topics
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import xarray as xr
from jax.tree_util import Partial
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option

KERNELS = ("EMA", "two EMAs", "six EMAs", "power law")
HEADS = ("Adam", "polar factor")
LEAST_RATE = {"Adam": 4e-3, "polar factor": 0.02}
WIDTH, CONTEXT, BATCH, LAYERS = 32, 32, 16, 2


@dataclass(frozen=True)
class Config:
    """The size of the search; learning rates double from one to the next."""

    steps: int = option(300, "steps of each run; the learning rate falls to zero over them")
    learning_rates: int = option(5, "learning rates to choose from")
    ages: int = option(5, "mean ages to choose from: 1 step, 2, 4 ...")
    tuning_seeds: int = option(4, "seeds on which they are chosen")
    width: int = option(8, "runs at a time on each device")
    seeds: int = option(16, "seeds on which the kernels are compared")


def make_kernel(name: str, age: float, lags: int = 300) -> jm.Coefficients:
    """Return averages whose weights add up to 1 and have this mean age."""
    if name == "power law":
        return fit_power_law(age, lags)
    relative = {"EMA": [1.0], "two EMAs": [0.5, 2.0], "six EMAs": np.geomspace(0.1, 10.0, 6)}[name]
    shares = np.array([2 / 3, 1 / 3]) if name == "two EMAs" else np.ones(len(relative))
    shares = shares / shares.sum()
    ages = age * np.array(relative) / (shares @ relative)
    return jm.reading_new(decay=ages / (1 + ages), gain=1 / (1 + ages), read=shares)


def fit_power_law(age: float, lags: int) -> jm.Coefficients:
    """Return six averages that are nearest to a power law over so many lags, of this mean age.

    Averages go on beyond the last lag, so the power is found from the age of the filter itself.
    """
    k, truncated, found = np.arange(lags), age, jm.coefficients.gradient_descent()
    for _ in range(5):
        target = truncated
        power = scipy.optimize.brentq(
            lambda p, t=target: (k @ (1.0 + k) ** -p) / ((1.0 + k) ** -p).sum() - t, 0.0, 8.0
        )
        found = jm.fit_kernel((1.0 + k) ** -power, 6, nonnegative=True, tolerance=0.01)
        total = jnp.sum(found.read_new / (1 - found.decay))
        found = jm.reading_new(found.decay, found.gain, found.read_new / total)
        truncated *= age / float(jm.theory.mean_age(descending(found)))
    return found


def load_text() -> tuple[np.ndarray, int]:
    """Return the characters of Python's help as numbers, and how many there are."""
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    return np.array([characters.index(c) for c in text], np.int32), len(characters)


def init_params(key: jax.Array, characters: int) -> dict[str, Any]:
    """Return the weights of the transformer, in float32."""
    shapes = {"embed": (characters, WIDTH), "place": (CONTEXT, WIDTH), "head": (WIDTH, characters)}
    for layer in range(LAYERS):
        shapes |= {f"{layer}.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value", "out")}
        shapes |= {f"{layer}.up": (WIDTH, 4 * WIDTH), f"{layer}.down": (4 * WIDTH, WIDTH)}
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(one, shape, jnp.float32) * np.float32(shape[0] ** -0.5)
        for one, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def predict(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
    """Return the logits [T, characters] of the character after each of tokens [T]."""
    causal = jnp.tril(jnp.ones((CONTEXT, CONTEXT), bool))
    x = params["embed"][tokens] * np.float32(WIDTH**0.5) + params["place"]
    for layer in range(LAYERS):
        w = {name: params[f"{layer}.{name}"] for name in ("query", "key", "value", "out")}
        y = normalize(x)
        scores = (y @ w["query"]) @ (y @ w["key"]).T * np.float32(WIDTH**-0.5)
        attended = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        x = x + attended @ (y @ w["value"]) @ w["out"]
        x = x + jax.nn.gelu(normalize(x) @ params[f"{layer}.up"]) @ params[f"{layer}.down"]
    return normalize(x) @ params["head"]


def normalize(x: jax.Array) -> jax.Array:
    """Divide each row by its root mean square."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + np.float32(1e-6))


def mean_loss(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
    """Return the cross entropy per character of windows [batch, T + 1]."""
    logits = jax.vmap(predict, (None, 0))(params, tokens[:, :-1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]))


def draw_batch(text: jax.Array, key: jax.Array, count: jax.Array) -> jax.Array:
    """Return random windows of the text."""
    del count
    starts = jax.random.randint(key, (BATCH,), 0, len(text) - CONTEXT)
    return jax.vmap(lambda at: jax.lax.dynamic_slice(text, (at,), (CONTEXT + 1,)))(starts)


def label_params(params: dict[str, Any]) -> dict[str, str]:
    """Return which weights the polar factor is for: the matrices within the layers."""
    return {name: "matrices" if name[0].isdigit() else "rest" for name in params}


def make_optimizer(
    head: str, kernel: jm.Coefficients, learning_rate: jax.Array, steps: int
) -> jm.Optimizer:
    """Return the kernel before a head, with a learning rate that falls to zero."""

    def falling(start):
        return jm.schedules.linear(start, 0.0, steps)

    if head == "Adam":
        scaled = jm.scale_by_second_moment(jm.scale_by_momentum(kernel), b2=0.99)
        return jm.chain(scaled, jm.lift(optax.scale_by_learning_rate)(falling(learning_rate)))
    adam = jm.lift(optax.adam)(falling(4e-3), b1=0.9, b2=0.99)
    return jm.muon(
        falling(learning_rate),
        jm.scale_by_momentum(kernel),
        rest=adam,
        labels=label_params,
    )


def make_train(head: str, steps: int, characters: int):
    """Return the function of a run: the held-out loss at its end, infinite if it diverged."""

    def train(data, seed, kernel, learning_rate):
        text, held_out, rows = data
        start_key, batch_key = jax.random.split(jax.random.key(seed))
        chosen = jax.tree.map(lambda row: row[kernel], rows)
        run = jm.optimize(
            mean_loss,
            init_params(start_key, characters),
            make_optimizer(head, chosen, learning_rate, steps),
            steps,
            batches=Partial(draw_batch, text),
            key=batch_key,
            every=steps,
        )
        return {"loss": jnp.where(run.diverged_at < 0, mean_loss(run.params, held_out), jnp.inf)}

    return train


def compute(config: Config) -> xr.Dataset:
    """Tune each kernel, then compare them on other seeds: two sweeps for each head."""
    ages = 2.0 ** np.arange(config.ages)
    kinds = [(name, age) for name in KERNELS for age in ages]
    rows = jm.stack({str(kind): make_kernel(*kind) for kind in kinds}).values
    text, characters = load_text()
    cut = len(text) * 9 // 10
    windows = text[cut : cut + 128 * (CONTEXT + 1)].reshape(128, CONTEXT + 1)
    data = (jnp.asarray(text[:cut]), jnp.asarray(windows), rows)
    tuning = range(1000, 1000 + config.tuning_seeds)
    parts = []
    for head in HEADS:
        fn = Partial(make_train(head, config.steps, characters), data)
        rates = LEAST_RATE[head] * 2.0 ** np.arange(config.learning_rates)
        space = jm.grid(seed=tuning, kernel=range(len(kinds)), learning_rate=rates)
        losses = jm.sweep(fn, space, width=config.width, progress=False).loss.mean("seed").values
        losses = losses.reshape(len(KERNELS), len(ages), len(rates))
        best = [np.unravel_index(np.argmin(one), one.shape) for one in losses]
        chosen = [i * len(ages) + int(age) for i, (age, _) in enumerate(best)]
        pairs = jm.paired(kernel=chosen, learning_rate=[rates[rate] for _, rate in best])
        runs = jm.sweep(
            fn, jm.grid(seed=range(config.seeds)) * pairs, width=config.width, progress=False
        )
        compared = runs.loss.values.reshape(config.seeds, len(KERNELS)).T
        parts.append(
            xr.Dataset(
                {
                    "tuning_loss": (("kernel", "age", "rate"), losses),
                    "loss": (("kernel", "seed"), compared),
                    "best_age": ("kernel", ages[[age for age, _ in best]]),
                    "best_rate": ("kernel", rates[[rate for _, rate in best]]),
                    "at_edge": ("kernel", [find_edges(one, losses[0].shape) for one in best]),
                },
                {"kernel": list(KERNELS), "age": ages, "seed": np.arange(config.seeds)},
            )
        )
    weights = [jm.theory.kernel(descending(make_kernel(name, 8.0)), 300) for name in KERNELS]
    data = xr.concat(parts, xr.Variable("head", list(HEADS)))
    return data.assign(weights=(("kernel", "lag"), np.asarray(weights))).assign_attrs(
        steps=config.steps
    )


def find_edges(best: tuple[int, int], shape: tuple[int, int]) -> str:
    """Say which of the two that were searched over has its best value at an end."""
    names = ("age", "learning rate")
    return " and ".join(
        name for name, at, size in zip(names, best, shape, strict=True) if at in (0, size - 1)
    )


def descending(kernel: jm.Coefficients) -> jm.Optimizer:
    """Return the optimizer that steps down by what the filter makes of the gradients."""
    return jm.chain(jm.scale_by_momentum(kernel), jm.lift(optax.scale)(-1.0))


def compare(data: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return what each kernel saves against one EMA on every seed, its mean and standard error."""
    saved = data.loss.sel(kernel="EMA") - data.loss
    return saved, saved.mean("seed"), saved.std("seed", ddof=1) / np.sqrt(data.sizes["seed"])


def report(data: xr.Dataset) -> str:
    """Return a table: the loss of each kernel, and what it saves against one EMA."""
    _, mean, error = compare(data)
    lines = [f"{data.steps} steps, {data.sizes['seed']} seeds, held-out loss in nats per character"]
    for head in HEADS:
        lines.append(
            f"\n{head:14s} {'mean age':>8s} {'rate':>8s} {'loss':>8s}   saved against an EMA"
        )
        for kernel in KERNELS:
            at = {"head": head, "kernel": kernel}
            one, m, e = data.sel(at), float(mean.sel(at)), float(error.sel(at))
            edge = f"  ({one.at_edge.item()} at the edge)" if one.at_edge.item() else ""
            gain = "" if kernel == "EMA" else f"{m:8.4f} +- {e:.4f}"
            lines.append(
                f"  {kernel:12s} {float(one.best_age):8g} {float(one.best_rate):8.4f} "
                f"{float(one.loss.mean()):8.4f}   {gain}{edge}"
            )
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the kernels, the loss over their mean age, and what each saves on every seed."""
    figure, panels = jm.plot.figure(13.5, 9.0, columns=2, rows=2)
    (kernels, saving), aging = panels[0], panels[1]
    shown = {name: data.weights.sel(kernel=name).values for name in KERNELS}
    jm.plot.kernel(
        shown, scale="log", ax=kernels, legend="lower left", title="Kernels of mean age 8 steps"
    )
    kernels.set_ylim(1e-6, 1.0)
    draw_savings(data, saving)
    for ax, head in zip(aging, HEADS, strict=True):
        losses = data.tuning_loss.sel(head=head).min("rate")
        for place, name in enumerate(KERNELS):
            color, dashes, marker = jm.plot.line_style(place, ax)
            values = losses.sel(kernel=name).values
            ax.semilogx(data.age, values, color=color, linestyle=dashes, marker=marker, label=name)
        ax.set_xticks(data.age.values, [f"{age:g}" for age in data.age.values])
        ax.minorticks_off()
        ax.set(xlabel="mean age of the gradients in a step [steps]", ylabel="held-out loss [nats]")
        ax.set_title(f"Before {WHERE[head]}, at the best learning rate for each age")
    return figure


def draw_savings(data: xr.Dataset, ax: Axes) -> None:
    """Draw what each kernel saves against one average: every seed, mean and standard error."""
    saved, mean, error = compare(data)
    pairs = [(head, kernel) for head in HEADS for kernel in KERNELS[1:]]
    for place, (head, kernel) in enumerate(pairs):
        color = jm.plot.line_style(KERNELS.index(kernel), ax)[0]
        at = {"head": head, "kernel": kernel}
        points = saved.sel(at).values
        spread = place + np.linspace(-0.2, 0.2, len(points))
        ax.plot(spread, points, "o", color=color, markersize=4, alpha=0.4)
        bar = {"color": color, "capsize": 6, "markersize": 24, "elinewidth": 2}
        ax.errorbar(place, mean.sel(at), error.sel(at), fmt="_", **bar)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.axvline(len(pairs) / 2 - 0.5, color="0.8", linewidth=0.8)
    ax.set_xticks(range(len(pairs)), [f"{kernel}\n{head}" for head, kernel in pairs], fontsize=9)
    ax.set(xlim=(-0.5, len(pairs) - 0.5), ylabel="loss saved against one EMA [nats]")
    ax.set_title("Each seed, mean and standard error")


WHERE = {"Adam": "Adam", "polar factor": "the polar factor"}

if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
