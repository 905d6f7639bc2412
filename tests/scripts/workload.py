"""A sweep that takes as long as it is asked to, for tests and for the programs beside this file."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom.sweeps import grid, sweep

jax.config.update("jax_enable_x64", True)

WIDTH = 8
CHUNKS = 5
SPACE = grid(x=np.linspace(0, 1, 20), seed=range(2))


def make(length=20):
    """Return a function of a lane that makes so many steps."""

    def fn(x, seed):
        def step(y, _):
            return jnp.sin(y) + x + 0.1 * seed.astype(y.dtype), y

        y, history = jax.lax.scan(step, x, length=length)
        return {"y": y, "history": history[:: length // 10]}

    return fn


def run(store=None, length=20, progress=False, **options):
    return sweep(make(length), SPACE, width=WIDTH, store=store, progress=progress, **options)


def parts(store):
    """Return the bytes of the chunks that are done."""
    return {path.name: path.read_bytes() for path in pathlib.Path(store).glob("parts/*.npz")}


def refuse(*bad, until=None):
    """Return a function of a lane that fails at some values of x, until there is a file."""

    def check(x):
        if np.isin(x, bad).any() and not (until is not None and until.exists()):
            raise ArithmeticError(f"{x[np.isin(x, bad)][0]} is refused")
        return x

    def fn(x):
        spec = jax.ShapeDtypeStruct((), x.dtype)
        return {"y": 2 * jax.pure_callback(check, spec, x, vmap_method="expand_dims")}

    return fn


# A longer sweep, to be killed

LONG_CHUNKS = 50
LONG_SPACE = grid(x=np.linspace(0, 1, 40), seed=range(10))


def walk(x, seed):
    noise = jax.random.normal(jax.random.key(seed), ())

    def step(y, _):
        return jnp.sin(y) + x * noise, y

    y, history = jax.lax.scan(step, x, length=20_000)
    return {"y": y, "history": history[::1000]}


def run_long(store, **options):
    return sweep(walk, LONG_SPACE, width=8, store=store, progress=False, **options)
