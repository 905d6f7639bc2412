"""Other ways to run many trials, which `experiments.benchmarks.sweep` times beside sweeps.

Each function returns a callable of one argument, the number of the call, that runs the next trial
or the next few: on the quadratic of the tutorial with values of beta and the learning rate, or of
small networks on the digits with values of beta and a seed.
"""

import ctypes
import pathlib
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmom as jm

PyTree: TypeAlias = Any
Axes: TypeAlias = dict[str, np.ndarray]  # argument -> its value in each trial
Call: TypeAlias = Callable[[int], Any]  # number of the call -> ignored
TrainFn: TypeAlias = Callable[..., dict[str, jax.Array]]  # arguments of a trial -> outputs

CURVATURE, START = np.array([4.0, 1.0], np.float32), np.array([2.0, 2.0], np.float32)
RATE, BATCH = 0.05, 64
C_SOURCE = """
#include <stddef.h>
void run(size_t lanes, int steps, const float *beta, const float *rate, float *loss) {
  for (size_t first = 0; first < lanes; first += 512) {
    float x[512], y[512], u[512], v[512];
    size_t n = lanes - first < 512 ? lanes - first : 512;
    const float *b = beta + first, *a = rate + first;
    for (size_t i = 0; i < n; i++) { x[i] = y[i] = 2; u[i] = v[i] = 0; }
    for (int t = 0; t < steps; t++)
      for (size_t i = 0; i < n; i++) {
        u[i] = b[i] * u[i] - a[i] * 4 * x[i]; x[i] += u[i];
        v[i] = b[i] * v[i] - a[i] * y[i]; y[i] += v[i];
      }
    for (size_t i = 0; i < n; i++) loss[first + i] = (4 * x[i] * x[i] + y[i] * y[i]) / 2;
  }
}
"""


def in_c(axes: Axes, steps: int) -> Callable[[], None]:
    """Run all lanes of the quadratic in C, compiled here: the fastest that one core can be."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "run.c").write_text(C_SOURCE)
    command = ["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", folder / "run.so", folder / "run.c"], check=True)
    library, loss = ctypes.CDLL(str(folder / "run.so")), np.empty_like(axes["beta"])
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*axes.values(), loss)]
    return lambda: library.run(ctypes.c_size_t(len(loss)), steps, *pointers)


def jitted_loop(train: TrainFn, axes: Axes) -> Call:
    """Call one compiled run for each trial."""
    program = jax.jit(train)
    return lambda i: program(**{name: a[i] for name, a in axes.items()})["value"].item()


def optuna_loop(train: TrainFn, axes: Axes) -> Call:
    """Ask Optuna's random sampler, which proposes numbers between those of the axes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    program = jax.jit(train)

    def suggest(trial: Any, name: str, axis: np.ndarray) -> Any:
        low, high = axis.min().item(), axis.max().item()
        kind = trial.suggest_int if axis.dtype.kind == "i" else trial.suggest_float
        return axis.dtype.type(kind(name, low, high))

    def objective(trial: Any) -> float:
        values = {name: suggest(trial, name, axis) for name, axis in axes.items()}
        return program(**values)["value"].item()

    return lambda _: study.optimize(objective, n_trials=1)


def recompiled_loop(
    loss: Callable[[PyTree, Any], jax.Array],
    params: PyTree,
    trial: Callable[[int], Any],
    steps: int,
) -> Call:
    """Compile an optax optimizer of Python floats, which are constants of its program.

    Args:
      loss: ``loss(params, batch)``.
      params: The start.
      trial: ``trial(i) -> (learning rate, beta, batches)``; ``batches(count)`` is traced.
      steps: The steps of a run.
    """

    def run_trial(i: int) -> None:
        rate, beta, batches = trial(i)
        optimizer = optax.sgd(float(rate), momentum=float(beta))

        @jax.jit
        def run(params: Any) -> Any:
            def step(carry: Any, count: Any) -> Any:
                params, state = carry
                gradient = jax.grad(loss)(params, batches(count))
                updates, state = optimizer.update(gradient, state, params)
                return (optax.apply_updates(params, updates), state), None

            counts = jnp.arange(steps, dtype=jnp.int32)
            carry, _ = jax.lax.scan(step, (params, optimizer.init(params)), counts)
            return loss(carry[0], batches(counts[-1]))

        run(params).item()

    return run_trial


def numpy_loop(axes: Axes, steps: int) -> Call:
    """Run the quadratic, one lane at a time, as in tutorials."""

    def run_trial(i: int) -> None:
        x, v = START, np.zeros(2, np.float32)
        for _ in range(steps):
            v = axes["beta"][i] * v - axes["learning_rate"][i] * CURVATURE * x
            x = x + v

    return run_trial


def numpy_lanes(axes: Axes, steps: int, lanes: int) -> Call:
    """Run the quadratic with lanes as the last axis of the arrays, in place."""

    def run_trial(i: int) -> None:
        beta, rate = (a[lanes * i : lanes * (i + 1)] for a in axes.values())
        x = np.full((2, len(beta)), 2, np.float32)
        v, scaled = np.zeros_like(x), rate * CURVATURE[:, None]
        for _ in range(steps):
            v *= beta
            v -= scaled * x
            x += v

    return run_trial


