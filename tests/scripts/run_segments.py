"""Sweep in segments into a store; each segment takes a while."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom.sweeps import grid, sweep

jax.config.update("jax_enable_x64", True)

SPACE = grid(x=np.linspace(0, 1, 12))
SEGMENTS = [20_000] * 12
WIDTH = 4


def segment(state, steps, x):
    """A few lanes diverge in each segment but the last ones."""
    count, y = (jnp.zeros((), int), x) if state is None else state
    y, _ = jax.lax.scan(lambda y, _: (jnp.sin(y) + x, None), y, length=steps)
    value = jnp.where((count > 2) & (x < 0.2), jnp.nan, y)
    return (count + 1, y), {"value": value}


def run(store=None):
    return sweep(segment, SPACE, width=WIDTH, segments=SEGMENTS, store=store, progress=False)


if __name__ == "__main__":
    run(sys.argv[1])
    print("done")
