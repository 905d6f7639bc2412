"""What the playground shows of one method, all of it computed by the library itself."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmom import problems, theory
from jaxmom._optimize import optimize
from jaxmom.methods import (
    aggmo,
    ema_momentum,
    gradient_descent,
    heavy_ball,
    nesterov,
    qhm,
)
from jaxmom.sweeps.compile.lapack import jit_with_lapack
from jaxmom.transform import Optimizer

STEPS = 100
LAGS = 50
START = (-2.0, 1.0)
LANDSCAPES = ("quadratic", "bent valley")
_CURVATURES = 80
_LOCUS = 50  # curvatures for which poles are shown
_SCALARS = ("limit", "worst", "mean_age")
BEND = 0.3  # of the valley
_SIDE = 90  # points along each side of the landscape
FRAME = (-2.6, 2.6)  # of the landscape, in both coordinates


class Method(NamedTuple):
    """One method of the playground.

    Attributes:
      make: (learning_rate, beta) -> the optimizer.
      code: The call, in which `{learning_rate}` and `{beta}` are replaced.
    """

    make: Callable[[Any, Any], Optimizer]
    code: str


METHODS = {
    "heavy ball": Method(
        heavy_ball, "jm.heavy_ball(learning_rate={learning_rate!r}, beta={beta!r})"
    ),
    "Nesterov": Method(nesterov, "jm.nesterov(learning_rate={learning_rate!r}, beta={beta!r})"),
    "averaged momentum": Method(
        ema_momentum, "jm.ema_momentum(learning_rate={learning_rate!r}, beta={beta!r})"
    ),
    "quasi-hyperbolic, nu = 0.7": Method(
        qhm, "jm.qhm(learning_rate={learning_rate!r}, beta={beta!r}, nu=0.7)"
    ),
    "aggregated, betas = (0, beta)": Method(
        lambda learning_rate, beta: aggmo(learning_rate, betas=(0.0, beta)),
        "jm.aggmo(learning_rate={learning_rate!r}, betas=(0.0, {beta!r}))",
    ),
    "gradient descent": Method(
        lambda learning_rate, beta: gradient_descent(learning_rate),
        "jm.gradient_descent(learning_rate={learning_rate!r})",
    ),
}


class Setting(NamedTuple):
    """The numbers of the playground.

    Attributes:
      method: One of `METHODS`.
      learning_rate: Its learning rate.
      beta: Its beta.
      mu: The smallest curvature.
      L: The largest curvature.
      noise: The standard deviation of the gradient's noise, and of labels in the risk.
      batch: The rows in a batch, in the risk.
      landscape: One of `LANDSCAPES`, on which the path is.
    """

    method: str = "heavy ball"
    learning_rate: float = 0.1
    beta: float = 0.9
    mu: float = 1.0
    L: float = 10.0
    noise: float = 0.0
    batch: int = 32
    landscape: str = "quadratic"


class MomentumView(NamedTuple):
    """What is drawn of a setting; all in float64.

    Attributes:
      path: [updates + 1, 2] params of a run, NaN after it diverged.
      diverged_at: The update at which it did, or -1.
      kernel: [lags] weights of past gradients in a step.
      curvatures: [points] from a tenth of the smallest one to twice the largest.
      poles: [points, n] eigenvalues of the iteration at curvatures up to twice the largest.
      ends: [2, n] those at the smallest and at the largest curvature.
      frequencies: [points] radians per update.
      response: [points] the filter's complex gain.
      rates: [points] the spectral radius at each curvature.
      limit: The largest stable curvature.
      worst: The worst rate of all curvatures from the smallest to the largest.
      floor: [points] the stationary variance of params at each curvature; NaN where there is none.
      risk: [updates + 1] the expected excess loss of least squares with these curvatures.
      mean_age: Of the gradients in a step.
    """

    path: NDArray[np.float64]
    diverged_at: int
    kernel: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    poles: NDArray[np.complex128]
    ends: NDArray[np.complex128]
    frequencies: NDArray[np.float64]
    response: NDArray[np.complex128]
    rates: NDArray[np.float64]
    limit: float
    worst: float
    floor: NDArray[np.float64]
    risk: NDArray[np.float64]
    mean_age: float


def make_optimizer(setting: Setting) -> Optimizer:
    """Return the optimizer of a setting."""
    return METHODS[setting.method].make(setting.learning_rate, setting.beta)


def view_momentum(setting: Setting) -> MomentumView:
    """Compute what is drawn of a setting.

    An optimizer is a pytree, so that a program compiles once for each method, whatever the numbers.

    Example:
      >>> view = view_momentum(Setting(learning_rate=0.1, beta=0.9))
      >>> print(f"{view.limit:.1f}")  # 2 (1 + beta) / learning_rate
      38.0
    """
    with jax.enable_x64(True):
        optimizer, numbers = make_optimizer(setting), (setting.mu, setting.L, setting.noise)
        study = _study(optimizer, *numbers, setting.batch)
        found: dict[str, Any] = {name: np.asarray(value) for name, value in study.items()}
        path, at = (np.asarray(one) for one in _run(setting.landscape, optimizer, *numbers))
    last = int(at) if at >= 0 else STEPS  # of the updates before it diverged
    path = np.where(np.arange(STEPS + 1)[:, None] <= last, path, np.nan)
    scalars: dict[str, Any] = {name: float(found.pop(name)) for name in _SCALARS}
    return MomentumView(path=path, diverged_at=int(at), **found, **scalars)


@jit_with_lapack
def _study(optimizer: Optimizer, mu: Any, L: Any, noise: Any, batch: Any) -> dict[str, jax.Array]:
    """Return what theory says of an optimizer, by the names of `MomentumView`."""
    curvatures = mu / 10 * (20 * L / mu) ** jnp.linspace(0.0, 1.0, _CURVATURES)
    frequencies = jnp.pi * 10.0 ** jnp.linspace(-3.0, 0.0, _CURVATURES)
    floor = theory.stationary_variance(optimizer, curvatures, noise**2)
    rates = theory.spectral_radius(optimizer, curvatures)
    spectrum = jnp.stack([mu, L])
    return {
        "kernel": theory.kernel(optimizer, LAGS),
        "curvatures": curvatures,
        "poles": theory.eigenvalues(optimizer, jnp.linspace(0.0, 2 * L, _LOCUS)),
        "ends": theory.eigenvalues(optimizer, spectrum),
        "frequencies": frequencies,
        "response": theory.frequency_response(optimizer, frequencies),
        "rates": rates,
        "limit": theory.stability_limit(optimizer),
        "worst": theory.rate(optimizer, mu, L),
        "floor": jnp.where(rates < 1, floor, jnp.nan),
        "risk": theory.risk(
            optimizer, spectrum, STEPS, start=jnp.asarray(START), noise=noise**2, batch_size=batch
        ),
        "mean_age": theory.mean_age(optimizer),
    }


@functools.partial(jax.jit, static_argnums=0)
def _run(
    landscape: str, optimizer: Optimizer, mu: Any, L: Any, noise: Any
) -> tuple[jax.Array, jax.Array]:
    """Return the params [updates + 1, 2] of a run, and the update at which it diverged, or -1."""
    problem = problems.quadratic(jnp.stack([mu, L]), noise=noise, start=START)
    loss = problem.loss
    if landscape != "quadratic":
        loss = functools.partial(_bent_loss, mu, L)
    run = optimize(
        loss,
        problem.params,
        optimizer,
        STEPS,
        batches=problem.batches,
        key=jax.random.key(0),
        record="params",
    )
    return run.history["params"], run.diverged_at


def _bent_loss(mu: Any, L: Any, params: jax.Array, draw: Any = 0.0) -> jax.Array:
    """Return the loss of a bent valley whose curvatures at the optimum, 0, are mu and L."""
    valley = problems.narrow_valley(L / mu, bend=BEND)
    return mu * valley.full_loss(params) + jnp.sum(draw * params)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(landscape: str, mu: Any, L: Any) -> jax.Array:
    points = jnp.linspace(*FRAME, _SIDE)
    loss: Any = functools.partial(_bent_loss, mu, L)
    if landscape == "quadratic":
        loss = problems.quadratic(jnp.stack([mu, L])).full_loss
    return jax.vmap(lambda y: jax.vmap(lambda x: loss(jnp.stack([x, y])))(points))(points)


def view_landscape(setting: Setting) -> NDArray[np.float64]:
    """Return the loss [rows of y, columns of x] on the frame."""
    with jax.enable_x64(True):
        return np.asarray(_evaluate(setting.landscape, setting.mu, setting.L))


def write_code(setting: Setting) -> str:
    """Return a script with the optimizer of a setting, the run that is shown, and its theory."""
    numbers = {"learning_rate": setting.learning_rate, "beta": setting.beta}
    optimizer = METHODS[setting.method].code.format(**numbers)
    loss = _BENT_CODE.format(**setting._asdict(), bend=BEND)
    if setting.landscape == "quadratic":
        loss = "loss = problem.loss\n"
    return _CODE.format(**setting._asdict(), optimizer=optimizer, loss=loss, start=list(START))


_BENT_CODE = """valley = jm.problems.narrow_valley({L!r} / {mu!r}, bend={bend!r})


def loss(params, draw):
    return {mu!r} * valley.full_loss(params) + draw @ params


"""
_CODE = f"""import jax
import jaxmom as jm

jax.config.update("jax_enable_x64", True)
optimizer = {{optimizer}}
problem = jm.problems.quadratic([{{mu!r}}, {{L!r}}], noise={{noise!r}}, start={{start}})
{{loss}}key, batches = jax.random.key(0), problem.batches
run = jm.optimize(loss, problem.params, optimizer, {STEPS}, batches=batches, key=key)
print("diverged at", run.diverged_at, "last params", run.params)
print("stable up to curvature", jm.theory.stability_limit(optimizer))
print("worst rate of all curvatures:", jm.theory.rate(optimizer, {{mu!r}}, {{L!r}}))
"""
