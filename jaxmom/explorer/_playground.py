"""The playground of momentum, as a function."""

from typing import Any

from jaxmom.explorer.extra import require_extra


def playground() -> Any:
    """Show everything that theory says of one momentum method, with sliders.

    Method, beta, learning rate, curvatures and noise are chosen. For each setting it shows a run on
    a landscape, the kernel, the poles in the unit disk, the frequency response, the rate over the
    curvature with the limit of stability, the noise floor and the risk of least squares. All of
    them are computed by `jaxmom.optimize` and `jaxmom.theory`, in float64; a program is compiled
    once for each method. A button copies the setting as code.

    Returns:
      A Panel viewer. A notebook shows it as the last value of a cell; ``.show()`` opens a browser,
      ``.servable()`` serves it in ``panel serve``, and ``.save("playground.html")`` writes a page
      with every combination of some values in it, which needs no server.

    Raises:
      ImportError: The extra `explore` is not installed.

    Example:
      >>> type(playground()).__name__
      'Playground'
    """
    require_extra("jm.playground")
    from jaxmom.explorer.momentum_app import Playground

    return Playground()