def torch_loop(axes: Axes, steps: int) -> Call:
    """Run the quadratic by torch.optim.SGD, a lane at a time."""
    import torch

    curvature = torch.tensor(CURVATURE)

    def run_trial(i: int) -> None:
        x = torch.tensor(START, requires_grad=True)
        rate, beta = float(axes["learning_rate"][i]), float(axes["beta"][i])
        optimizer = torch.optim.SGD([x], lr=rate, momentum=beta)
        for _ in range(steps):
            optimizer.zero_grad()
            ((curvature * x**2).sum() / 2).backward()
            optimizer.step()

    return run_trial


def torch_lanes(axes: Axes, steps: int, lanes: int) -> Call:
    """Run the quadratic by torch.func.vmap of the gradient, and a loop over the steps."""
    import torch

    curvature = torch.tensor(CURVATURE)
    gradient = torch.func.vmap(torch.func.grad(lambda x: (curvature * x**2).sum() / 2))

    def run_trial(i: int) -> None:
        part = slice(lanes * i, lanes * (i + 1))
        beta, rate = (torch.tensor(a[part])[:, None] for a in axes.values())
        x = torch.full((len(beta), 2), 2.0)
        v = torch.zeros_like(x)
        for _ in range(steps):
            v = beta * v - rate * gradient(x)
            x = x + v

    return run_trial


def _load_digits() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return images, labels, and the initial weights and biases of a network of 32 units."""
    data, layers = jm.problems.digits(), jm.problems.digits_mlp().params
    weights = [np.array(layer[name]) for layer in layers for name in ("weight", "bias")]
    return np.array(data.images), np.array(data.labels), weights


def numpy_digits(axes: Axes, steps: int, lanes: int) -> Call:
    """Train networks by hand, with the lanes as the first axis; one lane is a tutorial's loop."""
    images, labels, start = _load_digits()

    def run_trial(i: int) -> None:
        beta = axes["beta"][lanes * i : lanes * (i + 1), None, None]
        params = [np.repeat(np.atleast_2d(p)[None], len(beta), 0) for p in start]
        velocity = [np.zeros_like(p) for p in params]
        random = np.random.default_rng(i)
        for _ in range(steps):
            rows = random.integers(len(images), size=(len(beta), BATCH))
            gradients = _backpropagate(
                params, images[rows], np.eye(10, dtype=np.float32)[labels[rows]]
            )
            for p, v, g in zip(params, velocity, gradients, strict=True):
                v *= beta
                v -= np.float32(RATE) * g
                p += v

    return run_trial


def _backpropagate(params: list[np.ndarray], x: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """Return the gradient of the cross-entropy of a network with one hidden layer, by lane."""
    first, first_bias, second, second_bias = params
    hidden = np.tanh(x @ first + first_bias)
    logits = hidden @ second + second_bias
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    error = (odds / odds.sum(-1, keepdims=True) - target) / np.float32(BATCH)
    inner = (error @ second.swapaxes(1, 2)) * (1 - hidden**2)
    layers = ((x, inner), (hidden, error))
    return [
        part
        for signal, delta in layers
        for part in (signal.swapaxes(1, 2) @ delta, delta.sum(1, keepdims=True))
    ]


def torch_digits(axes: Axes, steps: int) -> Call:
    """Train a network by torch.optim.SGD, a run at a time."""
    import torch

    images, labels, _ = _load_digits()
    images, labels = torch.tensor(images), torch.tensor(labels).long()

    def run_trial(i: int) -> None:
        torch.manual_seed(i)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=float(axes["beta"][i]))
        for _ in range(steps):
            rows = torch.randint(len(images), (BATCH,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()

    return run_trial


def torch_digits_lanes(axes: Axes, steps: int, lanes: int) -> Call:
    """Train networks by torch.func.vmap of the gradient, and a loop over the steps."""
    import torch

    images, labels, start = _load_digits()
    images, labels = torch.tensor(images), torch.tensor(labels).long()

    def loss(params: Any, x: Any, y: Any) -> Any:
        first, first_bias, second, second_bias = params
        logits = torch.tanh(x @ first + first_bias) @ second + second_bias
        return torch.nn.functional.cross_entropy(logits, y)

    gradient = torch.func.vmap(torch.func.grad(loss))

    def run_trial(i: int) -> None:
        torch.manual_seed(i)
        beta = torch.tensor(axes["beta"][lanes * i : lanes * (i + 1)])
        params = tuple(torch.tensor(p).expand(len(beta), *p.shape) for p in start)
        velocity = [torch.zeros_like(p) for p in params]
        for _ in range(steps):
            rows = torch.randint(len(images), (len(beta), BATCH))
            gradients = gradient(params, images[rows], labels[rows])
            velocity = [
                beta.view(-1, *[1] * (g.ndim - 1)) * v - RATE * g
                for v, g in zip(velocity, gradients, strict=True)
            ]
            params = tuple(p + v for p, v in zip(params, velocity, strict=True))

    return run_trial
