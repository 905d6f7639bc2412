"""What is wrong in a worked example of momentum on a regression?

A tutorial fits h = theta0 + theta1 x to (1, 2), (2, 3), (3, 4), (4, 5) by hand, one sample a step:
v <- beta v + (1 - beta) g; theta <- theta - alpha v, beta = 0.9, alpha = 0.01, all zero at first.

Answer: two things. It moves both parameters by ONE velocity, that of theta0's gradient, so that
theta1 is wrong from the second step on; and it adds the third velocity wrongly (-0.8292424, where
its own rule gives -0.8287424). With a velocity for each parameter, 5,000 full-batch steps reach
(0.99969813, 1.00010267); the least-squares optimum is (1, 1).
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

PRINTED = {"v": [-0.2, -0.4794, -0.8292424], "theta": [0.002, 0.006794, 0.015086424]}


@dataclass(frozen=True)
class Config:
    """The tutorial's numbers."""

    learning_rate: float = option(0.01, "alpha")
    beta: float = option(0.9, "decay of the velocity")
    steps: int = option(3, "steps on one sample each, at most 4")
    full_steps: int = option(5000, "steps on all the data")


def one_velocity(theta: jax.Array, sample: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return a loss by which both parameters move by the gradient of theta0, as printed."""
    x, y = sample
    error = jax.lax.stop_gradient(theta[0] + theta[1] * x - y)
    return error * jnp.sum(theta)


def compute(config: Config) -> xr.Dataset:
    """Run the printed rule, added correctly, and the right rule, the latter to its limit too."""
    problem = jm.problems.tutorial_regression()
    samples = (jnp.arange(1.0, 5.0), jnp.arange(2.0, 6.0))
    batches = jax.tree.map(lambda column: column[: config.steps], samples)
    optimizer = jm.ema_momentum(config.learning_rate, config.beta)

    def with_velocity(step):
        return {"theta": step.params, "v": step.state.buffers[0]}

    def run(loss, batches, steps, every=1):
        return jm.optimize(
            loss, jnp.zeros(2), optimizer, steps, batches=batches, record=with_velocity, every=every
        ).history

    single = run(one_velocity, batches, config.steps)
    right = run(regression, batches, config.steps)
    full = jm.optimize(
        problem.full_loss, jnp.zeros(2), optimizer, config.full_steps, record=("params", "value")
    )
    dims = ("rule", "step", "parameter")
    rules = {"as printed, added correctly": single, "a velocity for each parameter": right}
    data = {n: (dims, np.stack([r[n][1:] for r in rules.values()])) for n in ("theta", "v")}
    printed = {f"printed_{n}": ("step", np.array(v[: config.steps])) for n, v in PRINTED.items()}
    return xr.Dataset(
        {
            **data,
            **{n: v for n, v in printed.items() if len(v[1]) == config.steps},
            "full_batch": (("full_step", "parameter"), np.asarray(full.history["params"])),
            "J": ("full_step", np.asarray(full.history["value"])),
        },
        {
            "rule": list(rules),
            "step": np.arange(1, config.steps + 1),
            "parameter": ["theta0", "theta1"],
            "full_step": np.asarray(full.steps),
        },
    )


def regression(theta: jax.Array, sample: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return J of one sample: (h - y)^2 / 2."""
    x, y = sample
    return (theta[0] + theta[1] * x - y) ** 2 / 2


def report(data: xr.Dataset) -> str:
    """Return the printed table and those of both rules."""
    lines = []
    if "printed_v" in data:
        lines += ["as printed                       v  theta0 = theta1"]
        for step in data.step.values:
            row = data.sel(step=step)
            lines += [
                f"  step {step} {float(row.printed_v):24.7f} {float(row.printed_theta):16.9f}"
            ]
    for rule in data.rule.values:
        lines += [f"{rule:34s} v0         v1        theta0        theta1"]
        for step in data.step.values:
            v, theta = (data[name].sel(rule=rule, step=step).values for name in ("v", "theta"))
            lines += [f"  step {step} {v[0]:24.7f} {v[1]:10.7f} {theta[0]:13.9f} {theta[1]:13.9f}"]
    end = data.full_batch.isel(full_step=-1).values
    lines += [
        f"full batch, {data.sizes['full_step'] - 1} steps: theta = ({end[0]:.8f}, {end[1]:.8f}); "
        "the optimum is (1, 1)",
    ]
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the first steps of each rule, and the distance of the right one to the optimum."""
    figure, (left, right) = jm.plot.figure(10.0, 3.8, columns=2)
    first = np.concatenate([np.zeros((2, 1, 2)), data.theta.values], axis=1)
    rules = dict(zip(data.rule.values, 1000 * first, strict=True))
    jm.plot.trajectories(
        rules,
        ax=left,
        names=("1000 theta0", "1000 theta1"),
        title="The first steps, on one sample each",
        legend="above",
    )
    jm.plot.curves(
        {"theta0": np.abs(data.full_batch.values[:, 0] - 1),
         "theta1": np.abs(data.full_batch.values[:, 1] - 1)},
        steps=data.full_step.values,
        ax=right,
        title="Distance to the optimum (1, 1), on all the data",
        legend="above",
    )  # fmt: skip
    right.set(xlabel="step", ylabel="distance")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
