"""Line styles, and the levels of contours."""

import numpy as np

from jaxmom.plot._shared import style


def test_line_styles_differ():
    styles = {style.line_style(i) for i in range(35)}
    assert len(styles) == 35
    assert len({style.line_style(i).color for i in range(7)}) == 7
    assert style.line_style(35) == style.line_style(0)


def test_levels_are_even_in_the_logarithm_of_the_height():
    heights = style.log_levels([[-3.0, np.nan], [0.0, 97.0]], 5) + 3
    np.testing.assert_allclose(heights, [1e-2, 1e-1, 1, 1e1, 1e2])
    assert style.log_levels([2.0, 2.0], 5).size == 0
