"""Interactive views in a browser: the explorer of sweeps and the playground of momentum.

    explore       a sweep by any two of its axes, with linked brushing
    playground    one method by its kernel, poles, rates and risk, with sliders

Both are Panel apps that draw with Bokeh. They need the extra `explore`, and nothing in
`import jaxmom` loads it. What is drawn is computed by functions of NumPy arrays in `cells`, `views`
and `curves`, or is that of `jaxmom.theory` and `jaxmom.optimize`.
"""

from jaxmom.explorer._explore import explore
from jaxmom.explorer._playground import playground

__all__ = ["explore", "playground"]
