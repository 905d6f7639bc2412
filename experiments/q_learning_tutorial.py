"""Does a tutorial's Q-learning with momentum work at the tutorial's own numbers?

V[s, a] <- beta V[s, a] + alpha (r + gamma max_a' Q[s', a'] - Q[s, a]); Q[s, a] <- Q[s, a] + V[s, a]
with alpha 0.1, gamma 0.99, beta 0.9, 500 episodes, epsilon-greedy with epsilon 0.1. Once through
Gymnasium in plain Python, with its terminal states masked, and in 1,000 lanes of ours.

Answer: it diverges. On Taxi and on CliffWalking every seed does, and on the dry lake 995 of 1,000,
in real Gymnasium as well as here; on the slippery lake all survive, with the success of a run
without momentum (9 %). The largest alpha that is stable for any process is 0.6
(1 - beta)^2 = 0.006 at beta = 0.9, because cycles of states make the operator asymmetric; the
tutorial's 0.1 is 16 times that. Without momentum no run diverges. A map over beta and alpha on the
dry lake shows the same: values grow from about four times the bound on. Within its 20,000 steps
lanes diverge from 2 (beta = 0.3) to 25 times (0.99) the bound on: a long memory takes long.
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

ENVIRONMENTS = {
    "slippery lake": ("FrozenLake-v1", {}),
    "dry lake": ("FrozenLake-v1", {"is_slippery": False}),
    "cliff": ("CliffWalking-v1", {}),
    "taxi": ("Taxi-v4", {}),
}
DIVERGED = 1e3  # no Q* of these exceeds 140


@dataclass(frozen=True)
class Config:
    """The tutorial's numbers."""

    alpha: float = option(0.1, "learning rate, inside the velocity")
    beta: float = option(0.9, "beta of the runs with momentum")
    discount: float = option(0.99, "gamma")
    epsilon: float = option(0.1, "epsilon of the policy, which tutorials leave open")
    episodes: int = option(500, "episodes of each run")
    seeds: int = option(1000, "number of seeds of each environment and beta")
    steps: int = option(100_000, "most steps of a run; on the cliff an episode may never end")
    records: int = option(200, "records of the largest entry of Q")
    map_betas: int = option(14, "number of betas of the map, even in log(1 / (1 - beta))")
    map_alphas: int = option(25, "number of alphas of the map, from 0.0001 to 1")
    map_seeds: int = option(10, "number of seeds of the map, which shows their median")
    width: int = option(500, "lanes at a time")


def learn_in_gymnasium(name: str, kwargs: dict, beta: float, config: Config) -> tuple[float, float]:
    """Run the tutorial's loop in Gymnasium; return the last mean return and the largest entry.

    The return is NaN if none of the last hundred episodes ended before the steps were spent.
    """
    import gymnasium

    env = gymnasium.make(name, disable_env_checker=True, **kwargs)
    random = np.random.default_rng(0)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    v, returns, steps = np.zeros_like(q), [], 0
    while len(returns) < config.episodes and steps < config.steps:
        (state, _), gained, done = env.reset(seed=None if returns else 0), 0.0, False
        while not done and steps < config.steps:
            best = np.flatnonzero(q[state] == q[state].max())
            explores = random.random() < config.epsilon
            action = random.integers(q.shape[1]) if explores else random.choice(best)
            next_state, reward, terminated, truncated, _ = env.step(int(action))
            later = 0.0 if terminated else config.discount * q[next_state].max()
            v[state, action] = beta * v[state, action] + config.alpha * (
                reward + later - q[state, action]
            )
            q[state, action] += v[state, action]
            state, gained, steps = next_state, gained + reward, steps + 1
            done = terminated or truncated
        if done:
            returns.append(gained)
    last = returns[max(config.episodes - 100, 0) :]
    return float(np.mean(last)) if last else np.nan, float(np.abs(q).max())


def make_process(environment: str) -> jm.rl.Mdp:
    """Return one of the environments as arrays."""
    name, kwargs = ENVIRONMENTS[environment]
    return jm.rl.from_gymnasium(name, **kwargs)


