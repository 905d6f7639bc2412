"""Compile programs for some CPU devices, and print what was compiled, copied and computed."""

import json
import logging
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from jaxmom.sweeps import grid
from jaxmom.sweeps.compile import executables
from jaxmom.sweeps.compile.copies import can_copy
from jaxmom.sweeps.compile.program import compile_group
from jaxmom.sweeps.estimate import trace_groups

COLUMNS = {"x": np.array([0.5, 2.0])}


class Counter(logging.Handler):
    """Counts the compilations of sweeps."""

    count = 0

    def emit(self, record):
        self.count += "Finished XLA compilation of jit(call)" in record.getMessage()


def loop_of_products(x):
    start = x * jnp.eye(4)
    y = jax.lax.fori_loop(0, 5, lambda i, y: jnp.tanh(y @ start + i), start)
    return {"y": y @ y}


def doubled_on_host(x):
    spec = jax.ShapeDtypeStruct((), x.dtype)
    return {"y": jax.pure_callback(lambda x: 2 * x, spec, x, vmap_method="expand_dims")}


def printed(x):
    jax.debug.print("{}", x)
    return {"y": x}


def trace(fn):
    (group,) = trace_groups(fn, grid(x=[1.0, 2.0, 3.0]))
    return group


def run(counter, fn, *rounds):
    """Return the compilations, bytes, devices and results of the programs of some rounds."""
    executables.forget_executables()
    found = []
    for devices in rounds:
        counter.count = 0
        with jax.log_compiles(True):
            programs = compile_group(trace(fn), 2, devices, {})
        for program in programs:
            started = program.start(COLUMNS)
            (place,) = started["y"].devices()
            result = program.finish(started)["y"].tolist()
            found.append([counter.count, program.bytes, place == program.device, result])
    return found


def main():
    jax.config.update("jax_num_cpu_devices", 3)
    jax.config.update("jax_compilation_cache_dir", None)  # where programs are not copied
    first, second, third = jax.devices()
    counter = Counter()
    for name in ("jax._src.dispatch", "jax._src.interpreters.pxla"):
        logging.getLogger(name).addHandler(counter)
        logging.getLogger(name).propagate = False
    found = {
        "rounds": run(counter, loop_of_products, [first, second], [second, third]),
        "reversed": run(counter, loop_of_products, [second, first]),
        "can copy": [
            can_copy(trace(fn).jaxpr, first) for fn in (loop_of_products, doubled_on_host, printed)
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for name in ("written", "read"):
            found[name] = run(counter, loop_of_products, [first, second])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
