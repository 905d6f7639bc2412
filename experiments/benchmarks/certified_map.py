"""The seconds of a map of certified rates, 20 learning rates by 20 betas of heavy ball, mu 1, L 10.

The first call compiles the search. Answer (2 cores of an AMD EPYC that other work shared, jax
0.10.2, the search compiled in an earlier process): 2.6 and 1.9 seconds of processor time; 352 of
400 cells have a certificate, and all of these verify, in exact arithmetic.
"""

import time

import jax
import numpy as np
import optax

import jaxmom as jm
from experiments import command


def _certify(optimizers: optax.GradientTransformation, call: int) -> jm.theory.CertifiedRates:
    """Certify the map, and print the seconds."""
    start, processor = time.perf_counter(), time.process_time()
    found = jm.theory.certified_rates(optimizers, 1.0, 10.0)
    elapsed, processor = time.perf_counter() - start, time.process_time() - processor
    print(f"call {call}: {elapsed:.2f} s, of processor time {processor:.2f} s")
    return found


def main() -> None:
    """Print the seconds of the first call and of the others, and what is proved."""
    parser = command.make_parser(__spec__.name, __doc__ or "")
    parser.add_argument("--size", type=int, default=20, help="values of each hyperparameter")
    parser.add_argument("--calls", type=int, default=3, help="number of calls")
    options = parser.parse_args()
    learning_rates, betas = np.linspace(0.01, 0.2, options.size), np.linspace(0, 0.95, options.size)
    grid = (x.ravel() for x in np.meshgrid(learning_rates, betas))
    optimizers = jax.vmap(jm.heavy_ball)(*grid)
    found = [_certify(optimizers, call) for call in range(1, options.calls + 1)][-1]
    verified = sum(proof.verify() for proof in found.proofs)
    certified = int(np.isfinite(found.rates).sum())
    print(f"{len(found.proofs)} cells: {certified} have a certificate, and {verified} verify")


if __name__ == "__main__":
    main()
