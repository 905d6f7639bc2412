"""A noisy quadratic, and the points at which an optimizer asks for its gradients."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from jaxmom.transform import as_pytree

RNG = np.random.default_rng(2)
HESSIAN = np.diag(np.linspace(1.0, 9.0, 5))
START, NOISE = RNG.normal(size=5), RNG.normal(size=(60, 5))
MU, L = 1.0, 9.0


@jax.jit
def follow(optimizer, noise):
    """Params and `eval_params` of a bare loop; methods of one structure share its compilation."""

    def step(carry, e):
        x, state = carry
        updates, state = optimizer.update(jnp.asarray(HESSIAN) @ x + e, state, x)
        x = x + updates
        return (x, state), (x, jm.eval_params(optimizer, x, state))

    start = jnp.asarray(START)
    return jax.lax.scan(step, (start, optimizer.init(start)), noise)[1]


def path(optimizer, steps=60):
    """The points at which an optimizer asks for gradients on a noisy quadratic, [steps + 1, 5]."""
    optimizer = as_pytree(optimizer)
    return np.concatenate([[START], follow(optimizer, jnp.asarray(NOISE[:steps]))[0]])
