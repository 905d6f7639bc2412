"""Sweep a function with several calls of LAPACK on some CPU devices, and compare with NumPy."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
jax.config.update("jax_enable_x64", True)

SIZE, LANES = 24, 32


def sizes_of(seed):
    """Numbers that no order of the calls, and no sign of a vector, changes."""
    matrices = jax.random.normal(jax.random.key(seed), (8, SIZE, SIZE))
    a, b, c, d, e, f, g, h = matrices
    eye = jnp.eye(SIZE)
    return {
        "first qr": jnp.sum(jnp.abs(jnp.linalg.qr(a)[1])),
        "second qr": jnp.sum(jnp.abs(jnp.linalg.qr(b)[1])),
        "eigh": jnp.linalg.eigh(c + c.T)[0],
        "svd": jnp.linalg.svd(d)[1],
        "cholesky": jnp.linalg.cholesky(e @ e.T + eye),
        "solve": jnp.linalg.solve(f + 9 * eye, a),
        "eig": jnp.sum(jnp.abs(jnp.linalg.eig(g)[0])),
        "det": jnp.linalg.slogdet(h)[1],
        "matrices": matrices,
    }


def expected(matrices):
    a, b, c, d, e, f, g, h = matrices
    eye = np.eye(SIZE)
    return {
        "first qr": np.sum(np.abs(np.linalg.qr(a)[1])),
        "second qr": np.sum(np.abs(np.linalg.qr(b)[1])),
        "eigh": np.linalg.eigh(c + c.T)[0],
        "svd": np.linalg.svd(d)[1],
        "cholesky": np.linalg.cholesky(e @ e.T + eye),
        "solve": np.linalg.solve(f + 9 * eye, a),
        "eig": np.sum(np.abs(np.linalg.eig(g)[0])),
        "det": np.linalg.slogdet(h)[1],
    }


for _ in range(3):
    runs = jm.sweep(sizes_of, jm.grid(seed=range(LANES)), width=8, progress=False)
for seed in range(LANES):
    lane = runs.sel(seed=seed)
    for name, value in expected(lane.matrices.values).items():
        np.testing.assert_allclose(lane[name].values, value, rtol=1e-8, atol=1e-10)
