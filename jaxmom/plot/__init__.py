"""Plots of paths, curves and maps: each takes data and an Axes, and returns the Axes.

    plot.trajectories   the paths of optimizers over the contours of what they minimize
    plot.curves         values over steps, with seeds their median and a band around it
    plot.heatmap        one value over two hyperparameters, with what diverged or misses
    plot.figure         a figure whose margins make room for legends and color bars

The data are NumPy arrays, anything `numpy.asarray` takes, or xarray. A plot draws what it is
given and computes no theory; it calls no `show`, changes no setting of matplotlib, and makes a
figure only where no Axes is given. Whatever diverged, is missing or leaves the frame is drawn
as such and named in the legend; `ax.legend(loc=...)` moves the legend elsewhere.
"""

from jaxmom.plot.curves import curves as curves
from jaxmom.plot.maps import heatmap as heatmap
from jaxmom.plot.paths import trajectories as trajectories
from jaxmom.plot.style import figure as figure

__all__ = ["curves", "figure", "heatmap", "trajectories"]
