"""What the plots share for colors that stand for values: the range of them, and its color bar."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from jaxmom.plot import lanes


def norm(
    shown: np.ma.MaskedArray, limits: tuple[float | None, float | None], log: bool
) -> Normalize:
    """From the lowest to the highest color, where not limited those of the values shown.

    Raises:
        ValueError: the limits are in the wrong order, or a logarithm has no positive value.

    >>> span = norm(np.ma.array([0.0, 1.0, 10.0]), (None, 5.0), log=True)
    >>> span.vmin, span.vmax
    (1.0, 5.0)
    """
    usable = shown[shown > 0] if log else shown
    if log and usable.count() == 0:
        raise ValueError("no value is positive, so a logarithm colors nothing; pass log=False")
    low, high = limits
    low = max(float(usable.min()), lanes.TINY if log else -np.inf) if low is None else low
    high = float(usable.max()) if high is None else high
    if low > high:
        raise ValueError(f"limits={limits} leave no color between {low:g} and {high:g}")
    if log and low <= 0:
        raise ValueError(f"limits={limits} begin at zero or below; a logarithm needs positive ones")
    return LogNorm(low, high) if log else Normalize(low, high)


def bar(ax: Axes, artist: ScalarMappable, shown: np.ma.MaskedArray, name: str) -> None:
    """The color bar of what was drawn, pointed where values lie beyond its range."""
    low, high = artist.get_clim()
    beyond = (bool(shown.min() < low), bool(shown.max() > high))
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[beyond]
    ax.figure.colorbar(artist, ax=ax, extend=extend, label=name)