def run_seeds(config: Config) -> xr.Dataset:
    """Run the tutorial in each environment, without momentum and with it, over the seeds."""
    every = max(config.steps // config.records, 1)

    def run(environment, beta, seed):
        learned = jm.rl.q_learning(
            make_process(environment),
            jm.rl.lazy_momentum(config.alpha, beta),
            jax.random.key(seed),
            episodes=config.episodes,
            steps=config.steps,
            discount=config.discount,
            epsilon=config.epsilon,
            every=every,
            divergence=jnp.inf,
            rng="xoshiro",
        )
        last = jnp.nanmean(learned.returns[-100:])
        return {"return": last, "largest": learned.max_abs_q, "taken": learned.steps[-1]}

    axes = {"environment": list(ENVIRONMENTS), "beta": np.array([0.0, config.beta])}
    runs = jm.sweep(run, jm.grid(**axes, seed=range(config.seeds)), width=config.width)
    runs = runs.drop_vars(["status", "diverged_at"]).rename(largest_0="step")
    return runs.assign_coords(step=every * np.arange(1, runs.sizes["step"] + 1))


def map_dry_lake(config: Config) -> xr.DataArray:
    """Return the largest entry of Q on the dry lake over beta and alpha, the median of seeds."""

    def largest(map_beta, map_alpha, seed):
        run = jm.rl.q_learning(
            make_process("dry lake"),
            jm.rl.lazy_momentum(map_alpha, map_beta),
            jax.random.key(seed),
            steps=max(config.steps // 5, 16),
            discount=config.discount,
            epsilon=config.epsilon,
            divergence=DIVERGED,
            rng="xoshiro",
        )
        return {"largest": jnp.where(run.diverged_at < 0, run.max_abs_q[-1], jnp.inf)}

    axes = {
        "map_beta": 1 - np.logspace(0, -2, config.map_betas),
        "map_alpha": np.logspace(-4, 0, config.map_alphas),
    }
    runs = jm.sweep(largest, jm.grid(**axes, seed=range(config.map_seeds)), width=config.width)
    median = runs.largest.quantile(0.5, "seed", method="higher").drop_vars("quantile")
    return median.assign_attrs(long_name="largest |Q| on the dry lake")


def compute(config: Config) -> xr.Dataset:
    """Run all seeds of each environment, one run in Gymnasium beside them, and the map."""
    data = run_seeds(config)
    theirs = [
        [learn_in_gymnasium(name, kwargs, float(beta), config) for beta in data.beta.values]
        for name, kwargs in ENVIRONMENTS.values()
    ]
    for i, name in enumerate(("gymnasium_return", "gymnasium_largest")):
        data[name] = ("environment", "beta"), np.array(theirs)[..., i]
    data["largest"].attrs["long_name"] = "largest |Q|"
    data["map_largest"] = map_dry_lake(config)
    limits = jm.theory.max_stable_alpha(data.map_beta.values, config.discount)
    data["map_limit"] = "map_beta", np.asarray(limits)
    limit = float(jm.theory.max_stable_alpha(config.beta, config.discount))
    data.attrs = {"limit": limit, "alpha": config.alpha, "episodes": config.episodes}
    return data


def report(data: xr.Dataset) -> str:
    """Return a table of mean returns and diverged seeds, ours beside Gymnasium."""
    last = data.largest.isel(step=-1)
    diverged = (~(last <= DIVERGED)).sum("seed")
    lines = [
        f"{data.sizes['seed']} seeds each; mean return of the last 100 of "
        f"{data.attrs['episodes']} episodes, - if none of them ended",
        f"{'':15s} {'beta':>5s} {'return':>9s} {'diverged':>9s} {'Gymnasium':>10s} "
        f"{'|Q| there':>10s}",
    ]
    for environment in data.environment.values:
        for beta in data.beta.values:
            cell = data.sel(environment=environment, beta=beta)
            ours, theirs = (
                "-" if np.isnan(value) else f"{value:.3f}"
                for value in (float(cell["return"].mean()), float(cell.gymnasium_return))
            )
            lines.append(
                f"{environment:15s} {beta:5.2f} {ours:>9s} "
                f"{int(diverged.sel(environment=environment, beta=beta)):9d} "
                f"{theirs:>10s} {float(cell.gymnasium_largest):10.1e}"
            )
    lines += [
        f"The largest alpha that is stable on every cycle is {data.attrs['limit']:.5f} at beta = "
        f"{float(data.beta[-1]):g}; the tutorial's {data.attrs['alpha']:g} is "
        f"{data.attrs['alpha'] / data.attrs['limit']:.0f} times that."
    ]
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw the largest entry of Q over the steps, and over beta and alpha with the bound of theory.

    Curves end when half of the slower seeds have had all their episodes.
    """
    figure, panels = jm.plot.figure(15.0, 8.0, rows=2, columns=3)
    for ax, environment in zip(panels[:, :2].flat, data.environment.values, strict=True):
        here = data.sel(environment=environment)
        legend = "center left" if ax is panels[0, 0] else ""
        jm.plot.curves(here.largest.clip(max=1e190), ax=ax, title=str(environment), legend=legend)
        ax.set_xlim(0, float(here.taken.median("seed").max()))
        ax.locator_params(axis="x", nbins=5)
        if ax in panels[:, 1]:
            ax.set_ylabel("")
        ax.axhline(DIVERGED, color="#666666", linewidth=0.8, linestyle=":")
        ax.annotate(
            "diverged",
            (0.99, DIVERGED),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
            color="#666666",
        )
    grid = panels[0, 2].get_gridspec()
    for ax in panels[:, 2]:
        ax.remove()
    ax = figure.add_subplot(grid[:, 2])
    jm.plot.heatmap(
        data.map_largest, x="map_beta", y="map_alpha", x_scale="memory", star=False, ax=ax
    )
    ax.plot(data.map_beta, data.map_limit, color="white", linewidth=4)
    ax.plot(data.map_beta, data.map_limit, color="#D55E00", label="largest stable alpha of theory")
    ax.set(xlabel="beta", ylabel="alpha", ylim=(1e-4, 1), title="dry lake, over beta and alpha")
    ax.legend(loc="lower left", fontsize=8)
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
