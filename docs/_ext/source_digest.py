"""A digest of all that a page shows or runs, so that what was computed is never out of date."""

import hashlib
import importlib.metadata
import pathlib

ROOT = pathlib.Path(__file__).parents[2]


def digest_sources(*folders: str) -> str:
    """Return a digest of the package, of more folders of the repository, and of the versions."""
    digest = hashlib.sha256()
    for package in ("jax", "optax", "xarray", "matplotlib", "numpy"):
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for folder in ("jaxmom", *folders):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
