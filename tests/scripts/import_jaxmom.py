"""Print what `import jaxmom` adds to `import jax, optax`: heavy packages, and started backends."""

import sys

import jax  # noqa: F401
import optax  # noqa: F401

HEAVY = ("chex", "cvxpy", "distributed", "matplotlib", "pandas", "scipy.stats", "sklearn", "tqdm")
before = set(sys.modules)

import jaxmom  # noqa: E402, F401

loaded = [name for name in (*HEAVY, "xarray") if name in sys.modules and name not in before]
xla_bridge = sys.modules["jax._src.xla_bridge"]
print(loaded, sorted(xla_bridge._backends))
