"""Sweep Q-learning over two CPU devices: `python sweep_q_learning.py OUTPUT.npz`."""

import functools
import sys

import jax
import numpy as np

if __name__ == "__main__":  # before anything runs on a device
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 2)

import jaxmom as jm
from jaxmom import rl

AXES = {"beta": np.linspace(0, 0.9, 5), "seed": range(7)}


@functools.cache
def make_process():
    """A process with all that can happen; it is made on the host, before anything is traced."""
    with jax.ensure_compile_time_eval():
        return rl.random_mdp(jax.random.key(3), 8, 3, termination=0.05, time_limit=20)


def learn(beta, seed):
    """One lane of the sweep."""
    rule, key = rl.lazy_momentum(0.03, beta), jax.random.key(seed)
    run = rl.q_learning(make_process(), rule, key, steps=640, every=160)
    return {"q": run.q, "largest": run.max_abs_q, "diverged_at": run.diverged_at}


def main(path):
    runs = jm.sweep(learn, jm.grid(**AXES), width=4, progress=False)
    assert runs.attrs["devices"] == 2
    np.savez(path, **{name: runs[name].values for name in runs})


if __name__ == "__main__":
    main(sys.argv[1])
