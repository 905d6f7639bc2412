"""Plots of trajectories, curves and maps: each takes data and an Axes, and returns the Axes.

    plot.trajectories   paths of optimizers over the contours of the function they minimize
    plot.animate        the paths of thousands of lanes at once, as a GIF
    plot.curves         values over steps; over seeds, their median and a band
    plot.sensitivity    one value against one hyperparameter; over seeds, likewise
    plot.heatmap        one value over two hyperparameters; over seeds, the median
    plot.parallel       one value over any number of hyperparameters, a line for each lane
    plot.stability_map  theoretical rates and their boundary over a measured heatmap
    plot.spectrum       eigenvalues in the unit circle, as a hyperparameter moves
    plot.frequency      the frequency response of a method
    plot.kernel         the weights of past gradients in a step
    plot.value_grid     values and a policy on the cells of a grid world
    plot.figure         a figure whose margins make room for legends and color bars
    plot.line_style     the color, dashes and marker of the n-th line of these plots

Data are NumPy arrays, anything `numpy.asarray` accepts, or xarray. A plot draws what it is given
and computes no theory. It never calls `show`, never changes a setting of matplotlib, and makes a
figure only if no Axes is given. Lanes that diverged, failed or are missing, and points outside the
frame, are drawn as such and named in the legend; `ax.legend(loc=...)` moves the legend elsewhere.
"""

from jaxmom.plot._animate import animate as animate
from jaxmom.plot._curves import curves as curves
from jaxmom.plot._frequency import frequency as frequency
from jaxmom.plot._heatmap import heatmap as heatmap
from jaxmom.plot._kernel import kernel as kernel
from jaxmom.plot._parallel import parallel as parallel
from jaxmom.plot._sensitivity import sensitivity as sensitivity
from jaxmom.plot._shared.style import figure as figure
from jaxmom.plot._shared.style import line_style as line_style
from jaxmom.plot._spectrum import spectrum as spectrum
from jaxmom.plot._stability_map import stability_map as stability_map
from jaxmom.plot._trajectories import trajectories as trajectories
from jaxmom.plot._value_grid import CLIFF as CLIFF
from jaxmom.plot._value_grid import LAKE as LAKE
from jaxmom.plot._value_grid import value_grid as value_grid

__all__ = [
    "CLIFF",
    "LAKE",
    "animate",
    "curves",
    "figure",
    "frequency",
    "heatmap",
    "kernel",
    "line_style",
    "parallel",
    "sensitivity",
    "spectrum",
    "stability_map",
    "trajectories",
    "value_grid",
]
