"""Plots of paths, curves and maps: each takes data and an Axes, and returns the Axes.

    plot.trajectories   the paths of optimizers over the contours of what they minimize
    plot.animate        the paths of thousands at once, as a GIF
    plot.curves         values over steps, with seeds their median and a band around it
    plot.sensitivity    one value over one hyperparameter, with seeds likewise
    plot.heatmap        one value over two hyperparameters, with what diverged or misses
    plot.parallel       one value over any number of hyperparameters, a line for each lane
    plot.stability_map  what theory says over what a sweep measured
    plot.spectrum       eigenvalues in the unit circle, as a hyperparameter moves
    plot.frequency      what a filter does to gradients that go like a wave
    plot.value_grid     values and a policy on the cells of a grid world
    plot.figure         a figure whose margins make room for legends and color bars

The data are NumPy arrays, anything `numpy.asarray` takes, or xarray. A plot draws what it is
given and computes no theory; it calls no `show`, changes no setting of matplotlib, and makes a
figure only where no Axes is given. Whatever diverged, is missing or leaves the frame is drawn
as such and named in the legend; `ax.legend(loc=...)` moves the legend elsewhere.
"""

from jaxmom.plot.animation import animate as animate
from jaxmom.plot.curves import curves as curves
from jaxmom.plot.grids import CLIFF as CLIFF
from jaxmom.plot.grids import LAKE as LAKE
from jaxmom.plot.grids import value_grid as value_grid
from jaxmom.plot.maps import heatmap as heatmap
from jaxmom.plot.parallel import parallel as parallel
from jaxmom.plot.paths import trajectories as trajectories
from jaxmom.plot.sensitivity import sensitivity as sensitivity
from jaxmom.plot.stability import frequency as frequency
from jaxmom.plot.stability import spectrum as spectrum
from jaxmom.plot.stability import stability_map as stability_map
from jaxmom.plot.style import figure as figure

__all__ = [
    "CLIFF",
    "LAKE",
    "animate",
    "curves",
    "figure",
    "frequency",
    "heatmap",
    "parallel",
    "sensitivity",
    "spectrum",
    "stability_map",
    "trajectories",
    "value_grid",
]
