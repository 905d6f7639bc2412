"""What does a tutorial's Q-learning with momentum do at the tutorial's own numbers?

V[s, a] <- beta V[s, a] + alpha (r + gamma max_a' Q[s', a'] - Q[s, a]); Q[s, a] <- Q[s, a] + V[s, a]
with alpha 0.1, gamma 0.99, beta 0.9, 500 episodes, epsilon-greedy with epsilon 0.1. Once through
Gymnasium in plain Python, with its terminal states masked, and in 1,000 lanes of ours.

Answer: it diverges. On Taxi, on CliffWalking and on the dry lake nearly every seed does, in real
Gymnasium as well as here; on the slippery lake all survive, and end where they would have ended
without momentum. The largest stable alpha at beta = 0.9 is 0.6 (1 - beta)^2 = 0.006, for cycles of
states make the operator asymmetric; the tutorial's 0.1 is 16 times that. Without momentum all
are fine. A map over beta and alpha on the dry lake shows the same: errors grow above the bound, and
within these steps lanes are lost from a few times the bound on.
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
    beta: float = option(0.9, "of the runs with momentum")
    discount: float = option(0.99, "gamma")
    epsilon: float = option(0.1, "of the epsilon-greedy policy, of which tutorials say nothing")
    episodes: int = option(500, "episodes of each run")
    seeds: int = option(1000, "lanes of each environment and beta")
    steps: int = option(100_000, "steps at most, for on the cliff an episode may never end")
    records: int = option(50, "looks at the largest entry of Q")
    map_betas: int = option(14, "betas of the map on the dry lake, even in log(1 / (1 - beta))")
    map_alphas: int = option(25, "its alphas, from 0.0001 to 1")
    map_seeds: int = option(10, "its seeds, of which the median is drawn")


def in_gymnasium(name: str, kwargs: dict, beta: float, config: Config) -> tuple[float, float]:
    """The tutorial's loop in today's Gymnasium: the last mean return, and the largest entry."""
    import gymnasium

    env = gymnasium.make(name, disable_env_checker=True, **kwargs)
    random = np.random.default_rng(0)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    v, returns, steps = np.zeros_like(q), [], 0
    while len(returns) < config.episodes and steps < config.steps:
        (state, _), gained, over = env.reset(seed=None if returns else 0), 0.0, False
        while not over and steps < config.steps:
            best = np.flatnonzero(q[state] == q[state].max())
            explores = random.random() < config.epsilon
            action = random.integers(q.shape[1]) if explores else random.choice(best)
            following, reward, terminated, truncated, _ = env.step(int(action))
            later = 0.0 if terminated else config.discount * q[following].max()
            v[state, action] = beta * v[state, action] + config.alpha * (
                reward + later - q[state, action]
            )
            q[state, action] += v[state, action]
            state, gained, steps = following, gained + reward, steps + 1
            over = terminated or truncated
        if over:
            returns.append(gained)
    return float(np.mean(returns[-100:])) if returns else np.nan, float(np.abs(q).max())


def dry_map(config: Config) -> xr.DataArray:
    """The largest entry of Q on the dry lake over beta and alpha: the median over seeds."""
    name, kwargs = ENVIRONMENTS["dry lake"]
    mdp = jm.rl.from_gymnasium(name, **kwargs)
    betas = 1 - jnp.logspace(0, -2, config.map_betas)
    alphas = jnp.logspace(-4, 0, config.map_alphas)
    keys = jax.random.split(jax.random.key(1), config.map_seeds)
    sizes = (len(betas), len(alphas), len(keys))
    at = np.indices(sizes).reshape(3, -1)

    def largest(beta, alpha, key):
        rule = jm.rl.lazy_momentum(alpha, beta)
        options = {"discount": config.discount, "epsilon": config.epsilon, "rng": "xoshiro"}
        steps = max(config.steps // 5, 16)
        run = jm.rl.q_learning(mdp, rule, key, steps=steps, divergence=DIVERGED, **options)
        return jnp.where(run.diverged_at < 0, run.max_abs_q[-1], jnp.inf)

    lanes = {"beta": betas[at[0]], "alpha": alphas[at[1]], "key": keys[at[2]]}
    values = np.asarray(jm.rl.compile_lanes(largest)(**lanes)).reshape(sizes)
    return xr.DataArray(
        np.quantile(values, 0.5, axis=-1, method="higher"),
        {"map_beta": np.asarray(betas), "map_alpha": np.asarray(alphas)},
        ("map_beta", "map_alpha"),
        attrs={"long_name": "largest |Q| on the dry lake"},
    )


def compute(config: Config) -> xr.Dataset:
    """All seeds of each environment, without momentum and with it, beside one run in Gymnasium."""
    betas = jnp.array([0.0, config.beta])
    keys = jax.random.split(jax.random.key(0), config.seeds)
    every = max(config.steps // config.records, 1)
    rows = []
    for name, kwargs in ENVIRONMENTS.values():
        mdp = jm.rl.from_gymnasium(name, **kwargs)

        def run(beta, key, mdp=mdp):
            learned = jm.rl.q_learning(
                mdp,
                jm.rl.lazy_momentum(config.alpha, beta),
                key,
                episodes=config.episodes,
                steps=config.steps,
                discount=config.discount,
                epsilon=config.epsilon,
                every=every,
                divergence=jnp.inf,
                rng="xoshiro",
            )
            ended = ~jnp.isnan(learned.returns[-100:])
            gained = jnp.sum(jnp.where(ended, learned.returns[-100:], 0.0))
            return gained / jnp.sum(ended.astype(gained.dtype)), learned.max_abs_q

        lanes = {"beta": jnp.repeat(betas, config.seeds), "key": jnp.tile(keys, 2)}
        ours = jm.rl.compile_lanes(run)(**lanes)
        ours = [np.asarray(x).reshape(2, config.seeds, *x.shape[1:]) for x in ours]
        theirs = [in_gymnasium(name, kwargs, float(beta), config) for beta in betas]
        rows.append((*ours, *np.transpose(theirs)))
    mean, largest, theirs, theirs_largest = (np.stack(part) for part in zip(*rows, strict=True))
    dims = ("environment", "beta")
    data = xr.Dataset(
        {
            "return": ((*dims, "seed"), mean),
            "largest": ((*dims, "seed", "step"), largest),
            "gymnasium_return": (dims, theirs),
            "gymnasium_largest": (dims, theirs_largest),
        },
        {
            "environment": list(ENVIRONMENTS),
            "beta": np.asarray(betas),
            "step": every * np.arange(1, largest.shape[-1] + 1),
        },
        {"limit": float(jm.theory.max_stable_alpha(config.beta, config.discount))},
    )
    data.attrs |= {"alpha": config.alpha, "episodes": config.episodes}
    data["largest"].attrs["long_name"] = "largest |Q|"
    data["map_largest"] = dry_map(config)
    limits = jm.theory.max_stable_alpha(data.map_beta.values, config.discount)
    data["map_limit"] = ("map_beta", np.asarray(limits))
    return data


def report(data: xr.Dataset) -> str:
    """Mean returns and how many seeds diverged, ours beside Gymnasium."""
    last = data.largest.isel(step=-1)
    diverged = (~(last <= DIVERGED)).sum("seed")
    lines = [
        f"{data.sizes['seed']} seeds each; mean return of the last 100 of "
        f"{data.attrs['episodes']} episodes, where they ended",
        f"{'':15s} {'beta':>5s} {'return':>9s} {'diverged':>9s} {'Gymnasium':>10s} "
        f"{'|Q| there':>10s}",
    ]
    for environment in data.environment.values:
        for beta in data.beta.values:
            cell = data.sel(environment=environment, beta=beta)
            mean = float(cell["return"].mean())
            lines.append(
                f"{environment:15s} {beta:5.2f} {mean:9.3f} "
                f"{int(diverged.sel(environment=environment, beta=beta)):9d} "
                f"{float(cell.gymnasium_return):10.3f} {float(cell.gymnasium_largest):10.1e}"
            )
    lines += [
        f"The largest alpha that no cycle makes diverge is {data.attrs['limit']:.5f} at beta = "
        f"{float(data.beta[-1]):g}; the tutorial's {data.attrs['alpha']:g} is "
        f"{data.attrs['alpha'] / data.attrs['limit']:.0f} times that."
    ]
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """The largest entry of Q over the steps, and over beta and alpha with the bound of theory."""
    figure, panels = jm.plot.figure(15.0, 7.0, rows=2, columns=3)
    for ax, environment in zip(panels[:, :2].flat, data.environment.values, strict=True):
        runs = data.largest.sel(environment=environment).clip(max=1e190)
        jm.plot.curves(runs, ax=ax, title=str(environment), legend="above")
        ax.axhline(DIVERGED, color="#666666", linewidth=0.8, linestyle=":")
    ax = panels[0, 2]
    jm.plot.heatmap(
        data.map_largest, x="map_beta", y="map_alpha", x_scale="memory", star=False, ax=ax
    )
    ax.plot(data.map_beta, data.map_limit, color="#D55E00", label="largest stable alpha")
    ax.set(xlabel="beta", ylabel="alpha", ylim=(1e-4, 1))
    ax.legend(loc="lower left", fontsize=8)
    panels[1, 2].axis("off")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
