"""What is known of every method: its row in the tests, its filter, and what theory says of it.

All linear systems are padded to one shape, so that one compiled program describes them all.
"""

import dataclasses
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from jaxmom import theory
from jaxmom.sweeps.compile.lapack import jit_with_lapack

TESTS = str(pathlib.Path(__file__).parents[2] / "tests")
LAGS, HORIZON, CURVATURES = 60, 101, 90
FREQUENCIES = np.geomspace(1e-3, np.pi, 100)


@dataclasses.dataclass(frozen=True)
class Facts:
    """One method at the hyperparameters of its row in the tests.

    Attributes:
      name: The name in `jaxmom`.
      family: The module of `jaxmom.methods` that it is in.
      case: The row of `tests/cases`.
      filters: The coefficients of its first steps, one `Coefficients` where they are constant; None
        where it is not known as a filter.
      system: The linear system; None where `linearize` refuses.
      refusal: The sentence with which it refuses.
      numbers: What theory says, by name; empty without a system.
    """

    name: str
    family: str
    case: Any
    filters: list[jm.Coefficients] | None
    system: theory.LinearSystem | None
    refusal: str
    numbers: Mapping[str, np.ndarray]


def collect_facts() -> dict[str, Facts]:
    """Return name -> facts for every method of the catalogue, in the order of the tests' table."""
    if importlib.util.find_spec("cases") is None:
        sys.path.insert(0, TESTS)
    from cases import METHODS

    rows = {name: case for name, case in METHODS.items() if name in jm.methods.__all__}
    missing = set(jm.methods.__all__) - set(rows)
    if missing:
        raise ValueError(f"tests/cases has no row under the name of {', '.join(sorted(missing))}")
    with jax.enable_x64(True):
        tried = {name: try_linearize(case) for name, case in rows.items()}
        systems = {name: system for name, (system, _) in tried.items() if system is not None}
        numbers = describe_all(systems)
        return {
            name: Facts(
                name,
                getattr(jm.methods, name).__module__.rpartition(".")[2],
                case,
                find_filters(name, case),
                *tried[name],
                numbers.get(name, {}),
            )
            for name, case in rows.items()
        }


def try_linearize(case: Any) -> tuple[theory.LinearSystem | None, str]:
    """Return the system of a row, or the sentence that says why it has none."""
    try:
        return theory.linearize(case.make(**case.hyperparameters, **case.static)), ""
    except ValueError as error:
        return None, str(error).partition(". ")[0] + "."


def find_filters(name: str, case: Any) -> list[jm.Coefficients] | None:
    """Return the coefficients of the first steps, or one of them where they are constant."""
    function = getattr(jm.coefficients, name, None)
    if function is None:
        return None
    given = {**case.hyperparameters, **case.static}
    letters = {key: given[key] for key in inspect.signature(function).parameters if key in given}
    found = function(**letters)
    if isinstance(found, jm.Coefficients):
        return [found]
    if not isinstance(found, jm.Recurrence):
        found = jm.Recurrence(0, lambda t: (t + 1, call_schedule(function, letters, t)))
    start = jax.tree.map(jnp.asarray, found.start)
    steps = jax.jit(lambda: jax.lax.scan(lambda c, _: found.step(c), start, length=HORIZON))()[1]
    return [jax.tree.map(lambda x, t=t: np.asarray(x)[t], steps) for t in range(HORIZON)]


def call_schedule(function: Any, letters: Mapping[str, Any], count: jax.Array) -> jm.Coefficients:
    """Return the coefficients of a step, where they are a function of the count."""
    return function(**letters)(count)


def describe_all(systems: Mapping[str, theory.LinearSystem]) -> dict[str, dict[str, np.ndarray]]:
    """Return name -> what theory says of each system, by one program for all of them."""
    size = max(len(system.names) for system in systems.values())
    padded = [pad_system(system, size) for system in systems.values()]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)
    found = jax.tree.map(np.asarray, jit_with_lapack(jax.vmap(describe))(stacked))
    return {
        name: {key: values[row] for key, values in found.items()}
        for row, name in enumerate(systems)
    }


def pad_system(system: theory.LinearSystem, size: int) -> theory.LinearSystem:
    """Return the same system with empty entries up to the size: zeros, which nothing reads."""
    more = size - len(system.names)
    names = ("params", *(f"entry {i}" for i in range(1, size)))
    a, b, c = (np.pad(np.asarray(x), (0, more)) for x in (system.A, system.B, system.C))
    return theory.LinearSystem(a, b, c, np.asarray(system.D), names)


def describe(system: theory.LinearSystem) -> dict[str, jax.Array]:
    """Return the numbers and curves of a page."""
    limit = theory.stability_limit(system)
    edge = jnp.where(jnp.isfinite(limit) & (limit > 0), limit, 1.0)
    curvatures = edge * jnp.geomspace(1e-4, 1.3, CURVATURES)
    return {
        "stability limit": limit,
        "effective learning rate": theory.effective_learning_rate(system),
        "memory": theory.memory(system),
        "half-life": theory.half_life(system),
        "noise floor": theory.stationary_variance(system, edge / 10),
        "curvatures": curvatures,
        "eigenvalues": theory.eigenvalues(system, curvatures),
        "variance": theory.stationary_variance(system, curvatures),
        "kernel": theory.kernel(system, LAGS),
        "response": theory.frequency_response(system, jnp.asarray(FREQUENCIES)),
    }


def filter_kernel(filters: list[jm.Coefficients], step: int) -> np.ndarray:
    """Return the weights of past gradients in the update of one step, the newest first.

    Each gradient runs through the filter by itself: a plain loop, for coefficients that may vary.
    """
    rows = [filters[min(t, len(filters) - 1)] for t in range(step + 1)]
    weights = np.zeros(step + 1)
    buffers = np.zeros((np.size(rows[0].decay), step + 1))  # of every gradient, as if it were alone
    for t, row in enumerate(rows):
        gradient = np.eye(step + 1)[t]
        old = buffers
        buffers = column(row.decay) * old + column(row.gain) * gradient
        weights = np.zeros(step + 1)
        for read, source in ((row.read, old), (row.read_new, buffers)):
            if read is not None:
                weights = weights + (column(read) * source).real.sum(axis=0)
        if row.direct is not None:
            weights = weights + np.asarray(row.direct) * gradient
    return weights[::-1]


def column(numbers: Any) -> np.ndarray:
    """Return the numbers of the buffers [k] as a column [k, 1]."""
    return np.asarray(numbers)[:, None]
