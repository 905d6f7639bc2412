"""Which of Q-learning and Sarsa earns more while it learns beside a cliff?

Sutton and Barto's example 6.6, figure 6.4: CliffWalking without discount, epsilon 0.1, 500
episodes; the sum of rewards in each episode, averaged over seeds. The book does not state alpha;
0.5 is that of the widely used code for its figures. Beside the two curves: both with an epsilon
that falls to 0 over the episodes, and the exact return of the policies that are learned.

Answer: Sarsa, as the book says. Over the last 100 episodes it earns -27.0 in each, Q-learning -50.1
(standard errors of 0.2 over 1,000 seeds); the figure shows about -25 and -50. Q-learning has found
the best path, 13 steps along the edge, and falls off it while it explores: the exact return of the
epsilon-greedy policy of Q* is -50.8. Sarsa has learned to keep away from the edge. Where epsilon
falls to 0, Q-learning walks its best path in the end, and earns -13 in each episode. The book says
that both would in the limit; in 500 episodes Sarsa is still on the safe path, with -17.1.
"""

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option

BOOK = {"Sarsa": -25.0, "Q-learning": -50.0}  # read off figure 6.4, to about 5
LEARNERS = {"Sarsa": jm.rl.sarsa, "Q-learning": jm.rl.q_learning}
STYLES = {"Sarsa": "#0072B2", "Q-learning": "#D55E00"}


@dataclass(frozen=True)
class Config:
    """The numbers of the example."""

    alpha: float = option(0.5, "step size")
    beta: float = option(0.0, "beta of lazy momentum; the step stays alpha / (1 - beta)")
    epsilon: float = option(0.1, "epsilon of the policy")
    episodes: int = option(500, "episodes of each run; the last 100 count")
    seeds: int = option(1000, "number of seeds")
    limit: int = option(10_000, "most steps of an episode, which no run of the example reaches")
    width: int = option(500, "lanes at a time")


def compute(config: Config) -> xr.Dataset:
    """Return the rewards of each episode, for both learners and both kinds of epsilon."""
    cliff = jm.rl.from_gymnasium("CliffWalking-v1")
    cliff = dataclasses.replace(cliff, time_limit=config.limit)

    def returns(learner, exploration, seed):
        falls = jm.schedules.linear(config.epsilon, 0.0, max(config.episodes - 100, 1))
        run = LEARNERS[learner](
            cliff,
            jm.rl.lazy_momentum(config.alpha * (1 - config.beta), config.beta),
            jax.random.key(seed),
            episodes=config.episodes,
            discount=1.0,
            epsilon=config.epsilon if exploration == "constant" else falls,
            clock="episode",
            rng="xoshiro",
        )
        return {"returns": run.returns}

    axes = {"learner": list(LEARNERS), "exploration": ["constant", "falling"]}
    runs = jm.sweep(returns, jm.grid(**axes, seed=range(config.seeds)), width=config.width)
    data = runs.drop_vars(["status", "diverged_at"]).rename(returns_0="episode")
    data = data.assign_coords(episode=np.arange(1, config.episodes + 1))
    data.attrs = dataclasses.asdict(config) | {"exact": exact_return(cliff, config.epsilon)}
    return data


def exact_return(mdp: jm.rl.Mdp, epsilon: float) -> float:
    """Return what the epsilon-greedy policy of Q* earns from the start, without discount."""
    q = jm.rl.value_iteration(mdp, 1.0, max_iterations=1000).q
    best = np.isclose(q, q.max(axis=1, keepdims=True))
    policy = (1 - epsilon) * best / best.sum(axis=1, keepdims=True) + epsilon / mdp.actions
    return float(mdp.start @ jm.rl.policy_value(mdp, policy, 1.0))


def last_returns(data: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean over the last 100 episodes and the seeds, and its standard error."""
    late = data.returns.isel(episode=slice(-100, None)).mean("episode")
    return late.mean("seed"), late.std("seed", ddof=1) / data.sizes["seed"] ** 0.5


def report(data: xr.Dataset) -> str:
    """Return the table of online returns, beside what the book's figure shows."""
    means, errors = last_returns(data)
    lines = [
        f"mean reward of the last 100 of {data.sizes['episode']} episodes, with its standard error "
        f"over {data.sizes['seed']} seeds; best path -13",
        f"{'':12s}{'figure 6.4':>12s}{'epsilon ' + format(data.attrs['epsilon'], 'g'):>18s}"
        f"{'epsilon to 0':>18s}",
    ]
    for learner in data.learner.values:
        cells = [
            f"{float(means.sel(at)):.2f} ± {float(errors.sel(at)):.2f}"
            for kind in data.exploration.values
            for at in [{"learner": learner, "exploration": kind}]
        ]
        lines.append(f"{learner:12s}{BOOK[learner]:12.0f}{cells[0]:>18s}{cells[1]:>18s}")
    lines.append(f"exact return of the epsilon-greedy policy of Q*: {data.attrs['exact']:.2f}")
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw both curves as the book does, from -100 to 0, and those with a falling epsilon."""
    figure, ax = jm.plot.figure(9.0, 5.5)
    for learner, color in STYLES.items():
        for kind, style in (("constant", "-"), ("falling", ":")):
            curve = data.returns.sel(learner=learner, exploration=kind).mean("seed")
            smooth = curve.rolling(episode=10, min_periods=1).mean()
            label = learner if kind == "constant" else f"{learner}, epsilon to 0"
            ax.plot(data.episode, smooth, style, color=color, label=label)
    ax.axhline(data.attrs["exact"], color="#666666", linewidth=0.8, linestyle="--")
    ax.text(
        data.sizes["episode"],
        data.attrs["exact"] - 3,
        "epsilon-greedy policy of Q*, exactly",
        ha="right",
        va="top",
        fontsize=8,
        color="#666666",
    )
    ax.set(
        xlabel="episode",
        ylabel="sum of rewards in the episode (10 episodes, all seeds)",
        ylim=(-100, 0),
        title="Cliff walking: example 6.6 of Sutton and Barto",
    )
    ax.legend(loc="lower right", frameon=False)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
