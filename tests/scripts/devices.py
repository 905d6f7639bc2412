"""Run the reference sweep of test_engine on a number of devices, and save its arrays."""

import json
import sys

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)


def main(devices, path, options):
    jax.config.update("jax_num_cpu_devices", int(devices))
    from test_engine import BETAS, RATES, WIDTH, train

    from jaxmom.sweeps import paired, sweep

    space = paired(beta=BETAS, learning_rate=RATES)
    runs = sweep(train, space, width=WIDTH, options=json.loads(options))
    assert runs.attrs["devices"] == int(devices)
    np.savez(path, **{name: runs[name].values for name in runs})


if __name__ == "__main__":
    main(*sys.argv[1:])
