"""Links to the references of other packages, where their sites can be reached.

A build without a network has no such links, and no warning either: the names stay as they are.
"""

import urllib.error
import urllib.request

SITES = {
    "jax": "https://docs.jax.dev/en/latest/",
    "numpy": "https://numpy.org/doc/stable/",
    "optax": "https://optax.readthedocs.io/en/latest/",
    "xarray": "https://docs.xarray.dev/en/stable/",
}


def find_reachable(seconds: float = 5.0) -> dict[str, tuple[str, None]]:
    """Return the value of `intersphinx_mapping`: the sites that answer within so many seconds."""
    return {name: (site, None) for name, site in SITES.items() if is_reachable(site, seconds)}


def is_reachable(site: str, seconds: float) -> bool:
    """Return whether the site sends its inventory."""
    try:
        with urllib.request.urlopen(f"{site}objects.inv", timeout=seconds) as answer:
            return answer.read(20) == b"# Sphinx inventory v"
    except (OSError, urllib.error.URLError):
        return False
