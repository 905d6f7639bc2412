"""Color scales: the norm of a heatmap and its color bar."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from jaxmom.plot._shared import status

Limits = tuple[float | None, float | None]


def make_norm(shown: np.ma.MaskedArray, limits: Limits, log: bool) -> Normalize:
    """Return the norm from the lowest to the highest color.

    Args:
      shown: The values to color, masked where there is none.
      limits: The values of the two ends; None for the smallest and the largest one shown.
      log: Whether colors are logarithmic.

    Raises:
      ValueError: The limits are in the wrong order, or a logarithm has no positive value.

    Example:
      >>> norm = make_norm(np.ma.array([0.0, 1.0, 10.0]), (None, 5.0), log=True)
      >>> norm.vmin, norm.vmax
      (1.0, 5.0)
    """
    usable = shown[shown > 0] if log else shown
    if log and usable.count() == 0:
        raise ValueError("no value is positive, so a logarithm colors nothing; pass log=False")
    low, high = limits
    low = max(float(usable.min()), status.TINY if log else -np.inf) if low is None else low
    high = float(usable.max()) if high is None else high
    if low > high:
        raise ValueError(f"limits={limits} leave no color between {low:g} and {high:g}")
    if log and low <= 0:
        raise ValueError(f"limits={limits} begin at zero or below; a logarithm needs positive ones")
    return LogNorm(low, high) if log else Normalize(low, high)


def draw_color_bar(ax: Axes, artist: ScalarMappable, shown: np.ma.MaskedArray, name: str) -> None:
    """Draw the color bar of an artist, pointed where values lie beyond its range."""
    low, high = artist.get_clim()
    beyond = (bool(shown.min() < low), bool(shown.max() > high))
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[beyond]
    ax.figure.colorbar(artist, ax=ax, extend=extend, label=name)
