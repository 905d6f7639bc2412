"""Runs that diverge are those of a plain loop that stops at the first bad value.

Rates are small integers and halves, so that the params are exact in float64, whatever XLA fuses, as
long as they are no larger than the limit: then they are equal bit for bit. Where tests are rare,
params grow beyond what float64 holds exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm

STEPS, FACTOR = 24, 2.0**20
RATES = np.array([0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 9.0, 17.0, 65.0, 1025.0, np.inf, np.nan])
START = {"x": np.array([1.0, 2.0, -1.0]), "y": np.float64(0.5)}


def alternate(rate, beta):
    """Descent with a schedule and momentum -beta, and a count and a key in its state."""

    def init(params):
        return jnp.int32(0), jax.random.key(0), jax.tree.map(jnp.zeros_like, params)

    def update(updates, state, params=None):
        count, key, buffer = state
        scale = jnp.where(count % 2 == 0, 1.0, 0.5) * rate
        buffer = jax.tree.map(lambda b, g: g - beta * b, buffer, updates)
        updates = jax.tree.map(lambda b: -scale * b, buffer)
        return updates, (count + 1, jax.random.fold_in(key, count), buffer)

    return optax.GradientTransformation(init, update)


def loss(params):
    return jnp.sum(params["x"] ** 2) / 2 + params["y"] ** 2 / 2


def train(rate, check, every):
    run = jm.optimize(
        loss,
        jax.tree.map(jnp.asarray, START),
        alternate(rate, 0.5),
        STEPS,
        record=("value", "params"),
        every=every,
        divergence=FACTOR,
        check=check,
    )
    count, key, buffer = run.state
    return {
        **{f"params_{name}": leaf for name, leaf in run.params.items()},
        **{f"buffer_{name}": leaf for name, leaf in buffer.items()},
        "record_x": run.history["params"]["x"],
        "count": count,
        "key": jax.random.key_data(key),
        "diverged_at": run.diverged_at,
    }


def run_loop(rate, check, every):
    """Return what `train` returns, by a loop in NumPy that ends where a test fails."""
    points = {name: np.array(leaf) for name, leaf in START.items()}
    buffer = {name: np.zeros_like(leaf) for name, leaf in points.items()}
    tests = {r + c for r in range(0, STEPS, every) for c in range(0, every, check)} | {STEPS}
    limit, diverged_at, t, records = FACTOR * 3.125, -1, 0, []
    for t in range(STEPS + 1):
        value = np.sum(points["x"] ** 2) / 2 + points["y"] ** 2 / 2
        if t % every == 0 or t == STEPS:
            records.append(points["x"])
        if t in tests and not value <= limit:
            diverged_at = t
            break
        if t < STEPS:
            buffer = {name: points[name] - 0.5 * b for name, b in buffer.items()}
            scale = rate * (1.0 if t % 2 == 0 else 0.5)
            points = {name: p - scale * buffer[name] for name, p in points.items()}
    key = jax.random.key(0)
    for count in range(t):
        key = jax.random.fold_in(key, count)
    missing = -(-STEPS // every) + 1 - len(records)
    return {
        **{f"params_{name}": leaf for name, leaf in points.items()},
        **{f"buffer_{name}": leaf for name, leaf in buffer.items()},
        "record_x": np.stack(records + [points["x"]] * missing),
        "count": t,
        "key": np.asarray(jax.random.key_data(key)),
        "diverged_at": diverged_at,
    }


def assert_equal_to_loops(lanes, check, every):
    with np.errstate(all="ignore"):
        loops = [run_loop(rate, check, every) for rate in RATES]
    found = {int(loop["diverged_at"]) for loop in loops}
    assert -1 in found
    assert len(found) >= (6 if check == 1 else 2)  # at several places of a block of steps
    for name in loops[0]:
        expected = np.stack([loop[name] for loop in loops])
        rtol = 1e-13 if check > 1 and name.startswith(("params", "buffer", "record")) else 0.0
        np.testing.assert_allclose(lanes[name], expected, rtol=rtol, err_msg=name)


@pytest.mark.parametrize(("check", "every"), [(1, STEPS), (1, 5), (7, 9), (50, 7)])
def test_frozen_lanes_are_where_a_plain_loop_stops(check, every):
    lanes = jax.jit(jax.vmap(lambda rate: train(rate, check, every)))(jnp.asarray(RATES))
    assert_equal_to_loops(lanes, check, every)


@pytest.mark.parametrize("options", [{}, {"lanes_last": 4}], ids=str)
def test_frozen_lanes_of_a_sweep_are_where_a_plain_loop_stops(options):
    lanes = jm.sweep(
        lambda rate: train(rate, 1, STEPS),
        jm.grid(rate=RATES),
        width=5,
        options=options,
        progress=False,
    )
    assert_equal_to_loops({name: array.values for name, array in lanes.variables.items()}, 1, STEPS)
