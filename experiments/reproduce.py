"""Which published numbers on momentum come out again, computed by this library from its own code?

Each line states a claim, its source, the number there and ours: bounds of N steps (by
`theory.worst_case`), rates, limits of stability, equivalences, counterexamples, and the exponents
of stochastic least squares (by `theory.risk`). "=" claims a number, "<=" a bound that ours must
keep; the tolerance of "=" is stated with each, and is above 1e-3 only where the source speaks of a
limit (large dimensions, long runs, small steps) that a finite computation approaches.

Answer: all but one of 33 agree. Bounds of N steps agree to 1e-5 and closed forms to 1e-9;
exponents, fitted over t = 1,000 to 10,000, lie within 5 % of their limits. The one that does not:
PEPit's page on triple momentum has (1 - 1/sqrt(kappa))^(2 (N + 1)) after N steps. The exact worst
case of the method from rest has 2 N in the exponent, and so has PEPit's own code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from matplotlib.figure import Figure

import jaxmom as jm
from experiments import command
from experiments.command import option


@dataclass(frozen=True)
class Config:
    """The size of what only holds in a limit, and the length of worst cases."""

    steps: int = option(10, "N of the worst cases")
    dimension: int = option(8000, "dimension of stochastic least squares with a power law")
    length: int = option(10_000, "steps over the last decade of which exponents are fitted")


@dataclass(frozen=True)
class Claim:
    """One published number.

    Attributes:
      statement: What is claimed.
      source: Where.
      theirs: The number there.
      ours: Computes ours.
      relation: "=" or "<=".
      tolerance: The relative difference up to which "=" agrees.
    """

    statement: str
    source: str
    theirs: float
    ours: Callable[[], float]
    relation: str = "="
    tolerance: float = 1e-4


def thetas(steps: int) -> float:
    """Return theta_N of the optimized gradient methods, whose last step differs."""
    value = 1.0
    for t in range(steps):
        value = (1 + math.sqrt(1 + (8 if t == steps - 1 else 4) * value**2)) / 2
    return value


def item_ratio(q: float, steps: int) -> float:
    """Return what ITEM leaves of the squared distance."""
    a = 0.0
    for _ in range(steps):
        a = ((1 + q) * a + 2 * (1 + math.sqrt((1 + a) * (1 + q * a)))) / (1 - q) ** 2
    return 1 / (1 + q * a)


def worst_cases(n: int) -> list[Claim]:
    """Claims on N steps over all smooth convex functions; L is 1, or kappa with mu = 1."""

    def bound(optimizer: jm.Optimizer, mu: float = 0.0, L: float = 1.0, **keywords: str):
        return lambda: jm.theory.worst_case(optimizer, n, mu, L, **keywords).bound  # pyright: ignore

    kappa, gentle = 100.0, 0.5
    rho, damping = 1 - kappa**-0.5, math.sqrt((1 - gentle * 0.1) * (1 - gentle))
    by_value = {"measure": "gradient_norm", "start": "value"}
    convex_ball = jm.heavy_ball(lambda t: 1 / (t + 2.0), beta=lambda t: t / (t + 2.0))
    return [
        Claim(f"descent: f - f* <= L R^2 / (4 N + 2), tight; N = {n}",
              "Drori and Teboulle 2014, 1206.3209", 1 / (4 * n + 2),
              bound(jm.gradient_descent(1.0))),
        Claim(f"descent: |grad f|^2 <= 2 L (f_0 - f*) / (2 N + 1), tight; N = {n}",
              "Taylor et al. 2017, 1502.05666", 2 / (2 * n + 1),
              bound(jm.gradient_descent(1.0), **by_value)),
        Claim("descent: distances shrink by (1 - alpha mu) a step, tight",
              "Taylor et al. 2018, 1705.04398", 0.9 ** (2 * n),
              bound(jm.gradient_descent(0.1), 1.0, 10.0, measure="distance")),
        Claim(f"Nesterov 1983: f - f* <= 2 L R^2 / (N + 1)^2; N = {n}",
              "Beck and Teboulle 2009", 2 / (n + 1) ** 2, bound(jm.nesterov_convex(1.0)), "<="),
        Claim(f"OGM: f - f* <= L R^2 / (2 theta_N^2), tight; N = {n}",
              "Kim and Fessler 2016, 1406.5468", 1 / (2 * thetas(n) ** 2),
              bound(jm.optimized_gradient(1.0, steps=n))),
        Claim(f"OGM-G: |grad f|^2 <= 2 L (f_0 - f*) / theta^2, tight; N = {n}",
              "Kim and Fessler 2021, 1803.06600", 2 / thetas(n) ** 2,
              bound(jm.ogm_gradient(1.0, steps=n), **by_value)),
        Claim("ITEM: |z_N - z*|^2 <= R^2 / (1 + q A_N), tight; kappa = 20",
              "Taylor and Drori 2023, 2101.09741", item_ratio(0.05, n),
              bound(jm.item(1.0, 20.0), 1.0, 20.0, measure="distance")),
        Claim("triple momentum: f - f* <= rho^(2 N) L kappa R^2 / 2; kappa = 100",
              "Van Scoy et al. 2018", rho ** (2 * n) * kappa**2 / 2,
              bound(jm.triple_momentum(1.0, kappa), 1.0, kappa)),
        Claim("triple momentum: the same with rho^(2 (N + 1))",
              "PEPit 0.5.1, docstring of wc_triple_momentum", rho ** (2 * n + 2) * kappa**2 / 2,
              bound(jm.triple_momentum(1.0, kappa), 1.0, kappa)),
        Claim("heavy ball, alpha <= 1/L: f - f* shrinks by (1 - alpha mu) a step",
              "Ghadimi et al. 2015, 1412.7457", 0.95**n,
              bound(jm.heavy_ball(gentle, damping), 0.1, 1.0, start="value"), "<="),
        Claim(f"heavy ball with t / (t + 2): f - f* <= L R^2 / (2 (N + 1)), tight; N = {n}",
              "Goujaud et al. 2022, 2205.15033", 1 / (2 * (n + 1)), bound(convex_ball)),
    ]  # fmt: skip


def linear_systems() -> list[Claim]:
    """Claims on quadratics: rates, limits of stability, noise, equivalences."""
    kappa = 100.0
    root = math.sqrt(kappa)
    ball = jm.heavy_ball(**jm.theory.tune("heavy_ball", 1.0, kappa).hyperparameters)
    nesterov = jm.nesterov(**jm.theory.tune("nesterov", 1.0, kappa).hyperparameters)

    def rate(optimizer: jm.Optimizer) -> Callable[[], float]:
        return lambda: float(jm.theory.rate(optimizer, 1.0, kappa))

    def limit(optimizer: jm.Optimizer) -> Callable[[], float]:
        return lambda: float(jm.theory.stability_limit(optimizer))

    def scale(a: jm.Optimizer, b: jm.Optimizer) -> Callable[[], float]:
        def found() -> float:
            proof = jm.theory.equivalent(a, b)
            return proof.scale if proof.holds else math.nan

        return found

    def small_batches() -> float:
        """Return the largest noise of the curvature, per curvature, in the limit of small steps."""
        alpha = 1e-4
        return alpha * float(jm.theory.curvature_noise_limit(jm.heavy_ball(alpha, 0.9), 1.0))

    def floor(optimizer: jm.Optimizer) -> float:
        return float(jm.theory.stationary_variance(optimizer, 1.0))

    return [
        Claim("heavy ball: rate (sqrt kappa - 1) / (sqrt kappa + 1) on quadratics; kappa = 100",
              "Polyak 1964", (root - 1) / (root + 1), rate(ball)),
        Claim("Nesterov: best rate on quadratics 1 - 2 / sqrt(3 kappa + 1); kappa = 100",
              "Lessard et al. 2016, 1408.3595, prop. 1", 1 - 2 / math.sqrt(3 * kappa + 1),
              rate(nesterov)),
        Claim("heavy ball is stable up to alpha lambda = 2 + 2 beta; beta = 0.9",
              "Goh 2017, Why Momentum Really Works", 3.8, limit(jm.heavy_ball(1.0, 0.9))),
        Claim("Nesterov is stable up to 2 (1 + beta) / (1 + 2 beta); beta = 0.9",
              "Cohen et al. 2021, 2103.00065", 3.8 / 2.8,
              limit(jm.nesterov(1.0, 0.9))),
        Claim("QHM with nu = beta is Nesterov with (1 - beta) alpha; beta = 0.9",
              "Ma and Yarats 2019, 1810.06801", 0.1,
              scale(jm.qhm(1.0, 0.9, 0.9), jm.nesterov(1.0, 0.9)), tolerance=1e-9),
        Claim("SUM with s = 1 is Nesterov",
              "Yang et al. 2016, 1604.03257", 1.0,
              scale(jm.unified_momentum(1.0, 0.9, 1.0), jm.nesterov(1.0, 0.9)), tolerance=1e-9),
        Claim("primal averaging is heavy ball with beta = 1 - c and c alpha; c = 0.1",
              "Defazio 2020, 2010.00406", 0.1,
              scale(jm.primal_averaging(1.0, 0.1), jm.heavy_ball(1.0, 0.9)), tolerance=1e-9),
        Claim("small steps: momentum has the noise floor of the step alpha / (1 - beta)",
              "Mandt et al. 2017, 1704.04289", 1.0,
              lambda: floor(jm.heavy_ball(1e-4, 0.9)) / floor(jm.gradient_descent(1e-3)),
              tolerance=1e-3),
        Claim("noisy curvature: heavy ball is stable up to 2 (1 - beta) / alpha; beta = 0.9",
              "2604.14108, small batches", 0.2, small_batches, tolerance=1e-3),
    ]  # fmt: skip


def counterexamples() -> list[Claim]:
    """Claims on single functions and games, and on certificates."""

    def bent(x: jax.Array) -> jax.Array:
        middle = x**2 / 2 + 24 * x - 12
        return jnp.where(x < 1, 12.5 * x**2, jnp.where(x < 2, middle, 12.5 * x**2 - 24 * x + 36))

    def cycle() -> float:
        """Return the largest of the last three points."""
        run = jm.optimize(bent, jnp.array(3.3), jm.heavy_ball(1 / 9, 4 / 9), 3000, record="params")
        return float(jnp.max(run.history["params"][-3:]))

    def first_without_certificate() -> float:
        low, high = 10.0, 30.0
        while high - low > 0.1:
            kappa = (low + high) / 2
            ball = jm.heavy_ball(**jm.theory.tune("heavy_ball", 1.0, kappa).hyperparameters)
            found = math.isfinite(jm.theory.certified_rate(ball, 1.0, kappa).rate)
            low, high = (kappa, high) if found else (low, kappa)
        return low

    @jax.jit
    def growth(optimizer: optax.GradientTransformation) -> jax.Array:
        """Return the factor a step on the game x y, from the code, over 2,000 steps."""

        def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
            point, state = carry
            field = jnp.array([point[1], -point[0]])
            update, state = optimizer.update(field, state, point)
            return (point + update, state), jnp.linalg.norm(point + update)

        start = jnp.array([1.0, 0.5])
        sizes = jax.lax.scan(step, (start, optimizer.init(start)), None, 2000)[1]
        return (jnp.max(sizes[-200:]) / jnp.max(sizes[900:1100])) ** (1 / 900)

    def optimistic_limit() -> float:
        low, high = 0.3, 1.0
        while high - low > 1e-4:
            alpha = (low + high) / 2
            stable = growth(jm.optimistic_gradient(alpha)) < 1
            low, high = (alpha, high) if stable else (low, alpha)
        return low

    ideal = jm.robust_momentum(1.0, 100.0, rho=0.93)
    return [
        Claim("heavy ball, best on quadratics, cycles: its largest point is 2592 / 1225",
              "Lessard et al. 2016, 1408.3595, sec. 4.6", 2592 / 1225, cycle, tolerance=1e-9),
        Claim("heavy ball, best on quadratics, has certificates up to kappa of about 18",
              "Lessard et al. 2016, 1408.3595, sec. 4.6", 18.0, first_without_certificate,
              tolerance=0.05),
        Claim("robust momentum has the rate rho that is asked for; rho = 0.93, kappa = 100",
              "Cyrus et al. 2018, 1710.04753", 0.93,
              lambda: jm.theory.certified_rate(ideal, 1.0, 100.0).rate, tolerance=1e-3),
        Claim("optimistic gradient converges on bilinear games up to 1 / sqrt(3)",
              "Zhang and Yu 2020, 1908.05699", 3**-0.5, optimistic_limit, tolerance=1e-2),
        Claim("complex momentum (phi = pi/8) converges where both play at once",
              "Lorraine et al. 2022, 2102.08431", 1.0,
              lambda: float(growth(jm.complex_momentum(0.06, 0.9))), "<="),
    ]  # fmt: skip


def stochastic(dimension: int, length: int) -> list[Claim]:
    """Claims on stochastic least squares: closed forms, large dimensions, exponents.

    Eigenvalues fall as j^-nu, and what is left beyond the first j as j^(-zeta nu).
    """
    nu, zeta = 3.0, 0.3
    j = np.arange(1, dimension + 1.0)
    curvatures, start = j**-nu, j ** ((nu - 1 - zeta * nu) / 2)
    alpha = 0.3 / curvatures.sum()

    def slope(optimizer: jm.Optimizer, batch_size: float = 1.0) -> Callable[[], float]:
        def fitted() -> float:
            given = {"start": start, "batch_size": batch_size}
            curve = jax.jit(lambda o: jm.theory.risk(o, curvatures, length, **given))(optimizer)
            return float(np.log(curve[length // 10] / curve[-1]) / np.log(10))

        return fitted

    def accelerated() -> float:
        optimizer = jm.sutskever_nesterov(0.5, beta=lambda t: t / (t + 2.0))
        given = {"start": [1.0], "batch_size": 1e30, "record": "eval_value"}
        return float(jm.theory.risk(optimizer, [0.02], 50, **given)[-1])

    def averaged() -> float:
        """Return the risk of the mean of n iterates, d = 20, after 1,000 steps."""
        curve = jm.theory.risk(jm.average(jm.gradient_descent(1 / 88)), np.ones(20), 1000,
                            start=np.ones(20), noise=1.0, record="eval_value")  # fmt: skip
        return float(curve[-1])

    def ratio() -> float:
        """Return the risk of heavy ball over that of descent, both at the effective step 1 / d."""
        d = 800
        given = {"start": np.ones(d) / np.sqrt(d), "noise": 0.01}
        ball, descent = (
            jm.theory.risk(optimizer, np.linspace(0.1, 1.9, d), d, **given)[-1]
            for optimizer in (jm.heavy_ball(0.2 / d, beta=0.8), jm.gradient_descent(1.0 / d))
        )
        return float(ball / descent)

    decay, angle = math.sqrt(1 - 0.01), math.acos(math.sqrt(1 - 0.01))
    left = decay**50 * math.sin(51 * angle) / (51 * math.sin(angle))
    doubled = jm.heavy_ball(lambda t: 0.5 * (t + 1.0) / (t + 2.0), beta=lambda t: t / (t + 2.0))
    return [
        Claim("acceleration is a recursion with constant coefficients; risk after 50 steps",
              "Flammarion and Bach 2015, 1504.01577", 0.01 * left**2, accelerated, tolerance=1e-9),
        Claim("averaged SGD: excess <= 2 (sigma sqrt d + R |e_0|)^2 / n; n = 1,000",
              "Bach and Moulines 2013, 1306.2119, th. 1",
              2 * (math.sqrt(20) + math.sqrt(22 * 20)) ** 2 / 1000, averaged, "<="),
        Claim("small batches: heavy ball is SGD with alpha / (1 - beta); risk ratio, d = 800",
              "Paquette and Paquette 2021, 2106.03696", 1.0, ratio, tolerance=0.01),
        Claim("SGD: the loss falls as t^-zeta; zeta = 0.3",
              "Yarotsky and Velikanov 2025, 2410.04228", zeta, slope(jm.gradient_descent(alpha)),
              tolerance=0.05),
        Claim("stationary heavy ball keeps the exponent of SGD",
              "Yarotsky and Velikanov 2025, 2410.04228", zeta,
              slope(jm.heavy_ball(alpha / 5, beta=0.8)), tolerance=0.05),
        Claim("without noise, heavy ball with a schedule doubles it",
              "Yarotsky and Velikanov 2025, 2410.04228", 2 * zeta, slope(doubled, 1e30),
              tolerance=0.05),
        Claim("AM1: zeta (2 - 1 / nu) at the largest exponent of its schedule; nu = 3",
              "Yarotsky and Velikanov 2025, 2410.04228", zeta * (2 - 1 / nu),
              slope(jm.am1(alpha, alpha=1 - 1 / nu, delta=1.0)), tolerance=0.05),
        Claim("DANA-decaying: zeta (2 - 1 / nu)",
              "Ferbach et al. 2025, 2505.16098", zeta * (2 - 1 / nu),
              slope(jm.dana(alpha, delta=8.0, gamma3=1.0, kappa=1 / nu)), tolerance=0.05),
    ]  # fmt: skip


def compute(config: Config) -> xr.Dataset:
    """Compute all numbers."""
    claims = worst_cases(config.steps) + linear_systems() + counterexamples()
    claims += stochastic(config.dimension, config.length)
    ours = np.array([claim.ours() for claim in claims])
    theirs = np.array([claim.theirs for claim in claims])
    relations = np.array([claim.relation for claim in claims])
    tolerances = np.array([claim.tolerance for claim in claims])
    is_same = np.abs(ours / theirs - 1) <= tolerances
    agrees = np.where(relations == "=", is_same, ours <= theirs * (1 + 1e-9))
    return xr.Dataset(
        {
            "theirs": ("claim", theirs),
            "ours": ("claim", ours),
            "relation": ("claim", relations),
            "tolerance": ("claim", tolerances),
            "agrees": ("claim", agrees.astype(int)),
            "source": ("claim", [claim.source for claim in claims]),
        },
        {"claim": [claim.statement for claim in claims]},
    )


def report(data: xr.Dataset) -> str:
    """Return the table of claims."""
    lines = [f"{'':10s} {'theirs':>12s} {'ours':>14s}  claim (source)"]
    for i in range(data.sizes["claim"]):
        row = data.isel(claim=i)
        mark = "agrees" if row.agrees else "DISAGREES"
        lines.append(
            f"{mark:10s} {row.relation.values!s:>2s} {float(row.theirs):9.5g} "
            f"{float(row.ours):14.8g}  {row.claim.values} ({row.source.values})"
        )
    lines.append(f"\n{int(data.agrees.sum())} of {data.sizes['claim']} agree")
    return "\n".join(lines)


def draw(data: xr.Dataset) -> Figure:
    """Draw our number over theirs, for each claim, with its tolerance."""
    figure, axes = jm.plot.figure(11.0, 0.26 * data.sizes["claim"] + 1.0)
    places = np.arange(data.sizes["claim"])[::-1]
    ratio = data.ours / data.theirs
    kinds = {
        "agrees": ((data.relation == "=") & (data.agrees == 1), "o", "#0072B2"),
        "keeps a bound": ((data.relation == "<=") & (data.agrees == 1), "<", "#009E73"),
        "disagrees": (data.agrees == 0, "X", "#D55E00"),
    }
    axes.axvline(1, color="#666666", linewidth=0.8)
    for label, (chosen, marker, color) in kinds.items():
        axes.plot(ratio[chosen], places[chosen], marker, color=color, label=label)
    wide = (data.relation == "=") & (data.tolerance > 1e-3)
    axes.errorbar(np.ones(int(wide.sum())), places[wide], xerr=data.tolerance[wide], fmt="none",
                  ecolor="#999999", capsize=3, label="tolerance, if above 0.001")  # fmt: skip
    labels = [f"{claim}   [{source}]" for claim, source in
              zip(data.claim.values, data.source.values, strict=True)]  # fmt: skip
    axes.set_yticks(places, labels, fontsize=6.5)
    axes.set(xlabel="our number / theirs", ylim=(-0.8, len(places) - 0.2))
    axes.set_title("Published numbers on momentum, computed again", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    return figure


if __name__ == "__main__":
    command.run(__spec__.name, __doc__, Config, compute, draw, report)
