"""Sweep a function that waits forever at x > 5, in a callback or in LAPACK calls of XLA."""

import sys
import threading

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

import jaxmom as jm


def wait_in_callback(x):
    def look(x):
        if (x > 5).any():
            threading.Event().wait()
        return x

    spec = jax.ShapeDtypeStruct((), x.dtype)
    return {"y": jax.pure_callback(look, spec, x, vmap_method="expand_dims")}


def wait_in_lapack(x):
    keys = jax.random.split(jax.random.key(x.astype(int)), 6)
    return {"y": sum(jnp.sum(jnp.linalg.qr(jax.random.normal(k, (32, 32)))[0]) for k in keys)}


def main(kind, store):
    # The scheduler that deadlocks where jaxlib has the fault; older ones have no other.
    is_chosen = kind == "lapack" and jaxlib.version.__version_info__ >= (0, 10)
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_DEFAULT"} if is_chosen else {}
    fn = {"callback": wait_in_callback, "lapack": wait_in_lapack}[kind]
    space = jm.grid(x=np.arange(240.0 if kind == "lapack" else 10.0))
    width = 24 if kind == "lapack" else 2
    jm.sweep(fn, space, width=width, store=store, options=options, stall_seconds=1)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
